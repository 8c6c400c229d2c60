package openai

import (
	"github.com/tidwall/gjson"

	"p402.io/p402/internal/fault"
	"p402.io/p402/meter"
)

// The routes that run a call in OpenAI's own forms.
var (
	chat = Form{Route: meter.RouteChat, API: "openai.chat", IDPrefix: "chatcmpl-", Check: NeedMessages,
		Bounds: func(r *meter.Request, f Fields) error {
			n, err := whole(f, "n", 1, maxN)
			if err != nil {
				return err
			}
			r.Choices = max(n, 1)
			return MaxTokens(r, f, "max_tokens", "max_completion_tokens")
		}}
	completions = Form{Route: meter.RouteCompletion, API: "openai.completions", IDPrefix: "cmpl-", Check: need("prompt"), Bounds: completionBounds}
	embeddings  = Form{Route: meter.RouteEmbeddings, API: "openai.embeddings", Check: need("input"), Bounds: noBounds}
	responses   = Form{Route: meter.RouteResponses, API: "openai.responses", Check: checkChain,
		Bounds: func(r *meter.Request, f Fields) error { return MaxTokens(r, f, "max_output_tokens") }}
)

// noBounds: an embedding writes nothing that could be bounded.
func noBounds(*meter.Request, Fields) error { return nil }

func need(name string) func(Fields) error {
	return func(f Fields) error {
		v, ok := f[name]
		if !ok || v.Type == gjson.Null {
			return invalid(name, "is required")
		}
		if v.Type != gjson.String && !v.IsArray() {
			return invalid(name, "must be a string or an array")
		}
		return nil
	}
}

// completionBounds counts every text that the vendor will write and bill: n or best_of, whichever is more, for each prompt
// of the array. Without max_tokens that API writes 16 tokens at most.
func completionBounds(r *meter.Request, f Fields) error {
	n, err := whole(f, "n", 1, maxN)
	if err != nil {
		return err
	}
	best, err := whole(f, "best_of", 1, maxN)
	if err != nil {
		return err
	}
	prompts := int64(1)
	if list := f["prompt"].Array(); f["prompt"].IsArray() && len(list) > 0 && list[0].Type != gjson.Number {
		prompts = int64(len(list))
	}
	r.Choices = max(n, best, 1) * prompts
	return MaxTokens(r, f, "max_tokens")
}

// checkChain refuses what would leave the house's sight: work that is done and billed after the answer, and state at the
// vendor of which it cannot be told whose it is.
func checkChain(f Fields) error {
	for _, name := range []string{"background", "conversation"} {
		if v, ok := f[name]; ok && v.Type != gjson.Null && v.Type != gjson.False {
			return fault.Field(fault.KindInvalid, "UNSUPPORTED_FEATURE", name, "is not served here; call without it, and chain with previous_response_id")
		}
	}
	previous, ok := f["previous_response_id"]
	if !ok || previous.Type == gjson.Null {
		return nil
	}
	if previous.Type != gjson.String || previous.Str == "" || len(previous.Str) > 256 {
		return fault.Field(fault.KindInvalid, "INVALID_INPUT", "previous_response_id", "must be the id of an earlier response")
	}
	return nil
}
