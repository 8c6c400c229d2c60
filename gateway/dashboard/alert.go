package dashboard

import (
	"context"
	"fmt"
	"math/big"

	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// alert is something that somebody should look at now, with where.
type alert struct {
	Text, Link, Class string
}

// budgetAlarm is the share of a budget, in per cent, from which on it is an alert.
const budgetAlarm = 80

// alerts is what stands out, as far as the visitor's role may know of it.
func (s *Surface) alerts(ctx context.Context, r *request, total store.Group) ([]alert, error) {
	var out []alert
	if total.Unpriced > 0 {
		out = append(out, alert{plural(total.Unpriced, "call") + " of a model without a price: their cost is unknown, not zero", r.view.On("/app/events", "cost_state", "unpriced"), "warn"})
	}
	if r.may(meter.ScopeControlRead) {
		budgets, err := s.Store.Budgets(ctx, r.session.TenantID)
		if err != nil {
			return nil, err
		}
		for _, b := range budgets {
			if share := tightest(b); share >= budgetAlarm {
				class := "warn"
				if share >= 100 {
					class = "bad"
				}
				out = append(out, alert{fmt.Sprintf("The budget %s is used to %d %%", budgetName(b), share), "/app/budgets/" + string(b.ID), class})
			}
		}
	}
	if r.may(meter.ScopeReceiptsRead) {
		queues, err := s.Store.Queues(ctx, r.session.TenantID)
		if err != nil {
			return nil, err
		}
		for _, q := range queues {
			switch {
			case q.Count > 0 && q.Name == "payments lost":
				out = append(out, alert{plural(q.Count, "payment") + " could not be collected", "/app/payments?state=lost", "bad"})
			case q.Count > 0 && q.Name == "refunds due":
				out = append(out, alert{plural(q.Count, "refund") + " due to payers whose answer never left", "/app/payments", "bad"})
			}
		}
	}
	if r.may(meter.ScopeSystemRead) {
		for _, g := range s.Gas() {
			if g.Low {
				out = append(out, alert{"The gas wallet on " + g.Network + " is low: payments will stop being collected", "/app/system", "bad"})
			}
		}
	}
	u, err := s.Store.PlanUse(ctx, r.session.TenantID)
	if words := u.Words(s.Now()); err == nil && words != "" {
		out = append(out, alert{words, "/app/plan", "warn"})
	}
	return out, err
}

// tightest is the largest share that a budget has used of any of its limits, in whole per cent.
func tightest(b meter.BudgetStanding) int {
	most := 0
	if b.LimitUSD != nil {
		most = whole(b.Spent.USD.Add(b.Reserved.USD).Rat(), b.LimitUSD.Rat())
	}
	for _, l := range []struct {
		limit *int64
		used  int64
	}{{b.LimitEvents, b.Spent.Events + b.Reserved.Events}, {b.LimitTokens, b.Spent.Tokens + b.Reserved.Tokens}} {
		if l.limit != nil {
			most = max(most, whole(new(big.Rat).SetInt64(l.used), new(big.Rat).SetInt64(*l.limit)))
		}
	}
	return most
}
