package provider

import (
	"github.com/tidwall/gjson"

	"p402.io/p402/meter"
)

// openaiFrame reads whatever is shaped like OpenAI's answers in one pass over the frame's members: most frames of a
// stream hold a few bytes of text and no usage, and must cost less than decoding them.
func (p *UsageParser) openaiFrame(event string, data []byte) {
	usage, choices, finished, items := []byte(nil), []byte(nil), false, []byte(nil)
	kind, delta, item, response := []byte(nil), []byte(nil), []byte(nil), []byte(nil)
	walkObject(data, func(key, value []byte) {
		switch string(key) {
		case "choices":
			choices = value
		case "usage":
			usage = value
		case "model":
			p.echo(value)
		case "service_tier":
			p.served(value)
		case "error":
			p.failed = p.failed || !isNull(value)
		case "type":
			kind = value
		case "delta":
			delta = value
		case "item":
			item = value
		case "output":
			items = value
		case "response":
			response = value
		case "status":
			p.pending = string(value) == `"queued"` || string(value) == `"in_progress"`
		case "x_groq", "timings", "usage_info", "duration", "data", "quality", "size", "meta":
			p.openaiRare(string(key), value)
		}
	})
	p.failed = p.failed || event == "error"
	if choices != nil {
		finished = p.choices(choices)
	}
	if isArray(items) && kind == nil {
		p.plain = true
		p.outputItems(items)
	}
	if kind == nil && isObject(response) { // a line of a batch holds the whole answer
		p.batchLine(response)
	}
	if kind != nil {
		p.responseObject(text(kind), response)
		p.typedEvent(text(kind), delta, item)
	}
	if isObject(usage) {
		p.openaiUsage(usage)
		// The chunk that include_usage adds has no choices, and so has a plain answer without any: nothing follows it.
		p.final = choices == nil || emptyArray(choices) || finished || p.finishSeen
	}
}

// batchLine reads the answer inside a line of a batch's output.
func (p *UsageParser) batchLine(response []byte) {
	walkObject(response, func(key, body []byte) {
		if string(key) == "body" && !p.plain {
			p.plain = true
			p.openaiFrame("", body)
		}
	})
}

// openaiRare reads the members that only some vendors' answers have.
func (p *UsageParser) openaiRare(key string, value []byte) {
	switch key {
	case "x_groq":
		walkObject(value, func(key, v []byte) {
			switch string(key) {
			case "usage":
				if isObject(v) {
					p.openaiUsage(v)
					p.final = true
				}
			case "error":
				p.failed = p.failed || !isNull(v)
			}
		})
	case "timings":
		t := gjson.ParseBytes(value)
		p.put(fTimedInput, t.Get("prompt_n"))
		p.put(fTimedCached, t.Get("cache_n"))
		p.put(fTimedOutput, t.Get("predicted_n"))
	case "usage_info":
		p.keepRaw(value)
		p.wholeQuantity("pages", gjson.GetBytes(value, "pages_processed"))
	case "duration":
		v := gjson.ParseBytes(value)
		if v.Type == gjson.String { // as it was written at first; it is no usage, so its spelling tells nothing
			v = gjson.Parse(v.Str)
		}
		if seconds, ok := readDecimal(v); ok && p.work == workTranscribe && seconds[0] != '-' {
			p.ours["audio_seconds"] = seconds
		}
	case "data":
		if p.work == workImages {
			n := int64(0)
			walkArray(value, func([]byte) { n++ })
			p.atLeast("images", n)
		}
	case "quality":
		p.quality = text(value)
	case "size":
		p.size = text(value)
	case "meta": // Cohere's answers to embeddings and reranking behind its OpenAI-shaped door
		p.billed(gjson.GetBytes(value, "billed_units"))
	}
}

// echo notes the model as the vendor names it: the first name that is one. Azure's first chunk has an empty one.
func (p *UsageParser) echo(value []byte) {
	if p.model == "" {
		p.model = text(value)
	}
}

// served notes the tier that served the call; null keeps what was said.
func (p *UsageParser) served(value []byte) {
	if len(value) > 2 && string(value[1:len(value)-1]) == p.tier {
		return // said in every chunk
	}
	if t := text(value); t != "" {
		p.tier = t
	}
}

// choices counts the text of a chat's choices and reports whether one has finished.
func (p *UsageParser) choices(list []byte) bool {
	finished := false
	walkArray(list, func(choice []byte) {
		walkObject(choice, func(key, value []byte) {
			switch string(key) {
			case "delta":
				p.streamed = true
				p.messageText(value)
			case "message":
				p.plain = true
				p.messageText(value)
			case "text":
				p.streamed = true
				p.textBytes += textLen(value)
			case "finish_reason":
				finished = finished || !isNull(value)
			}
		})
	})
	p.finishSeen = p.finishSeen || finished
	return finished
}

// messageText counts what a message or a piece of one says: its text, its reasoning where that is shown, its calls.
func (p *UsageParser) messageText(message []byte) {
	reasoning := int64(0)
	walkObject(message, func(key, value []byte) {
		switch string(key) {
		case "content":
			p.textBytes += contentLen(value)
		case "refusal":
			p.textBytes += textLen(value)
		case "reasoning_content", "reasoning": // two names of one text
			reasoning = max(reasoning, textLen(value))
		case "tool_calls":
			walkArray(value, func(call []byte) {
				walkObject(call, func(key, function []byte) {
					if string(key) == "function" {
						p.functionText(function)
					}
				})
			})
		case "function_call":
			p.functionText(value)
		}
	})
	p.textBytes += reasoning
}

func (p *UsageParser) functionText(function []byte) {
	walkObject(function, func(key, value []byte) {
		if k := string(key); k == "name" || k == "arguments" {
			p.textBytes += textLen(value)
		}
	})
}

// openaiUsage takes one usage object as a snapshot.
func (p *UsageParser) openaiUsage(raw []byte) {
	p.keepRaw(raw)
	u := gjson.ParseBytes(raw)
	if p.put(fInput, u.Get("prompt_tokens")) {
		p.chatShaped = true
	} else {
		p.put(fInput, u.Get("input_tokens"))
	}
	p.putFirst(fOutput, u, "completion_tokens", "output_tokens")
	p.put(fTotal, u.Get("total_tokens"))
	in := details(u, "prompt_tokens_details", "input_tokens_details", "input_token_details", "prompt_token_details")
	out := details(u, "completion_tokens_details", "output_tokens_details", "output_token_details")
	if !p.put(fCached, in.Get("cached_tokens")) {
		p.putFirst(fCached, u, "prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")
	}
	p.put(fMissed, u.Get("prompt_cache_miss_tokens"))
	if !p.putFirst(fWrite, in, "cache_write_tokens", "cache_creation_tokens") {
		p.put(fWrite, u.Get("cache_write_tokens"))
	}
	p.put(fAudioIn, in.Get("audio_tokens"))
	if !p.put(fImageIn, in.Get("image_tokens")) && p.work == workText {
		p.put(fImageIn, u.Get("image_tokens"))
	}
	p.put(fVideoIn, in.Get("video_tokens"))
	cached := in.Get("cached_tokens_details")
	p.put(fCachedAudio, cached.Get("audio_tokens"))
	p.put(fCachedImage, cached.Get("image_tokens"))
	if !p.putFirst(fReasoning, out, "reasoning_tokens", "thinking_tokens") {
		p.put(fReasoning, u.Get("reasoning_tokens"))
	}
	p.put(fAudioOut, out.Get("audio_tokens"))
	p.put(fImageOut, out.Get("image_tokens"))
	p.put(fTextOut, out.Get("text_tokens"))
	p.put(fAccepted, out.Get("accepted_prediction_tokens"))
	p.put(fRejected, out.Get("rejected_prediction_tokens"))
	p.put(fCitation, u.Get("citation_tokens"))
	p.openaiQuantities(u)
	p.openaiCharge(u)
}

// details is the first of the objects that is there.
func details(u gjson.Result, names ...string) gjson.Result {
	for _, name := range names {
		if d := u.Get(name); d.IsObject() {
			return d
		}
	}
	return gjson.Result{}
}

// openaiQuantities reads what a usage object counts beside tokens.
func (p *UsageParser) openaiQuantities(u gjson.Result) {
	p.wholeQuantity("web_searches", u.Get("num_search_queries"))
	for _, name := range []string{"server_tool_use_details", "server_tool_use"} {
		if n := u.Get(name + ".web_search_requests"); n.Type == gjson.Number {
			p.wholeQuantity("web_searches", n)
			break
		}
	}
	if u.Get("type").Str == "duration" || p.work == workTranscribe {
		p.quantity("audio_seconds", u.Get("seconds"))
	}
	p.quantity("audio_seconds", u.Get("prompt_audio_seconds"))
	if tier := u.Get("service_tier").Str; tier != "" {
		p.tier = tier
	}
	p.searchSize = firstOf(u.Get("search_context_size").Str, p.searchSize)
	p.billed(u.Get("billed_units"))
}

// openaiCharge reads the vendor's own figure, where there is one. A field of that name from a vendor that does not bill
// by it is no figure.
func (p *UsageParser) openaiCharge(u gjson.Result) {
	cost := u.Get("cost")
	switch {
	case u.Get("cost_in_usd_ticks").Exists():
		p.charged(u.Get("cost_in_usd_ticks"), ticksExponent)
	case cost.IsObject():
		p.charged(cost.Get("total_cost"), "")
	case p.by("openrouter"):
		p.charged(cost, "")
		if own := u.Get("is_byok"); own.IsBool() {
			p.ownKey = own.Bool()
		}
		if up := u.Get("cost_details.upstream_inference_cost"); up.Exists() && up.Type != gjson.Null && p.ownKey {
			text, ok := readDecimal(up)
			p.upstream, p.badUp = text, !ok || text[0] == '-'
			if p.badUp {
				p.upstream = ""
			}
		}
	}
}

// ticksExponent turns xAI's ticks into dollars: 10,000,000,000 ticks are one.
const ticksExponent = "e-10"

// charged takes a reported cost: the last one said stands, and one that is no amount is none.
func (p *UsageParser) charged(v gjson.Result, exponent string) {
	if !v.Exists() || v.Type == gjson.Null {
		return
	}
	text, ok := readDecimal(v)
	if ok && exponent != "" {
		text, ok = readDecimal(gjson.Result{Type: gjson.Number, Raw: text + exponent})
	}
	p.reported, p.badCost = text, !ok || text[0] == '-'
}

// inclusiveUsage is for shapes whose totals hold their parts: OpenAI's and what is modelled on it.
func (p *UsageParser) inclusiveUsage() meter.Usage {
	in, out, reasoning, cached := p.n(fInput), p.n(fOutput), p.n(fReasoning), p.n(fCached)
	switch {
	case p.has(fInput):
	case p.has(fMissed):
		in = cached + p.n(fMissed)
	case p.has(fTimedInput) && !p.has(fOutput):
		in, cached, out = p.n(fTimedInput)+p.n(fTimedCached), p.n(fTimedCached), p.n(fTimedOutput)
	}
	if !p.has(fOutput) && p.has(fInput) && p.has(fTotal) && p.work == workText {
		out = max(p.n(fTotal)-in, 0)
	}
	if p.imagesApart {
		in += p.n(fImageIn)
	}
	if p.chatShaped {
		out, reasoning = p.settleReasoning(in, out, reasoning)
	}
	p.sums(in+out, in+p.n(fOutput), in+out+p.n(fCitation))
	u := meter.Usage{InputTokens: in, OutputTokens: out, CachedInputTokens: cached, CacheWriteTokens: p.n(fWrite),
		InputAudioTokens: p.n(fAudioIn), InputImageTokens: p.n(fImageIn), InputVideoTokens: p.n(fVideoIn),
		CachedInputAudioTokens: p.n(fCachedAudio), CachedInputImageTokens: p.n(fCachedImage),
		ReasoningTokens: reasoning, OutputAudioTokens: p.n(fAudioOut), OutputImageTokens: p.n(fImageOut), CitationTokens: p.n(fCitation)}
	// What a speech or an image endpoint makes is speech or images, whether it says so or not.
	rest := max(out-reasoning-p.n(fTextOut), 0)
	if p.work == workImages && !p.has(fImageOut) {
		u.OutputImageTokens = rest
	}
	if p.work == workSpeech && !p.has(fAudioOut) {
		u.OutputAudioTokens = rest
	}
	return u
}

// settleReasoning settles where a chat's reasoning stands: the total decides, not the vendor's name. Two vendors need
// their own reading, because their total leaves no trace of it or is the only trace: Perplexity's research counts
// reasoning beside its total, and Gemini's OpenAI door shows it in the total alone.
func (p *UsageParser) settleReasoning(in, out, reasoning int64) (int64, int64) {
	total := p.n(fTotal)
	google := p.by("gemini") || p.by("google") || p.by("vertex")
	switch {
	case reasoning > 0 && p.has(fTotal) && total == in+out+reasoning,
		reasoning > 0 && p.by("perplexity"),
		reasoning > 0 && !p.has(fTotal) && p.by("xai"):
		return out + reasoning, reasoning
	case google && p.has(fTotal) && p.has(fOutput) && total > in+out:
		return total - in, max(reasoning, total-in-out)
	}
	return out, reasoning
}
