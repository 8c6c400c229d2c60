// Package gateway is the HTTP door: router, limits, keys, headers and the one table of errors. Each surface is a room
// of its own that registers its routes here.
package gateway

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
)

// Body limits of PRODUCT §1.
const (
	MaxInferBody = 10 << 20
	MaxAPIBody   = 1 << 20
	// MaxHeaderBytes is for http.Server.
	MaxHeaderBytes = 64 << 10
)

// Surface registers one room's routes.
type Surface interface{ Register(r *gin.Engine) }

// Config is what the router needs.
type Config struct {
	Log *slog.Logger
	IDs *id.Source
	Now func() time.Time
	// Origins is the web origins whose pages may call the keyed surfaces ("https://app.example.com"); none by default.
	Origins []string
	// Deadlines bounds slow clients; zero is the default.
	Deadlines Deadlines
	// Observe is told of every finished request: route template, status, time. It feeds /metrics.
	Observe func(method, route string, status int, took time.Duration)
}

const requestIDKey = "p402.request_id"

// RequestID is the id this request got at the door.
func RequestID(c *gin.Context) string { return c.GetString(requestIDKey) }

// NewRouter composes the surfaces behind the common middleware: request id, recovery, safe headers, one log line.
func NewRouter(cfg Config, surfaces ...Surface) *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.HandleMethodNotAllowed = true
	r.RedirectTrailingSlash = false
	r.ContextWithFallback = true
	r.UseRawPath = true // an id may hold a slash, written %2F
	if err := r.SetTrustedProxies(nil); err != nil {
		panic("gateway: " + err.Error()) // nil cannot be malformed
	}
	r.Use(cfg.begin, cfg.crossOrigin)
	for _, s := range surfaces {
		s.Register(r)
	}
	for _, route := range r.Routes() {
		if route.Method == http.MethodGet && !strings.HasPrefix(route.Path, spentByGet) {
			r.HEAD(route.Path, route.HandlerFunc) // net/http keeps the body back
		}
	}
	r.NoRoute(cfg.noRoute)
	r.NoMethod(cfg.noMethod)
	return r
}

// spentByGet is the one address whose GET changes something: a sign-in link must not be used up by a preview's HEAD.
const spentByGet = "/sign-in/"

// noRoute names a route of OpenAI's that p402 does not serve as such, so that a developer sees at once what is missing.
func (cfg Config) noRoute(c *gin.Context) {
	asked := c.Request.Method + " " + clip(c.Request.URL.Path)
	if strings.HasPrefix(c.Request.URL.Path, "/v1/") {
		Fail(c, cfg.Log, fault.New(fault.KindNotFound, "UNSUPPORTED_FEATURE", "p402 has no route "+asked))
		return
	}
	Fail(c, cfg.Log, fault.New(fault.KindNotFound, "NOT_FOUND", "there is nothing at "+asked))
}

// noMethod answers for a path that is served with other methods; the router has put those into Allow.
func (cfg Config) noMethod(c *gin.Context) {
	allow := c.Writer.Header().Get("Allow")
	if !strings.Contains(allow, http.MethodOptions) {
		c.Header("Allow", allow+", "+http.MethodOptions)
	}
	if c.Request.Method == http.MethodOptions {
		c.AbortWithStatus(http.StatusNoContent)
		return
	}
	c.AbortWithStatusJSON(http.StatusMethodNotAllowed, ErrorBody(&fault.Error{Kind: fault.KindInvalid, Code: "METHOD_NOT_ALLOWED",
		Message: "this route does not answer " + clip(c.Request.Method)}, RequestID(c)))
}

// begin gives the request its id and ends it with one log line; a panic becomes a plain 500.
func (cfg Config) begin(c *gin.Context) {
	started := cfg.Now()
	requestID := string(cfg.IDs.Request())
	c.Set(requestIDKey, requestID)
	h := c.Writer.Header()
	h.Set(HeaderRequestID, requestID)
	for name, value := range safeHeaders {
		h.Set(name, value)
	}
	if len(c.Request.TransferEncoding) > 0 {
		h.Set("Connection", "close") // framing that two readers may read differently never has a second request behind it
	}
	received := cfg.Deadlines.set(c)
	defer func() {
		received()
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p) // the sign to net/http to cut the connection
			}
			cfg.Log.ErrorContext(c.Request.Context(), "request panicked", "request_id", requestID, "route", c.FullPath())
			if !c.Writer.Written() {
				Fail(c, cfg.Log, fault.New(fault.KindInternal, "INTERNAL_ERROR", "panic"))
			}
			c.Abort()
		}
		took := cfg.Now().Sub(started)
		cfg.Log.InfoContext(c.Request.Context(), "request", "request_id", requestID, "method", c.Request.Method,
			"route", c.FullPath(), "status", c.Writer.Status(), "duration_ms", took.Milliseconds())
		if cfg.Observe != nil {
			cfg.Observe(c.Request.Method, c.FullPath(), c.Writer.Status(), took)
		}
	}()
	c.Next()
}

// safeHeaders tell a browser to trust an answer as little as it can. A page sets its own policy over them.
var safeHeaders = map[string]string{
	"X-Content-Type-Options":  "nosniff",
	"X-Frame-Options":         "DENY",
	"Referrer-Policy":         "no-referrer",
	"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}

// clip bounds what a caller wrote before it is shown again, in an error that nothing may break out of.
func clip(path string) string {
	path = strings.ToValidUTF8(path, "?")
	if len(path) > 80 {
		return path[:80] + "…"
	}
	return path
}
