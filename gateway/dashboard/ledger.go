package dashboard

import (
	"encoding/json"
	"errors"
	"html/template"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

var funcs = template.FuncMap{
	"usd": func(u *money.USD) string {
		if u == nil {
			return "unknown"
		}
		return "$" + u.Fixed(6)
	},
	"cut": func(u *money.USD) string {
		if u == nil {
			return "unknown"
		}
		return "$" + u.Decimal().Round(6).StringFixed(6)
	},
	"when": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
	"short": func(text string) string {
		if len(text) > 14 {
			return text[:8] + "…" + text[len(text)-4:]
		}
		return text
	},
}

// ledgerPage is the spend ledger.
type ledgerPage struct {
	Filter  string
	Total   store.Group
	Each    *money.USD // cost per accepted
	Unowned string     // share without a workflow
	Bars    []bar
	Events  []store.Listed
	Next    string
	Base    string
}

// bar is one row of the picture: a share of the dearest row, in whole per cent.
type bar struct {
	Label string
	Cost  money.USD
	Count int64
	Share int
	Link  string
	None  bool
}

const pageSize = 50

func (s *Surface) ledger(c *gin.Context, session store.Session) {
	f := store.Filter{TenantID: session.TenantID, Equal: map[string][]string{}}
	kept := url.Values{}
	for _, dim := range meter.Dimensions() {
		if v := c.Query(dim); v != "" {
			f.Equal[dim] = []string{v}
			kept.Set(dim, v)
		}
	}
	if c.Query("unattributed") == meter.DimWorkflow {
		f.Unattributed = []string{meter.DimWorkflow}
		kept.Set("unattributed", meter.DimWorkflow)
	}
	rows, total, err := s.Store.Summary(c.Request.Context(), f, meter.DimWorkflow)
	if err != nil {
		s.failed(c, err)
		return
	}
	p := ledgerPage{Filter: strings.ReplaceAll(kept.Encode(), "&", " · "), Total: total, Bars: bars(rows), Base: baseURL(c)}
	if total.Accepted > 0 {
		each := money.FromRat(new(big.Rat).Quo(total.CostUSD.Rat(), new(big.Rat).SetInt64(total.Accepted)))
		p.Each = &each
	}
	p.Unowned = share(rows, total)
	var after *store.Position
	if t, err := time.Parse(time.RFC3339Nano, c.Query("before")); err == nil && id.Suffix(c.Query("id")) != "" {
		after = &store.Position{Time: t, ID: id.Event(c.Query("id"))}
	}
	events, err := s.Store.Events(c.Request.Context(), f, after, false, pageSize+1)
	if err != nil {
		s.failed(c, err)
		return
	}
	if len(events) > pageSize {
		events = events[:pageSize]
		last := events[pageSize-1]
		kept.Set("before", last.EventTime.Format(time.RFC3339Nano))
		kept.Set("id", string(last.ID))
		p.Next = "/app/ledger?" + kept.Encode()
	}
	p.Events = events
	s.render(c, http.StatusOK, "ledger.html", page{Title: "Spend ledger", CSRF: session.CSRF, Body: p})
}

func baseURL(c *gin.Context) string {
	if c.Request.TLS != nil {
		return "https://" + c.Request.Host
	}
	return "http://" + c.Request.Host
}

const maxBars = 8

func bars(rows []store.Group) []bar {
	var out []bar
	for i, g := range rows {
		if i == maxBars {
			break
		}
		b := bar{Label: "Unattributed", Cost: g.CostUSD, Count: g.Count, Link: "?unattributed=workflow_id", None: g.Key == nil}
		if g.Key != nil {
			b.Label, b.Link = *g.Key, "?workflow_id="+url.QueryEscape(*g.Key)
		}
		if rows[0].CostUSD.Sign() > 0 {
			ratio := new(big.Rat).Quo(g.CostUSD.Rat(), rows[0].CostUSD.Rat())
			whole := new(big.Rat).Mul(ratio, big.NewRat(100, 1))
			b.Share = int(new(big.Int).Div(whole.Num(), whole.Denom()).Int64())
		}
		out = append(out, b)
	}
	return out
}

// share is the part of the cost that no workflow owns, as text.
func share(rows []store.Group, total store.Group) string {
	for _, g := range rows {
		if g.Key == nil && total.CostUSD.Sign() > 0 {
			return new(big.Rat).Mul(new(big.Rat).Quo(g.CostUSD.Rat(), total.CostUSD.Rat()), big.NewRat(100, 1)).FloatString(1) + " %"
		}
	}
	return "0.0 %"
}

// eventPage is one event with everything that hangs on it.
type eventPage struct {
	store.Listed
	Owners   []owner
	Outcomes []meter.Outcome
	Payment  *settlement.Payment
	Moves    []settlement.Move
	Receipt  string
	Explorer string
}

type owner struct{ Name, Value string }

func (s *Surface) event(c *gin.Context, session store.Session) {
	ctx := c.Request.Context()
	e, err := s.Store.Event(ctx, session.TenantID, c.Param("id"))
	if err != nil {
		s.failed(c, err)
		return
	}
	p := eventPage{Listed: e}
	for _, dim := range meter.Dimensions() {
		p.Owners = append(p.Owners, owner{strings.TrimSuffix(dim, "_id"), e.Attribution.Get(dim)})
	}
	if p.Outcomes, err = s.Store.Outcomes(ctx, e.ID); err != nil {
		s.failed(c, err)
		return
	}
	payment, moves, err := s.Store.EventPayment(ctx, session.TenantID, e.ID)
	if err == nil {
		p.Payment, p.Moves = &payment, moves
	} else if !errors.Is(err, settlement.ErrNotFound) {
		s.failed(c, err)
		return
	}
	raw, err := s.Store.EventReceipt(ctx, session.TenantID, e.ID)
	if err != nil {
		s.failed(c, err)
		return
	}
	if raw != nil {
		var r settlement.Receipt
		if err := json.Unmarshal(raw, &r); err != nil {
			s.failed(c, err)
			return
		}
		pretty, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			s.failed(c, err)
			return
		}
		p.Receipt = string(pretty)
	}
	s.render(c, http.StatusOK, "event.html", page{Title: "Event " + string(e.ID), CSRF: session.CSRF, Body: p})
}

func (s *Surface) outcome(c *gin.Context, session store.Session) {
	ctx := c.Request.Context()
	e, err := s.Store.Event(ctx, session.TenantID, c.Param("id"))
	if err != nil {
		s.failed(c, err)
		return
	}
	o, err := meter.NewOutcome(meter.Outcome{Outcome: c.PostForm("outcome"), Source: "human_review", OutcomeType: "human_review"}, nil, s.Now())
	if err != nil {
		s.notice(c, http.StatusBadRequest, "That outcome is not one we know", "Choose one of the list.")
		return
	}
	o.EventID = e.ID
	if _, _, _, err := s.Store.RecordOutcome(ctx, session.TenantID, o); err != nil {
		s.failed(c, err)
		return
	}
	c.Redirect(http.StatusSeeOther, "/app/events/"+string(e.ID))
}
