package gateway

import (
	"context"
	"crypto/subtle"
	"net/http"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/fault"
	"p402.io/p402/meter"
)

// The cookies of a signed-in browser. Both are set by the dashboard; the second grants nothing.
const (
	SessionCookie = "p402_session"
	// ModeCookie holds which ledger the browser looks at, live or test.
	ModeCookie = "p402_mode"
)

// Sessions finds the signed-in member behind a session cookie: as caller in one of the two ledgers, the secret that a form or
// script must send back, and whether the tenant has a live key. A refusal matches a fault; other errors mean the store is away.
type Sessions interface {
	SessionCaller(ctx context.Context, cookie string, mode string) (caller meter.Caller, csrf string, err error)
}

// ErrNoSession answers a missing, unknown or ended session.
var ErrNoSession = fault.New(fault.KindUnauthenticated, "INVALID_KEY", "send a p402 key as Authorization: Bearer p402_…, or sign in")

// Member authenticates a signed-in browser. What changes something must carry the session's CSRF token in a header, which a
// foreign page cannot send.
func (a *Auth) Member(c *gin.Context, sessions Sessions) (meter.Caller, error) {
	cookie, err := c.Cookie(SessionCookie)
	if err != nil || cookie == "" {
		return meter.Caller{}, ErrNoSession
	}
	mode, _ := c.Cookie(ModeCookie) // absent is as good as empty: the tenant's own ledger then
	caller, csrf, err := sessions.SessionCaller(c.Request.Context(), cookie, mode)
	if err != nil {
		if fault.KindOf(err) == fault.KindNotFound {
			return meter.Caller{}, ErrNoSession
		}
		return meter.Caller{}, fault.New(fault.KindUnavailable, "CONTROL_UNAVAILABLE", "sessions cannot be checked now").Because(err)
	}
	if claimed := c.GetHeader(HeaderTenant); claimed != "" && claimed != string(caller.TenantID) {
		return meter.Caller{}, fault.Field(fault.KindDenied, "TENANT_MISMATCH", HeaderTenant, "the session belongs to another tenant")
	}
	safe := c.Request.Method == http.MethodGet || c.Request.Method == http.MethodHead
	if !safe && subtle.ConstantTimeCompare([]byte(c.GetHeader(HeaderCSRF)), []byte(csrf)) != 1 {
		return meter.Caller{}, fault.Field(fault.KindDenied, "CSRF_TOKEN_REQUIRED", HeaderCSRF, "must hold the session's token")
	}
	return caller, nil
}
