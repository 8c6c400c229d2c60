package dashboard

import (
	"cmp"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// budgetFields is the form's pickers.
type budgetFields struct {
	Scopes  []string
	Windows []string
}

func (s *Surface) budgets(r *request) error {
	all, err := s.Store.Budgets(r.Request.Context(), r.session.TenantID)
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b meter.BudgetStanding) int { return strings.Compare(string(b.ID), string(a.ID)) })
	g := grid{Title: "Budgets", Heads: heads("Budget", "For", "Window", "#Limit", "#Spent", "#Reserved", "#Left", "Used", "#Projected", "Begins anew", ""),
		Empty: "No budget is set: nothing limits what is spent. A hard budget is never passed, however many calls run at once."}
	for _, b := range all {
		row := []cell{linked(budgetName(b), r.view.onlyWindow("/app/budgets/"+string(b.ID))), {Text: strings.TrimSpace(b.Scope.Type + " " + short(b.Scope.ID)), Title: b.Scope.ID}, text(string(b.Window))}
		row = append(row, budgetUse(b)...)
		row = append(row, usdCell(projected(b, s.Now())), text(anew(b.Window, s.Now())))
		if r.may(meter.ScopeControlWrite) {
			row = append(row, cell{Form: &form{Action: "/app/budgets/" + string(b.ID) + "/retire", Label: "End", Confirm: "End this budget? It limits nothing from then on.", Class: "danger"}})
		} else {
			row = append(row, text(""))
		}
		g.Rows = append(g.Rows, row)
	}
	p := gridPage{Heading: "Budgets", Lead: "Hard limits, reserved before each call and counted over both ledgers. Day and month begin at midnight UTC.", Grids: []section{{Grid: g}}}
	if r.may(meter.ScopeControlWrite) {
		p.Actions = []tab{{Label: "New budget", Link: "/app/budgets/new"}}
	}
	return r.show("Budgets", "grids.html", false, p)
}

func budgetName(b meter.BudgetStanding) string {
	if b.Name != "" {
		return b.Name
	}
	return string(b.ID)
}

// budgetUse is limit, spent, reserved, left and the bar of the tightest of a budget's limits.
func budgetUse(b meter.BudgetStanding) []cell {
	if b.LimitUSD != nil {
		share := whole(b.Spent.USD.Add(b.Reserved.USD).Rat(), b.LimitUSD.Rat())
		return []cell{usdCell(b.LimitUSD), usdCell(b.Spent.USD), usdCell(b.Reserved.USD), usdCell(b.RemainingUSD()), used(share)}
	}
	limit, spent, reserved, unit := int64(0), b.Spent.Events, b.Reserved.Events, " calls"
	switch {
	case b.LimitEvents != nil:
		limit = *b.LimitEvents
	case b.LimitTokens != nil:
		limit, spent, reserved, unit = *b.LimitTokens, b.Spent.Tokens, b.Reserved.Tokens, " tokens"
	}
	share := whole(new(big.Rat).SetInt64(spent+reserved), new(big.Rat).SetInt64(limit))
	return []cell{num(count(limit) + unit), num(count(spent)), num(count(reserved)), num(count(limit - spent - reserved)), used(share)}
}

// whole is a ÷ b in whole per cent, rounded down; a limit of nothing is used up.
func whole(a, b *big.Rat) int {
	if b.Sign() == 0 {
		return 100
	}
	share := new(big.Rat).Mul(new(big.Rat).Quo(a, b), big.NewRat(100, 1))
	return int(new(big.Int).Div(share.Num(), share.Denom()).Int64())
}

func used(share int) cell {
	c := cell{Text: strconv.Itoa(share) + " %", Share: min(max(share, 1), 100)}
	switch {
	case share >= 100:
		c.Class = "over"
	case share >= 80:
		c.Class = "high"
	}
	return c
}

// projected is what the window will have spent at its end if it goes on as it went so far; nil for a window without an end or
// a limit in anything but dollars. It says nothing in a window's first hour.
func projected(b meter.BudgetStanding, now time.Time) *money.USD {
	start := b.Window.Start(now)
	end := start.AddDate(0, 0, 1)
	if b.Window == meter.WindowMonth {
		end = start.AddDate(0, 1, 0)
	}
	passed := now.Sub(start)
	if b.LimitUSD == nil || b.Window == meter.WindowTotal || passed < time.Hour {
		return nil
	}
	rate := big.NewRat(int64(end.Sub(start)/time.Second), int64(passed/time.Second))
	u := money.FromRat(rate.Mul(rate, b.Spent.USD.Rat()))
	return &u
}

// anew is when a window's count begins again.
func anew(w meter.Window, now time.Time) string {
	start := w.Start(now)
	switch w {
	case meter.WindowDay:
		return start.AddDate(0, 0, 1).Format("2 Jan 15:04") + " UTC"
	case meter.WindowMonth:
		return start.AddDate(0, 1, 0).Format("2 Jan") + " UTC"
	case meter.WindowTotal:
		return "never"
	}
	return "–"
}

// budget is one budget with how its window burns down.
func (s *Surface) budget(r *request) error {
	ctx := r.Request.Context()
	all, err := s.Store.Budgets(ctx, r.session.TenantID)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(b meter.BudgetStanding) bool { return string(b.ID) == r.Param("id") })
	if i < 0 {
		return errMissing
	}
	b := all[i]
	f, since, until := burnWindow(b, s.Now())
	if b.Window == meter.WindowTotal {
		if first, err := s.Store.FirstEvent(ctx, f); err != nil {
			return err
		} else if first != nil {
			since = time.Date(first.Year(), first.Month(), first.Day(), 0, 0, 0, 0, time.UTC)
		}
	}
	f.Since, f.Until = &since, &until
	unit := unitOf(since, until)
	cells, err := s.Store.Series(ctx, f, unit, "decision")
	if err != nil {
		return err
	}
	steps := slots(unit, since, until)
	c := burn(b, steps, len(slots(unit, since, s.Now())), cells)
	g := grid{Title: "This window", Heads: heads("#Limit", "#Spent", "#Reserved", "#Left", "Used", "Begins anew"), Rows: [][]cell{append(budgetUse(b), text(anew(b.Window, s.Now())))}}
	p := gridPage{Heading: budgetName(b), Lead: "For " + strings.TrimSpace(b.Scope.Type+" "+b.Scope.ID) + ", every " + string(b.Window) + ". A call that would pass the limit is denied before it is made.",
		Grids: []section{{Heading: "This window", Grid: g}}}
	if b.LimitUSD != nil {
		p.Chart = &c
	}
	return r.show("Budget", "grids.html", false, p)
}

// burnWindow is the events a budget counts in its present window.
func burnWindow(b meter.BudgetStanding, now time.Time) (f store.Filter, since, until time.Time) {
	f = store.Filter{TenantID: b.TenantID, Equal: map[string][]string{}}
	switch b.Scope.Type {
	case "tenant":
	case "key":
		f.Equal["key_id"] = []string{b.Scope.ID}
	case "department", "employee":
		f.Equal[b.Scope.Type] = []string{b.Scope.ID}
	default:
		f.Equal[b.Scope.Type+"_id"] = []string{b.Scope.ID}
	}
	since, until = b.Window.Start(now), now
	switch b.Window {
	case meter.WindowDay:
		until = since.AddDate(0, 0, 1)
	case meter.WindowMonth:
		until = since.AddDate(0, 1, 0)
	case meter.WindowTotal:
		since, until = now.AddDate(0, 0, -1), now.Add(time.Hour)
	}
	return f, since, until
}

// burn is the cost so far, slot by slot, under the limit's line.
// What is still to come, from slot number passed on, is left empty.
func burn(b meter.BudgetStanding, slots []string, passed int, cells []store.Cell) chart {
	sums := map[string]money.USD{}
	for _, c := range cells {
		sums[c.Slot] = sums[c.Slot].Add(c.CostUSD)
	}
	c := chart{Title: "Cost so far in this window, under the limit", Width: chartWidth, Height: chartHeight, Heads: []string{"So far"}}
	if len(slots) == 0 || b.LimitUSD == nil {
		return c
	}
	var run money.USD
	for _, slot := range slots[:min(passed, len(slots))] {
		run = run.Add(sums[slot])
		c.Rows = append(c.Rows, chartRow{Label: slot, Cells: []money.USD{run}, Total: run})
	}
	top := *b.LimitUSD
	if run.Cmp(top) > 0 {
		top = run
	}
	c.Top, c.Middle, c.First, c.Last = cash(top), cash(per(top, 2)), slots[0], slots[len(slots)-1]
	step := max(chartWidth/len(slots), 1)
	for i, row := range c.Rows {
		if h := scaled(row.Total, top, chartHeight-4); h > 0 || row.Total.Sign() > 0 {
			h = max(h, 1)
			c.Bars = append(c.Bars, rect{X: i * step, Y: chartHeight - h, W: step, H: h, Title: row.Label + " · " + full(row.Total)})
		}
	}
	c.Lines = []line{{Y: chartHeight - scaled(*b.LimitUSD, top, chartHeight-4), Label: "limit " + full(*b.LimitUSD)}}
	return c
}

func (s *Surface) budgetForm(r *request) error {
	p := newBudget()
	p.Values = map[string]string{"scope_type": cmp.Or(r.Query("scope_type"), "tenant"), "scope_id": r.Query("scope_id"), "window": "month"}
	return r.show("New budget", "budget_form.html", false, p)
}

func newBudget() formPage {
	return formPage{Heading: "New budget", Data: budgetFields{Scopes: meter.ScopeTypes(), Windows: []string{"day", "month", "total"}}}
}

func (s *Surface) createBudget(r *request) error {
	values, _ := r.typed()
	scope := map[string]any{"type": values["scope_type"], "id": values["scope_id"]}
	body := map[string]any{"name": values["name"], "scope": scope, "window": values["window"]}
	set(body, "limit_usd", values["limit_usd"])
	for _, name := range []string{"limit_events", "limit_tokens"} {
		if values[name] == "" {
			continue
		}
		n, err := strconv.ParseInt(values[name], 10, 64)
		if err != nil {
			p := newBudget()
			p.Values = values
			return r.refused(badParameter(name, "must be a whole number"), "New budget", "budget_form.html", p)
		}
		body[name] = n
	}
	if err := r.api(http.MethodPost, "/budgets", body, nil); err != nil {
		p := newBudget()
		p.Values = values
		return r.refused(err, "New budget", "budget_form.html", p)
	}
	return r.done("/app/budgets")
}

func (s *Surface) retireBudget(r *request) error {
	if err := r.api(http.MethodDelete, "/budgets/"+r.Param("id"), nil, nil); err != nil {
		return err
	}
	return r.done("/app/budgets")
}

func (s *Surface) policies(r *request) error {
	all, err := s.Store.Policies(r.Request.Context(), r.session.TenantID)
	if err != nil {
		return err
	}
	g := grid{Title: "Policies", Heads: heads("Policy", "Allowed models", "#Version", "#Denied, "+r.view.Span(), ""), Empty: "No policy is set: every model that a key allows may be used."}
	_, denied, err := s.Store.Summary(r.Request.Context(), with(r.view.filter(), "deny_code", "MODEL_NOT_ALLOWED"), "")
	if err != nil {
		return err
	}
	for _, q := range slices.Backward(all) {
		name := q.Name
		if name == "" {
			name = string(q.ID)
		}
		row := []cell{{Text: name, Title: string(q.ID)}, text(strings.Join(q.AllowedModels, ", ")), num(strconv.Itoa(q.Version)),
			{Text: count(denied.Count), Num: true, Link: r.view.On("/app/events", "deny_code", "MODEL_NOT_ALLOWED")}, text("")}
		if r.may(meter.ScopeControlWrite) {
			row[4] = cell{Form: &form{Action: "/app/policies/" + string(q.ID) + "/retire", Label: "End", Confirm: "End this policy? What it denied is allowed from then on.", Class: "danger"}}
		}
		g.Rows = append(g.Rows, row)
	}
	p := gridPage{Heading: "Policies", Lead: "Rules that every call has to pass before it is made. A change holds from the next call on.", Grids: []section{{Grid: g}}}
	if r.may(meter.ScopeControlWrite) {
		p.Actions = []tab{{Label: "New policy", Link: "/app/policies/new"}}
	}
	return r.show("Policies", "grids.html", false, p)
}

func (s *Surface) policyForm(r *request) error {
	return r.show("New policy", "policy_form.html", false, formPage{Heading: "New policy", Values: map[string]string{}})
}

func (s *Surface) createPolicy(r *request) error {
	values, _ := r.typed()
	body := map[string]any{"name": values["name"], "rules": map[string]any{"allowed_models": lines(values["allowed_models"])}}
	if err := r.api(http.MethodPost, "/policies", body, nil); err != nil {
		return r.refused(err, "New policy", "policy_form.html", formPage{Heading: "New policy", Values: values})
	}
	return r.done("/app/policies")
}

func (s *Surface) retirePolicy(r *request) error {
	if err := r.api(http.MethodDelete, "/policies/"+r.Param("id"), nil, nil); err != nil {
		return err
	}
	return r.done("/app/policies")
}

// plural is "1 call", "2 calls".
func plural(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%s %ss", count(n), one)
}
