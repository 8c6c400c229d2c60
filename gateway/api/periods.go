package api

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement/reconcile"
)

// Finance is what closing a period needs beside the store. Nodes may be empty: then a tenant with wallets cannot close.
type Finance struct {
	Signer reconcile.Signer
	Nodes  map[string]reconcile.Node // by network
}

// closeBody asks to close a period.
type closeBody struct {
	By           string     `json:"by"`
	TolerancePct *money.USD `json:"tolerance_pct"`
	ToleranceUSD *money.USD `json:"tolerance_usd"`
	Threshold    money.USD  `json:"threshold_usd"`
	DryRun       bool       `json:"dry_run"`
}

// Closer is the one path by which a period is closed, from the API and from a page.
func (s *Surface) Closer() *reconcile.Closer {
	return &reconcile.Closer{Book: s.Store, Reconciler: s.reconciler(), Nodes: s.Finance.Nodes, Signer: s.Finance.Signer, IDs: id.NewSource(s.Now), Now: s.Now, Digest: s.digest}
}

// digest makes a period's exports into nothing, for their digests.
func (s *Surface) digest(ctx context.Context, p reconcile.Period, b reconcile.Bounds) ([]reconcile.FileDigest, error) {
	out := []reconcile.FileDigest{}
	for _, kind := range []string{"events", "payments", "receipts", "journal"} {
		e := store.StoredExport{TenantID: string(p.TenantID), Livemode: p.Livemode, Kind: kind, Format: "csv", Since: &b.Since, Until: &b.Until, LateFrom: b.LateFrom,
			AsOf: b.RecordedTo.Add(-time.Microsecond), Zone: p.Span.Zone}
		sum, err := s.writeExport(ctx, e, io.Discard)
		if err != nil {
			return nil, err
		}
		out = append(out, reconcile.FileDigest{Kind: kind, Format: "csv", Rows: sum.rows, SHA256: sum.hex()})
	}
	return out, nil
}

func (s *Surface) closePeriod(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b closeBody
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	ctx := c.Request.Context()
	span, err := s.span(ctx, caller, c.Param("id"))
	if err != nil {
		return 0, nil, err
	}
	q := reconcile.CloseRequest{TenantID: caller.TenantID, Livemode: caller.Livemode, Span: span, By: b.By, Threshold: b.Threshold, DryRun: b.DryRun,
		Tolerance: reconcile.Tolerance{Percent: defaultTolerancePct, USD: defaultToleranceUSD}}
	if b.TolerancePct != nil {
		q.Tolerance.Percent = *b.TolerancePct
	}
	if b.ToleranceUSD != nil {
		q.Tolerance.USD = *b.ToleranceUSD
	}
	if q.Threshold.Sign() < 0 || q.Tolerance.Percent.Sign() < 0 || q.Tolerance.USD.Sign() < 0 || len(b.By) > 128 {
		return 0, nil, invalid("threshold_usd", "amounts must be 0 or more and the name at most 128 characters")
	}
	prepared, err := s.Closer().Close(ctx, q)
	if err != nil {
		return 0, nil, err
	}
	if b.DryRun {
		blocked := ""
		if f, ok := fault.As(prepared.Blocked()); ok {
			blocked = string(f.Code)
		}
		return http.StatusOK, gin.H{"object": "checklist", "period": span.Name, "checklist": prepared.Statement.Checklist, "blocked": orNull(blocked), "open_exceptions": len(prepared.Open),
			"totals": prepared.Statement.Totals, "late": prepared.Statement.Late, "wallets": prepared.Statement.Wallets, "accounts": prepared.Statement.Accounts}, nil
	}
	return s.onePeriodOf(ctx, caller, span.Name)
}

// span is a period that exists, with its own zone, or one of the tenant's calendar.
func (s *Surface) span(ctx context.Context, caller meter.Caller, name string) (reconcile.Span, error) {
	p, found, err := s.Store.PeriodByName(ctx, caller.TenantID, caller.Livemode, name)
	if err != nil || found {
		return p.Span, err
	}
	zone, err := s.Store.Zone(ctx, caller.TenantID)
	if err != nil {
		return reconcile.Span{}, err
	}
	return reconcile.ParsePeriod(name, zone)
}

func (s *Surface) reopenPeriod(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b struct {
		By     string `json:"by"`
		Reason string `json:"reason"`
	}
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	p, err := s.Store.SaveReopen(c.Request.Context(), caller.TenantID, caller.Livemode, c.Param("id"), b.By, b.Reason, s.Now())
	return http.StatusOK, periodJSON(p), err
}

func periodJSON(p reconcile.Period) gin.H {
	return gin.H{"object": "period", "period_id": p.ID, "period": p.Span.Name, "zone": p.Span.Zone, "starts_at": p.Span.Start, "ends_at": p.Span.End, "state": p.State,
		"recorded_to": p.RecordedTo, "revision": p.Revision, "livemode": p.Livemode}
}

func (s *Surface) listPeriods(c *gin.Context, caller meter.Caller) (int, any, error) {
	size, err := limit(c)
	if err != nil {
		return 0, nil, err
	}
	list, err := s.Store.Periods(c.Request.Context(), caller.TenantID, caller.Livemode, size)
	data := []gin.H{}
	for _, p := range list {
		data = append(data, periodJSON(p))
	}
	return http.StatusOK, gin.H{"object": "list", "data": data, "has_more": false, "next_cursor": nil}, err
}

func (s *Surface) onePeriod(c *gin.Context, caller meter.Caller) (int, any, error) {
	return s.onePeriodOf(c.Request.Context(), caller, c.Param("id"))
}

// onePeriodOf is a period with every statement ever signed for it.
func (s *Surface) onePeriodOf(ctx context.Context, caller meter.Caller, name string) (int, any, error) {
	p, found, err := s.Store.PeriodByName(ctx, caller.TenantID, caller.Livemode, name)
	if err != nil {
		return 0, nil, err
	}
	if !found {
		return 0, nil, fault.New(fault.KindNotFound, "NOT_FOUND", "no such period was ever closed")
	}
	out := periodJSON(p)
	statements, err := s.Store.Statements(ctx, caller.TenantID, caller.Livemode, string(p.ID))
	out["statements"] = statements
	return http.StatusOK, out, err
}

func (s *Surface) setZone(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b struct {
		Zone string `json:"zone"`
	}
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	return http.StatusOK, gin.H{"zone": b.Zone}, s.Store.SetZone(c.Request.Context(), caller.TenantID, b.Zone)
}

func (s *Surface) zone(c *gin.Context, caller meter.Caller) (int, any, error) {
	zone, err := s.Store.Zone(c.Request.Context(), caller.TenantID)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, gin.H{"zone": zone.String()}, nil
}
