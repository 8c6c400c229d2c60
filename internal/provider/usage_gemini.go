package provider

import (
	"github.com/tidwall/gjson"

	"p402.io/p402/meter"
)

// geminiFrame reads a Gemini answer or one chunk of it. Every chunk repeats the usage, cumulative.
func (p *UsageParser) geminiFrame(data []byte) {
	usage := []byte(nil)
	p.streamed = true // a plain answer has the same form, and says in the same way that it is over
	walkObject(data, func(key, value []byte) {
		switch string(key) {
		case "usageMetadata":
			usage = value
		case "candidates":
			walkArray(value, p.candidate)
		case "modelVersion":
			p.echo(value)
		case "serviceTier":
			p.served(value)
		case "promptFeedback":
			p.ended = p.ended || gjson.GetBytes(value, "blockReason").Exists()
		case "error":
			p.failed = p.failed || !isNull(value)
		case "predictions": // Imagen: paid by the image
			n := int64(0)
			walkArray(value, func([]byte) { n++ })
			if p.work == workImages {
				p.atLeast("images", n)
			}
			p.ended = true
		case "embedding", "embeddings":
			p.ended = true
		}
	})
	if isObject(usage) {
		p.geminiUsageObject(usage)
		p.final = p.ended
	}
}

// candidate counts a candidate's text and what it looked up. A search is billed by the prompt that needed one or by the
// query, as the model's price says.
func (p *UsageParser) candidate(candidate []byte) {
	walkObject(candidate, func(key, value []byte) {
		switch string(key) {
		case "content":
			walkObject(value, func(key, parts []byte) {
				if string(key) == "parts" {
					walkArray(parts, p.geminiPart)
				}
			})
		case "finishReason":
			p.ended = p.ended || !isNull(value)
		case "groundingMetadata":
			p.grounding(gjson.ParseBytes(value))
		}
	})
}

func (p *UsageParser) geminiPart(part []byte) {
	walkObject(part, func(key, value []byte) {
		switch string(key) {
		case "text":
			p.textBytes += textLen(value)
		case "functionCall":
			p.textBytes += int64(len(value))
		}
	})
}

func (p *UsageParser) grounding(g gjson.Result) {
	queries := int64(0)
	g.Get("webSearchQueries").ForEach(func(_, q gjson.Result) bool {
		if q.Str != "" {
			queries++
		}
		return true
	})
	p.atLeast("grounding_queries", queries)
	if queries > 0 || len(g.Get("groundingChunks").Array()) > 0 {
		p.atLeast("grounded_prompts", 1)
	}
}

func (p *UsageParser) geminiUsageObject(raw []byte) {
	p.keepRaw(raw)
	u := gjson.ParseBytes(raw)
	p.put(fInput, u.Get("promptTokenCount"))
	p.putFirst(fOutput, u, "candidatesTokenCount", "responseTokenCount")
	p.put(fReasoning, u.Get("thoughtsTokenCount"))
	p.put(fToolIn, u.Get("toolUsePromptTokenCount"))
	p.put(fCached, u.Get("cachedContentTokenCount"))
	p.put(fTotal, u.Get("totalTokenCount"))
	in := []gjson.Result{u.Get("promptTokensDetails"), u.Get("toolUsePromptTokensDetails")}
	cached := []gjson.Result{u.Get("cacheTokensDetails")}
	out := []gjson.Result{u.Get("candidatesTokensDetails"), u.Get("responseTokensDetails")}
	p.putSum(fAudioIn, in, "tokenCount", "AUDIO")
	p.putSum(fImageIn, in, "tokenCount", "IMAGE", "DOCUMENT")
	p.putSum(fVideoIn, in, "tokenCount", "VIDEO")
	p.putSum(fCachedAudio, cached, "tokenCount", "AUDIO")
	p.putSum(fCachedImage, cached, "tokenCount", "IMAGE", "DOCUMENT")
	p.putSum(fCachedVideo, cached, "tokenCount", "VIDEO")
	p.putSum(fAudioOut, out, "tokenCount", "AUDIO")
	p.putSum(fImageOut, out, "tokenCount", "IMAGE")
	p.tier = firstOf(u.Get("serviceTier").Str, u.Get("trafficType").Str, p.tier)
}

// geminiUsage adds what Gemini counts apart: thoughts are output beside the candidates, a tool's prompt is input beside
// the prompt. A count of zero is left out on the wire.
func (p *UsageParser) geminiUsage() meter.Usage {
	in, out := p.n(fInput)+p.n(fToolIn), p.n(fOutput)+p.n(fReasoning)
	if !p.has(fOutput) && p.has(fTotal) {
		out = max(out, p.n(fTotal)-in)
	}
	p.sums(in+out, p.n(fInput)+out)
	return meter.Usage{InputTokens: in, CachedInputTokens: p.n(fCached), ToolInputTokens: p.n(fToolIn),
		InputAudioTokens: p.n(fAudioIn), InputImageTokens: p.n(fImageIn), InputVideoTokens: p.n(fVideoIn),
		CachedInputAudioTokens: p.n(fCachedAudio), CachedInputImageTokens: p.n(fCachedImage), CachedInputVideoTokens: p.n(fCachedVideo),
		OutputTokens: out, ReasoningTokens: p.n(fReasoning), OutputAudioTokens: p.n(fAudioOut), OutputImageTokens: p.n(fImageOut)}
}
