package openai

import (
	"encoding/json"
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
		if err := paidHeaders(header, *h.Payment, h.Extensions); err != nil {
			return err
		}
	}
	if h.Stream {
		if header.Get("Cache-Control") == "" { // what is sold has said more already
			header.Set("Cache-Control", "no-cache")
		}
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

// Break ends a stream that has begun and cannot be finished: with an error event in the form of its route, so that SDKs
// raise it, and without the form's last event. An answer that is no stream is cut instead, as its length was promised.
func (s *Sink) Break(route meter.Route, err error, requestID string) {
	if !s.stream {
		panic(http.ErrAbortHandler) // the client must see a broken connection, not a clean end
	}
	f := gateway.Refusal(err)
	event, body := "", any(gateway.ErrorBody(f, requestID))
	switch route {
	case meter.RouteResponses:
		event, body = "event: error\n", gin.H{"type": "error", "code": f.Code, "message": f.Message, "param": nil}
	case meter.RouteMessages:
		event, body = "event: error\n", gin.H{"type": "error", "error": gin.H{"type": "api_error", "message": f.Message}, "request_id": requestID}
	}
	raw, err := json.Marshal(body)
	if err == nil {
		_, err = fmt.Fprintf(s.C.Writer, "%sdata: %s\n\n", event, raw)
	}
	if err != nil {
		panic(http.ErrAbortHandler) // as above
	}
	s.C.Writer.Flush()
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
	set(gateway.HeaderPlanNotice, d.PlanNotice)
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
