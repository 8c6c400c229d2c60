package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

// Filter is a selection of one tenant's events. Values of one column are alternatives; different columns must all hold.
type Filter struct {
	TenantID     id.Tenant
	Livemode     *bool
	Since, Until *time.Time          // half-open
	Equal        map[string][]string // column -> values; columns come from FilterColumns only
	Tags         map[string][]string
	Unattributed []string // dimensions that must be absent
	MinCost      *money.USD
	MaxCost      *money.USD
	IDPrefix     string
	Retry        *bool // only retries, or only first tries
}

// FilterColumns is every column that may be filtered by equality, by its name in the API.
func FilterColumns() map[string]string {
	out := map[string]string{"provider": "provider", "model_used": "model_used", "decision": "decision", "deny_code": "deny_code", "outcome": "outcome",
		"cost_state": "cost_state", "receipt_status": "receipt_status", "source": "source", "key_id": "key_id"}
	for _, dim := range meter.Dimensions() {
		out[dim] = dim
	}
	return out
}

func (f Filter) where() (string, []any) {
	parts, args := []string{"tenant_id = ?"}, []any{f.TenantID}
	add := func(sql string, values ...any) { parts, args = append(parts, sql), append(args, values...) }
	if f.Livemode != nil {
		add("livemode = ?", *f.Livemode)
	}
	if f.Since != nil {
		add("event_time >= ?", *f.Since)
	}
	if f.Until != nil {
		add("event_time < ?", *f.Until)
	}
	columns := FilterColumns()
	for name, values := range f.Equal {
		add(columns[name]+" IN ?", values)
	}
	for tag, values := range f.Tags {
		add("tags ->> ? IN ?", tag, values)
	}
	for _, dim := range f.Unattributed {
		add(columns[dim] + " IS NULL")
	}
	if f.MinCost != nil {
		add("cost_usd >= ?", *f.MinCost)
	}
	if f.MaxCost != nil {
		add("cost_usd <= ?", *f.MaxCost)
	}
	if f.Retry != nil {
		add("(retry_count > 0) = ?", *f.Retry)
	}
	if f.IDPrefix != "" {
		add("starts_with(id, ?)", f.IDPrefix)
	}
	return strings.Join(parts, " AND "), args
}

// Position is a place in a list of events: the last row seen.
type Position struct {
	Time time.Time `json:"t"`
	ID   id.Event  `json:"i"`
}

// Listed is an event with what is noted beside it.
type Listed struct {
	meter.Event
	Outcome        string
	DeliveredBytes int64
}

// Events lists events, newest first unless ascending, after a position.
func (s *Store) Events(ctx context.Context, f Filter, after *Position, ascending bool, limit int) ([]Listed, error) {
	where, args := f.where()
	order, compare := "DESC", "<"
	if ascending {
		order, compare = "ASC", ">"
	}
	if after != nil {
		where += " AND (event_time, id) " + compare + " (?, ?)"
		args = append(args, after.Time, after.ID)
	}
	var rows []eventRow
	query := fmt.Sprintf("SELECT %s FROM events WHERE %s ORDER BY event_time %s, id %s LIMIT ?", eventRowColumns, where, order, order)
	if err := s.db.WithContext(ctx).Raw(query, append(args, limit)...).Scan(&rows).Error; err != nil {
		return nil, err
	}
	out := make([]Listed, 0, len(rows))
	for _, r := range rows {
		l, err := r.listed()
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

func (r eventRow) listed() (Listed, error) {
	e, err := r.event()
	l := Listed{Event: e}
	if r.Outcome != nil {
		l.Outcome = *r.Outcome
	}
	if r.DeliveredBytes != nil {
		l.DeliveredBytes = *r.DeliveredBytes
	}
	return l, err
}

var errAmbiguous = fault.New(fault.KindConflict, "AMBIGUOUS_EVENT_ID", "more than one event has this vendor id; use the evt_ id")

// Event finds one event by any id that was ever handed out for it.
func (s *Store) Event(ctx context.Context, tenant id.Tenant, anyID string) (Listed, error) {
	var rows []eventRow
	err := s.db.WithContext(ctx).Raw("SELECT "+eventRowColumns+` FROM events WHERE tenant_id = ? AND (id = ? OR completion_id = ? OR request_id = ? OR upstream_id = ?) LIMIT 2`,
		tenant, anyID, anyID, anyID, anyID).Scan(&rows).Error
	switch {
	case err != nil:
		return Listed{}, err
	case len(rows) == 0:
		return Listed{}, errNotFound
	case len(rows) > 1:
		return Listed{}, errAmbiguous
	}
	return rows[0].listed()
}

// Group is one row of a summary; Key nil is Unattributed.
type Group struct {
	Key             *string    `json:"key"`
	Count           int64      `json:"count"`
	InputTokens     int64      `json:"input_tokens"`
	CachedTokens    int64      `json:"cached_input_tokens"`
	OutputTokens    int64      `json:"output_tokens"`
	ReasoningTokens int64      `json:"reasoning_tokens"`
	CostUSD         money.USD  `json:"cost_usd"`
	Unpriced        int64      `json:"unpriced"`
	RetryCostUSD    money.USD  `json:"retry_cost_usd"`
	RevenueUSD      *money.USD `json:"revenue_usd"`
	MarginUSD       *money.USD `json:"margin_usd"`
	Accepted        int64      `json:"accepted"`
	WithOutcome     int64      `json:"with_outcome"`
}

// GroupColumns is what a summary may be grouped by, as SQL.
func GroupColumns() map[string]string {
	out := map[string]string{"model": "model_used", "provider": "provider", "outcome": "outcome", "decision": "decision",
		"hour":  "to_char(date_trunc('hour', event_time AT TIME ZONE 'UTC'), 'YYYY-MM-DD\"T\"HH24:00')",
		"day":   "to_char(event_time AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
		"month": "to_char(event_time AT TIME ZONE 'UTC', 'YYYY-MM')"}
	for _, dim := range meter.Dimensions() {
		out[dim] = dim
	}
	return out
}

const sums = `count(*) AS count, coalesce(sum(input_tokens), 0) AS input_tokens, coalesce(sum(cached_tokens), 0) AS cached_tokens,
	coalesce(sum(output_tokens), 0) AS output_tokens, coalesce(sum(reasoning_tokens), 0) AS reasoning_tokens,
	coalesce(sum(cost_usd), 0) AS cost_usd, count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced,
	coalesce(sum(cost_usd) FILTER (WHERE retry_count > 0), 0) AS retry_cost_usd,
	sum(revenue_usd) FILTER (WHERE receipt_status = 'settled') AS revenue_usd,
	sum(revenue_usd - coalesce(cost_usd, 0)) FILTER (WHERE receipt_status = 'settled') AS margin_usd,
	count(*) FILTER (WHERE outcome = 'accepted') AS accepted, count(outcome) AS with_outcome`

// Summary adds up the selected events by one thing, dearest first, and in all. Rows and total come from one snapshot.
func (s *Store) Summary(ctx context.Context, f Filter, by string) (rows []Group, total Group, err error) {
	where, args := f.where()
	err = s.tx(ctx, func(tx *gorm.DB) error {
		rows, total = nil, Group{}
		if err := tx.Exec("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").Error; err != nil {
			return err
		}
		if column := GroupColumns()[by]; column != "" {
			if err := tx.Raw("SELECT "+column+" AS key, "+sums+" FROM events WHERE "+where+" GROUP BY 1 ORDER BY cost_usd DESC, 1 LIMIT 1000", args...).Scan(&rows).Error; err != nil {
				return err
			}
		}
		return tx.Raw("SELECT "+sums+" FROM events WHERE "+where, args...).Scan(&total).Error
	})
	return rows, total, err
}

// Outcomes is an event's outcomes, newest first.
func (s *Store) Outcomes(ctx context.Context, event id.Event) ([]meter.Outcome, error) {
	var rows []struct {
		OutcomeType, Outcome, Source, ReasonCode, LegacyStatus string
		Revision                                               int
		QualityScore                                           *money.USD
		Metadata                                               []byte
		OccurredAt, RecordedAt                                 time.Time
	}
	err := s.db.WithContext(ctx).Raw(`SELECT outcome_type, outcome, source, reason_code, legacy_status, revision, quality_score, metadata, occurred_at, recorded_at
		FROM outcomes WHERE event_id = ? ORDER BY occurred_at DESC, recorded_at DESC, revision DESC`, event).Scan(&rows).Error
	out := []meter.Outcome{}
	for _, r := range rows {
		o := meter.Outcome{EventID: event, Revision: r.Revision, Outcome: r.Outcome, OutcomeType: r.OutcomeType, Source: r.Source, QualityScore: r.QualityScore,
			ReasonCode: r.ReasonCode, LegacyStatus: r.LegacyStatus, OccurredAt: r.OccurredAt, RecordedAt: r.RecordedAt}
		if err := json.Unmarshal(r.Metadata, &o.Metadata); err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, err
}

// RecordOutcome appends an outcome. The same one again changes nothing and answers with what stands; another makes a
// revision. previous is the outcome it follows, or "".
func (s *Store) RecordOutcome(ctx context.Context, tenant id.Tenant, o meter.Outcome) (stored meter.Outcome, previous string, fresh bool, err error) {
	meta, err := json.Marshal(o.Metadata)
	if err != nil {
		return o, "", false, err
	}
	if o.Metadata == nil {
		meta = []byte("{}")
	}
	err = s.tx(ctx, func(tx *gorm.DB) error {
		previous, fresh = "", false
		if err := tx.Exec("SELECT 1 FROM events WHERE tenant_id = ? AND id = ? FOR UPDATE", tenant, o.EventID).Error; err != nil {
			return err
		}
		var last struct {
			Revision int
			Outcome  string
			Same     bool
		}
		if err := tx.Raw(`SELECT revision, outcome, outcome = ? AND source = ? AND quality_score IS NOT DISTINCT FROM ?::numeric AND reason_code = ? AND metadata = ?::jsonb AS same
			FROM outcomes WHERE event_id = ? AND outcome_type = ? ORDER BY revision DESC LIMIT 1`, o.Outcome, o.Source, o.QualityScore, o.ReasonCode, string(meta), o.EventID, o.OutcomeType).Scan(&last).Error; err != nil {
			return err
		}
		stored = o
		if previous = last.Outcome; last.Same {
			stored.Revision = last.Revision
			return nil
		}
		stored.Revision, fresh = last.Revision+1, true
		if err := tx.Exec(`INSERT INTO outcomes (event_id, outcome_type, revision, tenant_id, outcome, source, quality_score, reason_code, legacy_status, metadata, occurred_at, recorded_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, o.EventID, o.OutcomeType, stored.Revision, tenant, o.Outcome, o.Source, o.QualityScore, o.ReasonCode,
			o.LegacyStatus, string(meta), o.OccurredAt, o.RecordedAt).Error; err != nil {
			return err
		}
		return tx.Exec(`UPDATE events SET outcome = (SELECT outcome FROM outcomes WHERE event_id = events.id ORDER BY occurred_at DESC, recorded_at DESC, revision DESC LIMIT 1)
			WHERE tenant_id = ? AND id = ?`, tenant, o.EventID).Error
	})
	return stored, previous, fresh, err
}

// Receipt reads a receipt as it was signed.
func (s *Store) Receipt(ctx context.Context, tenant id.Tenant, receipt string) (json.RawMessage, error) {
	return s.receipt(ctx, "tenant_id = ? AND id = ?", tenant, receipt)
}

// ownOrReused is an event and, for a run that an earlier call was paid for, that call's event.
const ownOrReused = "(SELECT ? UNION SELECT doc ->> 'RetryOf' FROM events WHERE id = ? AND receipt_status = 'reused')"

// EventReceipt is the receipt of an event; nil if it has none.
func (s *Store) EventReceipt(ctx context.Context, tenant id.Tenant, event id.Event) (json.RawMessage, error) {
	raw, err := s.receipt(ctx, "tenant_id = ? AND event_id IN "+ownOrReused+" ORDER BY id DESC", tenant, event, event)
	if fault.KindOf(err) == fault.KindNotFound {
		return nil, nil
	}
	return raw, err
}

func (s *Store) receipt(ctx context.Context, where string, args ...any) (json.RawMessage, error) {
	var doc string
	res := s.db.WithContext(ctx).Raw("SELECT doc FROM receipts WHERE "+where+" LIMIT 1", args...).Scan(&doc)
	if res.Error == nil && doc == "" {
		return nil, errNotFound
	}
	return json.RawMessage(doc), res.Error
}

// Receipts lists a tenant's receipts, newest first, after an id.
func (s *Store) Receipts(ctx context.Context, tenant id.Tenant, after string, limit int) ([]json.RawMessage, error) {
	var docs []string
	err := s.db.WithContext(ctx).Raw("SELECT doc FROM receipts WHERE tenant_id = ? AND (? = '' OR id < ?) ORDER BY id DESC LIMIT ?", tenant, after, after, limit).Scan(&docs).Error
	out := make([]json.RawMessage, 0, len(docs))
	for _, d := range docs {
		out = append(out, json.RawMessage(d))
	}
	return out, err
}

// Payments lists a tenant's payments, newest first, after an id; payer and nonce "" are any.
func (s *Store) Payments(ctx context.Context, tenant id.Tenant, payer, nonce, after string, limit int) ([]settlement.Payment, error) {
	return s.payments(ctx, "tenant_id = ? AND (? = '' OR lower(payer) = lower(?)) AND (? = '' OR nonce = lower(?)) AND (? = '' OR id < ?) ORDER BY id DESC LIMIT ?",
		tenant, payer, payer, nonce, nonce, after, after, limit)
}

// EventPayment is the payment of an event, and its moves; ErrNotFound if it has none.
func (s *Store) EventPayment(ctx context.Context, tenant id.Tenant, event id.Event) (settlement.Payment, []settlement.Move, error) {
	p, err := s.payment(ctx, "tenant_id = ? AND event_id IN "+ownOrReused, tenant, event, event)
	if err != nil {
		return p, nil, err
	}
	moves, err := s.moves(ctx, p.ID)
	return p, moves, err
}

// TenantPayment is a tenant's payment by its id, and its moves.
func (s *Store) TenantPayment(ctx context.Context, tenant id.Tenant, payment string) (settlement.Payment, []settlement.Move, error) {
	p, err := s.payment(ctx, "tenant_id = ? AND id = ?", tenant, payment)
	if err != nil {
		return p, nil, err
	}
	moves, err := s.moves(ctx, p.ID)
	return p, moves, err
}

func (s *Store) moves(ctx context.Context, payment id.Payment) ([]settlement.Move, error) {
	var rows []struct {
		FromState, ToState, Actor, Reason string
		Evidence                          []byte
		At                                time.Time
	}
	err := s.db.WithContext(ctx).Raw("SELECT from_state, to_state, actor, reason, evidence, at FROM payment_moves WHERE payment_id = ? ORDER BY id", payment).Scan(&rows).Error
	out := []settlement.Move{}
	for _, r := range rows {
		m := settlement.Move{PaymentID: payment, From: settlement.State(r.FromState), To: settlement.State(r.ToState), Actor: r.Actor, Reason: r.Reason, At: r.At}
		if err := json.Unmarshal(r.Evidence, &m.Evidence); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, err
}
