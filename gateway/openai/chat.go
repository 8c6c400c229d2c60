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
	// Made knows which vendor made an answer that it keeps; nil leaves such routes out.
	Made Made
}

// Models lists what a key may use.
type Models interface {
	List(ctx context.Context, c meter.Caller) ([]Model, error)
}

// Register adds the routes.
func (s *Surface) Register(r *gin.Engine) {
	r.POST("/v1/chat/completions", s.run(chat))
	r.POST("/api/v2/chat/completions", s.run(chat))
	r.POST("/v1/completions", s.run(completions))
	r.POST("/v1/embeddings", s.run(embeddings))
	r.POST("/v1/responses", s.run(responses))
	r.GET("/v1/responses/:id", s.kept)
	r.DELETE("/v1/responses/:id", s.kept)
	r.GET("/v1/models", s.listModels)
	r.GET("/v1/models/*id", s.oneModel)
}

func (s *Surface) run(form Form) gin.HandlerFunc {
	return func(c *gin.Context) {
		caller, err := s.Auth.Require(c, meter.ScopeInfer)
		if err != nil {
			gateway.Fail(c, s.Log, err)
			return
		}
		s.serve(c, form, caller, nil)
	}
}

// Serve runs one chat completion for a caller. sold is the workflow when the call came in where one is sold.
func (s *Surface) Serve(c *gin.Context, caller meter.Caller, sold *meter.Workflow) {
	s.serve(c, chat, caller, sold)
}

func (s *Surface) serve(c *gin.Context, form Form, caller meter.Caller, sold *meter.Workflow) {
	in, err := s.input(c, form, caller, sold)
	if err != nil {
		gateway.Fail(c, s.Log, err)
		return
	}
	out := &Sink{C: c}
	res, err := s.Runner.Do(c.Request.Context(), in, out)
	s.finish(c, res, out, err)
}

func (s *Surface) input(c *gin.Context, form Form, caller meter.Caller, sold *meter.Workflow) (call.Input, error) {
	body, err := ReadBody(c)
	if err != nil {
		return call.Input{}, err
	}
	request, err := form.Request(c, caller, body, sold)
	if err != nil {
		return call.Input{}, err
	}
	in := call.Input{Caller: caller, Request: request, Body: body, Workflow: sold, Resource: resource(c), Upstream: upstream(form),
		API: form.API, CompletionID: form.IDPrefix}
	if form.Route == meter.RouteResponses {
		if in.Vendor, err = s.chained(c.Request.Context(), caller, body); err != nil {
			return call.Input{}, err
		}
	}
	return in, s.payment(c, &in, sold)
}

// payment reads the payment that came with a call, where anything is sold at all.
func (s *Surface) payment(c *gin.Context, in *call.Input, sold *meter.Workflow) error {
	if s.Runner.Sale == nil {
		return nil
	}
	payment, err := x402.ParsePayment(c.Request.Header)
	var refusal *x402.Error
	if errors.As(err, &refusal) && refusal.Reason == x402.ReasonUnsupportedScheme && c.GetHeader(x402.HeaderPaymentSignature) != "" {
		err = x402.Refuse(x402.ReasonNoMatch, refusal.Field, refusal.Message) // as v2 servers say it: nothing of that scheme was offered
	}
	switch {
	case err != nil && sold != nil:
		in.PaymentError = err
	case err != nil:
		return fault.New(fault.KindInvalid, "INVALID_PAYMENT", "the payment header cannot be read").Because(err)
	default:
		in.Payment = payment
	}
	return nil
}

// finish writes what Do left to write: a dry run's answer, or an error if nothing has been sent.
func (s *Surface) finish(c *gin.Context, res call.Result, out *Sink, err error) {
	switch {
	case res.Started && err != nil:
		s.Log.WarnContext(c.Request.Context(), "answer cut", "request_id", gateway.RequestID(c), "event_id", res.Event.ID, "err", err)
		out.Break(res.Event.Route, err, gateway.RequestID(c))
	case res.Started:
	case err != nil:
		Describe(c.Writer.Header(), res)
		s.refuse(c, err)
	default:
		Describe(c.Writer.Header(), res)
		c.JSON(http.StatusOK, DryRun(res))
	}
}

// DryRun is the answer to X-P402-Dry-Run, the same on every inference route.
func DryRun(res call.Result) gin.H {
	return gin.H{"object": "p402.dry_run", "decision": res.Decision.Verdict, "deny_code": res.Decision.Code,
		"hits": hits(res.Decision), "worst_case_usd": worstCase(res), "price_version": res.Quote.CardVersion}
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

// upstream makes the vendor's bytes: owners out, usage asked for where it has to be, the model by its name there; all
// else untouched. A vendor keeps an answer's metadata for whom it answers, so of a Responses body only owners go.
func upstream(form Form) func(body []byte, t call.Target) ([]byte, error) {
	return func(body []byte, t call.Target) ([]byte, error) {
		var err error
		switch {
		case t.ForwardMetadata: // only if the operator set it (D17)
		case form.Route == meter.RouteResponses:
			body, err = provider.RemoveMetadataKeys(body, meter.OwnerKeys())
		default:
			body, err = provider.DropMetadata(body)
		}
		if err != nil {
			return nil, err
		}
		if (form.Route == meter.RouteChat || form.Route == meter.RouteCompletion) && streams(body) {
			if body, _, err = provider.SetIncludeUsage(body); err != nil {
				return nil, err
			}
		}
		return provider.SetModel(body, t.Model)
	}
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
