package x402_test

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"p402.io/p402/settlement/x402"
)

// testdata/vectors.json holds what the released JavaScript packages (2.27.0) write and read for well-known development keys.
type headerVector struct {
	ID       string          `json:"id"`
	Header   string          `json:"header"`
	Value    string          `json:"value"`
	Positive *bool           `json:"positive"`
	Decoded  json.RawMessage `json:"decoded"`
}

type vectors struct {
	Headers []headerVector `json:"headers"`
	Vectors []struct {
		ID        string          `json:"id"`
		Kind      string          `json:"kind"`
		Positive  bool            `json:"positive"`
		Kid       string          `json:"kid"`
		Seed      string          `json:"ed25519SeedHex"`
		Canonical string          `json:"canonicalPayload"`
		Payload   json.RawMessage `json:"payload"`
		Compact   string          `json:"compact"`
		Input     json.RawMessage `json:"input"`
		Output    string          `json:"canonical"`
	} `json:"vectors"`
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	path := "testdata/vectors.json"
	if given := os.Getenv("P402_X402_VECTORS"); given != "" {
		path = given
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(raw, &v); err != nil || len(v.Headers) == 0 || len(v.Vectors) == 0 {
		t.Fatalf("vectors: %v", err)
	}
	return v
}

func headerVectorByID(t testing.TB, id string) headerVector {
	t.Helper()
	for _, v := range readVectors(t).Headers {
		if v.ID == id {
			return v
		}
	}
	t.Fatalf("no vector %s", id)
	return headerVector{}
}

func same(t *testing.T, got, want []byte) {
	t.Helper()
	var a, b any
	if json.Unmarshal(got, &a) != nil || json.Unmarshal(want, &b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Every published header decodes to its published value, and through our types to the same JSON again.
func TestS2PublishedHeadersSurviveOurTypes(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, v := range readVectors(t).Headers {
		if v.Value == "" {
			continue // client state and a v1 body: no header
		}
		seen++
		t.Run(v.ID, func(t *testing.T) {
			t.Parallel()
			var plain json.RawMessage
			err := x402.DecodeHeader(v.Value, &plain)
			if v.Positive != nil && !*v.Positive {
				if err == nil {
					t.Fatal("accepted")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			same(t, plain, v.Decoded)
			if v.ID == "payment-response-batch-voucher" {
				return // its amount "" is a refinement of a scheme that is not offered; ours leaves an empty amount out
			}
			typed := typeOf(t, v)
			if err := x402.DecodeHeader(v.Value, typed); err != nil {
				t.Fatal(err)
			}
			again, err := x402.EncodeHeader(typed)
			if err != nil {
				t.Fatal(err)
			}
			if err := x402.DecodeHeader(again, &plain); err != nil {
				t.Fatal(err)
			}
			same(t, plain, v.Decoded)
		})
	}
	if seen != 27 {
		t.Errorf("%d headers, want 27", seen)
	}
}

func typeOf(t *testing.T, v headerVector) any {
	t.Helper()
	switch v.Header {
	case x402.HeaderPaymentRequired:
		return new(x402.PaymentRequired)
	case x402.HeaderPaymentSignature:
		return new(x402.PaymentPayload)
	case x402.HeaderXPayment:
		return new(x402.PaymentPayloadV1)
	case x402.HeaderPaymentResponse, x402.HeaderXPaymentResponse:
		return new(x402.SettlementResponse)
	}
	t.Fatalf("unknown header %s", v.Header)
	return nil
}

// What clients of every scheme send: exact and upto are read, the rest refused by name.
func TestPublishedPaymentsAreReadOrRefused(t *testing.T) {
	t.Parallel()
	want := map[string]x402.Reason{
		"payment-signature-exact-eip3009": "", "x-payment-v1-exact": "", "payment-signature-payment-identifier": "",
		"payment-signature-exact-permit2": "", "payment-signature-permit2-eip2612-sponsored": "", "payment-signature-upto": "",
		"payment-signature-batch-deposit": x402.ReasonUnsupportedScheme,
		"payment-signature-batch-voucher": x402.ReasonUnsupportedScheme,
		"payment-signature-batch-refund":  x402.ReasonUnsupportedScheme,
		"neg-header-base64url":            x402.ReasonInvalidPayload,
		"neg-header-not-json":             x402.ReasonInvalidPayload,
		"neg-header-spaces":               x402.ReasonInvalidPayload,
	}
	for _, v := range readVectors(t).Headers {
		if v.Header != x402.HeaderPaymentSignature && v.Header != x402.HeaderXPayment {
			continue
		}
		reason, known := want[v.ID]
		if !known {
			t.Errorf("%s: no expectation", v.ID)
		}
		p, err := x402.ParsePayment(header(v.Header, v.Value))
		if reasonOf(err) != reason {
			t.Errorf("%s: %v", v.ID, err)
		}
		if reason == "" {
			checkPublished(t, v, p)
		}
		delete(want, v.ID)
	}
	if len(want) != 0 {
		t.Errorf("no vectors for %v", want)
	}
}

func checkPublishedPermit2(t *testing.T, v headerVector, p *x402.Payment) {
	t.Helper()
	m := p.Permit2
	amount, spender, facilitator := "10000", "0x402085c248EeA27D92E8b30b2C58ed07f9E20001", ""
	if p.Scheme == x402.SchemeUpto {
		amount, spender, facilitator = "50000", "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002", "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
	}
	if m.Amount != amount || m.Spender != spender || m.Facilitator != facilitator || m.Deadline != "1800000300" || m.ValidAfter != "0" ||
		m.To != "0x70997970C51812dc3A010C7d01b50e0d17dc79C8" || m.Token != "0x036CbD53842c5426634e7929541eC2318f3dCF7e" || len(m.Signature) != 65 {
		t.Errorf("%s: amount %s, spender %s, facilitator %s", v.ID, m.Amount, m.Spender, m.Facilitator)
	}
	same(t, p.Raw, v.Decoded)
}

func checkPublished(t *testing.T, v headerVector, p *x402.Payment) {
	t.Helper()
	if p.Network != "eip155:84532" || !strings.EqualFold(p.Payer(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266") || len(p.Nonce()) != 66 {
		t.Errorf("%s: network %s, payer %s, nonce %s", v.ID, p.Network, p.Payer(), p.Nonce())
	}
	if p.Permit2 != nil {
		checkPublishedPermit2(t, v, p)
		return
	}
	a := p.Exact.Authorization
	if p.Scheme != x402.SchemeExact || len(p.Exact.Signature) != 65 || a.Value != "10000" ||
		a.ValidBefore != "1800000300" {
		t.Errorf("%s: %+v", v.ID, p.Exact.Authorization)
	}
	if (p.Accepted == nil) != (p.Version == 1) {
		t.Errorf("%s: accepted %v in version %d", v.ID, p.Accepted, p.Version)
	}
	same(t, p.Raw, v.Decoded)
	want := ""
	if v.ID == "payment-signature-payment-identifier" {
		want = "pay_0123456789abcdef0123456789abcdef"
	}
	if got, err := x402.PaymentIdentifier(p.Extensions); err != nil || got != want {
		t.Errorf("%s: payment id %q, %v", v.ID, got, err)
	}
}

// The v2 offer of the first vector turns into the v1 body that the legacy server publishes.
func TestS2V1BodyIsThePublishedOne(t *testing.T) {
	t.Parallel()
	var offer x402.PaymentRequired
	if err := x402.DecodeHeader(headerVectorByID(t, "payment-required-exact").Value, &offer); err != nil {
		t.Fatal(err)
	}
	offer.Error = "X-PAYMENT header is required"
	body, ok := offer.V1()
	if !ok {
		t.Fatal("no v1 offer")
	}
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	same(t, raw, headerVectorByID(t, "v1-402-body").Decoded)
}

// One entry that legacy clients do not know breaks their whole call, so it is left out.
func TestS2V1BodyLeavesOutWhatLegacyClientsThrowOn(t *testing.T) {
	t.Parallel()
	good := requirements()
	for name, change := range map[string]func(*x402.PaymentRequirements){
		"scheme upto": func(r *x402.PaymentRequirements) { r.Scheme = x402.SchemeUpto },
		"Permit2": func(r *x402.PaymentRequirements) {
			r.Extra = json.RawMessage(`{"name":"USDC","version":"2","assetTransferMethod":"permit2"}`)
		},
		"upfront": func(r *x402.PaymentRequirements) {
			r.Extra = json.RawMessage(`{"name":"USDC","version":"2","paymentFlow":"upfront"}`)
		},
		"no domain":                 func(r *x402.PaymentRequirements) { r.Extra = nil },
		"private chain":             func(r *x402.PaymentRequirements) { r.Network = "eip155:31337" },
		"name unknown to 1.2.0":     func(r *x402.PaymentRequirements) { r.Network = "eip155:1" },
		"seconds that are no whole": func(r *x402.PaymentRequirements) { r.MaxTimeoutSeconds = "3e2" },
	} {
		bad := requirements()
		change(&bad)
		resource := x402.Resource{URL: "https://api.example.test/"}
		body, ok := x402.PaymentRequired{X402Version: 2, Resource: resource, Accepts: []x402.PaymentRequirements{bad, good}}.V1()
		if !ok || len(body.Accepts) != 1 {
			t.Errorf("%s: %+v", name, body)
		}
		if _, ok := (x402.PaymentRequired{X402Version: 2, Resource: resource, Accepts: []x402.PaymentRequirements{bad}}).V1(); ok {
			t.Errorf("%s: offered alone", name)
		}
	}
}

func TestOfferPaymentIdentifierIsThePublishedOne(t *testing.T) {
	t.Parallel()
	var offer x402.PaymentRequired
	if err := x402.DecodeHeader(headerVectorByID(t, "payment-required-payment-identifier").Value, &offer); err != nil {
		t.Fatal(err)
	}
	same(t, x402.OfferPaymentIdentifier(true), offer.Extensions[x402.ExtensionPaymentIdentifier])
}

func TestOfferReceiptTypesHoldThePublishedOnes(t *testing.T) {
	t.Parallel()
	var offer x402.PaymentRequired
	if err := x402.DecodeHeader(headerVectorByID(t, "payment-required-offer-receipt").Value, &offer); err != nil {
		t.Fatal(err)
	}
	var envelope x402.Extension
	var info x402.OffersInfo
	raw := offer.Extensions[x402.ExtensionOfferReceipt]
	if err := x402.Decode(raw, &envelope); err != nil {
		t.Fatal(err)
	}
	if err := x402.Decode(envelope.Info, &info); err != nil || len(info.Offers) != 2 {
		t.Fatalf("%v %+v", err, info)
	}
	again, err := x402.NewExtension(info, nil)
	if err != nil {
		t.Fatal(err)
	}
	same(t, again, raw)
	var said x402.OfferPayload
	if err := x402.Decode(info.Offers[0].Payload, &said); err != nil || said.Amount != "10000" || said.ValidUntil != 1800000300 {
		t.Errorf("%v %+v", err, said)
	}
}
