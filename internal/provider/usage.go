package provider

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"p402.io/p402/meter"
)

// countField is one number a vendor reports, in the vendor's own sense: whether parts lie inside their totals is settled once
// the answer has ended.
type countField uint8

const (
	fInput countField = iota
	fOutput
	fTotal
	fCached
	fMissed // input that was not in a cache, where a vendor says so
	fWrite
	fWrite5m
	fWrite1h
	fAudioIn
	fImageIn
	fVideoIn
	fCachedAudio
	fCachedImage
	fCachedVideo
	fToolIn
	fReasoning
	fAudioOut
	fImageOut
	fTextOut
	fCitation
	fAccepted // predictions: inside the output, billed with it
	fRejected
	fSubInput // what a sub-iteration read and wrote beside the top level (Anthropic compaction)
	fSubOutput
	fSubCached
	fSubWrite
	fSubWrite1h
	fTimedInput // llama.cpp's timings, for want of a usage
	fTimedCached
	fTimedOutput
	fieldCount
)

// UsageParser counts an answer as it passes: the vendor's own usage where there is one, the bytes of visible text where
// there is none. It keeps counts, never text. It belongs to one answer and one goroutine.
type UsageParser struct {
	wire   wireForm
	work   workKind
	vendor string // what precedes the dot of the api's name
	name   string // the vendor as configured

	last   [fieldCount]count // the last snapshot, field by field
	counts map[string]string // quantities that are not tokens, as the vendor gave them
	ours   map[string]string // quantities counted from the answer
	raw    string            // the last usage object as it was written

	model, tier, speed, geo     string
	quality, size, searchSize   string
	reported, upstream          string // dollars, as plain decimal text
	ownKey, badCost, badUp      bool
	chatShaped                  bool // prompt_tokens and completion_tokens: reasoning may be additional
	textBytes                   int64
	warnings                    []string
	streamed, plain, finishSeen bool
	done, failed, final         bool // [DONE] or its like was seen; an error in the middle; usage is the last there will be
	itemWeb, itemFiles          int64
	pending                     bool // the answer is only promised (a background response)
	ended                       bool // the form's own last event was seen
	sniffed                     bool // the form is beyond doubt
	looked                      int  // frames looked at for it
	imagesApart                 bool // Cohere: image tokens come on top of the input
	deltaUsage                  bool // Anthropic: the output was reported after its beginning
}

// NewUsageParser returns a parser for one answer. api names the wire form ("openai.chat", "anthropic.messages",
// "gemini.generate", "bedrock.converse", …), vendor the configured vendor. Unknown forms are read as OpenAI-shaped.
func NewUsageParser(api, vendor string) *UsageParser {
	family, operation, _ := strings.Cut(strings.ToLower(api), ".")
	p := &UsageParser{vendor: family, name: strings.ToLower(vendor), counts: map[string]string{}, ours: map[string]string{}}
	p.wire, p.work = formOf(family, operation), workOf(operation)
	return p
}

// by reports whether the answer comes from a vendor of that name.
func (p *UsageParser) by(name string) bool { return p.vendor == name || p.name == name }

// maxRawUsage bounds the usage text that is kept for an audit: the widest seen is far below it.
const maxRawUsage = 8 << 10

// Frame reads one frame: a stream's event, a line of NDJSON, or the whole of a plain body. It never fails; what makes no
// sense counts for nothing.
func (p *UsageParser) Frame(event string, data []byte) {
	if bytes.Equal(bytes.TrimSpace(data), []byte("[DONE]")) {
		p.done = true
		return
	}
	if !p.sniffed && p.looked < sniffFrames {
		p.looked++
		p.sniff(data)
	}
	switch p.wire {
	case formAnthropic:
		p.anthropicFrame(event, data)
	case formGemini:
		p.geminiFrame(data)
	case formBedrock:
		p.bedrockFrame(event, data)
	case formCohere:
		p.cohereFrame(data)
	case formOllama:
		p.ollamaFrame(data)
	case formOpenAI:
		p.openaiFrame(event, data)
	}
}

// put takes a field from a snapshot. A snapshot is cumulative: its value replaces the earlier one, absent and null keep it.
func (p *UsageParser) put(f countField, v gjson.Result) bool {
	if !v.Exists() || v.Type == gjson.Null {
		return false
	}
	p.last[f] = readCount(v)
	return true
}

// putMost is put for vendors whose snapshots may say less than was said before: the largest stands.
func (p *UsageParser) putMost(f countField, v gjson.Result) {
	if !v.Exists() || v.Type == gjson.Null {
		return
	}
	if c := readCount(v); !p.last[f].set || c.bad != "" || p.last[f].bad == "" && c.n > p.last[f].n {
		p.last[f] = c
	}
}

// putFirst is put of the first of several names that is there: they name one thing, and are never added up.
func (p *UsageParser) putFirst(f countField, u gjson.Result, names ...string) bool {
	for _, name := range names {
		if p.put(f, u.Get(name)) {
			return true
		}
	}
	return false
}

// putSum sets a field to the sum of the tokens that a list gives to the named modalities. A list that is absent or null
// keeps what was there.
func (p *UsageParser) putSum(f countField, lists []gjson.Result, amount string, kinds ...string) {
	sum := count{}
	for _, list := range lists {
		if !list.IsArray() {
			continue
		}
		sum.set = true
		list.ForEach(func(_, entry gjson.Result) bool {
			kind := strings.ToUpper(entry.Get("modality").Str)
			for _, k := range kinds {
				if kind == k {
					c := readCount(entry.Get(amount))
					sum.n, sum.bad = sum.n+c.n, firstOf(sum.bad, c.bad)
				}
			}
			return true
		})
	}
	if sum.set {
		p.last[f] = sum
	}
}

// quantity takes a count that is not tokens; the last one said stands.
func (p *UsageParser) quantity(name string, v gjson.Result) {
	if !v.Exists() || v.Type == gjson.Null || v.IsObject() || v.IsArray() {
		return
	}
	text, ok := readDecimal(v)
	switch {
	case !ok:
		p.counts[name] = badNotInteger
	case strings.HasPrefix(text, "-"):
		p.counts[name] = badNegative
	default:
		p.counts[name] = text
	}
}

// wholeQuantity is quantity for things that come in whole numbers.
func (p *UsageParser) wholeQuantity(name string, v gjson.Result) {
	if c := readCount(v); v.Type == gjson.Number && c.bad != "" {
		p.counts[name] = c.bad
		return
	}
	p.quantity(name, v)
}

// atLeast counts something seen in the answer; frames repeat what they have said, so the most in one frame stands.
func (p *UsageParser) atLeast(name string, n int64) {
	if have, _ := strconv.ParseInt(p.ours[name], 10, 64); n > have {
		p.ours[name] = strconv.FormatInt(n, 10)
	}
}

// keepRaw notes a usage object as written, for an audit.
func (p *UsageParser) keepRaw(usage []byte) {
	if len(usage) <= maxRawUsage {
		p.raw = string(usage)
	}
}

func (p *UsageParser) warn(text string) {
	for _, w := range p.warnings {
		if w == text {
			return
		}
	}
	p.warnings = append(p.warnings, text)
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// Finish is the verdict once the answer has ended. endedBy is "done", "eof" (a clean end), "client_cancel" or "cut";
// request is the caller's body: the length of its text is used if the vendor counted nothing, and its few settings that
// choose a price if the answer does not repeat them.
func (p *UsageParser) Finish(endedBy string, httpStatus int, request []byte) meter.Measured {
	m := meter.Measured{HTTPStatus: httpStatus, Model: p.model, ServiceTier: firstOf(fastTier(p.speed), p.tier), Source: meter.UsageNone,
		EstimatedFields: []string{}, RawUsage: p.raw}
	clean := endedBy == "eof" || endedBy == "done" || endedBy == ""
	if httpStatus >= 400 {
		m.Complete = clean
		return m
	}
	p.settings(&m, request)
	m.Complete = !p.failed && !p.pending && (p.done || clean && p.reachedEnd())
	if m.Rejected = p.bad(); m.Rejected == "" {
		m.Usage, m.Rejected = p.usage()
	}
	if m.Rejected != "" {
		m.Source, m.Usage, m.Warnings = meter.UsageRejected, meter.Usage{}, p.warnings
		return m
	}
	p.quantities(&m, request)
	p.estimate(&m, request, endedBy)
	p.charge(&m)
	m.Warnings = p.warnings
	return m
}

// bad is why the counts cannot be believed, or "".
func (p *UsageParser) bad() string {
	for _, c := range p.last {
		if c.bad != "" {
			return c.bad
		}
	}
	for _, name := range []string{badNotInteger, badNegative, badAbsurd} {
		for _, quantity := range p.counts {
			if quantity == name {
				return name
			}
		}
	}
	return ""
}

// reachedEnd reports whether a stream said that it was over, in the words of its form. A plain body is whole when its
// bytes are.
func (p *UsageParser) reachedEnd() bool {
	if !p.streamed || p.plain {
		return true
	}
	if p.wire == formOpenAI {
		return p.ended || p.finishSeen || p.final
	}
	return p.ended || p.wire == formGemini && p.textBytes == 0 // a prompt that was refused has no candidates
}

// settings are what chooses a price beside the counts: the answer's word first, then the request's.
func (p *UsageParser) settings(m *meter.Measured, request []byte) {
	asked := gjson.ParseBytes(request)
	m.AskedTier = asked.Get("service_tier").Str
	m.InferenceGeo = firstOf(p.geo, asked.Get("inference_geo").Str)
	m.SearchContextSize = firstOf(p.searchSize, asked.Get("web_search_options.search_context_size").Str)
	if m.SearchContextSize == "" {
		m.SearchContextSize = "medium" // OpenAI's default
		if p.by("perplexity") {
			m.SearchContextSize = "low"
		}
	}
	if p.work == workImages {
		quality := chosen("standard", p.quality, asked.Get("quality").Str)
		m.ImageKind = quality + ":" + chosen("1024x1024", p.size, asked.Get("size").Str)
	}
}

// chosen is the first setting that says something; "auto" leaves it to the vendor.
func chosen(standard string, settings ...string) string {
	for _, s := range settings {
		if s != "" && s != "auto" {
			return s
		}
	}
	return standard
}

func fastTier(speed string) string {
	if speed == "fast" {
		return speed
	}
	return ""
}
