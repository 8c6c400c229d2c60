package provider

import (
	"bytes"
	"strings"

	"github.com/tidwall/gjson"

	"p402.io/p402/meter"
)

// anthropic reads a frame of Messages: every usage is cumulative, so the greatest value of a field is its last.
func (p *UsageParser) anthropic(data []byte) {
	body := gjson.ParseBytes(data)
	switch body.Get("type").Str {
	case "message_stop":
		p.terminal = true
	case "content_block_delta":
		d := body.Get("delta")
		p.textBytes += int64(len(d.Get("text").Str)) + int64(len(d.Get("thinking").Str)) + int64(len(d.Get("partial_json").Str))
	case "error":
		p.failed = true
	}
	if !bytes.Contains(data, []byte(`"usage"`)) {
		return
	}
	for _, at := range []gjson.Result{body, body.Get("message")} {
		p.echo(at.Get("model"))
		u := at.Get("usage")
		if !u.IsObject() {
			continue
		}
		p.final = body.Get("type").Str != "message_start"
		p.anthropicUsage(u)
	}
}

func (p *UsageParser) anthropicUsage(u gjson.Result) {
	for name, path := range map[string]string{"in": "input_tokens", "out": "output_tokens", "cached": "cache_read_input_tokens",
		"write": "cache_creation_input_tokens", "write_5m": "cache_creation.ephemeral_5m_input_tokens", "write_1h": "cache_creation.ephemeral_1h_input_tokens",
		"reasoning": "output_tokens_details.thinking_tokens"} {
		p.greatest(name, u.Get(path))
	}
	p.count("web_searches", u.Get("server_tool_use.web_search_requests"))
	p.count("web_fetches", u.Get("server_tool_use.web_fetch_requests"))
	if tier := u.Get("service_tier"); tier.Type == gjson.String {
		p.tier = tier.Str
	}
	if u.Get("speed").Str == "fast" {
		p.tier = "fast"
	}
	if geo := u.Get("inference_geo"); geo.Type == gjson.String {
		p.geo = geo.Str
	}
	if steps := u.Get("iterations"); steps.IsArray() {
		p.compacted = map[string]int64{} // a snapshot too
		steps.ForEach(func(_, step gjson.Result) bool {
			if step.Get("type").Str == "compaction" { // billed, and in no other count
				p.compaction(step)
			}
			return true
		})
	}
}

func (p *UsageParser) compaction(step gjson.Result) {
	for name, path := range map[string]string{"in": "input_tokens", "out": "output_tokens", "cached": "cache_read_input_tokens",
		"write": "cache_creation_input_tokens", "write_5m": "cache_creation.ephemeral_5m_input_tokens", "write_1h": "cache_creation.ephemeral_1h_input_tokens"} {
		v := step.Get(path)
		if !v.Exists() || v.Type == gjson.Null {
			continue
		}
		n, ok := wholeNumber(v)
		switch {
		case !ok:
			p.bad = "not_integer"
		case n < 0:
			p.bad = "negative_count"
		default:
			p.compacted[name] += n
		}
	}
}

// anthropicTotals: what is fresh, read from a cache and written to it are three parts of the input.
func (p *UsageParser) anthropicTotals(u *meter.Usage) {
	u.InputTokens += p.compacted["in"]
	u.OutputTokens += p.compacted["out"]
	u.CachedInputTokens += p.compacted["cached"]
	u.CacheWriteTokens += p.compacted["write"]
	u.CacheWrite5mTokens += p.compacted["write_5m"]
	u.CacheWrite1hTokens += p.compacted["write_1h"]
	split := u.CacheWrite5mTokens + u.CacheWrite1hTokens
	if u.CacheWriteTokens = max(u.CacheWriteTokens, split); u.CacheWriteTokens > split {
		u.CacheWrite5mTokens = u.CacheWriteTokens - u.CacheWrite1hTokens // no time named: five minutes
	}
	if u.InputTokens >= 0 && u.CachedInputTokens >= 0 && u.CacheWriteTokens >= 0 {
		u.InputTokens += u.CachedInputTokens + u.CacheWriteTokens
	}
}

// bedrock reads Converse: input excludes the cache, as with Anthropic; a stream's usage is in its metadata event.
func (p *UsageParser) bedrock(event string, data []byte) {
	body := gjson.ParseBytes(data)
	if wrapped := body.Get("metadata"); wrapped.IsObject() {
		body, event = wrapped, "metadata"
	}
	p.terminal = p.terminal || event == "metadata"
	p.textBytes += int64(len(body.Get("delta.text").Str))
	body.Get("output.message.content").ForEach(func(_, part gjson.Result) bool {
		p.textBytes += int64(len(part.Get("text").Str))
		return true
	})
	if tier := body.Get("serviceTier.type"); tier.Type == gjson.String {
		p.tier = tier.Str
	}
	u := body.Get("usage")
	if !u.IsObject() {
		return
	}
	p.final = true
	p.set("in", u.Get("inputTokens"))
	p.set("out", u.Get("outputTokens"))
	p.set("total", u.Get("totalTokens"))
	p.first("cached", u, "cacheReadInputTokens", "cacheReadInputTokenCount")
	p.first("write", u, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
	u.Get("cacheDetails").ForEach(func(_, detail gjson.Result) bool {
		switch detail.Get("ttl").Str {
		case "5m":
			p.set("write_5m", detail.Get("inputTokens"))
		case "1h":
			p.set("write_1h", detail.Get("inputTokens"))
		}
		return true
	})
}

func (p *UsageParser) bedrockTotals(u *meter.Usage) {
	total, told := p.last["total"]
	p.anthropicTotals(u)
	if told && total != u.InputTokens+u.OutputTokens {
		p.warn("total_mismatch")
	}
}

// gemini reads generateContent: usageMetadata is cumulative and comes with every chunk.
func (p *UsageParser) gemini(data []byte) {
	body := gjson.ParseBytes(data)
	p.echo(body.Get("modelVersion"))
	candidates := body.Get("candidates")
	candidates.ForEach(func(_, c gjson.Result) bool {
		p.terminal = p.terminal || c.Get("finishReason").Type == gjson.String
		c.Get("content.parts").ForEach(func(_, part gjson.Result) bool {
			p.textBytes += int64(len(part.Get("text").Str))
			return true
		})
		if queries := len(c.Get("groundingMetadata.webSearchQueries").Array()); queries > 0 {
			p.counts["grounded_prompts"] = "1"
			p.itemCounts["grounding_queries"] = max(p.itemCounts["grounding_queries"], int64(queries))
		}
		return true
	})
	if body.Get("promptFeedback.blockReason").Exists() {
		p.terminal = true // blocked: no candidate ever finishes, the prompt is billed
	}
	u := body.Get("usageMetadata")
	if !u.IsObject() {
		return
	}
	p.final = p.terminal
	for name, path := range map[string]string{"in": "promptTokenCount", "out": "candidatesTokenCount", "cached": "cachedContentTokenCount",
		"reasoning": "thoughtsTokenCount", "tool_in": "toolUsePromptTokenCount", "total": "totalTokenCount"} {
		p.set(name, u.Get(path))
	}
	p.modalities(u.Get("promptTokensDetails"), "audio_in", "image_in", "video_in")
	p.modalities(u.Get("cacheTokensDetails"), "cached_audio", "cached_image", "")
	p.modalities(u.Get("candidatesTokensDetails"), "audio_out", "image_out", "")
	for _, tier := range []gjson.Result{body.Get("serviceTier"), u.Get("serviceTier"), u.Get("trafficType")} {
		if tier.Type == gjson.String {
			p.tier = geminiTier(tier.Str)
		}
	}
}

// geminiTier spells Gemini's and Vertex's names for a tier as the price book does.
func geminiTier(name string) string {
	name = strings.ToLower(name)
	name = strings.TrimPrefix(name, "service_tier_")
	name = strings.TrimPrefix(name, "traffic_type_")
	return strings.TrimPrefix(name, "on_demand_")
}

// modalities adds up one list of counts by modality; a PDF page counts as a picture.
func (p *UsageParser) modalities(list gjson.Result, audio, image, video string) {
	if !list.IsArray() {
		return
	}
	sums := map[string]int64{}
	list.ForEach(func(_, d gjson.Result) bool {
		name := map[string]string{"AUDIO": audio, "IMAGE": image, "DOCUMENT": image, "VIDEO": video}[d.Get("modality").Str]
		if v := d.Get("tokenCount"); name != "" && v.Exists() && v.Type != gjson.Null {
			n, ok := wholeNumber(v)
			if !ok {
				p.bad = "not_integer"
			}
			if n < 0 {
				p.bad = "negative_count"
			}
			sums[name] += n
		}
		return true
	})
	for name, n := range sums {
		p.last[name] = n
	}
}

// geminiTotals: thoughts come on top of the candidates, tool results on top of the prompt.
func (p *UsageParser) geminiTotals(u *meter.Usage) {
	u.InputTokens += u.ToolInputTokens
	u.OutputTokens += u.ReasoningTokens
	if total, told := p.last["total"]; told && total != u.InputTokens+u.OutputTokens {
		p.warn("total_mismatch")
	}
}
