package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/gateway/call"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/journal"
	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

var _ call.Store = (*Store)(nil)

// budgetRow is a budget with its present window.
type budgetRow struct {
	ID, TenantID, Name, ScopeType, ScopeID, Period string
	LimitUSD                                       *money.USD
	LimitEvents, LimitTokens                       *int64
	SpentUSD, ReservedUSD                          money.USD
	SpentEvents, ReservedEvents                    int64
	SpentTokens, ReservedTokens                    int64
}

func (r budgetRow) standing() meter.BudgetStanding {
	return meter.BudgetStanding{
		Budget: meter.Budget{ID: id.Budget(r.ID), TenantID: id.Tenant(r.TenantID), Name: r.Name, Scope: meter.BudgetScope{Type: r.ScopeType, ID: r.ScopeID},
			Window: meter.Window(r.Period), LimitUSD: r.LimitUSD, LimitEvents: r.LimitEvents, LimitTokens: r.LimitTokens},
		Spent:    meter.Amount{USD: r.SpentUSD, Events: r.SpentEvents, Tokens: r.SpentTokens},
		Reserved: meter.Amount{USD: r.ReservedUSD, Events: r.ReservedEvents, Tokens: r.ReservedTokens},
	}
}

const budgetColumns = `b.id, b.tenant_id, b.name, b.scope_type, b.scope_id, b.period, b.limit_usd, b.limit_events, b.limit_tokens,
	coalesce(w.spent_usd, 0) AS spent_usd, coalesce(w.reserved_usd, 0) AS reserved_usd,
	coalesce(w.spent_events, 0) AS spent_events, coalesce(w.reserved_events, 0) AS reserved_events,
	coalesce(w.spent_tokens, 0) AS spent_tokens, coalesce(w.reserved_tokens, 0) AS reserved_tokens`

// windowJoin joins a budget's present window; its four arguments are the starts of day, month and total.
const windowJoin = `LEFT JOIN budget_windows w ON w.budget_id = b.id AND w.window_start =
	CASE b.period WHEN 'day' THEN ?::timestamptz WHEN 'month' THEN ?::timestamptz ELSE ?::timestamptz END`

func windowStarts(now time.Time) []any {
	return []any{meter.WindowDay.Start(now), meter.WindowMonth.Start(now), meter.WindowTotal.Start(now)}
}

// Standing reads budgets, policies and the workflow that a call names.
func (s *Store) Standing(ctx context.Context, c meter.Caller, r meter.Request) (meter.Standing, meter.RateCard, error) {
	budgets, err := s.Budgets(ctx, c.TenantID)
	if err != nil {
		return meter.Standing{}, meter.RateCard{}, err
	}
	policies, err := s.known.policiesOf(ctx, s, c.TenantID)
	if err != nil {
		return meter.Standing{}, meter.RateCard{}, err
	}
	out := meter.Standing{Policies: policies}
	for _, b := range budgets {
		if b.Applies(c, r.Attribution) {
			out.Budgets = append(out.Budgets, b)
		}
	}
	if name := r.Attribution.Get(meter.DimWorkflow); name != "" {
		if out.Workflow, err = s.known.workflowOf(ctx, s, c.TenantID, name); err != nil {
			return meter.Standing{}, meter.RateCard{}, err
		}
	}
	out.Plan, err = s.planOf(ctx, c)
	return out, s.card, err
}

// Budgets lists a tenant's budgets with their present windows.
func (s *Store) Budgets(ctx context.Context, tenant id.Tenant) ([]meter.BudgetStanding, error) {
	var rows []budgetRow
	err := s.db.WithContext(ctx).Raw("SELECT "+budgetColumns+" FROM budgets b "+windowJoin+" WHERE b.tenant_id = ? AND b.retired_at IS NULL ORDER BY b.id",
		append(windowStarts(s.now()), tenant)...).Scan(&rows).Error
	out := make([]meter.BudgetStanding, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.standing())
	}
	return out, err
}

// Policies lists a tenant's enforced policies.
func (s *Store) Policies(ctx context.Context, tenant id.Tenant) ([]meter.Policy, error) {
	var rows []struct {
		ID, Name      string
		Version       int
		AllowedModels []byte
	}
	err := s.db.WithContext(ctx).Raw("SELECT id, name, version, allowed_models FROM policies WHERE tenant_id = ? AND retired_at IS NULL ORDER BY id", tenant).Scan(&rows).Error
	out := make([]meter.Policy, 0, len(rows))
	for _, r := range rows {
		p := meter.Policy{ID: id.Policy(r.ID), TenantID: tenant, Name: r.Name, Version: r.Version}
		if err := json.Unmarshal(r.AllowedModels, &p.AllowedModels); err != nil {
			return nil, fmt.Errorf("policy %s: %w", r.ID, err)
		}
		out = append(out, p)
	}
	return out, err
}

// openAlone is Open without company: for a claim, and for a call whose company failed.
func (s *Store) openAlone(ctx context.Context, o call.Opening) error {
	err := s.tx(ctx, func(tx *gorm.DB) error {
		if err := insertEvent(tx, o.Event); err != nil {
			return err
		}
		reservations := append([]meter.Reservation(nil), o.Reservations...)
		sort.Slice(reservations, func(i, j int) bool { return reservations[i].BudgetID < reservations[j].BudgetID })
		for _, r := range reservations {
			if err := reserve(tx, o.Event.ID, r); err != nil {
				return err
			}
		}
		if o.Payment != nil {
			return claim(tx, o)
		}
		return nil
	})
	switch {
	case violates(err, "payments_authorization"):
		return settlement.ErrAuthorizationUsed
	case violates(err, "payments_identifier"):
		return fault.New(fault.KindConflict, "PAYMENT_ID_CONFLICT", "a payment with this identifier is on its way")
	case violates(err, "events_by_idempotency"):
		return fault.New(fault.KindConflict, "IDEMPOTENCY_IN_PROGRESS", "a call with this Idempotency-Key is running or was run")
	}
	return err
}

// reserve sets an amount aside in one window: the guarded update is what enforces a budget, not the decision before it.
func reserve(tx *gorm.DB, event id.Event, r meter.Reservation) error {
	if err := tx.Exec("INSERT INTO budget_windows (budget_id, window_start) VALUES (?, ?) ON CONFLICT DO NOTHING", r.BudgetID, r.WindowStart).Error; err != nil {
		return err
	}
	res := tx.Exec(`UPDATE budget_windows w SET reserved_usd = w.reserved_usd + @usd, reserved_events = w.reserved_events + @events,
			reserved_tokens = w.reserved_tokens + @tokens
		FROM budgets b
		WHERE b.id = w.budget_id AND w.budget_id = @budget AND w.window_start = @start
			AND (b.limit_usd IS NULL OR w.spent_usd + w.reserved_usd + @usd <= b.limit_usd)
			AND (b.limit_events IS NULL OR w.spent_events + w.reserved_events + @events <= b.limit_events)
			AND (b.limit_tokens IS NULL OR w.spent_tokens + w.reserved_tokens + @tokens <= b.limit_tokens)`,
		sql.Named("usd", r.Amount.USD), sql.Named("events", r.Amount.Events), sql.Named("tokens", r.Amount.Tokens),
		sql.Named("budget", r.BudgetID), sql.Named("start", r.WindowStart))
	if res.Error != nil {
		return res.Error
	}
	if res.RowsAffected == 0 {
		var row budgetRow
		if err := tx.Raw("SELECT id, tenant_id, name, scope_type, scope_id, period, limit_usd, limit_events, limit_tokens FROM budgets WHERE id = ?", r.BudgetID).Scan(&row).Error; err != nil {
			return err
		}
		return &call.BudgetExceeded{Budget: row.standing().Budget}
	}
	return tx.Exec("INSERT INTO reservations (event_id, budget_id, window_start, usd, events, tokens) VALUES (?, ?, ?, ?, ?, ?)",
		event, r.BudgetID, r.WindowStart, r.Amount.USD, r.Amount.Events, r.Amount.Tokens).Error
}

// closeAlone is Close without company.
func (s *Store) closeAlone(ctx context.Context, c call.Closing) error {
	return s.tx(ctx, func(tx *gorm.DB) error {
		if c.Fresh {
			if err := insertEvent(tx, c.Event); err != nil {
				return err
			}
		} else if err := closeEvent(tx, c.Event); err != nil {
			return err
		}
		if err := release(tx, c); err != nil {
			return err
		}
		if err := post(tx, c.Event.TenantID, string(c.Event.ID), c.Entries, s.now()); err != nil {
			return err
		}
		if c.PaymentMove != nil {
			return move(tx, *c.PaymentMove)
		}
		return showPayment(tx, c.Payment)
	})
}

// release turns what was set aside into what was spent.
func release(tx *gorm.DB, c call.Closing) error {
	if c.Fresh {
		return nil
	}
	return tx.Exec(`WITH gone AS (DELETE FROM reservations WHERE event_id = @event RETURNING budget_id, window_start, usd, events, tokens)
		UPDATE budget_windows w SET reserved_usd = w.reserved_usd - g.usd, reserved_events = w.reserved_events - g.events,
			reserved_tokens = w.reserved_tokens - g.tokens, spent_usd = w.spent_usd + @usd, spent_events = w.spent_events + @events,
			spent_tokens = w.spent_tokens + @tokens
		FROM gone g WHERE w.budget_id = g.budget_id AND w.window_start = g.window_start`,
		sql.Named("event", c.Event.ID), sql.Named("usd", c.Actual.USD), sql.Named("events", c.Actual.Events), sql.Named("tokens", c.Actual.Tokens)).Error
}

func post(tx *gorm.DB, tenant id.Tenant, posting string, entries []journal.Entry, at time.Time) error {
	if err := journal.Balanced(entries); err != nil {
		return err
	}
	for _, e := range entries {
		if err := tx.Exec("INSERT INTO journal_entries (tenant_id, posting, account, amount_usd, ref, posted_at) VALUES (?, ?, ?, ?, ?, ?)",
			tenant, posting, e.Account, e.Amount, e.Ref, at).Error; err != nil {
			return err
		}
	}
	return nil
}

// deliverAlone is Deliver without company.
func (s *Store) deliverAlone(ctx context.Context, d call.Delivery) error {
	return s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec("UPDATE events SET delivered_at = ?, delivered = ?, delivered_bytes = ? WHERE tenant_id = ? AND id = ? AND delivered IS DISTINCT FROM 'whole'",
			d.At, delivered(d), d.Bytes, d.Tenant, d.EventID).Error; err != nil || !d.Earned {
			return err
		}
		return tx.Exec("UPDATE payments SET delivered_at = ?, hold_until = 'infinity' WHERE event_id = ? AND state NOT IN ('voided', 'authorized')", d.At, d.EventID).Error
	})
}

// Overdue lists open events past their deadline, with their claims.
func (s *Store) Overdue(ctx context.Context, now time.Time, limit int) ([]call.Opening, error) {
	var ids []string
	if err := s.db.WithContext(ctx).Raw("SELECT id FROM events WHERE state = 'intent' AND deadline < ? ORDER BY deadline LIMIT ?", now, limit).Scan(&ids).Error; err != nil {
		return nil, err
	}
	out := make([]call.Opening, 0, len(ids))
	for _, event := range ids {
		var o call.Opening
		var doc []byte
		if err := s.db.WithContext(ctx).Raw("SELECT doc FROM events WHERE id = ?", event).Row().Scan(&doc); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(doc, &o.Event); err != nil {
			return nil, fmt.Errorf("event %s: %w", event, err)
		}
		p, err := s.payment(ctx, "event_id = ? AND state = 'authorized'", event)
		if err == nil {
			o.Payment = &p
		} else if !errors.Is(err, settlement.ErrNotFound) {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// Orphan ends every deadline and hold at once. Only a node that is alone may call it, before it serves: whatever is open
// then belongs to a process that is gone.
func (s *Store) Orphan(ctx context.Context) error {
	now := s.now()
	return s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec("UPDATE events SET deadline = ? WHERE state = 'intent' AND deadline > ?", now, now).Error; err != nil {
			return err
		}
		return tx.Exec("UPDATE payments SET hold_until = ? WHERE delivered_at IS NULL AND hold_until > ? AND hold_until < 'infinity'", now, now).Error
	})
}

// PaymentFor finds an authorization's payment; a voided one only if there is no other.
func (s *Store) PaymentFor(ctx context.Context, network, asset, payer, nonce string) (settlement.Payment, error) {
	return s.ByAuthorization(ctx, network, asset, payer, nonce)
}

// PaymentNamed finds the payment that a payer has named.
func (s *Store) PaymentNamed(ctx context.Context, seller id.Tenant, workflowID, payer, name string) (settlement.Payment, error) {
	return s.payment(ctx, "tenant_id = ? AND terms ->> 'WorkflowID' = ? AND lower(payer) = lower(?) AND identifier = ? AND state <> 'voided'", seller, workflowID, payer, name)
}

// idempotencyKept is how long an Idempotency-Key is remembered (PRODUCT §1).
const idempotencyKept = 24 * time.Hour

// ByIdempotencyKey finds the event that a key's Idempotency-Key made last, and whether the key still stands for it.
func (s *Store) ByIdempotencyKey(ctx context.Context, tenant id.Tenant, key id.Key, idempotencyKey string) (e meter.Event, turn int, err error) {
	var row struct {
		ID, State       string
		IdempotencyTurn int
		EventTime       time.Time
	}
	res := s.db.WithContext(ctx).Raw(`SELECT id, state, idempotency_turn, event_time FROM events WHERE tenant_id = ? AND key_id = ? AND idempotency_key = ?
		ORDER BY idempotency_turn DESC LIMIT 1`, tenant, key, idempotencyKey).Scan(&row)
	switch {
	case res.Error != nil || res.RowsAffected == 0:
		return e, 0, res.Error
	case row.EventTime.After(s.now().Add(-idempotencyKept)):
		e.ID, e.State = id.Event(row.ID), meter.EventState(row.State)
	}
	return e, row.IdempotencyTurn + 1, nil
}

// Undelivered lists sold calls' payments whose hold has passed without an answer, and for which no refund is due yet.
func (s *Store) Undelivered(ctx context.Context, now time.Time, limit int) ([]settlement.Payment, error) {
	return s.payments(ctx, `source = 'call' AND delivered_at IS NULL AND hold_until < ? AND state IN ('authorized', 'captured', 'included', 'final')
		AND NOT EXISTS (SELECT 1 FROM refunds r WHERE r.payment_id = payments.id AND r.state <> 'used')
		AND NOT EXISTS (SELECT 1 FROM events e WHERE e.id = payments.event_id AND e.state = 'intent')
		ORDER BY hold_until LIMIT ?`, now, limit)
}

// Capture moves a payment to captured while its call runs.
func (s *Store) Capture(ctx context.Context, m settlement.Move) error {
	return s.tx(ctx, func(tx *gorm.DB) error { return move(tx, m) })
}

// Void moves a payment to voided.
func (s *Store) Void(ctx context.Context, m settlement.Move) error {
	return s.tx(ctx, func(tx *gorm.DB) error { return move(tx, m) })
}

// Hold moves a payment's hold from a known value; false if somebody moved it first or the answer has left.
func (s *Store) Hold(ctx context.Context, paymentID id.Payment, from, until time.Time) (bool, error) {
	res := s.db.WithContext(ctx).Exec("UPDATE payments SET hold_until = ? WHERE id = ? AND delivered_at IS NULL AND hold_until = ?",
		until, paymentID, from)
	return res.RowsAffected == 1, res.Error
}
