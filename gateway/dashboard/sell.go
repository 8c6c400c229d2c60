package dashboard

import (
	"net/http"
	"net/url"
	"strings"

	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

// sell is what is offered and what it earned.
func (s *Surface) sell(r *request) error {
	ctx := r.Request.Context()
	live := r.view.Mode == modeLive
	all, err := s.Store.Workflows(ctx, r.session.TenantID)
	if err != nil {
		return err
	}
	earned, err := s.Store.Earnings(ctx, r.session.TenantID, live)
	if err != nil {
		return err
	}
	by := map[string]store.Earning{}
	var total money.USDC
	var receipts int64
	for _, e := range earned {
		by[e.WorkflowID], total, receipts = e, total.Add(e.Amount), receipts+e.Receipts
	}
	g := grid{Title: "What is sold", Heads: heads("Workflow", "State", "#Price per call", "Network", "#Earned", "#Receipts", "#Payers", "Last paid", "Public page"),
		Empty: "Nothing is sold yet. A priced workflow is an address that anybody with a wallet can call, without a key of yours."}
	for _, w := range all {
		if w.Price == nil {
			continue
		}
		e := by[w.WorkflowID]
		last := text("–")
		if e.Receipts > 0 {
			last = text(e.LastAt.UTC().Format("2 Jan 2006 15:04"))
		}
		g.Rows = append(g.Rows, []cell{linked(w.WorkflowID, "/app/sell/"+url.PathEscape(w.WorkflowID)), badge(string(w.State), stateClass(string(w.State))), usdCell(w.Price.AmountUSD), text(w.Price.Network),
			usdCell(e.Amount.USD()), {Text: count(e.Receipts), Num: true, Link: "/app/receipts?workflow=" + url.QueryEscape(w.WorkflowID)}, num(count(e.Payers)), last, linked("open", "/x/"+w.Seller+"/"+w.WorkflowID)})
	}
	if len(g.Rows) > 0 {
		g.Foot = []cell{text("Total"), text(""), text(""), text(""), usdCell(total.USD()), num(count(receipts)), text(""), text(""), text("")}
	}
	p := gridPage{Heading: "Sell", Lead: "Payments go to your own address: p402 never holds them. Earned is the sum of settled receipts, over all time.", Grids: []section{{Grid: g}},
		Figures: []figure{{Label: "Earned, " + r.view.Mode, Value: cash(total.USD()), Title: total.String() + " atomic units of USDC"}, {Label: "Settled receipts", Value: count(receipts), Link: "/app/receipts"}}}
	if r.may(meter.ScopeSellWrite) {
		p.Actions = []tab{{Label: "Sell a workflow", Link: "/app/sell/new"}}
	}
	return r.show("Sell", "grids.html", false, p)
}

// sellData is what the wizard shows beside the form.
type sellData struct {
	Step     int // 1 what and for how much, 2 check
	Networks []settlement.Network
	Past     store.PastCost
	OfModel  bool // the past is that of the model's calls, as the workflow has none
	Margins  []marginRow
	Payable  string // what a payer signs for, in atomic units
	Paid     string // the public address
	Base     string // as an OpenAI base URL
	Edit     bool
	Workflow *meter.Workflow
}

// marginRow is the price against one figure of the past.
type marginRow struct {
	Label  string
	Cost   money.USD
	Margin money.USD
	Share  string
	Loss   bool
}

func (s *Surface) sellNew(r *request) error {
	p := formPage{Heading: "Sell a workflow", Values: map[string]string{"wait_for": "included", "model": "mock-small"}, Data: sellData{Step: 1, Networks: s.networks(r)}}
	if r.view.Mode == modeLive {
		p.Values["model"] = ""
	}
	return r.show("Sell a workflow", "sell_form.html", false, p)
}

// networks is what the installation collects on; a network without a worker cannot be chosen.
func (s *Surface) networks(*request) []settlement.Network {
	var out []settlement.Network
	for _, name := range s.Networks {
		if n, ok := settlement.FindNetwork(name); ok {
			out = append(out, n)
		}
	}
	return out
}

// sellCreate takes both steps of the wizard: "check" shows what the price means, "publish" and "draft" keep it.
func (s *Surface) sellCreate(r *request) error {
	values, _ := r.typed()
	p := formPage{Heading: "Sell a workflow", Values: values}
	d := sellData{Step: 1, Networks: s.networks(r)}
	state := map[string]string{"publish": "live", "draft": "draft", "check": "draft"}[values["do"]]
	if values["payTo"] != values["payTo_again"] {
		p.Data = d
		return r.refused(badParameter("payTo", "the two addresses differ: paste yours into both fields"), p.Heading, "sell_form.html", p)
	}
	if err := s.preview(r, values, &d); err != nil {
		p.Data = d
		return r.refused(err, p.Heading, "sell_form.html", p)
	}
	if state == "" || values["do"] == "check" {
		d.Step = 2
		p.Data = d
		return r.show(p.Heading, "sell_form.html", false, p)
	}
	if err := r.api(http.MethodPost, "/workflows", workflowBody(values, state), nil); err != nil {
		p.Data = d
		return r.refused(err, p.Heading, "sell_form.html", p)
	}
	return r.done("/app/sell/" + url.PathEscape(values["workflow_id"]))
}

func workflowBody(values map[string]string, state string) map[string]any {
	body := map[string]any{"workflow_id": values["workflow_id"], "name": values["name"], "description": values["description"], "state": state,
		"target": map[string]any{"kind": "model", "model": values["model"]}}
	if values["amount_usd"] != "" {
		body["price"] = map[string]any{"model": "per_call", "amount_usd": values["amount_usd"], "payTo": values["payTo"], "network": values["network"], "wait_for": values["wait_for"]}
	}
	return body
}

// preview sets the price against what such runs have cost (S12), and says so when there are none.
func (s *Surface) preview(r *request, values map[string]string, d *sellData) error {
	ctx := r.Request.Context()
	price, err := money.ParseUSD(values["amount_usd"])
	if err != nil || price.Sign() <= 0 {
		return badParameter("amount_usd", "must be an amount of dollars above 0, such as 0.05")
	}
	payable, err := money.Payable(price)
	if err != nil {
		return badParameter("amount_usd", "cannot be paid in the network's token")
	}
	d.Payable = payable.String()
	f := store.Filter{TenantID: r.session.TenantID, Equal: map[string][]string{meter.DimWorkflow: {values["workflow_id"]}}}
	if d.Past, err = s.Store.PastCost(ctx, f); err != nil {
		return err
	}
	if d.Past.Runs == 0 && values["model"] != "" {
		f.Equal = map[string][]string{"model_used": {values["model"]}}
		d.OfModel = true
		if d.Past, err = s.Store.PastCost(ctx, f); err != nil {
			return err
		}
	}
	for _, row := range []struct {
		label string
		cost  *money.USD
	}{{"the middle run (p50)", d.Past.P50}, {"a dear run (p95)", d.Past.P95}, {"the dearest run", d.Past.Most}} {
		if row.cost == nil {
			continue
		}
		margin := payable.USD().Sub(*row.cost)
		d.Margins = append(d.Margins, marginRow{row.label, *row.cost, margin, shareOf(margin, payable.USD()), margin.Sign() < 0})
	}
	return nil
}

// sellOne is one priced workflow: its address, how to call it, what it earned, and its switches.
func (s *Surface) sellOne(r *request) error {
	return s.showSold(r, nil)
}

func (s *Surface) showSold(r *request, refusal error) error {
	ctx := r.Request.Context()
	w, err := s.Store.Workflow(ctx, r.session.TenantID, r.Param("id"))
	if err != nil {
		return err
	}
	paid := baseURL(r.Context) + "/x/" + w.Seller + "/" + w.WorkflowID
	d := sellData{Step: 3, Networks: s.networks(r), Paid: paid, Base: paid + "/v1", Workflow: &w}
	p := formPage{Heading: w.WorkflowID, Data: &d, Values: map[string]string{"workflow_id": w.WorkflowID, "name": w.Name, "description": w.Description, "model": w.Target.Model}}
	if w.Price != nil {
		for name, value := range map[string]string{"amount_usd": w.Price.AmountUSD.String(), "payTo": w.Price.PayTo, "payTo_again": w.Price.PayTo, "network": w.Price.Network, "wait_for": w.Price.WaitFor} {
			p.Values[name] = value
		}
		if err := s.preview(r, p.Values, &d); err != nil {
			return err
		}
	}
	if refusal != nil {
		return r.refused(refusal, p.Heading, "sold.html", p)
	}
	return r.show("Sell "+w.WorkflowID, "sold.html", false, p)
}

// sellChange changes state or price. A new price is a new version: offers that are out keep theirs.
func (s *Surface) sellChange(r *request) error {
	w, err := s.Store.Workflow(r.Request.Context(), r.session.TenantID, r.Param("id"))
	if err != nil {
		return err
	}
	typed, _ := r.typed()
	values := map[string]string{"workflow_id": w.WorkflowID, "name": w.Name, "description": w.Description, "model": w.Target.Model}
	if w.Price != nil {
		values["amount_usd"], values["payTo"], values["network"], values["wait_for"] = w.Price.AmountUSD.String(), w.Price.PayTo, w.Price.Network, w.Price.WaitFor
	}
	if typed["amount_usd"] != "" {
		values["amount_usd"] = strings.TrimPrefix(typed["amount_usd"], "$")
	}
	state := string(w.State)
	if typed["state"] != "" {
		state = typed["state"]
	}
	if err := r.api(http.MethodPost, "/workflows", workflowBody(values, state), nil); err != nil {
		return s.showSold(r, err)
	}
	return r.done("/app/sell/" + url.PathEscape(w.WorkflowID))
}

func (s *Surface) receipts(r *request) error {
	live, workflow := r.view.Mode == modeLive, r.Query("workflow")
	rows, err := s.Store.ReceiptsPage(r.Request.Context(), r.session.TenantID, live, workflow, r.Query("after"), listSize+1)
	if err != nil {
		return err
	}
	p := gridPage{Heading: "Receipts", Lead: "Signed statements that link an event, its payment and the transaction. Each can be checked offline, by anybody."}
	keep := url.Values{}
	if workflow != "" {
		p.Lead, p.First = "Of "+workflow+". "+p.Lead, "/app/receipts"
		keep.Set("workflow", workflow)
	}
	if len(rows) > listSize {
		rows = rows[:listSize]
		keep.Set("after", string(rows[listSize-1].ReceiptID))
		p.Next = "/app/receipts?" + keep.Encode()
	}
	g := grid{Title: "Receipts", Heads: heads("Receipt", "Settled (UTC)", "Workflow", "Payer", "#Amount, USDC", "Network", "Transaction", "Status", "Event"),
		Empty: "No receipt in the " + r.view.Mode + " ledger. One is signed when a sold call's payment stands in a block."}
	for _, x := range rows {
		g.Rows = append(g.Rows, []cell{{Text: short(string(x.ReceiptID)), Title: string(x.ReceiptID), Link: "/app/events/" + string(x.EventID) + "#receipt"}, text(x.SettledAt.UTC().Format("2006-01-02 15:04:05")), text(x.WorkflowID),
			{Text: short(x.Payer), Title: x.Payer}, num(x.AmountUSD), text(x.Network), {Text: short(x.Transaction), Title: x.Transaction}, badge(string(x.State), stateClass(string(x.State))), {Text: short(string(x.EventID)), Title: string(x.EventID), Link: "/app/events/" + string(x.EventID)}})
	}
	p.Grids = []section{{Grid: g}}
	return r.show("Receipts", "grids.html", false, p)
}

func (s *Surface) payments(r *request) error {
	live, state := r.view.Mode == modeLive, r.Query("state")
	rows, err := s.Store.PaymentsPage(r.Request.Context(), r.session.TenantID, live, state, r.Query("after"), listSize+1)
	if err != nil {
		return err
	}
	p := gridPage{Heading: "Payments", Lead: "Claimed authorizations and how far each has come. Lost is owed and cannot be collected; voided is owed by nobody."}
	p.Tabs = []tab{{"All", "/app/payments", state == ""}}
	for _, st := range settlement.States() {
		p.Tabs = append(p.Tabs, tab{string(st), "/app/payments?state=" + string(st), state == string(st)})
	}
	if len(rows) > listSize {
		rows = rows[:listSize]
		p.Next = "/app/payments?" + url.Values{"state": {state}, "after": {string(rows[listSize-1].ID)}}.Encode()
	}
	g := grid{Title: "Payments", Heads: heads("Payment", "Claimed (UTC)", "State", "#Amount, USDC", "Payer", "payTo", "Network", "Transaction", "Why", "Event"), Empty: "No payment here."}
	for _, x := range rows {
		event := text("facilitator")
		if x.EventID != "" {
			event = cell{Text: short(string(x.EventID)), Title: string(x.EventID), Link: "/app/events/" + string(x.EventID)}
		}
		g.Rows = append(g.Rows, []cell{{Text: short(string(x.ID)), Title: string(x.ID)}, text(x.ClaimedAt.UTC().Format("2006-01-02 15:04:05")), badge(string(x.State), stateClass(string(x.State))), num(x.Amount.USD().String()),
			{Text: short(x.Authorization.Payer), Title: x.Authorization.Payer}, {Text: short(x.Authorization.PayTo), Title: x.Authorization.PayTo}, text(x.Authorization.Network), {Text: short(x.Evidence.TxHash), Title: x.Evidence.TxHash}, text(x.Reason), event})
	}
	p.Grids = []section{{Grid: g}}
	return r.show("Payments", "grids.html", false, p)
}
