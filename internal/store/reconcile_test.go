package store_test

import (
	"crypto/ed25519"
	"fmt"
	"testing"
	"time"

	"p402.io/p402/gateway/call"
	"p402.io/p402/internal/journal"
	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/reconcile"
)

const (
	net   = "eip155:84532"
	token = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
	purse = "0x1111111111111111111111111111111111111111"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// metered records one unpaid call as the gateway does.
func (h house) metered(t *testing.T, at time.Time, model, cost string, change func(*meter.Event)) meter.Event {
	t.Helper()
	e := h.event()
	e.State, e.Provider, e.ModelUsed, e.EventTime, e.FinalizedAt = meter.EventFinal, "openai", model, at, &at
	e.Usage = meter.Usage{InputTokens: 1000, OutputTokens: 100}
	e.Attribution = meter.Attribution{Dimensions: map[string]string{meter.DimWorkflow: "w"}}
	c := call.Closing{Fresh: true}
	if cost != "" {
		usd := money.MustUSD(cost)
		e.CostUSD, e.CostState = &usd, meter.CostPriced
		c.Entries = journal.Move(journal.AccountCostOfCalls, journal.AccountProviderOwed, usd, "call")
	}
	if change != nil {
		change(&e)
	}
	c.Event = e
	must(t, h.Close(t.Context(), c))
	return e
}

// sale records one paid call to its end: claimed, captured, seen on chain, receipted, delivered. The transfer is returned,
// not stored.
func (h house) sale(t *testing.T, n int, at time.Time) (settlement.Payment, reconcile.Transfer) {
	t.Helper()
	e := h.event()
	price := money.Atomic(int64(n) + 1000).USD()
	e.Source, e.EventTime, e.RevenueUSD, e.Deadline = "sold", at, &price, at.Add(time.Hour)
	e.Attribution = meter.Attribution{Dimensions: map[string]string{meter.DimWorkflow: "sold"}}
	a := settlement.Authorization{Network: net, Asset: token, Payer: fmt.Sprintf("0x%040d", n%7+1), PayTo: purse, Value: money.Atomic(int64(n) + 1000),
		Nonce: fmt.Sprintf("0x%064x", n), Signature: []byte{1}}
	terms := settlement.Terms{TenantID: h.tenant, WorkflowID: "sold", Network: net, Asset: token, PayTo: purse, Amount: a.Value, Scheme: "exact"}
	p := settlement.Claim(h.ids.Payment(), terms, a, e.ID, at, at.Add(time.Minute))
	must(t, h.Open(t.Context(), call.Opening{Event: e, Payment: &p, Funds: call.Funds{Balance: money.Atomic(1_000_000_000), At: at}}))
	captured, m, err := p.Advance(settlement.Evidence{Kind: settlement.EvidenceCapture}, at)
	must(t, err)
	e.State, e.FinalizedAt, e.ReceiptStatus = meter.EventFinal, &at, "pending"
	must(t, h.Close(t.Context(), call.Closing{Event: e, PaymentMove: &m}))
	x := reconcile.Transfer{Network: net, Asset: token, From: a.Payer, To: purse, Amount: a.Value, Nonce: a.Nonce, TxHash: fmt.Sprintf("0x%064x", 7000+n), LogIndex: 1,
		BlockNumber: uint64(100 + n), BlockHash: fmt.Sprintf("0x%064x", 9000+n), BlockTime: at.Add(2 * time.Second)}
	included, m, err := captured.Advance(settlement.Evidence{Kind: settlement.EvidenceSeen, TxHash: x.TxHash, BlockNumber: x.BlockNumber, BlockHash: x.BlockHash, LogIndex: 1}, at)
	must(t, err)
	r, err := settlement.NewIssuer("p402", ed25519.NewKeyFromSeed(make([]byte, 32))).NewReceipt(h.ids.Receipt(), included)
	must(t, err)
	included.ReceiptID = r.ReceiptID
	must(t, h.Record(t.Context(), included, m, &r))
	must(t, h.Deliver(t.Context(), call.Delivery{Tenant: h.tenant, EventID: e.ID, At: at, Bytes: 10, Whole: true, Earned: true}))
	return included, x
}

// follow reads transfers as the indexer would, up to a block at the present.
func (h house) follow(t *testing.T, transfers []reconcile.Transfer) {
	t.Helper()
	must(t, h.Follow(t.Context(), reconcile.Wallet{Network: net, Asset: token, Address: purse, StartBlock: 1, NextBlock: 1, Opening: &money.USDC{}}))
	now := clock()
	must(t, h.See(t.Context(), reconcile.Sight{Network: net, HeadNumber: 5000, HeadTime: &now, SeenAt: &now}))
	must(t, h.Advance(t.Context(), reconcile.Range{Network: net, Asset: token, Addresses: []string{purse}, From: 1, To: 5000}, transfers,
		reconcile.Block{Number: 5000, Hash: "0x05", Time: now}))
}

func (h house) reconcile(t *testing.T) reconcile.Run {
	t.Helper()
	r := &reconcile.Reconciler{Source: h.Store, IDs: h.ids, Now: clock}
	run, err := r.Run(t.Context(), reconcile.Request{Scope: reconcile.Scope{TenantID: h.tenant, Since: clock().AddDate(0, 0, -14), Until: clock()},
		Tolerance: reconcile.Tolerance{Percent: money.MustUSD("0.5"), USD: money.MustUSD("0.01")}})
	must(t, err)
	return run
}

func (h house) exceptions(t *testing.T, open bool) map[reconcile.Reason]reconcile.Exception {
	t.Helper()
	list, err := h.Exceptions(t.Context(), storeFilter(h, open), nil, "", 1000)
	must(t, err)
	out := map[reconcile.Reason]reconcile.Exception{}
	for _, e := range list {
		out[e.Finding.Reason] = e
	}
	return out
}

func TestF6_RunOverRealRowsFindsWhatIsPlantedAndNothingElse(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	at := clock().Add(-48 * time.Hour)
	var transfers []reconcile.Transfer
	for n := range 20 {
		_, x := h.sale(t, n, at.Add(time.Duration(n)*time.Minute))
		transfers = append(transfers, x)
	}
	transfers[3].Amount = money.Atomic(1) // underpaid, and the receipt says so too
	lost := transfers[5]                  // on no chain
	transfers[5] = reconcile.Transfer{Network: net, Asset: token, From: "0x9999999999999999999999999999999999999999", To: purse, Amount: money.Atomic(77), TxHash: "0xfeed", LogIndex: 4, BlockNumber: 300, BlockHash: "0x01", BlockTime: at}
	h.follow(t, transfers)
	run := h.reconcile(t)
	got := h.exceptions(t, true)
	if run.Found != 3 || run.New != 3 || len(got) != 3 || got[reconcile.ReasonUnderpaid].ID == "" || got[reconcile.ReasonNotOnChain].ID == "" || got[reconcile.ReasonUnknownTransfer].ID == "" {
		t.Fatalf("%+v\n%+v", run, got)
	}
	if run.Settlement.Matched != 18 || !run.Complete {
		t.Fatalf("%+v %v", run.Settlement, run.Missing)
	}
	again := h.reconcile(t)
	if again.Digest != run.Digest || again.New != 0 || again.Found != 3 || again.Cleared != 0 {
		t.Errorf("the second run differs: %+v", again)
	}
	// The chain shows the lost one after all: its difference is cleared, the others stay as they were.
	_, err := h.Unwind(t.Context(), net, 0, clock())
	must(t, err)
	h.follow(t, append(transfers, lost))
	if after := h.reconcile(t); after.Cleared != 1 || after.New != 0 || after.Found != 2 || len(h.exceptions(t, true)) != 2 {
		t.Errorf("%+v", after)
	}
}

func TestF7_APersonsDecisionSurvivesEveryRun(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	at := clock().Add(-24 * time.Hour)
	_, x := h.sale(t, 1, at)
	gift := reconcile.Transfer{Network: net, Asset: token, From: "0x9999999999999999999999999999999999999999", To: purse, Amount: money.Atomic(5_000_000), TxHash: "0xfeed", LogIndex: 4, BlockNumber: 300, BlockHash: "0x01", BlockTime: at}
	h.follow(t, []reconcile.Transfer{x, gift})
	h.reconcile(t)
	open := h.exceptions(t, true)[reconcile.ReasonUnknownTransfer]
	decision := reconcile.Decision{State: reconcile.ExceptionAdjusted, By: "Ada", Note: "deposit by the owner", At: clock()}
	if _, err := h.Decide(t.Context(), h.tenant, true, string(open.ID), decision); err == nil {
		t.Error("a live key decided in the test ledger")
	}
	decided, err := h.Decide(t.Context(), h.tenant, false, string(open.ID), decision)
	must(t, err)
	if decided.NeedsDecision() || decided.Posting == "" {
		t.Fatalf("%+v", decided)
	}
	for range 3 {
		h.reconcile(t)
	}
	kept := h.exceptions(t, false)[reconcile.ReasonUnknownTransfer]
	if kept.ID != open.ID || kept.State != reconcile.ExceptionAdjusted || kept.DecidedBy != "Ada" || len(h.exceptions(t, true)) != 0 {
		t.Fatalf("%+v", kept)
	}
	balances, err := h.TrialBalance(t.Context(), h.tenant, false, clock().Add(time.Hour))
	must(t, err)
	if balances[journal.AccountSuspense].String() != "-5" {
		t.Errorf("suspense is %s", balances[journal.AccountSuspense])
	}
	// Taken back: the posting is reversed, and the history has both.
	_, err = h.Decide(t.Context(), h.tenant, false, string(open.ID), reconcile.Decision{State: reconcile.ExceptionOpen, By: "Bob", Note: "not the owner's", At: clock()})
	must(t, err)
	balances, err = h.TrialBalance(t.Context(), h.tenant, false, clock().Add(time.Hour))
	must(t, err)
	history, err := h.Decisions(t.Context(), h.tenant, string(open.ID))
	must(t, err)
	if !balances[journal.AccountSuspense].IsZero() || len(history) != 2 || len(h.exceptions(t, true)) != 1 {
		t.Errorf("suspense %s, %d decisions", balances[journal.AccountSuspense], len(history))
	}
}

func TestDecisionDoesNotCoverAnotherAmount(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	day := clock().AddDate(0, 0, -2)
	h.metered(t, day, "m", "10", nil)
	bring(t, h, reconcile.FormatGeneric, "model,day,cost\nm,"+day.Format(time.DateOnly)+",11\n")
	h.reconcile(t)
	e := h.exceptions(t, true)[reconcile.ReasonBillHigher]
	_, err := h.Decide(t.Context(), h.tenant, false, string(e.ID), reconcile.Decision{State: reconcile.ExceptionWaived, By: "Ada", Note: "one dollar", At: clock()})
	must(t, err)
	if h.reconcile(t); len(h.exceptions(t, true)) != 0 {
		t.Fatal("waived, yet open")
	}
	bring(t, h, reconcile.FormatGeneric, "model,day,cost,id\nm,"+day.Format(time.DateOnly)+",500,late\n")
	h.reconcile(t)
	if got := h.exceptions(t, true)[reconcile.ReasonBillHigher]; got.ID != e.ID || got.State != reconcile.ExceptionWaived || got.Finding.Amount.String() != "501" {
		t.Fatalf("a waiver for 1 dollar covers %s", got.Finding.Amount)
	}
}

func TestF5_TheSameFileTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	day := clock().AddDate(0, 0, -2)
	h.metered(t, day, "gpt-4o", "2.5", nil)
	file := "model,day,cost\ngpt-4o," + day.Format(time.DateOnly) + ",2.5\n"
	if !bring(t, h, reconcile.FormatGeneric, file) || bring(t, h, reconcile.FormatGeneric, file) {
		t.Fatal("the second import was taken for a new one")
	}
	run := h.reconcile(t)
	if run.Cost.Matched != 1 || run.Found != 0 || run.Cost.BilledUSD.String() != "2.5" {
		t.Fatalf("%+v", run.Cost)
	}
	// A month-to-date export taken again replaces the older one, whatever grew meanwhile.
	activity := func(usage string) string {
		return `{"data":[{"date":"` + day.Format(time.DateOnly) + `","model":"openai/gpt-4o","usage":` + usage + `,"requests":1,"prompt_tokens":1000,"completion_tokens":100}]}`
	}
	h.metered(t, day, "openai/gpt-4o", "3", func(e *meter.Event) { e.Provider = "openrouter" })
	bring(t, h, reconcile.FormatOpenRouter, activity("1.5"))
	bring(t, h, reconcile.FormatOpenRouter, activity("3e0"))
	if run = h.reconcile(t); run.Cost.Matched != 2 || run.Found != 0 {
		t.Fatalf("%+v", run.Cost)
	}
}

func TestBlindIndexNeverMakesACompleteRun(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.sale(t, 1, clock().Add(-24*time.Hour))
	run := h.reconcile(t)
	if run.Complete || run.Settlement.NotJudgeable != 1 || run.Found != 0 || len(run.Wallets) != 1 || run.Wallets[0].View != reconcile.ViewBlind {
		t.Fatalf("%+v", run)
	}
}

func TestLedgersOwnGapsAreFound(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	day := clock().AddDate(0, 0, -3)
	first := h.metered(t, day, "m", "1", func(e *meter.Event) { e.UpstreamID = "up-1" })
	second := h.metered(t, day.Add(time.Second), "m", "1", func(e *meter.Event) { e.UpstreamID = "up-1" })
	h.metered(t, day, "new-model", "", nil)
	h.metered(t, day, "m", "0.25", func(e *meter.Event) { e.Attribution = meter.Attribution{} })
	h.reconcile(t)
	got := h.exceptions(t, true)
	twice := got[reconcile.ReasonVendorCallTwice]
	if twice.Finding.Subject.EventID != string(second.ID) || twice.Finding.Detail != string(first.ID) || got[reconcile.ReasonNoPrice].ID == "" ||
		got[reconcile.ReasonNoOwner].Finding.Amount.String() != "0.25" || len(got) != 3 {
		t.Fatalf("%+v", got)
	}
}
