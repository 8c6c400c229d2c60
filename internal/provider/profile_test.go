package provider_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/tidwall/gjson"

	"p402.io/p402/internal/provider"
)

// heard is what a vendor got.
type heard struct {
	path   string
	header http.Header
	body   []byte
}

// ask sends one request of a kind to a server that keeps what it heard and answers with what a vendor would.
func ask(t *testing.T, kind string, r provider.Request) heard {
	t.Helper()
	var got heard
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		got = heard{req.Method + " " + req.URL.RequestURI(), req.Header, body}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"x"}`) // the client reads it or not
	}))
	defer server.Close()
	profile, ok := provider.FindProfile(kind)
	if !ok {
		t.Fatalf("no profile %q", kind)
	}
	p, err := provider.New(provider.Config{Name: kind, Profile: profile, BaseURL: server.URL + "/v1", APIKey: "secret", AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.Do(t.Context(), r)
	if err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
	if _, err := resp.Next(); err != nil {
		t.Error(err)
	}
	if err := resp.Close(); err != nil {
		t.Error(err)
	}
	return got
}

const fullBody = `{"model":"m", "messages":[{"role":"user","content":"\u00e9"}],"metadata":{"a":"b"},"store":true,"stream":true,` +
	`"stream_options":{"include_usage":true},"max_completion_tokens":7,"x_unknown":1.50}`

func TestProfilesOnTheWire(t *testing.T) {
	t.Parallel()
	rows := []struct {
		kind, auth, value string
		gone              []string
		kept              []string
	}{
		{"openai", "Authorization", "Bearer secret", nil, []string{"metadata", "store", "stream_options"}},
		{"azure", "Api-Key", "secret", nil, []string{"metadata", "stream_options"}},
		{"openrouter", "Authorization", "Bearer secret", nil, []string{"metadata", "stream_options"}},
		{"anthropic", "Authorization", "Bearer secret", nil, []string{"stream_options"}},
		{"gemini", "Authorization", "Bearer secret", []string{"metadata", "store"}, []string{"stream_options"}},
		{"mistral", "Authorization", "Bearer secret", []string{"metadata", "store", "stream_options", "max_completion_tokens"}, []string{"max_tokens"}},
		{"groq", "Authorization", "Bearer secret", []string{"metadata", "store"}, []string{"stream_options"}},
		{"deepseek", "Authorization", "Bearer secret", nil, []string{"stream_options"}},
		{"xai", "Authorization", "Bearer secret", nil, []string{"stream_options"}},
		{"together", "Authorization", "Bearer secret", nil, []string{"stream_options"}},
		{"fireworks", "Authorization", "Bearer secret", nil, []string{"stream_options"}},
		{"cerebras", "Authorization", "Bearer secret", []string{"metadata", "store"}, []string{"stream_options"}},
		{"perplexity", "Authorization", "Bearer secret", []string{"metadata", "store", "stream_options"}, nil},
		{"cohere", "Authorization", "Bearer secret", []string{"metadata", "store"}, []string{"stream_options"}},
		{"ollama", "Authorization", "Bearer secret", nil, []string{"metadata", "stream_options"}},
		{"vllm", "Authorization", "Bearer secret", nil, []string{"metadata", "stream_options"}},
		{"openai_compatible", "Authorization", "Bearer secret", nil, []string{"metadata", "stream_options"}},
		{"mock", "Authorization", "Bearer secret", nil, []string{"metadata", "stream_options"}},
	}
	covered := map[string]bool{}
	for _, row := range rows {
		covered[row.kind] = true
		t.Run(row.kind, func(t *testing.T) {
			t.Parallel()
			got := ask(t, row.kind, provider.Request{Route: provider.RouteChatCompletions, Body: []byte(fullBody)})
			if got.path != "POST /v1/chat/completions" || got.header.Get(row.auth) != row.value {
				t.Errorf("%s with %s: %q", got.path, row.auth, got.header.Get(row.auth))
			}
			for _, name := range row.gone {
				if gjson.GetBytes(got.body, name).Exists() {
					t.Errorf("%s was sent: %s", name, got.body)
				}
			}
			for _, name := range append(row.kept, "model", "messages", "x_unknown") {
				if !gjson.GetBytes(got.body, name).Exists() {
					t.Errorf("%s was lost: %s", name, got.body)
				}
			}
			if raw := gjson.GetBytes(got.body, "x_unknown").Raw; raw != "1.50" {
				t.Errorf("a number was rewritten: %s", raw)
			}
		})
	}
	for _, kind := range provider.Kinds() {
		if !covered[kind] {
			t.Errorf("profile %s has no row", kind)
		}
	}
}

func TestAnthropicsOwnRouteTakesItsOwnKeyHeader(t *testing.T) {
	t.Parallel()
	body := []byte(`{"model":"m","max_tokens":1,"messages":[],"metadata":{"user_id":"u"}}`)
	got := ask(t, "anthropic", provider.Request{Route: provider.RouteMessages, Body: body, Header: http.Header{
		"Anthropic-Version": {"2023-06-01"}, "Anthropic-Beta": {"a", "b"}, "Authorization": {"Bearer callers"}, "X-Api-Key": {"callers"}, "Cookie": {"c=1"}}})
	if got.path != "POST /v1/messages" || got.header.Get("X-Api-Key") != "secret" || got.header.Get("Authorization") != "" || got.header.Get("Cookie") != "" {
		t.Errorf("%s %v", got.path, got.header)
	}
	if got.header.Get("Anthropic-Version") != "2023-06-01" || len(got.header.Values("Anthropic-Beta")) != 2 || string(got.body) != string(body) {
		t.Errorf("%v %s", got.header, got.body)
	}
}

func TestKeptObjectsAreReadAndDeletedByTheirID(t *testing.T) {
	t.Parallel()
	got := ask(t, "openai", provider.Request{Route: provider.RouteResponses, Method: http.MethodDelete, Object: "resp_1/../../files", Query: "include=a"})
	if got.path != "DELETE /v1/responses/resp_1%2F..%2F..%2Ffiles?include=a" || len(got.body) != 0 {
		t.Errorf("%s %s", got.path, got.body)
	}
}

func TestProfileWithoutARouteIsNotAsked(t *testing.T) {
	t.Parallel()
	profile, _ := provider.FindProfile("openai")
	p, err := provider.New(provider.Config{Name: "openai", Profile: profile, APIKey: "k"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Do(t.Context(), provider.Request{Route: provider.RouteMessages, Body: []byte("{}")})
	if pe, ok := err.(*provider.Error); !ok || pe.Kind != provider.KindRequest || pe.Sent {
		t.Errorf("got %v", err)
	}
}

func TestPassingHeadersTellNothingOfOurAccount(t *testing.T) {
	t.Parallel()
	got := provider.PassingHeaders(http.Header{"Retry-After": {"7"}, "X-Request-Id": {"r"}, "X-Ratelimit-Remaining-Tokens": {"9"}, "Anthropic-Ratelimit-Requests-Limit": {"5"},
		"Openai-Organization": {"org-ours"}, "Anthropic-Organization-Id": {"ours"}, "Set-Cookie": {"a=b"}, "Connection": {"close"}, "Content-Length": {"3"}})
	want := []string{"Retry-After", "X-Request-Id", "X-Ratelimit-Remaining-Tokens", "Anthropic-Ratelimit-Requests-Limit"}
	if len(got) != len(want) {
		t.Errorf("passed %v", got)
	}
	for _, name := range want {
		if got[name] == "" {
			t.Errorf("%s was held back", name)
		}
	}
}

func TestLastFrames(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name string
		f    provider.Frame
		want bool
	}{
		{"chat", provider.Frame{Data: []byte("[DONE]")}, true},
		{"chunk", provider.Frame{Data: []byte(`{"choices":[]}`)}, false},
		{"messages", provider.Frame{Event: "message_stop", Data: []byte(`{"type":"message_stop"}`)}, true},
		{"messages before", provider.Frame{Event: "message_delta", Data: []byte(`{"type":"message_delta"}`)}, false},
		{"responses", provider.Frame{Event: "response.completed", Data: []byte(`{}`)}, true},
		{"responses cut short by a limit", provider.Frame{Event: "response.incomplete"}, true},
		{"responses failed", provider.Frame{Event: "response.failed"}, true},
		{"responses without event names", provider.Frame{Data: []byte(`{"type":"response.completed"}`)}, true},
		{"a word in a text", provider.Frame{Data: []byte(`{"type":"x","delta":"\"message_stop\""}`)}, false},
		{"a comment", provider.Frame{Raw: []byte(": hi\n\n")}, false},
	}
	for _, row := range rows {
		if got := provider.EndsStream(row.f); got != row.want {
			t.Errorf("%s: %t", row.name, got)
		}
	}
}

func TestMistralIsSpared(t *testing.T) {
	t.Parallel()
	got := ask(t, "mistral", provider.Request{Route: provider.RouteChatCompletions, Body: []byte(`{"model":"m","messages":[{"role":"user","content":"a"},` +
		`{"reasoning_content":"why","role":"assistant","content":"b, \"reasoning_content\""}, {"role":"user","content":"c","reasoning_content":null}],"reasoning_content":1}`)})
	want := `{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b, \"reasoning_content\""}, {"role":"user","content":"c"}],"reasoning_content":1}`
	if string(got.body) != want {
		t.Errorf("got  %s\nwant %s", got.body, want)
	}
}

// A server that refuses stream_options is asked once more without, if they were ours, and is remembered.
func TestRefusedStreamOptions(t *testing.T) {
	t.Parallel()
	var bodies []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body) // as far as it goes
		bodies = append(bodies, string(body))
		if gjson.GetBytes(body, "stream_options").Exists() {
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, `{"detail":"extra_forbidden: stream_options"}`) // read or not
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: [DONE]\n\n") // read or not
	}))
	defer server.Close()
	p, err := provider.New(provider.Config{Name: "v", BaseURL: server.URL + "/v1", AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	const with, without = `{"model":"m","stream_options":{"include_usage":true},"stream":true}`, `{"model":"m","stream":true}`
	for i, row := range []struct {
		ours   bool
		status int
		sent   []string
	}{{false, 422, []string{with}}, {true, 200, []string{with, without}}, {true, 200, []string{without}}} {
		bodies = nil
		resp, err := p.Do(t.Context(), provider.Request{Route: provider.RouteChatCompletions, Body: []byte(with), Stream: true, UsageAddedByUs: row.ours})
		if err != nil {
			t.Fatal(err)
		}
		f, err := resp.Next()
		if err != nil || resp.Status != row.status || !slices.Equal(bodies, row.sent) || len(f.Raw) == 0 {
			t.Errorf("%d: %d %v %q, sent %q", i, resp.Status, err, f.Raw, bodies)
		}
		if err := resp.Close(); err != nil {
			t.Error(err)
		}
	}
}
