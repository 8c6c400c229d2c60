package openai

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/gateway/call"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/provider"
	"p402.io/p402/meter"
	"p402.io/p402/settlement/x402"
)

// Surface is the /v1 routes.
type Surface struct {
	Auth   *gateway.Auth
	Runner *call.Runner
	Log    *slog.Logger
	Models Models
	// ForwardMetadata hands owners on to the vendor; off unless the operator sets it (D17).
	ForwardMetadata bool
}

// Models lists what a key may use.
type Models interface {
	List(ctx context.Context, c meter.Caller) ([]Model, error)
}

// Register adds the routes.
func (s *Surface) Register(r *gin.Engine) {
	r.POST("/v1/chat/completions", s.chat)
	r.POST("/api/v2/chat/completions", s.chat)
	r.GET("/v1/models", s.listModels)
	r.GET("/v1/models/*id", s.oneModel)
}

func (s *Surface) chat(c *gin.Context) {
	caller, err := s.Auth.Require(c, meter.ScopeInfer)
	if err != nil {
		gateway.Fail(c, s.Log, err)
		return
	}
	s.Serve(c, caller, nil)
}

// Serve runs one chat completion for a caller. sold is the workflow when the call came in where one is sold.
func (s *Surface) Serve(c *gin.Context, caller meter.Caller, sold *meter.Workflow) {
	body, err := readBody(c)
	if err != nil {
		gateway.Fail(c, s.Log, err)
		return
	}
	request, err := request(c, caller, body, sold)
	if err != nil {
		gateway.Fail(c, s.Log, err)
		return
	}
	in := call.Input{Caller: caller, Request: request, Body: body, Workflow: sold, Resource: resource(c), Upstream: s.upstream,
		API: "openai.chat", CompletionID: "chatcmpl-"}
	if s.Runner.Sale != nil {
		payment, err := x402.ParsePayment(c.Request.Header)
		var refusal *x402.Error
		if errors.As(err, &refusal) && refusal.Reason == x402.ReasonUnsupportedScheme && c.GetHeader(x402.HeaderPaymentSignature) != "" {
			err = x402.Refuse(x402.ReasonNoMatch, refusal.Field, refusal.Message) // as v2 servers say it: nothing of that scheme was offered
		}
		if err != nil && sold != nil {
			payment, in.PaymentError = nil, err
		} else if err != nil {
			gateway.Fail(c, s.Log, fault.New(fault.KindInvalid, "INVALID_PAYMENT", "the payment header cannot be read").Because(err))
			return
		}
		in.Payment = payment
	}
	out := &sink{c: c}
	res, err := s.Runner.Do(c.Request.Context(), in, out)
	s.finish(c, res, out, err)
}

// finish writes what Do left to write: a dry run's answer, or an error if nothing has been sent.
func (s *Surface) finish(c *gin.Context, res call.Result, out *sink, err error) {
	switch {
	case res.Started && err != nil:
		s.Log.WarnContext(c.Request.Context(), "answer cut", "request_id", gateway.RequestID(c), "event_id", res.Event.ID, "err", err)
		panic(http.ErrAbortHandler) // the client must see a broken connection, not a clean end
	case res.Started:
	case err != nil:
		describe(c.Writer.Header(), res)
		s.refuse(c, err)
	default:
		describe(c.Writer.Header(), res)
		c.JSON(http.StatusOK, gin.H{"object": "p402.dry_run", "decision": res.Decision.Verdict, "deny_code": res.Decision.Code,
			"hits": hits(res.Decision), "worst_case_usd": worstCase(res), "price_version": res.Quote.CardVersion})
	}
}

func hits(d meter.Decision) []meter.Hit {
	if d.Hits == nil {
		return []meter.Hit{}
	}
	return d.Hits
}

// worstCase is null when no price is known: unknown is never 0.
func worstCase(res call.Result) any {
	if !res.Quote.Priced {
		return nil
	}
	return res.Quote.WorstCase.USD
}

// upstream makes the vendor's bytes: owners out, usage asked for, the model by its name there; all else untouched.
func (s *Surface) upstream(body []byte, model string) ([]byte, error) {
	var err error
	if !s.ForwardMetadata {
		if body, err = provider.DropMetadata(body); err != nil {
			return nil, err
		}
	}
	if streams(body) {
		if body, _, err = provider.SetIncludeUsage(body); err != nil {
			return nil, err
		}
	}
	return provider.SetModel(body, model)
}

func streams(body []byte) bool { return fields(body)["stream"].Bool() }

// resource is the URL that is being paid for, as the client reached it.
func resource(c *gin.Context) string {
	scheme := "http"
	if c.Request.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + c.Request.Host + c.Request.URL.Path
}
