package openai

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/gateway/call"
	"p402.io/p402/internal/provider"
	"p402.io/p402/meter"
)

// Sink writes an answer to the client as it comes: one flush a frame.
type Sink struct {
	C      *gin.Context
	stream bool
}

// Start writes status and headers.
func (s *Sink) Start(h call.Head) error {
	header := s.C.Writer.Header()
	for name, value := range h.Header {
		header.Set(name, value)
	}
	Describe(header, call.Result{Event: h.Event, Decision: h.Decision})
	s.stream = h.Stream
	if h.Payment != nil {
		if err := paidHeaders(header, *h.Payment); err != nil {
			return err
		}
	}
	if h.Stream {
		header.Set("Cache-Control", "no-cache")
		header.Set("X-Accel-Buffering", "no")
		header.Set("Trailer", gateway.HeaderCostUSD+", "+gateway.HeaderCostState)
	} else {
		cost(header, h.Event)
	}
	s.C.Writer.WriteHeader(h.Status)
	if h.Stream {
		s.C.Writer.WriteHeaderNow()
		s.C.Writer.Flush()
	}
	return s.C.Request.Context().Err()
}

// Frame writes one frame and flushes it.
func (s *Sink) Frame(f provider.Frame) error {
	if _, err := s.C.Writer.Write(f.Raw); err != nil {
		return fmt.Errorf("write to client: %w", err)
	}
	if s.stream {
		s.C.Writer.Flush()
	}
	return s.C.Request.Context().Err()
}

// End writes a stream's trailers.
func (s *Sink) End(e meter.Event) error {
	if s.stream {
		cost(s.C.Writer.Header(), e)
	}
	return nil
}

func cost(h http.Header, e meter.Event) {
	if e.CostUSD != nil {
		h.Set(gateway.HeaderCostUSD, e.CostUSD.Fixed(12))
	}
	if e.CostState != "" {
		h.Set(gateway.HeaderCostState, string(e.CostState))
	}
}

// Describe writes what is known of the event and the decision (PRODUCT §2.1).
func Describe(h http.Header, res call.Result) {
	set := func(name, value string) {
		if value != "" {
			h.Set(name, value)
		}
	}
	e, d := res.Event, res.Decision
	set(gateway.HeaderEventID, string(e.ID))
	set(gateway.HeaderProvider, e.Provider)
	set(gateway.HeaderModel, e.ModelUsed)
	set(gateway.HeaderDecision, e.Decision)
	set(gateway.HeaderDenyCode, string(d.Code))
	set(gateway.HeaderPolicyID, string(d.PolicyID))
	set(gateway.HeaderBudgetID, string(d.BudgetID))
	set(gateway.HeaderPrivacyMode, e.PrivacyMode)
	if d.Remaining != nil {
		set(gateway.HeaderBudgetRemaining, d.Remaining.String())
	}
	if e.FinalizedAt != nil && e.Cause != meter.CauseDenied {
		set(gateway.HeaderLatencyMS, strconv.FormatInt(e.LatencyMS, 10))
		set(gateway.HeaderOverheadMS, strconv.FormatInt(e.OverheadUS/1000, 10))
		set(gateway.HeaderAttempts, strconv.Itoa(len(e.Attempts)))
	}
	if e.Simulated {
		set(gateway.HeaderSimulated, "true")
	}
}
