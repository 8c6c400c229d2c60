package dashboard

import (
	"cmp"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// eventsPage is the spend ledger, line by line.
type eventsPage struct {
	Events []store.Listed
	Next   string // the address of the older ones, or ""
	First  string // the address of the newest, when this page is an older one
	Base   string
	CSV    string
	Empty  bool // no event at all under these filters, on the first page
}

const pageSize = 50

func (s *Surface) events(r *request) error {
	ctx, f := r.Request.Context(), r.view.filter()
	p := eventsPage{Base: baseURL(r.Context)}
	var after *store.Position
	if text := r.Query("before"); text != "" {
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil || id.Suffix(r.Query("id")) == "" {
			return badParameter("before", "is not a place in this list")
		}
		after, p.First = &store.Position{Time: t, ID: id.Event(r.Query("id"))}, r.view.With()
	}
	// One indexed read, however long the ledger is; sums are the overview's.
	var err error
	if p.Events, err = s.Store.Events(ctx, f, after, false, pageSize+1); err != nil {
		return err
	}
	if len(p.Events) > pageSize {
		p.Events = p.Events[:pageSize]
		last := p.Events[pageSize-1]
		p.Next = r.view.With("before", last.EventTime.UTC().Format(time.RFC3339Nano), "id", string(last.ID))
	}
	if r.Query("format") == "csv" {
		return r.sheet("events", []section{{Grid: eventGrid(p.Events)}})
	}
	p.CSV = withFormat(r.Request.URL)
	p.Empty = len(p.Events) == 0 && after == nil
	return r.show("Events", "events.html", true, p)
}

// eventGrid is events as a plain table, for a file.
func eventGrid(events []store.Listed) grid {
	g := grid{Heads: heads("Time", "Event", "Workflow", "Customer", "Feature", "Department", "Model", "Vendor", "#Input tokens", "#Output tokens", "#Cost USD", "Cost state", "Decision", "Outcome", "Receipt", "#Latency ms")}
	for _, e := range events {
		a := e.Attribution
		g.Rows = append(g.Rows, []cell{text(e.EventTime.UTC().Format(time.RFC3339Nano)), text(string(e.ID)), text(a.Get(meter.DimWorkflow)), text(a.Get(meter.DimCustomer)), text(a.Get(meter.DimFeature)),
			text(a.Get(meter.DimDepartment)), text(cmp.Or(e.ModelUsed, e.ModelRequested)), text(e.Provider), num(count(e.Usage.InputTokens)), num(count(e.Usage.OutputTokens)), usdCell(e.CostUSD), text(string(e.CostState)),
			text(e.Decision), text(e.Outcome), text(e.ReceiptStatus), num(count(e.LatencyMS))})
	}
	return g
}

func baseURL(c *gin.Context) string {
	if c.Request.TLS != nil {
		return "https://" + c.Request.Host
	}
	return "http://" + c.Request.Host
}

// outcome appends what a person thinks the work was worth.
func (s *Surface) outcome(r *request) error {
	e, err := s.Store.Event(r.Request.Context(), r.session.TenantID, r.Param("id"))
	if err != nil {
		return err
	}
	body := map[string]any{"outcome": r.PostForm("outcome"), "outcome_type": "human_review", "source": "human_review"}
	if err := r.api(http.MethodPost, "/meter/events/"+string(e.ID)+"/outcome", body, nil); err != nil {
		return err
	}
	r.Redirect(http.StatusSeeOther, "/app/events/"+string(e.ID)+"#outcome")
	return nil
}
