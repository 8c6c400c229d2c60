package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// upstream is an OpenAI-compatible vendor that keeps what it was sent, so that a script can ask what really reached
// the vendor. A request's first message says what to do: "MARK plain", "MARK slow", "MARK paced", "MARK
// 429", "MARK 500", "MARK cut", "MARK once", which fails the first time only, or
// "MARK echo" and "MARK echo-error", which repeat all they were sent.
type upstream struct {
	*httptest.Server

	mu   sync.Mutex
	seen map[string][]*asked
}

// asked is one request as the vendor got it.
type asked struct {
	Body       string      `json:"body"`
	Header     http.Header `json:"header"`
	StartedMS  int64       `json:"started_ms"` // Unix, ms
	CanceledMS int64       `json:"canceled_ms"`
}

// frameGap is the time between two frames of a slow or paced stream.
const frameGap = 120 * time.Millisecond

func newUpstream() *upstream {
	u := &upstream{seen: map[string][]*asked{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", u.chat)
	mux.HandleFunc("GET /log", u.log)
	u.Server = httptest.NewServer(mux)
	return u
}

// log answers what was sent under a mark.
func (u *upstream) log(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	rows := u.seen[r.URL.Query().Get("mark")]
	if rows == nil {
		rows = []*asked{}
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(rows); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (u *upstream) chat(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	var body struct {
		Model    string `json:"model"`
		Stream   bool   `json:"stream"`
		Messages []struct {
			Content json.RawMessage `json:"content"`
		} `json:"messages"`
	}
	if err != nil || json.Unmarshal(raw, &body) != nil || len(body.Messages) == 0 {
		http.Error(w, `{"error":{"message":"unreadable","type":"invalid_request_error"}}`, http.StatusBadRequest)
		return
	}
	var text string
	if json.Unmarshal(body.Messages[0].Content, &text) != nil {
		text = "unmarked plain"
	}
	mark, what, _ := strings.Cut(text, " ")
	a := &asked{Body: string(raw), Header: r.Header.Clone(), StartedMS: time.Now().UnixMilli()}
	u.mu.Lock()
	first := len(u.seen[mark]) == 0
	u.seen[mark] = append(u.seen[mark], a)
	u.mu.Unlock()
	switch {
	case what == "429":
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprint(w, `{"error":{"message":"Slow down, please.","type":"requests","code":"rate_limit_exceeded","param":null,"vendor_hint":"tier 1"}}`)
	case what == "500", what == "once" && first:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, `{"error":{"message":"The server had an error.","type":"server_error","code":null,"param":null}}`)
	case what == "echo-error":
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":{"message":%q,"type":"invalid_request_error","code":%q,"param":%q}}`, raw, mark, mark)
	case what == "echo" && !body.Stream:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Request-Id", mark)
		fmt.Fprint(w, strings.Replace(fmt.Sprintf(plainAnswer, body.Model), `"Hi"`, fmt.Sprintf("%q", raw), 1))
	case what == "cut":
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, `{"id":"chatcmpl-vendor-3","choices":[`)
		panic(http.ErrAbortHandler) // the connection breaks within the answer
	case body.Stream:
		u.stream(w, r, a, body.Model, text)
	default:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, plainAnswer, body.Model)
	}
}

// plainAnswer holds fields no SDK knows and numbers whose spelling a careless copy would change.
const plainAnswer = `{"id":"chatcmpl-vendor-1","object":"chat.completion","created":1760000000,"model":%q,` +
	`"system_fingerprint":"fp_1","x_vendor":{"trace":[1,2.50,1e3],"nothing":null},"choices":[{"index":0,"finish_reason":"stop",` +
	`"logprobs":{"content":[{"token":"Hi","logprob":-0.10,"bytes":[72,105],"top_logprobs":[]}]},"message":{"role":"assistant","content":"Hi",` +
	`"refusal":null,"annotations":[]}},{"index":1,"finish_reason":"stop","logprobs":null,"message":{"role":"assistant","content":"Ho"}}],` +
	`"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18,"prompt_tokens_details":{"cached_tokens":3},"completion_tokens_details":{"reasoning_tokens":2}}}`

// stream sends ten frames; slow ones go on until the caller has left or a test's patience ends.
func (u *upstream) stream(w http.ResponseWriter, r *http.Request, a *asked, model, text string) {
	mark, what, _ := strings.Cut(text, " ")
	w.Header().Set("Content-Type", "text/event-stream")
	frames, gap := 10, time.Duration(0)
	if what == "slow" {
		frames, gap = 100, frameGap
	}
	if what == "paced" {
		gap = frameGap
	}
	flush := func(data string) {
		fmt.Fprintf(w, "data: %s\n\n", data)
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
	}
	usage := ""
	include := strings.Contains(a.Body, `"include_usage":true`) || strings.Contains(a.Body, `"include_usage": true`)
	if include {
		usage = `,"usage":null` // as the vendor that invented the option does it
	}
	chunk := `{"id":"chatcmpl-vendor-2","object":"chat.completion.chunk","created":1760000000,"model":%q,"x_vendor":1.50,"choices":[{"index":0,"delta":{"content":"%s %d "},"finish_reason":null}]%s}`
	for i := range frames {
		flush(fmt.Sprintf(chunk, model, mark, i, usage))
		select {
		case <-r.Context().Done():
			u.mu.Lock()
			a.CanceledMS = time.Now().UnixMilli()
			u.mu.Unlock()
			return
		case <-time.After(gap):
		}
	}
	flush(fmt.Sprintf(`{"id":"chatcmpl-vendor-2","object":"chat.completion.chunk","created":1760000000,"model":%q,"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]%s}`, model, usage))
	if include {
		flush(fmt.Sprintf(`{"id":"chatcmpl-vendor-2","object":"chat.completion.chunk","created":1760000000,"model":%q,"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":20,"total_tokens":31}}`, model))
	}
	flush("[DONE]")
}
