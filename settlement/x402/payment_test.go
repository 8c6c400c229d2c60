package x402_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"p402.io/p402/settlement/x402"
)

const (
	goodAuthorization = `{"from":"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266","to":"0x70997970C51812dc3A010C7d01b50e0d17dc79C8","value":"10000","validAfter":"0","validBefore":"1800000300","nonce":"0xABababababababababababababababababababababababababababababababab"}`
	goodPayload       = `{"signature":"0xfeedc0de","authorization":` + goodAuthorization + `}`
	goodAccepted      = `{"scheme":"exact","network":"eip155:84532","amount":"10000","asset":"0x036CbD53842c5426634e7929541eC2318f3dCF7e","payTo":"0x70997970C51812dc3A010C7d01b50e0d17dc79C8","maxTimeoutSeconds":300,"extra":{"name":"USDC","version":"2"}}`
	goodV1            = `{"x402Version":1,"scheme":"exact","network":"base-sepolia","payload":` + goodPayload + `}`
	goodV2            = `{"x402Version":2,"accepted":` + goodAccepted + `,"payload":` + goodPayload + `}`
)

func header(name string, values ...string) http.Header {
	return http.Header{http.CanonicalHeaderKey(name): values}
}

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func reasonOf(err error) x402.Reason {
	var refusal *x402.Error
	if errors.As(err, &refusal) {
		return refusal.Reason
	}
	if err != nil {
		return "not an *x402.Error"
	}
	return ""
}

func fieldOf(err error) string {
	var refusal *x402.Error
	if errors.As(err, &refusal) {
		return refusal.Field
	}
	return ""
}

func requirements() x402.PaymentRequirements {
	var r x402.PaymentRequirements
	if err := json.Unmarshal([]byte(goodAccepted), &r); err != nil {
		panic(err) // a constant of this file
	}
	return r
}

func TestA144PaymentHeaders(t *testing.T) {
	t.Parallel()
	sig, x := x402.HeaderPaymentSignature, x402.HeaderXPayment
	long := b64(goodV2 + strings.Repeat(" ", 1<<20))
	both := header(sig, b64(goodV2))
	both.Set(x, b64(goodV1))
	badFirst := header(sig, "!")
	badFirst.Set(x, b64(goodV1))
	twiceSecond := header(x, b64(goodV1), b64(goodV1))
	twiceSecond.Set(sig, b64(goodV2))
	v1in2, v2in1 := header(sig, b64(goodV1)), header(x, b64(goodV2))
	unpadded := header(sig, strings.TrimRight(b64(goodV2+"  "), "="))
	for _, row := range []struct {
		name    string // and why
		h       http.Header
		version int // 0: none
		reason  x402.Reason
		field   string
	}{
		{"none", http.Header{}, 0, "", ""},
		{"empty", header(sig, ""), 0, "", ""},
		{"null counts as none", header(sig, b64("null")), 0, "", ""},
		{"v2", header(sig, b64(goodV2)), 2, "", ""},
		{"v1", header(x, b64(goodV1)), 1, "", ""},
		{"both: v2 wins", both, 2, "", ""},
		{"both, v2 bad: v1 does not repair it", badFirst, 0, x402.ReasonInvalidPayload, sig},
		{"twice", header(sig, b64(goodV2), b64(goodV2)), 0, x402.ReasonInvalidPayload, sig},
		{"the other one twice", twiceSecond, 0, x402.ReasonInvalidPayload, x},
		{"twice, once empty", header(sig, "", b64(goodV2)), 0, x402.ReasonInvalidPayload, sig},
		{"joined by a proxy", header(sig, b64(goodV2)+", "+b64(goodV2)), 0, x402.ReasonInvalidPayload, sig},
		{"1 MiB", header(sig, long), 0, x402.ReasonInvalidPayload, sig},
		{"padding is optional", unpadded, 2, "", ""},
		{"wrong padding", header(sig, "e30=="), 0, x402.ReasonInvalidPayload, sig},
		{"padding alone", header(sig, "=="), 0, x402.ReasonInvalidPayload, sig},
		{"left-over bits", header(sig, "bnVsbB=="), 0, x402.ReasonInvalidPayload, sig},
		{"line break", header(sig, "bnVs\nbA=="), 0, x402.ReasonInvalidPayload, sig},
		{"v1 object in the v2 header", v1in2, 0, x402.ReasonNoMatch, "x402Version"},
		{"v2 object in the v1 header", v2in1, 0, x402.ReasonNoMatch, "x402Version"},
		{"not an object", header(sig, b64("[]")), 0, x402.ReasonInvalidPayload, ""},
		{"two values", header(sig, b64(goodV2+"{}")), 0, x402.ReasonInvalidPayload, ""},
		{"not UTF-8", header(sig, b64("{\"a\":\"\xff\"}")), 0, x402.ReasonInvalidPayload, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p, err := x402.ParsePayment(row.h)
			if reasonOf(err) != row.reason || fieldOf(err) != row.field {
				t.Errorf("error %v", err)
			}
			if got := versionOf(p); got != row.version {
				t.Errorf("version %d, want %d", got, row.version)
			}
		})
	}
}

func versionOf(p *x402.Payment) int {
	if p == nil {
		return 0
	}
	return p.Version
}

type change struct {
	old, new string
	reason   x402.Reason
	field    string
}

func checkChanges(t *testing.T, good string, version int, rows map[string]change) {
	t.Helper()
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := strings.Replace(good, row.old, row.new, 1)
			if body == good {
				t.Fatal("the row changes nothing")
			}
			p, err := x402.DecodePayment([]byte(body), version)
			if reasonOf(err) != row.reason || fieldOf(err) != row.field {
				t.Errorf("error %v, want %s (%s)", err, row.reason, row.field)
			}
			if err != nil && p != nil {
				t.Error("an error and a payment")
			}
		})
	}
}

func TestA144PaymentsThatTwoReadersWouldReadDifferently(t *testing.T) {
	t.Parallel()
	bad := x402.ReasonInvalidPayload
	checkChanges(t, goodV2, 2, map[string]change{
		"same key twice":            {`"value":"10000"`, `"value":"1","value":"10000"`, bad, "payload.authorization"},
		"same key by escape":        {`"value":"10000"`, `"v\u0061lue":"1","value":"10000"`, bad, "payload.authorization"},
		"keys that differ by case":  {`"accepted":`, `"Accepted":{},"accepted":`, bad, ""},
		"long s for s":              {`"signature"`, `"\u017fignature":"0x","signature"`, bad, "payload"},
		"key in another case alone": {`"signature"`, `"Signature"`, bad, "payload.signature"},
		"twice inside extra":        {`"name":"USDC"`, `"name":"a","name":"USDC"`, bad, "accepted.extra"},
		"case inside extra":         {`"name":"USDC"`, `"Name":"a","name":"USDC"`, "", ""},
		"half surrogate":            {`"name":"USDC"`, `"\ud800":"a","name":"USDC"`, bad, ""},
		"whole surrogate":           {`"name":"USDC"`, `"\ud83d\ude00":"\\ud800","name":"USDC"`, "", ""},
		"nested to 1000":            {`"name":"USDC"`, `"a":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `,"name":"USDC"`, bad, ""},
		"unknown fields are kept":   {`"x402Version":2`, `"x402Version":2,"more":{"a":[1,2.5e3,null]}`, "", ""},
		"null extensions":           {`"x402Version":2`, `"x402Version":2,"extensions":null,"resource":null`, "", ""},
		"extensions a list":         {`"x402Version":2`, `"x402Version":2,"extensions":[]`, bad, "extensions"},
	})
}

func TestBadPaymentsAreRefusedWithReasonAndField(t *testing.T) {
	t.Parallel()
	bad := x402.ReasonInvalidPayload
	checkChanges(t, goodV2, 2, map[string]change{
		"version 3":            {`Version":2`, `Version":3`, "Unsupported x402 version: 3", "x402Version"},
		"version a text":       {`Version":2`, `Version":"2"`, x402.ReasonInvalidVersion, "x402Version"},
		"version a fraction":   {`Version":2`, `Version":2.5`, x402.ReasonInvalidVersion, "x402Version"},
		"version of 20 digits": {`Version":2`, `Version":22222222222222222222`, x402.ReasonInvalidVersion, "x402Version"},
		"no version":           {`"x402Version":2,`, ``, x402.ReasonInvalidVersion, "x402Version"},
		"no accepted":          {`"accepted"`, `"excepted"`, x402.ReasonNoMatch, "accepted"},
		"accepted a list":      {`"accepted":` + goodAccepted, `"accepted":[]`, bad, "accepted"},
		"amount a number":      {`"amount":"10000"`, `"amount":10000`, bad, "accepted.amount"},
		"no asset":             {`"asset"`, `"assets"`, bad, "accepted.asset"},
		"seconds a text":       {`Seconds":300`, `Seconds":"300"`, bad, "accepted.maxTimeoutSeconds"},
		"extra a text":         {`{"name":"USDC","version":"2"}`, `"x"`, bad, "accepted.extra"},
		"other scheme":         {`"scheme":"exact"`, `"scheme":"batch-settlement"`, x402.ReasonUnsupportedScheme, "scheme"},
		"upto over EIP-3009":   {`"scheme":"exact"`, `"scheme":"upto"`, x402.ReasonUnsupportedScheme, "scheme"},
		"no payload":           {`"payload"`, `"payloads"`, bad, "payload"},
		"payload null":         {`"payload":` + goodPayload, `"payload":null`, bad, "payload"},
		"no authorization":     {`"authorization"`, `"authorisation"`, bad, "payload.authorization"},
		"signature not hex":    {"0xfeedc0de", "0xfeedc0dg", bad, "payload.signature"},
		"signature half byte":  {"0xfeedc0de", "0xfeedc0d", bad, "payload.signature"},
		"signature without 0x": {"0xfeedc0de", "feedc0de", bad, "payload.signature"},
		"short from":           {"0xf39Fd6", "0xf39Fd", bad, "payload.authorization.from"},
		"to of bad digits":     {`"to":"0x7`, `"to":"0xg`, bad, "payload.authorization.to"},
		"upper-case 0X":        {`"to":"0x`, `"to":"0X`, bad, "payload.authorization.to"},
		"short nonce":          {"ABab", "AB", bad, "payload.authorization.nonce"},
		"nonce of line end":    {`abab"`, `abab\n"`, bad, "payload.authorization.nonce"},
		"validAfter a number":  {`"validAfter":"0"`, `"validAfter":0`, bad, "payload.authorization.validAfter"},
		"validBefore negative": {`"validBefore":"1`, `"validBefore":"-1`, bad, "payload.authorization.validBefore"},
	})
}

func TestA101NetworkForms(t *testing.T) {
	t.Parallel()
	bad := x402.ReasonInvalidNetwork
	rows := map[string]change{}
	for _, id := range []string{"base", "base-sepolia", "EIP155:84532", "eip155:084532", "eip155:0", "eip155:", "eip155:84532 ", "solana:mainnet", ""} {
		rows["v2 "+id] = change{"eip155:84532", id, bad, "accepted.network"}
	}
	checkChanges(t, goodV2, 2, rows)
	rows = map[string]change{}
	for _, name := range []string{"eip155:84532", "Base", "base ", "moon", "", "localhost"} {
		rows["v1 "+name] = change{"base-sepolia", name, bad, "network"}
	}
	checkChanges(t, goodV1, 1, rows)
}

func TestA104AmountForms(t *testing.T) {
	t.Parallel()
	const max = "115792089237316195423570985008687907853269984665640564039457584007913129639935"
	const over = "115792089237316195423570985008687907853269984665640564039457584007913129639936"
	rows := map[string]change{
		"2^256-1 fits": {`"value":"10000"`, `"value":"` + max + `"`, "", ""},
		"zero":         {`"value":"10000"`, `"value":"0"`, "", ""}, // a number; that it is not the amount is found later
	}
	for _, text := range []string{over, "-1", "+1", "01", "1e4", "0x10", "1.0", " 1", "1 ", "", "1_0", "١", strings.Repeat("9", 4000)} {
		rows["value "+fmt.Sprintf("%.20q", text)] = change{`"value":"10000"`, `"value":"` + text + `"`, x402.ReasonInvalidPayload, "payload.authorization.value"}
		rows["amount "+fmt.Sprintf("%.20q", text)] = change{`"amount":"10000"`, `"amount":"` + text + `"`, x402.ReasonInvalidPayload, "accepted.amount"}
	}
	checkChanges(t, goodV2, 2, rows)
}

func TestNonceHasOneSpelling(t *testing.T) {
	t.Parallel()
	p, err := x402.DecodePayment([]byte(goodV2), 2)
	if err != nil || p.Exact.Authorization.Nonce != "0x"+strings.Repeat("ab", 32) {
		t.Errorf("%v %v", err, p)
	}
}

func TestA5SignaturesAreNeverPrinted(t *testing.T) {
	t.Parallel()
	p, err := x402.DecodePayment([]byte(goodV2), 2)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("payment", "p", p, "value", *p, "exact", p.Exact)
	}
	fmt.Fprintf(&out, "%v %+v %#v %s %v %+v %#v", p, p, p, p, *p, *p, p.Exact)
	_, err = x402.DecodePayment([]byte(strings.Replace(goodV2, "0xfeedc0de", "0xfeedc0de!", 1)), 2)
	fmt.Fprint(&out, err)
	_, err = x402.DecodePayment([]byte(strings.Replace(goodV2, `"signature":`, `"feedc0de!":{"a":1,"a":2},"signature":`, 1)), 2)
	fmt.Fprint(&out, err)
	if strings.Contains(out.String(), "feedc0de") || strings.Contains(out.String(), "254, 237") || strings.Contains(out.String(), "254 237") {
		t.Errorf("a signature is in %s", out.String())
	}
}

func TestFacilitatorRequirements(t *testing.T) {
	t.Parallel()
	v1 := strings.NewReplacer(`"amount"`, `"maxAmountRequired"`, "eip155:84532", "base-sepolia").Replace(goodAccepted)
	for _, row := range []struct {
		name    string
		body    string
		version int
		reason  x402.Reason
	}{
		{"v2", goodAccepted, 2, ""},
		{"v1", v1, 1, ""},
		{"v1 said as v2", v1, 2, x402.ReasonInvalidRequirement},
		{"v2 said as v1", goodAccepted, 1, x402.ReasonInvalidRequirement},
		{"unknown name", strings.Replace(v1, "base-sepolia", "moon", 1), 1, x402.ReasonInvalidNetwork},
		{"key twice", strings.Replace(goodAccepted, `"amount"`, `"amount":"1","amount"`, 1), 2, x402.ReasonInvalidRequirement},
		{"key of other case", strings.Replace(goodAccepted, `"amount"`, `"Amount"`, 1), 2, x402.ReasonInvalidRequirement},
		{"null", "null", 2, x402.ReasonInvalidRequirement},
	} {
		r, err := x402.DecodeRequirements([]byte(row.body), row.version)
		if reasonOf(err) != row.reason {
			t.Errorf("%s: %v", row.name, err)
		}
		if row.reason == "" && !x402.Accepts(requirements(), r) {
			t.Errorf("%s: %+v", row.name, r)
		}
	}
}

func TestPaymentIdentifierForms(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		`{"info":{"id":"0123456789abcdef"}}`:                            true,
		`{"info":{"required":false}}`:                                   true,
		`{"info":{"id":"short"}}`:                                       false,
		`{"info":{"id":"0123456789abcdef\n"}}`:                          false,
		`{"info":{"id":"` + strings.Repeat("a", 129) + `"}}`:            false,
		`{"info":{"id":12345678901234567890}}`:                          false,
		`{"id":"0123456789abcdef"}`:                                     false,
		`"0123456789abcdef"`:                                            false,
		`{"info":{"ID":"x"}}`:                                           true, // another key: no id
		`{"info":{"id":"` + strings.Repeat("Z9_-", 32) + `"},"b":null}`: true,
	} {
		_, err := x402.PaymentIdentifier(map[string]json.RawMessage{x402.ExtensionPaymentIdentifier: json.RawMessage(text)})
		if (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzParsePayment(f *testing.F) {
	f.Add(true, b64(goodV2))
	f.Add(false, b64(goodV1))
	f.Add(true, "e30=")
	for _, v := range readVectors(f).Headers {
		f.Add(v.Header == x402.HeaderPaymentSignature, v.Value)
	}
	f.Fuzz(func(t *testing.T, second bool, text string) {
		name := x402.HeaderXPayment
		if second {
			name = x402.HeaderPaymentSignature
		}
		checkFuzzed(t, header(name, text), second)
		checkFuzzed(t, header(name, b64(text)), second) // reaches the JSON without guessing base64
	})
}

func checkFuzzed(t *testing.T, h http.Header, second bool) {
	p, err := x402.ParsePayment(h)
	if err != nil {
		if p != nil || reasonOf(err) == "" || reasonOf(err).Class() == x402.ClassUnknown {
			t.Fatalf("%v with %v", err, p)
		}
		return
	}
	if p == nil {
		return
	}
	if (p.Version == 2) != second || (p.Accepted != nil) != second || (p.Permit2 == nil && p.Scheme != x402.SchemeExact) || !strings.HasPrefix(p.Network, "eip155:") {
		t.Fatalf("version %d, accepted %v, network %s", p.Version, p.Accepted, p.Network)
	}
	again, err := x402.DecodePayment(p.Raw, p.Version)
	if err != nil || again.Exact.Authorization != p.Exact.Authorization || !bytes.Equal(again.Exact.Signature, p.Exact.Signature) {
		t.Fatalf("read again: %v", err)
	}
	if (again.Permit2 == nil) != (p.Permit2 == nil) || p.Permit2 != nil && (again.Nonce() != p.Nonce() || again.Payer() != p.Payer()) {
		t.Fatal("read again: another permit")
	}
	if second && !x402.Accepts(*p.Accepted, *again.Accepted) {
		t.Fatal("what was accepted does not match itself")
	}
}
