package mock

import (
	"net/http"

	"github.com/tidwall/gjson"
)

func anthropicError(w http.ResponseWriter, status int, kind, message string) {
	if kind == "mock_error" {
		kind = map[int]string{429: "rate_limit_error", 529: "overloaded_error"}[status]
		if kind == "" {
			kind = "api_error"
		}
	}
	w.Header().Set("Request-Id", "req_mock")
	writeJSON(w, status, map[string]any{"type": "error", "error": map[string]any{"type": kind, "message": message}, "request_id": "req_mock"})
}

// strict refuses what Anthropic's API refuses: no version, and metadata beyond user_id.
func strict(w http.ResponseWriter, r *http.Request, body []byte) bool {
	if r.Header.Get("Anthropic-Version") == "" {
		anthropicError(w, http.StatusBadRequest, "invalid_request_error", "anthropic-version: header is required")
		return true
	}
	extra := ""
	gjson.GetBytes(body, "metadata").ForEach(func(key, _ gjson.Result) bool {
		if key.Str != "user_id" {
			extra = key.Str
		}
		return true
	})
	if extra != "" {
		anthropicError(w, http.StatusBadRequest, "invalid_request_error", "metadata."+extra+": Extra inputs are not permitted")
	}
	return extra != ""
}

// message answers Anthropic's form: what was cached or written to a cache is beside input_tokens, not inside.
func (v *Vendor) message(w http.ResponseWriter, r *http.Request, body []byte, m modes) {
	if strict(w, r, body) {
		return
	}
	a := newAnswer(body, m)
	a.id = v.kept.unique()
	w.Header().Set("Request-Id", "req_"+a.id)
	if gjson.GetBytes(body, "stream").Bool() {
		v.play(w, r, m, a.messageFrames(m))
		return
	}
	out := a.messageStart(m)
	out["content"], out["stop_reason"] = []any{a.block()}, a.stopReason()
	if m.has("no-usage") {
		delete(out, "usage")
	} else {
		out["usage"].(map[string]any)["output_tokens"] = a.output
	}
	writeJSON(w, http.StatusOK, out)
}

func (v *Vendor) countTokens(w http.ResponseWriter, r *http.Request, body []byte, m modes) {
	if !strict(w, r, body) {
		writeJSON(w, http.StatusOK, map[string]any{"input_tokens": newAnswer(body, m).input})
	}
}

func (a answer) stopReason() string {
	if a.tool != "" {
		return "tool_use"
	}
	return "end_turn"
}

func (a answer) block() map[string]any {
	if a.tool != "" {
		return map[string]any{"type": "tool_use", "id": "toolu_mock", "name": a.tool, "input": map[string]any{}}
	}
	return map[string]any{"type": "text", "text": a.text()}
}

func (a answer) messageStart(m modes) map[string]any {
	out := map[string]any{"id": "msg_" + a.id, "type": "message", "role": "assistant", "model": a.model, "content": []any{}, "stop_reason": nil, "stop_sequence": nil}
	if !m.has("no-usage") {
		out["usage"] = map[string]any{"input_tokens": a.input - a.cached - a.written, "cache_read_input_tokens": a.cached,
			"cache_creation_input_tokens": a.written, "cache_creation": map[string]any{"ephemeral_5m_input_tokens": a.written, "ephemeral_1h_input_tokens": 0},
			"output_tokens": 1, "service_tier": "standard"}
	}
	return out
}

func (a answer) messageFrames(m modes) script {
	var s script
	add := func(event string, content bool, data map[string]any) {
		data["type"] = event
		s.frames = append(s.frames, frame{event, data, content})
	}
	add("message_start", false, map[string]any{"message": a.messageStart(m)})
	first, delta := map[string]any{"type": "text", "text": ""}, "text_delta"
	parts := a.words
	if a.tool != "" {
		first, delta, parts = a.block(), "input_json_delta", []string{"{", "}"}
	}
	add("content_block_start", false, map[string]any{"index": 0, "content_block": first})
	add("ping", false, map[string]any{})
	field := map[string]string{"text_delta": "text", "input_json_delta": "partial_json"}[delta]
	for _, part := range parts {
		add("content_block_delta", true, map[string]any{"index": 0, "delta": map[string]any{"type": delta, field: part}})
	}
	add("content_block_stop", false, map[string]any{"index": 0})
	end := map[string]any{"delta": map[string]any{"stop_reason": a.stopReason(), "stop_sequence": nil}, "usage": map[string]any{"output_tokens": a.output}}
	if m.has("no-usage") {
		delete(end, "usage")
	}
	add("message_delta", false, end)
	add("message_stop", false, map[string]any{})
	s.broken = frame{event: "error", data: map[string]any{"type": "error", "error": map[string]any{"type": "overloaded_error", "message": "simulated failure"}}}
	return s
}
