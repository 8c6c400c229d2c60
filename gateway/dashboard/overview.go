package dashboard

import (
	"cmp"
	"context"
	"math/big"
	"slices"
	"time"

	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// figure is one number of a strip, with how it compares to the span before.
type figure struct {
	Label, Value, Title string
	Note                string // "was $0.41"
	Class               string
	Link                string
}

// overviewPage is what was spent, earned and got for it.
type overviewPage struct {
	Empty   bool // nothing was ever metered in this ledger
	Alerts  []alert
	Figures []figure
	Chart   chart
	By      string
	Groups  []choice
	Bars    []bar
	Rest    *rest
	Events  []store.Listed
	Base    string
}

// bar is one row of a table by dimension: a share of the dearest row in whole per cent.
type bar struct {
	store.Group
	Label string
	Share int
	Link  string
	None  bool
}

// rest is what stands beneath a table that shows only its first rows, so that they and it are the total.
type rest struct {
	Rows  int
	Count int64
	Cost  money.USD
}

// groupings is what the overview's picture may be grouped by.
func groupings() []string {
	return []string{meter.DimWorkflow, meter.DimCustomer, meter.DimFeature, meter.DimDepartment, "model", "provider", "outcome", "decision"}
}

const (
	latestShown = 50
	barsShown   = 8
)

func (s *Surface) overview(r *request) error {
	ctx, f := r.Request.Context(), r.view.filter()
	p := overviewPage{By: cmp.Or(r.Query("by"), meter.DimWorkflow), Base: baseURL(r.Context)}
	if !slices.Contains(groupings(), p.By) {
		return badParameter("by", "is not something to group by")
	}
	for _, g := range groupings() {
		p.Groups = append(p.Groups, choice{Value: g, Label: label(g), On: g == p.By})
	}
	rows, total, err := s.Store.Summary(ctx, f, p.By)
	if err != nil {
		return err
	}
	quality, err := s.Store.Quality(ctx, f)
	if err != nil {
		return err
	}
	if total.Count == 0 {
		first, err := s.Store.FirstEvent(ctx, store.Filter{TenantID: f.TenantID, Livemode: f.Livemode})
		if err != nil {
			return err
		}
		p.Empty = first == nil
	}
	var was store.Group
	if f, bounded := r.view.before(); bounded {
		if _, was, err = s.Store.Summary(ctx, f, ""); err != nil {
			return err
		}
	}
	if p.Alerts, err = s.alerts(ctx, r, total); err != nil {
		return err
	}
	p.Figures = figures(r.view, total, was, quality, rows)
	if p.Chart, err = s.costChart(ctx, r.view, p.By); err != nil {
		return err
	}
	p.Bars, p.Rest = bars(r.view, rows, total, p.By, barsShown)
	if p.Events, err = s.Store.Events(ctx, f, nil, false, latestShown); err != nil {
		return err
	}
	return r.show("Overview", "overview.html", true, p)
}

// costChart is the cost over the window, stacked by a grouping.
func (s *Surface) costChart(ctx context.Context, v view, by string) (chart, error) {
	since, until, err := s.span(ctx, v)
	if err != nil {
		return chart{}, err
	}
	unit := unitOf(since, until)
	cells, err := s.Store.Series(ctx, v.filter(), unit, by)
	return stack("Cost by "+unit+", by "+label(by), absent(by), slots(unit, since, until), cells, func(key *string) string { return filterLink(v, "/app/events", by, key) }), err
}

// span is the window's ends; an unbounded one begins with the first event.
func (s *Surface) span(ctx context.Context, v view) (since, until time.Time, err error) {
	if v.Since != nil {
		return *v.Since, *v.Until, nil
	}
	now := s.Now().UTC()
	until = time.Date(now.Year(), now.Month(), now.Day()+1, 0, 0, 0, 0, time.UTC)
	first, err := s.Store.FirstEvent(ctx, v.filter())
	if err != nil || first == nil {
		return until.AddDate(0, 0, -1), until, err
	}
	return time.Date(first.Year(), first.Month(), first.Day(), 0, 0, 0, 0, time.UTC), until, nil
}

// column is the filter that a grouping's rows can be opened by, or "".
func column(by string) string {
	if by == "model" {
		return "model_used"
	}
	if _, ok := store.FilterColumns()[by]; ok {
		return by
	}
	return ""
}

// filterLink opens a row's events. A nil key is Unattributed, which only dimensions can be asked for.
func filterLink(v view, path, by string, key *string) string {
	name := column(by)
	switch {
	case name == "":
		return ""
	case key != nil:
		return v.On(path, name, *key)
	case slices.Contains(meter.Dimensions(), name):
		return v.On(path, "unattributed", name)
	}
	return ""
}

func figures(v view, total, was store.Group, q store.Quality, rows []store.Group) []figure {
	events := v.On("/app/events")
	out := []figure{
		{Label: "Cost", Value: cash(total.CostUSD), Title: full(total.CostUSD), Note: change(total.CostUSD, was), Link: events},
		{Label: "Revenue", Value: cash(total.RevenueUSD), Title: full(total.RevenueUSD), Link: v.On("/app/events", "receipt_status", "settled")},
		{Label: "Margin on sales", Value: cash(total.MarginUSD), Title: full(total.MarginUSD), Note: marginNote(total)},
		{Label: "Calls", Value: count(total.Count), Note: changeCount(total.Count, was.Count), Link: events},
		{Label: "Failed", Value: count(q.Failed), Note: percent(q.Failed, total.Count) + " of calls"},
		{Label: "Denied", Value: count(q.Denied), Note: percent(q.Denied, total.Count) + " of calls", Link: v.On("/app/events", "decision", "denied")},
		{Label: "Accepted", Value: percent(total.Accepted, total.WithOutcome), Note: count(total.Accepted) + " of " + count(total.WithOutcome) + " with outcome"},
		{Label: "Cost per accepted", Value: cash(per(total.CostUSD, total.Accepted)), Title: full(per(total.CostUSD, total.Accepted)), Note: "all cost ÷ accepted"},
	}
	for _, g := range rows {
		if g.Key == nil {
			out = append(out, figure{Label: "Unattributed", Value: shareOf(g.CostUSD, total.CostUSD), Note: count(g.Count) + " calls"})
		}
	}
	if total.Unpriced > 0 {
		out = append(out, figure{Label: "No price known", Value: count(total.Unpriced), Note: "their cost is unknown, not zero", Class: "warn", Link: v.On("/app/events", "cost_state", "unpriced")})
	}
	if q.P95MS > 0 {
		out = append(out, figure{Label: "Latency p50 / p95", Value: count(q.P50MS) + " / " + count(q.P95MS) + " ms"})
	}
	return out
}

func marginNote(g store.Group) string {
	if g.RevenueUSD == nil {
		return "no sale in this window"
	}
	return marginPercent(g.MarginUSD, g.RevenueUSD) + " of revenue"
}

func change(now money.USD, was store.Group) string {
	if was.Count == 0 {
		return ""
	}
	return "was " + cash(was.CostUSD) + " before"
}

func changeCount(now, was int64) string {
	if was == 0 {
		return ""
	}
	return "was " + count(was) + " before"
}

// bars is a table by a grouping: at most n rows, and the rest as one more, so that the rows add up to the total (F1, F2).
func bars(v view, rows []store.Group, total store.Group, by string, n int) ([]bar, *rest) {
	var out []bar
	left := rest{Rows: len(rows), Count: total.Count, Cost: total.CostUSD}
	for i, g := range rows {
		if i >= n && g.Key != nil {
			continue // Unattributed is always shown
		}
		b := bar{Group: g, Label: absent(by), None: g.Key == nil, Link: filterLink(v, "/app/events", by, g.Key)}
		if g.Key != nil {
			b.Label = *g.Key
		}
		if rows[0].CostUSD.Sign() > 0 {
			ratio := new(big.Rat).Mul(new(big.Rat).Quo(g.CostUSD.Rat(), rows[0].CostUSD.Rat()), big.NewRat(100, 1))
			b.Share = int(new(big.Int).Div(ratio.Num(), ratio.Denom()).Int64())
		}
		left.Rows, left.Count, left.Cost = left.Rows-1, left.Count-g.Count, left.Cost.Sub(g.CostUSD)
		out = append(out, b)
	}
	if left.Count == 0 {
		return out, nil
	}
	return out, &left
}

// absent is what a row without a key is called.
func absent(by string) string {
	switch by {
	case "outcome":
		return "none reported"
	case "provider", "model":
		return "no vendor called"
	}
	return "Unattributed"
}

// costOf is a group's cost; unknown, and not nothing, where no call of it has a price.
func costOf(g store.Group) *money.USD {
	if g.Count > 0 && g.Unpriced == g.Count {
		return nil
	}
	return &g.CostUSD
}

// perAccepted is all cost of a group over what was accepted (F4); nil where the cost is unknown or nothing was accepted.
func perAccepted(g store.Group) *money.USD {
	cost := costOf(g)
	if cost == nil {
		return nil
	}
	return per(*cost, g.Accepted)
}

func sortByTotal(keys []string, totals map[string]money.USD) {
	slices.SortStableFunc(keys, func(a, b string) int { return cmp.Or(totals[b].Cmp(totals[a]), cmp.Compare(a, b)) })
}
