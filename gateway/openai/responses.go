package openai

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/gateway/call"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/provider"
	"p402.io/p402/meter"
)

// Made knows what earlier calls left at a vendor.
type Made interface {
	// ResponseMaker is the vendor that made a response for this caller's tenant in its mode, and the event it made.
	// NotFound for every other id: vendors know our account only, so we are the wall between tenants.
	ResponseMaker(ctx context.Context, c meter.Caller, responseID string) (provider.Provider, id.Event, error)
}

// chained is the vendor that a chained call has to go to, or "". An id that is not this tenant's is refused here: the
// vendor would take it, as all tenants are one account there.
func (s *Surface) chained(ctx context.Context, caller meter.Caller, body []byte) (string, error) {
	previous := fields(body)["previous_response_id"].Str
	if previous == "" || s.Made == nil {
		return "", nil
	}
	maker, _, err := s.Made.ResponseMaker(ctx, caller, previous)
	if err != nil {
		return "", notKept(err, "previous_response_id")
	}
	return maker.Name(), nil
}

func notKept(err error, param string) error {
	if fault.KindOf(err) != fault.KindNotFound {
		return err
	}
	return fault.Field(fault.KindNotFound, "RESPONSE_NOT_FOUND", param, "no response of this id was made here for this tenant")
}

// kept reads or deletes a response at the vendor that made it, for the tenant that made it. Neither costs anything, so
// neither makes an event; the answer names the event that made the response.
func (s *Surface) kept(c *gin.Context) {
	caller, err := s.Auth.Require(c, meter.ScopeInfer)
	if err != nil {
		gateway.Fail(c, s.Log, err)
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), s.Runner.CallTimeout)
	defer cancel()
	if s.Made == nil {
		gateway.Fail(c, s.Log, notKept(fault.New(fault.KindNotFound, "", ""), "id"))
		return
	}
	maker, event, err := s.Made.ResponseMaker(ctx, caller, c.Param("id"))
	if err != nil {
		gateway.Fail(c, s.Log, notKept(err, "id"))
		return
	}
	c.Header(gateway.HeaderEventID, string(event))
	c.Header(gateway.HeaderProvider, maker.Name())
	err = Relay(ctx, c, maker, provider.Request{Route: provider.RouteResponses, Method: c.Request.Method, Object: c.Param("id"), Query: c.Request.URL.RawQuery})
	if err != nil {
		gateway.Fail(c, s.Log, err)
	}
}

// Relay passes one request that costs nothing to a vendor and its answer back as it comes. An error comes back only while
// nothing has been written.
func Relay(ctx context.Context, c *gin.Context, p provider.Provider, r provider.Request) error {
	resp, err := p.Do(ctx, r)
	if err != nil {
		return call.VendorFault(ctx, err)
	}
	defer func() { _ = resp.Close() }() // the answer has been read or given up; nothing hangs on it
	started := false
	for {
		f, err := resp.Next()
		switch {
		case errors.Is(err, io.EOF) && started:
			return nil
		case errors.Is(err, io.EOF):
			return fault.New(fault.KindUpstream, "PROVIDER_ERROR", "the provider's answer is empty")
		case err != nil && started:
			panic(http.ErrAbortHandler) // the client must see a broken connection, not a clean end
		case err != nil:
			return call.VendorFault(ctx, err)
		}
		if !started {
			started = true
			for name, value := range provider.PassingHeaders(resp.Header) {
				c.Header(name, value)
			}
			c.Status(resp.Status)
		}
		if _, err := c.Writer.Write(f.Raw); err != nil {
			return nil // the client is gone; nobody is left to tell
		}
		if resp.Stream {
			c.Writer.Flush()
		}
	}
}
