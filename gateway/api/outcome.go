package api

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

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
	if b.Outcome != "" && b.Status != "" {
		return 0, nil, fault.Field(fault.KindInvalid, "INVALID_OUTCOME", "status", "is another name of outcome: send one of them")
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

// listOutcomes is newest first. Revisions are never taken back, so the last one seen is always found again.
func (s *Surface) listOutcomes(c *gin.Context, caller meter.Caller) (int, any, error) {
	p, err := s.page(c, caller)
	if err != nil {
		return 0, nil, err
	}
	e, err := s.Store.Event(c.Request.Context(), caller.TenantID, c.Param("id"))
	if err != nil {
		return 0, nil, err
	}
	rows, err := s.Store.Outcomes(c.Request.Context(), e.ID)
	if err != nil {
		return 0, nil, err
	}
	if last := p.lastID(); last != "" {
		rows = rows[slices.IndexFunc(rows, func(o meter.Outcome) bool { return opinion(o) == last })+1:]
	}
	out, err := list(s, c, caller, p, rows[:min(len(rows), p.limit+1)], func(o meter.Outcome) any { return outcomesJSON([]meter.Outcome{o})[0] },
		func(o meter.Outcome) store.Position { return byID(opinion(o)) })
	return http.StatusOK, out, err
}

// opinion names one revision among an event's.
func opinion(o meter.Outcome) string { return o.OutcomeType + "/" + strconv.Itoa(o.Revision) }

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
