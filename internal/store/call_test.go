package store_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"p402.io/p402/gateway/call"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/journal"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/pgtest"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

// house is a store with one tenant in a database of its own.
type house struct {
	*store.Store
	ids    *id.Source
	tenant id.Tenant
}

func clock() time.Time { return time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC) }

func newHouse(t *testing.T) house {
	t.Helper()
	ids := id.NewSource(clock)
	db, err := store.New(t.Context(), pgtest.New(t, store.Migrate), store.Options{Now: clock, IDs: ids})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Shutdown() })
	tenant, err := db.EnsureTenant(t.Context(), "acme", "Acme")
	if err != nil {
		t.Fatal(err)
	}
	return house{db, ids, tenant}
}

func (h house) event() meter.Event {
	return meter.Event{ID: h.ids.Event(), TenantID: h.tenant, RequestID: h.ids.Request(), State: meter.EventIntent, Source: "hosted", Route: meter.RouteChat,
		ModelRequested: "m", CostState: meter.CostUnpriced, Decision: "approved", ReceiptStatus: "none", EventTime: clock(), ReceivedAt: clock(), Deadline: clock().Add(time.Minute)}
}

func (h house) budget(t *testing.T, events int64) id.Budget {
	t.Helper()
	b, err := h.PutBudget(t.Context(), meter.Budget{TenantID: h.tenant, Name: "b", Scope: meter.BudgetScope{Type: "tenant"}, Window: meter.WindowTotal, LimitEvents: &events})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (h house) reservation(b id.Budget) []meter.Reservation {
	return []meter.Reservation{{BudgetID: b, WindowStart: meter.WindowTotal.Start(clock()), Amount: meter.Amount{USD: money.MustUSD("0.5"), Events: 1, Tokens: 10}}}
}

func TestO5_TwoHundredParallelCallsAgainstABudgetForTwenty(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	b := h.budget(t, 20)
	var passed, refused atomic.Int64
	var group sync.WaitGroup
	for range 200 {
		group.Go(func() {
			err := h.Open(t.Context(), call.Opening{Event: h.event(), Reservations: h.reservation(b)})
			var full *call.BudgetExceeded
			switch {
			case err == nil:
				passed.Add(1)
			case errors.As(err, &full):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if passed.Load() != 20 || refused.Load() != 180 {
		t.Fatalf("%d passed, %d were refused", passed.Load(), refused.Load())
	}
}

func TestO5_CloseTurnsReservationsIntoSpendOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.event()
	if err := h.Open(t.Context(), call.Opening{Event: e, Reservations: h.reservation(h.budget(t, 5))}); err != nil {
		t.Fatal(err)
	}
	cost, at := money.MustUSD("0.123456789012345678"), clock()
	e.State, e.FinalizedAt, e.CostUSD, e.CostState = meter.EventFinal, &at, &cost, meter.CostPriced
	closing := call.Closing{Event: e, Actual: meter.Amount{USD: cost, Events: 1, Tokens: 3},
		Entries: journal.Move(journal.AccountCostOfCalls, journal.AccountProviderOwed, cost, "call")}
	if err := h.Close(t.Context(), closing); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(t.Context(), closing); !errors.Is(err, call.ErrClosed) {
		t.Fatalf("second close: %v", err)
	}
	budgets, err := h.Budgets(t.Context(), h.tenant)
	if err != nil || len(budgets) != 1 {
		t.Fatal(budgets, err)
	}
	got := budgets[0]
	if !got.Reserved.USD.IsZero() || got.Reserved.Events != 0 || got.Spent.USD.Cmp(cost) != 0 || got.Spent.Events != 1 || got.Spent.Tokens != 3 {
		t.Fatalf("%+v", got)
	}
	stored, err := h.Event(t.Context(), h.tenant, string(e.ID))
	if err != nil || stored.CostUSD == nil || stored.CostUSD.Cmp(cost) != 0 {
		t.Fatalf("cost lost a digit: %v %v", stored.CostUSD, err)
	}
}

func TestS4_OneAuthorizationIsClaimedOnceByAHundred(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	auth := settlement.Authorization{Network: "eip155:84532", Asset: "0x01", Payer: "0x02", PayTo: "0x03", Value: money.Atomic(7), Signature: []byte{1}, Nonce: "0xaa"}
	var passed atomic.Int64
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() {
			e := h.event()
			p := settlement.Claim(h.ids.Payment(), settlement.Terms{TenantID: h.tenant, Network: auth.Network, Amount: auth.Value}, auth, e.ID, clock(), clock().Add(time.Minute))
			err := h.Open(t.Context(), call.Opening{Event: e, Payment: &p, Funds: call.Funds{Balance: auth.Value, At: clock()}})
			switch {
			case err == nil:
				passed.Add(1)
			case !errors.Is(err, settlement.ErrAuthorizationUsed):
				t.Error(err)
			}
		})
	}
	group.Wait()
	if passed.Load() != 1 {
		t.Fatalf("%d calls claimed it", passed.Load())
	}
}

func TestS6_AVoidedClaimMayBeMadeAgainAndAMoveIsMadeOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	auth := settlement.Authorization{Network: "eip155:84532", Asset: "0x01", Payer: "0x02", PayTo: "0x03", Value: money.Atomic(7), Signature: []byte{1}, Nonce: "0xbb"}
	claim := func() settlement.Payment {
		e := h.event()
		p := settlement.Claim(h.ids.Payment(), settlement.Terms{TenantID: h.tenant, Network: auth.Network, Amount: auth.Value}, auth, e.ID, clock(), clock())
		if err := h.Open(t.Context(), call.Opening{Event: e, Payment: &p, Funds: call.Funds{Balance: auth.Value, At: clock()}}); err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := claim()
	_, void, err := p.Advance(settlement.Evidence{Kind: settlement.EvidenceVoid, Reason: "test"}, clock())
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Void(t.Context(), void); err != nil {
		t.Fatal(err)
	}
	if err := h.Void(t.Context(), void); !errors.Is(err, settlement.ErrMoved) {
		t.Fatalf("second void: %v", err)
	}
	again := claim()
	got, err := h.PaymentFor(t.Context(), auth.Network, auth.Asset, auth.Payer, auth.Nonce)
	if err != nil || got.ID != again.ID {
		t.Fatalf("found %s, want the live one: %v", got.ID, err)
	}
}

func TestO3_OnlyAKeysHashIsStored(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	plain, info, err := h.CreateKey(t.Context(), store.NewKey{TenantID: h.tenant, Name: "k", Scopes: meter.AllScopes()})
	if err != nil {
		t.Fatal(err)
	}
	if len(plain) != len("p402_test_")+64 || info.Prefix != plain[:16] {
		t.Errorf("key of %d characters, shown as %q", len(plain), info.Prefix)
	}
	if err := h.RevokeKey(t.Context(), h.tenant, info.ID); err != nil {
		t.Fatal(err)
	}
	if err := h.RevokeKey(t.Context(), "ten_other", info.ID); err == nil {
		t.Error("another tenant revoked it")
	}
}

func TestD19_ARepeatedOutcomeIsOneAndAChangedOneIsARevision(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.event()
	if err := h.Open(t.Context(), call.Opening{Event: e}); err != nil {
		t.Fatal(err)
	}
	record := func(word string) (meter.Outcome, string, bool) {
		o, err := meter.NewOutcome(meter.Outcome{EventID: e.ID, Outcome: word}, nil, clock())
		if err != nil {
			t.Fatal(err)
		}
		stored, previous, fresh, err := h.RecordOutcome(t.Context(), h.tenant, o)
		if err != nil {
			t.Fatal(err)
		}
		return stored, previous, fresh
	}
	if _, _, fresh := record("accepted"); !fresh {
		t.Error("the first is not new")
	}
	if stored, _, fresh := record("accepted"); fresh || stored.Revision != 1 {
		t.Errorf("the same again: revision %d, fresh %v", stored.Revision, fresh)
	}
	if stored, previous, fresh := record("rejected"); !fresh || stored.Revision != 2 || previous != "accepted" {
		t.Errorf("a change: revision %d after %q", stored.Revision, previous)
	}
	if history, err := h.Outcomes(t.Context(), e.ID); err != nil || len(history) != 2 {
		t.Errorf("history of %d: %v", len(history), err)
	}
}
