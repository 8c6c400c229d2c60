package store_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"p402.io/p402/gateway/call"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

// claims opens n calls at once, each with an authorization of its own over 7 by one payer, and counts how each ended.
func (h *house) claims(t *testing.T, n int, payer string, wait settlement.WaitFor, funds call.Funds, credit *call.Credit) (passed, noFunds, noCredit int64) {
	t.Helper()
	var counts [3]atomic.Int64
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			auth := settlement.Authorization{Network: "eip155:84532", Asset: "0x01", Payer: payer, PayTo: "0x03", Value: money.Atomic(7), Signature: []byte{1}, Nonce: fmt.Sprintf("0x%s%d", payer, i)}
			e := h.event()
			p := settlement.Claim(h.ids.Payment(), settlement.Terms{TenantID: h.tenant, Network: auth.Network, Amount: auth.Value, WaitFor: wait}, auth, e.ID, clock(), clock().Add(time.Minute))
			switch err := h.Open(t.Context(), call.Opening{Event: e, Payment: &p, Funds: funds, Credit: credit}); {
			case err == nil:
				counts[0].Add(1)
			case errors.Is(err, call.ErrNoFunds):
				counts[1].Add(1)
			case errors.Is(err, call.ErrNoCredit):
				counts[2].Add(1)
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	return counts[0].Load(), counts[1].Load(), counts[2].Load()
}

// TestA115_OneBalanceBuysOneRun however many authorizations over it come at once, and whichever way they wait.
func TestA115_OneBalanceBuysOneRun(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for i, wait := range []settlement.WaitFor{settlement.WaitIncluded, settlement.WaitAuthorized} {
		passed, refused, _ := h.claims(t, 20, fmt.Sprint("0xa", i), wait, call.Funds{Balance: money.Atomic(13), At: clock()}, nil)
		if passed != 1 || refused != 19 {
			t.Errorf("%s: %d passed, %d refused", wait, passed, refused)
		}
	}
}

// TestA114_CreditIsBoundedPerPayerAndInAll with work in flight counted, under concurrency.
func TestA114_CreditIsBoundedPerPayerAndInAll(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	rich := call.Funds{Balance: money.Atomic(1_000_000), At: clock()}
	credit := &call.Credit{PerPayer: money.Atomic(21), Total: money.Atomic(35)}
	for _, row := range []struct {
		payer string
		want  int64
	}{{"0xb1", 3}, {"0xb2", 2}, {"0xb3", 0}} { // 21 for the first, the rest of 35 for the second
		passed, _, refused := h.claims(t, 10, row.payer, settlement.WaitAuthorized, rich, credit)
		if passed != row.want || refused != 10-row.want {
			t.Errorf("%s: %d passed, %d refused", row.payer, passed, refused)
		}
	}
	if passed, _, _ := h.claims(t, 5, "0xb4", settlement.WaitIncluded, rich, nil); passed != 5 {
		t.Errorf("%d of 5 that wait for their payment passed", passed)
	}
}

// TestA114_APayerWhoDrainsIsNotServedAgainForADay by the seller who lost by it; others are not told.
func TestA114_APayerWhoDrainsIsNotServedAgainForADay(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	claim := func(n int, payer string, at time.Time) (settlement.Payment, error) {
		auth := settlement.Authorization{Network: "eip155:84532", Asset: "0x01", Payer: payer, PayTo: "0x03", Value: money.Atomic(7), Signature: []byte{1}, Nonce: fmt.Sprintf("0x%s%d", payer, n)}
		e := h.event()
		p := settlement.Claim(h.ids.Payment(), settlement.Terms{TenantID: h.tenant, Network: auth.Network, Amount: auth.Value}, auth, e.ID, at, at.Add(time.Minute))
		return p, h.Open(t.Context(), call.Opening{Event: e, Payment: &p, Funds: call.Funds{Balance: money.Atomic(100), At: at}})
	}
	for n := range 3 {
		p, err := claim(n, "0xd1", clock())
		if err != nil {
			t.Fatalf("payment %d: %v", n, err)
		}
		for _, e := range []settlement.Evidence{{Kind: settlement.EvidenceCapture}, {Kind: settlement.EvidenceUncollectable, Reason: "unfunded"}} {
			next, move, err := p.Advance(e, clock())
			if err != nil {
				t.Fatal(err)
			}
			if err := h.Record(t.Context(), next, move, nil); err != nil {
				t.Fatal(err)
			}
			p = next
		}
	}
	if _, err := claim(3, "0xd1", clock()); !errors.Is(err, call.ErrInDebt) {
		t.Errorf("a fourth run: %v", err)
	}
	if _, err := claim(0, "0xd2", clock()); err != nil {
		t.Errorf("another payer: %v", err)
	}
	if _, err := claim(4, "0xd1", clock().Add(25*time.Hour)); err != nil {
		t.Errorf("a day later: %v", err)
	}
}

// TestD21_AnIdempotencyKeyStartsAnewAfterADay, once: of calls that start it anew together one passes.
func TestD21_AnIdempotencyKeyStartsAnewAfterADay(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	_, key, err := h.CreateKey(t.Context(), store.NewKey{TenantID: h.tenant, Name: "k", Scopes: meter.AllScopes()})
	if err != nil {
		t.Fatal(err)
	}
	keyed := func(at time.Time, turn int) error {
		e := h.event()
		e.KeyID, e.IdempotencyKey, e.IdempotencyTurn, e.EventTime = key.ID, "order-7", turn, at
		return h.Open(t.Context(), call.Opening{Event: e})
	}
	standing := func() (meter.Event, int) {
		e, turn, err := h.ByIdempotencyKey(t.Context(), h.tenant, key.ID, "order-7")
		if err != nil {
			t.Fatal(err)
		}
		return e, turn
	}
	if e, turn := standing(); e.ID != "" || turn != 0 {
		t.Fatalf("a key nobody used: %s, turn %d", e.ID, turn)
	}
	if err := keyed(clock().Add(-24*time.Hour-time.Second), 0); err != nil {
		t.Fatal(err)
	}
	e, turn := standing()
	if e.ID != "" || turn != 1 {
		t.Fatalf("a day later it still stands for %s, turn %d", e.ID, turn)
	}
	var passed atomic.Int64
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if err := keyed(clock(), turn); err == nil {
				passed.Add(1)
			} else if fault.KindOf(err) != fault.KindConflict {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if passed.Load() != 1 {
		t.Errorf("%d calls started it anew", passed.Load())
	}
	if e, turn = standing(); e.ID == "" || turn != 2 {
		t.Errorf("now it stands for %q, turn %d", e.ID, turn)
	}
}
