// Package anthropic is /v1/messages in Anthropic's own form: its bodies, events and errors pass as they are, and only what
// metering needs is read of them. Calls run through the same Runner as every other; nothing here decides or prices.
package anthropic

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/gateway/call"
	"p402.io/p402/gateway/openai"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/provider"
	"p402.io/p402/meter"
)

// Surface is the Messages routes.
type Surface struct {
	Auth   *gateway.Auth
	Runner *call.Runner
	Log    *slog.Logger
}

// defaultVersion is sent for a caller that names none; it is the only version that is in use.
const defaultVersion = "2023-06-01"

// userID is the one key of metadata that is the vendor's: an opaque id of the end user, for its abuse watch. It is passed
// on and kept by us nowhere.
const userID = "user_id"

// messages is Anthropic's form. Its clients chain on the vendor's id, so that id stays.
var messages = openai.Form{Route: meter.RouteMessages, API: "anthropic.messages", KeptMetadata: []string{userID}, Check: openai.NeedMessages,
	Bounds: func(r *meter.Request, f openai.Fields) error { return openai.MaxTokens(r, f, "max_tokens") }}

// Register adds the routes.
func (s *Surface) Register(r *gin.Engine) {
	r.POST("/v1/messages", s.create)
	r.POST("/v1/messages/count_tokens", s.count)
}

func (s *Surface) create(c *gin.Context) {
	in, err := s.input(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	out := &openai.Sink{C: c}
	res, err := s.Runner.Do(c.Request.Context(), in, out)
	switch {
	case res.Started && err != nil:
		s.Log.WarnContext(c.Request.Context(), "answer cut", "request_id", gateway.RequestID(c), "event_id", res.Event.ID, "err", err)
		out.Break(res.Event.Route, err, gateway.RequestID(c))
	case res.Started:
	case err != nil:
		openai.Describe(c.Writer.Header(), res)
		s.fail(c, err)
	default:
		openai.Describe(c.Writer.Header(), res)
		c.JSON(http.StatusOK, openai.DryRun(res))
	}
}

func (s *Surface) input(c *gin.Context) (call.Input, error) {
	caller, err := s.Auth.RequireEither(c, meter.ScopeInfer)
	if err != nil {
		return call.Input{}, err
	}
	body, err := openai.ReadBody(c)
	if err != nil {
		return call.Input{}, err
	}
	request, err := messages.Request(c, caller, body, nil)
	if err != nil {
		return call.Input{}, err
	}
	return call.Input{Caller: caller, Request: request, Body: body, API: messages.API, Upstream: upstream, Header: vendorHeader(c)}, nil
}

// vendorHeader is what of the caller's headers is Anthropic's: the version and the betas it asks for.
func vendorHeader(c *gin.Context) http.Header {
	h := http.Header{"Anthropic-Version": {defaultVersion}}
	if version := c.GetHeader("Anthropic-Version"); version != "" {
		h.Set("Anthropic-Version", version)
	}
	if betas := c.Request.Header.Values("Anthropic-Beta"); len(betas) > 0 {
		h["Anthropic-Beta"] = betas
	}
	return h
}

// upstream makes the vendor's bytes: of metadata only user_id stays, as the vendor refuses anything else.
func upstream(body []byte, t call.Target) ([]byte, error) {
	body, err := provider.KeepMetadataKeys(body, userID)
	if err != nil {
		return nil, err
	}
	return provider.SetModel(body, t.Model)
}

// count passes a counting on. It is free and makes no event, but is judged like a call: what a key may not use it may not
// send a prompt to either.
func (s *Surface) count(c *gin.Context) {
	in, err := s.input(c)
	if err != nil {
		s.fail(c, err)
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), s.Runner.CallTimeout)
	defer cancel()
	if err := s.relayCount(ctx, c, in); err != nil {
		s.fail(c, err)
	}
}

func (s *Surface) relayCount(ctx context.Context, c *gin.Context, in call.Input) error {
	in.Request.DryRun = true
	res, err := s.Runner.Do(ctx, in, nil)
	if err != nil {
		return err
	}
	if res.Decision.Verdict == meter.VerdictDeny {
		return res.Decision.Denied()
	}
	targets, err := s.Runner.Route(call.Ask{Caller: in.Caller, Model: in.Request.Model, Route: in.Request.Route})
	if err != nil {
		return err
	}
	body, err := in.Upstream(in.Body, targets[0])
	if err != nil {
		return fault.New(fault.KindInvalid, "INVALID_JSON", "the body is not a JSON object").Because(err)
	}
	c.Header(gateway.HeaderProvider, targets[0].Provider.Name())
	return openai.Relay(ctx, c, targets[0].Provider, provider.Request{Route: provider.RouteCountTokens, Body: body, Header: in.Header})
}
