package provider

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"p402.io/p402/meter"
)

// UsageParser counts an answer as it passes: the vendor's own usage where there is one, the bytes of visible text where
// there is none. It keeps counts, never text.
type UsageParser struct {
	api, vendor string
	last        map[string]int64 // the last snapshot, field by field
	seen        bool
	bad         string
	reported    string
	model, tier string
	textBytes   int64
	finished    bool
}

// NewUsageParser returns a parser for one answer. api names the wire form, "openai.chat" and what is shaped like it.
func NewUsageParser(api, vendor string) *UsageParser {
	return &UsageParser{api: api, vendor: vendor, last: map[string]int64{}}
}

// Frame reads one frame: a stream's event, or the whole of a plain body.
func (p *UsageParser) Frame(_ string, data []byte) {
	if bytes.Equal(data, []byte("[DONE]")) {
		p.finished = true
		return
	}
	p.countText(data)
	if p.model == "" {
		p.model = gjson.GetBytes(data, "model").Str
	}
	if tier := gjson.GetBytes(data, "service_tier"); tier.Type == gjson.String {
		p.tier = tier.Str
	}
	if !bytes.Contains(data, []byte(`"usage"`)) {
		return // most frames: scanning for one word costs less than decoding
	}
	for _, path := range []string{"usage", "x_groq.usage"} {
		if u := gjson.GetBytes(data, path); u.IsObject() {
			p.snapshot(u)
			return
		}
	}
}

// countText adds the bytes of what a reader would see, for an estimate should no usage come.
func (p *UsageParser) countText(data []byte) {
	gjson.GetBytes(data, "choices").ForEach(func(_, choice gjson.Result) bool {
		for _, side := range []string{"delta", "message"} {
			m := choice.Get(side)
			p.textBytes += int64(len(m.Get("content").Str)) + int64(len(m.Get("refusal").Str)) + int64(len(m.Get("reasoning_content").Str))
			m.Get("tool_calls").ForEach(func(_, call gjson.Result) bool {
				p.textBytes += int64(len(call.Get("function.name").Str)) + int64(len(call.Get("function.arguments").Str))
				return true
			})
		}
		p.textBytes += int64(len(choice.Get("text").Str))
		return true
	})
}

// usageFields maps our names to where OpenAI-shaped vendors put them; the first present wins.
var usageFields = []struct {
	name  string
	paths []string
}{
	{"prompt", []string{"prompt_tokens", "input_tokens"}},
	{"completion", []string{"completion_tokens", "output_tokens"}},
	{"total", []string{"total_tokens"}},
	{"cached", []string{"prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens", "prompt_cache_hit_tokens", "cached_tokens"}},
	{"write", []string{"prompt_tokens_details.cache_write_tokens", "prompt_tokens_details.cache_creation_tokens"}},
	{"audio_in", []string{"prompt_tokens_details.audio_tokens", "input_tokens_details.audio_tokens"}},
	{"image_in", []string{"prompt_tokens_details.image_tokens", "input_tokens_details.image_tokens"}},
	{"reasoning", []string{"completion_tokens_details.reasoning_tokens", "output_tokens_details.reasoning_tokens", "reasoning_tokens"}},
	{"audio_out", []string{"completion_tokens_details.audio_tokens", "output_tokens_details.audio_tokens"}},
	{"image_out", []string{"completion_tokens_details.image_tokens", "output_tokens_details.image_tokens"}},
}

// snapshot reads one usage object. It is cumulative: a field replaces what an earlier one said, null keeps it.
func (p *UsageParser) snapshot(u gjson.Result) {
	for _, f := range usageFields {
		for _, path := range f.paths {
			v := u.Get(path)
			if !v.Exists() || v.Type == gjson.Null {
				continue
			}
			n, ok := wholeNumber(v)
			if !ok {
				p.bad = "not_integer"
			}
			p.last[f.name], p.seen = n, true
			break
		}
	}
	if p.vendor == "openrouter" {
		if cost := u.Get("cost"); cost.Type == gjson.Number {
			p.reported = plainNumber(cost.Raw)
		}
	}
}

// wholeNumber reads an integral JSON number by its text: 30.0 and 1.2e3 are integral, "12" is not.
func wholeNumber(v gjson.Result) (int64, bool) {
	if v.Type != gjson.Number {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(plainNumber(v.Raw), ".0"), 10, 64)
	return n, err == nil
}

// plainNumber writes a JSON number without exponent, exactly.
func plainNumber(raw string) string {
	mantissa, exponent, has := strings.Cut(strings.ToLower(raw), "e")
	shift := 0
	if has {
		var err error
		if shift, err = strconv.Atoi(exponent); err != nil || shift > 40 || shift < -40 {
			return raw
		}
	}
	sign := ""
	if strings.HasPrefix(mantissa, "-") {
		sign, mantissa = "-", mantissa[1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits, point := whole+fraction, len(whole)+shift
	for point > len(digits) {
		digits += "0"
	}
	for point <= 0 {
		digits, point = "0"+digits, point+1
	}
	text := sign + strings.TrimLeft(digits[:point-1], "0") + digits[point-1:point]
	if tail := strings.TrimRight(digits[point:], "0"); tail != "" {
		text += "." + tail
	}
	return text
}

// Finish is the verdict once the answer has ended. endedBy is "eof", "client_cancel" or "cut"; request is the caller's
// body, of which only the length of its text is used, and only if the vendor counted nothing.
func (p *UsageParser) Finish(endedBy string, httpStatus int, request []byte) meter.Measured {
	m := meter.Measured{HTTPStatus: httpStatus, Model: p.model, ServiceTier: p.tier, ReportedCost: p.reported, Source: meter.UsageNone,
		Complete: endedBy == "eof" || endedBy == "done", EstimatedFields: []string{}}
	if httpStatus >= 400 {
		return m
	}
	if p.seen {
		m.Source, m.Usage = meter.UsageProvider, p.usage()
		if m.Rejected = p.bad; m.Rejected == "" {
			m.Rejected = m.Usage.Check()
		}
		if m.Rejected != "" {
			m.Source, m.Usage = meter.UsageRejected, meter.Usage{}
		}
		return m
	}
	m.Source, m.EstimatedFields = meter.UsageEstimated, []string{"input_tokens", "output_tokens"}
	m.Usage = meter.Usage{InputTokens: quarter(promptBytes(request)), OutputTokens: quarter(p.textBytes)}
	return m
}

// usage settles where reasoning stands: by the total, not by the vendor.
func (p *UsageParser) usage() meter.Usage {
	in, out, reasoning, total := p.last["prompt"], p.last["completion"], p.last["reasoning"], p.last["total"]
	if reasoning > 0 && total == in+out+reasoning && total != in+out {
		out += reasoning
	}
	return meter.Usage{InputTokens: in, OutputTokens: out, CachedInputTokens: p.last["cached"], CacheWriteTokens: p.last["write"],
		InputAudioTokens: p.last["audio_in"], InputImageTokens: p.last["image_in"], ReasoningTokens: reasoning,
		OutputAudioTokens: p.last["audio_out"], OutputImageTokens: p.last["image_out"]}
}

func promptBytes(request []byte) int64 {
	var n int64
	gjson.GetBytes(request, "messages").ForEach(func(_, message gjson.Result) bool {
		content := message.Get("content")
		n += int64(len(content.Str))
		content.ForEach(func(_, part gjson.Result) bool {
			n += int64(len(part.Get("text").Str))
			return true
		})
		return true
	})
	return n
}

// quarter is the agreed estimate: four bytes of text a token, rounded up.
func quarter(bytes int64) int64 { return (bytes + 3) / 4 }
