package provider

import (
	"bytes"
	"strings"

	"github.com/tidwall/gjson"

	"p402.io/p402/meter"
)

// UsageParser counts an answer as it passes: the vendor's own usage where there is one, the bytes of visible text where
// there is none. It keeps counts, never text. One parser reads one answer; it is not safe for two goroutines.
type UsageParser struct {
	api, vendor string
	last        map[string]int64 // the last snapshot, field by field, by the names that the wire forms share
	counts      map[string]string
	seen        bool // some token count was reported
	final       bool // a usage that only the end of an answer carries
	bad         string
	warnings    []string

	reported, upstream string // the vendor's own figures, decimal text of US dollars
	byok               bool
	model, tier, geo   string
	contextSize        string // Perplexity's search_context_size
	compacted          map[string]int64

	textBytes  int64
	frames     int
	done       bool // [DONE]
	terminal   bool // the form's own last event
	failed     bool // an error inside a stream
	itemCounts map[string]int64
}

// form is a wire form: where usage lies and what its numbers include.
type form int

const (
	formChat form = iota // OpenAI's chat, and who speaks it: the default
	formResponses
	formAnthropic
	formGemini
	formBedrock
	formImages
	formTranscription
	formSpeech
	formOCR
)

// NewUsageParser returns a parser for one answer. api names the wire form, "openai.chat" and what is shaped like it.
func NewUsageParser(api, vendor string) *UsageParser {
	return &UsageParser{api: api, vendor: vendor, last: map[string]int64{}, counts: map[string]string{}, itemCounts: map[string]int64{}}
}

func (p *UsageParser) form() form {
	_, route, _ := strings.Cut(p.api, ".")
	switch {
	case p.api == "anthropic.messages":
		return formAnthropic
	case p.api == "gemini.generate", p.api == "vertex.generate":
		return formGemini
	case strings.HasPrefix(p.api, "bedrock."):
		return formBedrock
	case strings.HasSuffix(route, "responses"):
		return formResponses
	case strings.Contains(route, "images"):
		return formImages
	case strings.Contains(route, "speech"):
		return formSpeech
	case strings.Contains(route, "audio"), strings.Contains(route, "transcription"), strings.Contains(route, "translation"):
		return formTranscription
	case strings.HasSuffix(route, "ocr"):
		return formOCR
	}
	return formChat
}

// Frame reads one frame: a stream's event, or the whole of a plain body. event is the SSE event's name, if it has one.
func (p *UsageParser) Frame(event string, data []byte) {
	p.frames++
	data = bytes.TrimSpace(data)
	if bytes.Equal(data, []byte("[DONE]")) {
		p.done = true
		return
	}
	if len(data) == 0 || data[0] != '{' {
		return
	}
	if bytes.Contains(data, []byte(`"error"`)) && gjson.GetBytes(data, "error").IsObject() {
		p.failed = true
	}
	switch p.form() {
	case formAnthropic:
		p.anthropic(data)
	case formGemini:
		p.gemini(data)
	case formBedrock:
		p.bedrock(event, data)
	case formResponses:
		p.responses(data)
	case formImages:
		p.images(data)
	case formTranscription:
		p.transcription(data)
	case formSpeech:
		if u := gjson.GetBytes(data, "usage"); u.IsObject() {
			p.openAI(u)
			p.set("audio_out", u.Get("output_tokens"))
		}
	case formOCR:
		p.echo(gjson.GetBytes(data, "model"))
		p.count("pages", gjson.GetBytes(data, "usage_info.pages_processed"))
	case formChat:
		p.chat(data)
	}
}

// set notes a count; absent and null keep what was known.
func (p *UsageParser) set(name string, v gjson.Result) {
	if !v.Exists() || v.Type == gjson.Null {
		return
	}
	n, ok := wholeNumber(v)
	if !ok && p.bad == "" {
		p.bad = "not_integer"
	}
	p.last[name], p.seen = n, true
}

// first notes the first of several names that is present: they are one figure under many names, never a sum.
func (p *UsageParser) first(name string, u gjson.Result, paths ...string) {
	for _, path := range paths {
		if v := u.Get(path); v.Exists() && v.Type != gjson.Null {
			p.set(name, v)
			return
		}
	}
}

// greatest notes a count that only grows.
func (p *UsageParser) greatest(name string, v gjson.Result) {
	before, known := p.last[name]
	if p.set(name, v); known {
		p.last[name] = max(before, p.last[name])
	}
}

// count notes a quantity that is not tokens. Nought is nothing.
func (p *UsageParser) count(name string, v gjson.Result) {
	switch {
	case !v.Exists() || v.Type == gjson.Null:
	case v.Type != gjson.Number:
		p.bad = "not_integer"
	case strings.HasPrefix(v.Raw, "-"):
		p.bad, p.seen = "negative_count", true
	default:
		p.seen = true
		if text := plainNumber(v.Raw); text != "0" {
			p.counts[name] = text
		}
	}
}

func (p *UsageParser) echo(model gjson.Result) {
	if model.Type == gjson.String && model.Str != "" {
		p.model = model.Str
	}
}

func (p *UsageParser) warn(warning string) {
	for _, w := range p.warnings {
		if w == warning {
			return
		}
	}
	p.warnings = append(p.warnings, warning)
}

// Finish is the verdict once the answer has ended. endedBy is "done", "eof", "client_cancel" or "cut"; request is the
// caller's body, of which only sizes, counts and options are used, never text.
func (p *UsageParser) Finish(endedBy string, httpStatus int, request []byte) meter.Measured {
	m := meter.Measured{HTTPStatus: httpStatus, Model: p.model, ServiceTier: p.tier, Source: meter.UsageNone, Warnings: p.warnings,
		Complete: p.complete(endedBy), EstimatedFields: []string{}, InferenceGeo: p.geo}
	if httpStatus >= 400 {
		m.Complete = endedBy == "eof" || endedBy == "done" // a refusal is an error object, and whole
		return m
	}
	if tier := gjson.GetBytes(request, "service_tier"); tier.Type == gjson.String {
		m.TierAsked = tier.Str
	}
	p.billing(&m, request)
	m.Warnings = p.warnings
	if p.seen || p.bad != "" {
		m.Source, m.Usage = meter.UsageProvider, p.usage()
		m.Warnings = p.warnings
		if m.Rejected = p.bad; m.Rejected == "" {
			m.Rejected = m.Usage.Check()
		}
		if m.Rejected != "" {
			m.Source, m.Usage = meter.UsageRejected, meter.Usage{}
			return m
		}
		p.complement(&m, request)
		return m
	}
	if p.derived(&m, request) {
		return m
	}
	switch p.form() {
	case formChat, formResponses, formAnthropic, formGemini, formBedrock:
		m.Source, m.EstimatedFields = meter.UsageEstimated, []string{"input_tokens", "output_tokens"}
		m.Usage = meter.Usage{InputTokens: quarter(promptBytes(request)), OutputTokens: quarter(p.textBytes)}
		if strings.Contains(p.api, "embeddings") {
			m.EstimatedFields = []string{"input_tokens"}
		}
	case formImages, formTranscription, formSpeech, formOCR: // nothing to estimate by
	}
	return m
}

// complement estimates what a broken answer, or a vendor that reports one side only, leaves open. A reported snapshot
// is a floor: an estimate never goes below it.
func (p *UsageParser) complement(m *meter.Measured, request []byte) {
	_, in := p.last["in"]
	_, out := p.last["out"]
	talks := p.form() == formChat && !strings.Contains(p.api, "embed") && !strings.Contains(p.api, "rerank") || p.form() == formAnthropic ||
		p.form() == formGemini || p.form() == formResponses || p.form() == formBedrock
	if !talks || len(m.Counts) > 0 && !in && !out {
		return
	}
	if !in {
		m.InputTokens = max(m.InputTokens, quarter(promptBytes(request)))
		m.EstimatedFields = append(m.EstimatedFields, "input_tokens")
	}
	if !out && !(p.form() == formGemini && m.Complete) || !m.Complete && !p.final {
		m.OutputTokens = max(m.OutputTokens, quarter(p.textBytes)+m.ReasoningTokens*boolInt(p.form() == formGemini))
		m.EstimatedFields = append(m.EstimatedFields, "output_tokens")
	}
	if len(m.EstimatedFields) > 0 {
		m.Source = meter.UsagePartial
	}
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// complete reports whether an answer reached its normal end.
func (p *UsageParser) complete(endedBy string) bool {
	if p.failed || endedBy != "eof" && endedBy != "done" {
		return false
	}
	if p.frames <= 1 { // a plain body
		return true
	}
	switch p.form() {
	case formAnthropic, formResponses, formGemini, formBedrock:
		return p.terminal
	case formChat:
		return p.done || p.terminal
	case formImages, formTranscription, formSpeech, formOCR:
	}
	return true
}

// derived counts what a reply without usage shows by itself: pieces, seconds, characters.
func (p *UsageParser) derived(m *meter.Measured, request []byte) bool {
	switch p.form() {
	case formImages:
		if n := p.itemCounts["images"]; n > 0 {
			m.Counts = map[string]string{"images": itoa(n)}
		}
	case formSpeech:
		if n := len([]rune(gjson.GetBytes(request, "input").Str)); n > 0 {
			m.Counts = map[string]string{"characters": itoa(int64(n))}
		}
	case formTranscription:
		m.Counts = p.counts
	case formChat, formResponses, formAnthropic, formGemini, formBedrock, formOCR:
	}
	if len(m.Counts) == 0 {
		return false
	}
	m.Source = meter.UsageCounted
	return true
}

// billing takes over the vendor's own bill, and what chooses among a fee's prices.
func (p *UsageParser) billing(m *meter.Measured, request []byte) {
	m.ReportedCost, m.BYOK, m.UpstreamCost = p.reported, p.byok, p.upstream
	m.Delivered = !p.failed
	option := func(name, standard string) string {
		if v := gjson.GetBytes(request, name).Str; v != "" {
			return v
		}
		return standard
	}
	m.Options = map[string]string{"image_kind": option("quality", "standard") + ":" + option("size", "1024x1024")}
	if p.contextSize == "" {
		p.contextSize = gjson.GetBytes(request, "web_search_options.search_context_size").Str
	}
	if p.contextSize != "" {
		m.Options["search_context_size"] = p.contextSize
	}
}
