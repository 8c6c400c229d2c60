package store_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"p402.io/p402/gateway/call"
	"p402.io/p402/internal/journal"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

func TestF1_JournalEqualsTheSubLedgerToTheLastDigit(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	rng := rand.New(rand.NewPCG(1, 2))
	since := clock().AddDate(0, 0, -5)
	total, sold := money.Zero, money.Zero
	for n := range 60 {
		at := since.Add(time.Duration(rng.IntN(5*24*3600)) * time.Second)
		cost := fmt.Sprintf("%d.%018d", rng.IntN(50), rng.Int64N(1_000_000_000_000_000_000))
		h.metered(t, at, fmt.Sprintf("model-%d", n%4), cost, func(e *meter.Event) {
			e.Attribution = meter.Attribution{Dimensions: map[string]string{meter.DimWorkflow: fmt.Sprintf("w%d", n%3)}}
		})
		total = total.Add(money.MustUSD(cost))
		if n < 20 {
			p, _ := h.sale(t, n, at)
			sold = sold.Add(p.Amount.USD())
		}
	}
	l, err := h.SubLedger(t.Context(), h.tenant, false, since, clock(), clock().Add(time.Hour))
	must(t, err)
	if !l.Equal() || l.CostEvents.Cmp(total) != 0 || l.RevenueSettled.Cmp(sold) != 0 || l.CostJournal.IsZero() || l.RevenueJournal.IsZero() {
		t.Fatalf("%+v; the test added up %s and %s", l, total, sold)
	}
	// By any grouping, the groups' sum is the grand total.
	for _, by := range []string{"model", "workflow_id", "day", "provider", "customer_id", "month"} {
		rows, all, err := h.Summary(t.Context(), store.Filter{TenantID: h.tenant}, by)
		must(t, err)
		sum := money.Zero
		for _, r := range rows {
			sum = sum.Add(r.CostUSD)
		}
		if sum.Cmp(all.CostUSD) != 0 || all.CostUSD.Cmp(total) != 0 {
			t.Errorf("by %s: %s of %s", by, sum, all.CostUSD)
		}
	}
	// A missing posting shows.
	h.metered(t, since, "m", "", func(e *meter.Event) {
		usd := money.MustUSD("0.000000000000000001")
		e.CostUSD, e.CostState = &usd, meter.CostPriced
	})
	if l, err = h.SubLedger(t.Context(), h.tenant, false, since, clock(), clock().Add(time.Hour)); err != nil || l.Equal() {
		t.Errorf("an event that nobody posted went unnoticed: %+v %v", l, err)
	}
}

func TestF14_JournalBalancesEachDayAndRefusesWhatDoesNot(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for n := range 30 {
		h.metered(t, clock().Add(-time.Duration(n)*7*time.Hour), "m", fmt.Sprintf("0.%d", n+1), nil)
		h.sale(t, n, clock().Add(-time.Duration(n)*5*time.Hour))
	}
	days, err := h.DailyBalances(t.Context(), h.tenant, false, time.UTC)
	must(t, err)
	if len(days) < 8 {
		t.Fatalf("only %d days", len(days))
	}
	for day, sum := range days {
		if !sum.IsZero() {
			t.Errorf("%s sums to %s", day, sum)
		}
	}
	e := h.event()
	at := clock()
	e.State, e.FinalizedAt = meter.EventFinal, &at
	half := journal.Move(journal.AccountCostOfCalls, journal.AccountProviderOwed, money.MustUSD("1"), "call")[:1]
	if err := h.Close(t.Context(), call.Closing{Fresh: true, Event: e, Entries: half}); err == nil {
		t.Error("half a posting was stored")
	}
}

func TestEveryLineNamesItsRateAndItsOwner(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	at := clock().Add(-50 * time.Hour)
	e := h.metered(t, at, "m", "0.5", nil)
	p, _ := h.sale(t, 3, at)
	rows, err := h.JournalLines(t.Context(), h.tenant, false)
	must(t, err)
	if len(rows) != 4 {
		t.Fatalf("%d lines", len(rows))
	}
	for _, r := range rows {
		switch {
		case r.Ref == "call" && (r.FX != "usd" || r.EventID != string(e.ID) || !r.EffectiveAt.Equal(at) || r.Provider != "openai" || r.WorkflowID != "w"):
			t.Errorf("a call's line: %+v", r)
		case r.Ref == "sale" && (r.FX != "usdc-usd-1" || r.PaymentID != string(p.ID) || r.EventID != string(p.EventID) || r.WorkflowID != "sold" || r.Payer != p.Authorization.Payer):
			t.Errorf("a sale's line: %+v", r)
		}
	}
}
