package gateway_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/fault"
	"p402.io/p402/meter"
)

// oneKey is a store with one key that can end; asked counts how often the cache did not know.
type oneKey struct {
	now     *time.Time
	expires time.Time
	revoked bool
	asked   int
}

func (k *oneKey) KeyByHash(context.Context, [32]byte) (meter.Caller, error) {
	k.asked++
	if k.revoked || !k.now.Before(k.expires) {
		return meter.Caller{}, gateway.ErrInvalidKey
	}
	return meter.Caller{TenantID: "ten_a", ExpiresAt: &k.expires}, nil
}

// A key ends to the nanosecond at its time although callers are cached, also when the clock steps back over a cached
// moment; a revocation made elsewhere holds within the cache's few seconds.
func TestA9_KeysEndOnTime(t *testing.T) {
	t.Parallel()
	now := clock()
	k := &oneKey{now: &now, expires: clock().Add(time.Second)}
	auth := gateway.NewAuth(k, func() time.Time { return now })
	works := func() bool {
		c, _ := gin.CreateTestContext(httptest.NewRecorder())
		c.Request = httptest.NewRequest("GET", "/", nil)
		c.Request.Header.Set("Authorization", "Bearer p402_test_"+strings.Repeat("0", 64))
		_, err := auth.Caller(c, false)
		if err != nil && fault.KindOf(err) != fault.KindUnauthenticated {
			t.Fatal(err)
		}
		return err == nil
	}
	for _, row := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {time.Second - 1, true}, {time.Second, false}, {time.Second + 1, false}} {
		if now = clock().Add(row.after); works() != row.want {
			t.Errorf("after %s it works: %v", row.after, !row.want)
		}
	}
	k.expires = clock().Add(time.Hour)
	now = clock()
	if !works() {
		t.Fatal("it does not work any more")
	}
	asked := k.asked
	if k.revoked = true; !works() || k.asked != asked {
		t.Error("the cache was not used")
	}
	if now = clock().Add(5 * time.Second); works() {
		t.Error("a key revoked elsewhere still works after 5 s")
	}
}
