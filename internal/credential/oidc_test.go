package credential

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// issuer is a stand-in that speaks the wire of OpenID Connect: discovery, keys, and the token for a code, with what a test has
// put into it.
type issuer struct {
	*httptest.Server
	key    *rsa.PrivateKey
	signer any // another key forges
	claims map[string]any
	pkce   string // the challenge of the browser's trip
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key, signer: key}
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
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if r.FormValue("code") != "good" || base64.RawURLEncoding.EncodeToString(sum[:]) != i.pkce {
			http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
			return
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: i.signer, KeyID: "k"}}, nil)
		if err != nil {
			t.Error(err)
			return
		}
		raw, err := json.Marshal(i.claims)
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

// Only the issuer's own, present, fitting word about a verified address signs in, and only the browser that began.
func TestAnIssuersWordIsCheckedWhole(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	now := time.Now()
	o := NewOIDC(OIDCConfig{Name: "Example", Issuer: i.URL, ClientID: "p402", ClientSecret: "s", RedirectURL: "http://p402.test/sign-in/oidc/callback"}, func() time.Time { return now })
	address, trip, err := o.Begin(t.Context(), "/app/keys")
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	i.pkce = at.Query().Get("code_challenge")
	forger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := func() map[string]any {
		return map[string]any{"iss": i.URL, "aud": "p402", "sub": "1", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "nonce": trip.Nonce, "email": "ana@example.com", "email_verified": true}
	}
	for _, c := range []struct {
		name   string
		change func(claims map[string]any, t *OIDCTrip) (state, code string)
		signer any
		email  string
	}{
		{name: "a good one", email: "ana@example.com"},
		{name: "another state", change: func(map[string]any, *OIDCTrip) (string, string) { return "other", "good" }},
		{name: "no trip", change: func(_ map[string]any, tr *OIDCTrip) (string, string) { *tr = OIDCTrip{}; return "", "good" }},
		{name: "a trip that took too long", change: func(_ map[string]any, tr *OIDCTrip) (string, string) {
			tr.Until = now.Add(-time.Second)
			return tr.State, "good"
		}},
		{name: "another code", change: func(_ map[string]any, tr *OIDCTrip) (string, string) { return tr.State, "bad" }},
		{name: "another verifier", change: func(_ map[string]any, tr *OIDCTrip) (string, string) {
			tr.Verifier = trip.State
			return tr.State, "good"
		}},
		{name: "another audience", change: func(m map[string]any, tr *OIDCTrip) (string, string) { m["aud"] = "other"; return tr.State, "good" }},
		{name: "another issuer", change: func(m map[string]any, tr *OIDCTrip) (string, string) {
			m["iss"] = "https://evil.example"
			return tr.State, "good"
		}},
		{name: "over", change: func(m map[string]any, tr *OIDCTrip) (string, string) {
			m["exp"] = now.Add(-time.Hour).Unix()
			return tr.State, "good"
		}},
		{name: "another nonce", change: func(m map[string]any, tr *OIDCTrip) (string, string) { m["nonce"] = "x"; return tr.State, "good" }},
		{name: "an address nobody verified", change: func(m map[string]any, tr *OIDCTrip) (string, string) {
			m["email_verified"] = false
			return tr.State, "good"
		}},
		{name: "no address", change: func(m map[string]any, tr *OIDCTrip) (string, string) { delete(m, "email"); return tr.State, "good" }},
		{name: "a forged one", signer: forger},
	} {
		mine, state, code := trip, trip.State, "good"
		i.claims, i.signer = good(), any(i.key)
		if c.change != nil {
			state, code = c.change(i.claims, &mine)
		}
		if c.signer != nil {
			i.signer = c.signer
		}
		if email, err := o.Finish(t.Context(), mine, state, code); email != c.email || (err == nil) != (c.email != "") {
			t.Errorf("%s: %q, %v", c.name, email, err)
		}
	}
}

func TestASealIsForOneHolder(t *testing.T) {
	t.Parallel()
	key := make([]byte, ed25519.SeedSize)
	s, err := NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := s.Seal([]byte("secret"), "ana")
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := s.Open(sealed, "ana"); err != nil || string(plain) != "secret" {
		t.Errorf("%q, %v", plain, err)
	}
	for _, bad := range [][]byte{nil, sealed[:5], append([]byte{1}, sealed[1:]...)} {
		if _, err := s.Open(bad, "ana"); err == nil && string(bad) != string(sealed) {
			t.Error("a damaged seal opens")
		}
	}
	if _, err := s.Open(sealed, "bob"); err == nil {
		t.Error("a seal opens for somebody else")
	}
}
