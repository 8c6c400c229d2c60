package store

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/gateway/call"
	"p402.io/p402/meter"
)

// optional stores an absent value as null: unattributed is not the empty string.
func optional(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// eventColumns is what a closing may still change, in the order of eventValues.
var eventColumns = []string{"completion_id", "upstream_id", "idempotency_key", "state", "payer", "workflow_id", "customer_id", "feature_id",
	"department", "employee", "project_id", "agent_id", "task_type", "action_type", "session_id", "trace_id", "parent_event_id", "tags",
	"provider", "model_used", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "cost_usd", "cost_state", "revenue_usd",
	"decision", "deny_code", "receipt_status", "status_code", "latency_ms", "finalized_at", "doc"}

func eventValues(e meter.Event) ([]any, error) {
	e.EventTime, e.ReceivedAt, e.Deadline = e.EventTime.UTC(), e.ReceivedAt.UTC(), e.Deadline.UTC()
	doc, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	tags, err := json.Marshal(e.Attribution.Tags)
	if err != nil {
		return nil, err
	}
	if e.Attribution.Tags == nil {
		tags = []byte("{}")
	}
	values := []any{optional(e.CompletionID), optional(e.UpstreamID), optional(e.IdempotencyKey), e.State, optional(e.Payer)}
	for _, dim := range meter.Dimensions() {
		values = append(values, optional(e.Attribution.Get(dim)))
	}
	return append(values, string(tags), optional(e.Provider), optional(e.ModelUsed), e.Usage.InputTokens, e.Usage.CachedInputTokens,
		e.Usage.OutputTokens, e.Usage.ReasoningTokens, e.CostUSD, e.CostState, e.RevenueUSD, e.Decision, optional(e.DenyCode), e.ReceiptStatus,
		e.StatusCode, e.LatencyMS, e.FinalizedAt, string(doc)), nil
}

// insertColumns is what an event keeps from its opening on, in the order of insertValues.
var insertColumns = []string{"id", "tenant_id", "key_id", "livemode", "request_id", "source", "model_requested", "retry_count", "idempotency_turn", "event_time", "deadline"}

func insertValues(e meter.Event) []any {
	return []any{e.ID, e.TenantID, optional(string(e.KeyID)), e.Livemode, e.RequestID, e.Source, e.ModelRequested, e.RetryCount, e.IdempotencyTurn, e.EventTime.UTC(), e.Deadline.UTC()}
}

func insertEvent(tx *gorm.DB, e meter.Event) error {
	values, err := eventValues(e)
	if err != nil {
		return err
	}
	columns := slices.Concat(insertColumns, eventColumns)
	values = append(insertValues(e), values...)
	marks := strings.TrimSuffix(strings.Repeat("?, ", len(columns)), ", ")
	return tx.Exec("INSERT INTO events ("+strings.Join(columns, ", ")+") VALUES ("+marks+")", values...).Error
}

// closeEvent is guarded by the state it leaves: whoever comes second gets call.ErrClosed.
func closeEvent(tx *gorm.DB, e meter.Event) error {
	values, err := eventValues(e)
	if err != nil {
		return err
	}
	res := tx.Exec("UPDATE events SET "+strings.Join(eventColumns, " = ?, ")+" = ? WHERE tenant_id = ? AND id = ? AND state = 'intent'",
		append(values, e.TenantID, e.ID)...)
	return exactly(res, call.ErrClosed)
}

// eventRow reads an event back: doc and what is noted beside it.
type eventRow struct {
	Doc            []byte
	DeliveredAt    *time.Time
	Delivered      *string
	Outcome        *string
	ReceiptStatus  string
	Decision       string
	DeliveredBytes *int64
}

const eventRowColumns = "doc, delivered_at, delivered, outcome, receipt_status, decision, delivered_bytes"

func (r eventRow) event() (meter.Event, error) {
	var e meter.Event
	if err := json.Unmarshal(r.Doc, &e); err != nil {
		return e, err
	}
	e.DeliveredAt, e.ReceiptStatus, e.Decision = r.DeliveredAt, r.ReceiptStatus, r.Decision
	if r.Delivered != nil {
		e.Delivered = *r.Delivered
	}
	return e, nil
}
