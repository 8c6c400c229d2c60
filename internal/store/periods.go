package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"strings"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/settlement/reconcile"
)

// Zone is the time zone that a tenant's days and months are of; UTC until one is set.
func (s *Store) Zone(ctx context.Context, tenant id.Tenant) (*time.Location, error) {
	var name string
	if err := s.db.WithContext(ctx).Raw("SELECT zone FROM finance_settings WHERE tenant_id = ?", tenant).Scan(&name).Error; err != nil || name == "" {
		return time.UTC, err
	}
	return time.LoadLocation(name)
}

// SetZone sets a tenant's zone. Periods that exist keep theirs: it is written into each.
func (s *Store) SetZone(ctx context.Context, tenant id.Tenant, name string) error {
	if _, err := time.LoadLocation(name); err != nil || name == "" || name == "Local" {
		return fault.Field(fault.KindInvalid, "INVALID_INPUT", "zone", "must be an IANA time zone such as Europe/Berlin")
	}
	return s.db.WithContext(ctx).Exec("INSERT INTO finance_settings (tenant_id, zone, updated_at) VALUES (?, ?, ?) ON CONFLICT (tenant_id) DO UPDATE SET zone = EXCLUDED.zone, updated_at = EXCLUDED.updated_at",
		tenant, name, s.now()).Error
}

var _ reconcile.PeriodBook = (*Store)(nil)

type periodRow struct {
	ID, TenantID, Name, Zone, State string
	Livemode                        bool
	StartsAt, EndsAt                time.Time
	RecordedTo                      *time.Time
	Revision                        int
}

const periodColumns = `id, tenant_id, livemode, name, zone, starts_at, ends_at, state, recorded_to,
	(SELECT coalesce(max(revision), 0) FROM period_statements s WHERE s.period_id = periods.id) AS revision`

func (r periodRow) period() reconcile.Period {
	return reconcile.Period{ID: id.Period(r.ID), TenantID: id.Tenant(r.TenantID), Livemode: r.Livemode, State: r.State, RecordedTo: r.RecordedTo, Revision: r.Revision,
		Span: reconcile.Span{Name: r.Name, Zone: r.Zone, Start: r.StartsAt, End: r.EndsAt}}
}

// PeriodByName finds a tenant's period.
func (s *Store) PeriodByName(ctx context.Context, tenant id.Tenant, livemode bool, name string) (reconcile.Period, bool, error) {
	var r periodRow
	err := s.db.WithContext(ctx).Raw("SELECT "+periodColumns+" FROM periods WHERE tenant_id = ? AND livemode = ? AND (name = ? OR id = ?)", tenant, livemode, name, name).Scan(&r).Error
	return r.period(), r.ID != "", err
}

// Periods lists a tenant's periods, newest first.
func (s *Store) Periods(ctx context.Context, tenant id.Tenant, livemode bool, limit int) ([]reconcile.Period, error) {
	var rows []periodRow
	err := s.db.WithContext(ctx).Raw("SELECT "+periodColumns+" FROM periods WHERE tenant_id = ? AND livemode = ? ORDER BY ends_at DESC LIMIT ?", tenant, livemode, limit).Scan(&rows).Error
	out := make([]reconcile.Period, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.period())
	}
	return out, err
}

// PeriodClosed reports whether a moment lies in a closed period: what carries that time may no longer be changed.
func (s *Store) PeriodClosed(ctx context.Context, tenant id.Tenant, livemode bool, at time.Time) (bool, error) {
	return periodClosed(s.db.WithContext(ctx), tenant, livemode, at)
}

func periodClosed(tx *gorm.DB, tenant id.Tenant, livemode bool, at time.Time) (bool, error) {
	var n int64
	err := tx.Raw("SELECT count(*) FROM periods WHERE tenant_id = ? AND livemode = ? AND state = 'closed' AND starts_at <= ? AND ends_at > ?", tenant, livemode, at, at).Scan(&n).Error
	return n > 0, err
}

// PeriodBounds is which facts count in a period that is closed, or would be by a closing now.
func (s *Store) PeriodBounds(ctx context.Context, tenant id.Tenant, livemode bool, p reconcile.Period) (reconcile.Bounds, error) {
	b := reconcile.Bounds{Since: p.Span.Start, Until: p.Span.End, RecordedTo: s.now()}
	if p.RecordedTo != nil {
		b.RecordedTo = *p.RecordedTo
	}
	err := s.db.WithContext(ctx).Raw("SELECT recorded_to FROM periods WHERE tenant_id = ? AND livemode = ? AND state = 'closed' AND ends_at <= ? ORDER BY ends_at DESC LIMIT 1",
		tenant, livemode, p.Span.Start).Scan(&b.LateFrom).Error
	return b, err
}

// LastClosed is the newest closed period with its statement.
func (s *Store) LastClosed(ctx context.Context, tenant id.Tenant, livemode bool) (p reconcile.Period, last reconcile.Statement, digest string, found bool, err error) {
	var r periodRow
	if err = s.db.WithContext(ctx).Raw("SELECT "+periodColumns+" FROM periods WHERE tenant_id = ? AND livemode = ? AND state = 'closed' ORDER BY ends_at DESC LIMIT 1", tenant, livemode).Scan(&r).Error; err != nil || r.ID == "" {
		return p, last, "", false, err
	}
	list, err := s.Statements(ctx, tenant, livemode, r.ID)
	if err != nil || len(list) == 0 {
		return r.period(), last, "", true, err
	}
	newest := list[len(list)-1]
	return r.period(), last, newest.SHA256, true, json.Unmarshal(newest.Doc, &last)
}

// StoredStatement is a statement as it was signed.
type StoredStatement struct {
	Revision int             `json:"revision"`
	SHA256   string          `json:"sha256" gorm:"column:sha256"`
	ClosedBy string          `json:"closed_by"`
	ClosedAt time.Time       `json:"closed_at"`
	Doc      json.RawMessage `json:"statement"`
}

// Statements lists every statement of a period, oldest first.
func (s *Store) Statements(ctx context.Context, tenant id.Tenant, livemode bool, period string) ([]StoredStatement, error) {
	var rows []struct {
		StoredStatement
		Text string
	}
	err := s.db.WithContext(ctx).Raw(`SELECT s.revision, s.sha256, s.closed_by, s.closed_at, s.doc AS text FROM period_statements s JOIN periods p ON p.id = s.period_id
		WHERE p.tenant_id = ? AND p.livemode = ? AND p.id = ? ORDER BY s.revision`, tenant, livemode, period).Scan(&rows).Error
	out := make([]StoredStatement, 0, len(rows))
	for _, r := range rows {
		r.Doc = json.RawMessage(r.Text)
		out = append(out, r.StoredStatement)
	}
	return out, err
}

// counts is the condition under which a fact counts in a period; its column names are the fact's time and its recording.
func counts(at, recorded string) string {
	return "(" + at + " >= @since OR " + recorded + " >= @latefrom) AND " + at + " < @until AND " + recorded + " < @to"
}

func periodArgs(tenant id.Tenant, livemode bool, b reconcile.Bounds) []any {
	late := forEver
	if b.LateFrom != nil {
		late = *b.LateFrom
	}
	return []any{sql.Named("tenant", tenant), sql.Named("live", livemode), sql.Named("since", b.Since), sql.Named("until", b.Until), sql.Named("latefrom", late), sql.Named("to", b.RecordedTo)}
}

// PeriodFacts adds up what counts in a period, in one snapshot.
func (s *Store) PeriodFacts(ctx context.Context, tenant id.Tenant, livemode bool, b reconcile.Bounds) (reconcile.Facts, error) {
	var f reconcile.Facts
	args := periodArgs(tenant, livemode, b)
	err := s.snapshot(ctx, func(tx *gorm.DB) error {
		for _, part := range []struct {
			into *reconcile.Totals
			only string
		}{{&f.Totals, ""}, {&f.Late, " AND %s < @since"}} {
			if err := totals(tx, part.into, part.only, args); err != nil {
				return err
			}
		}
		f.CostEvents, f.Sales = f.Totals.CostUSD, f.Totals.RevenueUSD
		if err := tx.Raw(`SELECT account, coalesce(sum(amount_usd) FILTER (WHERE effective_at < @since AND posted_at < @latefrom), 0) AS opening,
				coalesce(sum(amount_usd) FILTER (WHERE `+counts("effective_at", "posted_at")+`), 0) AS movement,
				coalesce(sum(amount_usd) FILTER (WHERE effective_at < @since AND posted_at < @latefrom), 0) + coalesce(sum(amount_usd) FILTER (WHERE `+counts("effective_at", "posted_at")+`), 0) AS closing
			FROM journal_entries WHERE tenant_id = @tenant AND livemode IS NOT DISTINCT FROM @live AND effective_at < @until AND posted_at < @to GROUP BY account ORDER BY account`, args...).Scan(&f.Accounts).Error; err != nil {
			return err
		}
		return tx.Raw(`SELECT
				(SELECT count(*) FROM events WHERE tenant_id = @tenant AND livemode = @live AND state = 'intent' AND event_time < @until) AS open_calls,
				(SELECT count(*) FROM payments p WHERE tenant_id = @tenant AND `+isLiveSQL+` = @live AND state IN ('captured', 'submitted') AND claimed_at < @until) AS pending,
				(SELECT coalesce(sum(amount_usd), 0) FROM journal_entries WHERE tenant_id = @tenant AND livemode = @live AND account = 'cost:provider' AND ref = 'call' AND `+counts("effective_at", "posted_at")+`) AS cost_journal,
				(SELECT coalesce(-sum(amount_usd), 0) FROM journal_entries WHERE tenant_id = @tenant AND livemode = @live AND account = 'income:workflow' AND ref = 'sale' AND `+counts("effective_at", "posted_at")+`) AS sales_journal`,
			args...).Row().Scan(&f.OpenCalls, &f.Pending, &f.CostJournal, &f.SalesJournal)
	})
	return f, err
}

// totals sums events by their time and receipts by theirs; only narrows to late ones.
func totals(tx *gorm.DB, into *reconcile.Totals, only string, args []any) error {
	narrowed := func(column string) string { return strings.ReplaceAll(only, "%s", column) }
	return tx.Raw(`SELECT e.events, e.unpriced, e.input_tokens, e.output_tokens, e.cost_usd, r.sales, r.revenue_usd FROM
			(SELECT count(*) AS events, count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced, coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
				coalesce(sum(output_tokens), 0)::bigint AS output_tokens, coalesce(sum(cost_usd), 0) AS cost_usd
			 FROM events WHERE tenant_id = @tenant AND livemode = @live AND state <> 'intent' AND `+counts("event_time", "finalized_at")+narrowed("event_time")+`) e,
			(SELECT count(*) AS sales, coalesce(sum(p.amount_atomic), 0) / 1000000 AS revenue_usd FROM receipts x JOIN payments p ON p.id = x.payment_id
			 WHERE x.tenant_id = @tenant AND `+isLiveSQL+` = @live AND `+counts("x.issued_at", "x.issued_at")+narrowed("x.issued_at")+`) r`, args...).Scan(into).Error
}

// PeriodExceptions lists the exceptions of a period's time, dearest first.
func (s *Store) PeriodExceptions(ctx context.Context, tenant id.Tenant, livemode bool, b reconcile.Bounds) ([]reconcile.Exception, error) {
	const most = 100_000
	return s.Exceptions(ctx, ExceptionFilter{TenantID: tenant, Livemode: livemode, Since: &b.Since, Until: &b.Until}, nil, "", most)
}

// TenantWallets lists a tenant's followed wallets, and the views of all it has.
func (s *Store) TenantWallets(ctx context.Context, q reconcile.Scope) (wallets []reconcile.Wallet, views []reconcile.WalletView, err error) {
	err = s.snapshot(ctx, func(tx *gorm.DB) error {
		named, err := tenantWallets(tx, q)
		if err != nil {
			return err
		}
		if views, err = coverage(tx, named, map[reconcile.WalletKey]reconcile.Coverage{}, s.now()); err != nil {
			return err
		}
		wallets = nil
		for _, n := range named {
			var w reconcile.Wallet
			if err := tx.Raw("SELECT "+walletColumns+" FROM chain_wallets WHERE network = ? AND asset = ? AND address = ?", n.Network, n.Asset, n.Address).Scan(&w).Error; err != nil {
				return err
			}
			if w.Address != "" {
				wallets = append(wallets, w)
			}
		}
		return nil
	})
	return wallets, views, err
}

// SalesIn is what authorizations of our payments moved into a wallet in blocks from to upTo.
func (s *Store) SalesIn(ctx context.Context, w reconcile.Wallet, from, upTo uint64) (money.USDC, error) {
	var sum money.USDC
	err := s.db.WithContext(ctx).Raw(`SELECT coalesce(sum(t.amount_atomic), 0)::text FROM chain_transfers t WHERE t.network = ? AND t.asset = ? AND t.recipient = ? AND t.block_number BETWEEN ? AND ?
		AND t.gone_at IS NULL AND EXISTS (SELECT 1 FROM payments p WHERE p.network = t.network AND lower(p.asset) = lower(t.asset) AND lower(p.payer) = lower(t.sender) AND p.nonce = t.nonce)`,
		w.Network, w.Asset, w.Address, from, upTo).Row().Scan(&sum)
	return sum, err
}

// SaveClose closes a period with its signed statement. The newest closed period is locked, so that two closings cannot both
// follow it.
func (s *Store) SaveClose(ctx context.Context, p reconcile.Period, st reconcile.Statement, doc []byte, digest string) error {
	return s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec("SELECT pg_advisory_xact_lock(hashtext(?))", "close "+string(p.TenantID)).Error; err != nil {
			return err
		}
		var newest *time.Time
		if err := tx.Raw("SELECT max(ends_at) FROM periods WHERE tenant_id = ? AND livemode = ? AND state = 'closed'", p.TenantID, p.Livemode).Row().Scan(&newest); err != nil {
			return err
		}
		if newest != nil && !newest.Equal(p.Span.Start) {
			return reconcile.ErrOutOfOrder
		}
		if err := tx.Exec(`INSERT INTO periods (id, tenant_id, livemode, name, zone, starts_at, ends_at, state, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'open', ?) ON CONFLICT DO NOTHING`,
			p.ID, p.TenantID, p.Livemode, p.Span.Name, p.Span.Zone, p.Span.Start, p.Span.End, st.ClosedAt).Error; err != nil {
			return err
		}
		res := tx.Exec("UPDATE periods SET state = 'closed', recorded_to = ? WHERE id = ? AND state = 'open'", st.RecordedTo, p.ID)
		if err := exactly(res, reconcile.ErrClosedAlready); err != nil {
			return err
		}
		if err := tx.Exec("INSERT INTO period_statements (period_id, revision, doc, sha256, closed_by, closed_at) VALUES (?, ?, ?, ?, ?, ?)",
			p.ID, st.Revision, string(doc), digest, st.ClosedBy, st.ClosedAt).Error; err != nil {
			return err
		}
		return movePeriod(tx, string(p.ID), "open", "closed", st.ClosedBy, "closed", st.ClosedAt)
	})
}

func movePeriod(tx *gorm.DB, period, from, to, by, reason string, at time.Time) error {
	return tx.Exec("INSERT INTO period_moves (period_id, from_state, to_state, moved_by, reason, at) VALUES (?, ?, ?, ?, ?, ?)", period, from, to, by, reason, at).Error
}

// SaveReopen opens the newest closed period again; its statements stay.
func (s *Store) SaveReopen(ctx context.Context, tenant id.Tenant, livemode bool, name, by, reason string, at time.Time) (reconcile.Period, error) {
	if by == "" || reason == "" {
		return reconcile.Period{}, fault.Field(fault.KindInvalid, "INVALID_INPUT", "reason", "who reopens a period, and why, must be said")
	}
	err := s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec("SELECT pg_advisory_xact_lock(hashtext(?))", "close "+string(tenant)).Error; err != nil {
			return err
		}
		var r periodRow
		if err := tx.Raw("SELECT "+periodColumns+" FROM periods WHERE tenant_id = ? AND livemode = ? AND (name = ? OR id = ?)", tenant, livemode, name, name).Scan(&r).Error; err != nil {
			return err
		}
		if r.ID == "" {
			return errNotFound
		}
		res := tx.Exec(`UPDATE periods SET state = 'open', recorded_to = NULL WHERE id = ? AND state = 'closed'
			AND NOT EXISTS (SELECT 1 FROM periods later WHERE later.tenant_id = ? AND later.livemode = ? AND later.state = 'closed' AND later.starts_at >= ?)`, r.ID, tenant, livemode, r.EndsAt)
		if err := exactly(res, reconcile.ErrOutOfOrder); err != nil {
			return err
		}
		return movePeriod(tx, r.ID, "closed", "open", by, reason, at)
	})
	if err != nil {
		return reconcile.Period{}, err
	}
	p, _, err := s.PeriodByName(ctx, tenant, livemode, name)
	return p, err
}
