package x402_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"p402.io/p402/settlement/x402"
)

func TestCanonicalVector(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, v := range readVectors(t).Vectors {
		if v.Kind != "jcs" {
			continue
		}
		seen++
		got, err := x402.Canonical(v.Input)
		if err != nil || string(got) != v.Output {
			t.Errorf("%s: %s, %v; want %s", v.ID, got, err, v.Output)
		}
	}
	if seen != 1 {
		t.Errorf("%d vectors, want 1", seen)
	}
}

func TestCanonicalForm(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"b":[],"a":{}}`:               `{"a":{},"b":[]}`,
		`"<&>\u2028\u007f\/"`:           "\"<&>\u2028\u007f/\"",
		`{"\ue000":1,"\ud83d\ude00":2}`: "{\"\U0001F600\":2,\"\ue000\":1}", // UTF-16 order: the surrogate first
		` 9007199254740991 `:            `9007199254740991`,
		`-5`:                            `-5`,
		`"\t\u001f"`:                    `"\u0009\u001f"`,
		`9007199254740992`:              "", // not exact in every reader
		`1.0`:                           "",
		`1e2`:                           "",
		`-0`:                            "",
		`{"a":1,"a":1}`:                 "",
		`"\ud800"`:                      "",
		`{} {}`:                         "",
		`{"Alg":1,"alg":2}`:             `{"Alg":1,"alg":2}`,
		"\"\xff\"":                      "",
	} {
		got, err := x402.Canonical([]byte(in))
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%s: %s, %v", in, got, err)
		}
		if err != nil && !errors.Is(err, x402.ErrNotCanonical) {
			t.Errorf("%s: %v is not ErrNotCanonical", in, err)
		}
	}
}

func vectorKey(t *testing.T) (ed25519.PrivateKey, string) {
	t.Helper()
	for _, v := range readVectors(t).Vectors {
		if v.Kind == "jws" && v.Seed != "" {
			seed, err := hex.DecodeString(strings.TrimPrefix(v.Seed, "0x"))
			if err != nil {
				t.Fatal(err)
			}
			return ed25519.NewKeyFromSeed(seed), v.Kid
		}
	}
	t.Fatal("no key in the vectors")
	return nil, ""
}

// Ed25519 is deterministic: the published tokens come out byte for byte.
func TestA154PublishedTokens(t *testing.T) {
	t.Parallel()
	key, kid := vectorKey(t)
	public := key.Public().(ed25519.PublicKey) // documented by crypto/ed25519
	if got := x402.DIDJWK(public); got != kid {
		t.Errorf("did:jwk %s, want %s", got, kid)
	}
	good, bad := 0, 0
	for _, v := range readVectors(t).Vectors {
		switch {
		case v.Kind != "jws":
		case !v.Positive:
			bad++
			if _, err := x402.VerifyEdDSA(v.Compact, kid, public); !errors.Is(err, x402.ErrJWS) {
				t.Errorf("%s: %v", v.ID, err)
			}
		default:
			good++
			compact, err := x402.SignJWS(key, v.Kid, v.Payload)
			if err != nil || compact != v.Compact {
				t.Errorf("%s: %s, %v", v.ID, compact, err)
			}
			payload, err := x402.VerifyEdDSA(v.Compact, kid, public)
			if err != nil || string(payload) != v.Canonical {
				t.Errorf("%s: %s, %v", v.ID, payload, err)
			}
		}
	}
	if good != 3 || bad != 2 {
		t.Errorf("%d good and %d bad tokens, want 3 and 2", good, bad)
	}
}

func TestReceiptTypeSignsThePublishedToken(t *testing.T) {
	t.Parallel()
	key, kid := vectorKey(t)
	for _, v := range readVectors(t).Vectors {
		if v.ID != "receipt-jws-eddsa" && v.ID != "receipt-jws-eddsa-with-tx" {
			continue
		}
		var p x402.ReceiptPayload
		if err := json.Unmarshal(v.Payload, &p); err != nil {
			t.Fatal(err)
		}
		if got, err := x402.SignJWS(key, kid, p); err != nil || got != v.Compact {
			t.Errorf("%s: %s, %v", v.ID, got, err)
		}
	}
}

// Every bit of the text counts, those that base64 would let through as well.
func TestA153EveryBitFlipIsRefused(t *testing.T) {
	t.Parallel()
	key, kid := vectorKey(t)
	public := key.Public().(ed25519.PublicKey) // documented by crypto/ed25519
	compact, err := x402.SignJWS(key, kid, x402.ReceiptPayload{Version: 1, Network: "eip155:84532", IssuedAt: 1800000000})
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(compact) * 8 {
		flipped := []byte(compact)
		flipped[i/8] ^= 1 << (i % 8)
		if _, err := x402.VerifyEdDSA(string(flipped), kid, public); err == nil {
			t.Fatalf("bit %d flipped and still good", i)
		}
	}
	for i := range compact {
		if _, err := x402.VerifyEdDSA(compact[:i], kid, public); err == nil {
			t.Fatalf("cut to %d and still good", i)
		}
	}
	for _, more := range []string{compact + "=", compact + "\n", compact + ".", "\n" + compact, strings.Replace(compact, ".", "\n.", 1)} {
		if _, err := x402.VerifyEdDSA(more, kid, public); err == nil {
			t.Errorf("%q still good", more)
		}
	}
}

// Tokens that are signed well but bring their own rules.
func TestA154TokensDoNotChooseTheirKeyOrAlgorithm(t *testing.T) {
	t.Parallel()
	key, kid := vectorKey(t)
	public := key.Public().(ed25519.PublicKey) // documented by crypto/ed25519
	sign := func(header, payload string) string {
		input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
		return x402.AttachSignature(input, ed25519.Sign(key, []byte(input)))
	}
	for name, row := range map[string]struct {
		header, payload string
		ok              bool
	}{
		"plain":             {`{"alg":"EdDSA","kid":"` + kid + `"}`, `{"a":1}`, true},
		"typ is allowed":    {`{"alg":"EdDSA","kid":"` + kid + `","typ":"JWT"}`, `{"a":1}`, true},
		"none":              {`{"alg":"none","kid":"` + kid + `"}`, `{"a":1}`, false},
		"HS256":             {`{"alg":"HS256","kid":"` + kid + `"}`, `{"a":1}`, false},
		"another of ours":   {`{"alg":"ES256K","kid":"` + kid + `"}`, `{"a":1}`, false},
		"alg in other case": {`{"Alg":"EdDSA","kid":"` + kid + `"}`, `{"a":1}`, false},
		"alg twice":         {`{"alg":"EdDSA","alg":"none","kid":"` + kid + `"}`, `{"a":1}`, false},
		"another key id":    {`{"alg":"EdDSA","kid":"did:web:example.test#1"}`, `{"a":1}`, false},
		"no key id":         {`{"alg":"EdDSA"}`, `{"a":1}`, false},
		"own key":           {`{"alg":"EdDSA","kid":"` + kid + `","jwk":{}}`, `{"a":1}`, false},
		"own address":       {`{"alg":"EdDSA","kid":"` + kid + `","jku":"https://x.test"}`, `{"a":1}`, false},
		"critical":          {`{"alg":"EdDSA","kid":"` + kid + `","crit":["b64"],"b64":false}`, `{"a":1}`, false},
		"payload re-spaced": {`{"alg":"EdDSA","kid":"` + kid + `"}`, `{"a": 1}`, false},
		"payload re-sorted": {`{"alg":"EdDSA","kid":"` + kid + `"}`, `{"b":1,"a":1}`, false},
		"payload no json":   {`{"alg":"EdDSA","kid":"` + kid + `"}`, `a`, false},
		"header a list":     {`[]`, `{"a":1}`, false},
	} {
		payload, err := x402.VerifyEdDSA(sign(row.header, row.payload), kid, public)
		if (err == nil) != row.ok || (row.ok && !bytes.Equal(payload, []byte(row.payload))) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := x402.VerifyEdDSA(sign(`{"alg":"EdDSA","kid":"`+kid+`"}`, `{}`), kid, nil); err == nil {
		t.Error("no key verified a token")
	}
}

func TestControlCharactersAreNotSigned(t *testing.T) {
	t.Parallel()
	key, kid := vectorKey(t)
	if _, err := x402.SignJWS(key, kid, map[string]string{"a": "line\nbreak"}); !errors.Is(err, x402.ErrNotCanonical) {
		t.Errorf("%v", err)
	}
	if _, err := x402.SignJWS(key, kid, map[string]string{"a": `C:\u00e9\\u0001`}); err != nil {
		t.Errorf("backslashes before a u: %v", err)
	}
}

func FuzzCanonical(f *testing.F) {
	f.Add([]byte(`{"b":[1,"\u0001"],"a":{"é":null}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		once, err := x402.Canonical(raw)
		if err != nil {
			return
		}
		twice, err := x402.Canonical(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q then %q, %v", once, twice, err)
		}
	})
}
