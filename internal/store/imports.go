package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/internal/id"
	"p402.io/p402/settlement/reconcile"
)

// ImportFile is a vendor's file that was read, with who brought it.
type ImportFile struct {
	TenantID   id.Tenant
	Livemode   bool
	Format     reconcile.Format
	Provider   string
	Name       string
	SHA256     string // hex, of the file's bytes
	ImportedBy string
	Parsed     reconcile.Parsed
}

// Imported is a stored import.
type Imported struct {
	ID         string          `json:"import_id"`
	Format     string          `json:"format"`
	Provider   string          `json:"provider"`
	Name       string          `json:"name"`
	SHA256     string          `json:"sha256" gorm:"column:sha256"`
	FirstDay   string          `json:"first_day"`
	LastDay    string          `json:"last_day"`
	Lines      int64           `json:"lines"`
	Again      int64           `json:"duplicate_lines"`
	Replaced   int64           `json:"replaced_lines"` // this file's lines that a newer one replaced
	Rejected   json.RawMessage `json:"rejected_rows"`
	ImportedAt time.Time       `json:"imported_at"`
	ImportedBy string          `json:"imported_by"`
}

const importColumns = `i.id, i.format, i.provider, i.name, i.sha256, to_char(i.first_day, 'YYYY-MM-DD') AS first_day, to_char(i.last_day, 'YYYY-MM-DD') AS last_day, i.lines,
	(SELECT count(*) FROM recon_lines l WHERE l.import_id = i.id AND l.again) AS again,
	(SELECT count(*) FROM recon_lines l WHERE l.import_id = i.id AND l.replaced_by IS NOT NULL) AS replaced, i.rejected, i.imported_at, i.imported_by`

// SaveImport stores a file's lines. The same bytes again change nothing: fresh is false and the first import comes back. A
// vendor's format takes the place of its older files for the days it covers; a generic file adds to them, and a line that
// stood before is kept apart as a duplicate.
func (s *Store) SaveImport(ctx context.Context, f ImportFile) (out Imported, fresh bool, err error) {
	rejected, err := json.Marshal(append([]reconcile.RowError{}, f.Parsed.Rejected...))
	if err != nil {
		return out, false, err
	}
	name := s.ids.Import()
	err = s.tx(ctx, func(tx *gorm.DB) error {
		res := tx.Exec(`INSERT INTO recon_imports (id, tenant_id, livemode, format, provider, name, sha256, first_day, last_day, lines, rejected, imported_at, imported_by)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, name, f.TenantID, f.Livemode, f.Format, f.Provider, f.Name, f.SHA256, f.Parsed.From, f.Parsed.To,
			len(f.Parsed.Lines), string(rejected), s.now(), f.ImportedBy)
		if res.Error != nil {
			return res.Error
		}
		if res.RowsAffected == 0 {
			return errAlreadyImported
		}
		if f.Format.Replaces() {
			// Costs and usage are two reports of one format: a cost file replaces lines with money, a usage file those without.
			if err := tx.Exec(`UPDATE recon_lines l SET replaced_by = ? FROM recon_imports i WHERE i.id = l.import_id AND i.format = ? AND l.provider = ? AND l.tenant_id = ? AND l.livemode = ?
				AND l.day BETWEEN ?::date AND ?::date AND l.replaced_by IS NULL AND (l.cost_usd IS NOT NULL) = ?`, name, f.Format, f.Provider, f.TenantID, f.Livemode,
				f.Parsed.From, f.Parsed.To, f.Parsed.Lines[0].CostUSD != nil).Error; err != nil {
				return err
			}
		}
		known, err := knownLines(tx, f)
		if err != nil {
			return err
		}
		rows := make([][]any, 0, len(f.Parsed.Lines))
		for _, l := range f.Parsed.Lines {
			rows = append(rows, []any{name, f.TenantID, f.Livemode, l.Provider, l.Model, l.Day, l.Requests, nullInt(l.InputTokens), nullInt(l.OutputTokens), nullUSD(l.CostUSD), l.ExternalID, l.Digest, l.Again || known[l.Digest]})
		}
		return insertMany(tx, "recon_lines (import_id, tenant_id, livemode, provider, model, day, requests, input_tokens, output_tokens, cost_usd, external_id, digest, again)", rows, "")
	})
	if fresh = err == nil; err != nil && !errors.Is(err, errAlreadyImported) {
		return out, false, err
	}
	err = s.db.WithContext(ctx).Raw("SELECT "+importColumns+" FROM recon_imports i WHERE tenant_id = ? AND livemode = ? AND sha256 = ? AND format = ? AND provider = ?",
		f.TenantID, f.Livemode, f.SHA256, f.Format, f.Provider).Scan(&out).Error
	return out, fresh, err
}

func knownLines(tx *gorm.DB, f ImportFile) (map[string]bool, error) {
	var digests []string
	err := tx.Raw("SELECT DISTINCT digest FROM recon_lines WHERE tenant_id = ? AND livemode = ? AND day BETWEEN ?::date AND ?::date AND replaced_by IS NULL",
		f.TenantID, f.Livemode, f.Parsed.From, f.Parsed.To).Scan(&digests).Error
	out := make(map[string]bool, len(digests))
	for _, d := range digests {
		out[d] = true
	}
	return out, err
}

func nullInt(n *int64) any {
	if n == nil {
		return nil
	}
	return *n
}

// Imports lists a tenant's imports, newest first, after an id.
func (s *Store) Imports(ctx context.Context, tenant id.Tenant, livemode bool, after string, limit int) ([]Imported, error) {
	out := []Imported{}
	err := s.db.WithContext(ctx).Raw("SELECT "+importColumns+" FROM recon_imports i WHERE tenant_id = ? AND livemode = ? AND (? = '' OR i.id < ?) ORDER BY i.id DESC LIMIT ?",
		tenant, livemode, after, after, limit).Scan(&out).Error
	return out, err
}
