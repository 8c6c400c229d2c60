package gateway

import (
	"context"
	"crypto/sha256"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/fault"
	"p402.io/p402/meter"
)

// Keys finds the caller behind a key's SHA-256. A refusal matches ErrInvalidKey; other errors mean the store is away.
type Keys interface {
	KeyByHash(ctx context.Context, hash [32]byte) (meter.Caller, error)
}

// ErrInvalidKey answers an absent, malformed, unknown, expired or revoked key alike.
var ErrInvalidKey = fault.New(fault.KindUnauthenticated, "INVALID_KEY",
	"send a p402 key as Authorization: Bearer p402_…; this one is missing, unknown or revoked")

// keyTTL bounds how long a revoked key still works on a node that did not see the revocation (O4: 5 s).
const keyTTL = 3 * time.Second

// maxCachedKeys bounds the cache; beyond it the cache starts over.
const maxCachedKeys = 10_000

// keyWait bounds the reading of a key: a store that hangs is a store that is away.
const keyWait = 2 * time.Second

var keyForm = regexp.MustCompile(`^p402_(live|test)_[0-9a-f]{64}$`)

// Auth turns a request's key into a Caller. The tenant comes from nowhere else.
type Auth struct {
	keys Keys
	now  func() time.Time

	mu    sync.RWMutex
	cache map[[32]byte]cachedCaller
}

type cachedCaller struct {
	caller meter.Caller
	until  time.Time
}

// NewAuth returns an Auth over the stored keys.
func NewAuth(keys Keys, now func() time.Time) *Auth {
	return &Auth{keys: keys, now: now, cache: map[[32]byte]cachedCaller{}}
}

// Forget drops what is cached, so that a revocation made on this node holds at once.
func (a *Auth) Forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cache = map[[32]byte]cachedCaller{}
}

// HasKey reports whether a request carries any credential of the key kind.
func HasKey(c *gin.Context) bool {
	return c.GetHeader("Authorization") != "" || c.GetHeader("X-Api-Key") != ""
}

// Caller authenticates a request by its key. x-api-key is read where allowed by the surface (Anthropic's routes).
func (a *Auth) Caller(c *gin.Context, allowAPIKeyHeader bool) (meter.Caller, error) {
	text := ""
	if len(c.Request.Header.Values("Authorization")) > 1 {
		return meter.Caller{}, ErrInvalidKey // which of them a proxy before us has checked nobody knows
	}
	if scheme, token, ok := strings.Cut(c.GetHeader("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		text = strings.TrimSpace(token)
	} else if allowAPIKeyHeader {
		text = c.GetHeader("X-Api-Key")
	}
	if !keyForm.MatchString(text) {
		return meter.Caller{}, ErrInvalidKey
	}
	caller, err := a.lookup(c.Request.Context(), sha256.Sum256([]byte(text)))
	if err != nil {
		return meter.Caller{}, err
	}
	if claimed := c.GetHeader(HeaderTenant); claimed != "" && claimed != string(caller.TenantID) {
		return meter.Caller{}, fault.Field(fault.KindDenied, "TENANT_MISMATCH", HeaderTenant, "the key belongs to another tenant")
	}
	return caller, nil
}

func (a *Auth) lookup(ctx context.Context, hash [32]byte) (meter.Caller, error) {
	now := a.now()
	a.mu.RLock()
	hit, ok := a.cache[hash]
	a.mu.RUnlock()
	if ok && now.Before(hit.until) {
		return hit.caller, nil
	}
	ctx, cancel := context.WithTimeout(ctx, keyWait)
	defer cancel()
	caller, err := a.keys.KeyByHash(ctx, hash)
	if err != nil {
		if _, refusal := fault.As(err); refusal {
			return meter.Caller{}, err
		}
		return meter.Caller{}, fault.New(fault.KindUnavailable, "CONTROL_UNAVAILABLE", "keys cannot be checked now").Because(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.cache) >= maxCachedKeys {
		a.cache = map[[32]byte]cachedCaller{}
	}
	until := now.Add(keyTTL)
	if caller.ExpiresAt != nil && caller.ExpiresAt.Before(until) {
		until = *caller.ExpiresAt // a key ends exactly then, not when the cache forgets it
	}
	a.cache[hash] = cachedCaller{caller, until}
	return caller, nil
}

// Require is Caller plus one scope.
func (a *Auth) Require(c *gin.Context, scope meter.Scope) (meter.Caller, error) {
	return a.require(c, scope, false)
}

// RequireEither is Require where x-api-key carries the key as well as Authorization does.
func (a *Auth) RequireEither(c *gin.Context, scope meter.Scope) (meter.Caller, error) {
	return a.require(c, scope, true)
}

func (a *Auth) require(c *gin.Context, scope meter.Scope, apiKeyHeader bool) (meter.Caller, error) {
	caller, err := a.Caller(c, apiKeyHeader)
	if err != nil {
		return meter.Caller{}, err
	}
	if !caller.May(scope) {
		return meter.Caller{}, fault.New(fault.KindDenied, "SCOPE_MISSING", "this key lacks the scope "+string(scope))
	}
	return caller, nil
}
