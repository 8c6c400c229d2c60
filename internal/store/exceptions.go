package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/journal"
	"p402.io/p402/internal/money"
	"p402.io/p402/settlement/reconcile"
)

// ExceptionFilter selects exceptions. Empty fields select everything; Open selects what still needs a person.
type ExceptionFilter struct {
	TenantID     id.Tenant
	Livemode     bool
	State        string
	Kind         string
	Side         string
	Owner        string
	Open         bool
	Since, Until *time.Time // of the fact, half-open
}

func (f ExceptionFilter) where() (string, []any) {
	where, args := "tenant_id = ? AND livemode = ?", []any{f.TenantID, f.Livemode}
	for column, value := range map[string]string{"state": f.State, "kind": f.Kind, "side": f.Side, "owner": f.Owner} {
		if value != "" {
			where, args = where+" AND "+column+" = ?", append(args, value)
		}
	}
	if f.Open {
		where += " AND cleared_at IS NULL AND (state = 'open' OR decided_amount_usd IS DISTINCT FROM amount_usd)"
	}
	if f.Since != nil {
		where, args = where+" AND occurred_at >= ?", append(args, *f.Since)
	}
	if f.Until != nil {
		where, args = where+" AND occurred_at < ?", append(args, *f.Until)
	}
	return where, args
}

type exceptionRow struct {
	ID, Reason, Detail, State           string
	Subject, Suggested                  []byte
	AmountUSD                           money.USD
	ExpectedUSD, FoundUSD               *money.USD
	Tokens                              int64
	OccurredAt, FirstSeenAt, LastSeenAt time.Time
	ClearedAt, DecidedAt                *time.Time
	DecidedBy, Note, Posting            *string
	DecidedAmountUSD                    *money.USD
}

const exceptionColumns = `id, reason, detail, state, subject, suggested, amount_usd, expected_usd, found_usd, tokens, occurred_at, first_seen_at, last_seen_at, cleared_at,
	decided_at, decided_by, note, posting, decided_amount_usd`

func (r exceptionRow) exception() (reconcile.Exception, error) {
	e := reconcile.Exception{ID: id.Exception(r.ID), State: reconcile.ExceptionState(r.State), FirstSeenAt: r.FirstSeenAt, LastSeenAt: r.LastSeenAt, ClearedAt: r.ClearedAt,
		DecidedBy: text(r.DecidedBy), DecidedAt: r.DecidedAt, Note: text(r.Note), DecidedAmount: r.DecidedAmountUSD, Posting: text(r.Posting),
		Finding: reconcile.Finding{Reason: reconcile.Reason(r.Reason), Amount: r.AmountUSD, Expected: r.ExpectedUSD, Found: r.FoundUSD, Tokens: r.Tokens,
			OccurredAt: r.OccurredAt, Detail: r.Detail}}
	e.Rule, _ = reconcile.RuleOf(e.Finding.Reason)
	if err := json.Unmarshal(r.Subject, &e.Finding.Subject); err != nil {
		return e, fmt.Errorf("exception %s: %w", r.ID, err)
	}
	return e, json.Unmarshal(r.Suggested, &e.Finding.Suggested)
}

// Exceptions lists exceptions, dearest first, after a position (amount and id of the last one seen).
func (s *Store) Exceptions(ctx context.Context, f ExceptionFilter, afterAmount *money.USD, afterID string, limit int) ([]reconcile.Exception, error) {
	where, args := f.where()
	if afterAmount != nil {
		where, args = where+" AND (amount_usd, id) < (?::numeric, ?)", append(args, *afterAmount, afterID)
	}
	var rows []exceptionRow
	if err := s.db.WithContext(ctx).Raw("SELECT "+exceptionColumns+" FROM recon_exceptions WHERE "+where+" ORDER BY amount_usd DESC, id DESC LIMIT ?", append(args, limit)...).Scan(&rows).Error; err != nil {
		return nil, err
	}
	out := make([]reconcile.Exception, 0, len(rows))
	for _, r := range rows {
		e, err := r.exception()
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// ExceptionGroup is repeats of one cause.
type ExceptionGroup struct {
	Group     string    `json:"group"`
	Kind      string    `json:"kind"`
	Reason    string    `json:"reason"`
	Owner     string    `json:"owner"`
	Count     int64     `json:"count"`
	AmountUSD money.USD `json:"amount_usd"`
	Oldest    time.Time `json:"oldest"`
}

// ExceptionGroups sums exceptions by cause, dearest first.
func (s *Store) ExceptionGroups(ctx context.Context, f ExceptionFilter) ([]ExceptionGroup, error) {
	where, args := f.where()
	out := []ExceptionGroup{}
	err := s.db.WithContext(ctx).Raw(`SELECT group_name AS "group", kind, reason, owner, count(*) AS count, sum(amount_usd) AS amount_usd, min(occurred_at) AS oldest
		FROM recon_exceptions WHERE `+where+` GROUP BY 1, 2, 3, 4 ORDER BY sum(amount_usd) DESC, 1 LIMIT 500`, args...).Scan(&out).Error
	return out, err
}

// Decide writes a person's decision: it replaces the one before, whose adjustment, if it made one, is reversed. The
// history keeps both.
func (s *Store) Decide(ctx context.Context, tenant id.Tenant, livemode bool, exception string, d reconcile.Decision) (reconcile.Exception, error) {
	var out reconcile.Exception
	if err := d.Check(); err != nil {
		return out, err
	}
	err := s.tx(ctx, func(tx *gorm.DB) error {
		var row exceptionRow
		res := tx.Raw("SELECT "+exceptionColumns+" FROM recon_exceptions WHERE tenant_id = ? AND livemode = ? AND id = ? FOR UPDATE", tenant, livemode, exception).Scan(&row)
		if res.Error != nil {
			return res.Error
		}
		if row.ID == "" {
			return errNotFound
		}
		e, err := row.exception()
		if err != nil {
			return err
		}
		if err := reverseAdjustment(tx, tenant, e, d.At); err != nil {
			return err
		}
		posting, err := adjust(tx, tenant, e, d)
		if err != nil {
			return err
		}
		by, at, note, amount := any(d.By), any(d.At), any(d.Note), any(e.Finding.Amount)
		if d.State == reconcile.ExceptionOpen {
			by, at, note, amount = nil, nil, nil, nil
		}
		if err := tx.Exec("UPDATE recon_exceptions SET state = ?, decided_by = ?, decided_at = ?, note = ?, decided_amount_usd = ?, posting = ? WHERE id = ?",
			d.State, by, at, note, amount, optional(posting), exception).Error; err != nil {
			return err
		}
		if err := tx.Exec("INSERT INTO recon_decisions (exception_id, state, decided_by, note, amount_usd, posting, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
			exception, d.State, d.By, d.Note, e.Finding.Amount, optional(posting), d.At).Error; err != nil {
			return err
		}
		if err := tx.Raw("SELECT "+exceptionColumns+" FROM recon_exceptions WHERE id = ?", exception).Scan(&row).Error; err != nil {
			return err
		}
		out, err = row.exception()
		return err
	})
	return out, err
}

// adjust posts the correcting entries of a decision to adjust, and names them.
func adjust(tx *gorm.DB, tenant id.Tenant, e reconcile.Exception, d reconcile.Decision) (string, error) {
	if d.State != reconcile.ExceptionAdjusted {
		return "", nil
	}
	entries, err := reconcile.Adjusting(e.Finding)
	if err != nil {
		return "", err
	}
	var n int64
	if err := tx.Raw("SELECT count(*) FROM recon_decisions WHERE exception_id = ?", e.ID).Scan(&n).Error; err != nil {
		return "", err
	}
	name := fmt.Sprintf("adjust:%s:%d", e.ID, n+1)
	if s := e.Finding.Subject; s.PaymentID != "" {
		name += ":" + s.PaymentID
	} else if s.EventID != "" {
		name += ":" + s.EventID
	}
	return name, postAdjusted(tx, tenant, name, entries, d.At, e)
}

// postAdjusted posts entries that count at the time of what they correct; if that lies in a closed period, which does not
// move, they count now.
func postAdjusted(tx *gorm.DB, tenant id.Tenant, name string, entries []journal.Entry, at time.Time, about reconcile.Exception) error {
	if err := journal.Balanced(entries); err != nil {
		return err
	}
	var livemode bool
	if err := tx.Raw("SELECT livemode FROM recon_exceptions WHERE id = ?", about.ID).Scan(&livemode).Error; err != nil {
		return err
	}
	effective := about.Finding.OccurredAt
	closed, err := periodClosed(tx, tenant, livemode, effective)
	if err != nil {
		return err
	}
	if closed || effective.After(at) {
		effective = at
	}
	for _, e := range entries {
		if err := tx.Exec(`INSERT INTO journal_entries (tenant_id, posting, account, amount_usd, ref, posted_at, effective_at, livemode)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, tenant, name, e.Account, e.Amount, e.Ref, at, effective, livemode).Error; err != nil {
			return err
		}
	}
	return nil
}

func reverseAdjustment(tx *gorm.DB, tenant id.Tenant, e reconcile.Exception, at time.Time) error {
	if e.Posting == "" {
		return nil
	}
	var rows []struct {
		Account   string
		AmountUSD money.USD
	}
	if err := tx.Raw("SELECT account, amount_usd FROM journal_entries WHERE tenant_id = ? AND posting = ? ORDER BY id", tenant, e.Posting).Scan(&rows).Error; err != nil {
		return err
	}
	entries := make([]journal.Entry, 0, len(rows))
	for _, r := range rows {
		entries = append(entries, journal.Entry{Account: journal.Account(r.Account), Amount: r.AmountUSD})
	}
	return postAdjusted(tx, tenant, e.Posting+":reversed", reconcile.Reversing(entries), at, e)
}

// DecisionRecord is one decision that was ever made about an exception.
type DecisionRecord struct {
	State     string    `json:"state"`
	DecidedBy string    `json:"decided_by"`
	Note      string    `json:"note"`
	AmountUSD money.USD `json:"amount_usd"`
	Posting   *string   `json:"posting"`
	At        time.Time `json:"at"`
}

// Decisions is the history of an exception, oldest first.
func (s *Store) Decisions(ctx context.Context, tenant id.Tenant, exception string) ([]DecisionRecord, error) {
	out := []DecisionRecord{}
	err := s.db.WithContext(ctx).Raw(`SELECT d.state, d.decided_by, d.note, d.amount_usd, d.posting, d.at FROM recon_decisions d
		JOIN recon_exceptions e ON e.id = d.exception_id WHERE e.tenant_id = ? AND e.id = ? ORDER BY d.id`, tenant, exception).Scan(&out).Error
	return out, err
}

// Exception reads one exception.
func (s *Store) Exception(ctx context.Context, tenant id.Tenant, livemode bool, exception string) (reconcile.Exception, error) {
	var row exceptionRow
	if err := s.db.WithContext(ctx).Raw("SELECT "+exceptionColumns+" FROM recon_exceptions WHERE tenant_id = ? AND livemode = ? AND id = ?", tenant, livemode, exception).Scan(&row).Error; err != nil {
		return reconcile.Exception{}, err
	}
	if row.ID == "" {
		return reconcile.Exception{}, errNotFound
	}
	return row.exception()
}

// Runs lists a tenant's runs as they were stored, newest first, after an id.
func (s *Store) Runs(ctx context.Context, tenant id.Tenant, livemode bool, after string, limit int) ([]json.RawMessage, error) {
	var docs []string
	err := s.db.WithContext(ctx).Raw("SELECT doc FROM recon_runs WHERE tenant_id = ? AND livemode = ? AND (? = '' OR id < ?) ORDER BY id DESC LIMIT ?", tenant, livemode, after, after, limit).Scan(&docs).Error
	out := make([]json.RawMessage, 0, len(docs))
	for _, d := range docs {
		out = append(out, json.RawMessage(d))
	}
	return out, err
}

// StoredRun reads one run as it was stored.
func (s *Store) StoredRun(ctx context.Context, tenant id.Tenant, livemode bool, run string) (json.RawMessage, error) {
	var doc string
	err := s.db.WithContext(ctx).Raw("SELECT doc FROM recon_runs WHERE tenant_id = ? AND livemode = ? AND id = ?", tenant, livemode, run).Scan(&doc).Error
	if err == nil && doc == "" {
		return nil, errNotFound
	}
	return json.RawMessage(doc), err
}

// errAlreadyImported is no failure: the same file again changes nothing, and the first import is shown.
var errAlreadyImported = fault.New(fault.KindConflict, "ALREADY_IMPORTED", "this file was imported before")
