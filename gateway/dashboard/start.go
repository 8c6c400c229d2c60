package dashboard

import (
	"net/http"

	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// startPage is the way from nothing to a metered, owned and judged call.
type startPage struct {
	Base   string
	Model  string
	Keys   []store.KeyInfo
	First  *store.Listed // the newest event of this ledger; nil while there is none
	Owned  bool          // some event names a workflow
	Judged bool          // some event has an outcome
	Budget bool
	Key    string // a key that was made a moment ago: shown this once
	Done   int
}

// steps of the checklist.
const startSteps = 5

func (s *Surface) start(r *request) error {
	p, err := s.startPage(r)
	if err != nil {
		return err
	}
	return r.show("Start", "start.html", false, p)
}

func (s *Surface) startPage(r *request) (startPage, error) {
	ctx := r.Request.Context()
	live := r.view.Mode == modeLive
	f := store.Filter{TenantID: r.session.TenantID, Livemode: &live}
	p := startPage{Base: baseURL(r.Context), Model: "mock-small"}
	if live {
		p.Model = "gpt-4o-mini"
	}
	keys, err := s.Store.Keys(ctx, r.session.TenantID)
	if err != nil {
		return p, err
	}
	for _, k := range keys {
		if k.Livemode == live && k.RevokedAt == nil {
			p.Keys = append(p.Keys, k)
		}
	}
	events, err := s.Store.Events(ctx, f, nil, false, 1)
	if err != nil {
		return p, err
	}
	if len(events) > 0 {
		p.First = &events[0]
		rows, total, err := s.Store.Summary(ctx, f, meter.DimWorkflow)
		if err != nil {
			return p, err
		}
		for _, g := range rows {
			p.Owned = p.Owned || g.Key != nil
		}
		p.Judged = total.WithOutcome > 0
	}
	budgets, err := s.Store.Budgets(ctx, r.session.TenantID)
	p.Budget = len(budgets) > 0
	for _, done := range []bool{len(p.Keys) > 0, p.First != nil, p.Owned, p.Judged, p.Budget} {
		if done {
			p.Done++
		}
	}
	return p, err
}

// Steps is how many the checklist has.
func (startPage) Steps() int { return startSteps }

// firstEvent answers the page that waits: the newest event's address, or no content while there is none.
func (s *Surface) firstEvent(r *request) error {
	live := r.view.Mode == modeLive
	events, err := s.Store.Events(r.Request.Context(), store.Filter{TenantID: r.session.TenantID, Livemode: &live}, nil, false, 1)
	if err != nil {
		return err
	}
	r.Header("Cache-Control", "no-store")
	if len(events) == 0 {
		r.Status(http.StatusNoContent)
		return nil
	}
	r.JSON(http.StatusOK, map[string]string{"event_id": string(events[0].ID), "path": "/app/events/" + string(events[0].ID)})
	return nil
}
