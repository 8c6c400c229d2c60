// Package api is /api/v2: ledger, outcomes, workflows, keys, budgets, policies, receipts. A handler decodes, calls one
// function and encodes. Unknown filters and fields are refused.
package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/credential"
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
	// PayTo reads an address that a seller has typed and returns its checksummed form, or a refusal (evm.ParseAddress).
	PayTo func(text string) (string, error)
	// Finance is what reconciliation, periods and exports need beside the store.
	Finance Finance
	// Transfers looks refunds up on their networks, by CAIP-2; empty while settlement is off.
	Transfers map[string]Transfers
	// Hasher and Sealer keep what people sign in with.
	Hasher *credential.Hasher
	Sealer *credential.Sealer
}

// handler does one route's work for a caller and returns status and body.
type handler func(c *gin.Context, caller meter.Caller) (int, any, error)

// route is one line of the table below.
type route struct {
	method, path string
	scope        meter.Scope // "" = any key
	query        []string    // what the query may name, each once; a route that has filters reads the rest itself
	filters      bool
	member       bool  // only a signed-in person may ask; a key is refused
	secret       bool  // the answer holds a secret: it is never kept for a repeated Idempotency-Key
	maxBody      int64 // of a POST, in bytes; 0 = gateway.MaxAPIBody
	do           handler
}

// paging is the query of every list.
var paging = []string{"limit", "cursor"}

func (s *Surface) routes() []route {
	return []route{
		{method: "GET", path: "/me", do: s.me},
		{method: "POST", path: "/me/adopt", member: true, secret: true, do: s.adopt},
		{method: "POST", path: "/me/password", member: true, secret: true, do: s.setPassword},
		{method: "POST", path: "/me/totp", member: true, secret: true, do: s.beginTOTP},
		{method: "PUT", path: "/me/totp", member: true, secret: true, do: s.confirmTOTP},
		{method: "DELETE", path: "/me/totp", member: true, secret: true, do: s.dropTOTP},
		{method: "POST", path: "/auth/logout", member: true, do: s.logout},
		{method: "GET", path: "/members", scope: meter.ScopeMembersRead, member: true, query: paging, do: s.listMembers},
		{method: "POST", path: "/members", scope: meter.ScopeMembersWrite, member: true, secret: true, do: s.addMember},
		{method: "GET", path: "/members/:id", scope: meter.ScopeMembersRead, member: true, do: s.oneMember},
		{method: "PATCH", path: "/members/:id", scope: meter.ScopeMembersWrite, member: true, do: s.setRole},
		{method: "DELETE", path: "/members/:id", scope: meter.ScopeMembersWrite, member: true, do: s.removeMember},
		{method: "POST", path: "/members/:id/link", scope: meter.ScopeMembersWrite, member: true, secret: true, do: s.memberLink},
		{method: "GET", path: "/billing/plans", do: s.listPlans},
		{method: "GET", path: "/billing/usage", scope: meter.ScopeMeterRead, do: s.planUsage},
		{method: "POST", path: "/billing/checkout", member: true, do: s.checkout},
		{method: "GET", path: "/audit-log", scope: meter.ScopeAuditRead, member: true, query: append([]string{"object_type", "object_id", "actor"}, paging...), do: s.listAudit},
		{method: "GET", path: "/meter/events", scope: meter.ScopeMeterRead, query: append([]string{"order"}, paging...), filters: true, do: s.listEvents},
		{method: "GET", path: "/meter/summary", scope: meter.ScopeMeterRead, query: []string{"group_by"}, filters: true, do: s.summary},
		{method: "GET", path: "/meter/events/:id", scope: meter.ScopeMeterRead, do: s.oneEvent},
		{method: "GET", path: "/meter/events/:id/outcomes", scope: meter.ScopeMeterRead, query: paging, do: s.listOutcomes},
		{method: "POST", path: "/meter/events/:id/outcome", scope: meter.ScopeOutcomeWrite, do: s.recordOutcome},
		{method: "GET", path: "/ledger/head", scope: meter.ScopeEvidenceRead, do: s.ledgerHead},
		{method: "GET", path: "/ledger/proof/:id", scope: meter.ScopeEvidenceRead, do: s.ledgerProof},
		{method: "GET", path: "/workflows", scope: meter.ScopeSellRead, query: paging, do: s.listWorkflows},
		{method: "POST", path: "/workflows", scope: meter.ScopeSellWrite, do: s.putWorkflow},
		{method: "GET", path: "/workflows/:id", scope: meter.ScopeSellRead, do: s.oneWorkflow},
		{method: "GET", path: "/keys", scope: meter.ScopeKeysRead, query: paging, do: s.listKeys},
		{method: "POST", path: "/keys", scope: meter.ScopeKeysWrite, secret: true, do: s.createKey},
		{method: "GET", path: "/keys/:id", scope: meter.ScopeKeysRead, do: s.oneKey},
		{method: "DELETE", path: "/keys/:id", scope: meter.ScopeKeysWrite, do: s.revokeKey},
		{method: "GET", path: "/budgets", scope: meter.ScopeControlRead, query: paging, do: s.listBudgets},
		{method: "POST", path: "/budgets", scope: meter.ScopeControlWrite, do: s.createBudget},
		{method: "GET", path: "/budgets/:id", scope: meter.ScopeControlRead, do: s.oneBudget},
		{method: "DELETE", path: "/budgets/:id", scope: meter.ScopeControlWrite, do: s.retireBudget},
		{method: "GET", path: "/policies", scope: meter.ScopeControlRead, query: paging, do: s.listPolicies},
		{method: "POST", path: "/policies", scope: meter.ScopeControlWrite, do: s.createPolicy},
		{method: "GET", path: "/policies/:id", scope: meter.ScopeControlRead, do: s.onePolicy},
		{method: "DELETE", path: "/policies/:id", scope: meter.ScopeControlWrite, do: s.retirePolicy},
		{method: "GET", path: "/receipts", scope: meter.ScopeReceiptsRead, query: paging, do: s.listReceipts},
		{method: "GET", path: "/receipts/:id", scope: meter.ScopeReceiptsRead, do: s.oneReceipt},
		{method: "GET", path: "/payments", scope: meter.ScopeReceiptsRead, query: append([]string{"payer", "nonce"}, paging...), do: s.listPayments},
		{method: "GET", path: "/refunds", scope: meter.ScopeReceiptsRead, query: append([]string{"state"}, paging...), do: s.listRefunds},
		{method: "GET", path: "/refunds/:id", scope: meter.ScopeReceiptsRead, do: s.oneRefund},
		{method: "POST", path: "/refunds/:id/pay", scope: meter.ScopeSellWrite, do: s.payRefund},
		{method: "POST", path: "/refunds/:id/waive", scope: meter.ScopeSellWrite, do: s.waiveRefund},
		{method: "GET", path: "/payments/:id", scope: meter.ScopeReceiptsRead, do: s.onePayment},
	}
}

// Register adds the routes.
func (s *Surface) Register(r *gin.Engine) {
	g := r.Group("/api/v2")
	for _, rt := range append(s.routes(), s.financeRoutes()...) {
		g.Handle(rt.method, rt.path, s.serve(rt))
	}
	g.POST("/receipts/verify", s.verifyReceipt)
	g.GET("/exports/:id/download", s.download)
	g.POST("/auth/login", s.open(s.login))
	g.POST("/access-requests", s.open(s.requestAccess))
}

// serve authenticates, asks for the scope, checks the query, and writes what the handler returns.
func (s *Surface) serve(rt route) gin.HandlerFunc {
	return func(c *gin.Context) {
		caller, err := s.caller(c, rt)
		if err == nil {
			err = checkQuery(c, rt)
		}
		var out answer
		if err == nil {
			out, err = s.once(c, caller, rt)
		}
		if err != nil {
			gateway.Fail(c, s.Log, err)
			return
		}
		c.Header("Cache-Control", "no-store")
		c.Data(out.status, "application/json; charset=utf-8", out.body)
	}
}

// answer is a response that is ready to go out.
type answer struct {
	status int
	body   []byte
}

// run calls a route's handler. Fields that a lenient caller sent in vain are named beside what the handler says.
func run(c *gin.Context, caller meter.Caller, rt route) (answer, error) {
	status, body, err := rt.do(c, caller)
	if err != nil {
		return answer{}, err
	}
	if ignored := c.GetStringSlice(ignoredKey); len(ignored) > 0 {
		if object, ok := body.(gin.H); ok {
			object["ignored_fields"] = ignored
		}
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return answer{}, fmt.Errorf("encode the answer of %s: %w", rt.path, err)
	}
	return answer{status, raw}, nil
}

// checkQuery refuses what the route does not know, what comes twice, and text no name or id can hold.
func checkQuery(c *gin.Context, rt route) error {
	for _, p := range c.Params {
		if !printable(p.Value) {
			return invalid(p.Key, "holds characters that no id has")
		}
	}
	query, err := parseQuery(c)
	if err != nil {
		return err
	}
	for name, values := range query {
		once := slices.Contains(rt.query, name) || name == lenient && (rt.method == http.MethodPost || rt.method == http.MethodPut)
		switch {
		case !once && !rt.filters:
			return fault.Field(fault.KindInvalid, "UNKNOWN_PARAMETER", clip(name), "is not a query parameter of this route")
		case once && len(values) > 1:
			return invalid(name, "may be given only once")
		}
		for _, value := range values {
			if !printable(value) || len(value) > maxQueryValue {
				return invalid(clip(name), "holds control characters or more than 2048 bytes")
			}
			if value == "" {
				return invalid(clip(name), "is empty; leave it out instead")
			}
		}
	}
	return nil
}

// maxQueryValue bounds one value of a query; cursors are the longest we hand out.
const maxQueryValue = 2048

func invalid(param, why string) *fault.Error {
	return fault.Field(fault.KindInvalid, "INVALID_INPUT", param, why)
}

func (s *Surface) me(_ *gin.Context, caller meter.Caller) (int, any, error) {
	if caller.Role != "" {
		return http.StatusOK, gin.H{"tenant_id": caller.TenantID, "member_id": caller.MemberID, "role": caller.Role, "livemode": caller.Livemode, "scopes": caller.Scopes}, nil
	}
	return http.StatusOK, gin.H{"tenant_id": caller.TenantID, "key_id": caller.KeyID, "key_prefix": caller.KeyPrefix, "livemode": caller.Livemode, "scopes": caller.Scopes}, nil
}

// found turns an empty list into the refusal that another tenant's object gets too.
func found[T any](list []T, err error) (T, error) {
	var zero T
	switch {
	case err != nil:
		return zero, err
	case len(list) == 0:
		return zero, errNotFound
	}
	return list[0], nil
}

var errNotFound = fault.New(fault.KindNotFound, "NOT_FOUND", "there is no such object")

// isNotFound tells an absent object from a failure.
func isNotFound(err error) bool { return errors.Is(err, errNotFound) }
