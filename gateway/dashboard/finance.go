package dashboard

import (
	"cmp"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// What the finance routes of /api/v2 answer, as far as the pages show it. The pages ask as the visitor and compute nothing.
type (
	chainView struct {
		Network, Asset, Wallet, View, Problem string
		NextBlock                             int64 `json:"next_block"`
		HeadBlock                             int64 `json:"head_block"`
	}
	exception struct {
		ID         string     `json:"exception_id"`
		Kind       string     `json:"kind"`
		Reason     string     `json:"reason"`
		Side       string     `json:"side"`
		Owner      string     `json:"owner"`
		Means      string     `json:"means"`
		NextStep   string     `json:"next_step"`
		AmountUSD  money.USD  `json:"amount_usd"`
		OccurredAt time.Time  `json:"occurred_at"`
		AgeHours   int64      `json:"age_hours"`
		State      string     `json:"state"`
		Detail     string     `json:"detail"`
		Expected   *money.USD `json:"expected_usd"`
		Actual     *money.USD `json:"found_usd"`
		History    []struct {
			State string    `json:"state"`
			By    string    `json:"by"`
			Note  string    `json:"note"`
			At    time.Time `json:"at"`
		} `json:"history"`
	}
	reconRun struct {
		ID        string    `json:"run_id"`
		Since     time.Time `json:"since"`
		Until     time.Time `json:"until"`
		StartedAt time.Time `json:"started_at"`
		Complete  bool      `json:"complete"`
		Missing   []string  `json:"missing"`
		Found     int64     `json:"found"`
		New       int64     `json:"new"`
		Cleared   int64     `json:"cleared"`
		Digest    string    `json:"digest"`
	}
	imported struct {
		ID         string    `json:"import_id"`
		Format     string    `json:"format"`
		Provider   string    `json:"provider"`
		Name       string    `json:"name"`
		FirstDay   string    `json:"first_day"`
		LastDay    string    `json:"last_day"`
		Lines      int64     `json:"lines"`
		Rejected   []any     `json:"rejected_rows"`
		ImportedAt time.Time `json:"imported_at"`
	}
	period struct {
		ID       string    `json:"period_id"`
		Name     string    `json:"period"`
		Zone     string    `json:"zone"`
		StartsAt time.Time `json:"starts_at"`
		EndsAt   time.Time `json:"ends_at"`
		State    string    `json:"state"`
		Revision int64     `json:"revision"`
	}
	export struct {
		ID        string     `json:"export_id"`
		Kind      string     `json:"kind"`
		Format    string     `json:"format"`
		Since     *time.Time `json:"since"`
		Until     *time.Time `json:"until"`
		State     string     `json:"state"`
		RowCount  *int64     `json:"row_count"`
		SHA256    *string    `json:"sha256"`
		CreatedAt time.Time  `json:"created_at"`
		CreatedBy string     `json:"created_by"`
		Download  string     `json:"download"`
	}
)

// listOf is a list as every route of the API answers one.
type listOf[T any] struct {
	Data    []T     `json:"data"`
	HasMore bool    `json:"has_more"`
	Next    *string `json:"next_cursor"`
}

// financePage is the queue of differences, what was run and imported, and the periods.
type financePage struct {
	Grids     []section
	Figures   []figure
	Blind     []chainView // wallets that we do not see whole now
	LastMonth string
	Refusal   string
	Saved     string
	Next      string
	States    []tab
}

func (s *Surface) reconcile(r *request) error { return s.showReconcile(r, nil) }

func (s *Surface) showReconcile(r *request, refusal error) error {
	state := cmp.Or(r.Query("state"), "open")
	query := url.Values{"limit": {"50"}}
	switch state {
	case "all":
	case "open":
		query.Set("open", "1")
	default:
		query.Set("state", state)
	}
	if cursor := r.Query("cursor"); cursor != "" {
		query.Set("cursor", cursor)
	}
	var open listOf[exception]
	var views listOf[chainView]
	var runs listOf[reconRun]
	var files listOf[imported]
	var periods listOf[period]
	for path, into := range map[string]any{"/reconciliation/exceptions?" + query.Encode(): &open, "/reconciliation/chain": &views, "/reconciliation/runs?limit=5": &runs,
		"/reconciliation/imports?limit=5": &files, "/periods?limit=12": &periods} {
		if err := r.api(http.MethodGet, path, nil, into); err != nil {
			return err
		}
	}
	now := s.Now()
	p := financePage{LastMonth: now.AddDate(0, 0, -now.Day()).Format("2006-01")}
	for _, word := range []string{"open", "explained", "adjusted", "waived", "all"} {
		p.States = append(p.States, tab{word, "/app/reconcile?state=" + word, word == state})
	}
	if open.Next != nil {
		p.Next = "/app/reconcile?" + url.Values{"state": {state}, "cursor": {*open.Next}}.Encode()
	}
	for _, v := range views.Data {
		if v.View != "following" {
			p.Blind = append(p.Blind, v)
		}
	}
	p.Grids = []section{{Heading: "Differences", Lead: "Each has somebody who acts. A decision stays when a run is repeated.", Grid: exceptionGrid(open.Data)},
		{Heading: "Periods", Grid: periodGrid(periods.Data)}, {Heading: "Runs", Grid: runGrid(runs.Data)}, {Heading: "Vendors' files", Grid: importGrid(files.Data)}, {Heading: "What we see of the chain", Grid: viewGrid(views.Data)}}
	status := http.StatusOK
	if refusal != nil {
		why := formPage{}
		if err := why.explain(refusal); err != nil {
			return err
		}
		p.Refusal, status = why.Refusal, http.StatusUnprocessableEntity
	}
	r.s.render(r.Context, status, r.page("Reconcile", "reconcile.html", false, p))
	return nil
}

func exceptionGrid(list []exception) grid {
	g := grid{Title: "Differences", Heads: heads("What", "#Amount", "Side", "Who acts", "Age", "Next step", "State"), Empty: "Nothing stands here. After a run, every difference between events, payments, receipts, chain and vendors' bills does, or is matched."}
	for _, e := range list {
		class := "good"
		if e.State == "open" {
			class = "warn"
		}
		g.Rows = append(g.Rows, []cell{{Text: e.Kind, Title: e.Means, Link: "/app/reconcile/" + e.ID}, usdCell(e.AmountUSD), text(e.Side), text(e.Owner), text((time.Duration(e.AgeHours) * time.Hour).String()), text(e.NextStep), badge(e.State, class)})
	}
	return g
}

func periodGrid(list []period) grid {
	g := grid{Title: "Periods", Heads: heads("Period", "Zone", "From", "To", "State", "#Revision"), Empty: "No period was closed yet. A month is closed when every difference is decided; then its totals never move."}
	for _, x := range list {
		class := ""
		if x.State == "closed" {
			class = "good"
		}
		g.Rows = append(g.Rows, []cell{linked(x.Name, "/app/periods/"+url.PathEscape(x.Name)), text(x.Zone), text(x.StartsAt.UTC().Format("2006-01-02 15:04")), text(x.EndsAt.UTC().Format("2006-01-02 15:04")), badge(x.State, class), num(count(x.Revision))})
	}
	return g
}

func runGrid(list []reconRun) grid {
	g := grid{Title: "Runs", Heads: heads("Run (UTC)", "From", "To", "#Found", "#New", "#Cleared", "Whole", "Digest"), Empty: "No run yet. A run compares a period; it may be repeated and changes no decision."}
	for _, x := range list {
		whole := badge("yes", "good")
		if !x.Complete {
			whole = cell{Text: "no: " + strings.Join(x.Missing, "; "), Class: "bad"}
		}
		g.Rows = append(g.Rows, []cell{{Text: x.StartedAt.UTC().Format("2006-01-02 15:04:05"), Title: x.ID}, text(x.Since.UTC().Format("2006-01-02 15:04")), text(x.Until.UTC().Format("2006-01-02 15:04")),
			num(count(x.Found)), num(count(x.New)), num(count(x.Cleared)), whole, {Text: short(x.Digest), Title: x.Digest}})
	}
	return g
}

func importGrid(list []imported) grid {
	g := grid{Title: "Vendors' files", Heads: heads("File", "Vendor", "Format", "Days", "#Lines", "#Not read", "Imported (UTC)"), Empty: "No vendor's bill was imported yet."}
	for _, x := range list {
		g.Rows = append(g.Rows, []cell{{Text: cmp.Or(x.Name, x.ID), Title: x.ID}, text(x.Provider), text(x.Format), text(x.FirstDay + " – " + x.LastDay), num(count(x.Lines)), num(count(len(x.Rejected))), text(x.ImportedAt.UTC().Format("2006-01-02 15:04:05"))})
	}
	return g
}

func viewGrid(list []chainView) grid {
	g := grid{Title: "What we see of the chain", Heads: heads("Network", "Wallet", "We see it", "#Read to block", "#Head", "Problem"), Empty: "No wallet is followed: settlement is off, or nothing was ever paid."}
	for _, x := range list {
		g.Rows = append(g.Rows, []cell{text(x.Network), {Text: short(x.Wallet), Title: x.Wallet}, text(x.View), num(count(x.NextBlock)), num(count(x.HeadBlock)), text(x.Problem)})
	}
	return g
}

// runReconcile compares a period.
func (s *Surface) runReconcile(r *request) error {
	if err := r.api(http.MethodPost, "/reconciliation/runs", map[string]any{"period": strings.TrimSpace(r.PostForm("period"))}, nil); err != nil {
		return s.showReconcile(r, err)
	}
	return r.done("/app/reconcile")
}

// importBill takes a vendor's file out of the form and hands it on as it is.
func (s *Surface) importBill(r *request) error {
	file, err := r.FormFile("file")
	if err != nil {
		return s.showReconcile(r, badParameter("file", "choose the file that the vendor gave you"))
	}
	f, err := file.Open()
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was read whole or the error says so
	raw, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	q := url.Values{"format": {r.PostForm("format")}, "name": {clip(file.Filename)}}
	if v := r.PostForm("provider"); v != "" {
		q.Set("provider", v)
	}
	if err := r.send(http.MethodPost, "/reconciliation/imports?"+q.Encode(), "text/csv", raw, nil); err != nil {
		return s.showReconcile(r, err)
	}
	return r.done("/app/reconcile")
}

func (s *Surface) exception(r *request) error { return s.showException(r, nil) }

func (s *Surface) showException(r *request, refusal error) error {
	var e exception
	if err := r.api(http.MethodGet, "/reconciliation/exceptions/"+url.PathEscape(r.Param("id")), nil, &e); err != nil {
		return err
	}
	p := formPage{Heading: e.Kind, Data: e}
	if refusal != nil {
		return r.refused(refusal, "Difference", "exception.html", p)
	}
	return r.show("Difference", "exception.html", false, p)
}

func (s *Surface) resolveException(r *request) error {
	body := map[string]any{"state": r.PostForm("state"), "note": strings.TrimSpace(r.PostForm("note")), "by": r.signature()}
	if err := r.api(http.MethodPost, "/reconciliation/exceptions/"+url.PathEscape(r.Param("id"))+"/resolve", body, nil); err != nil {
		return s.showException(r, err)
	}
	return r.done("/app/reconcile")
}

// signature is who decides, as finance writes it down.
func (r *request) signature() string {
	if r.session.Email != "" {
		return r.session.Email
	}
	return r.session.Actor()
}

// periodPage is one period: the checklist while it is open, the statements once it is closed.
type periodPage struct {
	period
	Checklist []struct {
		Name   string `json:"name"`
		OK     bool   `json:"ok"`
		Detail string `json:"detail"`
	}
	Blocked    string // the refusal's code, "" when it can be closed
	Open       int64
	Statements []map[string]any
	Refusal    string
	Closed     bool
}

func (s *Surface) period(r *request) error { return s.showPeriod(r, nil) }

func (s *Surface) showPeriod(r *request, refusal error) error {
	name := r.Param("id")
	p := periodPage{}
	p.Name = name
	var one struct {
		period
		Statements []map[string]any `json:"statements"`
	}
	err := r.api(http.MethodGet, "/periods/"+url.PathEscape(name), nil, &one)
	switch {
	case err == nil:
		p.period, p.Statements, p.Closed = one.period, one.Statements, one.State == "closed"
	case kindIsNotFound(err):
		p.State = "open"
	default:
		return err
	}
	if !p.Closed && r.may(meter.ScopeFinanceClose) {
		var dry struct {
			Checklist []struct {
				Name   string `json:"name"`
				OK     bool   `json:"ok"`
				Detail string `json:"detail"`
			} `json:"checklist"`
			Blocked *string `json:"blocked"`
			Open    int64   `json:"open_exceptions"`
		}
		if err := r.api(http.MethodPost, "/periods/"+url.PathEscape(name)+"/close", map[string]any{"by": r.signature(), "dry_run": true}, &dry); err != nil && refusal == nil {
			refusal = err
		}
		p.Checklist, p.Open = dry.Checklist, dry.Open
		if dry.Blocked != nil {
			p.Blocked = *dry.Blocked
		}
	}
	status := http.StatusOK
	if refusal != nil {
		why := formPage{}
		if err := why.explain(refusal); err != nil {
			return err
		}
		p.Refusal, status = why.Refusal, http.StatusUnprocessableEntity
	}
	r.s.render(r.Context, status, r.page("Period "+clip(name), "period.html", false, p))
	return nil
}

func (s *Surface) periodChange(r *request) error {
	path := "/periods/" + url.PathEscape(r.Param("id"))
	var err error
	switch r.PostForm("do") {
	case "close":
		err = r.api(http.MethodPost, path+"/close", map[string]any{"by": r.signature()}, nil)
	case "reopen":
		err = r.api(http.MethodPost, path+"/reopen", map[string]any{"by": r.signature(), "reason": strings.TrimSpace(r.PostForm("reason"))}, nil)
	default:
		err = badParameter("do", "must be close or reopen")
	}
	if err != nil {
		return s.showPeriod(r, err)
	}
	return r.done("/app/periods/" + url.PathEscape(r.Param("id")))
}

func (s *Surface) openPeriod(r *request) error {
	return r.done("/app/periods/" + url.PathEscape(clip(strings.TrimSpace(r.PostForm("period")))))
}

// exportsPage is the jobs and the form of a new one.
type exportsPage struct {
	Grid      grid
	Kinds     []string
	Formats   []string
	LastMonth string
	Refusal   string
	Next      string
}

func (s *Surface) exports(r *request) error { return s.showExports(r, nil) }

func (s *Surface) showExports(r *request, refusal error) error {
	query := url.Values{"limit": {"50"}}
	if cursor := r.Query("cursor"); cursor != "" {
		query.Set("cursor", cursor)
	}
	var all listOf[export]
	if err := r.api(http.MethodGet, "/exports?"+query.Encode(), nil, &all); err != nil {
		return err
	}
	now := s.Now()
	p := exportsPage{Kinds: store.ExportKinds(), Formats: []string{"csv", "ndjson", "json", "hledger", "beancount", "quickbooks", "xero"}, LastMonth: now.AddDate(0, 0, -now.Day()).Format("2006-01")}
	p.Grid = grid{Title: "Exports", Heads: heads("Made (UTC)", "Kind", "Format", "From", "To", "#Rows", "SHA-256", "By", "File"), Empty: "No export yet. Rows and hash are written down when the file has been streamed whole."}
	for _, e := range all.Data {
		rows, hash := num("–"), text("–")
		if e.RowCount != nil {
			rows = num(count(*e.RowCount))
		}
		if e.SHA256 != nil {
			hash = cell{Text: short(*e.SHA256), Title: *e.SHA256}
		}
		p.Grid.Rows = append(p.Grid.Rows, []cell{{Text: e.CreatedAt.UTC().Format("2006-01-02 15:04:05"), Title: e.ID}, text(e.Kind), text(e.Format), dayOf(e.Since), dayOf(e.Until), rows, hash, text(e.CreatedBy), linked("Download", e.Download)})
	}
	if all.Next != nil {
		p.Next = "/app/exports?" + url.Values{"cursor": {*all.Next}}.Encode()
	}
	status := http.StatusOK
	if refusal != nil {
		why := formPage{}
		if err := why.explain(refusal); err != nil {
			return err
		}
		p.Refusal, status = why.Refusal, http.StatusUnprocessableEntity
	}
	r.s.render(r.Context, status, r.page("Exports", "exports.html", false, p))
	return nil
}

func dayOf(t *time.Time) cell {
	if t == nil {
		return text("–")
	}
	return text(t.UTC().Format("2006-01-02 15:04"))
}

func (s *Surface) createExport(r *request) error {
	body := map[string]any{"kind": r.PostForm("kind"), "format": r.PostForm("format")}
	set(body, "period", strings.TrimSpace(r.PostForm("period")))
	if err := r.api(http.MethodPost, "/exports", body, nil); err != nil {
		return s.showExports(r, err)
	}
	return r.done("/app/exports")
}
