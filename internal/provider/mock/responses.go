package mock

import (
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/tidwall/gjson"
)

// maxAnswers bounds what is kept; beyond it the vendor forgets everything, as real ones do after a while.
const maxAnswers = 10_000

// answers is the responses a vendor keeps.
type answers struct {
	mu   *sync.Mutex
	made map[string]map[string]any
	seed int64 // ids differ between runs, as a ledger outlives its vendor's memory
	next int
}

func newAnswers() answers {
	return answers{mu: &sync.Mutex{}, made: map[string]map[string]any{}, seed: time.Now().UnixNano()}
}

// unique is a part of an id that no other answer has.
func (k *answers) unique() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next++
	return fmt.Sprintf("mock%x%06d", k.seed, k.next)
}

func (k *answers) keep(id string, response map[string]any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.made) >= maxAnswers {
		clear(k.made)
	}
	k.made[id] = response
}

func (k *answers) find(id string) (map[string]any, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	response, ok := k.made[id]
	return response, ok
}

func (k *answers) forget(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.made, id)
}

// keptResponse reads or deletes one.
func (v *Vendor) keptResponse(w http.ResponseWriter, r *http.Request, id string) {
	response, ok := v.kept.find(id)
	switch {
	case !ok:
		openAIError(w, http.StatusNotFound, "invalid_request_error", "no response with that id")
	case r.Method == http.MethodGet:
		writeJSON(w, http.StatusOK, response)
	case r.Method == http.MethodDelete:
		v.kept.forget(id)
		writeJSON(w, http.StatusOK, map[string]any{"id": id, "object": "response.deleted", "deleted": true})
	default:
		openAIError(w, http.StatusMethodNotAllowed, "invalid_request_error", "GET or DELETE")
	}
}

// response answers the Responses form. What a chain said before is read again, as vendors bill it.
func (v *Vendor) response(w http.ResponseWriter, r *http.Request, body []byte, m modes) {
	a := newAnswer(body, m)
	if previous := gjson.GetBytes(body, "previous_response_id").Str; previous != "" {
		before, ok := v.kept.find(previous)
		if !ok {
			openAIError(w, http.StatusBadRequest, "invalid_request_error", "the previous response was not found")
			return
		}
		if u, ok := before["usage"].(map[string]any); ok && !m.has("tokens") {
			a.input += u["total_tokens"].(int)
		}
	}
	id := "resp_" + v.kept.unique()
	whole := a.response(id, body, m)
	if store := gjson.GetBytes(body, "store"); !store.Exists() || store.Bool() {
		v.kept.keep(id, whole)
	}
	if gjson.GetBytes(body, "stream").Bool() {
		v.play(w, r, m, a.responseFrames(whole))
		return
	}
	writeJSON(w, http.StatusOK, whole)
}

func (a answer) response(id string, body []byte, m modes) map[string]any {
	out := map[string]any{"id": id, "object": "response", "created_at": 1_800_000_000, "status": "completed", "error": nil, "incomplete_details": nil,
		"model": a.model, "instructions": nil, "metadata": map[string]any{}, "parallel_tool_calls": true, "temperature": 1, "top_p": 1,
		"tool_choice": "auto", "tools": []any{}, "usage": nil, "previous_response_id": nil}
	if previous := gjson.GetBytes(body, "previous_response_id"); previous.Type == gjson.String {
		out["previous_response_id"] = previous.Str
	}
	if metadata := gjson.GetBytes(body, "metadata"); metadata.IsObject() {
		out["metadata"] = metadata.Value()
	}
	out["output"] = []any{a.item(id)}
	if !m.has("no-usage") {
		out["usage"] = map[string]any{"input_tokens": a.input, "input_tokens_details": map[string]any{"cached_tokens": a.cached},
			"output_tokens": a.output, "output_tokens_details": map[string]any{"reasoning_tokens": a.reasoning}, "total_tokens": a.input + a.output}
	}
	return out
}

func (a answer) item(id string) map[string]any {
	if a.tool != "" {
		return map[string]any{"id": "fc_" + id, "type": "function_call", "status": "completed", "call_id": "call_mock", "name": a.tool, "arguments": "{}"}
	}
	part := map[string]any{"type": "output_text", "text": a.text(), "annotations": []any{}}
	return map[string]any{"id": "msg_" + id, "type": "message", "status": "completed", "role": "assistant", "content": []any{part}}
}

func (a answer) responseFrames(whole map[string]any) script {
	open := maps.Clone(whole)
	open["status"], open["output"], open["usage"] = "in_progress", []any{}, nil
	var s script
	number := 0
	add := func(event string, content bool, data map[string]any) {
		data["type"], data["sequence_number"] = event, number
		s.frames = append(s.frames, frame{event, data, content})
		number++
	}
	item := whole["output"].([]any)[0].(map[string]any)
	add("response.created", false, map[string]any{"response": open})
	add("response.in_progress", false, map[string]any{"response": open})
	started := maps.Clone(item)
	started["status"] = "in_progress"
	if a.tool != "" {
		started["arguments"] = ""
	} else {
		started["content"] = []any{}
	}
	add("response.output_item.added", false, map[string]any{"output_index": 0, "item": started})
	if a.tool != "" {
		add("response.function_call_arguments.delta", true, map[string]any{"output_index": 0, "item_id": item["id"], "delta": "{}"})
		add("response.function_call_arguments.done", false, map[string]any{"output_index": 0, "item_id": item["id"], "name": a.tool, "arguments": "{}"})
	} else {
		add("response.content_part.added", false, map[string]any{"output_index": 0, "content_index": 0, "item_id": item["id"],
			"part": map[string]any{"type": "output_text", "text": "", "annotations": []any{}}})
		for _, word := range a.words {
			add("response.output_text.delta", true, map[string]any{"output_index": 0, "content_index": 0, "item_id": item["id"], "delta": word})
		}
		add("response.output_text.done", false, map[string]any{"output_index": 0, "content_index": 0, "item_id": item["id"], "text": a.text()})
	}
	add("response.output_item.done", false, map[string]any{"output_index": 0, "item": item})
	add("response.completed", false, map[string]any{"response": whole})
	s.broken = frame{event: "error", data: map[string]any{"type": "error", "code": "server_error", "message": "simulated failure", "param": nil, "sequence_number": number}}
	return s
}
