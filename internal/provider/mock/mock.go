// Package mock is the built-in vendor: a real HTTP server that speaks OpenAI's forms (chat, completions, embeddings,
// responses) and Anthropic's (messages, count_tokens), makes its answers up and says so in a header. The same request
// always gets the same answer, but for its id; responses are kept until deleted. It can be told by the
// model's name to fail in the ways real vendors do:
//
//	mock/status-NNN     answers that status with the form's error object (429 with Retry-After)
//	mock/tokens-IN-OUT  reports exactly these counts
//	mock/cached-N       reports N of the input tokens as cached
//	mock/written-N      reports N more as written to the cache (Anthropic's form)
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
	kept     answers
}

// Start serves on a free loopback port.
func Start(listen string) (*Vendor, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("mock vendor: %w", err)
	}
	v := &Vendor{addr: l.Addr(), done: make(chan struct{}), kept: newAnswers()}
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

// ServeHTTP answers every route of the forms it speaks.
func (v *Vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-P402-Simulated", "true")
	id, ofResponse := strings.CutPrefix(r.URL.Path, "/v1/responses/")
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/v1/models":
		writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": []any{}})
	case r.Method == http.MethodGet && r.URL.Path == "/mock/stats":
		writeJSON(w, http.StatusOK, map[string]any{"served": v.Served(), "canceled": v.Canceled()})
	case ofResponse:
		v.keptResponse(w, r, id)
	case r.Method != http.MethodPost:
		openAIError(w, http.StatusNotFound, "not_found_error", "unknown route")
	default:
		v.post(w, r)
	}
}

// form is one wire form: what a body must have, how it fails and how it answers.
type form struct {
	needs  []string
	fail   func(w http.ResponseWriter, status int, kind, message string)
	answer func(v *Vendor, w http.ResponseWriter, r *http.Request, body []byte, m modes)
}

func formOf(path string) (form, bool) {
	switch path {
	case "/v1/chat/completions":
		return form{[]string{"model", "messages"}, openAIError, (*Vendor).chat}, true
	case "/v1/completions":
		return form{[]string{"model", "prompt"}, openAIError, (*Vendor).completion}, true
	case "/v1/embeddings":
		return form{[]string{"model", "input"}, openAIError, (*Vendor).embedding}, true
	case "/v1/responses":
		return form{[]string{"model"}, openAIError, (*Vendor).response}, true
	case "/v1/messages":
		return form{[]string{"model", "messages", "max_tokens"}, anthropicError, (*Vendor).message}, true
	case "/v1/messages/count_tokens":
		return form{[]string{"model", "messages"}, anthropicError, (*Vendor).countTokens}, true
	}
	return form{}, false
}

func (v *Vendor) post(w http.ResponseWriter, r *http.Request) {
	f, known := formOf(r.URL.Path)
	if !known {
		openAIError(w, http.StatusNotFound, "not_found_error", "unknown route")
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || !gjson.ValidBytes(body) {
		f.fail(w, http.StatusBadRequest, "invalid_request_error", "the body is not JSON")
		return
	}
	for _, name := range f.needs {
		if !gjson.GetBytes(body, name).Exists() {
			f.fail(w, http.StatusBadRequest, "invalid_request_error", name+" is required")
			return
		}
	}
	v.served.Add(1)
	m := parseModes(gjson.GetBytes(body, "model").Str)
	if v.misbehaves(w, r, m, f) {
		return
	}
	f.answer(v, w, r, body, m)
}

func (v *Vendor) chat(w http.ResponseWriter, r *http.Request, body []byte, m modes) {
	a := newAnswer(body, m)
	a.id = v.kept.unique()
	if gjson.GetBytes(body, "stream").Bool() {
		v.play(w, r, m, a.chatFrames(m, gjson.GetBytes(body, "stream_options.include_usage").Bool()))
		return
	}
	writeJSON(w, http.StatusOK, a.plain(m))
}

// misbehaves plays the failures that come before an answer.
func (v *Vendor) misbehaves(w http.ResponseWriter, r *http.Request, m modes, f form) bool {
	switch {
	case m.has("status"):
		status := m.number("status", 500)
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "7")
		}
		f.fail(w, status, "mock_error", "simulated failure")
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

func openAIError(w http.ResponseWriter, status int, kind, message string) {
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
