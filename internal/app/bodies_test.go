package app

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

// chatWith is a chat body with further members.
func chatWith(more string) string {
	return `{"model":"mock-small","messages":[{"role":"user","content":"hi"}]` + more + `}`
}

func TestA21_DeepWideAndLongBodiesAreRefusedQuickly(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	for name, body := range map[string]string{
		"100,000 deep arrays":  chatWith(`,"x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)),
		"100,000 deep objects": chatWith(`,"x":` + strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000)),
		"a million elements":   chatWith(`,"x":[` + strings.Repeat("1,", 1_000_000) + `1]`),
		"a million keys":       "{" + strings.Repeat(`"a":1,`, 1_000_000) + `"b":1}`,
	} {
		began := time.Now()
		r := u.do("POST", "/v1/chat/completions", body)
		if r.status >= 500 || time.Since(began) > 3*time.Second {
			t.Errorf("%s: %d after %s: %.200s", name, r.status, time.Since(began), r.body)
		}
	}
}

func TestA24_TextThatIsNoJSONBody(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	for _, path := range []string{"/v1/chat/completions", "/v1/embeddings", "/v1/completions", "/v1/responses"} {
		for name, body := range map[string]string{"more behind it": chatWith("") + "x", "a byte order mark": "\ufeff" + chatWith(""), "two documents": chatWith("") + chatWith(""), "a comment": chatWith("/*x*/"),
			"single quotes": strings.ReplaceAll(chatWith(""), `"`, "'"), "nothing": " ", "a list": "[]", "null": "null", "a text": `"x"`, "cut": chatWith("")[:30]} {
			r := u.do("POST", path, body)
			if code, _, _ := r.fault(t); r.status != 400 || code != "INVALID_JSON" {
				t.Errorf("%s with %s: %d %s", path, name, r.status, code)
			}
		}
		for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=utf-16"} {
			if r := u.do("POST", path, chatWith(""), "Content-Type: "+media); r.status != 415 {
				t.Errorf("%s as %s: %d", path, media, r.status)
			}
		}
	}
}

func TestA27_CountsThatBoundACallAreRefusedOrReserved(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	for _, more := range []string{`"max_tokens":-1`, `"max_tokens":0`, `"max_completion_tokens":-5`, `"n":0`, `"n":-1`, `"n":1000000`, `"max_tokens":9223372036854775808`, `"max_tokens":1.5`, `"max_tokens":"10"`, `"n":"2"`} {
		r := u.do("POST", "/v1/chat/completions", chatWith(","+more))
		name, _, _ := strings.Cut(strings.Trim(more, `"`), `"`)
		if _, param, _ := r.fault(t); r.status != 400 || param != name {
			t.Errorf("%s: %d, param %q", more, r.status, param)
		}
	}
	estimate := func(more string) string {
		return u.must(200, "POST", "/v1/chat/completions", chatWith(more), "X-P402-Dry-Run: 1")["worst_case_usd"].(string)
	}
	if one, many := estimate(`,"max_tokens":1000`), estimate(`,"max_tokens":1000,"n":8`); one >= many {
		t.Errorf("eight answers are held for no more than one: %s, %s", one, many)
	}
}

func TestA29_ModelsThatAreNoNames(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	for _, model := range []string{"", `""`, `["mock-small"]`, `5`, `null`, `"` + strings.Repeat("m", 1<<20) + `"`, `"a\u0000b"`, `"a\nb"`, `"\ud800"`} {
		body := `{"messages":[{"role":"user","content":"hi"}]}`
		if model != "" {
			body = `{"model":` + model + `,"messages":[{"role":"user","content":"hi"}]}`
		}
		r := u.do("POST", "/v1/chat/completions", body)
		if _, param, _ := r.fault(t); r.status != 400 || param != "model" {
			t.Errorf("%.60s: %d %q", model, r.status, param)
		}
	}
	for _, model := range []string{"../../etc/passwd", "http://169.254.169.254/", "{{7*7}}", "a b", "x/../y"} {
		r := u.do("POST", "/v1/chat/completions", fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"hi"}]}`, model))
		if r.status >= 500 {
			t.Errorf("%s: %d %.200s", model, r.status, r.body)
		}
	}
	if metrics := (user{t: t, h: h}).do("GET", "/metrics", nil); bytes.Contains(metrics.body, []byte("passwd")) || bytes.Contains(metrics.body, []byte("7*7")) {
		t.Error("a caller's model name became a metric")
	}
}

func TestA31_UnknownMembersReachTheVendorUnchanged(t *testing.T) {
	t.Parallel()
	h := newStubbed(t, nil)
	h.stub.json(goodAnswer)
	const more = `,"future_switch":{"a":[1,2.50,{"b":null}],"text":"\u00e9 ü"},"temperature":0.70,"seed":9007199254740993,"user":"u-1","logit_bias":{"50256":-100}`
	if resp, body := h.chat(t, more); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	bodies, _ := h.stub.seen()
	for _, want := range []string{`"future_switch":{"a":[1,2.50,{"b":null}],"text":"\u00e9 ü"}`, `"temperature":0.70`, `"seed":9007199254740993`, `"user":"u-1"`, `"logit_bias":{"50256":-100}`} {
		if !bytes.Contains(bodies[0], []byte(want)) {
			t.Errorf("%s is not in what the vendor got: %s", want, bodies[0])
		}
	}
}

func TestA32_MetadataHasBounds(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	many := []string{}
	for i := range 17 {
		many = append(many, fmt.Sprintf(`"k%d":"v"`, i))
	}
	for name, metadata := range map[string]string{"17 pairs": "{" + strings.Join(many, ",") + "}", "a long key": `{"` + strings.Repeat("k", 65) + `":"v"}`, "a long value": `{"k":"` + strings.Repeat("v", 513) + `"}`,
		"nested": `{"k":{"a":"b"}}`, "a number": `{"k":5}`, "a list": `["a"]`, "text": `"x"`, "an empty key": `{"":"v"}`} {
		r := u.do("POST", "/v1/chat/completions", chatWith(`,"metadata":`+metadata))
		if code, param, _ := r.fault(t); r.status != 400 || code != "INVALID_METADATA" || !strings.HasPrefix(param, "metadata") {
			t.Errorf("%s: %d %s %q", name, r.status, code, param)
		}
	}
	for _, key := range []string{"__proto__", "constructor", "$where"} { // plain names here, kept as tags
		id := u.do("POST", "/v1/chat/completions", chatWith(fmt.Sprintf(`,"metadata":{%q:"v"}`, key))).header.Get("X-P402-Event-ID")
		if e := u.do("GET", "/api/v2/meter/events/"+id, nil); !bytes.Contains(e.body, []byte(fmt.Sprintf("%q", key))) {
			t.Errorf("%s: %.300s", key, e.body)
		}
	}
}

func TestA34_NoValueSplitsAHeader(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	for _, name := range []string{"Idempotency-Key", "X-P402-Customer", "X-P402-Workflow", "X-Request-ID", "X-P402-Request-ID", "X-P402-Tags", "X-P402-Retry-Of"} {
		for _, value := range []string{"a%0d%0aSet-Cookie: x=1", "a\tb", "é", strings.Repeat("a", 5000)} {
			r := u.do("POST", "/v1/chat/completions", chatWith(""), name+": "+value)
			if r.status >= 500 || r.header.Get("Set-Cookie") != "" {
				t.Errorf("%s: %q: %d %v", name, value, r.status, r.header)
			}
		}
		status, rest := h.raw(t, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+u.key+"\r\n"+name+": a\x00b\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", 5*time.Second)
		if !strings.Contains(status, " 400") || strings.Contains(rest, "Set-Cookie") {
			t.Errorf("NUL in %s: %q", name, status)
		}
	}
}

func TestA37_PackedRequestsAreNotUnpacked(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	for _, packing := range []string{"gzip", "br", "deflate", "zstd", "gzip, gzip"} {
		for _, path := range []string{"/v1/chat/completions", "/v1/messages", "/api/v2/budgets"} {
			if r := u.do("POST", path, chatWith(""), "Content-Encoding: "+packing); r.status != 415 {
				t.Errorf("%s at %s: %d", packing, path, r.status)
			}
		}
	}
}

func TestA39_OneRequestIsNeverTwo(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	const smuggled = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	head := "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + u.key + "\r\nContent-Type: application/json\r\n"
	for name, send := range map[string]string{
		"length and chunks":    head + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"chunks, misspelt":     head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + smuggled,
		"two transfer codings": head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + smuggled,
		"a bare LF in a size":  head + "Transfer-Encoding: chunked\r\n\r\n2;\nxx\r\n{}\r\n0\r\n\r\n" + smuggled,
		"a folded header":      head + "X-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}" + smuggled,
		"HTTP/1.0 and chunks":  strings.Replace(head, "HTTP/1.1", "HTTP/1.0", 1) + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"a signed length":      head + "Content-Length: +2\r\n\r\n{}" + smuggled,
	} {
		status, rest := h.raw(t, send, 3*time.Second)
		if strings.Contains(rest, "HTTP/1.1 ") && name != "a folded header" || strings.Contains(status, " 200") {
			t.Errorf("%s: %q and then %.300q", name, status, rest)
		}
	}
}

func TestA41_OddRequestsEnd(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	const auth = "Authorization: Bearer "
	for name, row := range map[string][2]string{
		"CONNECT":            {"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", " 4"},
		"an absolute target": {"GET http://example.com/healthz HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n", " "},
		"a bad host":         {"GET /healthz HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n", " 400"},
		"an upgrade":         {"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n", " 200"},
		"asterisk":           {"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", " "},
	} {
		status, _ := h.raw(t, row[0], 5*time.Second)
		if !strings.Contains(status, row[1]) || strings.Contains(status, " 5") {
			t.Errorf("%s: %q", name, status)
		}
	}
	// A body that is announced and never comes ends with the body's deadline, which is longer than this test; until then
	// the connection waits and others are served.
	if r := u.do("GET", "/v1/models", nil); r.status != http.StatusOK {
		t.Errorf("%s%d", auth, r.status)
	}
}

func TestA43_AnIDOfOnesOwnIsOnesOwn(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	a, b := h.user(t), h.user(t)
	for _, u := range []user{a, b} {
		r := u.do("POST", "/v1/chat/completions", chatWith(""), "X-Request-ID: mine-1", "Idempotency-Key: mine-1")
		if r.status != 200 {
			t.Errorf("%d %.200s", r.status, r.body)
		}
	}
}

func TestA54_ToolAnswersAreCounted(t *testing.T) {
	t.Parallel()
	h := newStubbed(t, nil)
	h.stub.json(`{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"},{"index":1,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":10,"total_tokens":30}}`)
	resp, body := h.chat(t, `,"n":2`)
	if e := h.event(t, resp); e.CostUSD != "0.000009000000" || gjson.GetBytes(body, "choices.0.message.tool_calls.0.id").Str != "t" {
		t.Errorf("%+v %s", e, body)
	}
}
