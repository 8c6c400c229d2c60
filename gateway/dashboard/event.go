package dashboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

// eventPage is one event with everything that hangs on it.
type eventPage struct {
	store.Listed
	Owners   []owner
	Outcomes []meter.Outcome
	Payment  *settlement.Payment
	Receipt  string
	Signed   *settlement.Receipt
	Steps    []step
	Fall     []rect // the attempts' waterfall, in thousandths of the call
	Sum      money.USD
	Rounded  bool // the lines' sum differs from the total in the last place, as each is rounded for itself
	Margin   *money.USD
	Verdicts []string
}

type owner struct{ Name, Label, Value, Link string }

// step is one moment of the way from request to receipt.
type step struct {
	At     time.Time
	After  string // since the request
	Title  string
	Detail string
	Class  string
}

func (s *Surface) event(r *request) error {
	ctx := r.Request.Context()
	e, err := s.Store.Event(ctx, r.session.TenantID, r.Param("id"))
	if err != nil {
		return err
	}
	p := eventPage{Listed: e, Verdicts: []string{"accepted", "revised", "escalated", "failed", "rejected"}}
	for _, dim := range meter.Dimensions() {
		o := owner{Name: dim, Label: label(dim), Value: e.Attribution.Get(dim)}
		o.Link = "/app/events?unattributed=" + dim
		if o.Value != "" {
			o.Link = view{}.On("/app/events", dim, o.Value)
		}
		p.Owners = append(p.Owners, o)
	}
	if p.Outcomes, err = s.Store.Outcomes(ctx, e.ID); err != nil {
		return err
	}
	payment, moves, err := s.Store.EventPayment(ctx, r.session.TenantID, e.ID)
	if err == nil {
		p.Payment = &payment
	} else if !errors.Is(err, settlement.ErrNotFound) {
		return err
	}
	if err := p.readReceipt(s.Store.EventReceipt(ctx, r.session.TenantID, e.ID)); err != nil {
		return err
	}
	for _, l := range e.CostLines {
		p.Sum = p.Sum.Add(l.Cost)
	}
	p.Rounded = e.CostUSD != nil && len(e.CostLines) > 0 && p.Sum.Cmp(*e.CostUSD) != 0
	if e.RevenueUSD != nil && e.CostUSD != nil && e.ReceiptStatus == "settled" {
		margin := e.RevenueUSD.Sub(*e.CostUSD)
		p.Margin = &margin
	}
	p.Steps = steps(p, moves)
	p.Fall = waterfall(e.Event)
	return r.show("Event "+string(e.ID), "event.html", false, p)
}

func (p *eventPage) readReceipt(raw json.RawMessage, err error) error {
	if err != nil || raw == nil {
		return err
	}
	p.Signed = &settlement.Receipt{}
	if err := json.Unmarshal(raw, p.Signed); err != nil {
		return fmt.Errorf("receipt of %s: %w", p.ID, err)
	}
	pretty, err := json.MarshalIndent(p.Signed, "", "  ")
	p.Receipt = string(pretty)
	return err
}

// steps is the timeline, in the order of the clock; what has no clock of its own stands with what it belongs to.
func steps(p eventPage, moves []settlement.Move) []step {
	e := p.Event
	out := []step{{At: e.EventTime, Title: "Request arrived", Detail: join(string(e.Route), named("model", e.ModelRequested), named("key", string(e.KeyID)), named("payer", e.Payer))}}
	decided := step{At: e.EventTime, Title: "Decided: " + e.Decision, Detail: join(e.DenyCode, named("reserved", full(e.ReservedUSD)))}
	if e.DenyCode != "" {
		decided.Class = "bad"
	}
	for _, h := range e.Hits {
		decided.Detail = join(decided.Detail, string(h.Code)+": "+h.Detail)
	}
	out = append(out, decided)
	for _, a := range e.Attempts {
		sent := step{At: a.StartedAt, Title: fmt.Sprintf("Attempt %d: %s", a.Number, a.Provider), Detail: join(a.Model, fmt.Sprintf("status %d", a.Status), string(a.Cause))}
		if a.Cause != "" {
			sent.Class = "bad"
		}
		if !a.FinishedAt.IsZero() {
			sent.Detail = join(sent.Detail, fmt.Sprintf("%d ms", a.FinishedAt.Sub(a.StartedAt).Milliseconds()))
		}
		out = append(out, sent)
	}
	if e.FinalizedAt != nil {
		out = append(out, step{At: *e.FinalizedAt, Title: "Counted and priced: " + full(e.CostUSD), Detail: join(
			fmt.Sprintf("%d in, %d out", e.Usage.InputTokens, e.Usage.OutputTokens), string(e.CostState), named("price book", e.PriceVersion), string(e.Cause))})
	}
	for _, m := range moves {
		title := "Payment " + string(m.To)
		out = append(out, step{At: m.At, Title: title, Detail: join("by "+m.Actor, m.Reason, named("transaction", m.Evidence.TxHash))})
	}
	if e.DeliveredAt != nil {
		out = append(out, step{At: *e.DeliveredAt, Title: "Answer delivered: " + e.Delivered, Detail: fmt.Sprintf("%d bytes", p.DeliveredBytes)})
	}
	if p.Signed != nil {
		out = append(out, step{At: p.Signed.SettledAt, Title: "Receipt signed", Detail: join(string(p.Signed.ReceiptID), p.Signed.KeyID), Class: "good"})
	}
	for _, o := range p.Outcomes {
		out = append(out, step{At: o.RecordedAt, Title: "Outcome: " + o.Outcome, Detail: join(fmt.Sprintf("revision %d", o.Revision), o.Source, o.ReasonCode)})
	}
	slices.SortStableFunc(out, func(a, b step) int { return a.At.Compare(b.At) })
	for i := range out {
		out[i].After = offset(out[i].At.Sub(e.EventTime))
	}
	return out
}

// offset is a time since the request, as short as it can be read.
func offset(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("+%d ms", d.Milliseconds())
	case d < 10*time.Minute:
		return fmt.Sprintf("+%d s", int64(d/time.Second))
	}
	return "+" + d.Truncate(time.Minute).String()
}

func named(name, value string) string {
	if value == "" {
		return ""
	}
	return name + " " + value
}

func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), " · ")
}

// waterfall places the attempts within the call, in thousandths of its time.
func waterfall(e meter.Event) []rect {
	var out []rect
	if len(e.Attempts) == 0 {
		return nil
	}
	begin, end := e.EventTime, e.EventTime
	for _, a := range e.Attempts {
		if a.FinishedAt.After(end) {
			end = a.FinishedAt
		}
	}
	if e.FinalizedAt != nil && e.FinalizedAt.After(end) {
		end = *e.FinalizedAt
	}
	whole := max(end.Sub(begin), 1)
	for i, a := range e.Attempts {
		finished := a.FinishedAt
		if finished.Before(a.StartedAt) {
			finished = a.StartedAt
		}
		x := int(a.StartedAt.Sub(begin) * 1000 / whole)
		w := max(int(finished.Sub(a.StartedAt)*1000/whole), 4)
		series := 0
		if a.Cause != "" {
			series = 4
		}
		out = append(out, rect{X: min(max(x, 0), 996), Y: i * 20, W: min(w, 1000), H: 14, Series: series,
			Title: fmt.Sprintf("attempt %d · %s · %d ms", a.Number, a.Provider, finished.Sub(a.StartedAt).Milliseconds())})
	}
	return out
}
