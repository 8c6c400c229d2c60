package mock

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"
)

// answer is what one request gets; it is a function of the request alone.
type answer struct {
	id, model string
	words     []string
	tool      string
	choices   int
	input     int
	output    int
	cached    int
	written   int
	reasoning int
}

// defaultWords is how many chunks an answer has unless the model's name says otherwise.
const defaultWords = 8

func newAnswer(body []byte, m modes) answer {
	sum := sha256.Sum256(body)
	a := answer{id: "mock" + hex.EncodeToString(sum[:8]), model: gjson.GetBytes(body, "model").Str,
		choices: int(max(gjson.GetBytes(body, "n").Int(), 1)), output: defaultWords}
	n := m.number("frames", defaultWords)
	for i := range n {
		a.words = append(a.words, fmt.Sprintf("word%d ", (int(sum[i%32])+i)%1000))
	}
	tools := gjson.GetManyBytes(body, "tools.0.function.name", "tools.0.name")
	if choice := gjson.GetBytes(body, "tool_choice"); choice.Str != "none" && choice.Get("type").Str != "none" {
		a.tool = tools[0].Str + tools[1].Str // chat has it inside function, the other forms beside type
	}
	a.input, a.output = (textLength(body)+3)/4+3, n*a.choices
	if counts := m["tokens"]; len(counts) == 2 {
		a.input, a.output = counts[0], counts[1]
	}
	a.cached, a.reasoning = min(m.number("cached", 0), a.input), min(m.number("reasoning", 0), a.output)
	a.written = min(m.number("written", 0), a.input-a.cached)
	return a
}

// textLength is how much there is to read, whichever form a body has.
func textLength(body []byte) int {
	text := len(gjson.GetBytes(body, "prompt").String()) + len(gjson.GetBytes(body, "instructions").Str) + len(gjson.GetBytes(body, "system").String())
	input := gjson.GetBytes(body, "input")
	if input.Type == gjson.String {
		text += len(input.Str)
	}
	for _, list := range []gjson.Result{gjson.GetBytes(body, "messages"), input} {
		list.ForEach(func(_, message gjson.Result) bool {
			if message.IsObject() {
				text += len(message.Get("content").String())
			} else if list.IsArray() {
				text += len(message.String())
			}
			return true
		})
	}
	return text
}

func (a answer) text() string { return strings.TrimSpace(strings.Join(a.words, "")) }

func (a answer) usage() map[string]any {
	return map[string]any{"prompt_tokens": a.input, "completion_tokens": a.output, "total_tokens": a.input + a.output,
		"prompt_tokens_details":     map[string]any{"cached_tokens": a.cached, "audio_tokens": 0},
		"completion_tokens_details": map[string]any{"reasoning_tokens": a.reasoning, "audio_tokens": 0}}
}

func (a answer) base(object string) map[string]any {
	return map[string]any{"id": "chatcmpl-" + a.id, "object": object, "created": 1_800_000_000, "model": a.model, "system_fingerprint": "p402-mock"}
}

func (a answer) toolCall() []any {
	return []any{map[string]any{"index": 0, "id": "call_mock", "type": "function", "function": map[string]any{"name": a.tool, "arguments": "{}"}}}
}

func (a answer) plain(m modes) map[string]any {
	out := a.base("chat.completion")
	var choices []any
	for i := range a.choices {
		message := map[string]any{"role": "assistant", "content": a.text()}
		finish := "stop"
		if a.tool != "" {
			message["content"], message["tool_calls"], finish = nil, a.toolCall(), "tool_calls"
		}
		choices = append(choices, map[string]any{"index": i, "message": message, "finish_reason": finish, "logprobs": nil})
	}
	out["choices"] = choices
	if !m.has("no-usage") {
		out["usage"] = a.usage()
	}
	return out
}

// frame is one event of a stream; content says that it counts for slow-frame, cut-after and error-in-stream.
type frame struct {
	event   string
	data    map[string]any
	content bool
}

// script is a whole stream: its frames, what an error in the midst of it looks like, and whether it ends with [DONE].
type script struct {
	frames []frame
	broken frame
	done   bool
}

func (a answer) chatFrames(m modes, include bool) script {
	include = include && !m.has("no-usage")
	s := script{done: !m.has("no-done"), broken: openAIBroken()}
	for _, delta := range a.deltas() {
		s.frames = append(s.frames, frame{data: a.chunk(delta, nil, include), content: true})
	}
	finish := "stop"
	if a.tool != "" {
		finish = "tool_calls"
	}
	s.frames = append(s.frames, frame{data: a.chunk(map[string]any{}, finish, include)})
	if include {
		last := a.base("chat.completion.chunk")
		last["choices"], last["usage"] = []any{}, a.usage()
		s.frames = append(s.frames, frame{data: last})
	}
	return s
}

func openAIBroken() frame {
	return frame{data: map[string]any{"error": map[string]any{"message": "simulated failure", "type": "server_error"}}}
}

func (a answer) deltas() []map[string]any {
	if a.tool != "" {
		return []map[string]any{{"role": "assistant", "content": nil, "tool_calls": a.toolCall()}}
	}
	var out []map[string]any
	for i, word := range a.words {
		delta := map[string]any{"content": word}
		if i == 0 {
			delta["role"] = "assistant"
		}
		out = append(out, delta)
	}
	return out
}

func (a answer) chunk(delta map[string]any, finish any, include bool) map[string]any {
	out := a.base("chat.completion.chunk")
	out["choices"] = []any{map[string]any{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": nil}}
	if include {
		out["usage"] = nil
	}
	return out
}

// completion is the older form: text instead of messages.
func (v *Vendor) completion(w http.ResponseWriter, r *http.Request, body []byte, m modes) {
	a := newAnswer(body, m)
	a.id = v.kept.unique()
	part := func(text string, finish any) map[string]any {
		out := a.base("text_completion")
		out["id"] = "cmpl-" + a.id
		out["choices"] = []any{map[string]any{"index": 0, "text": text, "finish_reason": finish, "logprobs": nil}}
		return out
	}
	if !gjson.GetBytes(body, "stream").Bool() {
		out := part(a.text(), "stop")
		if !m.has("no-usage") {
			out["usage"] = a.usage()
		}
		writeJSON(w, http.StatusOK, out)
		return
	}
	s := script{done: !m.has("no-done"), broken: openAIBroken()}
	for _, word := range a.words {
		s.frames = append(s.frames, frame{data: part(word, nil), content: true})
	}
	s.frames = append(s.frames, frame{data: part("", "stop")})
	if gjson.GetBytes(body, "stream_options.include_usage").Bool() && !m.has("no-usage") {
		last := part("", nil)
		last["choices"], last["usage"] = []any{}, a.usage()
		s.frames = append(s.frames, frame{data: last})
	}
	v.play(w, r, m, s)
}

// embedding gives each input four numbers that depend on nothing but its place.
func (v *Vendor) embedding(w http.ResponseWriter, _ *http.Request, body []byte, m modes) {
	a := newAnswer(body, m)
	inputs := 1
	input := gjson.GetBytes(body, "input")
	if list := input.Array(); input.IsArray() && len(list) > 0 && list[0].Type != gjson.Number {
		inputs = len(list)
	}
	var data []any
	for i := range inputs {
		var vector any = []float64{0.25, 0.5, -0.25, float64(i)}
		if gjson.GetBytes(body, "encoding_format").Str == "base64" {
			vector = "AACAPgAAAD8AAIC+AAAAAA==" // 0.25, 0.5, -0.25, 0 as little-endian float32
		}
		data = append(data, map[string]any{"object": "embedding", "index": i, "embedding": vector})
	}
	out := map[string]any{"object": "list", "data": data, "model": a.model}
	if !m.has("no-usage") {
		out["usage"] = map[string]any{"prompt_tokens": a.input, "total_tokens": a.input}
	}
	writeJSON(w, http.StatusOK, out)
}
