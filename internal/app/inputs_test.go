package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"p402.io/p402/internal/devchain"
)

// badInput is one line: what is sent, and the refusal that must name what is wrong.
type badInput struct {
	name         string
	method, path string
	body         any // text goes out as it is
	headers      []string
	status       int
	code, param  string
}

func (u user) refuses(rows []badInput) {
	u.t.Helper()
	for _, row := range rows {
		if row.method == "" {
			row.method = "GET"
			if row.body != nil {
				row.method = "POST"
			}
		}
		r := u.do(row.method, row.path, row.body, row.headers...)
		code, param, message := r.fault(u.t)
		if r.status != row.status || code != row.code || param != row.param {
			u.t.Errorf("%s: %d %s %q, want %d %s %q: %s", row.name, r.status, code, param, row.status, row.code, row.param, message)
		}
		if len(message) < 10 || strings.Contains(message, "Internal") || strings.Contains(message, ".go") {
			u.t.Errorf("%s: the message does not help: %q", row.name, message)
		}
	}
}

func TestBadQueriesAreRefusedByName(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	const events, summary = "/api/v2/meter/events", "/api/v2/meter/summary"
	rows := []badInput{
		{name: "unknown filter", path: events + "?colour=red", status: 400, code: "UNKNOWN_FILTER", param: "colour"},
		{name: "a filter in another case", path: events + "?Customer_ID=a", status: 400, code: "UNKNOWN_FILTER", param: "Customer_ID"},
		{name: "unknown parameter of a list", path: "/api/v2/keys?page=2", status: 400, code: "UNKNOWN_PARAMETER", param: "page"},
		{name: "unknown parameter of one object", path: "/api/v2/me?verbose=1", status: 400, code: "UNKNOWN_PARAMETER", param: "verbose"},
		{name: "unknown parameter of the open route", method: "POST", path: "/api/v2/receipts/verify?x=1", body: map[string]any{}, status: 400, code: "UNKNOWN_PARAMETER", param: "x"},
		{name: "unknown outcome", path: events + "?outcome=great", status: 400, code: "INVALID_INPUT", param: "outcome"},
		{name: "unknown cost state", path: events + "?cost_state=cheap", status: 400, code: "INVALID_INPUT", param: "cost_state"},
		{name: "unknown decision", path: summary + "?decision=maybe", status: 400, code: "INVALID_INPUT", param: "decision"},
		{name: "unknown receipt status", path: summary + "?receipt_status=paid", status: 400, code: "INVALID_INPUT", param: "receipt_status"},
		{name: "a date without time", path: events + "?since=2026-01-01", status: 400, code: "INVALID_INPUT", param: "since"},
		{name: "a time without offset", path: events + "?until=2026-01-01T00:00:00", status: 400, code: "INVALID_INPUT", param: "until"},
		{name: "a day that is none", path: events + "?since=2026-02-30T00:00:00Z", status: 400, code: "INVALID_INPUT", param: "since"},
		{name: "until before since", path: events + "?since=2026-02-02T00:00:00Z&until=2026-02-01T00:00:00Z", status: 400, code: "INVALID_INPUT", param: "until"},
		{name: "since twice", path: events + "?since=2026-02-02T00:00:00Z&since=2026-02-03T00:00:00Z", status: 400, code: "INVALID_INPUT", param: "since"},
		{name: "a cost in exponents", path: events + "?min_cost_usd=1e3", status: 400, code: "INVALID_INPUT", param: "min_cost_usd"},
		{name: "a negative cost", path: events + "?max_cost_usd=-1", status: 400, code: "INVALID_INPUT", param: "max_cost_usd"},
		{name: "unattributed of nothing known", path: events + "?unattributed=colour", status: 400, code: "INVALID_INPUT", param: "unattributed"},
		{name: "an order that is none", path: events + "?order=up", status: 400, code: "INVALID_INPUT", param: "order"},
		{name: "an empty filter", path: events + "?customer_id=", status: 400, code: "INVALID_INPUT", param: "customer_id"},
		{name: "NUL in a filter", path: events + "?customer_id=a%00b", status: 400, code: "INVALID_INPUT", param: "customer_id"},
		{name: "broken UTF-8 in a filter", path: events + "?q=%ff", status: 400, code: "INVALID_INPUT", param: "q"},
		{name: "a very long filter", path: events + "?q=" + strings.Repeat("e", 3000), status: 400, code: "INVALID_INPUT", param: "q"},
		{name: "a malformed query", path: events + "?a=%zz", status: 400, code: "INVALID_QUERY"},
		{name: "grouping by nothing known", path: summary + "?group_by=colour", status: 400, code: "INVALID_INPUT", param: "group_by"},
		{name: "grouping by SQL", path: summary + "?group_by=(select%201)", status: 400, code: "INVALID_INPUT", param: "group_by"},
		{name: "grouping twice", path: summary + "?group_by=model&group_by=day", status: 400, code: "INVALID_INPUT", param: "group_by"},
		{name: "NUL in an id", path: events + "/evt_%00", status: 400, code: "INVALID_INPUT", param: "id"},
		{name: "no such object", path: events + "/evt_00000000000000000000000000", status: 404, code: "NOT_FOUND"},
	}
	for _, limit := range []string{"0", "-1", "201", "1.5", "x", "+5", "1e2", "99999999999999999999"} {
		rows = append(rows, badInput{name: "limit " + limit, path: events + "?limit=" + strings.ReplaceAll(limit, "+", "%2B"), status: 400, code: "INVALID_INPUT", param: "limit"})
	}
	for _, list := range []string{"meter/events", "keys", "budgets", "policies", "workflows", "receipts", "payments"} {
		rows = append(rows, badInput{name: "cursor of " + list, path: "/api/v2/" + list + "?cursor=bm90IG91cnM.c2lnbmVk", status: 400, code: "INVALID_CURSOR", param: "cursor"},
			badInput{name: "limit of " + list, path: "/api/v2/" + list + "?limit=201", status: 400, code: "INVALID_INPUT", param: "limit"})
	}
	u.refuses(rows)
}

// What a filter's value says is compared, never run (A36).
func TestA36_FiltersAreLiterals(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	u.call(map[string]string{"customer_id": "acme"})
	for _, value := range []string{"' OR 1=1--", "%", "_", "acme%'", "a*"} {
		got := u.must(200, "GET", "/api/v2/meter/events?customer_id="+queryEscape(value)+"&tag.x="+queryEscape(value), nil)
		if n := len(got["data"].([]any)); n != 0 {
			t.Errorf("%q found %d events", value, n)
		}
	}
	if n := len(u.must(200, "GET", "/api/v2/meter/events?q="+queryEscape("evt_%"), nil)["data"].([]any)); n != 0 {
		t.Errorf("a wildcard in q found %d events", n)
	}
}

func queryEscape(text string) string {
	return strings.NewReplacer("%", "%25", " ", "%20", "'", "%27", "=", "%3D", "#", "%23").Replace(text)
}

func TestBadBodiesAreRefusedByField(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	event := u.call(nil)
	outcome, keys, budgets, policies := "/api/v2/meter/events/"+event+"/outcome", "/api/v2/keys", "/api/v2/budgets", "/api/v2/policies"
	deep := strings.Repeat(`{"a":`, 70) + "1" + strings.Repeat("}", 70)
	u.refuses([]badInput{
		{name: "no body", method: "POST", path: outcome, body: "", status: 400, code: "INVALID_JSON"},
		{name: "null", path: outcome, body: "null", status: 400, code: "INVALID_JSON"},
		{name: "a list", path: outcome, body: "[]", status: 400, code: "INVALID_JSON"},
		{name: "two values", path: outcome, body: `{"outcome":"accepted"}{}`, status: 400, code: "INVALID_JSON"},
		{name: "a byte order mark", path: outcome, body: "\ufeff" + `{"outcome":"accepted"}`, status: 400, code: "INVALID_JSON"},
		{name: "a comment", path: outcome, body: `{"outcome":"accepted"/*x*/}`, status: 400, code: "INVALID_JSON"},
		{name: "broken UTF-8", path: outcome, body: "{\"reason_code\":\"\xff\"}", status: 400, code: "INVALID_JSON"},
		{name: "unknown field", path: outcome, body: `{"outcome":"accepted","colour":1}`, status: 400, code: "UNKNOWN_FIELD", param: "colour"},
		{name: "unknown field below", path: budgets, body: `{"scope":{"type":"tenant","colour":1},"window":"day","limit_events":1}`, status: 400, code: "UNKNOWN_FIELD", param: "scope.colour"},
		{name: "a field in another case", path: outcome, body: `{"Outcome":"accepted"}`, status: 400, code: "UNKNOWN_FIELD", param: "Outcome"},
		{name: "a field in another case, leniently", path: outcome + "?lenient=1", body: `{"OUTCOME":"accepted"}`, status: 400, code: "UNKNOWN_FIELD", param: "OUTCOME"},
		{name: "a field twice", path: outcome, body: `{"outcome":"accepted","outcome":"failed"}`, status: 400, code: "DUPLICATE_FIELD", param: "outcome"},
		{name: "too deep", path: outcome, body: deep, status: 413, code: "BODY_TOO_DEEP"},
		{name: "too large", path: outcome, body: `{"reason_code":"` + strings.Repeat("x", 1<<20) + `"}`, status: 413, code: "BODY_TOO_LARGE"},
		{name: "NUL in a text", path: policies, body: `{"name":"a\u0000b","rules":{"allowed_models":["m"]}}`, status: 400, code: "INVALID_INPUT", param: "name"},
		{name: "a lone surrogate", path: policies, body: `{"name":"\ud800","rules":{"allowed_models":["m"]}}`, status: 400, code: "INVALID_INPUT", param: "name"},
		{name: "no content type", path: outcome, body: `{"outcome":"accepted"}`, headers: []string{"Content-Type: "}, status: 415, code: "UNSUPPORTED_MEDIA_TYPE", param: "Content-Type"},
		{name: "a form's type", path: outcome, body: `{"outcome":"accepted"}`, headers: []string{"Content-Type: application/x-www-form-urlencoded"}, status: 415, code: "UNSUPPORTED_MEDIA_TYPE", param: "Content-Type"},
		{name: "another charset", path: outcome, body: `{"outcome":"accepted"}`, headers: []string{"Content-Type: application/json; charset=utf-16"}, status: 415, code: "UNSUPPORTED_MEDIA_TYPE", param: "Content-Type"},
		{name: "a packed body", path: outcome, body: `{"outcome":"accepted"}`, headers: []string{"Content-Encoding: gzip"}, status: 415, code: "UNSUPPORTED_ENCODING", param: "Content-Encoding"},

		{name: "no outcome", path: outcome, body: `{}`, status: 400, code: "INVALID_OUTCOME", param: "outcome"},
		{name: "an unknown outcome", path: outcome, body: `{"outcome":"great"}`, status: 400, code: "INVALID_OUTCOME", param: "outcome"},
		{name: "outcome and its other name", path: outcome, body: `{"outcome":"failed","status":"accepted"}`, status: 400, code: "INVALID_OUTCOME", param: "status"},
		{name: "an unknown type", path: outcome, body: `{"outcome":"accepted","outcome_type":"x"}`, status: 400, code: "INVALID_OUTCOME", param: "outcome_type"},
		{name: "an unknown source", path: outcome, body: `{"outcome":"accepted","source":"x"}`, status: 400, code: "INVALID_OUTCOME", param: "source"},
		{name: "an outcome from the future", path: outcome, body: `{"outcome":"accepted","occurred_at":"2999-01-01T00:00:00Z"}`, status: 400, code: "INVALID_OUTCOME", param: "occurred_at"},
		{name: "a time that is none", path: outcome, body: `{"outcome":"accepted","occurred_at":"yesterday"}`, status: 400, code: "INVALID_INPUT", param: "occurred_at"},
		{name: "a score above 1", path: outcome, body: `{"outcome":"accepted","quality_score":1.5}`, status: 400, code: "INVALID_QUALITY_SCORE", param: "quality_score"},
		{name: "a negative score", path: outcome, body: `{"outcome":"accepted","quality_score":-0.1}`, status: 400, code: "INVALID_QUALITY_SCORE", param: "quality_score"},
		{name: "a score of 7 digits", path: outcome, body: `{"outcome":"accepted","quality_score":"0.1234567"}`, status: 400, code: "INVALID_QUALITY_SCORE", param: "quality_score"},
		{name: "a score in words", path: outcome, body: `{"outcome":"accepted","quality_score":"high"}`, status: 400, code: "INVALID_INPUT", param: "quality_score"},
		{name: "an unknown metadata key", path: outcome, body: `{"outcome":"accepted","metadata":{"colour":"red"}}`, status: 400, code: "INVALID_METADATA", param: "metadata.colour"},
		{name: "a metadata value that is no text", path: outcome, body: `{"outcome":"accepted","metadata":{"caller_role":1}}`, status: 400, code: "INVALID_INPUT", param: "metadata.caller_role"},
		{name: "content at the top", path: outcome, body: `{"outcome":"accepted","prompt":"x"}`, status: 400, code: "FORBIDDEN_CONTENT_KEY", param: "prompt"},
		{name: "content below, in another spelling", path: outcome, body: `{"outcome":"accepted","metadata":{"a":[{"Chat-History":"x"}]}}`, status: 400, code: "FORBIDDEN_CONTENT_KEY", param: "metadata.a[0].Chat-History"},

		{name: "a key without a name", path: keys, body: `{"scopes":["infer"]}`, status: 400, code: "INVALID_INPUT", param: "name"},
		{name: "a key without scopes", path: keys, body: `{"name":"k"}`, status: 400, code: "INVALID_INPUT", param: "scopes"},
		{name: "an unknown scope", path: keys, body: `{"name":"k","scopes":["infer","root"]}`, status: 400, code: "INVALID_INPUT", param: "scopes[1]"},
		{name: "scopes as a text", path: keys, body: `{"name":"k","scopes":"infer"}`, status: 400, code: "INVALID_INPUT", param: "scopes"},
		{name: "a key that is over already", path: keys, body: `{"name":"k","scopes":["infer"],"expires_at":"2001-01-01T00:00:00Z"}`, status: 400, code: "INVALID_INPUT", param: "expires_at"},
		{name: "a live key from a test key", path: keys, body: `{"name":"k","scopes":["infer"],"livemode":true}`, status: 403, code: "KEY_WIDENING_DENIED", param: "livemode"},
		{name: "an unknown override policy", path: keys, body: `{"name":"k","scopes":["infer"],"header_override_policy":"maybe"}`, status: 400, code: "INVALID_INPUT", param: "header_override_policy"},
		{name: "a default that is no slug", path: keys, body: `{"name":"k","scopes":["infer"],"defaults":{"customer_id":"a b"}}`, status: 400, code: "INVALID_METADATA", param: "defaults.customer_id"},
		{name: "a star inside a model", path: keys, body: `{"name":"k","scopes":["infer"],"allowed_models":["a*b"]}`, status: 400, code: "INVALID_INPUT", param: "allowed_models[0]"},

		{name: "an unknown budget scope", path: budgets, body: `{"scope":{"type":"colour"},"window":"day","limit_usd":"1"}`, status: 400, code: "INVALID_INPUT", param: "scope.type"},
		{name: "a budget for nobody", path: budgets, body: `{"scope":{"type":"customer"},"window":"day","limit_usd":"1"}`, status: 400, code: "INVALID_INPUT", param: "scope.id"},
		{name: "an unknown window", path: budgets, body: `{"scope":{"type":"tenant"},"window":"year","limit_usd":"1"}`, status: 400, code: "INVALID_INPUT", param: "window"},
		{name: "a budget without a limit", path: budgets, body: `{"scope":{"type":"tenant"},"window":"day"}`, status: 400, code: "INVALID_INPUT", param: "limit_usd"},
		{name: "a negative limit", path: budgets, body: `{"scope":{"type":"tenant"},"window":"day","limit_events":-1}`, status: 400, code: "INVALID_INPUT", param: "limit_events"},
		{name: "half an event", path: budgets, body: `{"scope":{"type":"tenant"},"window":"day","limit_events":1.5}`, status: 400, code: "INVALID_INPUT", param: "limit_events"},
		{name: "more events than there are numbers", path: budgets, body: `{"scope":{"type":"tenant"},"window":"day","limit_events":9223372036854775808}`, status: 400, code: "INVALID_INPUT", param: "limit_events"},
		{name: "dollars in exponents", path: budgets, body: `{"scope":{"type":"tenant"},"window":"day","limit_usd":"1e400"}`, status: 400, code: "INVALID_INPUT", param: "limit_usd"},
		{name: "a soft budget", path: budgets, body: `{"scope":{"type":"tenant"},"window":"day","limit_usd":"1","on_exceed":"warn"}`, status: 422, code: "BUDGET_UNSUPPORTED", param: "on_exceed"},
		{name: "a policy without a rule", path: policies, body: `{"name":"p","rules":{}}`, status: 400, code: "INVALID_INPUT", param: "rules.allowed_models"},
		{name: "an empty model", path: policies, body: `{"name":"p","rules":{"allowed_models":["a",""]}}`, status: 400, code: "INVALID_INPUT", param: "rules.allowed_models[1]"},
	})
}

func TestBadWorkflowsAreRefusedByField(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	payTo := devchain.Lookup("seller").Address
	typo := strings.Replace(payTo, payTo[5:], swapCase(payTo[5:]), 1)
	w := func(field, value string) string { // one field of a good workflow replaced
		good := map[string]json.RawMessage{"workflow_id": []byte(`"w"`), "target": []byte(`{"kind":"model","model":"mock-small"}`), "state": []byte(`"live"`)}
		price := map[string]json.RawMessage{"model": []byte(`"per_call"`), "amount_usd": []byte(`"0.01"`), "payTo": []byte(`"` + payTo + `"`), "network": []byte(`"eip155:84532"`)}
		if name, ok := strings.CutPrefix(field, "price."); ok {
			price[name] = []byte(value)
		}
		good["price"], _ = json.Marshal(price)
		if !strings.HasPrefix(field, "price.") {
			good[field] = []byte(value)
		}
		raw, err := json.Marshal(good)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	const path = "/api/v2/workflows"
	u.refuses([]badInput{
		{name: "a blank in the id", path: path, body: w("workflow_id", `"a b"`), status: 400, code: "INVALID_INPUT", param: "workflow_id"},
		{name: "an id that ends the base URL", path: path, body: w("workflow_id", `"a/v1/b"`), status: 400, code: "INVALID_INPUT", param: "workflow_id"},
		{name: "an http target", path: path, body: w("target", `{"kind":"http"}`), status: 422, code: "TARGET_UNSUPPORTED", param: "target.kind"},
		{name: "no model", path: path, body: w("target", `{"kind":"model"}`), status: 400, code: "INVALID_INPUT", param: "target.model"},
		{name: "an unknown state", path: path, body: w("state", `"on"`), status: 400, code: "INVALID_INPUT", param: "state"},
		{name: "live without a price", path: path, body: w("price", `null`), status: 422, code: "PRICE_REQUIRED", param: "price"},
		{name: "an unknown price model", path: path, body: w("price.model", `"per_weight"`), status: 422, code: "PRICE_MODEL_UNSUPPORTED", param: "price.model"},
		{name: "another scheme", path: path, body: w("price.scheme", `"batch-settlement"`), status: 422, code: "PRICE_MODEL_UNSUPPORTED", param: "price.scheme"},
		{name: "by tokens with exact", path: path, body: w("price.model", `"per_token"`), status: 422, code: "PRICE_MODEL_UNSUPPORTED", param: "price.scheme"},
		{name: "a rate without its model", path: path, body: w("price.input_per_mtok_usd", `"1"`), status: 400, code: "INVALID_INPUT", param: "price.input_per_mtok_usd"},
		{name: "an unknown network", path: path, body: w("price.network", `"eip155:1"`), status: 400, code: "INVALID_INPUT", param: "price.network"},
		{name: "for nothing", path: path, body: w("price.amount_usd", `"0"`), status: 400, code: "INVALID_INPUT", param: "price.amount_usd"},
		{name: "a negative price", path: path, body: w("price.amount_usd", `"-1"`), status: 400, code: "INVALID_INPUT", param: "price.amount_usd"},
		{name: "a wait nobody grants", path: path, body: w("price.wait_for", `"soon"`), status: 400, code: "INVALID_INPUT", param: "price.wait_for"},
		{name: "credit without limits", path: path, body: w("price.wait_for", `"authorized"`), status: 400, code: "INVALID_INPUT", param: "price.credit"},
		{name: "payTo no address", path: path, body: w("price.payTo", `"0x12"`), status: 400, code: "INVALID_INPUT", param: "price.payTo"},
		{name: "payTo with a mistyped letter", path: path, body: w("price.payTo", `"`+typo+`"`), status: 400, code: "INVALID_INPUT", param: "price.payTo"},
		{name: "payTo zero", path: path, body: w("price.payTo", `"0x0000000000000000000000000000000000000000"`), status: 400, code: "INVALID_INPUT", param: "price.payTo"},
		{name: "payTo the token", path: path, body: w("price.payTo", `"`+devchain.USDCAddress+`"`), status: 400, code: "INVALID_INPUT", param: "price.payTo"},
		{name: "a misspelt price field", path: path, body: w("price.pay_to", `"x"`), status: 400, code: "UNKNOWN_FIELD", param: "price.pay_to"},
	})
	if got := u.must(200, "POST", path, w("name", `"fine"`)); got["price"].(map[string]any)["version"].(json.Number) != "1" {
		t.Errorf("the good one: %v", got)
	}
}

func swapCase(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'f' {
			return r - 'a' + 'A'
		}
		if r >= 'A' && r <= 'F' {
			return r - 'A' + 'a'
		}
		return r
	}, text)
}

// A lenient caller is told what was not understood.
func TestLenientNamesWhatItIgnored(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	event := u.call(nil)
	got := u.must(201, "POST", "/api/v2/meter/events/"+event+"/outcome?lenient=1", `{"outcome":"accepted","colour":1,"mood":{"a":2}}`)
	if text := fmt.Sprint(got["ignored_fields"]); text != "[colour mood]" {
		t.Errorf("ignored_fields %s", text)
	}
}

// PRODUCT §2 and §4: what /v1 refuses, with the names it must give (D16).
func TestD16_BadCallsAreRefusedByName(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	const chat = "/v1/chat/completions"
	hello := `"messages":[{"role":"user","content":"hi"}]`
	body := func(rest string) string { return `{"model":"mock-small",` + hello + rest + `}` }
	pairs := make([]string, 17)
	for i := range pairs {
		pairs[i] = fmt.Sprintf(`"k%d":"v"`, i)
	}
	u.refuses([]badInput{
		{name: "not JSON", path: chat, body: "hello", status: 400, code: "INVALID_JSON"},
		{name: "no model", path: chat, body: `{` + hello + `}`, status: 400, code: "INVALID_INPUT", param: "model"},
		{name: "no messages", path: chat, body: `{"model":"mock-small"}`, status: 400, code: "INVALID_INPUT", param: "messages"},
		{name: "17 pairs", path: chat, body: body(`,"metadata":{` + strings.Join(pairs, ",") + `}`), status: 400, code: "INVALID_METADATA", param: "metadata"},
		{name: "a key of 65", path: chat, body: body(`,"metadata":{"` + strings.Repeat("k", 65) + `":"v"}`), status: 400, code: "INVALID_METADATA", param: "metadata." + strings.Repeat("k", 64) + "…"},
		{name: "a value of 513", path: chat, body: body(`,"metadata":{"note":"` + strings.Repeat("x", 513) + `"}`), status: 400, code: "INVALID_METADATA", param: "metadata.note"},
		{name: "an owner that is no slug", path: chat, body: body(`,"metadata":{"customer_id":"a b"}`), status: 400, code: "INVALID_METADATA", param: "metadata.customer_id"},
		{name: "a vendor as owner", path: chat, body: body(`,"metadata":{"vendor":"x"}`), status: 400, code: "INVALID_METADATA", param: "metadata.vendor"},
		{name: "a bad owner header", path: chat, body: body(""), headers: []string{"X-P402-Customer: a b"}, status: 400, code: "INVALID_METADATA", param: "X-P402-Customer"},
		{name: "bad tags", path: chat, body: body(""), headers: []string{"X-P402-Tags: no pair"}, status: 400, code: "INVALID_METADATA", param: "X-P402-Tags"},
		{name: "a looser privacy mode", path: chat, body: body(""), headers: []string{"X-P402-Privacy-Mode: full_trace"}, status: 403, code: "PRIVACY_WIDENING_DENIED", param: "X-P402-Privacy-Mode"},
		{name: "a long idempotency key", path: chat, body: body(""), headers: []string{"Idempotency-Key: " + strings.Repeat("k", 129)}, status: 400, code: "INVALID_INPUT", param: "Idempotency-Key"},
		{name: "a ceiling it passes", path: chat, body: body(`,"max_tokens":1000`), headers: []string{"X-P402-Max-Cost-USD: 0.0000001"}, status: 403, code: "MAX_COST_PER_REQUEST_EXCEEDED"},
		{name: "another tenant's name", path: chat, body: body(""), headers: []string{"X-P402-Tenant: ten_other"}, status: 403, code: "TENANT_MISMATCH", param: "X-P402-Tenant"},
		{name: "a route of OpenAI's", path: "/v1/images/generations", body: body(""), status: 404, code: "UNSUPPORTED_FEATURE"},
		{name: "no such model", path: "/v1/models/nobody", status: 404, code: "MODEL_NOT_FOUND", param: "model"},
	})
}

// A call must not be kept waiting for what it does not need.
func TestRefusalsAreQuick(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	started := time.Now()
	deep := strings.Repeat("[", 100_000)
	for _, body := range []string{deep, `{"a":` + deep, "{" + strings.Repeat(`"a":1,`, 100_000) + `"a":1}`} {
		if r := u.do(http.MethodPost, "/api/v2/budgets", body); r.status != 400 && r.status != 413 {
			t.Errorf("status %d: %.200s", r.status, r.body)
		}
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("three hostile bodies took %s", took)
	}
}
