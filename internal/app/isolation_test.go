package app

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// objects makes one of each thing a tenant can own and names it by the route's resource: "keys" -> key_….
func (u user) objects() map[string]string {
	u.t.Helper()
	event := u.call(map[string]string{"customer_id": "acme"})
	u.must(201, "POST", "/api/v2/meter/events/"+event+"/outcome", `{"outcome":"accepted"}`)
	u.sell("mine")
	paid := u.buy("/x/" + u.slug + "/mine")
	receipt := paid.header.Get("X-P402-Receipt-ID")
	payment := u.must(200, "GET", "/api/v2/receipts/"+receipt, nil)["payment_id"].(string)
	day := time.Now().UTC().AddDate(0, 0, -2)
	u.must(201, "POST", "/api/v2/reconciliation/imports?format=generic&provider=elsewhere", "model,day,cost\nm,"+day.Format(time.DateOnly)+",4.20\n", "Content-Type: text/csv")
	run := u.must(201, "POST", "/api/v2/reconciliation/runs", fmt.Sprintf(`{"since":%q,"until":%q}`, day.AddDate(0, 0, -1).Format(time.RFC3339), day.AddDate(0, 0, 2).Format(time.RFC3339)))["run_id"].(string)
	exceptions := u.must(200, "GET", "/api/v2/reconciliation/exceptions", nil)["data"].([]any)
	if len(exceptions) == 0 {
		u.t.Fatal("a bill for calls that nobody made is no exception")
	}
	return map[string]string{
		"runs":       run,
		"exceptions": exceptions[0].(map[string]any)["exception_id"].(string),
		"exports":    u.must(201, "POST", "/api/v2/exports", `{"kind":"events"}`)["export_id"].(string),
		"events":     event,
		"proof":      event,
		"keys":       string(u.with(meter.ScopeInfer).keyID),
		"budgets":    u.must(201, "POST", "/api/v2/budgets", `{"scope":{"type":"customer","id":"x"},"window":"day","limit_events":1000}`)["budget_id"].(string),
		"policies":   u.must(201, "POST", "/api/v2/policies", `{"rules":{"allowed_models":["mock-*"]}}`)["policy_id"].(string),
		"workflows":  "mine",
		"receipts":   receipt,
		"payments":   payment,
		"refunds":    u.owe(payment),
	}
}

// goodBodies is a body that each POST on an object would accept from its owner.
var goodBodies = map[string]string{"/api/v2/meter/events/:id/outcome": `{"outcome":"failed"}`,
	"/api/v2/reconciliation/exceptions/:id/resolve": `{"state":"explained","by":"Mallory","note":"mine now"}`,
	"/api/v2/refunds/:id/waive":                     `{"reason":"mine"}`, "/api/v2/refunds/:id/pay": `{"transaction":"0x` + strings.Repeat("0", 64) + `"}`}

var requestIDForm = regexp.MustCompile(`req_[0-9A-Z]{26}`)

// Every route with an id, from the router's own table: another tenant's object is the same 404 as no object.
func TestA1_TestO1_AnotherTenantsObjectIsAMissingOne(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	owner, thief := h.user(t), h.user(t)
	mine := owner.objects()
	tried := 0
	for _, route := range h.routes() {
		if strings.HasPrefix(route.Path, "/api/v2/members/") {
			continue // no key may ask at all; tried with sessions in members_test.go
		}
		if route.Method == http.MethodHead || !strings.HasPrefix(route.Path, "/api/v2/") || !strings.Contains(route.Path, ":") {
			continue
		}
		if strings.HasPrefix(route.Path, "/api/v2/periods/") {
			continue // a month's name is everybody's, and each tenant's month is its own: see the test below
		}
		before, after, _ := strings.Cut(route.Path, ":id")
		resource := before[strings.LastIndex(strings.TrimSuffix(before, "/"), "/")+1 : len(before)-1]
		id, known := mine[resource]
		if !known || strings.Contains(after, ":") {
			t.Errorf("%s %s: objects in isolation_test.go makes no such object; isolation is not proved for it", route.Method, route.Path)
			continue
		}
		var body any
		if route.Method == http.MethodPost || route.Method == http.MethodPatch || route.Method == http.MethodPut {
			text, ok := goodBodies[route.Path]
			if !ok {
				t.Errorf("%s %s: goodBodies has none for it", route.Method, route.Path)
			}
			body = text
		}
		tried++
		foreign := thief.do(route.Method, before+id+after, body)
		missing := thief.do(route.Method, before+id[:len(id)-1]+"Z"+after, body)
		a, b := requestIDForm.ReplaceAllString(string(foreign.body), ""), requestIDForm.ReplaceAllString(string(missing.body), "")
		if foreign.status != 404 || missing.status != 404 || a != b {
			t.Errorf("%s %s: another tenant's gets %d %s, a missing one %d %s", route.Method, route.Path, foreign.status, a, missing.status, b)
		}
	}
	if tried < 12 {
		t.Errorf("only %d routes were tried", tried)
	}
	// Nothing of the thief's deletes and outcomes landed.
	for _, path := range []string{"keys/" + mine["keys"], "budgets/" + mine["budgets"], "policies/" + mine["policies"]} {
		if got := owner.must(200, "GET", "/api/v2/"+path, nil); got["revoked_at"] != nil {
			t.Errorf("%s was changed by another tenant: %v", path, got)
		}
	}
	if got := owner.must(200, "GET", "/api/v2/meter/events/"+mine["events"], nil)["outcome"]; got != "accepted" {
		t.Errorf("the outcome became %v", got)
	}
}

func TestA2_ForeignIDsInFiltersAndBodiesFindNothing(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	owner, thief := h.user(t), h.user(t)
	mine := owner.objects()
	for _, query := range []string{"key_id=" + string(owner.keyID), "q=" + mine["events"], "customer_id=acme", "parent_event_id=" + mine["events"]} {
		if n := len(thief.must(200, "GET", "/api/v2/meter/events?"+query, nil)["data"].([]any)); n != 0 {
			t.Errorf("%s shows %d foreign events", query, n)
		}
		totals := thief.must(200, "GET", "/api/v2/meter/summary?"+query, nil)["totals"].(map[string]any)
		if fmt.Sprint(totals["count"]) != "0" {
			t.Errorf("%s counts %v foreign events", query, totals["count"])
		}
	}
	for _, list := range []string{"keys", "budgets", "policies", "workflows", "receipts", "payments", "refunds"} {
		body := string(thief.do("GET", "/api/v2/"+list, nil).body)
		if strings.Contains(body, string(owner.tenant)) || strings.Contains(body, `"`+mine[list]+`"`) {
			t.Errorf("%s lists a foreign object: %s", list, body)
		}
	}
	thief.refuses([]badInput{{name: "a budget for another tenant's key", path: "/api/v2/budgets",
		body: `{"scope":{"type":"key","id":"` + mine["keys"] + `"},"window":"day","limit_events":0}`, status: 400, code: "INVALID_INPUT", param: "scope.id"}})
	// Names are the tenant's own: the same ones elsewhere are other objects.
	thief.must(200, "POST", "/api/v2/workflows", `{"workflow_id":"mine","target":{"kind":"model","model":"m"},"name":"thief's"}`)
	if got := owner.must(200, "GET", "/api/v2/workflows/mine", nil)["name"]; got != "For sale" {
		t.Errorf("another tenant renamed the workflow to %v", got)
	}
}

// The key alone says who the tenant is (O2), on every documented route that takes one.
func TestA3_TestO2_NoHeaderOrFieldChangesTheTenant(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u, other := h.user(t), h.user(t)
	for _, o := range documented(h.document(t)) {
		if !o.keyed {
			continue
		}
		path := strings.NewReplacer("{id}", "evt_0", "{seller}", "x", "{workflow_id}", "y").Replace(o.path)
		var body any
		if o.method == "POST" {
			body = "{}"
		}
		r := u.do(o.method, path, body, "X-P402-Tenant: "+string(other.tenant))
		if code, _, _ := codeOf(r); r.status != 403 || code != "TENANT_MISMATCH" {
			t.Errorf("%s %s with another tenant's name: %d %s", o.method, o.path, r.status, code)
		}
	}
	for _, header := range []string{"X-Tenant-Id: ", "X-User: ", "X-P402-Tenant-ID: "} {
		if got := u.must(200, "GET", "/api/v2/me", nil, header+string(other.tenant))["tenant_id"]; got != string(u.tenant) {
			t.Errorf("%s made the tenant %v", header, got)
		}
	}
	u.must(200, "GET", "/api/v2/me", nil, "X-P402-Tenant: "+string(u.tenant))
}

// Every documented route, every scope: the scope that the document names is needed, and is enough.
func TestA10_ScopesByRoute(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	with, without := map[meter.Scope]user{}, map[meter.Scope]user{}
	for _, s := range meter.AllScopes() {
		with[s] = u.with(s)
		without[s] = u.with(slices.DeleteFunc(meter.AllScopes(), func(have meter.Scope) bool { return have == s })...)
	}
	anonymous := user{t: t, h: h}
	for _, o := range documented(h.document(t)) {
		path := strings.NewReplacer("{id}", "evt_0", "{seller}", "nobody", "{workflow_id}", "nothing").Replace(o.path)
		var body any
		if o.method == "POST" {
			body = "{}"
		}
		bare := anonymous.do(o.method, path, body)
		if (bare.status == 401) != o.keyed {
			t.Errorf("%s %s without a key: %d, documented as keyed: %v", o.method, o.path, bare.status, o.keyed)
		}
		if o.scope == "" {
			continue
		}
		if code, _, _ := codeOf(without[o.scope].do(o.method, path, body)); code != "SCOPE_MISSING" {
			t.Errorf("%s %s with every scope but %s: %q, want SCOPE_MISSING", o.method, o.path, o.scope, code)
		}
		if code, _, _ := codeOf(with[o.scope].do(o.method, path, body)); code == "SCOPE_MISSING" || code == "INVALID_KEY" {
			t.Errorf("%s %s with %s alone: %s", o.method, o.path, o.scope, code)
		}
	}
}

// Every column of every table, posted on every write route, is refused unless the document has it as a field.
func TestA11_ColumnsCannotBeAssigned(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	db, err := pgx.Connect(t.Context(), h.database)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := db.Query(t.Context(), "SELECT DISTINCT column_name FROM information_schema.columns WHERE table_schema = 'public'")
	if err != nil {
		t.Fatal(err)
	}
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(columns) < 80 {
		t.Fatalf("%d columns: %v", len(columns), err)
	}
	if err := db.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	event := u.call(nil)
	for path, schema := range map[string]string{"/api/v2/keys": "KeyIn", "/api/v2/budgets": "BudgetIn", "/api/v2/policies": "PolicyIn", "/api/v2/workflows": "WorkflowIn",
		"/api/v2/meter/events/" + event + "/outcome": "OutcomeIn"} {
		fields := h.document(t)["components"].(map[string]any)["schemas"].(map[string]any)[schema].(map[string]any)["properties"].(map[string]any)
		for _, column := range append(columns, "role", "is_admin", "spent", "reserved", "settled", "user") {
			if fields[column] != nil {
				continue
			}
			r := u.do("POST", path, fmt.Sprintf(`{%q:"x"}`, column))
			if code, _, _ := codeOf(r); r.status != 400 || code != "UNKNOWN_FIELD" && code != "FORBIDDEN_CONTENT_KEY" {
				t.Errorf("%s takes %s: %d %s", path, column, r.status, r.body)
			}
		}
	}
}

// A key makes no key that may do more than itself: in scopes, models, owners or life.
func TestA12_NoKeyMakesAWiderOne(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	expires := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	plain, _, err := h.app.Store.CreateKey(t.Context(), store.NewKey{TenantID: u.tenant, Name: "parent", Scopes: []meter.Scope{meter.ScopeKeysWrite, meter.ScopeKeysRead, meter.ScopeInfer},
		Override: meter.OverrideRestricted, Defaults: meter.Attribution{Dimensions: map[string]string{"department": "sales"}}, AllowedModels: []string{"mock-small", "gpt-*"}, ExpiresAt: &expires})
	if err != nil {
		t.Fatal(err)
	}
	parent := u
	parent.key = plain
	body := func(scopes, rest string) string {
		return fmt.Sprintf(`{"name":"child","scopes":[%s],"expires_at":%q%s}`, scopes, expires.Format(time.RFC3339), rest)
	}
	const owner = `,"defaults":{"department":"sales"}`
	parent.refuses([]badInput{
		{name: "a scope it lacks", path: "/api/v2/keys", body: body(`"infer","meter:read"`, owner), status: 403, code: "SCOPE_MISSING", param: "scopes[1]"},
		{name: "a model it lacks", path: "/api/v2/keys", body: body(`"infer"`, owner+`,"allowed_models":["gpt-4","o1"]`), status: 403, code: "KEY_WIDENING_DENIED", param: "allowed_models[1]"},
		{name: "a wider prefix", path: "/api/v2/keys", body: body(`"infer"`, owner+`,"allowed_models":["gp*"]`), status: 403, code: "KEY_WIDENING_DENIED", param: "allowed_models[0]"},
		{name: "every model", path: "/api/v2/keys", body: body(`"infer"`, owner+`,"allowed_models":["*"]`), status: 403, code: "KEY_WIDENING_DENIED", param: "allowed_models[0]"},
		{name: "free owners", path: "/api/v2/keys", body: body(`"infer"`, owner+`,"header_override_policy":"allow"`), status: 403, code: "KEY_WIDENING_DENIED", param: "header_override_policy"},
		{name: "another department", path: "/api/v2/keys", body: body(`"infer"`, `,"defaults":{"department":"board"}`), status: 403, code: "KEY_WIDENING_DENIED", param: "defaults.department"},
		{name: "a longer life", path: "/api/v2/keys", body: `{"name":"child","scopes":["infer"],"expires_at":"2999-01-01T00:00:00Z"` + owner + `}`, status: 403, code: "KEY_WIDENING_DENIED", param: "expires_at"},
		{name: "no end", path: "/api/v2/keys", body: `{"name":"child","scopes":["infer"]` + owner + `}`, status: 403, code: "KEY_WIDENING_DENIED", param: "expires_at"},
	})
	made := parent.must(201, "POST", "/api/v2/keys", body(`"infer"`, owner))
	info := made["info"].(map[string]any)
	if fmt.Sprint(info["allowed_models"]) != "[mock-small gpt-*]" || info["header_override_policy"] != "restricted" {
		t.Errorf("the child did not inherit its bounds: %v", info)
	}
	child := u
	child.key = made["key"].(string)
	hello := `{"model":%q,"messages":[{"role":"user","content":"hi"}]}`
	child.must(200, "POST", "/v1/chat/completions", fmt.Sprintf(hello, "mock-small"))
	if code, _, _ := codeOf(child.do("POST", "/v1/chat/completions", fmt.Sprintf(hello, "mock-large"))); code != "MODEL_NOT_ALLOWED" {
		t.Errorf("the child may use a model that its maker may not: %s", code)
	}
}

// A revoked key stops at once on the node that revoked it, and one that is over at its time (O4, A9).
func TestO4_ARevokedKeyStops(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	victim := u.with(meter.ScopeInfer)
	victim.must(200, "GET", "/v1/models", nil)
	u.must(200, "DELETE", "/api/v2/keys/"+string(victim.keyID), nil)
	if r := victim.do("GET", "/v1/models", nil); r.status != 401 {
		t.Errorf("a revoked key: %d", r.status)
	}
	if got := u.must(200, "GET", "/api/v2/keys/"+string(victim.keyID), nil); got["revoked_at"] == nil {
		t.Errorf("it does not say so: %v", got)
	}
}

// A period is named by the calendar: each tenant closes its own.
func TestO1_APeriodThatOneClosedIsNobodyElses(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	owner, thief := h.user(t), h.user(t)
	month := time.Now().UTC().AddDate(0, -2, 0).Format("2006-01")
	path := "/api/v2/periods/" + month
	owner.must(200, "POST", path+"/close", `{"by":"Ada"}`)
	for _, row := range [][2]string{{"GET", path}, {"POST", path + "/reopen"}} {
		var body any
		if row[0] == "POST" {
			body = `{"by":"Mallory","reason":"mine now"}`
		}
		if r := thief.do(row[0], row[1], body); r.status != 404 {
			t.Errorf("%s %s: %d %.200s", row[0], row[1], r.status, r.body)
		}
	}
	if got := owner.must(200, "GET", path, nil); got["state"] != "closed" || len(got["statements"].([]any)) != 1 {
		t.Errorf("%v", got)
	}
}
