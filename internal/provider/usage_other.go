package provider

import (
	"fmt"
	"strings"

	"github.com/tidwall/gjson"
)

// bedrockFrame reads a Converse answer or one event of it; the usage is in the metadata event, which comes last.
func (p *UsageParser) bedrockFrame(event string, data []byte) {
	walkObject(data, func(key, value []byte) {
		switch string(key) { // some clients pass an event on inside an object that names it
		case "messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata":
			p.bedrockEvent(string(key), value)
		}
	})
	p.bedrockEvent(event, data)
}

func (p *UsageParser) bedrockEvent(event string, data []byte) {
	p.streamed = p.streamed || event != ""
	p.failed = p.failed || strings.HasSuffix(event, "Exception")
	walkObject(data, func(key, value []byte) {
		switch string(key) {
		case "usage":
			p.bedrockUsage(value)
		case "serviceTier":
			p.served([]byte(gjson.GetBytes(value, "type").Raw))
		case "delta":
			p.bedrockText(value)
		case "output":
			p.plain = true
			walkArray([]byte(gjson.GetBytes(value, "message.content").Raw), p.bedrockText)
		case "stopReason":
			p.ended = p.ended || !isNull(value)
		default:
			p.failed = p.failed || strings.HasSuffix(string(key), "Exception")
		}
	})
}

func (p *UsageParser) bedrockText(block []byte) {
	walkObject(block, func(key, value []byte) {
		switch string(key) {
		case "text":
			p.textBytes += textLen(value)
		case "reasoningContent":
			p.textBytes += contentLen(value) + contentLen([]byte(gjson.GetBytes(value, "reasoningText").Raw))
		case "toolUse":
			walkObject(value, func(key, v []byte) {
				switch string(key) {
				case "name":
					p.textBytes += textLen(v)
				case "input":
					if v[0] == '"' {
						p.textBytes += textLen(v)
					} else {
						p.textBytes += int64(len(v))
					}
				}
			})
		}
	})
}

func (p *UsageParser) bedrockUsage(raw []byte) {
	if !isObject(raw) {
		return
	}
	p.keepRaw(raw)
	u := gjson.ParseBytes(raw)
	p.put(fInput, u.Get("inputTokens"))
	p.put(fOutput, u.Get("outputTokens"))
	p.put(fTotal, u.Get("totalTokens"))
	p.putFirst(fCached, u, "cacheReadInputTokens", "cacheReadInputTokenCount")
	p.putFirst(fWrite, u, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
	if split := u.Get("cacheDetails"); split.IsArray() {
		sums := map[string]count{}
		split.ForEach(func(_, entry gjson.Result) bool {
			ttl, c := entry.Get("ttl").Str, readCount(entry.Get("inputTokens"))
			sums[ttl] = count{n: sums[ttl].n + c.n, bad: firstOf(sums[ttl].bad, c.bad), set: true}
			return true
		})
		p.last[fWrite5m], p.last[fWrite1h] = sums["5m"], sums["1h"]
	}
	p.ended, p.final = true, true
}

// cohereFrame reads a Cohere answer or one event of it. What is billed is in billed_units; the tokens beside them include
// the vendor's own preamble.
func (p *UsageParser) cohereFrame(data []byte) {
	root := gjson.ParseBytes(data)
	kind := root.Get("type").Str
	switch {
	case root.Get("event_type").Exists():
		kind = root.Get("event_type").Str
		p.streamed = true
		p.textBytes += int64(len(root.Get("text").Str))
	case kind != "":
		p.streamed = true
	}
	if m := root.Get("model").Str; p.model == "" {
		p.model = m
	}
	switch kind {
	case "content-delta":
		p.textBytes += contentLen([]byte(root.Get("delta.message.content").Raw))
	case "tool-plan-delta":
		p.textBytes += int64(len(root.Get("delta.message.tool_plan").Str))
	case "tool-call-start", "tool-call-delta":
		call := root.Get("delta.message.tool_calls.function")
		p.textBytes += int64(len(call.Get("name").Str) + len(call.Get("arguments").Str))
	case "message-end", "stream-end":
		p.ended = true
	case "":
		p.plain = true
		p.textBytes += contentLen([]byte(root.Get("message.content").Raw))
	}
	p.failed = p.failed || strings.HasPrefix(root.Get("delta.finish_reason").Str, "ERROR") || root.Get("error").Exists()
	for _, path := range []string{"usage", "delta.usage", "meta", "response.meta"} {
		p.cohereUsage(root.Get(path))
	}
}

func (p *UsageParser) cohereUsage(u gjson.Result) {
	if !u.IsObject() {
		return
	}
	p.keepRaw([]byte(u.Raw))
	if billed := u.Get("billed_units"); billed.IsObject() {
		p.billed(billed)
	} else if tokens := u.Get("tokens"); tokens.IsObject() {
		p.put(fInput, tokens.Get("input_tokens"))
		p.put(fOutput, tokens.Get("output_tokens"))
	}
	p.final = true
}

// billed reads Cohere's billed units. The tokens of an image come on top of those of the text.
func (p *UsageParser) billed(u gjson.Result) {
	if !u.IsObject() {
		return
	}
	p.put(fInput, u.Get("input_tokens"))
	p.put(fOutput, u.Get("output_tokens"))
	p.wholeQuantity("search_units", u.Get("search_units"))
	p.wholeQuantity("pages", u.Get("pages"))
	if p.put(fImageIn, u.Get("image_tokens")) {
		p.imagesApart, p.last[fInput].set = true, true
		return
	}
	p.wholeQuantity("images", u.Get("images"))
}

// ollamaFrame reads a line of Ollama's own interface; the counts are in the line that says done.
func (p *UsageParser) ollamaFrame(data []byte) {
	p.streamed = true
	var input, output, done []byte
	walkObject(data, func(key, value []byte) {
		switch string(key) {
		case "model":
			p.echo(value)
		case "message":
			p.ollamaText(value)
		case "response", "thinking":
			p.textBytes += textLen(value)
		case "prompt_eval_count":
			input = value
		case "eval_count":
			output = value
		case "done":
			done = value
		case "embeddings", "embedding":
			p.ended = true
		case "error":
			p.failed = true
		}
	})
	p.put(fInput, gjson.ParseBytes(input))
	p.put(fOutput, gjson.ParseBytes(output))
	if string(done) == "true" {
		p.ended, p.final = true, true
		p.keepRaw(fmt.Appendf(nil, `{"prompt_eval_count":%s,"eval_count":%s}`, orNull(input), orNull(output)))
	}
}

func (p *UsageParser) ollamaText(message []byte) {
	walkObject(message, func(key, value []byte) {
		switch string(key) {
		case "content", "thinking":
			p.textBytes += textLen(value)
		case "tool_calls":
			walkArray(value, func(call []byte) { p.textBytes += int64(len(gjson.GetBytes(call, "function").Raw)) })
		}
	})
}

func orNull(number []byte) []byte {
	if number == nil {
		return []byte("null")
	}
	return number
}
