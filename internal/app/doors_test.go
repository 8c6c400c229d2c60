package app

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"p402.io/p402/meter"
)

func TestMethodsPathsHeadAndOptions(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	for _, row := range []struct {
		method, path string
		status       int
		code, allow  string
	}{
		{"PUT", "/api/v2/keys", 405, "METHOD_NOT_ALLOWED", "GET, HEAD, OPTIONS, POST"},
		{"DELETE", "/v1/chat/completions", 405, "METHOD_NOT_ALLOWED", "OPTIONS, POST"},
		{"PATCH", "/x402/settle", 405, "METHOD_NOT_ALLOWED", "OPTIONS, POST"},
		{"POST", "/healthz", 405, "METHOD_NOT_ALLOWED", "GET, HEAD, OPTIONS"},
		{"TRACE", "/healthz", 405, "METHOD_NOT_ALLOWED", "GET, HEAD, OPTIONS"},
		{"HEAD", "/sign-in/abc", 405, "", "GET, OPTIONS"},
		{"OPTIONS", "/api/v2/keys", 204, "", "GET, HEAD, OPTIONS, POST"},
		{"GET", "/api/v2", 404, "NOT_FOUND", ""},
		{"GET", "/api/v2/keys/", 404, "NOT_FOUND", ""},
		{"GET", "/api/v2/KEYS", 404, "NOT_FOUND", ""},
		{"GET", "//api/v2/keys", 404, "NOT_FOUND", ""},
		{"GET", "/api/v2/../v2/keys", 404, "NOT_FOUND", ""},
		{"GET", "/api/v2/keys;x=1", 404, "NOT_FOUND", ""},
		{"GET", "/.git/config", 404, "NOT_FOUND", ""},
		{"GET", "/debug/pprof/", 404, "NOT_FOUND", ""},
		{"POST", "/v1/audio/speech", 404, "UNSUPPORTED_FEATURE", ""},
		{"GET", "/x402/nothing", 404, "NOT_FOUND", ""},
		{"GET", "/x/nobody/nothing", 404, "NOT_FOUND", ""},
		{"HEAD", "/api/v2/me", 200, "", ""},
		{"HEAD", "/openapi.json", 200, "", ""},
	} {
		r := u.do(row.method, row.path, nil)
		allow := strings.Split(r.header.Get("Allow"), ", ")
		slices.Sort(allow)
		if r.status != row.status || strings.Join(allow, ", ") != row.allow {
			t.Errorf("%s %s: %d, Allow %v, want %d, %s", row.method, row.path, r.status, allow, row.status, row.allow)
		}
		if row.code != "" {
			if code, _, _ := r.fault(t); code != row.code {
				t.Errorf("%s %s: code %s, want %s", row.method, row.path, code, row.code)
			}
		}
		if row.method == "HEAD" && len(r.body) > 0 {
			t.Errorf("HEAD %s has a body", row.path)
		}
	}
}

func TestA15_MethodAndPathOverridesAreNotObeyed(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	made := u.must(201, "POST", "/api/v2/policies", `{"name":"p","rules":{"allowed_models":["m"]}}`)["policy_id"].(string)
	for _, header := range []string{"X-HTTP-Method-Override: DELETE", "X-Original-URL: /api/v2/policies/" + made, "X-Forwarded-Prefix: /evil"} {
		u.must(200, "GET", "/api/v2/policies/"+made, nil, header)
	}
	got := u.must(200, "GET", u.sell("host"), nil, "X-Forwarded-Host: evil.example", "Accept: application/json")
	if strings.Contains(fmt.Sprint(got), "evil") {
		t.Errorf("a forwarded host stands in %v", got)
	}
}

func TestAnswersToldToBrowsers(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	sold := u.sell("cors.demo")
	stranger := user{t: t, h: h}
	preflight := stranger.do("OPTIONS", sold, nil, "Origin: https://shop.example", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: payment-signature,content-type")
	if preflight.status != 204 || preflight.header.Get("Access-Control-Allow-Origin") != "*" || preflight.header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("preflight: %d %v", preflight.status, preflight.header)
	}
	for _, name := range []string{"PAYMENT-SIGNATURE", "X-PAYMENT", "Content-Type", "X-P402-Customer"} {
		if !strings.Contains(preflight.header.Get("Access-Control-Allow-Headers"), name) {
			t.Errorf("a page may not send %s", name)
		}
	}
	offer := stranger.do("POST", sold, `{"messages":[{"role":"user","content":"hi"}]}`, "Origin: https://shop.example")
	exposed := offer.header.Get("Access-Control-Expose-Headers")
	for _, name := range []string{"PAYMENT-REQUIRED", "PAYMENT-RESPONSE", "X-PAYMENT-RESPONSE", "X-P402-Receipt-ID", "X-P402-Event-ID", "X-P402-Cost-USD", "X-P402-Request-ID"} {
		if !strings.Contains(exposed, name) {
			t.Errorf("a page may not read %s of a 402", name)
		}
	}
	if offer.status != 402 || offer.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("an offer: %d %v", offer.status, offer.header)
	}
	// Where a key or a cookie is used, no origin is listed here, so no page may read an answer.
	for _, path := range []string{"/api/v2/me", "/v1/models", "/app", "/x402/supported"} {
		r := u.do("GET", path, nil, "Origin: https://evil.example")
		if r.header.Get("Access-Control-Allow-Origin") != "" || r.header.Get("Cross-Origin-Resource-Policy") != "same-origin" {
			t.Errorf("%s lets a foreign page read: %v", path, r.header)
		}
	}
	for _, path := range []string{"/api/v2/me", "/v1/models", "/app", "/healthz", "/nothing", sold} {
		r := u.do("GET", path, nil)
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		if !strings.Contains(r.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: no content policy", path)
		}
	}
}

// raw speaks HTTP by hand and returns the status line and the rest.
func (h *house) raw(t *testing.T, send string, wait time.Duration) (status, rest string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(h.base, "http://"), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // nothing is pending
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, send); err != nil {
		return "", err.Error() // the server has cut us off, as it may
	}
	in := bufio.NewReader(conn)
	status, _ = in.ReadString('\n') // an empty status is what the caller then sees
	more, _ := io.ReadAll(in)       // as far as it goes
	return strings.TrimSpace(status), string(more)
}

func TestO17_HeadersAndFramingAreBounded(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	const close = "Connection: close\r\n\r\n"
	for _, row := range []struct{ name, send, status string }{
		{"one large header", "GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 200<<10) + "\r\n" + close, "431"},
		{"10,000 headers", "GET /healthz HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-A: 1234567890\r\n", 10_000) + close, "431"},
		{"two lengths", "POST /api/v2/keys HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n" + close + "{}x", "400"},
		{"unknown transfer encoding", "POST /api/v2/keys HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n" + close + "0\r\n\r\n", "501"},
		{"no host", "GET /healthz HTTP/1.1\r\n" + close, "400"},
		{"a blank in a header's name", "GET /healthz HTTP/1.1\r\nHost: x\r\nX A: 1\r\n" + close, "400"},
	} {
		if status, _ := h.raw(t, row.send, 5*time.Second); !strings.Contains(status, " "+row.status) {
			t.Errorf("%s: %q, want %s", row.name, status, row.status)
		}
	}
}

// A body that ends before its stated length is the client's fault and is told so, never a 5xx (N8).
func TestA19_ALyingLengthIsThe400OfItsSender(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // nothing is pending
	fmt.Fprintf(conn, "POST /api/v2/policies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"name\":", u.key)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400") || !strings.Contains(string(answer), "BODY_INCOMPLETE") {
		t.Errorf("%v: %.300s", err, answer)
	}
}

func TestA8_MalformedCredentials(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	good := u.key
	for name, header := range map[string]string{
		"none":                        "Authorization: ",
		"no scheme":                   "Authorization: " + good,
		"basic":                       "Authorization: Basic " + good,
		"one digit less":              "Authorization: Bearer " + good[:len(good)-1],
		"upper case":                  "Authorization: Bearer " + strings.ToUpper(good),
		"another kind":                "Authorization: Bearer " + strings.Replace(good, "test", "live", 1),
		"unknown":                     "Authorization: Bearer p402_test_" + strings.Repeat("0", 64),
		"a long one":                  "Authorization: Bearer " + strings.Repeat("a", 30_000),
		"not ASCII":                   "Authorization: Bearer p402_test_é",
		"x-api-key is /v1/messages's": "X-Api-Key: " + good,
	} {
		headers := []string{"Authorization: ", header}
		for _, path := range []string{"/api/v2/me", "/v1/models"} {
			r := u.do("GET", path, nil, headers...)
			code, _, _ := r.fault(t)
			if r.status != 401 || code != "INVALID_KEY" || r.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s at %s: %d %s", name, path, r.status, code)
			}
		}
	}
	status, _ := h.raw(t, "GET /api/v2/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+good+"\r\nAuthorization: Bearer "+good+"\r\nConnection: close\r\n\r\n", 5*time.Second)
	if !strings.Contains(status, " 401") {
		t.Errorf("two Authorization headers: %q", status)
	}
}

// A key in the address is no key, and the log does not repeat it.
func TestA4_AKeyInTheAddressIsNoKey(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	bare := user{t: t, h: h}
	for _, path := range []string{"/v1/models", "/api/v2/me", "/api/v2/meter/events"} {
		if r := bare.do("GET", path+"?api_key="+u.key, nil); r.status != 401 {
			t.Errorf("%s: %d", path, r.status)
		}
	}
	if r := u.do("GET", "/api/v2/keys/"+u.key, nil); r.status != 404 || strings.Contains(string(r.body), u.key) {
		t.Errorf("a key as an id: %d %s", r.status, r.body)
	}
	if strings.Contains(h.logs.String(), u.key) {
		t.Error("the log holds a key")
	}
}

func TestA42_IdempotencyKeys(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	const path = "/api/v2/budgets"
	body := func(limit int) string {
		return fmt.Sprintf(`{"name":"b","scope":{"type":"tenant"},"window":"day","limit_events":%d}`, limit)
	}
	count := func(u user) int { return len(u.must(200, "GET", path, nil)["data"].([]any)) }
	first := u.do("POST", path, body(1), "Idempotency-Key: k1")
	again := u.do("POST", path, body(1), "Idempotency-Key: k1")
	if first.status != 201 || again.status != 201 || string(first.body) != string(again.body) || again.header.Get("Idempotent-Replayed") != "true" || first.header.Get("Idempotent-Replayed") != "" {
		t.Errorf("first %d %s, again %d %s %v", first.status, first.body, again.status, again.body, again.header)
	}
	u.refuses([]badInput{
		{name: "another body", path: path, body: body(2), headers: []string{"Idempotency-Key: k1"}, status: 409, code: "IDEMPOTENCY_CONFLICT"},
		{name: "another route", path: "/api/v2/policies", body: body(1), headers: []string{"Idempotency-Key: k1"}, status: 409, code: "IDEMPOTENCY_CONFLICT"},
		{name: "too long", path: path, body: body(1), headers: []string{"Idempotency-Key: " + strings.Repeat("k", 129)}, status: 400, code: "INVALID_IDEMPOTENCY_KEY", param: "Idempotency-Key"},
		{name: "a blank", path: path, body: body(1), headers: []string{"Idempotency-Key: a b"}, status: 400, code: "INVALID_IDEMPOTENCY_KEY", param: "Idempotency-Key"},
		{name: "a refused body", path: path, body: body(-1), headers: []string{"Idempotency-Key: k2"}, status: 400, code: "INVALID_INPUT", param: "limit_events"},
	})
	if r := u.do("POST", path, body(9), "Idempotency-Key: k1"); r.header.Get("X-Should-Retry") != "false" {
		t.Error("an SDK would repeat a conflict")
	}
	if got := count(u); got != 1 {
		t.Errorf("%d budgets, want 1", got)
	}
	u.must(201, "POST", path, body(1), "Idempotency-Key: k2") // a refusal was corrected under its own key
	other := h.user(t)
	if r := other.do("POST", path, body(1), "Idempotency-Key: k1"); r.status != 201 || r.header.Get("Idempotent-Replayed") != "" {
		t.Errorf("another tenant's same key: %d %v", r.status, r.header)
	}
	// 50 twins at once: one runs, the others get its answer or are told to wait.
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			r := u.do("POST", path, body(5), "Idempotency-Key: twins")
			if code, _, _ := codeOf(r); r.status != 201 && code != "IDEMPOTENCY_IN_PROGRESS" {
				t.Errorf("a twin: %d %s", r.status, r.body)
			}
		})
	}
	group.Wait()
	if got := count(u); got != 3 {
		t.Errorf("%d budgets after the twins, want 3", got)
	}
}

func codeOf(r reply) (code, param, message string) {
	if r.status < 400 {
		return "", "", ""
	}
	text := string(r.body)
	_, rest, _ := strings.Cut(text, `"code":"`)
	code, _, _ = strings.Cut(rest, `"`)
	return code, "", ""
}

// A new key's plain text is kept nowhere, so its answer cannot be repeated (O3).
func TestO3_ANewKeysAnswerIsNotKept(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	const body = `{"name":"k","scopes":["infer"]}`
	made := u.must(201, "POST", "/api/v2/keys", body, "Idempotency-Key: new")
	u.refuses([]badInput{{name: "again", path: "/api/v2/keys", body: body, headers: []string{"Idempotency-Key: new"}, status: 409, code: "IDEMPOTENT_RESULT_NOT_KEPT"}})
	list := u.do("GET", "/api/v2/keys", nil)
	plain := made["key"].(string)
	if strings.Contains(string(list.body), plain) || strings.Contains(h.logs.String(), plain) {
		t.Error("the new key stands in a list or in the log")
	}
	db, err := pgx.Connect(t.Context(), h.database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.WithoutCancel(t.Context())) }() // nothing is pending
	var kept, rows int
	err = db.QueryRow(t.Context(), "SELECT count(*) FILTER (WHERE position(convert_to($1, 'UTF8') IN answer) > 0), count(*) FROM idempotent_requests WHERE idempotency_key = 'new'", plain).Scan(&kept, &rows)
	if err != nil || kept != 0 || rows != 1 {
		t.Errorf("the new key stands in %d of %d kept answers: %v", kept, rows, err)
	}
}

func TestCursorsWalkEveryRowOnceAndStayHome(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u, other := h.user(t), h.user(t)
	want := map[string]bool{}
	for i := range 5 {
		want[u.call(map[string]string{"customer_id": fmt.Sprint("c", i)})] = true
	}
	for _, order := range []string{"asc", "desc"} {
		seen := map[string]bool{}
		query := "/api/v2/meter/events?limit=2&order=" + order
		for path := query; ; {
			page := u.must(200, "GET", path, nil)
			for _, e := range page["data"].([]any) {
				id := e.(map[string]any)["event_id"].(string)
				if seen[id] {
					t.Errorf("%s twice", id)
				}
				seen[id] = true
			}
			next, ok := page["next_cursor"].(string)
			if page["has_more"] != ok {
				t.Errorf("has_more %v with cursor %v", page["has_more"], page["next_cursor"])
			}
			if !ok {
				break
			}
			path = query + "&cursor=" + next
			for _, r := range []reply{other.do("GET", path, nil), u.do("GET", path+"&customer_id=c1", nil), u.do("GET", "/api/v2/budgets?cursor="+next, nil), u.do("GET", path+"x", nil)} {
				if code, _, _ := r.fault(t); r.status != 400 || code != "INVALID_CURSOR" {
					t.Errorf("a cursor out of its place: %d %s", r.status, code)
				}
			}
			u.call(nil) // rows that come meanwhile are not repeated or skipped over
			if len(seen) > 20 {
				break
			}
		}
		for id := range want {
			if !seen[id] {
				t.Errorf("%s: %s is missing", order, id)
			}
		}
	}
	for _, list := range []string{"policies", "budgets", "keys", "workflows", "meter/events/" + u.call(nil) + "/outcomes"} {
		u.pages(list)
	}
}

// pages makes five objects and walks their list two at a time.
func (u user) pages(list string) {
	u.t.Helper()
	for i := range 5 {
		switch list {
		case "policies":
			u.must(201, "POST", "/api/v2/policies", fmt.Sprintf(`{"name":"p%d","rules":{"allowed_models":["mock-*"]}}`, i))
		case "budgets":
			u.must(201, "POST", "/api/v2/budgets", fmt.Sprintf(`{"name":"b%d","scope":{"type":"tenant"},"window":"day","limit_events":100}`, i))
		case "keys":
			u.with(meter.ScopeInfer)
		case "workflows":
			u.must(200, "POST", "/api/v2/workflows", fmt.Sprintf(`{"workflow_id":"w/%d","target":{"kind":"model","model":"m"}}`, i))
			u.must(200, "GET", fmt.Sprintf("/api/v2/workflows/w%%2F%d", i), nil)
		default:
			u.must(201, "POST", "/api/v2/"+strings.TrimSuffix(list, "s"), fmt.Sprintf(`{"outcome":"accepted","quality_score":"0.%d"}`, i))
		}
	}
	whole := u.must(200, "GET", "/api/v2/"+list, nil)["data"].([]any)
	var walked []any
	for path := "/api/v2/" + list + "?limit=2"; ; {
		page := u.must(200, "GET", path, nil)
		walked = append(walked, page["data"].([]any)...)
		next, ok := page["next_cursor"].(string)
		if !ok {
			break
		}
		path = "/api/v2/" + list + "?limit=2&cursor=" + next
	}
	if fmt.Sprint(walked) != fmt.Sprint(whole) || len(whole) < 5 {
		u.t.Errorf("%s: pages give %d rows, the whole list %d", list, len(walked), len(whole))
	}
}

// A streamed answer must outlive the deadline for reading its body: the door lifts it at the body's end.
func TestAStreamOutlivesItsRequest(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	r := u.do("POST", "/v1/chat/completions", `{"model":"mock-small","stream":true,"messages":[{"role":"user","content":"hello"}]}`)
	if r.status != http.StatusOK || !strings.HasSuffix(strings.TrimSpace(string(r.body)), "[DONE]") {
		t.Errorf("%d: %.200s", r.status, r.body)
	}
}
