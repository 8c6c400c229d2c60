package store_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"p402.io/p402/gateway/call"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/journal"
	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
)

// Callers that share a commit keep what each is owed alone: own refusal, own budget arithmetic, own journal.
func TestO5_SharedCommitsKeepEveryBudgetExact(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	tight, wide := h.budget(t, 30), h.budget(t, 1000)
	cost, at := money.MustUSD("0.000000000000000001"), clock()
	var passed, refused, conflicts atomic.Int64
	var group sync.WaitGroup
	for i := range 120 {
		group.Go(func() {
			e := h.event()
			if i%40 == 0 { // three calls under one idempotency key: the batch they are in fails, and each gets its own answer
				e.KeyID, e.IdempotencyKey = "key_same", "same"
			}
			o := call.Opening{Event: e, Reservations: append(h.reservation(wide), h.reservation(tight)...)}
			err := h.Open(t.Context(), o)
			var full *call.BudgetExceeded
			switch {
			case errors.As(err, &full) && full.Budget.ID == tight:
				refused.Add(1)
				return
			case fault.KindOf(err) == fault.KindConflict:
				conflicts.Add(1)
				return
			case err != nil:
				t.Error(err)
				return
			}
			passed.Add(1)
			e.State, e.FinalizedAt, e.CostUSD, e.CostState = meter.EventFinal, &at, &cost, meter.CostPriced
			closing := call.Closing{Event: e, Actual: meter.Amount{USD: cost, Events: 1, Tokens: 3}, Entries: journal.Move(journal.AccountCostOfCalls, journal.AccountProviderOwed, cost, "call")}
			if err := h.Close(t.Context(), closing); err != nil {
				t.Error(err)
			}
			if err := h.Close(t.Context(), closing); !errors.Is(err, call.ErrClosed) {
				t.Errorf("second close: %v", err)
			}
			if err := h.Deliver(t.Context(), call.Delivery{EventID: e.ID, Tenant: h.tenant, At: at, Bytes: 7, Whole: true}); err != nil {
				t.Error(err)
			}
			stored, err := h.Event(t.Context(), h.tenant, string(e.ID))
			if err != nil || stored.CostUSD == nil || stored.CostUSD.Cmp(cost) != 0 {
				t.Errorf("event %s: %v %v", e.ID, stored.CostUSD, err)
			}
		})
	}
	group.Wait()
	if passed.Load() != 30 || passed.Load()+refused.Load()+conflicts.Load() != 120 {
		t.Fatalf("%d passed, %d refused, %d conflicts", passed.Load(), refused.Load(), conflicts.Load())
	}
	budgets, err := h.Budgets(t.Context(), h.tenant)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range budgets {
		if !b.Reserved.USD.IsZero() || b.Reserved.Events != 0 || b.Spent.Events != 30 || b.Spent.Tokens != 90 || b.Spent.USD.String() != "0.00000000000000003" {
			t.Errorf("%s: reserved %+v, spent %+v", b.ID, b.Reserved, b.Spent)
		}
	}
}
