package app

import (
	"net/http"
	"strings"
	"testing"

	"p402.io/p402/meter"
)

// O21: no checkout is connected, and none is pretended: every plan gets its answer, no other word is taken for one.
func TestO21_CheckoutIsOffAndNothingIsCharged(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	owner := u.visit(meter.RoleOwner)
	for plan, code := range map[string]string{"build": "CHECKOUT_DISABLED", "growth": "CHECKOUT_DISABLED", "scale": "CHECKOUT_DISABLED", "enterprise": "CONTACT_SALES"} {
		got := owner.need(200, "POST", "/api/v2/billing/checkout", map[string]string{"productKey": plan})
		if got["ok"] != false || got["code"] != code || got["contactUrl"] != "/get-access?intent="+plan {
			t.Errorf("%s: %v", plan, got)
		}
	}
	for _, body := range []string{`{}`, `{"productKey":""}`, `{"productKey":"premium"}`, `{"productKey":"self_hosted"}`, `{"productKey":"sandbox"}`, `{"productKey":"Build"}`} {
		if code, _, _ := codeOf(owner.ask("POST", "/api/v2/billing/checkout", body)); code != "INVALID_PRODUCT_KEY" {
			t.Errorf("%s: %s", body, code)
		}
	}
	if code, _, _ := codeOf(u.visit(meter.RoleAdmin).ask("POST", "/api/v2/billing/checkout", `{"productKey":"build"}`)); code != "OWNER_REQUIRED" {
		t.Errorf("an admin buys: %s", code)
	}
	if code, _, _ := codeOf(u.do("POST", "/api/v2/billing/checkout", `{"productKey":"build"}`)); code != "SCOPE_MISSING" {
		t.Errorf("a key buys: %s", code)
	}
	if use := u.must(200, "GET", "/api/v2/billing/usage", nil); use["state"] != "ok" || use["plan"].(map[string]any)["id"] != "self_hosted" {
		t.Errorf("one's own installation: %v", use)
	}
	anyone := user{t: t, h: u.h}
	mail := strings.ToLower(u.slug) + "@example.com"
	for i := range 4 {
		want := http.StatusCreated
		if i == 3 {
			want = http.StatusTooManyRequests
		}
		if r := anyone.do("POST", "/api/v2/access-requests", map[string]string{"email": mail, "intent": "build"}); r.status != want {
			t.Errorf("request %d: %d, want %d", i+1, r.status, want)
		}
	}
}
