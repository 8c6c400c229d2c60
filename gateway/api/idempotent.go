package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

const (
	maxIdempotencyKey = 128
	// noteTime is how long we try to note an answer after the client may have gone.
	noteTime = 5 * time.Second
)

// once runs a POST at most once for an Idempotency-Key: the same request again gets the first answer, another request
// under the same key is refused. Only success is kept: a refusal changed nothing and may be corrected under the same key.
func (s *Surface) once(c *gin.Context, caller meter.Caller, rt route) (answer, error) {
	if rt.method != http.MethodPost || caller.KeyID == "" || // a browser has its own means against sending a form twice
		len(c.Request.Header.Values(gateway.HeaderIdempotencyKey)) == 0 {
		return run(c, caller, rt)
	}
	claim, err := claimOf(c, caller, rt.maxBody)
	if err != nil {
		return answer{}, err
	}
	first, err := s.Store.BeginIdempotent(c.Request.Context(), claim)
	if err != nil {
		return answer{}, err
	}
	if first != nil {
		c.Header(gateway.HeaderReplayed, "true")
		return answer{first.Status, first.Body}, nil
	}
	out, err := run(c, caller, rt)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), noteTime)
	defer cancel()
	if err != nil {
		if dropErr := s.Store.DropIdempotent(ctx, claim); dropErr != nil {
			s.Log.WarnContext(ctx, "idempotency key stays taken", "request_id", gateway.RequestID(c), "err", dropErr)
		}
		return answer{}, err
	}
	kept := store.IdempotentAnswer{Status: out.status, Body: out.body}
	if rt.secret {
		kept.Body = nil
	}
	if err := s.Store.EndIdempotent(ctx, claim, kept); err != nil {
		// The work is done and the caller must hear so; a repeat will be told that the first answer was not kept.
		s.Log.WarnContext(ctx, "answer not kept for its idempotency key", "request_id", gateway.RequestID(c), "err", err)
	}
	return out, nil
}

// claimOf reads the key and digests the request: method, path, query and body.
func claimOf(c *gin.Context, caller meter.Caller, maxBody int64) (store.IdempotentClaim, error) {
	keys := c.Request.Header.Values(gateway.HeaderIdempotencyKey)
	bad := func(r rune) bool { return r < 0x21 || r > 0x7e }
	if len(keys) != 1 || keys[0] == "" || len(keys[0]) > maxIdempotencyKey || strings.ContainsFunc(keys[0], bad) {
		return store.IdempotentClaim{}, fault.Field(fault.KindInvalid, "INVALID_IDEMPOTENCY_KEY", gateway.HeaderIdempotencyKey, "must be 1 to 128 visible ASCII characters, once")
	}
	raw, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, cmp.Or(maxBody, gateway.MaxAPIBody)))
	if err != nil {
		return store.IdempotentClaim{}, err
	}
	c.Request.Body = io.NopCloser(bytes.NewReader(raw))
	h := sha256.New()
	h.Write([]byte(c.Request.Method + "\n" + c.Request.URL.EscapedPath() + "\n" + c.Request.URL.RawQuery + "\n"))
	h.Write(raw)
	return store.IdempotentClaim{TenantID: caller.TenantID, KeyID: caller.KeyID, Key: keys[0], Digest: [32]byte(h.Sum(nil))}, nil
}
