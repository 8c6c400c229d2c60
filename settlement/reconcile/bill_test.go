package reconcile_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"p402.io/p402/internal/money"
	"p402.io/p402/settlement/reconcile"
)

// bills is a month of vendor lines equal to the ledger, into which faults are put.
type bills struct {
	reconcile.Costs
	want map[string]reconcile.Reason
	n    int
}

func newBills() *bills {
	return &bills{want: map[string]reconcile.Reason{}, Costs: reconcile.Costs{Covered: map[string]bool{},
		Tolerance: reconcile.Tolerance{Percent: money.MustUSD("0.5"), USD: money.MustUSD("0.01")}}}
}

// cell adds one sound vendor, model and day; the bill spreads it over two lines, as accounts with two projects have it.
func (b *bills) cell() (m *reconcile.Metered, l *reconcile.Line) {
	day := month.AddDate(0, 0, b.n%31).Format(time.DateOnly)
	provider, model := []string{"openai", "anthropic", "openrouter"}[b.n%3], fmt.Sprintf("model-%d", b.n/31)
	b.n++
	half := money.MustUSD("10.000000000000000001").MulInt(int64(b.n))
	in, out := int64(b.n)*1000, int64(b.n)*100
	b.Covered[provider+" "+day] = true
	b.Metered = append(b.Metered, reconcile.Metered{Provider: provider, Model: model, Day: day, Events: 2, InputTokens: 2 * in, OutputTokens: 2 * out, CostUSD: half.Add(half)})
	for _, project := range []string{"a", "b"} {
		in, out := in, out
		b.Lines = append(b.Lines, reconcile.Line{Provider: provider, Model: provider + "/" + model, Day: day, InputTokens: &in, OutputTokens: &out, CostUSD: dollars(half),
			ExternalID: project, Digest: fmt.Sprintf("%d%s", b.n, project)})
	}
	return &b.Metered[len(b.Metered)-1], &b.Lines[len(b.Lines)-1]
}

func dollars(u money.USD) *money.USD { return &u }

func (b *bills) expect(r reconcile.Reason, s reconcile.Subject) {
	b.want[reconcile.Finding{Reason: r, Subject: s}.Key()] = r
}

func (b *bills) onCell(r reconcile.Reason, m *reconcile.Metered) {
	b.expect(r, reconcile.Subject{Provider: m.Provider, Model: m.Model, Day: m.Day})
}

var billFaults = []struct {
	reason reconcile.Reason
	plant  func(b *bills)
}{
	{reconcile.ReasonBillHigher, func(b *bills) {
		m, l := b.cell()
		l.CostUSD = dollars(l.CostUSD.Add(m.CostUSD.DivPow10(2)))
		b.onCell(reconcile.ReasonBillHigher, m)
	}},
	{reconcile.ReasonBillLower, func(b *bills) {
		m, l := b.cell()
		l.CostUSD = dollars(l.CostUSD.Sub(m.CostUSD.DivPow10(2)))
		b.onCell(reconcile.ReasonBillLower, m)
	}},
	{reconcile.ReasonTokensDiffer, func(b *bills) {
		m, l := b.cell()
		*l.OutputTokens += m.OutputTokens / 50
		b.onCell(reconcile.ReasonTokensDiffer, m)
	}},
	{reconcile.ReasonBilledNotMetered, func(b *bills) {
		m, _ := b.cell()
		b.onCell(reconcile.ReasonBilledNotMetered, m)
		b.Metered = b.Metered[:len(b.Metered)-1]
	}},
	{reconcile.ReasonMeteredNotBilled, func(b *bills) {
		m, _ := b.cell()
		b.onCell(reconcile.ReasonMeteredNotBilled, m)
		b.Lines = b.Lines[:len(b.Lines)-2]
	}},
	{reconcile.ReasonBillLineTwice, func(b *bills) {
		m, l := b.cell()
		again := *l
		again.Again = true
		b.expect(reconcile.ReasonBillLineTwice, reconcile.Subject{Provider: m.Provider, Model: m.Model, Day: m.Day, Line: l.Digest})
		b.Lines = append(b.Lines, again)
	}},
	{reconcile.ReasonNoPrice, func(b *bills) {
		m, _ := b.cell()
		m.CostUSD, m.Unpriced = money.Zero, 2
		b.onCell(reconcile.ReasonNoPrice, m)
	}},
	{reconcile.ReasonVendorCallTwice, func(b *bills) {
		event := fmt.Sprintf("evt_%d", b.n)
		b.n++
		b.Twice = append(b.Twice, reconcile.Twin{EventID: event, FirstID: "evt_first", Provider: "openai", Model: "m", CostUSD: money.MustUSD("0.1"), At: month})
		b.expect(reconcile.ReasonVendorCallTwice, reconcile.Subject{EventID: event, Provider: "openai", Model: "m"})
	}},
	{reconcile.ReasonNoOwner, func(b *bills) {
		day := fmt.Sprintf("2027-03-%02d", b.n%31+1)
		provider := fmt.Sprintf("vendor-%d", b.n)
		b.n++
		b.Unattributed = append(b.Unattributed, reconcile.Unowned{Provider: provider, Day: day, Events: 1, CostUSD: money.MustUSD("1")})
		b.expect(reconcile.ReasonNoOwner, reconcile.Subject{Provider: provider, Day: day})
	}},
	{reconcile.ReasonAfterClose, func(b *bills) {
		event := fmt.Sprintf("evt_%d", b.n)
		b.n++
		b.Late = append(b.Late, reconcile.LateEvent{EventID: event, PeriodID: "prd_1", CostUSD: money.MustUSD("1"), At: month})
		b.expect(reconcile.ReasonAfterClose, reconcile.Subject{EventID: event})
	}},
}

func TestF6_EveryBillFaultIsFoundAndNoneInvented(t *testing.T) {
	t.Parallel()
	b := newBills()
	rng := rand.New(rand.NewPCG(5, 5))
	for range 4000 {
		if rng.IntN(100) < len(billFaults) {
			billFaults[rng.IntN(len(billFaults))].plant(b)
		} else {
			b.cell()
		}
	}
	got := reconcile.MatchCosts(b.Costs)
	check(t, got.Findings, b.want)
	if got.MeteredUSD.Add(got.VarianceUSD).Cmp(got.BilledUSD) != 0 {
		t.Errorf("metered %s + variance %s is not the bill of %s", got.MeteredUSD, got.VarianceUSD, got.BilledUSD)
	}
	reasons := map[reconcile.Reason]bool{}
	for _, r := range b.want {
		reasons[r] = true
	}
	if len(reasons) != len(billFaults) {
		t.Errorf("planted only %v", reasons)
	}
}

func TestToleranceIsTheLargerOfItsTwoBounds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, more string
		want       reconcile.Reason
	}{
		{"a cent is within the absolute bound", "0.01", ""},
		{"a hair over both", "0.050000000000000001", reconcile.ReasonBillHigher},
		{"half a per cent of ten dollars", "0.05", ""},
	} {
		b := newBills()
		b.Metered = []reconcile.Metered{{Provider: "openai", Model: "m", Day: "2027-03-01", Events: 1, CostUSD: money.MustUSD("9.95").Add(money.MustUSD("0.05")).Sub(money.MustUSD(c.more))}}
		b.Lines = []reconcile.Line{{Provider: "openai", Model: "M", Day: "2027-03-01", CostUSD: dollars(money.MustUSD("10"))}}
		got := reconcile.MatchCosts(b.Costs)
		if (c.want == "") != (len(got.Findings) == 0) || c.want == "" && got.Within != 1 {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestDaysWithoutABillAreNotJudged(t *testing.T) {
	t.Parallel()
	b := newBills()
	b.cell()
	b.Lines, b.Covered = nil, map[string]bool{}
	if got := reconcile.MatchCosts(b.Costs); got.NotCovered != 1 || len(got.Findings) != 0 || got.Matched != 0 {
		t.Errorf("%+v", got)
	}
}

func TestUsageFileBesideACostFileCountsTokensOnce(t *testing.T) {
	t.Parallel()
	in, out := int64(1000), int64(50)
	b := newBills()
	b.Metered = []reconcile.Metered{{Provider: "openai", Model: "m", Day: "2027-03-01", Events: 1, InputTokens: in, OutputTokens: out, CostUSD: money.MustUSD("2")}}
	usage := reconcile.Line{Provider: "openai", Model: "m", Day: "2027-03-01", InputTokens: &in, OutputTokens: &out, Digest: "u"}
	cost := reconcile.Line{Provider: "openai", Model: "m", Day: "2027-03-01", CostUSD: dollars(money.MustUSD("2")), Digest: "c"}
	b.Lines = []reconcile.Line{usage, cost}
	if got := reconcile.MatchCosts(b.Costs); got.Matched != 1 || len(got.Findings) != 0 {
		t.Errorf("both: %+v", got)
	}
	b.Lines = b.Lines[:1]
	if got := reconcile.MatchCosts(b.Costs); got.TokensOnly != 1 || got.Matched != 0 || len(got.Findings) != 0 || !got.MeteredUSD.IsZero() {
		t.Errorf("usage alone: %+v", got)
	}
}
