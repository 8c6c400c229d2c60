package app

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"p402.io/p402/gateway/openapi"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// pages is the routes of the dashboard, which are no API.
var pages = []string{"/", "/app", "/assets/:name", "/sign-in", "/sign-in/oidc", "/sign-in/oidc/callback", "/get-access", "/sign-in/:token", "/sign-out"}

func isPage(route string) bool {
	return slices.Contains(pages, route) || strings.HasPrefix(route, "/app/")
}

// operation is one documented route.
type operation struct {
	method, path, route string
	scope               meter.Scope // "" when any key will do
	keyed               bool
	member              bool // only for a signed-in person
	memberScope         meter.Scope
}

func (h *house) document(t *testing.T) map[string]any {
	t.Helper()
	r := user{t: t, h: h}.do("GET", "/openapi.json", nil)
	if r.status != http.StatusOK {
		t.Fatalf("/openapi.json: status %d", r.status)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	return doc.(map[string]any)
}

func documented(doc map[string]any) []operation {
	var out []operation
	for path, value := range doc["paths"].(map[string]any) {
		item := value.(map[string]any)
		for _, method := range openapi.Methods() {
			op, ok := item[method].(map[string]any)
			if !ok {
				continue
			}
			o := operation{method: strings.ToUpper(method), path: path, route: openapi.Route(path, item)}
			if security, ok := op["security"].([]any); ok {
				o.keyed = true
				_, o.member = security[0].(map[string]any)["session"]
				if scopes, _ := security[0].(map[string]any)["session"].([]any); len(scopes) > 0 {
					o.memberScope = meter.Scope(scopes[0].(string))
				}
				if scopes, _ := security[0].(map[string]any)["key"].([]any); len(scopes) > 0 {
					o.scope = meter.Scope(scopes[0].(string))
				}
			}
			out = append(out, o)
		}
	}
	return out
}

func TestO22_TheDocumentIsTheRouter(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	served, described := map[string]bool{}, map[string]bool{}
	for _, route := range h.routes() {
		if route.Method != http.MethodHead && !isPage(route.Path) {
			served[route.Method+" "+route.Path] = true
		}
	}
	// The whole document, not the one that is served: that one leaves out what is not registered.
	doc, err := openapi.Document()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range documented(doc) {
		described[o.method+" "+o.route] = true
		if !served[o.method+" "+o.route] {
			t.Errorf("%s %s is documented and no surface serves it", o.method, o.path)
		}
	}
	for route := range served {
		if !described[route] {
			t.Errorf("%s is served and not documented: add it to gateway/openapi/doc", route)
		}
	}
	if got := len(documented(h.document(t))); got != len(documented(doc)) {
		t.Errorf("/openapi.json has %d operations of %d although everything is switched on", got, len(documented(doc)))
	}
}

// The filters in the document are those of the store, with those that are not plain columns.
func TestO22_TheFiltersAreTheStores(t *testing.T) {
	t.Parallel()
	want := []string{"since", "until", "min_cost_usd", "max_cost_usd", "unattributed", "q", "tag", "limit", "cursor", "order"}
	for name := range store.FilterColumns() {
		want = append(want, name)
	}
	item := theHouse(t).document(t)["paths"].(map[string]any)["/api/v2/meter/events"].(map[string]any)
	var got []string
	for _, p := range item["get"].(map[string]any)["parameters"].([]any) {
		param := p.(map[string]any)
		name, _ := param["name"].(string)
		if ref, ok := param["$ref"].(string); ok {
			name = strings.ToLower(strings.TrimPrefix(ref, "#/components/parameters/"))
		}
		got = append(got, name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("documented filters\n%v\nwant\n%v", got, want)
	}
}

// validator checks an answer against a schema of the served document.
func (h *house) validator(t *testing.T) func(name, schema string, r reply) {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("http://p402.test/openapi.json", h.document(t)); err != nil {
		t.Fatal(err)
	}
	return func(name, schema string, r reply) {
		t.Helper()
		s, err := c.Compile("http://p402.test/openapi.json#/components/schemas/" + schema)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.body))
		if err != nil {
			t.Errorf("%s: status %d: %v: %.300s", name, r.status, err, r.body)
			return
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%s is not a %s: %v\n%.600s", name, schema, err, r.body)
		}
	}
}

func TestO22_RealAnswersHaveTheirSchemas(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	valid := h.validator(t)
	check := func(status int, schema, method, path string, body any, headers ...string) reply {
		t.Helper()
		r := u.do(method, path, body, headers...)
		if r.status != status {
			t.Errorf("%s %s: status %d, want %d: %.300s", method, path, r.status, status, r.body)
		}
		valid(method+" "+path, schema, r)
		return r
	}
	const chat = "/v1/chat/completions"
	hello := map[string]any{"model": "mock-small", "messages": []any{map[string]string{"role": "user", "content": "hello"}}}
	check(200, "ChatCompletion", "POST", chat, hello)
	check(200, "DryRun", "POST", chat, hello, "X-P402-Dry-Run: 1")
	event := u.call(map[string]string{"workflow_id": "w", "color": "red"})
	check(201, "OutcomeRecorded", "POST", "/api/v2/meter/events/"+event+"/outcome", map[string]any{"outcome": "accepted", "quality_score": "0.5"})
	check(200, "OutcomeList", "GET", "/api/v2/meter/events/"+event+"/outcomes", nil)
	check(200, "EventDetail", "GET", "/api/v2/meter/events/"+event, nil)
	check(201, "NewBudget", "POST", "/api/v2/budgets", map[string]any{"name": "b", "scope": map[string]string{"type": "customer", "id": "nobody"}, "window": "day", "limit_usd": "0"})
	denied := u.do("POST", chat, map[string]any{"model": "mock-small", "messages": hello["messages"], "metadata": map[string]string{"customer_id": "nobody"}})
	if denied.status != http.StatusForbidden {
		t.Errorf("a call over its budget: status %d", denied.status)
	}
	valid("a denied call", "Error", denied)
	check(200, "EventDetail", "GET", "/api/v2/meter/events/"+denied.header.Get("X-P402-Event-ID"), nil)
	unpriced := check(200, "ChatCompletion", "POST", chat, map[string]any{"model": "mock-nobody-prices-this", "messages": hello["messages"]})
	check(200, "EventDetail", "GET", "/api/v2/meter/events/"+unpriced.header.Get("X-P402-Event-ID"), nil)
	path := u.sell("schema.demo")
	valid("an offer", "Offer", user{t: t, h: h}.do("POST", path, map[string]any{"messages": hello["messages"]}))
	paid := u.buy(path)
	valid("a paid answer", "ChatCompletion", paid)
	check(200, "EventDetail", "GET", "/api/v2/meter/events/"+paid.header.Get("X-P402-Event-ID"), nil)
	receipt := check(200, "Receipt", "GET", "/api/v2/receipts/"+paid.header.Get("X-P402-Receipt-ID"), nil)
	check(200, "Payment", "GET", "/api/v2/payments/"+receipt.json(t)["payment_id"].(string), nil)
	check(200, "SoldWorkflow", "GET", path, nil)
	check(200, "Workflow", "GET", "/api/v2/workflows/schema.demo", nil)
	check(201, "NewPolicy", "POST", "/api/v2/policies", map[string]any{"name": "p", "rules": map[string]any{"allowed_models": []string{"mock-*"}}})
	check(201, "NewKey", "POST", "/api/v2/keys", map[string]any{"name": "k", "scopes": []string{"infer"}, "expires_at": "2099-01-01T00:00:00Z"})
	check(200, "Key", "GET", "/api/v2/keys/"+string(u.keyID), nil)
	check(200, "Ok", "DELETE", "/api/v2/keys/"+string(u.with("infer").keyID), nil)
	for path, schema := range map[string]string{"/api/v2/me": "Me", "/api/v2/meter/events": "EventList", "/api/v2/meter/summary": "Summary",
		"/api/v2/meter/summary?group_by=customer_id": "Summary", "/api/v2/meter/summary?group_by=day": "Summary", "/api/v2/keys": "KeyList",
		"/api/v2/budgets": "BudgetList", "/api/v2/policies": "PolicyList", "/api/v2/workflows": "WorkflowList", "/api/v2/receipts": "ReceiptList",
		"/api/v2/payments": "PaymentList", "/v1/models": "ModelList", "/v1/models/mock-small": "Model", "/x402/supported": "Supported",
		"/healthz": "Status", "/readyz": "Ready", "/.well-known/p402-keys.json": "KeySet"} {
		check(200, schema, "GET", path, nil)
	}
	check(404, "Error", "GET", "/api/v2/nothing", nil)
	check(400, "Error", "GET", "/api/v2/meter/events?limit=0", nil)
}

// A new tenant sees empty lists, never null.
func TestEmptyListsAreNeverNull(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	for _, list := range []string{"meter/events", "budgets", "policies", "workflows", "receipts", "payments"} {
		r := u.do("GET", "/api/v2/"+list, nil)
		if !bytes.Contains(r.body, []byte(`"data":[]`)) || !bytes.Contains(r.body, []byte(`"next_cursor":null`)) {
			t.Errorf("%s: %s", list, r.body)
		}
	}
	if r := u.do("GET", "/api/v2/meter/summary", nil); !bytes.Contains(r.body, []byte(`"rows":[]`)) {
		t.Errorf("summary: %s", r.body)
	}
}
