package gateway

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
)

// open is the paths that a page of any origin may call: they take no cookie and no key, and what they sell is for everybody.
// Elsewhere a browser lets only listed origins read an answer.
var open = []string{"/x/", "/discovery/", "/.well-known/p402-keys.json", "/openapi.json"}

// What a page may send and read across origins. The names of x402 stand here as text: the door knows no payments.
const (
	crossHeaders = "Authorization, Content-Type, Idempotency-Key, PAYMENT-SIGNATURE, X-PAYMENT, " + HeaderDryRun + ", " + HeaderMaxCost + ", " + HeaderTags
	crossMethods = "GET, HEAD, POST, PATCH, PUT, DELETE, OPTIONS"
	crossExposed = "PAYMENT-REQUIRED, PAYMENT-RESPONSE, X-PAYMENT-RESPONSE, Retry-After, " + HeaderReplayed + ", " + HeaderRequestID + ", " + HeaderEventID + ", " +
		HeaderReceiptID + ", " + HeaderProvider + ", " + HeaderModel + ", " + HeaderLatencyMS + ", " + HeaderOverheadMS + ", " + HeaderAttempts + ", " +
		HeaderCostUSD + ", " + HeaderCostState + ", " + HeaderDecision + ", " + HeaderDenyCode + ", " + HeaderPlanNotice + ", " + HeaderPolicyID + ", " + HeaderBudgetID + ", " +
		HeaderBudgetRemaining + ", " + HeaderPrivacyMode + ", " + HeaderSimulated
	// crossMaxAge is how long a browser may remember a preflight; browsers cap it at two hours and less.
	crossMaxAge = "600"
)

// crossOrigin says which pages may read an answer. It never allows credentials: cookies are the dashboard's alone. An origin
// that is not allowed gets no header, and its browser keeps the answer from it.
func (cfg Config) crossOrigin(c *gin.Context) {
	h := c.Writer.Header()
	path := c.Request.URL.Path
	public := slices.ContainsFunc(open, func(p string) bool { return strings.HasPrefix(path, p) })
	keyed := strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/api/v2/")
	origin := c.GetHeader("Origin")
	switch {
	case public:
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	case keyed && len(cfg.Origins) > 0:
		h.Add("Vary", "Origin")
		if !slices.Contains(cfg.Origins, origin) {
			return
		}
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	default:
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		return
	}
	h.Set("Access-Control-Expose-Headers", crossExposed)
	if c.Request.Method == http.MethodOptions && c.GetHeader("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", crossMethods)
		h.Set("Access-Control-Allow-Headers", crossHeaders+dimensionHeaders())
		h.Set("Access-Control-Max-Age", crossMaxAge)
		c.AbortWithStatus(http.StatusNoContent)
	}
}
