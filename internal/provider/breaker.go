package provider

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

const (
	// breakAfter is how many failures in a row open the circuit: enough that one bad minute of single errors does not,
	// few enough that a vendor that is away costs each caller no more than a refusal.
	breakAfter = 5
	// breakFor is how long an open circuit refuses before one call may try again.
	breakFor = 10 * time.Second
	// retryShare is what one first try adds to the retry budget, in thousandths of a retry: retries add at most a tenth to
	// a vendor's load. retryMost is how many may be saved up, for a vendor that has few calls.
	retryShare = 100
	retryMost  = 10 * 1000
)

// Breaker is one vendor's circuit and retry budget. It is safe for concurrent use.
type Breaker struct {
	now func() time.Time

	mu       sync.Mutex
	failures int
	until    time.Time // open until then; zero is closed
	probing  bool      // one call is trying whether the vendor is back
	savings  int       // thousandths of a retry
}

// NewBreaker is a closed circuit with a full retry budget.
func NewBreaker(now func() time.Time) *Breaker { return &Breaker{now: now, savings: retryMost} }

// Ready reports whether a call would be let through now.
func (b *Breaker) Ready() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed()
}

func (b *Breaker) closed() bool {
	return b.until.IsZero() || !b.probing && !b.now().Before(b.until)
}

// Retry takes one retry out of the budget; false if it is used up or the circuit is open.
func (b *Breaker) Retry() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed() || b.savings < 1000 {
		return false
	}
	b.savings -= 1000
	return true
}

// begin lets a call through or not. Once an open circuit's time is over, the first call is let through alone.
func (b *Breaker) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed() {
		return false
	}
	b.probing = !b.until.IsZero()
	b.savings = min(b.savings+retryShare, retryMost)
	return true
}

// end takes in how a call went. known is false when it says nothing of the vendor, as when the caller left.
func (b *Breaker) end(well, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	switch {
	case !known:
	case well:
		b.failures, b.until = 0, time.Time{}
	default:
		if b.failures++; b.failures >= breakAfter {
			b.until = b.now().Add(breakFor)
		}
	}
}

// Guarded is a provider behind its circuit: while that is open, Do fails at once and the vendor is left in peace.
type Guarded struct {
	Provider
	Breaker *Breaker
}

// Do sends one attempt if the circuit lets it. A vendor is ill when it cannot be reached, does not answer, or answers 5xx;
// 4xx are the caller's or our account's matter.
func (g Guarded) Do(ctx context.Context, r Request) (*Response, error) {
	if !g.Breaker.begin() {
		return nil, &Error{Kind: KindOpen, Provider: g.Name(), Err: errors.New("the provider failed repeatedly and is left in peace for some seconds")}
	}
	resp, err := g.Provider.Do(ctx, r)
	var pe *Error
	switch {
	case err == nil:
		g.Breaker.end(resp.Status < http.StatusInternalServerError, true)
	case errors.As(err, &pe) && (pe.Kind == KindCanceled || pe.Kind == KindRequest):
		g.Breaker.end(false, false)
	default:
		g.Breaker.end(false, ctx.Err() == nil)
	}
	return resp, err
}
