package store

import (
	"context"
	"database/sql"
	"fmt"
	"sort"
	"strings"
	"time"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/journal"
	"p402.io/p402/internal/money"
)

// ExportQuery is what an export holds: facts of a half-open time as they stood at AsOf. The same query gives the same rows
// for ever, as nothing it reads is edited and what came after AsOf does not count.
type ExportQuery struct {
	TenantID id.Tenant
	Livemode bool
	Kind     string
	Since    time.Time // zero = from the beginning
	Until    time.Time // zero = to AsOf
	AsOf     time.Time
	Zone     string // whose days are counted
	// LateFrom adds facts of before Since that were recorded at or after this moment: what came after the close of the period
	// before, and so counts in this one. Zero = none.
	LateFrom time.Time
}

// ExportKinds lists the kinds of exports.
func ExportKinds() []string {
	var out []string
	for k := range exportKinds() {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// ExportColumns is a kind's columns, in order; nil for an unknown kind.
func ExportColumns(kind string) []Column { return exportKinds()[kind].columns }

func (q ExportQuery) args() []any {
	since, until := q.Since, q.Until
	if since.IsZero() {
		since = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if until.IsZero() {
		until = q.AsOf.Add(24 * time.Hour) // an event's own clock may run ahead
	}
	late := q.LateFrom
	if late.IsZero() {
		late = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return []any{sql.Named("latefrom", late), sql.Named("tenant", q.TenantID), sql.Named("live", q.Livemode), sql.Named("since", since), sql.Named("until", until), sql.Named("asof", q.AsOf), sql.Named("zone", q.Zone)}
}

// Export gives every row to a function, in the kind's order, as text cells (nil = absent). One statement reads one snapshot,
// and rows come from the connection one by one: memory does not grow with their number. The cells are reused.
func (s *Store) Export(ctx context.Context, q ExportQuery, row func(cells []*string) error) error {
	kind, ok := exportKinds()[q.Kind]
	if !ok {
		return fmt.Errorf("export of unknown kind %q", q.Kind)
	}
	list := make([]string, 0, len(kind.columns))
	for _, c := range kind.columns {
		list = append(list, c.sql)
	}
	rows, err := s.db.WithContext(ctx).Raw("SELECT "+strings.Join(list, ", ")+" FROM "+kind.from+" ORDER BY "+kind.order, q.args()...).Rows()
	if err != nil {
		return fmt.Errorf("export %s: %w", q.Kind, err)
	}
	defer func() { _ = rows.Close() }() // its error is Err's
	cells, into := make([]*string, len(list)), make([]any, len(list))
	for i := range cells {
		into[i] = &cells[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return fmt.Errorf("export %s: %w", q.Kind, err)
		}
		if err := row(cells); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Opening is every account's balance before an export's time, for journals that carry balances forward.
func (s *Store) Opening(ctx context.Context, q ExportQuery) (map[journal.Account]money.USD, error) {
	var rows []struct {
		Account string
		Amount  money.USD
	}
	err := s.db.WithContext(ctx).Raw(`SELECT account, sum(amount_usd) AS amount FROM journal_entries WHERE tenant_id = @tenant AND livemode IS NOT DISTINCT FROM @live AND posted_at <= @asof
		AND effective_at < @since AND posted_at < @latefrom GROUP BY account HAVING sum(amount_usd) <> 0`, q.args()...).Scan(&rows).Error
	out := map[journal.Account]money.USD{}
	for _, r := range rows {
		out[journal.Account(r.Account)] = r.Amount
	}
	return out, err
}

// StoredExport is an export as it was asked for and, once it was streamed to its end, what it held.
type StoredExport struct {
	ID         string     `json:"export_id"`
	TenantID   string     `json:"-"`
	Livemode   bool       `json:"livemode"`
	Kind       string     `json:"kind"`
	Format     string     `json:"format"`
	Since      *time.Time `json:"since"`
	Until      *time.Time `json:"until"`
	AsOf       time.Time  `json:"as_of"`
	Zone       string     `json:"zone"`
	PeriodID   *string    `json:"period_id"`
	LateFrom   *time.Time `json:"late_from"`
	CreatedAt  time.Time  `json:"created_at"`
	CreatedBy  string     `json:"created_by"`
	FinishedAt *time.Time `json:"finished_at"`
	RowCount   *int64     `json:"row_count"`
	ByteCount  *int64     `json:"byte_count"`
	SHA256     *string    `json:"sha256" gorm:"column:sha256"`
}

// Query is what the export reads.
func (e StoredExport) Query() ExportQuery {
	q := ExportQuery{TenantID: id.Tenant(e.TenantID), Livemode: e.Livemode, Kind: e.Kind, AsOf: e.AsOf, Zone: e.Zone}
	if e.Since != nil {
		q.Since = *e.Since
	}
	if e.Until != nil {
		q.Until = *e.Until
	}
	if e.LateFrom != nil {
		q.LateFrom = *e.LateFrom
	}
	return q
}

const storedExportColumns = "id, tenant_id, livemode, kind, format, since, until, as_of, zone, period_id, late_from, created_at, created_by, finished_at, row_count, byte_count, sha256"

// CreateExport stores the question.
func (s *Store) CreateExport(ctx context.Context, e StoredExport) (StoredExport, error) {
	e.ID, e.CreatedAt = string(s.ids.Export()), s.now()
	return e, s.db.WithContext(ctx).Exec(`INSERT INTO exports (id, tenant_id, livemode, kind, format, since, until, as_of, zone, period_id, late_from, created_at, created_by)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, e.ID, e.TenantID, e.Livemode, e.Kind, e.Format, e.Since, e.Until, e.AsOf, e.Zone, e.PeriodID, e.LateFrom, e.CreatedAt, e.CreatedBy).Error
}

// FinishExport notes what a whole stream held. A later stream of the same export must hold the same.
func (s *Store) FinishExport(ctx context.Context, export string, rows, bytes int64, sum string) error {
	return s.db.WithContext(ctx).Exec("UPDATE exports SET finished_at = ?, row_count = ?, byte_count = ?, sha256 = ? WHERE id = ? AND finished_at IS NULL", s.now(), rows, bytes, sum, export).Error
}

// StoredExport reads one export's row.
func (s *Store) StoredExport(ctx context.Context, tenant id.Tenant, livemode bool, export string) (StoredExport, error) {
	var e StoredExport
	err := s.db.WithContext(ctx).Raw("SELECT "+storedExportColumns+" FROM exports WHERE tenant_id = ? AND livemode = ? AND id = ?", tenant, livemode, export).Scan(&e).Error
	if err == nil && e.ID == "" {
		err = errNotFound
	}
	return e, err
}

// StoredExports lists exports, newest first, after an id.
func (s *Store) StoredExports(ctx context.Context, tenant id.Tenant, livemode bool, after string, limit int) ([]StoredExport, error) {
	out := []StoredExport{}
	err := s.db.WithContext(ctx).Raw("SELECT "+storedExportColumns+" FROM exports WHERE tenant_id = ? AND livemode = ? AND (? = '' OR id < ?) ORDER BY id DESC LIMIT ?",
		tenant, livemode, after, after, limit).Scan(&out).Error
	return out, err
}
