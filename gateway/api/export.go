package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement/reconcile"
)

// encoder turns rows into the bytes of one format. begin comes first, end last; rows reuse their cells.
type encoder interface {
	begin(columns []store.Column) error
	row(cells []*string) error
	end() error
}

// Trailers that a download ends with: what it held. A body without them was cut.
const (
	trailerRows   = "P402-Rows"
	trailerSHA256 = "P402-SHA256"
)

// mediaTypes is the formats and their media types. The last four are shapes of the journal.
var mediaTypes = map[string]string{"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson", "json": "application/json",
	"hledger": "text/plain; charset=utf-8", "beancount": "text/plain; charset=utf-8", "quickbooks": "text/csv; charset=utf-8", "xero": "text/csv; charset=utf-8"}

// exportBody is what an export is asked for.
type exportBody struct {
	Kind   string     `json:"kind"`
	Format string     `json:"format"`
	Period string     `json:"period"`
	Since  *time.Time `json:"since"`
	Until  *time.Time `json:"until"`
}

func (s *Surface) createExport(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b exportBody
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	if b.Format == "" {
		b.Format = "csv"
	}
	switch {
	case !slices.Contains(store.ExportKinds(), b.Kind):
		return 0, nil, invalid("kind", "must be one of "+strings.Join(store.ExportKinds(), ", "))
	case mediaTypes[b.Format] == "":
		return 0, nil, invalid("format", "must be csv, ndjson, json or, for kind journal, hledger, beancount, quickbooks, xero")
	case b.Kind != "journal" && !slices.Contains([]string{"csv", "ndjson", "json"}, b.Format):
		return 0, nil, invalid("format", "is a shape of the journal only")
	case b.Period != "" && (b.Since != nil || b.Until != nil):
		return 0, nil, invalid("period", "give a period, or since and until")
	}
	ctx := c.Request.Context()
	zone, err := s.Store.Zone(ctx, caller.TenantID)
	if err != nil {
		return 0, nil, err
	}
	e := store.StoredExport{TenantID: string(caller.TenantID), Livemode: caller.Livemode, Kind: b.Kind, Format: b.Format, Since: b.Since, Until: b.Until, AsOf: s.Now(),
		Zone: zone.String(), CreatedBy: author(caller)}
	if b.Period != "" {
		if err := s.ofPeriod(ctx, caller, b.Period, zone, &e); err != nil {
			return 0, nil, err
		}
	}
	e, err = s.Store.CreateExport(ctx, e)
	return http.StatusCreated, exportJSON(e), err
}

// ofPeriod gives an export a period's bounds. Of a closed period it holds what its statement holds, the late items of earlier
// periods included, and never changes again.
func (s *Surface) ofPeriod(ctx context.Context, caller meter.Caller, name string, zone *time.Location, e *store.StoredExport) error {
	span, err := reconcile.ParsePeriod(name, zone)
	if err != nil {
		return err
	}
	e.Since, e.Until = &span.Start, &span.End
	p, found, err := s.Store.PeriodByName(ctx, caller.TenantID, caller.Livemode, name)
	if err != nil {
		return err
	}
	if found {
		id := string(p.ID)
		e.PeriodID, e.Since, e.Until, e.Zone = &id, &p.Span.Start, &p.Span.End, p.Span.Zone
	} else {
		p.Span = span // not closed yet: late items of closed ones are in it all the same
	}
	bounds, err := s.Store.PeriodBounds(ctx, caller.TenantID, caller.Livemode, p)
	if err != nil {
		return err
	}
	if bounds.LateFrom != nil {
		e.LateFrom = bounds.LateFrom
	}
	if p.RecordedTo != nil {
		e.AsOf = p.RecordedTo.Add(-time.Microsecond) // what was recorded before that moment
	}
	return nil
}

func exportJSON(e store.StoredExport) gin.H {
	state := "ready"
	if e.FinishedAt != nil {
		state = "downloaded"
	}
	return gin.H{"object": "export", "export_id": e.ID, "livemode": e.Livemode, "kind": e.Kind, "format": e.Format, "since": e.Since, "until": e.Until, "as_of": e.AsOf, "zone": e.Zone,
		"period_id": e.PeriodID, "state": state, "row_count": e.RowCount, "byte_count": e.ByteCount, "sha256": e.SHA256, "created_at": e.CreatedAt, "created_by": e.CreatedBy,
		"download": "/api/v2/exports/" + e.ID + "/download"}
}

func (s *Surface) listExports(c *gin.Context, caller meter.Caller) (int, any, error) {
	p, err := s.page(c, caller)
	if err != nil {
		return 0, nil, err
	}
	rows, err := s.Store.StoredExports(c.Request.Context(), caller.TenantID, caller.Livemode, p.lastID(), p.limit+1)
	if err != nil {
		return 0, nil, err
	}
	out, err := list(s, c, caller, p, rows, func(e store.StoredExport) any { return exportJSON(e) }, func(e store.StoredExport) store.Position { return byID(e.ID) })
	return http.StatusOK, out, err
}

func (s *Surface) oneExport(c *gin.Context, caller meter.Caller) (int, any, error) {
	e, err := s.Store.StoredExport(c.Request.Context(), caller.TenantID, caller.Livemode, c.Param("id"))
	return http.StatusOK, exportJSON(e), err
}

// download streams an export. Rows and digest follow in trailers; when something breaks half-way the connection is cut, so
// that nobody takes a part for the whole.
func (s *Surface) download(c *gin.Context) {
	caller, err := s.caller(c, route{method: http.MethodGet, path: "/exports/:id/download", scope: meter.ScopeExportRead})
	var e store.StoredExport
	if err == nil {
		e, err = s.Store.StoredExport(c.Request.Context(), caller.TenantID, caller.Livemode, c.Param("id"))
	}
	if err != nil {
		gateway.Fail(c, s.Log, err)
		return
	}
	h := c.Writer.Header()
	h.Set("Content-Type", mediaTypes[e.Format])
	h.Set("Content-Disposition", `attachment; filename="`+e.ID+"-"+e.Kind+extension(e.Format)+`"`)
	h.Set("Cache-Control", "no-store")
	h.Set("Trailer", trailerRows+", "+trailerSHA256)
	sum, err := s.writeExport(c.Request.Context(), e, c.Writer)
	if err == nil {
		err = s.Store.FinishExport(context.WithoutCancel(c.Request.Context()), e.ID, sum.rows, sum.bytes, sum.hex())
	}
	if err != nil {
		if c.Request.Context().Err() == nil {
			s.Log.ErrorContext(c.Request.Context(), "export broke off", "request_id", gateway.RequestID(c), "err", err)
		}
		panic(http.ErrAbortHandler)
	}
	h.Set(trailerRows, strconv.FormatInt(sum.rows, 10))
	h.Set(trailerSHA256, sum.hex())
}

func extension(format string) string {
	switch format {
	case "hledger":
		return ".journal"
	case "quickbooks", "xero":
		return "-" + format + ".csv"
	}
	return "." + format
}

// writeExport is the one path by which an export leaves, whoever asked for it.
func (s *Surface) writeExport(ctx context.Context, e store.StoredExport, w io.Writer) (*summed, error) {
	sum := &summed{to: w, hash: sha256.New()}
	enc, err := s.encoder(ctx, e, sum)
	if err != nil {
		return sum, err
	}
	if err := enc.begin(store.ExportColumns(e.Kind)); err != nil {
		return sum, err
	}
	if err := s.Store.Export(ctx, e.Query(), func(cells []*string) error {
		sum.rows++
		return enc.row(cells)
	}); err != nil {
		return sum, err
	}
	return sum, enc.end()
}

func (s *Surface) encoder(ctx context.Context, e store.StoredExport, w io.Writer) (encoder, error) {
	switch e.Format {
	case "csv":
		return newCSV(w), nil
	case "ndjson", "json":
		return newJSON(w, e.Format == "json"), nil
	case "quickbooks", "xero":
		return newVoucher(w, e.Format), nil
	}
	opening, err := s.Store.Opening(ctx, e.Query())
	if err != nil {
		return nil, err
	}
	zone, err := time.LoadLocation(e.Zone)
	if err != nil {
		return nil, err
	}
	first, last := time.Time{}, e.AsOf.In(zone)
	if e.Since != nil {
		first = e.Since.In(zone)
	}
	if e.Until != nil {
		last = e.Until.Add(-time.Microsecond).In(zone)
	}
	return newLedger(w, e.Format, opening, first, last), nil
}

// summed counts and digests what passes.
type summed struct {
	to    io.Writer
	hash  hash.Hash
	bytes int64
	rows  int64
}

// Write passes bytes on and counts those that went.
func (s *summed) Write(p []byte) (int, error) {
	n, err := s.to.Write(p)
	s.bytes += int64(n)
	s.hash.Write(p[:n])
	return n, err
}

func (s *summed) hex() string { return hex.EncodeToString(s.hash.Sum(nil)) }
