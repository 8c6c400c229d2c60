// Package api is /api/v2: ledger, outcomes, workflows, keys, budgets, policies, receipts. A handler decodes, calls one
// function and encodes. Unknown filters and fields are refused.
package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

// Surface is the routes under /api/v2.
type Surface struct {
	Auth      *gateway.Auth
	Store     *store.Store
	Now       func() time.Time
	Log       *slog.Logger
	CursorKey []byte
	Keys      settlement.KeySet
	Finance   Finance
}

// handler does one route's work for a caller and returns status and body.
type handler func(c *gin.Context, caller meter.Caller) (int, any, error)

// Register adds the routes.
func (s *Surface) Register(r *gin.Engine) {
	g := r.Group("/api/v2")
	g.GET("/me", s.with("", s.me))
	g.GET("/meter/events", s.with(meter.ScopeMeterRead, s.listEvents))
	g.GET("/meter/summary", s.with(meter.ScopeMeterRead, s.summary))
	g.GET("/meter/events/:id", s.with(meter.ScopeMeterRead, s.oneEvent))
	g.GET("/meter/events/:id/outcomes", s.with(meter.ScopeMeterRead, s.listOutcomes))
	g.POST("/meter/events/:id/outcome", s.with(meter.ScopeOutcomeWrite, s.recordOutcome))
	g.GET("/workflows", s.with(meter.ScopeSellRead, s.listWorkflows))
	g.POST("/workflows", s.with(meter.ScopeSellWrite, s.putWorkflow))
	g.GET("/keys", s.with(meter.ScopeControlRead, s.listKeys))
	g.POST("/keys", s.with(meter.ScopeControlWrite, s.createKey))
	g.DELETE("/keys/:id", s.with(meter.ScopeControlWrite, s.revokeKey))
	g.GET("/budgets", s.with(meter.ScopeControlRead, s.listBudgets))
	g.POST("/budgets", s.with(meter.ScopeControlWrite, s.createBudget))
	g.DELETE("/budgets/:id", s.with(meter.ScopeControlWrite, s.retireBudget))
	g.GET("/policies", s.with(meter.ScopeControlRead, s.listPolicies))
	g.POST("/policies", s.with(meter.ScopeControlWrite, s.createPolicy))
	g.DELETE("/policies/:id", s.with(meter.ScopeControlWrite, s.retirePolicy))
	g.GET("/receipts", s.with(meter.ScopeReceiptsRead, s.listReceipts))
	g.GET("/receipts/:id", s.with(meter.ScopeReceiptsRead, s.oneReceipt))
	g.GET("/payments", s.with(meter.ScopeReceiptsRead, s.listPayments))
	g.GET("/payments/:id", s.with(meter.ScopeReceiptsRead, s.onePayment))
	g.POST("/receipts/verify", s.verifyReceipt)
	s.registerFinance(g)
}

// with authenticates, asks for a scope, and writes what the handler returns.
func (s *Surface) with(scope meter.Scope, h handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		caller, err := s.Auth.Caller(c, false)
		if err == nil && scope != "" {
			caller, err = s.Auth.Require(c, scope)
		}
		if err != nil {
			gateway.Fail(c, s.Log, err)
			return
		}
		status, body, err := h(c, caller)
		if err != nil {
			gateway.Fail(c, s.Log, err)
			return
		}
		c.Header("Cache-Control", "no-store")
		if body == nil {
			c.Status(status)
			return
		}
		c.JSON(status, body)
	}
}

func invalid(param, why string) *fault.Error {
	return fault.Field(fault.KindInvalid, "INVALID_INPUT", param, why)
}

// decode reads a small JSON body strictly: one object, no unknown field.
func decode(c *gin.Context, into any) error {
	raw, err := body(c)
	if err != nil {
		return err
	}
	return strict(raw, into)
}

// decodeClean is decode for bodies that must hold no content of calls: a forbidden key at any depth is refused by its
// path, before anything else is looked at.
func decodeClean(c *gin.Context, into any) error {
	raw, err := body(c)
	if err != nil {
		return err
	}
	if path := meter.ForbiddenPath(raw); path != "" {
		return fault.Field(fault.KindInvalid, "FORBIDDEN_CONTENT_KEY", path, "content does not belong in the ledger").With("path", path)
	}
	return strict(raw, into)
}

func body(c *gin.Context) ([]byte, error) {
	return io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, gateway.MaxAPIBody))
}

func strict(raw []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return decodeError(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return invalid("", "the body holds more than one JSON value")
	}
	return nil
}

// decodeError names the field, and repeats no value.
func decodeError(err error) error {
	var kind *json.UnmarshalTypeError
	var refusal *fault.Error
	switch text := err.Error(); {
	case errors.As(err, &refusal):
		return refusal
	case strings.HasPrefix(text, "json: unknown field "):
		name := strings.Trim(strings.TrimPrefix(text, "json: unknown field "), `"`)
		if len(name) > 64 {
			name = name[:64]
		}
		return fault.Field(fault.KindInvalid, "UNKNOWN_FIELD", name, "is not a field of this request")
	case errors.As(err, &kind):
		return invalid(kind.Field, "must be a "+kind.Type.String())
	}
	return fault.New(fault.KindInvalid, "INVALID_JSON", "the body is not the JSON object this route reads")
}

func (s *Surface) me(_ *gin.Context, caller meter.Caller) (int, any, error) {
	return http.StatusOK, gin.H{"tenant_id": caller.TenantID, "key_id": caller.KeyID, "key_prefix": caller.KeyPrefix, "livemode": caller.Livemode, "scopes": caller.Scopes}, nil
}
