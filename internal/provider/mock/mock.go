// Package mock is the built-in vendor: a real HTTP server that speaks OpenAI's form, makes its answers up and says so
// in a header and in system_fingerprint. The same request always gets the same answer. It can be told by the model's name
// to fail in the ways real vendors do:
//
//	mock/status-NNN     answers that status with OpenAI's error object (429 with Retry-After)
//	mock/tokens-IN-OUT  reports exactly these counts
//	mock/cached-N       reports N of the input tokens as cached
//	mock/reasoning-N    reports N reasoning tokens inside the output
//	mock/frames-N       streams exactly N content chunks
//	mock/slow-frame-MS  waits so long before each chunk
//	mock/cut-after-N    breaks the connection after N chunks
//	mock/no-usage       never reports usage
//	mock/no-done        ends a stream without [DONE]
//	mock/hang           never answers
//	mock/reset          breaks the connection before an answer
//	mock/garbage        answers 200 with text that is no JSON
//	mock/html-error     answers 502 with a page
//	mock/error-in-stream sends an error after the first chunk
//
// Several may be joined by "+". Every other model name answers plainly.
package mock

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"
)

// Vendor is a running mock vendor.
type Vendor struct {
	server   *http.Server
	addr     net.Addr
	served   atomic.Int64
	canceled atomic.Int64
	done     chan struct{}
}

// Start serves on a free loopback port.
func Start(listen string) (*Vendor, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("mock vendor: %w", err)
	}
	v := &Vendor{addr: l.Addr(), done: make(chan struct{})}
	v.server = &http.Server{Handler: v, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(v.done)
		_ = v.server.Serve(l) // it ends with Close, and then has nothing to say
	}()
	return v, nil
}

// URL is the base URL with its version part.
func (v *Vendor) URL() string { return "http://" + v.addr.String() + "/v1" }

// Served is how many calls have begun; Canceled how many of them the client left.
func (v *Vendor) Served() int64 { return v.served.Load() }

// Canceled is how many calls the client left before their end.
func (v *Vendor) Canceled() int64 { return v.canceled.Load() }

// Close stops the server at once.
func (v *Vendor) Close() error {
	err := v.server.Close()
	<-v.done
	return err
}

// modes is what a model's name asks for.
type modes map[string][]int

func parseModes(model string) modes {
	out := modes{}
	tail, ok := strings.CutPrefix(model, "mock/")
	if !ok {
		return out
	}
	for _, part := range strings.Split(tail, "+") {
		words := strings.Split(part, "-")
		var numbers []int
		for len(words) > 1 {
			n, err := strconv.Atoi(words[len(words)-1])
			if err != nil {
				break
			}
			numbers = append([]int{n}, numbers...)
			words = words[:len(words)-1]
		}
		out[strings.Join(words, "-")] = numbers
	}
	return out
}

func (m modes) has(name string) bool { _, ok := m[name]; return ok }

func (m modes) number(name string, otherwise int) int {
	if n := m[name]; len(n) > 0 {
		return n[0]
	}
	return otherwise
}

// ServeHTTP answers chat completions and the list of models.
func (v *Vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-P402-Simulated", "true")
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/v1/models":
		writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": []any{}})
	case r.Method == http.MethodGet && r.URL.Path == "/mock/stats":
		writeJSON(w, http.StatusOK, map[string]any{"served": v.Served(), "canceled": v.Canceled()})
	case r.Method == http.MethodPost && r.URL.Path == "/v1/chat/completions":
		v.chat(w, r)
	default:
		fail(w, http.StatusNotFound, "not_found_error", "unknown route")
	}
}

func (v *Vendor) chat(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || !gjson.ValidBytes(body) {
		fail(w, http.StatusBadRequest, "invalid_request_error", "the body is not JSON")
		return
	}
	model := gjson.GetBytes(body, "model")
	if model.Type != gjson.String || !gjson.GetBytes(body, "messages").IsArray() {
		fail(w, http.StatusBadRequest, "invalid_request_error", "model and messages are required")
		return
	}
	v.served.Add(1)
	m := parseModes(model.Str)
	if v.misbehaves(w, r, m) {
		return
	}
	a := newAnswer(body, model.Str, m)
	if gjson.GetBytes(body, "stream").Bool() {
		v.stream(w, r, a, m, gjson.GetBytes(body, "stream_options.include_usage").Bool())
		return
	}
	writeJSON(w, http.StatusOK, a.plain(m))
}

// misbehaves plays the failures that come before an answer.
func (v *Vendor) misbehaves(w http.ResponseWriter, r *http.Request, m modes) bool {
	switch {
	case m.has("status"):
		status := m.number("status", 500)
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "7")
		}
		fail(w, status, "mock_error", "simulated failure")
	case m.has("hang"):
		<-r.Context().Done()
		v.canceled.Add(1)
	case m.has("reset"):
		panic(http.ErrAbortHandler)
	case m.has("garbage"):
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "<<<not json") // the client may be gone; nothing to do about it
	case m.has("html-error"):
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "<html>bad gateway</html>") // as above
	default:
		return false
	}
	return true
}

// answer is what one request gets; it is a function of the request alone.
type answer struct {
	id, model string
	words     []string
	tool      string
	choices   int
	input     int
	output    int
	cached    int
	reasoning int
}

// defaultWords is how many chunks an answer has unless the model's name says otherwise.
const defaultWords = 8

func newAnswer(body []byte, model string, m modes) answer {
	sum := sha256.Sum256(body)
	a := answer{id: "chatcmpl-mock" + hex.EncodeToString(sum[:8]), model: model, choices: int(max(gjson.GetBytes(body, "n").Int(), 1)), output: defaultWords}
	n := m.number("frames", defaultWords)
	for i := range n {
		a.words = append(a.words, fmt.Sprintf("word%d ", (int(sum[i%32])+i)%1000))
	}
	if name := gjson.GetBytes(body, "tools.0.function.name").Str; name != "" && gjson.GetBytes(body, "tool_choice").Raw != `"none"` {
		a.tool = name
	}
	text := 0
	gjson.GetBytes(body, "messages").ForEach(func(_, message gjson.Result) bool {
		text += len(message.Get("content").String())
		return true
	})
	a.input, a.output = (text+3)/4+3, n*a.choices
	if counts := m["tokens"]; len(counts) == 2 {
		a.input, a.output = counts[0], counts[1]
	}
	a.cached, a.reasoning = min(m.number("cached", 0), a.input), min(m.number("reasoning", 0), a.output)
	return a
}

func (a answer) usage() map[string]any {
	return map[string]any{"prompt_tokens": a.input, "completion_tokens": a.output, "total_tokens": a.input + a.output,
		"prompt_tokens_details":     map[string]any{"cached_tokens": a.cached, "audio_tokens": 0},
		"completion_tokens_details": map[string]any{"reasoning_tokens": a.reasoning, "audio_tokens": 0}}
}

func (a answer) base(object string) map[string]any {
	return map[string]any{"id": a.id, "object": object, "created": 1_800_000_000, "model": a.model, "system_fingerprint": "p402-mock"}
}

func (a answer) toolCall() []any {
	return []any{map[string]any{"index": 0, "id": "call_mock", "type": "function", "function": map[string]any{"name": a.tool, "arguments": "{}"}}}
}

func (a answer) plain(m modes) map[string]any {
	out := a.base("chat.completion")
	var choices []any
	for i := range a.choices {
		message := map[string]any{"role": "assistant", "content": strings.TrimSpace(strings.Join(a.words, ""))}
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

func (v *Vendor) stream(w http.ResponseWriter, r *http.Request, a answer, m modes, include bool) {
	w.Header().Set("Content-Type", "text/event-stream")
	flusher, ok := w.(http.Flusher)
	if !ok {
		panic("mock: the server cannot flush") // net/http's own writer can
	}
	send := func(chunk map[string]any) bool {
		raw, err := json.Marshal(chunk)
		if err != nil {
			panic("mock: " + err.Error()) // maps of plain values always marshal
		}
		_, err = fmt.Fprintf(w, "data: %s\n\n", raw)
		flusher.Flush()
		return err == nil && r.Context().Err() == nil
	}
	include = include && !m.has("no-usage")
	for i, delta := range a.deltas() {
		if m.has("cut-after") && i == m.number("cut-after", 0) {
			panic(http.ErrAbortHandler)
		}
		if !pause(r.Context(), m) || !send(a.chunk(delta, nil, include)) {
			v.canceled.Add(1)
			return
		}
		if m.has("error-in-stream") && i == 0 {
			send(map[string]any{"error": map[string]any{"message": "simulated failure", "type": "server_error"}})
			return
		}
	}
	finish := "stop"
	if a.tool != "" {
		finish = "tool_calls"
	}
	send(a.chunk(map[string]any{}, finish, include))
	if include {
		last := a.base("chat.completion.chunk")
		last["choices"], last["usage"] = []any{}, a.usage()
		send(last)
	}
	if !m.has("no-done") {
		_, _ = io.WriteString(w, "data: [DONE]\n\n") // the client may be gone by now
	}
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

func pause(ctx context.Context, m modes) bool {
	if !m.has("slow-frame") {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Duration(m.number("slow-frame", 0)) * time.Millisecond):
		return true
	}
}

func fail(w http.ResponseWriter, status int, kind, message string) {
	writeJSON(w, status, map[string]any{"error": map[string]any{"message": message, "type": kind, "param": nil, "code": nil}})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	raw, err := json.Marshal(body)
	if err != nil {
		panic("mock: " + err.Error()) // maps of plain values always marshal
	}
	_, _ = w.Write(raw) // the client may be gone; nothing to do about it
}
