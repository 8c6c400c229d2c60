package api

import (
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

func (s *Surface) listEvents(c *gin.Context, caller meter.Caller) (int, any, error) {
	f, err := filter(c, caller, "cursor", "limit", "order")
	if err != nil {
		return 0, nil, err
	}
	order := c.Query("order")
	if order != "" && order != "asc" && order != "desc" {
		return 0, nil, invalid("order", "must be asc or desc")
	}
	p, err := s.page(c, caller)
	if err != nil {
		return 0, nil, err
	}
	events, err := s.Store.Events(c.Request.Context(), f, p.after, order == "asc", p.limit+1)
	if err != nil {
		return 0, nil, err
	}
	out, err := list(s, c, caller, p, events, func(e store.Listed) any { return eventJSON(e) },
		func(e store.Listed) store.Position { return store.Position{Time: e.EventTime, ID: e.ID} })
	return http.StatusOK, out, err
}

// orNull shows an absent text as null: unattributed is not the empty string.
func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// tags is never null: no tags is an empty object.
func tags(a meter.Attribution) map[string]string {
	if a.Tags == nil {
		return map[string]string{}
	}
	return a.Tags
}

// orEmpty shows an absent list as [].
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// eventJSON is an event as the API shows it.
func eventJSON(l store.Listed) gin.H {
	e := l.Event
	out := gin.H{"object": "event", "event_id": e.ID, "tenant_id": e.TenantID, "key_id": orNull(string(e.KeyID)), "livemode": e.Livemode, "simulated": e.Simulated,
		"request_id": e.RequestID, "completion_id": orNull(e.CompletionID), "upstream_id": orNull(e.UpstreamID), "source": e.Source, "route": e.Route,
		"stream": e.Stream, "state": e.State.Wire(), "success": e.Success, "error_class": orNull(string(e.Cause)), "status_code": e.StatusCode,
		"payer": orNull(e.Payer), "tags": tags(e.Attribution), "retry_of": orNull(e.RetryOf), "retry_count": e.RetryCount, "provider": orNull(e.Provider),
		"model_requested": e.ModelRequested, "model_used": orNull(e.ModelUsed), "usage": e.Usage, "total_tokens": e.Usage.TotalTokens(),
		"input_tokens": e.Usage.InputTokens, "output_tokens": e.Usage.OutputTokens, "cached_input_tokens": e.Usage.CachedInputTokens,
		"reasoning_tokens": e.Usage.ReasoningTokens, "usage_source": e.UsageSource, "usage_complete": e.UsageComplete,
		"cost_usd": e.CostUSD, "cost_state": e.CostState, "reported_cost_usd": e.ReportedUSD, "estimate_usd": e.EstimateUSD, "price_version": e.PriceVersion,
		"reserved_usd": e.ReservedUSD, "revenue_usd": e.RevenueUSD, "workflow_price_version": e.WorkflowPrice, "governance_decision": e.Decision,
		"deny_code": orNull(e.DenyCode), "budget_id": orNull(string(e.BudgetID)), "policy_id": orNull(string(e.PolicyID)), "privacy_mode": e.PrivacyMode,
		"receipt_status": e.ReceiptStatus, "event_time": e.EventTime, "received_at": e.ReceivedAt, "finalized_at": e.FinalizedAt,
		"delivered_at": e.DeliveredAt, "delivered": orNull(e.Delivered), "latency_ms": e.LatencyMS, "overhead_us": e.OverheadUS, "ttft_ms": e.FirstByteMS,
		"attempts_count": len(e.Attempts), "outcome": orNull(l.Outcome), "prompt_stored": false, "response_stored": false}
	owners := gin.H{}
	for _, dim := range meter.Dimensions() {
		owners[dim] = orNull(e.Attribution.Get(dim))
		out[dim] = owners[dim]
	}
	out["attribution"] = owners
	return out
}

func (s *Surface) oneEvent(c *gin.Context, caller meter.Caller) (int, any, error) {
	ctx := c.Request.Context()
	e, err := s.Store.Event(ctx, caller.TenantID, c.Param("id"))
	if err != nil {
		return 0, nil, err
	}
	out := eventJSON(e)
	attempts := []gin.H{}
	for _, a := range e.Attempts {
		attempts = append(attempts, gin.H{"number": a.Number, "provider": a.Provider, "model": a.Model, "status": a.Status, "error_class": orNull(string(a.Cause)),
			"started_at": a.StartedAt, "finished_at": a.FinishedAt, "upstream_id": orNull(a.UpstreamID), "cost_usd": a.Cost.USD, "simulated": a.Simulated})
	}
	out["attempts"], out["cost_lines"], out["hits"] = attempts, orEmpty(e.CostLines), orEmpty(e.Hits)
	outcomes, err := s.Store.Outcomes(ctx, e.ID)
	if err != nil {
		return 0, nil, err
	}
	out["outcomes"] = outcomesJSON(outcomes)
	if out["receipt"], err = s.Store.EventReceipt(ctx, caller.TenantID, e.ID); err != nil {
		return 0, nil, err
	}
	p, moves, err := s.Store.EventPayment(ctx, caller.TenantID, e.ID)
	switch {
	case errors.Is(err, settlement.ErrNotFound):
		out["payment"] = nil
	case err != nil:
		return 0, nil, err
	default:
		out["payment"] = paymentJSON(p, moves)
	}
	return http.StatusOK, out, nil
}
