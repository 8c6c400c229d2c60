package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

// filter reads a query. Every name must be known to the caller of filter or be a filter; every value must be sound.
func filter(c *gin.Context, caller meter.Caller, others ...string) (store.Filter, error) {
	f := store.Filter{TenantID: caller.TenantID, Livemode: &caller.Livemode, Equal: map[string][]string{}, Tags: map[string][]string{}}
	columns := store.FilterColumns()
	for name, values := range c.Request.URL.Query() {
		var err error
		switch {
		case slices.Contains(others, name):
		case columns[name] != "":
			f.Equal[name] = values
			err = known(name, values)
		case strings.HasPrefix(name, "tag.") && len(name) > 4:
			f.Tags[name[4:]] = values
		default:
			err = other(&f, name, values)
		}
		if err != nil {
			return f, err
		}
	}
	return f, nil
}

// words is the closed vocabularies that a filter may name.
var words = map[string][]string{
	"outcome":        {"accepted", "revised", "escalated", "failed", "rejected", "pending_review", "unknown"},
	"cost_state":     {"reported", "priced", "estimated", "unpriced", "reconciled"},
	"receipt_status": {"none", "required", "pending", "settled", "failed", "reused"},
	"decision":       {"approved", "denied", "warned", "requires_review", "settlement_required", "settled", "receipt_reused", "cached", "optimized"},
}

func known(name string, values []string) error {
	for _, value := range values {
		if list := words[name]; list != nil && !slices.Contains(list, value) {
			return invalid(name, "must be one of "+strings.Join(list, ", "))
		}
	}
	return nil
}

// other reads the filters that are not plain columns.
func other(f *store.Filter, name string, values []string) error {
	last := values[len(values)-1]
	switch name {
	case "since", "until":
		at, err := time.Parse(time.RFC3339Nano, last)
		if err != nil {
			return invalid(name, "must be an RFC 3339 time with its offset")
		}
		if name == "since" {
			f.Since = &at
		} else {
			f.Until = &at
		}
	case "min_cost_usd", "max_cost_usd":
		usd, err := money.ParseUSD(last)
		if err != nil {
			return invalid(name, "must be a decimal amount of US dollars")
		}
		if name == "min_cost_usd" {
			f.MinCost = &usd
		} else {
			f.MaxCost = &usd
		}
	case "unattributed":
		for _, dim := range values {
			if !slices.Contains(meter.Dimensions(), dim) {
				return invalid(name, "must be a dimension such as customer_id")
			}
		}
		f.Unattributed = values
	case "retry":
		if last != "true" && last != "false" {
			return invalid(name, "must be true or false")
		}
		retries := last == "true"
		f.Retry = &retries
	case "q":
		f.IDPrefix = last
	default:
		return fault.Field(fault.KindInvalid, "UNKNOWN_FILTER", clip(name), "is not a filter of this route")
	}
	return nil
}

func clip(name string) string {
	if len(name) > 64 {
		return name[:64]
	}
	return name
}

// cursor is a signed position, bound to the query it came from.
func (s *Surface) sign(query url.Values, p store.Position) (string, error) {
	raw, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	body := base64.RawURLEncoding.EncodeToString(raw)
	return body + "." + base64.RawURLEncoding.EncodeToString(s.mac(query, body)), nil
}

func (s *Surface) mac(query url.Values, body string) []byte {
	rest := url.Values{}
	for name, values := range query {
		if name != "cursor" && name != "limit" {
			rest[name] = values
		}
	}
	h := hmac.New(sha256.New, s.CursorKey)
	h.Write([]byte(rest.Encode() + "\n" + body))
	return h.Sum(nil)
}

func (s *Surface) open(query url.Values, text string) (*store.Position, error) {
	if text == "" {
		return nil, nil
	}
	bad := fault.Field(fault.KindInvalid, "INVALID_CURSOR", "cursor", "is not a cursor of this query")
	body, tag, ok := strings.Cut(text, ".")
	given, err := base64.RawURLEncoding.DecodeString(tag)
	if !ok || err != nil || !hmac.Equal(given, s.mac(query, body)) {
		return nil, bad
	}
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return nil, bad
	}
	var p store.Position
	if json.Unmarshal(raw, &p) != nil {
		return nil, bad
	}
	return &p, nil
}

// limit reads a page's size: 1 to 200, 50 when absent.
func limit(c *gin.Context) (int, error) {
	text := c.Query("limit")
	if text == "" {
		return 50, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 200 {
		return 0, invalid("limit", "must be a whole number from 1 to 200")
	}
	return n, nil
}

func (s *Surface) listEvents(c *gin.Context, caller meter.Caller) (int, any, error) {
	f, err := filter(c, caller, "cursor", "limit", "order")
	if err != nil {
		return 0, nil, err
	}
	size, err := limit(c)
	if err != nil {
		return 0, nil, err
	}
	order := c.Query("order")
	if order != "" && order != "asc" && order != "desc" {
		return 0, nil, invalid("order", "must be asc or desc")
	}
	query := c.Request.URL.Query()
	after, err := s.open(query, c.Query("cursor"))
	if err != nil {
		return 0, nil, err
	}
	events, err := s.Store.Events(c.Request.Context(), f, after, order == "asc", size+1)
	if err != nil {
		return 0, nil, err
	}
	more := len(events) > size
	if more {
		events = events[:size]
	}
	data := make([]gin.H, 0, len(events))
	for _, e := range events {
		data = append(data, eventJSON(e))
	}
	out := gin.H{"object": "list", "data": data, "has_more": more, "next_cursor": nil}
	if more {
		last := events[size-1]
		if out["next_cursor"], err = s.sign(query, store.Position{Time: last.EventTime, ID: last.ID}); err != nil {
			return 0, nil, err
		}
	}
	return http.StatusOK, out, nil
}

// orNull shows an absent text as null: unattributed is not the empty string.
func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// eventJSON is an event as the API shows it.
func eventJSON(l store.Listed) gin.H {
	e := l.Event
	out := gin.H{"object": "event", "event_id": e.ID, "tenant_id": e.TenantID, "key_id": orNull(string(e.KeyID)), "livemode": e.Livemode, "simulated": e.Simulated,
		"request_id": e.RequestID, "completion_id": orNull(e.CompletionID), "upstream_id": orNull(e.UpstreamID), "source": e.Source, "route": e.Route,
		"stream": e.Stream, "state": e.State.Wire(), "success": e.Success, "error_class": orNull(string(e.Cause)), "status_code": e.StatusCode,
		"payer": orNull(e.Payer), "tags": e.Attribution.Tags, "retry_of": orNull(e.RetryOf), "retry_count": e.RetryCount, "provider": orNull(e.Provider),
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
	out["attempts"], out["cost_lines"], out["hits"] = attempts, e.CostLines, e.Hits
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

func paymentJSON(p settlement.Payment, moves []settlement.Move) gin.H {
	history := []gin.H{}
	for _, m := range moves {
		history = append(history, gin.H{"from": orNull(string(m.From)), "to": m.To, "actor": m.Actor, "reason": orNull(m.Reason), "at": m.At, "transaction": orNull(m.Evidence.TxHash)})
	}
	return gin.H{"object": "payment", "payment_id": p.ID, "event_id": orNull(string(p.EventID)), "state": p.State, "reason": orNull(p.Reason),
		"payer": p.Authorization.Payer, "payTo": p.Authorization.PayTo, "network": p.Authorization.Network, "asset": p.Authorization.Asset,
		"nonce": p.Authorization.Nonce, "amount_atomic": p.Amount.String(), "transaction": orNull(p.Evidence.TxHash), "block_number": p.Evidence.BlockNumber,
		"log_index": p.Evidence.LogIndex, "receipt_id": orNull(string(p.ReceiptID)), "moves": history}
}

func (s *Surface) summary(c *gin.Context, caller meter.Caller) (int, any, error) {
	f, err := filter(c, caller, "group_by")
	if err != nil {
		return 0, nil, err
	}
	by := c.Query("group_by")
	if by != "" && store.GroupColumns()[by] == "" || len(c.QueryArray("group_by")) > 1 {
		return 0, nil, invalid("group_by", "must be one of the dimensions, model, provider, outcome, decision, hour, day, month")
	}
	rows, total, err := s.Store.Summary(c.Request.Context(), f, by)
	if err != nil {
		return 0, nil, err
	}
	data := make([]gin.H, 0, len(rows)+1)
	totals := groupJSON("", total)
	delete(totals, "group")
	delete(totals, "key")
	delete(totals, "label")
	unattributed := by == "" || !slices.Contains(meter.Dimensions(), by)
	for _, g := range rows {
		unattributed = unattributed || g.Key == nil
		data = append(data, groupJSON(by, g))
	}
	if !unattributed {
		data = append(data, groupJSON(by, store.Group{}))
	}
	return http.StatusOK, gin.H{"object": "summary", "group_by": orNull(by), "rows": data, "totals": totals}, nil
}

func groupJSON(by string, g store.Group) gin.H {
	label := "Unattributed"
	if g.Key != nil {
		label = *g.Key
	}
	var each any
	if g.Accepted > 0 {
		each = money.FromDecimal(g.CostUSD.Decimal().DivRound(money.MustUSD(strconv.FormatInt(g.Accepted, 10)).Decimal(), 18))
	}
	return gin.H{"key": g.Key, "group": gin.H{by: g.Key}, "label": label, "count": g.Count, "input_tokens": g.InputTokens, "cached_input_tokens": g.CachedTokens,
		"output_tokens": g.OutputTokens, "reasoning_tokens": g.ReasoningTokens, "cost_usd": g.CostUSD, "unpriced": g.Unpriced, "retry_cost_usd": g.RetryCostUSD,
		"revenue_usd": g.RevenueUSD, "margin_usd": g.MarginUSD, "accepted": g.Accepted, "with_outcome": g.WithOutcome, "cost_per_accepted": each}
}

// outcomeBody is what POST …/outcome reads.
type outcomeBody struct {
	Outcome      string            `json:"outcome"`
	Status       string            `json:"status"`
	QualityScore *money.USD        `json:"quality_score"`
	OutcomeType  string            `json:"outcome_type"`
	Source       string            `json:"source"`
	ReasonCode   string            `json:"reason_code"`
	OccurredAt   *time.Time        `json:"occurred_at"`
	Metadata     map[string]string `json:"metadata"`
}

func (s *Surface) recordOutcome(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b outcomeBody
	if err := decodeClean(c, &b); err != nil {
		return 0, nil, err
	}
	o, err := meter.NewOutcome(meter.Outcome{Outcome: b.Outcome + b.Status, OutcomeType: b.OutcomeType, Source: b.Source, QualityScore: b.QualityScore,
		ReasonCode: b.ReasonCode, Metadata: b.Metadata}, b.OccurredAt, s.Now())
	if err != nil {
		return 0, nil, err
	}
	e, err := s.Store.Event(c.Request.Context(), caller.TenantID, c.Param("id"))
	if err != nil {
		return 0, nil, err
	}
	o.EventID = e.ID
	stored, previous, fresh, err := s.Store.RecordOutcome(c.Request.Context(), caller.TenantID, o)
	if err != nil {
		return 0, nil, err
	}
	status := http.StatusOK
	if fresh {
		status = http.StatusCreated
	}
	return status, gin.H{"ok": true, "event_id": e.ID, "outcome": stored.Outcome, "revision": stored.Revision, "previous": orNull(previous)}, nil
}

func (s *Surface) listOutcomes(c *gin.Context, caller meter.Caller) (int, any, error) {
	e, err := s.Store.Event(c.Request.Context(), caller.TenantID, c.Param("id"))
	if err != nil {
		return 0, nil, err
	}
	outcomes, err := s.Store.Outcomes(c.Request.Context(), e.ID)
	return http.StatusOK, gin.H{"object": "list", "data": outcomesJSON(outcomes), "has_more": false, "next_cursor": nil}, err
}

func outcomesJSON(outcomes []meter.Outcome) []gin.H {
	out := []gin.H{}
	for _, o := range outcomes {
		var score any
		if o.QualityScore != nil {
			score = o.QualityScore.String()
		}
		out = append(out, gin.H{"event_id": o.EventID, "outcome": o.Outcome, "outcome_type": o.OutcomeType, "source": o.Source, "quality_score": score,
			"reason_code": orNull(o.ReasonCode), "legacy_status": orNull(o.LegacyStatus), "revision": o.Revision, "metadata": o.Metadata,
			"occurred_at": o.OccurredAt, "recorded_at": o.RecordedAt})
	}
	return out
}

// listReceipts pages by the last receipt's id, which sorts by time.
func (s *Surface) listReceipts(c *gin.Context, caller meter.Caller) (int, any, error) {
	size, err := limit(c)
	if err != nil {
		return 0, nil, err
	}
	after, err := s.open(nil, c.Query("cursor"))
	if err != nil {
		return 0, nil, err
	}
	last := ""
	if after != nil {
		last = string(after.ID)
	}
	list, err := s.Store.Receipts(c.Request.Context(), caller.TenantID, last, size+1)
	if err != nil {
		return 0, nil, err
	}
	out := gin.H{"object": "list", "data": list, "has_more": len(list) > size, "next_cursor": nil}
	if len(list) > size {
		var r settlement.Receipt
		if err := json.Unmarshal(list[size-1], &r); err != nil {
			return 0, nil, err
		}
		out["data"] = list[:size]
		if out["next_cursor"], err = s.sign(nil, store.Position{ID: id.Event(r.ReceiptID)}); err != nil {
			return 0, nil, err
		}
	}
	return http.StatusOK, out, nil
}

func (s *Surface) oneReceipt(c *gin.Context, caller meter.Caller) (int, any, error) {
	raw, err := s.Store.Receipt(c.Request.Context(), caller.TenantID, c.Param("id"))
	return http.StatusOK, raw, err
}

// listPayments pages like receipts do, newest first.
func (s *Surface) listPayments(c *gin.Context, caller meter.Caller) (int, any, error) {
	size, err := limit(c)
	if err != nil {
		return 0, nil, err
	}
	after, err := s.open(nil, c.Query("cursor"))
	if err != nil {
		return 0, nil, err
	}
	last := ""
	if after != nil {
		last = string(after.ID)
	}
	list, err := s.Store.Payments(c.Request.Context(), caller.TenantID, last, size+1)
	if err != nil {
		return 0, nil, err
	}
	data := []gin.H{}
	for _, p := range list[:min(size, len(list))] {
		data = append(data, paymentJSON(p, nil))
	}
	out := gin.H{"object": "list", "data": data, "has_more": len(list) > size, "next_cursor": nil}
	if len(list) > size {
		if out["next_cursor"], err = s.sign(nil, store.Position{ID: id.Event(list[size-1].ID)}); err != nil {
			return 0, nil, err
		}
	}
	return http.StatusOK, out, nil
}

func (s *Surface) onePayment(c *gin.Context, caller meter.Caller) (int, any, error) {
	p, moves, err := s.Store.TenantPayment(c.Request.Context(), caller.TenantID, c.Param("id"))
	return http.StatusOK, paymentJSON(p, moves), err
}

// verifyReceipt checks a receipt for anybody: it needs nothing but the published key.
func (s *Surface) verifyReceipt(c *gin.Context) {
	var raw json.RawMessage
	if err := c.ShouldBindJSON(&raw); err != nil {
		c.JSON(http.StatusBadRequest, gin.H{"valid": false, "reasons": []string{"the body is not JSON"}})
		return
	}
	if _, err := settlement.VerifyReceipt(raw, s.Keys); err != nil {
		c.JSON(http.StatusOK, gin.H{"valid": false, "reasons": []string{"the signature does not match these facts"}, "chain": gin.H{"checked": false}})
		return
	}
	c.JSON(http.StatusOK, gin.H{"valid": true, "reasons": []string{}, "chain": gin.H{"checked": false}})
}
