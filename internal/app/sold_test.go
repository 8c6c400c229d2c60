package app

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"p402.io/p402/internal/devchain"
	"p402.io/p402/meter"
	"p402.io/p402/settlement/evm"
	"p402.io/p402/settlement/x402"
)

const soldBody = `{"messages":[{"role":"user","content":"hello"}]}`

// offer asks for a run without paying.
func (u user) offer(path, body string) x402.PaymentRequired {
	u.t.Helper()
	r := user{t: u.t, h: u.h}.do("POST", path, body)
	var out x402.PaymentRequired
	if err := x402.DecodeHeader(r.header.Get(x402.HeaderPaymentRequired), &out); err != nil || r.status != http.StatusPaymentRequired {
		u.t.Fatalf("offer of %s: %d %v: %.300s", path, r.status, err, r.body)
	}
	return out
}

// signed pays an offer as of a moment; edit changes the payload after it is signed.
func signed(t *testing.T, o x402.PaymentRequired, at time.Time, edit func(payload map[string]any)) string {
	t.Helper()
	text, err := evm.SignPayment(o, 0, devchain.Lookup("payer-2").Key, at)
	if err != nil {
		t.Fatal(err)
	}
	if edit == nil {
		return text
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	var payload map[string]any
	if err := json.Unmarshal(raw, &payload); err != nil {
		t.Fatal(err)
	}
	edit(payload)
	if text, err = x402.EncodeHeader(payload); err != nil {
		t.Fatal(err)
	}
	return text
}

// Each way a payment can be wrong has its own reason, a fresh offer, and no run (S3). What is changed is signed for, so the
// signature itself is good wherever it is not the row's point.
func TestS3_TestA97_TestA99_TestA101_TestA104_AWrongPaymentHasItsOwnReason(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	path, other := u.sell("s3.demo"), u.sell("s3.other")
	good := u.offer(path, soldBody)
	with := func(change func(r *x402.PaymentRequirements)) x402.PaymentRequired {
		o := good
		o.Accepts = append([]x402.PaymentRequirements(nil), good.Accepts...)
		change(&o.Accepts[0])
		return o
	}
	// authorized signs other facts than the offer that is echoed.
	authorized := func(change func(r *x402.PaymentRequirements)) string {
		return signed(t, with(change), time.Now(), func(p map[string]any) { p["accepted"] = good.Accepts[0] })
	}
	now := time.Now()
	seen := map[string]string{}
	for _, row := range []struct{ name, payment, reason string }{
		{"not base64", "%%%", ""},
		{"not JSON", base64.StdEncoding.EncodeToString([]byte("hello")), ""},
		{"one unit too little", authorized(func(r *x402.PaymentRequirements) { r.Amount = "9999" }), "value"},
		{"one unit too much", authorized(func(r *x402.PaymentRequirements) { r.Amount = "10001" }), "value"},
		{"another payee", authorized(func(r *x402.PaymentRequirements) { r.PayTo = devchain.Lookup("payer-1").Address }), "recipient"},
		{"another token's signature", authorized(func(r *x402.PaymentRequirements) { r.Asset = devchain.Lookup("payer-1").Address }), "signature"},
		{"over already", signed(t, good, now.Add(-2*time.Hour), nil), "valid_before"},
		{"a changed signature", signed(t, good, now, func(p map[string]any) { flip(p) }), "signature"},
		{"another resource's offer", signed(t, u.offer(other, soldBody), now, nil), ""},
		{"an offer for another body", signed(t, u.offer(path, `{"messages":[{"role":"user","content":"other"}]}`), now, nil), ""},
		{"an edited offer", signed(t, with(func(r *x402.PaymentRequirements) { r.Amount = "1" }), now, nil), ""},
		{"another network", signed(t, with(func(r *x402.PaymentRequirements) { r.Network = "eip155:8453" }), now, nil), ""},
	} {
		r := user{t: t, h: h}.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+row.payment)
		code, _, _ := r.fault(t)
		var fresh x402.PaymentRequired
		if err := x402.DecodeHeader(r.header.Get(x402.HeaderPaymentRequired), &fresh); err != nil || r.status != 402 || code != "PAYMENT_REQUIRED" {
			t.Errorf("%s: %d %s without a fresh offer (%v): %.300s", row.name, r.status, code, err, r.body)
			continue
		}
		if fresh.Error == "" || !strings.Contains(fresh.Error, row.reason) {
			t.Errorf("%s: reason %q, want one about %s", row.name, fresh.Error, row.reason)
		}
		seen[fresh.Error] = row.name
	}
	if len(seen) < 6 {
		t.Errorf("the faults share %d reasons: %v", len(seen), seen)
	}
	if got := u.must(200, "GET", "/api/v2/meter/events", nil)["data"].([]any); len(got) != 0 {
		t.Errorf("%d runs without a payment", len(got))
	}
	if got := u.must(200, "GET", "/api/v2/payments", nil)["data"].([]any); len(got) != 0 {
		t.Errorf("%d payments were claimed", len(got))
	}
}

// flip changes one digit in the middle of the signature.
func flip(payload map[string]any) {
	inner := payload["payload"].(map[string]any)
	text := []byte(inner["signature"].(string))
	if text[40]++; text[40] > '9' {
		text[40] = '0'
	}
	inner["signature"] = string(text)
}

// One payment buys one run; the other surfaces of a sale say clearly what they will not do.
func TestS4_TestA95_APaymentThatIsSentAgainBuysNothing(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	path := u.sell("s4.demo")
	payment, err := evm.SignPayment(u.offer(path, soldBody), 0, devchain.Lookup("payer-3").Key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	stranger := user{t: t, h: h}
	if r := stranger.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+payment); r.status != 200 {
		t.Fatalf("the payment: %d %.300s", r.status, r.body)
	}
	again := stranger.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+payment)
	if code, _, _ := again.fault(t); again.status != 409 || code != "REPLAY_DETECTED" {
		t.Errorf("again: %d %s", again.status, code)
	}
	if n := len(u.must(200, "GET", "/api/v2/meter/events", nil)["data"].([]any)); n != 1 {
		t.Errorf("%d runs, want 1", n)
	}
	if err := u.pause("s4.demo"); err != nil {
		t.Fatal(err)
	}
	stranger.refuses([]badInput{
		{name: "a paused workflow", path: path, body: soldBody, status: 503, code: "WORKFLOW_NOT_LIVE"},
		{name: "nothing for sale", path: "/x/" + u.slug + "/nothing", body: soldBody, status: 404, code: "NOT_FOUND"},
		{name: "no such seller", path: "/x/nobody/s4.demo", body: soldBody, status: 404, code: "NOT_FOUND"},
		{name: "a method nobody sells", method: "DELETE", path: path, status: 405, code: "METHOD_NOT_ALLOWED"},
	})
}

func (u user) pause(workflowID string) error {
	w, err := u.h.app.Store.Workflow(u.t.Context(), u.tenant, workflowID)
	if err != nil {
		return err
	}
	w.State = meter.WorkflowPaused
	_, err = u.h.app.Store.PutWorkflow(u.t.Context(), w)
	return err
}

// What others' servers send to the facilitator: malformed requests are 400, payments that are wrong are an answer.
func TestFacilitatorRefusals(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	rows := []badInput{}
	for _, path := range []string{"/x402/verify", "/x402/settle"} {
		rows = append(rows,
			badInput{name: path + ": no body", method: "POST", path: path, body: "", status: 400, code: "INVALID_INPUT"},
			badInput{name: path + ": not JSON", path: path, body: "hello", status: 400, code: "INVALID_INPUT"},
			badInput{name: path + ": no payload", path: path, body: `{"x402Version":2,"paymentRequirements":{}}`, status: 400, code: "INVALID_INPUT"},
			badInput{name: path + ": no requirements", path: path, body: `{"x402Version":2,"paymentPayload":{}}`, status: 400, code: "INVALID_INPUT"},
			badInput{name: path + ": a name twice", path: path, body: `{"x402Version":2,"x402Version":1,"paymentPayload":{},"paymentRequirements":{}}`, status: 400, code: "INVALID_INPUT"},
			badInput{name: path + ": a name twice inside", path: path, body: `{"x402Version":2,"paymentPayload":{"payload":{"signature":"0x","signature":"0x00"}},"paymentRequirements":{}}`, status: 400, code: "INVALID_INPUT", param: "paymentPayload.payload"},
			badInput{name: path + ": a name in two cases", path: path, body: `{"x402Version":2,"paymentPayload":{},"paymentRequirements":{},"PaymentRequirements":{}}`, status: 400, code: "INVALID_INPUT"},
			badInput{name: path + ": an unknown version", path: path, body: `{"x402Version":7,"paymentPayload":{},"paymentRequirements":{}}`, status: 400, code: "INVALID_INPUT", param: "x402Version"},
			badInput{name: path + ": too large", path: path, body: `{"x402Version":2,"a":"` + strings.Repeat("x", 1<<20) + `"}`, status: 413, code: "BODY_TOO_LARGE"},
		)
	}
	u.refuses(rows)
	r := u.must(200, "POST", "/x402/verify", `{"x402Version":2,"paymentPayload":{"x402Version":2,"payload":{},"accepted":{}},"paymentRequirements":{"scheme":"exact"}}`)
	if r["isValid"] != false || r["invalidReason"] == "" {
		t.Errorf("an empty payment: %v", r)
	}
}
