package app

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"p402.io/p402/meter"
)

// pageScopes is who may see or send what: the decision, stated apart from the code that makes it. "" is every member.
var pageScopes = map[string]meter.Scope{
	"GET /app": meter.ScopeMeterRead, "GET /app/start": meter.ScopeMeterRead, "GET /app/start/first": meter.ScopeMeterRead, "GET /app/events": meter.ScopeMeterRead,
	"GET /app/events/:id": meter.ScopeMeterRead, "POST /app/events/:id/outcome": meter.ScopeOutcomeWrite, "GET /app/workflows": meter.ScopeMeterRead,
	"GET /app/customers": meter.ScopeMeterRead, "GET /app/dimensions": meter.ScopeMeterRead, "GET /app/outcomes": meter.ScopeMeterRead, "GET /app/waste": meter.ScopeMeterRead,
	"GET /app/budgets": meter.ScopeControlRead, "GET /app/budgets/:id": meter.ScopeControlRead, "GET /app/budgets/new": meter.ScopeControlWrite,
	"POST /app/budgets/new": meter.ScopeControlWrite, "POST /app/budgets/:id/retire": meter.ScopeControlWrite, "GET /app/policies": meter.ScopeControlRead,
	"GET /app/policies/new": meter.ScopeControlWrite, "POST /app/policies/new": meter.ScopeControlWrite, "POST /app/policies/:id/retire": meter.ScopeControlWrite,
	"GET /app/sell": meter.ScopeSellRead, "GET /app/sell/:id": meter.ScopeSellRead, "GET /app/sell/new": meter.ScopeSellWrite, "POST /app/sell/new": meter.ScopeSellWrite,
	"POST /app/sell/:id": meter.ScopeSellWrite, "GET /app/receipts": meter.ScopeReceiptsRead, "GET /app/payments": meter.ScopeReceiptsRead,
	"GET /app/keys": meter.ScopeKeysRead, "GET /app/keys/new": meter.ScopeKeysWrite, "POST /app/keys/new": meter.ScopeKeysWrite, "POST /app/keys/:id/revoke": meter.ScopeKeysWrite,
	"GET /app/providers": meter.ScopeMeterRead, "GET /app/privacy": "", "GET /app/members": meter.ScopeMembersRead, "POST /app/members": meter.ScopeMembersWrite,
	"POST /app/members/:id": meter.ScopeMembersWrite, "GET /app/audit": meter.ScopeAuditRead, "GET /app/account": "", "POST /app/account": "",
	"GET /app/system": meter.ScopeSystemRead, "POST /app/mode": "",
	"GET /app/reconcile": meter.ScopeFinanceRead, "POST /app/reconcile/run": meter.ScopeFinanceWrite, "POST /app/reconcile/import": meter.ScopeFinanceWrite,
	"GET /app/reconcile/:id": meter.ScopeFinanceRead, "POST /app/reconcile/:id": meter.ScopeFinanceWrite, "POST /app/periods": meter.ScopeFinanceRead,
	"GET /app/periods/:id": meter.ScopeFinanceRead, "POST /app/periods/:id": meter.ScopeFinanceClose, "GET /app/exports": meter.ScopeExportRead,
	"POST /app/exports": meter.ScopeExportRead,
	"GET /app/plan":     meter.ScopeMeterRead, "POST /app/plan": "",
}

// form sends a form as a browser does.
func (v visitor) form(path string, fields url.Values) reply {
	v.t.Helper()
	return v.do(http.MethodPost, path, fields.Encode(), "Cookie: p402_session="+v.cookie, "Content-Type: application/x-www-form-urlencoded")
}

// Every page by every role (O1, F18): no session is asked to sign in, a role that may not is refused, a form without the
// session's token is refused, and a role that may gets an answer that is neither.
func TestF18_TestO1_EveryPageByEveryRole(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	anonymous := user{t: t, h: h}
	visitors := map[meter.Role]visitor{}
	for _, role := range meter.Roles() {
		visitors[role] = u.visit(role)
	}
	tried := 0
	for _, route := range h.routes() {
		if route.Method == http.MethodHead || !strings.HasPrefix(route.Path, "/app") || route.Path == "/app/ledger" {
			continue
		}
		scope, decided := pageScopes[route.Method+" "+route.Path]
		if !decided {
			t.Errorf("%s %s: decide in pageScopes who may", route.Method, route.Path)
			continue
		}
		path := strings.ReplaceAll(route.Path, ":id", "nothing")
		if r := anonymous.do(route.Method, path, nil); r.status != http.StatusUnauthorized || strings.Contains(string(r.body), string(u.tenant)) {
			t.Errorf("%s %s without a session: %d", route.Method, path, r.status)
		}
		for role, v := range visitors {
			tried++
			var r reply
			if route.Method == http.MethodGet {
				r = v.ask(route.Method, path, nil)
			} else {
				if r := v.form(path, url.Values{}); r.status != http.StatusForbidden {
					t.Errorf("%s: %s %s without the token: %d", role, route.Method, path, r.status)
				}
				r = v.form(path, url.Values{"csrf": {v.csrf}})
			}
			may := scope == "" || role.May(scope)
			if (r.status == http.StatusForbidden) == may || r.status >= 500 {
				t.Errorf("%s: %s %s (%s): %d", role, route.Method, path, scope, r.status)
			}
		}
	}
	if tried < len(pageScopes)*len(visitors) {
		t.Errorf("only %d of %d were tried", tried, len(pageScopes)*len(visitors))
	}
}

// What is on a page or in its navigation is what the role may open: a link that is refused would tell what there is.
func TestO1_APageNamesNothingTheRoleMayNotSee(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	u.objects()
	link := regexp.MustCompile(`(?:href|action)="(/app[^"#]*)`)
	for _, role := range meter.Roles() {
		v := u.visit(role)
		seen := map[string]bool{}
		for _, page := range []string{"/app", "/app/start", "/app/events", "/app/workflows", "/app/budgets", "/app/sell", "/app/keys", "/app/receipts"} {
			r := v.ask("GET", page, nil)
			if r.status == http.StatusForbidden {
				continue
			}
			for _, found := range link.FindAllStringSubmatch(string(r.body), -1) {
				to := strings.ReplaceAll(found[1], "&amp;", "&")
				if seen[to] || strings.HasSuffix(to, "/revoke") || strings.HasSuffix(to, "/retire") || to == "/app/mode" {
					continue
				}
				seen[to] = true
				if got := v.ask("GET", to, nil); got.status == http.StatusForbidden || got.status >= 500 {
					t.Errorf("%s on %s: %s answers %d", role, page, to, got.status)
				}
			}
		}
		if len(seen) < 8 {
			t.Errorf("%s: only %d links were followed", role, len(seen))
		}
	}
}

// Another tenant's objects are missing ones on the pages too, and nothing of them is on any list.
func TestO1_PagesOfAnotherTenant(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	owner, thief := h.user(t), h.user(t).visit(meter.RoleOwner)
	mine := owner.objects()
	for _, path := range []string{"/app/events/" + mine["events"], "/app/budgets/" + mine["budgets"], "/app/sell/" + mine["workflows"]} {
		if r := thief.ask("GET", path, nil); r.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, r.status)
		}
	}
	for _, path := range []string{"/app/events/" + mine["events"] + "/outcome", "/app/budgets/" + mine["budgets"] + "/retire", "/app/policies/" + mine["policies"] + "/retire", "/app/keys/" + mine["keys"] + "/revoke"} {
		if r := thief.form(path, url.Values{"csrf": {thief.csrf}, "outcome": {"failed"}}); r.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, r.status)
		}
	}
	for _, path := range []string{"/app", "/app/events?window=all", "/app/workflows?window=all", "/app/customers?window=all", "/app/budgets", "/app/policies", "/app/sell", "/app/receipts", "/app/payments", "/app/keys", "/app/members", "/app/audit", "/app/system"} {
		for _, mode := range []string{"test", "live"} {
			body := string(thief.ask("GET", path, nil, "Cookie: p402_session="+thief.cookie+"; p402_mode="+mode).body)
			for kind, id := range mine {
				if kind != "workflows" && strings.Contains(body, id) || strings.Contains(body, string(owner.tenant)) {
					t.Errorf("%s shows another tenant's %s", path, kind)
				}
			}
		}
	}
}

// Live and test are two ledgers on every page (PRODUCT §1): one shows nothing of the other.
func TestLiveAndTestAreNotAddedUp(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	u.call(map[string]string{"workflow_id": "only.in.test"})
	v := u.visit(meter.RoleOwner)
	for _, path := range []string{"/app", "/app/events", "/app/workflows", "/app/customers", "/app/outcomes", "/app/waste"} {
		test, live := string(v.ask("GET", path+"?mode=test", nil).body), string(v.ask("GET", path+"?mode=live", nil).body)
		if !strings.Contains(test, "Test<span") || !strings.Contains(live, "Live<span") {
			t.Errorf("%s does not say which ledger it shows", path)
		}
		if strings.Contains(live, "only.in.test") {
			t.Errorf("%s shows the test ledger as live", path)
		}
		if path == "/app/events" && !strings.Contains(test, "only.in.test") {
			t.Errorf("%s does not show the call", path)
		}
	}
}

// A sign-in form that another site sends is refused, and no address leads away from here.
func TestSignInStaysHere(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := user{t: t, h: h}
	body := url.Values{"email": {"a@b.c"}, "password": {"whatever it is"}, "next": {"//evil.example/app"}}.Encode()
	kind := "Content-Type: application/x-www-form-urlencoded"
	if r := u.do("POST", "/sign-in", body, kind, "Sec-Fetch-Site: cross-site"); r.status != http.StatusForbidden {
		t.Errorf("a foreign form: %d", r.status)
	}
	r := u.do("POST", "/sign-in", body, kind, "Sec-Fetch-Site: same-origin")
	if r.status != http.StatusUnauthorized || strings.Contains(string(r.body), "evil.example") || strings.Contains(string(r.body), "whatever it is") {
		t.Errorf("a wrong sign-in: %d %.300s", r.status, r.body)
	}
	if csp := r.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("the policy is %q", csp)
	}
}
