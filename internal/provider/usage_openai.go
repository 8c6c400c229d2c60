package provider

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"p402.io/p402/meter"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// chat reads a frame of OpenAI's chat form and its dialects: Groq's x_groq, llama.cpp's timings, Ollama's counts and
// Cohere's billed units are told by their shape, as one address may speak either.
func (p *UsageParser) chat(data []byte) {
	p.countText(data)
	if p.model == "" {
		p.echo(gjson.GetBytes(data, "model"))
	}
	if tier := gjson.GetBytes(data, "service_tier"); tier.Type == gjson.String {
		p.tier = tier.Str
	}
	if !p.terminal {
		p.terminal = gjson.GetBytes(data, "choices.0.finish_reason").Type == gjson.String || gjson.GetBytes(data, "done").Bool() ||
			gjson.GetBytes(data, "type").Str == "message-end"
	}
	switch {
	case bytes.Contains(data, []byte(`"billed_units"`)):
		for _, path := range []string{"usage.billed_units", "meta.billed_units", "delta.usage.billed_units", "response.meta.billed_units"} {
			if u := gjson.GetBytes(data, path); u.IsObject() {
				p.billedUnits(u)
			}
		}
		return
	case bytes.Contains(data, []byte(`eval_count"`)):
		p.set("in", gjson.GetBytes(data, "prompt_eval_count"))
		p.set("out", gjson.GetBytes(data, "eval_count"))
		p.final = true
	}
	if bytes.Contains(data, []byte(`"usage"`)) { // most frames have none: looking for one word costs less than decoding
		for _, path := range []string{"usage", "x_groq.usage"} {
			if u := gjson.GetBytes(data, path); u.IsObject() {
				p.openAI(u)
				p.final = p.final || p.terminal || !gjson.GetBytes(data, "choices.0").Exists()
				return
			}
		}
	}
	if timings := gjson.GetBytes(data, "timings"); timings.IsObject() && !p.seen {
		p.set("in", timings.Get("prompt_n"))
		if _, bad := wholeNumber(timings.Get("cache_n")); bad {
			p.set("cached", timings.Get("cache_n"))
			p.last["in"] += p.last["cached"]
		}
		p.set("out", timings.Get("predicted_n"))
		p.final = true
	}
}

// countText adds the bytes of what a reader would see, for an estimate should no usage come.
func (p *UsageParser) countText(data []byte) {
	gjson.GetBytes(data, "choices").ForEach(func(_, choice gjson.Result) bool {
		for _, side := range []string{"delta", "message"} {
			if m := choice.Get(side); m.IsObject() {
				p.message(m)
			}
		}
		p.textBytes += int64(len(choice.Get("text").Str))
		return true
	})
	if m := gjson.GetBytes(data, "message"); m.IsObject() { // Ollama and Cohere
		p.message(m)
	}
	if gjson.GetBytes(data, "type").Str == "content-delta" {
		p.textBytes += int64(len(gjson.GetBytes(data, "delta.message.content.text").Str))
	}
}

func (p *UsageParser) message(m gjson.Result) {
	content := m.Get("content")
	p.textBytes += int64(len(content.Str)) + int64(len(m.Get("refusal").Str)) + int64(len(m.Get("reasoning_content").Str))
	if content.IsArray() {
		content.ForEach(func(_, part gjson.Result) bool {
			p.textBytes += int64(len(part.Get("text").Str))
			return true
		})
	}
	m.Get("tool_calls").ForEach(func(_, call gjson.Result) bool {
		p.textBytes += int64(len(call.Get("function.name").Str)) + int64(len(call.Get("function.arguments").Str))
		return true
	})
}

// openAI reads a usage object of chat, completions, embeddings, responses, images and audio: totals inclusive, parts
// beneath *_details. It is a snapshot: a field replaces what an earlier one said.
func (p *UsageParser) openAI(u gjson.Result) {
	p.first("in", u, "prompt_tokens", "input_tokens")
	p.first("out", u, "completion_tokens", "output_tokens")
	p.first("total", u, "total_tokens")
	for _, side := range []string{"prompt_tokens_details", "input_tokens_details", "prompt_token_details", "input_token_details"} {
		d := u.Get(side)
		if !d.IsObject() {
			continue
		}
		p.first("cached", d, "cached_tokens")
		p.first("write", d, "cache_write_tokens", "cache_creation_tokens")
		p.first("audio_in", d, "audio_tokens")
		p.first("image_in", d, "image_tokens")
		p.first("video_in", d, "video_tokens")
		p.first("cached_audio", d, "cached_tokens_details.audio_tokens")
		p.first("cached_image", d, "cached_tokens_details.image_tokens")
	}
	if _, known := p.last["cached"]; !known {
		p.first("cached", u, "prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")
	}
	p.first("reasoning", u, "completion_tokens_details.reasoning_tokens", "output_tokens_details.reasoning_tokens", "reasoning_tokens")
	p.first("audio_out", u, "completion_tokens_details.audio_tokens", "output_tokens_details.audio_tokens", "output_token_details.audio_tokens")
	p.first("image_out", u, "completion_tokens_details.image_tokens", "output_tokens_details.image_tokens", "output_token_details.image_tokens")
	p.first("citation", u, "citation_tokens")
	p.count("web_searches", u.Get("num_search_queries"))
	if size := u.Get("search_context_size"); size.Type == gjson.String {
		p.contextSize = size.Str
	}
	if tier := u.Get("service_tier"); tier.Type == gjson.String {
		p.tier = tier.Str
	}
	p.bill(u)
}

// bill reads what a vendor says it charges: OpenRouter's cost, xAI's ticks of 1e-10 dollars, Perplexity's total.
func (p *UsageParser) bill(u gjson.Result) {
	family, _, _ := strings.Cut(p.api, ".")
	is := func(name string) bool { return family == name || p.vendor == name }
	switch {
	case is("openrouter"):
		p.byok = u.Get("is_byok").Bool()
		p.reported = p.dollars(u.Get("cost"), 0, p.reported)
		p.upstream = p.dollars(u.Get("cost_details.upstream_inference_cost"), 0, p.upstream)
	case is("xai"):
		p.reported = p.dollars(u.Get("cost_in_usd_ticks"), -10, p.reported)
	case is("perplexity"):
		p.reported = p.dollars(u.Get("cost.total_cost"), 0, p.reported)
	}
}

// dollars is a figure's decimal text, shifted by a power of ten. One that is no amount is ignored, with a warning.
func (p *UsageParser) dollars(v gjson.Result, shift int, before string) string {
	switch {
	case !v.Exists() || v.Type == gjson.Null:
		return before
	case v.Type != gjson.Number || strings.HasPrefix(v.Raw, "-"):
		p.warn("reported_cost_invalid")
		return ""
	}
	raw := v.Raw
	if shift != 0 {
		raw = plainNumber(raw) + "e" + strconv.Itoa(shift)
	}
	return plainNumber(raw)
}

// billedUnits reads Cohere's: what is billed, not what was counted. Image tokens come on top of the text.
func (p *UsageParser) billedUnits(u gjson.Result) {
	p.set("in", u.Get("input_tokens"))
	p.set("out", u.Get("output_tokens"))
	if v := u.Get("image_tokens"); v.Exists() && v.Type != gjson.Null {
		p.set("image_in", v)
		p.last["in"] += p.last["image_in"]
	}
	p.count("search_units", u.Get("search_units"))
	p.count("pages", u.Get("pages"))
	p.final = true
}

// responses reads a frame of the Responses form: usage comes with the terminal event, tool calls with the items.
func (p *UsageParser) responses(data []byte) {
	body := gjson.ParseBytes(data)
	kind := body.Get("type").Str
	switch kind {
	case "response.completed", "response.incomplete", "response.failed":
		p.terminal, p.final = true, true
		body = body.Get("response")
	case "response.created", "response.in_progress", "response.queued":
		body = body.Get("response")
	case "response.output_item.done":
		p.item(body.Get("item"))
		return
	case "":
		p.final = true
	default:
		if strings.HasSuffix(kind, ".delta") {
			p.textBytes += int64(len(body.Get("delta").Str))
		}
		return
	}
	p.echo(body.Get("model"))
	if tier := body.Get("service_tier"); tier.Type == gjson.String {
		p.tier = tier.Str
	}
	if items := body.Get("output"); items.IsArray() && len(items.Raw) > 2 {
		clear(p.itemCounts) // the whole list: what single events said of it is in it
		items.ForEach(func(_, item gjson.Result) bool {
			p.item(item)
			if kind == "" {
				item.Get("content").ForEach(func(_, part gjson.Result) bool {
					p.textBytes += int64(len(part.Get("text").Str))
					return true
				})
			}
			return true
		})
	}
	if u := body.Get("usage"); u.IsObject() {
		p.openAI(u)
	}
}

// item counts a tool call that is charged by the piece.
func (p *UsageParser) item(item gjson.Result) {
	if item.Get("status").Str != "completed" {
		return
	}
	switch item.Get("type").Str {
	case "web_search_call":
		if action := item.Get("action.type"); action.Str == "search" {
			p.itemCounts["web_searches"]++
		}
	case "file_search_call":
		p.itemCounts["file_searches"]++
	}
}

// images reads an answer that is pictures: its output is image even where no details say so.
func (p *UsageParser) images(data []byte) {
	p.echo(gjson.GetBytes(data, "model"))
	if list := gjson.GetBytes(data, "data"); list.IsArray() {
		p.itemCounts["images"] = int64(len(list.Array()))
	}
	if u := gjson.GetBytes(data, "usage"); u.IsObject() {
		p.openAI(u)
		if !u.Get("output_tokens_details").IsObject() {
			p.set("image_out", u.Get("output_tokens"))
		}
	}
}

// transcription reads tokens or seconds.
func (p *UsageParser) transcription(data []byte) {
	body := gjson.ParseBytes(data)
	p.echo(body.Get("model"))
	switch u := body.Get("usage"); {
	case u.Get("type").Str == "duration":
		p.count("audio_seconds", u.Get("seconds"))
	case u.IsObject():
		p.openAI(u)
	default:
		if v := body.Get("duration"); v.Type == gjson.Number && !strings.HasPrefix(v.Raw, "-") {
			p.counts["audio_seconds"] = plainNumber(v.Raw)
		}
	}
}

// usage is what the snapshots come to, in the ledger's vocabulary.
func (p *UsageParser) usage() meter.Usage {
	u := meter.Usage{InputTokens: p.last["in"], OutputTokens: p.last["out"], CachedInputTokens: p.last["cached"], CacheWriteTokens: p.last["write"],
		CacheWrite5mTokens: p.last["write_5m"], CacheWrite1hTokens: p.last["write_1h"],
		InputAudioTokens: p.last["audio_in"], InputImageTokens: p.last["image_in"], InputVideoTokens: p.last["video_in"],
		CachedInputAudioTokens: p.last["cached_audio"], CachedInputImageTokens: p.last["cached_image"], ToolInputTokens: p.last["tool_in"],
		ReasoningTokens: p.last["reasoning"], OutputAudioTokens: p.last["audio_out"], OutputImageTokens: p.last["image_out"], CitationTokens: p.last["citation"]}
	for name, n := range p.itemCounts {
		if n > 0 && name != "images" {
			p.counts[name] = itoa(n)
		}
	}
	if len(p.counts) > 0 {
		u.Counts = p.counts
	}
	switch p.form() {
	case formAnthropic:
		p.anthropicTotals(&u)
	case formGemini:
		p.geminiTotals(&u)
	case formBedrock:
		p.bedrockTotals(&u)
	case formChat, formResponses, formImages, formTranscription, formSpeech, formOCR:
		p.settleReasoning(&u)
	}
	return u
}

// settleReasoning decides whether reasoning is inside the output or beside it: by the total, not by the vendor.
func (p *UsageParser) settleReasoning(u *meter.Usage) {
	total, told := p.last["total"]
	family, _, _ := strings.Cut(p.api, ".")
	sum := u.InputTokens + u.OutputTokens
	switch {
	case family == "perplexity" && u.ReasoningTokens > u.OutputTokens:
		u.OutputTokens += u.ReasoningTokens // its total leaves them out, its bill does not
	case !told || total == sum:
	case u.ReasoningTokens > 0 && total == sum+u.ReasoningTokens:
		u.OutputTokens += u.ReasoningTokens
	case p.api == "gemini.openai_chat" && total > sum && u.ReasoningTokens == 0:
		u.ReasoningTokens = total - sum // hidden: only the total shows it
		u.OutputTokens = total - u.InputTokens
	default:
		if _, out := p.last["out"]; out || total != u.InputTokens {
			p.warn("total_mismatch")
		}
	}
}

func promptBytes(request []byte) int64 {
	var n int64
	content := func(v gjson.Result) {
		n += int64(len(v.Str))
		if v.IsArray() {
			v.ForEach(func(_, part gjson.Result) bool {
				if part.Type == gjson.String {
					n += int64(len(part.Str))
				}
				n += int64(len(part.Get("text").Str))
				return true
			})
		}
	}
	body := gjson.ParseBytes(request)
	body.Get("messages").ForEach(func(_, message gjson.Result) bool {
		content(message.Get("content"))
		return true
	})
	content(body.Get("prompt"))
	if input := body.Get("input"); input.IsArray() && input.Get("0").IsObject() {
		input.ForEach(func(_, item gjson.Result) bool {
			content(item.Get("content"))
			return true
		})
	} else {
		content(input)
	}
	body.Get("contents").ForEach(func(_, message gjson.Result) bool {
		content(message.Get("parts"))
		return true
	})
	return n
}
