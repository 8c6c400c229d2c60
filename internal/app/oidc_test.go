package app

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"p402.io/p402/gateway"
	"p402.io/p402/gateway/dashboard"
	"p402.io/p402/internal/credential"
	"p402.io/p402/meter"
)

// issuer is a stand-in for an OpenID Connect issuer, for whom every code is right: it vouches for email with the nonce that the
// browser brought. What a wrong word does is internal/credential's to test.
type issuer struct {
	*httptest.Server
	mu           sync.Mutex
	nonce, email string
}

func (i *issuer) vouch(nonce, email string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.nonce, i.email = nonce, email
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"issuer": i.URL, "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token", "jwks_uri": i.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"}})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		claims := map[string]any{"iss": i.URL, "aud": "p402", "sub": "1", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(), "nonce": i.nonce, "email": i.email, "email_verified": true}
		i.mu.Unlock()
		raw, err := json.Marshal(claims)
		if err != nil {
			t.Error(err)
			return
		}
		signed, err := signer.Sign(raw)
		if err != nil {
			t.Error(err)
			return
		}
		text, err := signed.CompactSerialize()
		if err != nil {
			t.Error(err)
			return
		}
		answer(w, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": text})
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

// A member signs in by the issuer's word and comes to where they wanted; a stranger becomes nobody, and a browser that did not
// begin the trip cannot end it.
func TestAMemberSignsInByAnIssuer(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	i := newIssuer(t)
	sealer, err := credential.NewSealer(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := dashboard.New(dashboard.Config{Store: h.app.Store, Log: h.app.log, Now: now, Sealer: sealer,
		OIDC: credential.NewOIDC(credential.OIDCConfig{Name: "Example", Issuer: i.URL, ClientID: "p402", ClientSecret: "s", RedirectURL: "http://p402.test/sign-in/oidc/callback"}, now)})
	if err != nil {
		t.Fatal(err)
	}
	router := gateway.NewRouter(gateway.Config{Log: h.app.log, IDs: h.app.IDs, Now: now}, pages)
	get := func(path, cookie string) *http.Response {
		t.Helper()
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
		r.Header.Set("Cookie", cookie)
		router.ServeHTTP(w, r)
		return w.Result()
	}
	u := h.user(t)
	v := u.visit(meter.RoleFinance)
	m, err := h.app.Store.Member(t.Context(), u.tenant, v.member)
	if err != nil {
		t.Fatal(err)
	}
	trip := func(email string) (state, cookie string) {
		t.Helper()
		out := get("/sign-in/oidc?next=/app/receipts", "")
		at, err := url.Parse(out.Header.Get("Location"))
		if err != nil || !strings.HasPrefix(at.String(), i.URL+"/authorize?") || at.Query().Get("code_challenge_method") != "S256" {
			t.Fatalf("sent to %v: %v", at, err)
		}
		i.vouch(at.Query().Get("nonce"), email)
		return at.Query().Get("state"), strings.Split(out.Header.Get("Set-Cookie"), ";")[0]
	}
	state, cookie := trip(strings.ToUpper(m.Email))
	if back := get("/sign-in/oidc/callback?code=c&state="+state, ""); back.StatusCode != http.StatusUnauthorized {
		t.Errorf("another browser ends the trip: %d", back.StatusCode)
	}
	back := get("/sign-in/oidc/callback?code=c&state="+state, cookie)
	if back.StatusCode != http.StatusSeeOther || back.Header.Get("Location") != "/app/receipts" {
		t.Fatalf("the way back: %d to %s", back.StatusCode, back.Header.Get("Location"))
	}
	session := ""
	for _, c := range back.Cookies() {
		if c.Name == gateway.SessionCookie {
			session = c.Value
		}
	}
	if s, err := h.app.Store.Session(t.Context(), session); err != nil || s.MemberID != v.member || s.Role != meter.RoleFinance {
		t.Errorf("signed in as %+v: %v", s, err)
	}
	state, cookie = trip("nobody-here@example.com")
	if back := get("/sign-in/oidc/callback?code=c&state="+state, cookie); back.StatusCode != http.StatusForbidden || strings.Contains(strings.Join(back.Header.Values("Set-Cookie"), ""), gateway.SessionCookie) {
		t.Errorf("a stranger: %d", back.StatusCode)
	}
}
