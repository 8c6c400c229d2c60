package app

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"p402.io/p402/internal/pgtest"
	"p402.io/p402/internal/store"
)

// vendorStub is a vendor that answers as a test says and remembers what it was sent.
type vendorStub struct {
	mu     sync.Mutex
	answer http.HandlerFunc
	bodies [][]byte
	heads  []http.Header
}

func (v *vendorStub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // as far as it goes
	v.mu.Lock()
	v.bodies, v.heads = append(v.bodies, body), append(v.heads, r.Header.Clone())
	answer := v.answer
	v.mu.Unlock()
	answer(w, r)
}

func (v *vendorStub) will(answer http.HandlerFunc) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.answer, v.bodies, v.heads = answer, nil, nil
}

func (v *vendorStub) seen() ([][]byte, []http.Header) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.bodies, v.heads
}

// json answers 200 with a text as JSON.
func (v *vendorStub) json(text string) {
	v.will(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, text) // the gateway may be gone; nothing to do about it
	})
}

// frames answers with an event stream of these data lines and then does what end says.
func (v *vendorStub) frames(end func(), lines ...string) {
	v.will(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, line := range lines {
			fmt.Fprintf(w, "data: %s\n\n", line)
			w.(http.Flusher).Flush()
		}
		if end != nil {
			end()
		}
	})
}

// stubbed is a house of its own before a vendorStub.
type stubbed struct {
	fallbackHouse
	stub *vendorStub
	logs *syncBuffer
}

const vendorKey = "sk-vendor-canary-5d1f"

func newStubbed(t *testing.T, change func(*Config)) stubbed {
	t.Helper()
	h := stubbed{stub: &vendorStub{}, logs: &syncBuffer{}}
	upstream := httptest.NewServer(h.stub)
	t.Cleanup(upstream.Close)
	cfg := Config{DatabaseURL: pgtest.New(t, store.Migrate), Vendor: Vendor{Name: "stub", BaseURL: upstream.URL + "/v1", APIKey: vendorKey, AllowPrivate: true, TestKeys: true, Prices: "*"}}
	if change != nil {
		change(&cfg)
	}
	h.fallbackHouse = newHouse(t, cfg, slog.New(slog.NewJSONHandler(h.logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	return h
}

const hello = `"messages":[{"role":"user","content":"hello"}]`

// chat sends one chat call; more is further members of the body.
func (h stubbed) chat(t *testing.T, more string) (*http.Response, []byte) {
	t.Helper()
	return h.send(t, "/v1/chat/completions", `{"model":"gpt-4o-mini",`+hello+more+`}`, nil)
}

const goodAnswer = `{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"Hi."},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100}}`

const chunk = `{"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"Hello, you!"},"finish_reason":null}]}`

func TestA46_NoBodyOrHeaderLeadsTheVendorsKeyElsewhere(t *testing.T) {
	t.Parallel()
	h := newStubbed(t, nil)
	attacker := &vendorStub{}
	attacker.json(goodAnswer)
	elsewhere := httptest.NewServer(attacker)
	t.Cleanup(elsewhere.Close)
	h.stub.json(goodAnswer)
	for _, name := range []string{"base_url", "api_base", "baseURL", "endpoint", "url", "api_key"} {
		resp, body := h.chat(t, fmt.Sprintf(`,%q:%q`, name, elsewhere.URL+"/v1"))
		if resp.StatusCode != 200 && resp.StatusCode != 400 {
			t.Errorf("%s: %d %.200s", name, resp.StatusCode, body)
		}
	}
	for _, name := range []string{"X-Base-URL", "X-Api-Base", "X-OpenAI-Base", "Forwarded", "X-Forwarded-Host"} {
		h.send(t, "/v1/chat/completions", `{"model":"gpt-4o-mini",`+hello+`}`, map[string]string{name: elsewhere.URL})
	}
	if bodies, _ := attacker.seen(); len(bodies) > 0 {
		t.Errorf("the attacker's host was called %d times", len(bodies))
	}
}

func TestA48_RedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	h := newStubbed(t, nil)
	target := &vendorStub{}
	target.json(goodAnswer)
	elsewhere := httptest.NewServer(target)
	t.Cleanup(elsewhere.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		h.stub.will(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/v1/chat/completions", status)
		})
		resp, body := h.chat(t, "")
		if resp.StatusCode != 502 || bytes.Contains(body, []byte(elsewhere.URL)) {
			t.Errorf("%d: %d %.300s", status, resp.StatusCode, body)
		}
	}
	if bodies, _ := target.seen(); len(bodies) > 0 {
		t.Error("a redirect was followed")
	}
}

func TestA49_AVendorThatNeverAnswersIsGivenUp(t *testing.T) {
	t.Parallel()
	h := newStubbed(t, func(c *Config) { c.Vendor.FirstByte, c.Vendor.Idle = 200*time.Millisecond, 200*time.Millisecond })
	gone := make(chan struct{})
	t.Cleanup(func() { close(gone) })
	h.stub.will(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-gone:
		case <-r.Context().Done():
		}
	})
	resp, body := h.chat(t, "")
	if resp.StatusCode != 504 {
		t.Errorf("%d %.300s", resp.StatusCode, body)
	}
	h.stub.frames(func() { <-gone }, chunk)
	resp, body = h.chat(t, `,"stream":true`)
	if resp.StatusCode != 200 || !bytes.Contains(body, []byte(`"error"`)) {
		t.Errorf("a stream that stops: %d %.600s", resp.StatusCode, body)
	}
	e := h.event(t, resp)
	if e.Success || e.CostUSD == "" {
		t.Errorf("what was streamed is not on the event: %+v", e)
	}
}

func TestA57_AnotherModelThanAskedIsPricedAsAnswered(t *testing.T) {
	t.Parallel()
	h := newStubbed(t, nil)
	h.stub.json(strings.Replace(goodAnswer, "gpt-4o-mini", "gpt-4o", 1))
	resp, _ := h.chat(t, "")
	e := h.event(t, resp)
	if e.ModelRequested != "gpt-4o-mini" || e.ModelUsed != "gpt-4o" || e.CostUSD != "0.003500000000" { // 1000 x 2.5 + 100 x 10 per million
		t.Errorf("%+v", e)
	}
}

func TestA58_TwoHundredsThatAreNoAnswers(t *testing.T) {
	t.Parallel()
	h := newStubbed(t, nil)
	for name, answer := range map[string]func(w http.ResponseWriter){
		"html": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>")
		},
		"nothing": func(w http.ResponseWriter) { w.WriteHeader(200) },
		"an error body": func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, `{"error":{"message":"overloaded","type":"server_error"}}`)
		},
		"half an answer": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, goodAnswer[:80])
		},
	} {
		h.stub.will(func(w http.ResponseWriter, _ *http.Request) { answer(w) })
		resp, body := h.chat(t, "")
		e := h.event(t, resp)
		if resp.StatusCode != 502 || !bytes.Contains(body, []byte(`"code"`)) || e.Success || e.CostUSD == "" || strings.Trim(e.CostUSD, "0.") != "" {
			t.Errorf("%s: %d %.300s cost %q", name, resp.StatusCode, body, e.CostUSD)
		}
	}
}

func TestA59_AnErrorsSecretsStayHere(t *testing.T) {
	t.Parallel()
	h := newStubbed(t, nil)
	for _, status := range []int{400, 401, 403, 404, 422, 429, 500, 503} {
		h.stub.will(func(w http.ResponseWriter, r *http.Request) {
			for name, values := range r.Header { // a vendor that echoes what it was sent
				w.Header()["X-Echo-"+name] = values
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"error":{"message":"Incorrect API key provided: %s at http://10.1.2.3:8080/internal","type":"invalid_request_error","code":"x"}}`, vendorKey)
		})
		resp, body := h.chat(t, "")
		if all := fmt.Sprint(resp.Header) + string(body); strings.Contains(all, vendorKey) || strings.Contains(all, "10.1.2.3") {
			t.Errorf("%d: %v %s", status, resp.Header, body)
		}
	}
	if strings.Contains(h.logs.String(), vendorKey) {
		t.Error("the log holds the vendor's key")
	}
}

func TestA61_OnlyListedHeadersPass(t *testing.T) {
	t.Parallel()
	h := newStubbed(t, nil)
	evil := map[string]string{"Set-Cookie": "a=b", "Access-Control-Allow-Origin": "*", "X-Accel-Redirect": "/etc/passwd", "X-Accel-Buffering": "no", "Server": "evil", "Location": "/x", "X-P402-Event-ID": "evt_forged",
		"X-P402-Cost-USD": "0", "PAYMENT-RESPONSE": "x", "WWW-Authenticate": "Basic", "Strict-Transport-Security": "max-age=1", "Connection": "X-Hop", "X-Hop": "1", "Alt-Svc": "h3", "Openai-Organization": "org-ours"}
	h.stub.will(func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range evil {
			w.Header().Set(name, value)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, goodAnswer) // as in json
	})
	resp, _ := h.chat(t, "")
	for name, value := range evil {
		if resp.Header.Get(name) == value {
			t.Errorf("%s: %s passed", name, value)
		}
	}
}

func TestA65_AVendorsRefusalOfOurKeyIsOurs(t *testing.T) {
	t.Parallel()
	h := newStubbed(t, nil)
	for _, status := range []int{401, 403} {
		h.stub.will(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"error":{"message":"invalid key","type":"authentication_error"}}`) // as in json
		})
		if resp, body := h.chat(t, ""); resp.StatusCode != 502 {
			t.Errorf("%d: %d %.300s", status, resp.StatusCode, body)
		}
	}
}

func TestA53_WrongUsageIsNeverACredit(t *testing.T) {
	t.Parallel()
	h := newStubbed(t, nil)
	for _, usage := range []string{`{"prompt_tokens":-5,"completion_tokens":3,"total_tokens":-2}`, `{"prompt_tokens":1.5,"completion_tokens":3}`, `{"prompt_tokens":"12","completion_tokens":3}`,
		`{"prompt_tokens":9223372036854775808,"completion_tokens":3}`, `{"prompt_tokens":5,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":50}}`, `{"prompt_tokens":1e400,"completion_tokens":3}`, `[]`, `"none"`} {
		h.stub.json(goodAnswer[:strings.Index(goodAnswer, `"usage"`)] + `"usage":` + usage + `}`)
		resp, body := h.chat(t, "")
		if resp.StatusCode != 200 {
			t.Errorf("%s: %d %.200s", usage, resp.StatusCode, body)
			continue
		}
		if e := h.event(t, resp); strings.HasPrefix(e.CostUSD, "-") {
			t.Errorf("%s: cost %s", usage, e.CostUSD)
		}
	}
}

func TestA52_UsageThatDoesNotComeIsEstimatedAndSaid(t *testing.T) {
	t.Parallel()
	h := newStubbed(t, nil)
	last := strings.Replace(strings.Replace(chunk, `{"content":"Hello, you!"}`, `{}`, 1), `"finish_reason":null`, `"finish_reason":"stop"`, 1)
	for name, lines := range map[string][]string{
		"none":             {chunk, last, "[DONE]"},
		"null":             {strings.Replace(chunk, `"choices"`, `"usage":null,"choices"`, 1), last, "[DONE]"},
		"after the end":    {chunk, last, "[DONE]", `{"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`},
		"in the first":     {strings.Replace(chunk, `"choices"`, `"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10},"choices"`, 1), last, "[DONE]"},
		"in several":       {strings.Replace(chunk, `"choices"`, `"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10},"choices"`, 1), strings.Replace(last, `"choices"`, `"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13},"choices"`, 1), "[DONE]"},
		"only on its line": {chunk, last, `{"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}`, "[DONE]"},
	} {
		h.stub.frames(nil, lines...)
		resp, body := h.chat(t, `,"stream":true`)
		if e := h.event(t, resp); resp.StatusCode != 200 || e.CostUSD == "" || !e.Success {
			t.Errorf("%s: %d, %+v: %.300s", name, resp.StatusCode, e, body)
		}
		if name == "only on its line" && bytes.Contains(body, []byte(`"usage"`)) {
			t.Errorf("the client did not ask for usage and got it: %s", body)
		}
		if bodies, _ := h.stub.seen(); !bytes.Contains(bodies[0], []byte(`"include_usage":true`)) {
			t.Errorf("%s: usage was not asked for: %s", name, bodies[0])
		}
	}
}

func TestA50_TestA51_ACutStreamIsChargedForWhatCame(t *testing.T) {
	t.Parallel()
	h := newStubbed(t, nil)
	for cut := range 4 {
		var lines []string
		for range cut {
			lines = append(lines, chunk)
		}
		h.stub.frames(func() { panic(http.ErrAbortHandler) }, lines...)
		resp, body := h.chat(t, `,"stream":true`)
		e := h.event(t, resp)
		if e.Success || e.EstimateUSD == "" || strings.Trim(e.EstimateUSD, "0.") == "" || bytes.Contains(body, []byte("[DONE]")) || !bytes.Contains(body, []byte(`"PROVIDER_ERROR"`)) {
			t.Errorf("cut after %d: %d, %+v: %.500s", cut, resp.StatusCode, e, body)
		}
	}
}
