package store

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/gateway/call"
	"p402.io/p402/internal/crash"
	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
)

// record is a row on its way to jsonb_populate_recordset, by column.
type record map[string]any

// together writes a batch with a handful of statements, whatever its size: events first, then windows in id order, as
// everywhere, so that two writers cannot wait for each other.
func (s *Store) together(tx *gorm.DB, ops []*operation) error {
	for _, op := range ops {
		op.err = nil // a retried transaction decides afresh
	}
	if err := insertEvents(tx, ops); err != nil {
		return err
	}
	crash.Point("store.inserted")
	freed, err := closeEvents(tx, ops)
	if err != nil {
		return err
	}
	crash.Point("store.closed")
	if err := moveBudgets(tx, ops, freed); err != nil {
		return err
	}
	crash.Point("store.budgets")
	if err := postAll(tx, ops, s.now()); err != nil {
		return err
	}
	crash.Point("store.posted")
	return deliverAll(tx, ops)
}

// insertEvents writes the intents, and the events that are over before they began.
func insertEvents(tx *gorm.DB, ops []*operation) error {
	var rows []record
	for _, op := range ops {
		e, fresh := meter.Event{}, true
		switch {
		case op.opening != nil:
			e = op.opening.Event
		case op.closing != nil && op.closing.Fresh:
			e = op.closing.Event
		default:
			fresh = false
		}
		if !fresh {
			continue
		}
		row, err := eventRecord(e)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	columns := strings.Join(append(slices.Clone(insertColumns), eventColumns...), ", ")
	return execRows(tx, "INSERT INTO events ("+columns+") SELECT "+columns+" FROM jsonb_populate_recordset(NULL::events, ?::jsonb)", rows)
}

func eventRecord(e meter.Event) (record, error) {
	values, err := eventValues(e)
	if err != nil {
		return nil, err
	}
	row := record{}
	values = append(insertValues(e), values...)
	for i, column := range slices.Concat(insertColumns, eventColumns) {
		row[column] = values[i]
	}
	for _, column := range []string{"tags", "doc"} { // these are JSON already
		row[column] = json.RawMessage(row[column].(string))
	}
	return row, nil
}

// freed is what the reservation of a closed call was.
type freed struct {
	EventID, BudgetID string
	WindowStart       time.Time
	USD               money.USD
	Events, Tokens    int64
}

// closeEvents closes what is still open, and takes the reservations away. Who comes second gets call.ErrClosed.
func closeEvents(tx *gorm.DB, ops []*operation) ([]freed, error) {
	var rows []record
	for _, op := range ops {
		if op.closing == nil || op.closing.Fresh {
			continue
		}
		row, err := eventRecord(op.closing.Event)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	sets := make([]string, 0, len(eventColumns))
	for _, column := range eventColumns {
		sets = append(sets, column+" = r."+column)
	}
	var closed []string
	if err := scanRows(tx, &closed, "UPDATE events e SET "+strings.Join(sets, ", ")+` FROM jsonb_populate_recordset(NULL::events, ?::jsonb) r
		WHERE e.id IN ? AND e.tenant_id = r.tenant_id AND e.id = r.id AND e.state = 'intent' RETURNING e.id`, rows, ids(rows)); err != nil {
		return nil, err
	}
	for _, op := range ops {
		if op.closing != nil && !op.closing.Fresh && !slices.Contains(closed, string(op.closing.Event.ID)) {
			op.err = call.ErrClosed
		}
	}
	if len(closed) == 0 {
		return nil, nil
	}
	var out []freed
	err := tx.Raw("DELETE FROM reservations WHERE event_id IN ? RETURNING event_id, budget_id, window_start, usd, events, tokens", closed).Scan(&out).Error
	return out, err
}

// windowKey names one window of one budget.
type windowKey struct {
	budget string
	start  int64 // µs
}

// window is a locked window with what the batch does to it.
type window struct {
	Budget          budgetRow `gorm:"embedded"`
	WindowStart     time.Time
	spend, reserved meter.Amount `gorm:"-"` // what the batch adds; reserved may be negative
}

// moveBudgets gives back what closed calls had set aside, books what they cost, and reserves for the new ones, in their
// order of arrival, as far as each budget goes: exactly, as every window is locked.
func moveBudgets(tx *gorm.DB, ops []*operation, gone []freed) error {
	windows, err := lockWindows(tx, ops, gone)
	if err != nil || len(windows) == 0 {
		return err
	}
	actual := map[string]meter.Amount{}
	for _, op := range ops {
		if op.closing != nil {
			actual[string(op.closing.Event.ID)] = op.closing.Actual
		}
	}
	for _, f := range gone {
		w := windows[windowKey{f.BudgetID, f.WindowStart.UnixMicro()}]
		w.reserved = add(w.reserved, meter.Amount{USD: money.Zero.Sub(f.USD), Events: -f.Events, Tokens: -f.Tokens})
		w.spend = add(w.spend, actual[f.EventID])
	}
	var reservations []record
	var refused []string
	for _, op := range ops {
		if op.opening == nil {
			continue
		}
		if full := firstFull(windows, op.opening.Reservations); full != nil {
			op.err = &call.BudgetExceeded{Budget: full.Budget.standing().Budget}
			refused = append(refused, string(op.opening.Event.ID))
			continue
		}
		for _, r := range op.opening.Reservations {
			w := windows[windowKey{string(r.BudgetID), r.WindowStart.UnixMicro()}]
			w.reserved = add(w.reserved, r.Amount)
			reservations = append(reservations, record{"event_id": op.opening.Event.ID, "budget_id": r.BudgetID, "window_start": r.WindowStart.UTC(),
				"usd": r.Amount.USD, "events": r.Amount.Events, "tokens": r.Amount.Tokens})
		}
	}
	if len(refused) > 0 { // nothing stays of a call that was refused
		if err := tx.Exec("DELETE FROM events WHERE id IN ?", refused).Error; err != nil {
			return err
		}
	}
	if err := updateWindows(tx, windows); err != nil {
		return err
	}
	return execRows(tx, `INSERT INTO reservations (event_id, budget_id, window_start, usd, events, tokens)
		SELECT event_id, budget_id, window_start, usd, events, tokens FROM jsonb_populate_recordset(NULL::reservations, ?::jsonb)`, reservations)
}

// lockWindows locks every window that the batch touches, and makes those that are new.
func lockWindows(tx *gorm.DB, ops []*operation, gone []freed) (map[windowKey]*window, error) {
	wanted := map[windowKey]record{}
	want := func(budget string, start time.Time) {
		wanted[windowKey{budget, start.UnixMicro()}] = record{"budget_id": budget, "window_start": start.UTC()}
	}
	for _, f := range gone {
		want(f.BudgetID, f.WindowStart)
	}
	for _, op := range ops {
		if op.opening != nil {
			for _, r := range op.opening.Reservations {
				want(string(r.BudgetID), r.WindowStart)
			}
		}
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	rows := make([]record, 0, len(wanted))
	for _, row := range wanted {
		rows = append(rows, row)
	}
	found := map[windowKey]*window{}
	for tries := 0; len(found) < len(wanted); tries++ {
		if tries == 2 {
			return nil, fmt.Errorf("%d of %d budget windows cannot be locked", len(wanted)-len(found), len(wanted))
		}
		if tries == 1 {
			if err := execRows(tx, `INSERT INTO budget_windows (budget_id, window_start)
				SELECT budget_id, window_start FROM jsonb_populate_recordset(NULL::budget_windows, ?::jsonb) ORDER BY 1, 2 ON CONFLICT DO NOTHING`, rows); err != nil {
				return nil, err
			}
		}
		var locked []*window
		if err := scanRows(tx, &locked, "SELECT "+budgetColumns+`, w.window_start FROM budget_windows w JOIN budgets b ON b.id = w.budget_id
			WHERE (w.budget_id, w.window_start) IN (SELECT r.budget_id, r.window_start FROM jsonb_populate_recordset(NULL::budget_windows, ?::jsonb) r)
			ORDER BY w.budget_id, w.window_start FOR UPDATE OF w`, rows); err != nil {
			return nil, err
		}
		for _, w := range locked {
			found[windowKey{w.Budget.ID, w.WindowStart.UnixMicro()}] = w
		}
	}
	return found, nil
}

// firstFull is the first window that cannot take its reservation, or nil. All of a call's budgets have to agree.
func firstFull(windows map[windowKey]*window, reservations []meter.Reservation) *window {
	for _, r := range reservations {
		w := windows[windowKey{string(r.BudgetID), r.WindowStart.UnixMicro()}]
		before, limit := w.Budget.standing(), w.Budget
		used := add(add(before.Spent, before.Reserved), add(add(w.spend, w.reserved), r.Amount))
		if limit.LimitUSD != nil && used.USD.Cmp(*limit.LimitUSD) > 0 || limit.LimitEvents != nil && used.Events > *limit.LimitEvents ||
			limit.LimitTokens != nil && used.Tokens > *limit.LimitTokens {
			return w
		}
	}
	return nil
}

func updateWindows(tx *gorm.DB, windows map[windowKey]*window) error {
	rows := make([]record, 0, len(windows))
	for _, w := range windows {
		rows = append(rows, record{"budget_id": w.Budget.ID, "window_start": w.WindowStart.UTC(), "spent_usd": w.spend.USD, "spent_events": w.spend.Events,
			"spent_tokens": w.spend.Tokens, "reserved_usd": w.reserved.USD, "reserved_events": w.reserved.Events, "reserved_tokens": w.reserved.Tokens})
	}
	return execRows(tx, `UPDATE budget_windows w SET spent_usd = w.spent_usd + r.spent_usd, spent_events = w.spent_events + r.spent_events,
			spent_tokens = w.spent_tokens + r.spent_tokens, reserved_usd = w.reserved_usd + r.reserved_usd,
			reserved_events = w.reserved_events + r.reserved_events, reserved_tokens = w.reserved_tokens + r.reserved_tokens
		FROM jsonb_populate_recordset(NULL::budget_windows, ?::jsonb) r WHERE w.budget_id = r.budget_id AND w.window_start = r.window_start`, rows)
}

// postAll writes the journal of what was closed.
func postAll(tx *gorm.DB, ops []*operation, at time.Time) error {
	var rows []record
	for _, op := range ops {
		if op.closing == nil || op.err != nil {
			continue
		}
		for _, e := range op.closing.Entries {
			rows = append(rows, record{"tenant_id": op.closing.Event.TenantID, "posting": op.closing.Event.ID, "account": e.Account,
				"amount_usd": e.Amount, "ref": e.Ref, "posted_at": at.UTC()})
		}
	}
	return execRows(tx, `INSERT INTO journal_entries (tenant_id, posting, account, amount_usd, ref, posted_at)
		SELECT tenant_id, posting, account, amount_usd, ref, posted_at FROM jsonb_populate_recordset(NULL::journal_entries, ?::jsonb)`, rows)
}

// deliverAll notes which answers left.
func deliverAll(tx *gorm.DB, ops []*operation) error {
	var rows, earned []record
	for _, op := range ops {
		if op.delivery == nil {
			continue
		}
		d := *op.delivery
		row := record{"id": d.EventID, "tenant_id": d.Tenant, "delivered_at": d.At.UTC(), "delivered": delivered(d), "delivered_bytes": d.Bytes}
		if rows = append(rows, row); d.Earned {
			earned = append(earned, row)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if err := execRows(tx, `UPDATE events e SET delivered_at = r.delivered_at, delivered = r.delivered, delivered_bytes = r.delivered_bytes
		FROM jsonb_populate_recordset(NULL::events, ?::jsonb) r
		WHERE e.id IN ? AND e.tenant_id = r.tenant_id AND e.id = r.id AND e.delivered IS DISTINCT FROM 'whole'`, rows, ids(rows)); err != nil {
		return err
	}
	return execRows(tx, `UPDATE payments p SET delivered_at = r.delivered_at, hold_until = 'infinity'
		FROM jsonb_populate_recordset(NULL::events, ?::jsonb) r
		WHERE p.event_id IN ? AND p.event_id = r.id AND p.state NOT IN ('voided', 'authorized')`, earned, ids(earned))
}

// execRows runs a statement over rows; none: nothing to do.
func execRows(tx *gorm.DB, query string, rows []record, more ...any) error {
	if len(rows) == 0 {
		return nil
	}
	text, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	return tx.Exec(query, append([]any{string(text)}, more...)...).Error
}

// ids are named beside the rows wherever they are looked up: PostgreSQL cannot guess how few rows the JSON holds, and
// would rather read a young table from end to end.
func ids(rows []record) []any {
	out := make([]any, 0, len(rows))
	for _, row := range rows {
		out = append(out, row["id"])
	}
	return out
}

func scanRows(tx *gorm.DB, into any, query string, rows []record, more ...any) error {
	text, err := json.Marshal(rows)
	if err != nil {
		return err
	}
	return tx.Raw(query, append([]any{string(text)}, more...)...).Scan(into).Error
}

func add(a, b meter.Amount) meter.Amount {
	return meter.Amount{USD: a.USD.Add(b.USD), Events: a.Events + b.Events, Tokens: a.Tokens + b.Tokens}
}

func delivered(d call.Delivery) string {
	if d.Whole {
		return "whole"
	}
	return "cut"
}
