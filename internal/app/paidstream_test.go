package app

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"p402.io/p402/internal/devchain"
	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
	"p402.io/p402/settlement/evm"
	"p402.io/p402/settlement/x402"
)

// Models with a price, as only such can be sold, behind which the mock vendor behaves in a way of its own.
const (
	slowModel   = "gpt-3.5-turbo-0613"     // 40 chunks in 4 s
	endless     = "gpt-3.5-turbo-16k"      // 200 chunks in 10 s
	cuttingOff  = "gpt-3.5-turbo-1106"     // breaks off after 5 s
	failingLate = "gpt-3.5-turbo-16k-0613" // an error instead of a second chunk
	counting    = "gpt-3.5-turbo-instruct" // 1,000 tokens read, 500 written
)

func moodyModels() map[string]string {
	return map[string]string{slowModel: "mock/frames-40+slow-frame-100", endless: "mock/frames-200+slow-frame-50",
		cuttingOff: "mock/frames-60+slow-frame-100+cut-after-50", failingLate: "mock/error-in-stream", counting: "mock/tokens-1000-500"}
}

const streamBody = `{"stream":true,"messages":[{"role":"user","content":"hello"}]}`

// onSale puts a workflow of a model on sale and returns its public path; edit changes the price.
func (u user) onSale(workflowID, model string, edit func(p *meter.Price)) string {
	u.t.Helper()
	price := &meter.Price{Model: "per_call", AmountUSD: money.MustUSD("0.01"), PayTo: devchain.Lookup("seller").Address, Network: devchain.Network,
		Asset: devchain.USDCAddress, Scheme: "exact", WaitFor: "included"}
	if edit != nil {
		edit(price)
	}
	_, err := u.h.app.Store.PutWorkflow(u.t.Context(), meter.Workflow{TenantID: u.tenant, WorkflowID: workflowID, Name: "For sale",
		Target: meter.Target{Kind: "model", Model: model}, State: meter.WorkflowLive, Price: price})
	if err != nil {
		u.t.Fatal(err)
	}
	return "/x/" + u.slug + "/" + workflowID
}

func onCredit(p *meter.Price) {
	p.WaitFor, p.Credit = "authorized", &meter.Credit{PerPayerUSD: money.MustUSD("0.02"), TotalUSD: money.MustUSD("0.03")}
}

// pay signs the first way of an offer.
func (u user) pay(path, body, payer string) string {
	u.t.Helper()
	text, err := evm.SignPayment(u.offer(path, body), 0, devchain.Lookup(payer).Key, time.Now())
	if err != nil {
		u.t.Fatal(err)
	}
	return text
}

// stream is a paid stream while it is read.
type stream struct {
	res    *http.Response
	lines  *bufio.Scanner
	cancel context.CancelFunc
}

func (u user) stream(path, payment string) *stream {
	u.t.Helper()
	ctx, cancel := context.WithCancel(u.t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", u.h.base+path, strings.NewReader(streamBody))
	if err != nil {
		u.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(x402.HeaderPaymentSignature, payment)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { cancel(); _ = res.Body.Close() })
	return &stream{res: res, lines: bufio.NewScanner(res.Body), cancel: cancel}
}

// next is the next event's data, "" at the end.
func (s *stream) next() string {
	for s.lines.Scan() {
		if data, ok := strings.CutPrefix(s.lines.Text(), "data: "); ok {
			return data
		}
	}
	return ""
}

func (s *stream) rest() (n int, last string) {
	for data := s.next(); data != ""; data = s.next() {
		n, last = n+1, data
	}
	return n, last
}

// eventually polls what another goroutine of the house brings about.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("not after 20 s: %s", what)
		}
	}
}

// only is the one object of a list.
func (u user) only(path string) map[string]any {
	u.t.Helper()
	rows := u.must(200, "GET", path, nil)["data"].([]any)
	if len(rows) != 1 {
		u.t.Fatalf("%s: %d rows, want 1", path, len(rows))
	}
	return rows[0].(map[string]any)
}

// TestS2_APaidStreamIsLiveOnceItIsPaid: the payment is in a block before the first byte, and the rest comes as the vendor makes it.
func TestS2_APaidStreamIsLiveOnceItIsPaid(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	path := u.onSale("live.demo", slowModel, nil)
	s := u.stream(path, u.pay(path, streamBody, "payer-2"))
	if s.res.StatusCode != 200 || s.res.Header.Get(x402.HeaderPaymentResponse) == "" || s.res.Header.Get("X-P402-Receipt-ID") == "" {
		t.Fatalf("status %d, headers %v", s.res.StatusCode, s.res.Header)
	}
	s.next()
	began := time.Now()
	n, last := s.rest()
	if last != "[DONE]" || n < 40 {
		t.Fatalf("%d events, the last is %.40q", n, last)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("the rest of a stream of 4 s came within %s: it was held back", took)
	}
	e := u.only("/api/v2/meter/events")
	p := u.only("/api/v2/payments")
	if e["receipt_status"] != "settled" || e["state"] != "final" || p["event_id"] != e["event_id"] || e["revenue_usd"] != "0.010000000000" {
		t.Errorf("status %v, state %v, revenue %v, payment of %v", e["receipt_status"], e["state"], e["revenue_usd"], p["event_id"])
	}
}

// TestS5_AStreamThatBreaksOffIsOwedBack: exact sells the whole. The vendor's failure is never answered by a fresh price.
func TestS5_AStreamThatBreaksOffIsOwedBack(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	path := u.onSale("cut.demo", cuttingOff, nil)
	s := u.stream(path, u.pay(path, streamBody, "payer-2"))
	if n, last := s.rest(); n < 50 || !strings.Contains(last, "PROVIDER_ERROR") {
		t.Errorf("%d events, the last is %.40q", n, last)
	}
	eventually(t, "a refund is due", func() bool {
		var n int
		u.h.query(t, &n, "SELECT count(*) FROM refunds WHERE tenant_id = $1 AND state = 'due'", u.tenant)
		return n == 1
	})
	if e := u.only("/api/v2/meter/events"); e["success"] != false || e["revenue_usd"] != "0.000000000000" {
		t.Errorf("success %v, revenue %v", e["success"], e["revenue_usd"])
	}

	path = u.onSale("bad.demo", failingLate, nil)
	if r := (user{t: t, h: u.h}).do("POST", path, streamBody, x402.HeaderPaymentSignature+": "+u.pay(path, streamBody, "payer-2")); r.status == 402 {
		t.Errorf("a vendor's failure was answered by %d %.200s", r.status, r.body)
	}
}

// TestA114_APayerWhoLeavesAStreamPaysForIt: nearly all of an answer is not free.
func TestA114_APayerWhoLeavesAStreamPaysForIt(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	path := u.onSale("leave.demo", endless, nil)
	payment := u.pay(path, streamBody, "payer-2")
	s := u.stream(path, payment)
	for range 5 {
		s.next()
	}
	s.cancel()
	eventually(t, "the event is closed", func() bool { return u.only("/api/v2/meter/events")["state"] == "final" })
	e := u.only("/api/v2/meter/events")
	if e["success"] != false || e["revenue_usd"] != "0.010000000000" {
		t.Errorf("success %v, revenue %v", e["success"], e["revenue_usd"])
	}
	var owed, open int
	u.h.query(t, &owed, "SELECT count(*) FROM refunds WHERE tenant_id = $1", u.tenant)
	u.h.query(t, &open, "SELECT count(*) FROM payments WHERE tenant_id = $1 AND delivered_at IS NULL", u.tenant)
	if owed != 0 || open != 0 {
		t.Errorf("%d refunds, %d payments whose answer still is to leave", owed, open)
	}
	again := user{t: t, h: u.h}.do("POST", path, streamBody, x402.HeaderPaymentSignature+": "+payment)
	if code, _, _ := again.fault(t); code != "REPLAY_DETECTED" {
		t.Errorf("sent again: %d %s", again.status, code)
	}
}

// TestA114_CreditLetsTheAnswerLeaveFirst within the seller's limits; beyond them the call waits for its payment.
func TestA114_CreditLetsTheAnswerLeaveFirst(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	path := u.onSale("credit.demo", "mock-small", onCredit)
	s := u.stream(path, u.pay(path, streamBody, "payer-2"))
	if _, last := s.rest(); s.res.StatusCode != 200 || last != "[DONE]" {
		t.Fatalf("status %d, last %q", s.res.StatusCode, last)
	}
	eventually(t, "the payment is collected", func() bool {
		e := u.only("/api/v2/meter/events")
		return e["receipt_status"] == "settled" && e["revenue_usd"] == "0.010000000000"
	})
	// A plain answer on credit, and one that the limit of one call's half does not admit.
	plain := u.onSale("credit.plain", "mock-small", func(p *meter.Price) { onCredit(p); p.Credit.PerPayerUSD = money.MustUSD("0.005") })
	r := user{t: t, h: u.h}.do("POST", plain, soldBody, x402.HeaderPaymentSignature+": "+u.pay(plain, soldBody, "payer-2"))
	if r.status != 200 || r.header.Get("X-P402-Receipt-ID") == "" {
		t.Errorf("beyond the limit the answer comes with its receipt: %d %v", r.status, r.header)
	}
}

// TestA145_NothingThatDependsOnAPaymentMayBeKeptByACache: offers, refusals, answers and streams.
func TestA145_NothingThatDependsOnAPaymentMayBeKeptByACache(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	stranger := user{t: t, h: u.h}
	path := u.sell("cache.demo")
	payment := u.pay(path, soldBody, "payer-2")
	for _, row := range []struct {
		name   string
		status int
		answer reply
	}{
		{"an offer", 402, stranger.do("POST", path, soldBody)},
		{"a paid answer", 200, stranger.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+payment)},
		{"a repeated payment", 409, stranger.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+payment)},
		{"a paid stream", 200, stranger.do("POST", path, streamBody, x402.HeaderPaymentSignature+": "+u.pay(path, streamBody, "payer-2"))},
		{"a bad request", 400, stranger.do("POST", path, "{")},
		{"nothing for sale", 404, stranger.do("POST", path+"x", soldBody)},
	} {
		kept, vary := row.answer.header.Get("Cache-Control"), strings.Join(row.answer.header.Values("Vary"), ", ")
		if row.answer.status != row.status || !strings.Contains(kept, "no-store") || !strings.Contains(kept, "private") || !strings.Contains(vary, x402.HeaderPaymentSignature) {
			t.Errorf("%s: %d, Cache-Control %q, Vary %q", row.name, row.answer.status, kept, vary)
		}
	}
}

// TestS14_APauseStopsNewRunsAtOnceAndLetsPaidOnesFinish.
func TestS14_APauseStopsNewRunsAtOnceAndLetsPaidOnesFinish(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	path := u.onSale("pause.demo", slowModel, nil)
	waiting := u.pay(path, soldBody, "payer-2")
	s := u.stream(path, u.pay(path, streamBody, "payer-2"))
	s.next()
	if err := u.pause("pause.demo"); err != nil {
		t.Fatal(err)
	}
	stranger := user{t: t, h: u.h}
	for name, r := range map[string]reply{"an offer": stranger.do("POST", path, soldBody),
		"a payment for an open offer": stranger.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+waiting)} {
		if code, _, _ := codeIfAny(r); r.status != 503 || code != "WORKFLOW_NOT_LIVE" {
			t.Errorf("%s: %d %s", name, r.status, code)
		}
	}
	if _, last := s.rest(); last != "[DONE]" {
		t.Errorf("the paid stream ended with %.60q", last)
	}
	u.only("/api/v2/payments")
}

// query reads one value behind the house's back.
func (h *house) query(t *testing.T, into any, sql string, args ...any) {
	t.Helper()
	db, err := pgx.Connect(t.Context(), h.database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(t.Context()) }() // it was read
	if err := db.QueryRow(t.Context(), sql, args...).Scan(into); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
