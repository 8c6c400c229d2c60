package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// visitor is a signed-in browser.
type visitor struct {
	user
	member       id.Member
	cookie, csrf string
}

// visit signs a new member of the tenant in, by link.
func (u user) visit(role meter.Role) visitor {
	u.t.Helper()
	db := u.h.app.Store
	m, err := db.PutMember(u.t.Context(), store.Member{TenantID: u.tenant, Email: fmt.Sprintf("%s-%d@example.com", role, tenants.Add(1)), Role: role})
	if err != nil {
		u.t.Fatal(err)
	}
	token, err := db.CreateSignInLink(u.t.Context(), u.tenant, m.ID, time.Hour)
	if err != nil {
		u.t.Fatal(err)
	}
	return u.follow(token, m.ID)
}

func (u user) follow(token string, member id.Member) visitor {
	u.t.Helper()
	cookie, err := u.h.app.Store.UseSignInLink(u.t.Context(), token)
	if err != nil {
		u.t.Fatal(err)
	}
	return u.session(cookie, member)
}

func (u user) session(cookie string, member id.Member) visitor {
	u.t.Helper()
	s, err := u.h.app.Store.Session(u.t.Context(), cookie)
	if err != nil {
		u.t.Fatal(err)
	}
	v := visitor{user: u, member: member, cookie: cookie, csrf: s.CSRF}
	v.key = ""
	return v
}

func (v visitor) ask(method, path string, body any, headers ...string) reply {
	v.t.Helper()
	return v.do(method, path, body, append(headers, "Cookie: p402_session="+v.cookie, "X-P402-CSRF: "+v.csrf)...)
}

func (v visitor) need(status int, method, path string, body any) map[string]any {
	v.t.Helper()
	r := v.ask(method, path, body)
	if r.status != status {
		v.t.Fatalf("%s %s: %d, want %d: %.300s", method, path, r.status, status, r.body)
	}
	return r.json(v.t)
}

// Every documented route of /api/v2 by every role: the role's scopes decide, and nothing else. The auditor reads and changes
// nothing (F18).
func TestF18_TestO1_EveryRouteByEveryRole(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	tried := 0
	for _, role := range meter.Roles() {
		v := u.visit(role)
		for _, o := range documented(h.document(t)) {
			if !o.keyed || !strings.HasPrefix(o.path, "/api/v2/") || strings.HasPrefix(o.path, "/api/v2/chat") || strings.HasPrefix(o.path, "/api/v2/auth") || strings.HasPrefix(o.path, "/api/v2/me") && o.scope == "" && o.memberScope == "" {
				continue
			}
			scope := o.scope
			if o.member {
				scope = o.memberScope
			}
			var body any
			if o.method != http.MethodGet {
				body = "{}"
			}
			r := v.ask(o.method, strings.ReplaceAll(o.path, "{id}", "evt_0"), body)
			code, _, _ := codeOf(r)
			tried++
			if code == "INVALID_KEY" || (code == "SCOPE_MISSING") == (scope == "" || role.May(scope)) {
				t.Errorf("%s: %s %s (%s): %d %s", role, o.method, o.path, scope, r.status, code)
			}
			if role == meter.RoleAuditor && o.method != http.MethodGet && scope != "" && scope != meter.ScopeExportRead && r.status != http.StatusForbidden {
				t.Errorf("the auditor may %s %s: %d", o.method, o.path, r.status)
			}
		}
	}
	if tried < 150 {
		t.Errorf("only %d were tried", tried)
	}
}

func TestO1_TestA1_MembersOfAnotherTenantAreMissingOnes(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	owner, thief := h.user(t).visit(meter.RoleOwner), h.user(t).visit(meter.RoleOwner)
	for _, c := range []struct{ method, rest, body string }{{"GET", "", ""}, {"PATCH", "", `{"role":"owner"}`}, {"DELETE", "", ""}, {"POST", "/link", ""}} {
		var body any
		if c.body != "" {
			body = c.body
		}
		foreign := thief.ask(c.method, "/api/v2/members/"+string(owner.member)+c.rest, body)
		missing := thief.ask(c.method, "/api/v2/members/mem_00000000000000000000000000"+c.rest, body)
		a, b := requestIDForm.ReplaceAllString(string(foreign.body), ""), requestIDForm.ReplaceAllString(string(missing.body), "")
		if foreign.status != 404 || a != b {
			t.Errorf("%s%s: another tenant's gets %d %s, a missing one %d %s", c.method, c.rest, foreign.status, a, missing.status, b)
		}
	}
	for _, path := range []string{"/api/v2/members", "/api/v2/audit-log"} {
		if body := string(thief.ask("GET", path, nil).body); strings.Contains(body, string(owner.member)) {
			t.Errorf("%s shows another tenant's member", path)
		}
	}
	// A session changes nothing without its token, and a key is no person.
	if code, _, _ := codeOf(owner.do("POST", "/api/v2/keys", `{"name":"x","scopes":["infer"]}`, "Cookie: p402_session="+owner.cookie)); code != "CSRF_TOKEN_REQUIRED" {
		t.Errorf("a change without the token: %s", code)
	}
	key := h.user(t)
	if code, _, _ := codeOf(key.do("GET", "/api/v2/members", nil)); code != "SCOPE_MISSING" {
		t.Errorf("a key that asks for members: %s", code)
	}
}

// Every change is in the log with who, what, when, before and after, and with no secret (O3).
func TestO3_TheAuditLogNamesWhoAndKeepsNoSecret(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	v := u.visit(meter.RoleAdmin)
	made := v.need(201, "POST", "/api/v2/keys", `{"name":"deploy","scopes":["infer"]}`)
	keyID := made["info"].(map[string]any)["key_id"].(string)
	v.need(200, "DELETE", "/api/v2/keys/"+keyID, nil)
	u.must(201, "POST", "/api/v2/budgets", `{"name":"cap","scope":{"type":"tenant","id":""},"window":"day","limit_events":5}`)
	body := v.ask("GET", "/api/v2/audit-log?limit=200", nil).body
	var page struct{ Data []store.AuditEntry }
	if err := json.Unmarshal(body, &page); err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, e := range page.Data {
		if e.ObjectID == keyID || e.ObjectType == "budget" {
			seen = append(seen, e.ObjectType+" "+e.Action+" by "+e.Actor)
			if time.Since(e.At) > time.Minute || !strings.HasPrefix(e.RequestID, "req_") {
				t.Errorf("%s: at %v in %q", e.Action, e.At, e.RequestID)
			}
		}
		if e.ObjectID == keyID && e.Action == "revoked" && (!strings.Contains(string(e.Before), `"revoked_at":null`) || strings.Contains(string(e.After), `"revoked_at":null`)) {
			t.Errorf("before %s, after %s", e.Before, e.After)
		}
	}
	want := []string{"budget created by key " + string(u.keyID), "key revoked by member " + string(v.member), "key created by member " + string(v.member)}
	if !slices.Equal(seen, want) {
		t.Errorf("the log says %q, want %q", seen, want)
	}
	if regexp.MustCompile(`"(hash|password_hash|totp_secret)"`).Match(body) || strings.Contains(string(body), made["key"].(string)) {
		t.Error("a secret stands in the log")
	}
}

func TestAnAdminTouchesNoOwnerAndTheLastOwnerStays(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	owner, admin := u.visit(meter.RoleOwner), u.visit(meter.RoleAdmin)
	path := "/api/v2/members/" + string(owner.member)
	for _, r := range []reply{admin.ask("PATCH", path, `{"role":"auditor"}`), admin.ask("DELETE", path, nil), admin.ask("POST", path+"/link", nil),
		admin.ask("PATCH", "/api/v2/members/"+string(admin.member), `{"role":"owner"}`), admin.ask("POST", "/api/v2/members", `{"email":"x@example.com","role":"owner"}`)} {
		if code, _, _ := codeOf(r); code != "OWNER_REQUIRED" {
			t.Errorf("an admin did an owner's: %d %s", r.status, r.body)
		}
	}
	for _, r := range []reply{owner.ask("DELETE", path, nil), owner.ask("PATCH", path, `{"role":"admin"}`)} {
		if code, _, _ := codeOf(r); code != "LAST_OWNER" {
			t.Errorf("the last owner went: %d %s", r.status, r.body)
		}
	}
	// A member who is removed is out at once.
	owner.need(200, "DELETE", "/api/v2/members/"+string(admin.member), nil)
	if r := admin.ask("GET", "/api/v2/me", nil); r.status != 401 {
		t.Errorf("a removed member: %d", r.status)
	}
}

// From the set-up link to an owner with a password and a second factor, and back in by both.
func TestASetUpLinkBecomesAnOwnerWithASecondFactor(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	token, err := h.app.Store.CreateSignInLink(t.Context(), u.tenant, "", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	v := u.follow(token, "")
	email, password := fmt.Sprintf("Ana-%d@Example.com", tenants.Add(1)), "a long enough password"
	for body, param := range map[string]string{`{"email":"no address","password":"` + password + `"}`: "email", `{"email":"` + email + `","password":"short"}`: "password"} {
		if code, got, _ := v.ask("POST", "/api/v2/me/adopt", body).fault(t); code != "INVALID_INPUT" || got != param {
			t.Errorf("%s: %s %s", body, code, got)
		}
	}
	v.need(201, "POST", "/api/v2/me/adopt", map[string]string{"email": email, "name": "Ana", "password": password})
	if got := v.need(200, "GET", "/api/v2/me", nil); got["role"] != "owner" || got["member_id"] == "" {
		t.Errorf("she is %v", got)
	}
	anyone := user{t: t, h: h}
	login := func(password, code string) reply {
		return anyone.do("POST", "/api/v2/auth/login", map[string]string{"email": email, "password": password, "code": code})
	}
	if r := login(password, ""); r.status != 200 || !strings.Contains(r.header.Get("Set-Cookie"), "HttpOnly; SameSite=Lax") {
		t.Fatalf("the right password: %d %s", r.status, r.body)
	}
	begun := v.need(200, "POST", "/api/v2/me/totp", nil)
	code := func(ago time.Duration) string {
		c, err := totp.GenerateCode(begun["secret"].(string), time.Now().Add(-ago))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	// The code of the period before is right as well, and leaves the present one for the sign-in.
	first := code(30 * time.Second)
	if c, _, _ := codeOf(v.ask("PUT", "/api/v2/me/totp", map[string]any{"ticket": begun["ticket"], "code": first, "password": "wrong password"})); c != "PASSWORD_WRONG" {
		t.Errorf("a second factor without the password: %s", c)
	}
	v.need(200, "PUT", "/api/v2/me/totp", map[string]any{"ticket": begun["ticket"], "code": first, "password": password})
	for _, wrong := range []string{"", "000000", first} {
		if r := login(password, wrong); r.status != 401 {
			t.Errorf("code %q signs in: %d", wrong, r.status)
		}
	}
	now := code(0)
	r := login(password, now)
	if r.status != 200 {
		t.Fatalf("password and code: %d %s", r.status, r.body)
	}
	if r := login(password, now); r.status != 401 {
		t.Error("one code signs in twice")
	}
	guessingIsPaused(t, login, func() reply { return login(password, code(-30*time.Second)) })
	refused := requestIDForm.ReplaceAllString(string(login(password, "").body), "")
	unknown := anyone.do("POST", "/api/v2/auth/login", `{"email":"nobody@example.com","password":"whatever it is"}`)
	if requestIDForm.ReplaceAllString(string(unknown.body), "") != refused {
		t.Errorf("an unknown address is told apart: %s", unknown.body)
	}
}

// guessingIsPaused guesses until nothing signs in any more, the right password neither, and every refusal is alike.
func guessingIsPaused(t *testing.T, login func(password, code string) reply, right func() reply) {
	t.Helper()
	var last string
	for range 6 {
		r := login("a wrong password here", "")
		text := requestIDForm.ReplaceAllString(string(r.body), "")
		if r.status != 401 || last != "" && text != last {
			t.Errorf("%d %s", r.status, text)
		}
		last = text
	}
	if r := right(); r.status != 401 || requestIDForm.ReplaceAllString(string(r.body), "") != last {
		t.Errorf("sign-in goes on after guessing: %d %s", r.status, r.body)
	}
}
