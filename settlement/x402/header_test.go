package x402_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"p402.io/p402/settlement/x402"
)

type headerVector struct {
	ID       string          `json:"id"`
	Header   string          `json:"header"`
	Value    string          `json:"value"`
	Positive *bool           `json:"positive"`
	Decoded  json.RawMessage `json:"decoded"`
}

func headerVectors(t *testing.T) []headerVector {
	t.Helper()
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Headers []headerVector `json:"headers"`
	}
	if err := json.Unmarshal(raw, &file); err != nil || len(file.Headers) == 0 {
		t.Fatalf("vectors: %v", err)
	}
	return file.Headers
}

func TestHeaderVectors(t *testing.T) {
	t.Parallel()
	for _, v := range headerVectors(t) {
		if v.Value == "" {
			continue
		}
		t.Run(v.ID, func(t *testing.T) {
			t.Parallel()
			var got any
			err := x402.DecodeHeader(v.Value, &got)
			if v.Positive != nil && !*v.Positive {
				if err == nil {
					t.Fatal("accepted")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var want any
			if err := json.Unmarshal(v.Decoded, &want); err != nil {
				t.Fatal(err)
			}
			a, _ := json.Marshal(got)  // values of encoding/json always marshal
			b, _ := json.Marshal(want) // the same
			if string(a) != string(b) {
				t.Fatalf("decoded %s\nwant %s", a, b)
			}
		})
	}
}

func TestOfficialPaymentsParse(t *testing.T) {
	t.Parallel()
	for _, v := range headerVectors(t) {
		if v.ID != "payment-signature-exact-eip3009" && v.ID != "x-payment-v1-exact" {
			continue
		}
		p, err := x402.ParsePayment(http.Header{http.CanonicalHeaderKey(v.Header): {v.Value}})
		if err != nil || p == nil {
			t.Fatalf("%s: %v", v.ID, err)
		}
		if p.Network != "eip155:84532" || p.Scheme != "exact" || len(p.Exact.Signature) != 65 || p.Exact.Authorization.Value != "10000" {
			t.Errorf("%s: %+v", v.ID, p)
		}
	}
}

func TestBadPaymentsAreRefusedWithTheirReason(t *testing.T) {
	t.Parallel()
	good := `{"x402Version":1,"scheme":"exact","network":"base-sepolia","payload":{"signature":"0x00","authorization":{"from":"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266","to":"0x70997970C51812dc3A010C7d01b50e0d17dc79C8","value":"1","validAfter":"0","validBefore":"9","nonce":"0x` + strings.Repeat("ab", 32) + `"}}}`
	for name, row := range map[string]struct{ body, reason string }{
		"version 3":       {strings.Replace(good, `Version":1`, `Version":3`, 1), "Unsupported x402 version: 3"},
		"v2 in X-PAYMENT": {strings.Replace(good, `Version":1`, `Version":2`, 1), "No matching payment requirements"},
		"unknown network": {strings.Replace(good, "base-sepolia", "moon", 1), "invalid_network"},
		"other scheme":    {strings.Replace(good, "exact", "upto", 1), "unsupported_scheme"},
		"negative value":  {strings.Replace(good, `"value":"1"`, `"value":"-1"`, 1), "invalid_payload"},
		"value a number":  {strings.Replace(good, `"value":"1"`, `"value":1`, 1), "invalid_payload"},
		"leading zero":    {strings.Replace(good, `"value":"1"`, `"value":"01"`, 1), "invalid_payload"},
		"uint256 passed":  {strings.Replace(good, `"value":"1"`, `"value":"`+strings.Repeat("9", 78)+`"`, 1), "invalid_payload"},
		"short nonce":     {strings.Replace(good, "abab", "ab", 1), "invalid_payload"},
		"two values":      {good + "{}", "invalid_payload"},
		"no payload":      {`{"x402Version":1,"scheme":"exact","network":"base"}`, "invalid_payload"},
	} {
		_, err := x402.ParsePayment(http.Header{"X-Payment": {base64.StdEncoding.EncodeToString([]byte(row.body))}})
		var refusal *x402.Error
		if !errors.As(err, &refusal) || string(refusal.Reason) != row.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := x402.ParsePayment(http.Header{"X-Payment": {"e30=", "e30="}}); err == nil {
		t.Error("a header that comes twice was read")
	}
	if p, err := x402.ParsePayment(http.Header{"Payment-Signature": {base64.StdEncoding.EncodeToString([]byte("null"))}}); p != nil || err != nil {
		t.Errorf("null: %v %v", p, err)
	}
}

func FuzzParsePayment(f *testing.F) {
	f.Add("e30=")
	f.Add("eyJ4NDAyVmVyc2lvbiI6Mn0=")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := x402.ParsePayment(http.Header{"Payment-Signature": {text}})
		if err == nil && p != nil && p.Accepted == nil {
			t.Fatal("a v2 payment without accepted was read")
		}
	})
}
