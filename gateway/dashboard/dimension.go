package dashboard

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"

	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// gridPage is a page of figures, a picture and tables: most of the pages that only show.
type gridPage struct {
	Heading string
	Lead    string
	Tabs    []tab
	Figures []figure
	Chart   *chart
	Grids   []section
	Actions []tab
	Next    string
	First   string
	Saved   string
	Refusal string
	CSV     string // the address of the first grid as a file
}

type tab struct {
	Label, Link string
	On          bool
}

// section is a grid under a heading.
type section struct {
	Heading, Lead string
	Grid          grid
}

// rowsShown is where a table by dimension stops; the rest is summed beneath.
const rowsShown = 100

// dimensionTable is cost, revenue and worth by one dimension, with Unattributed, the rest and the total (F1, F2).
func (s *Surface) dimensionTable(r *request, by string) (grid, store.Group, error) {
	ctx, f := r.Request.Context(), r.view.filter()
	rows, total, err := s.Store.Summary(ctx, f, by)
	if err != nil {
		return grid{}, total, err
	}
	spreads, err := s.Store.Spreads(ctx, f, by)
	if err != nil {
		return grid{}, total, err
	}
	tails := map[string]store.Spread{}
	for _, sp := range spreads {
		tails[key0(sp.Key)] = sp
	}
	g := grid{Title: "By " + label(by), Heads: heads(label(by), "#Calls", "#Cost", "#Revenue", "#Margin", "#Margin %", "#Accepted", "#Cost per accepted", "#Failed", "#p95 ms"),
		Empty: "Nothing was metered here. Widen the window, or take a filter away."}
	shown, left := bars(r.view, rows, total, by, rowsShown)
	for _, b := range shown {
		sp := tails[key0(b.Key)]
		g.Rows = append(g.Rows, []cell{owned(b), num(count(b.Count)), costCell(b.Group), usdCell(b.RevenueUSD), usdCell(b.MarginUSD),
			num(marginPercent(b.MarginUSD, b.RevenueUSD)), num(percent(b.Accepted, b.WithOutcome)), usdCell(perAccepted(b.Group)), num(count(sp.Failed)), num(count(sp.P95MS))})
	}
	if left != nil {
		g.Rows = append(g.Rows, []cell{{Text: fmt.Sprintf("%d more", left.Rows), Class: "none"}, num(count(left.Count)), usdCell(left.Cost), num(""), num(""), num(""), num(""), num(""), num(""), num("")})
	}
	if len(g.Rows) > 0 {
		g.Foot = []cell{text("Total"), num(count(total.Count)), usdCell(total.CostUSD), usdCell(total.RevenueUSD), usdCell(total.MarginUSD), num(marginPercent(total.MarginUSD, total.RevenueUSD)),
			num(percent(total.Accepted, total.WithOutcome)), usdCell(per(total.CostUSD, total.Accepted)), num(""), num("")}
	}
	return g, total, nil
}

// key0 is a key as a map's key: Unattributed is a text that no slug can be.
func key0(key *string) string {
	if key == nil {
		return "\x00"
	}
	return *key
}

func (s *Surface) workflows(r *request) error {
	g, _, err := s.dimensionTable(r, meter.DimWorkflow)
	if err != nil {
		return err
	}
	all, err := s.Store.Workflows(r.Request.Context(), r.session.TenantID)
	if err != nil {
		return err
	}
	priced := map[string]meter.Workflow{}
	for _, w := range all {
		priced[w.WorkflowID] = w
	}
	g.Heads = append(g.Heads, head{Label: "Price", Num: true}, head{Label: "State"})
	for i, row := range g.Rows {
		w, known := priced[row[0].Text]
		price, state := num("–"), text("metered")
		if known {
			state = badge(string(w.State), stateClass(string(w.State)))
			state.Link = "/app/sell/" + url.PathEscape(w.WorkflowID)
			if w.Price != nil {
				price = usdCell(w.Price.AmountUSD)
			}
		}
		g.Rows[i] = append(row, price, state)
	}
	if g.Foot != nil {
		g.Foot = append(g.Foot, text(""), text(""))
	}
	p := gridPage{Heading: "Workflows", Lead: "What each kind of work costs, earns and is worth. A row opens its events.", Grids: []section{{Grid: g}}}
	if r.may(meter.ScopeSellWrite) {
		p.Actions = []tab{{Label: "Sell a workflow", Link: "/app/sell/new"}}
	}
	return r.show("Workflows", "grids.html", true, p)
}

func (s *Surface) customers(r *request) error {
	g, total, err := s.dimensionTable(r, meter.DimCustomer)
	if err != nil {
		return err
	}
	p := gridPage{Heading: "Customers and margin", Lead: "Revenue is what settled receipts say; without one it is unknown, and so is the margin.", Grids: []section{{Grid: g}}}
	_, settled, err := s.Store.Summary(r.Request.Context(), with(r.view.filter(), "receipt_status", "settled"), "")
	if err != nil {
		return err
	}
	p.Figures = []figure{{Label: "Revenue", Value: cash(total.RevenueUSD), Title: full(total.RevenueUSD)}, {Label: "Cost of all calls", Value: cash(total.CostUSD), Title: full(total.CostUSD)},
		{Label: "Margin on paid calls", Value: cash(total.MarginUSD), Title: full(total.MarginUSD), Note: marginNote(total)},
		{Label: "Calls without revenue", Value: count(total.Count - settled.Count), Note: "of " + count(total.Count)}}
	return r.show("Customers", "grids.html", true, p)
}

// with is a selection narrowed by one more column.
func with(f store.Filter, column, value string) store.Filter {
	equal := map[string][]string{}
	for name, values := range f.Equal {
		equal[name] = values
	}
	equal[column] = []string{value}
	f.Equal = equal
	return f
}

// dimensionTabs is what the dimensions page shows, one at a time.
func dimensionTabs() []string {
	return []string{meter.DimFeature, meter.DimDepartment, meter.DimEmployee, meter.DimProject, meter.DimAgent, meter.DimTaskType, meter.DimActionType, meter.DimSession, "model", "provider"}
}

func (s *Surface) dimensions(r *request) error {
	by := cmp.Or(r.Query("by"), meter.DimFeature)
	if !slices.Contains(dimensionTabs(), by) {
		return badParameter("by", "is not a dimension of this page")
	}
	g, _, err := s.dimensionTable(r, by)
	if err != nil {
		return err
	}
	c, err := s.costChart(r.Request.Context(), r.view, by)
	if err != nil {
		return err
	}
	p := gridPage{Heading: "Dimensions", Lead: "The same money by each owner a call can name. What names none is Unattributed: its row opens the calls.", Chart: &c, Grids: []section{{Grid: g}}}
	for _, t := range dimensionTabs() {
		p.Tabs = append(p.Tabs, tab{label(t), r.view.With("by", t), t == by})
	}
	return r.show("Dimensions", "grids.html", true, p)
}

func (s *Surface) outcomes(r *request) error {
	ctx, f := r.Request.Context(), r.view.filter()
	rows, total, err := s.Store.Summary(ctx, f, "outcome")
	if err != nil {
		return err
	}
	quality, err := s.Store.Quality(ctx, f)
	if err != nil {
		return err
	}
	eligible := total.Count - quality.Denied - quality.Open
	c, err := s.costChart(ctx, r.view, "outcome")
	if err != nil {
		return err
	}
	p := gridPage{Heading: "Outcomes", Lead: "What the work was worth, as your application or a person reported it.", Chart: &c}
	p.Figures = []figure{{Label: "Coverage", Value: percent(total.WithOutcome, eligible), Note: count(total.WithOutcome) + " of " + count(eligible) + " calls"},
		{Label: "Accepted", Value: percent(total.Accepted, total.WithOutcome), Note: "of those with an outcome"},
		{Label: "Cost per accepted", Value: cash(per(total.CostUSD, total.Accepted)), Title: full(per(total.CostUSD, total.Accepted)), Note: "failed and rejected work included"}}
	mix := grid{Title: "Calls by outcome", Heads: heads("Outcome", "#Calls", "#Share", "#Cost"), Empty: "No call in this window."}
	for _, g := range rows {
		name, link := text("none reported"), ""
		if g.Key != nil {
			name, link = text(*g.Key), r.view.On("/app/events", "outcome", *g.Key)
		}
		name.Link = link
		mix.Rows = append(mix.Rows, []cell{name, num(count(g.Count)), num(percent(g.Count, total.Count)), usdCell(g.CostUSD)})
	}
	p.Grids = append(p.Grids, section{Heading: "Mix", Grid: mix})
	for _, by := range []string{"model", meter.DimWorkflow} {
		g, err := s.worthTable(r, by)
		if err != nil {
			return err
		}
		p.Grids = append(p.Grids, section{Heading: "By " + label(by), Grid: g})
	}
	return r.show("Outcomes", "grids.html", true, p)
}

// worthTable is coverage and cost per accepted by one column (F4: all cost of the slice over what was accepted).
func (s *Surface) worthTable(r *request, by string) (grid, error) {
	rows, total, err := s.Store.Summary(r.Request.Context(), r.view.filter(), by)
	g := grid{Title: "Worth by " + label(by), Heads: heads(label(by), "#Calls", "#Without outcome", "#Coverage", "#Accepted", "#Cost per accepted"), Empty: "No call in this window."}
	shown, left := bars(r.view, rows, total, by, 20)
	for _, b := range shown {
		g.Rows = append(g.Rows, []cell{owned(b), num(count(b.Count)), num(count(b.Count - b.WithOutcome)), num(percent(b.WithOutcome, b.Count)),
			num(percent(b.Accepted, b.WithOutcome)), usdCell(perAccepted(b.Group))})
	}
	if left != nil {
		g.Note = fmt.Sprintf("%d more rows hold %s calls; narrow the filters to see them.", left.Rows, count(left.Count))
	}
	return g, err
}

func (s *Surface) waste(r *request) error {
	ctx, f := r.Request.Context(), r.view.filter()
	rows, total, err := s.Store.Summary(ctx, f, meter.DimWorkflow)
	if err != nil {
		return err
	}
	spreads, err := s.Store.Spreads(ctx, f, meter.DimWorkflow)
	if err != nil {
		return err
	}
	tails := map[string]store.Spread{}
	var failed, rejected money.USD
	var failures int64
	for _, sp := range spreads {
		tails[key0(sp.Key)] = sp
		failed, rejected, failures = failed.Add(sp.FailedUSD), rejected.Add(sp.Rejected), failures+sp.Failed
	}
	p := gridPage{Heading: "Waste", Lead: "Money that bought nothing. The kinds overlap: a retry that failed stands in both, so they are not added up."}
	p.Figures = []figure{
		{Label: "Retries", Value: cash(total.RetryCostUSD), Title: full(total.RetryCostUSD), Note: "calls the application made again", Link: r.view.On("/app/events", "retry", "1")},
		{Label: "Failed", Value: cash(failed), Title: full(failed), Note: count(failures) + " calls that cost and gave nothing"},
		{Label: "Rejected", Value: cash(rejected), Title: full(rejected), Note: "work judged rejected", Link: r.view.On("/app/events", "outcome", "rejected")},
		{Label: "Duplicates", Value: "not measured", Note: "needs the privacy mode fingerprint_only"},
		{Label: "Of all cost", Value: cash(total.CostUSD), Title: full(total.CostUSD)},
	}
	g := grid{Title: "Waste by workflow", Heads: heads("Workflow", "#Cost", "#Retries", "#Failed", "#Rejected", "#Failed calls"), Empty: "No call in this window."}
	shown, left := bars(r.view, rows, total, meter.DimWorkflow, rowsShown)
	for _, b := range shown {
		sp := tails[key0(b.Key)]
		g.Rows = append(g.Rows, []cell{owned(b), costCell(b.Group), usdCell(b.RetryCostUSD), usdCell(sp.FailedUSD), usdCell(sp.Rejected), num(count(sp.Failed))})
	}
	if left != nil {
		g.Note = fmt.Sprintf("%d more rows.", left.Rows)
	}
	g.Foot = []cell{text("Total"), usdCell(total.CostUSD), usdCell(total.RetryCostUSD), usdCell(failed), usdCell(rejected), num(count(failures))}
	p.Grids = []section{{Heading: "By workflow", Grid: g}}
	return r.show("Waste", "grids.html", true, p)
}

// stateClass is the colour of a state's badge.
func stateClass(state string) string {
	switch state {
	case "live", "final", "included", "settled", "ok":
		return "good"
	case "paused", "captured", "submitted", "authorized", "pending", "draft", "test":
		return "warn"
	case "lost", "retired", "failed", "revoked":
		return "bad"
	}
	return ""
}
