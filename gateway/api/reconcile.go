package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/tidwall/gjson"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement/reconcile"
)

// financeRoutes is reconciliation, periods and exports.
func (s *Surface) financeRoutes() []route {
	return []route{
		{method: "POST", path: "/reconciliation/imports", scope: meter.ScopeFinanceWrite, query: []string{"format", "provider", "name"}, maxBody: maxImport, do: s.importFile},
		{method: "GET", path: "/reconciliation/imports", scope: meter.ScopeFinanceRead, query: paging, do: s.listImports},
		{method: "POST", path: "/reconciliation/runs", scope: meter.ScopeFinanceWrite, do: s.startRun},
		{method: "GET", path: "/reconciliation/runs", scope: meter.ScopeFinanceRead, query: paging, do: s.listRuns},
		{method: "GET", path: "/reconciliation/runs/:id", scope: meter.ScopeFinanceRead, do: s.oneRun},
		{method: "GET", path: "/reconciliation/exceptions", scope: meter.ScopeFinanceRead,
			query: append([]string{"state", "kind", "side", "owner", "open", "grouped", "since", "until"}, paging...), do: s.listExceptions},
		{method: "GET", path: "/reconciliation/exceptions/:id", scope: meter.ScopeFinanceRead, do: s.oneException},
		{method: "POST", path: "/reconciliation/exceptions/:id/resolve", scope: meter.ScopeFinanceWrite, do: s.resolve},
		{method: "GET", path: "/reconciliation/chain", scope: meter.ScopeFinanceRead, do: s.chainViews},
		{method: "GET", path: "/periods", scope: meter.ScopeFinanceRead, query: []string{"limit"}, do: s.listPeriods},
		{method: "GET", path: "/periods/:id", scope: meter.ScopeFinanceRead, do: s.onePeriod},
		{method: "POST", path: "/periods/:id/close", scope: meter.ScopeFinanceClose, do: s.closePeriod},
		{method: "POST", path: "/periods/:id/reopen", scope: meter.ScopeFinanceClose, do: s.reopenPeriod},
		{method: "GET", path: "/finance/settings", scope: meter.ScopeFinanceRead, do: s.zone},
		{method: "PUT", path: "/finance/settings", scope: meter.ScopeFinanceWrite, do: s.setZone},
		{method: "POST", path: "/exports", scope: meter.ScopeExportRead, do: s.createExport},
		{method: "GET", path: "/exports", scope: meter.ScopeExportRead, query: paging, do: s.listExports},
		{method: "GET", path: "/exports/:id", scope: meter.ScopeExportRead, do: s.oneExport},
	}
}

// maxImport bounds an imported file.
const maxImport = 32 << 20

// importFile takes a vendor's file as the body; the query names its format and vendor.
func (s *Surface) importFile(c *gin.Context, caller meter.Caller) (int, any, error) {
	format, provider := reconcile.Format(c.Query("format")), strings.ToLower(c.Query("provider"))
	if provider == "" && format != reconcile.FormatGeneric {
		provider = string(format)
	}
	if provider != "" && !nameForm.MatchString(provider) || len(c.Query("name")) > 200 {
		return 0, nil, invalid("provider", "must be a vendor's short name, and name at most 200 characters")
	}
	raw, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, maxImport))
	if err != nil {
		return 0, nil, err
	}
	parsed, err := reconcile.ParseFile(format, provider, raw)
	if err != nil {
		return 0, nil, err
	}
	sum := sha256.Sum256(raw)
	out, fresh, err := s.Store.SaveImport(c.Request.Context(), store.ImportFile{TenantID: caller.TenantID, Livemode: caller.Livemode, Format: format, Provider: provider,
		Name: c.Query("name"), SHA256: hex.EncodeToString(sum[:]), ImportedBy: author(caller), Parsed: parsed})
	if err != nil {
		return 0, nil, err
	}
	if fresh {
		return http.StatusCreated, out, nil
	}
	return http.StatusOK, out, nil
}

func (s *Surface) listImports(c *gin.Context, caller meter.Caller) (int, any, error) {
	p, err := s.page(c, caller)
	if err != nil {
		return 0, nil, err
	}
	rows, err := s.Store.Imports(c.Request.Context(), caller.TenantID, caller.Livemode, p.lastID(), p.limit+1)
	if err != nil {
		return 0, nil, err
	}
	out, err := list(s, c, caller, p, rows, func(i store.Imported) any { return i }, func(i store.Imported) store.Position { return byID(i.ID) })
	return http.StatusOK, out, err
}

// runBody is what a run is asked for: a period in the tenant's zone, or two times.
type runBody struct {
	Period       string           `json:"period"`
	Since        *time.Time       `json:"since"`
	Until        *time.Time       `json:"until"`
	Sides        []reconcile.Side `json:"sides"`
	TolerancePct *money.USD       `json:"tolerance_pct"`
	ToleranceUSD *money.USD       `json:"tolerance_usd"`
}

// Tolerance when a run names none: half a per cent, or a cent.
var (
	defaultTolerancePct = money.MustUSD("0.5")
	defaultToleranceUSD = money.MustUSD("0.01")
)

func (s *Surface) startRun(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b runBody
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	q := reconcile.Request{Scope: reconcile.Scope{TenantID: caller.TenantID, Livemode: caller.Livemode}, Sides: b.Sides,
		Tolerance: reconcile.Tolerance{Percent: defaultTolerancePct, USD: defaultToleranceUSD}}
	switch {
	case b.Period != "" && b.Since == nil && b.Until == nil:
		zone, err := s.Store.Zone(c.Request.Context(), caller.TenantID)
		if err != nil {
			return 0, nil, err
		}
		span, err := reconcile.ParsePeriod(b.Period, zone)
		if err != nil {
			return 0, nil, err
		}
		q.Since, q.Until = span.Start, span.End
	case b.Period == "" && b.Since != nil && b.Until != nil:
		q.Since, q.Until = *b.Since, *b.Until
	default:
		return 0, nil, invalid("period", "give a period, or since and until")
	}
	if b.TolerancePct != nil {
		q.Tolerance.Percent = *b.TolerancePct
	}
	if b.ToleranceUSD != nil {
		q.Tolerance.USD = *b.ToleranceUSD
	}
	if q.Tolerance.Percent.Sign() < 0 || q.Tolerance.USD.Sign() < 0 {
		return 0, nil, invalid("tolerance_pct", "must be 0 or more")
	}
	run, err := s.reconciler().Run(c.Request.Context(), q)
	return http.StatusCreated, run, err
}

func (s *Surface) reconciler() *reconcile.Reconciler {
	return &reconcile.Reconciler{Source: s.Store, IDs: id.NewSource(s.Now), Now: s.Now}
}

func (s *Surface) listRuns(c *gin.Context, caller meter.Caller) (int, any, error) {
	p, err := s.page(c, caller)
	if err != nil {
		return 0, nil, err
	}
	rows, err := s.Store.Runs(c.Request.Context(), caller.TenantID, caller.Livemode, p.lastID(), p.limit+1)
	if err != nil {
		return 0, nil, err
	}
	out, err := list(s, c, caller, p, rows, func(doc json.RawMessage) any { return doc }, func(doc json.RawMessage) store.Position { return byID(runID(doc)) })
	return http.StatusOK, out, err
}

// runID is the id inside a stored run.
func runID(doc json.RawMessage) string { return gjson.GetBytes(doc, "run_id").String() }

func (s *Surface) oneRun(c *gin.Context, caller meter.Caller) (int, any, error) {
	doc, err := s.Store.StoredRun(c.Request.Context(), caller.TenantID, caller.Livemode, c.Param("id"))
	return http.StatusOK, doc, err
}

// exceptionJSON is an exception as the API shows it.
func exceptionJSON(e reconcile.Exception, now time.Time) gin.H {
	f := e.Finding
	out := gin.H{"object": "exception", "exception_id": e.ID, "kind": e.Rule.Kind, "reason": f.Reason, "side": e.Rule.Side, "owner": e.Rule.Owner, "means": e.Rule.Means,
		"next_step": e.Rule.Next, "group": f.Group(), "subject": f.Subject, "amount_usd": f.Amount, "expected_usd": f.Expected, "found_usd": f.Found, "tokens": f.Tokens,
		"variance_pct": percent(f), "detail": f.Detail, "suggested_payments": f.Suggested, "occurred_at": f.OccurredAt, "age_hours": int64(now.Sub(f.OccurredAt) / time.Hour),
		"first_seen_at": e.FirstSeenAt, "last_seen_at": e.LastSeenAt, "cleared_at": e.ClearedAt, "state": e.State, "needs_decision": e.NeedsDecision(),
		"decided_by": orNull(e.DecidedBy), "decided_at": e.DecidedAt, "note": orNull(e.Note), "decided_amount_usd": e.DecidedAmount, "posting": orNull(e.Posting)}
	return out
}

// percent is the difference as per cent of what was expected, with two digits; null when nothing was expected.
func percent(f reconcile.Finding) any {
	if f.Expected == nil || f.Found == nil || f.Expected.IsZero() {
		return nil
	}
	return f.Found.Sub(*f.Expected).Decimal().Shift(2).DivRound(f.Expected.Decimal(), 2).StringFixed(2)
}

func (s *Surface) listExceptions(c *gin.Context, caller meter.Caller) (int, any, error) {
	f, err := exceptionFilter(c, caller)
	if err != nil {
		return 0, nil, err
	}
	ctx := c.Request.Context()
	if c.Query("grouped") == "1" {
		groups, err := s.Store.ExceptionGroups(ctx, f)
		return http.StatusOK, gin.H{"object": "list", "data": groups, "has_more": false, "next_cursor": nil}, err
	}
	p, err := s.page(c, caller)
	if err != nil {
		return 0, nil, err
	}
	var amount *money.USD
	after := ""
	if p.after != nil {
		text, rest, _ := strings.Cut(p.lastID(), " ")
		parsed, err := money.ParseUSD(text)
		if err != nil {
			return 0, nil, invalid("cursor", "is not a cursor of this query")
		}
		amount, after = &parsed, rest
	}
	rows, err := s.Store.Exceptions(ctx, f, amount, after, p.limit+1)
	if err != nil {
		return 0, nil, err
	}
	out, err := list(s, c, caller, p, rows, func(e reconcile.Exception) any { return exceptionJSON(e, s.Now()) },
		func(e reconcile.Exception) store.Position {
			return byID(e.Finding.Amount.String() + " " + string(e.ID))
		})
	return http.StatusOK, out, err
}

func exceptionFilter(c *gin.Context, caller meter.Caller) (store.ExceptionFilter, error) {
	f := store.ExceptionFilter{TenantID: caller.TenantID, Livemode: caller.Livemode, State: c.Query("state"), Kind: c.Query("kind"), Side: c.Query("side"), Owner: c.Query("owner"), Open: c.Query("open") == "1"}
	for _, bound := range []struct {
		name string
		into **time.Time
	}{{"since", &f.Since}, {"until", &f.Until}} {
		if text := c.Query(bound.name); text != "" {
			at, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				return f, invalid(bound.name, "must be an RFC 3339 time with its offset")
			}
			*bound.into = &at
		}
	}
	kinds := []string{""}
	for _, k := range reconcile.Kinds() {
		kinds = append(kinds, string(k))
	}
	for _, closed := range []struct {
		name, value string
		words       []string
	}{{"kind", f.Kind, kinds}, {"state", f.State, []string{"", "open", "explained", "adjusted", "waived"}}, {"side", f.Side, []string{"", "cost", "settlement"}},
		{"owner", f.Owner, []string{"", "finance", "seller", "operator", "developer", "vendor"}}} {
		found := false
		for _, w := range closed.words {
			found = found || w == closed.value
		}
		if !found {
			return f, invalid(closed.name, "must be one of "+strings.Join(closed.words[1:], ", "))
		}
	}
	return f, nil
}

func (s *Surface) oneException(c *gin.Context, caller meter.Caller) (int, any, error) {
	e, err := s.Store.Exception(c.Request.Context(), caller.TenantID, caller.Livemode, c.Param("id"))
	if err != nil {
		return 0, nil, err
	}
	history, err := s.Store.Decisions(c.Request.Context(), caller.TenantID, c.Param("id"))
	out := exceptionJSON(e, s.Now())
	out["history"] = history
	return http.StatusOK, out, err
}

func (s *Surface) resolve(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b struct {
		State string `json:"state"`
		By    string `json:"by"`
		Note  string `json:"note"`
	}
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	e, err := s.Store.Decide(c.Request.Context(), caller.TenantID, caller.Livemode, c.Param("id"), reconcile.Decision{State: reconcile.ExceptionState(b.State), By: b.By, Note: b.Note, At: s.Now()})
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, exceptionJSON(e, s.Now()), nil
}

func (s *Surface) chainViews(c *gin.Context, caller meter.Caller) (int, any, error) {
	views, err := s.Store.ChainViews(c.Request.Context(), reconcile.Scope{TenantID: caller.TenantID, Livemode: caller.Livemode})
	return http.StatusOK, gin.H{"object": "list", "data": views, "has_more": false, "next_cursor": nil}, err
}
