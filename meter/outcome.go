package meter

import (
	"slices"
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/money"
)

var (
	outcomeWords = []string{"accepted", "revised", "escalated", "failed", "rejected", "pending_review", "unknown"}
	// legacyOutcomes are words of earlier clients, kept beside what they mean now.
	legacyOutcomes = map[string]string{"retried": "revised", "human_reviewed": "accepted"}
	outcomeTypes   = []string{"request_completion", "caller_action", "human_review", "instrumentation"}
	outcomeSources = []string{"sdk", "api", "webhook", "user_feedback", "application_callback", "human_review", "evaluator", "import", "cli", "mcp"}
	outcomeKeys    = []string{"caller_workflow_step", "caller_role", "quality_axes", "latency_to_acceptance_ms", "retry_index", "error_class", "cost_attribution_hint"}
)

// scorePlaces is how many digits a quality score may have (PRODUCT §4).
const scorePlaces = 6

// NewOutcome checks an outcome's words and fills what may be left out. The refusals name the field.
func NewOutcome(o Outcome, occurredAt *time.Time, now time.Time) (Outcome, error) {
	if word, ok := legacyOutcomes[o.Outcome]; ok {
		o.LegacyStatus, o.Outcome = o.Outcome, word
	}
	if !slices.Contains(outcomeWords, o.Outcome) {
		return o, fault.Field(fault.KindInvalid, "INVALID_OUTCOME", "outcome", "must be accepted, revised, escalated, failed, rejected, pending_review or unknown")
	}
	if o.OutcomeType == "" {
		o.OutcomeType = "request_completion"
	}
	if o.Source == "" {
		o.Source = "api"
	}
	if !slices.Contains(outcomeTypes, o.OutcomeType) {
		return o, fault.Field(fault.KindInvalid, "INVALID_OUTCOME", "outcome_type", "is not an outcome type")
	}
	if !slices.Contains(outcomeSources, o.Source) {
		return o, fault.Field(fault.KindInvalid, "INVALID_OUTCOME", "source", "is not an outcome source")
	}
	if q := o.QualityScore; q != nil && (q.Sign() < 0 || q.Cmp(money.MustUSD("1")) > 0 || !q.Decimal().Equal(q.Decimal().Truncate(scorePlaces))) {
		return o, fault.Field(fault.KindInvalid, "INVALID_QUALITY_SCORE", "quality_score", "must lie between 0 and 1 with at most 6 digits")
	}
	if o.ReasonCode != "" && !slugForm.MatchString(o.ReasonCode) {
		return o, fault.Field(fault.KindInvalid, "INVALID_OUTCOME", "reason_code", "must be a word without blanks")
	}
	for _, key := range sortedKeys(o.Metadata) {
		if !slices.Contains(outcomeKeys, key) || len([]rune(o.Metadata[key])) > 64 {
			return o, fault.Field(fault.KindInvalid, ErrMetadata, "metadata."+clipKey(key), "is not an outcome metadata key, or has more than 64 characters")
		}
	}
	o.OccurredAt, o.RecordedAt = now, now
	if occurredAt != nil {
		if occurredAt.After(now.Add(5 * time.Minute)) {
			return o, fault.Field(fault.KindInvalid, "INVALID_OUTCOME", "occurred_at", "lies in the future")
		}
		o.OccurredAt = occurredAt.UTC().Truncate(time.Microsecond)
	}
	return o, nil
}
