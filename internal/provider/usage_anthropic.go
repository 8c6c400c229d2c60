package provider

import (
	"github.com/tidwall/gjson"

	"p402.io/p402/meter"
)

// anthropicFrame reads an Anthropic message or one event of it. A stream says what was read in message_start and what was
// written in message_delta, each cumulative; server tools may raise either later.
func (p *UsageParser) anthropicFrame(event string, data []byte) {
	kind, usage, delta, content, message := "", []byte(nil), []byte(nil), []byte(nil), []byte(nil)
	walkObject(data, func(key, value []byte) {
		switch string(key) {
		case "type":
			kind = text(value)
		case "usage":
			usage = value
		case "delta", "content_block":
			delta = value
		case "content":
			content = value
		case "message":
			message = value
		case "model":
			p.echo(value)
		}
	})
	if kind == "" {
		kind = event
	}
	p.streamed = p.streamed || kind != "message"
	switch kind {
	case "error":
		p.failed = true
	case "message":
		p.plain = true
		walkArray(content, p.blockText)
	case "message_start":
		walkObject(message, func(key, value []byte) {
			switch string(key) {
			case "model":
				p.echo(value)
			case "usage":
				p.anthropicUsage(value)
			}
		})
	case "content_block_start", "content_block_delta":
		p.blockText(delta)
	case "message_delta":
		if stop := gjson.GetBytes(delta, "stop_reason"); isObject(usage) && stop.Type != gjson.Null {
			p.final = true
		}
	case "message_stop":
		p.ended = true
		p.final = p.final || p.deltaUsage
	}
	if isObject(usage) {
		p.deltaUsage = p.deltaUsage || kind == "message_delta" && gjson.GetBytes(usage, "output_tokens").Type == gjson.Number
		p.anthropicUsage(usage)
	}
}

// blockText counts a content block or a piece of one.
func (p *UsageParser) blockText(block []byte) {
	walkObject(block, func(key, value []byte) {
		switch string(key) {
		case "text", "thinking", "partial_json", "name":
			p.textBytes += textLen(value)
		case "input":
			if len(value) > len("{}") {
				p.textBytes += int64(len(value))
			}
		}
	})
}

// anthropicUsage takes a usage object; of each field the largest value stands.
func (p *UsageParser) anthropicUsage(raw []byte) {
	if !isObject(raw) {
		return
	}
	p.keepRaw(raw)
	u := gjson.ParseBytes(raw)
	p.putMost(fInput, u.Get("input_tokens"))
	p.putMost(fOutput, u.Get("output_tokens"))
	p.putMost(fCached, u.Get("cache_read_input_tokens"))
	p.putMost(fWrite, u.Get("cache_creation_input_tokens"))
	p.putMost(fWrite5m, u.Get("cache_creation.ephemeral_5m_input_tokens"))
	p.putMost(fWrite1h, u.Get("cache_creation.ephemeral_1h_input_tokens"))
	p.putMost(fReasoning, u.Get("output_tokens_details.thinking_tokens"))
	p.mostQuantity("web_searches", u.Get("server_tool_use.web_search_requests"))
	p.mostQuantity("web_fetches", u.Get("server_tool_use.web_fetch_requests"))
	p.tier = firstOf(u.Get("service_tier").Str, p.tier)
	p.speed = firstOf(u.Get("speed").Str, p.speed)
	p.geo = firstOf(u.Get("inference_geo").Str, p.geo)
	p.iterations(u.Get("iterations"))
	if p.by("openrouter") {
		p.openaiCharge(u)
	}
}

// mostQuantity keeps the larger of two whole quantities, and a bad one whatever comes.
func (p *UsageParser) mostQuantity(name string, v gjson.Result) {
	if !v.Exists() || v.Type == gjson.Null {
		return
	}
	c, have := readCount(v), readCount(gjson.Result{Type: gjson.Number, Raw: firstOf(p.counts[name], "0")})
	if c.bad != "" || have.bad == "" && c.n >= have.n {
		p.wholeQuantity(name, v)
	}
}

// iterations adds up what was billed beside the top level: compactions. Messages are within it. Whether the work of
// another model is, the interface does not say; such a call is marked, for its price may be another one too.
func (p *UsageParser) iterations(list gjson.Result) {
	sums := map[countField]count{}
	add := func(f countField, v gjson.Result) {
		if !v.Exists() || v.Type == gjson.Null {
			return
		}
		c, sum := readCount(v), sums[f]
		sums[f] = count{n: sum.n + c.n, bad: firstOf(sum.bad, c.bad), set: true}
	}
	list.ForEach(func(_, step gjson.Result) bool {
		switch kind := step.Get("type").Str; kind {
		case "compaction":
			add(fSubInput, step.Get("input_tokens"))
			add(fSubOutput, step.Get("output_tokens"))
			add(fSubCached, step.Get("cache_read_input_tokens"))
			add(fSubWrite, step.Get("cache_creation_input_tokens"))
			add(fSubWrite1h, step.Get("cache_creation.ephemeral_1h_input_tokens"))
		case "message", "":
		default:
			p.warn("needs_review:" + kind)
		}
		return true
	})
	for f, sum := range sums {
		if !p.last[f].set || sum.bad != "" || p.last[f].n < sum.n {
			p.last[f] = sum
		}
	}
}

// exclusiveUsage is for shapes whose input leaves out what a cache gave or took: Anthropic's, and Bedrock's after it.
// Writes whose lifetime is not told have the vendor's default, five minutes.
func (p *UsageParser) exclusiveUsage() (meter.Usage, string) {
	written := p.n(fWrite)
	if split := p.n(fWrite5m) + p.n(fWrite1h); !p.has(fWrite) {
		written = split
	} else if split > written {
		return meter.Usage{}, "subset_exceeds_total"
	}
	if p.n(fSubWrite1h) > p.n(fSubWrite) {
		return meter.Usage{}, "subset_exceeds_total"
	}
	cached := p.n(fCached) + p.n(fSubCached)
	hour := p.n(fWrite1h) + p.n(fSubWrite1h)
	written += p.n(fSubWrite)
	u := meter.Usage{InputTokens: p.n(fInput) + p.n(fSubInput) + cached + written, CachedInputTokens: cached, CacheWriteTokens: written,
		CacheWrite5mTokens: written - hour, CacheWrite1hTokens: hour, OutputTokens: p.n(fOutput) + p.n(fSubOutput), ReasoningTokens: p.n(fReasoning)}
	p.sums(u.TotalTokens(), p.n(fInput)+p.n(fOutput))
	return u, ""
}
