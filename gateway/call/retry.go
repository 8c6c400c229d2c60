package call

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/meter"
)

const (
	// repeatFor is how long a repeat still counts as a retry of the first try. SDKs give up after seconds, job queues come
	// back within minutes; see docs/decisions/0012.
	repeatFor = 10 * time.Minute
	// maxRepeats bounds the memory of one half of the window: some 100 bytes each.
	maxRepeats = 50_000
)

// Repeats remembers which request was tried first, by a digest keyed with a secret that dies with the process. It lives in
// memory only: nothing of it is stored, and two processes cannot compare theirs. It is safe for concurrent use.
type Repeats struct {
	now    func() time.Time
	secret []byte

	mu         sync.Mutex
	young, old map[[32]byte]*firstTry // two halves: the older one is dropped whole
	youngSince time.Time
}

// firstTry is the first event of a request, and whether its latest try failed.
type firstTry struct {
	event  id.Event
	failed bool
}

// NewRepeats is an empty window with a secret of its own.
func NewRepeats(now func() time.Time) *Repeats {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // it never fails: the program ends first
	return &Repeats{now: now, secret: secret, young: map[[32]byte]*firstTry{}, old: map[[32]byte]*firstTry{}, youngSince: now()}
}

func (w *Repeats) key(in Input) [32]byte {
	h := hmac.New(sha256.New, w.secret)
	h.Write([]byte(string(in.Caller.TenantID) + "\n" + string(in.Caller.KeyID) + "\n"))
	h.Write(in.Request.Digest[:])
	return [32]byte(h.Sum(nil))
}

// find is the first try of a request, if it is still in the window.
func (w *Repeats) find(key [32]byte) (firstTry, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f := w.lookup(key); f != nil {
		return *f, true
	}
	return firstTry{}, false
}

func (w *Repeats) lookup(key [32]byte) *firstTry {
	if w.now().Sub(w.youngSince) >= repeatFor/2 || len(w.young) >= maxRepeats {
		w.old, w.young, w.youngSince = w.young, map[[32]byte]*firstTry{}, w.now()
	}
	if f := w.young[key]; f != nil {
		return f
	}
	return w.old[key]
}

// note keeps how a try of a request ended; first is what the request's tries link to.
func (w *Repeats) note(key [32]byte, first id.Event, failed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lookup(key)
	w.young[key] = &firstTry{event: first, failed: failed}
}

// linkRetry says which earlier call this one repeats: the one its caller names; else, for a try that an SDK counts as a
// retry, the first with the same request; else the first with the same request if that failed. The same request again after
// an answer is new work: nothing is concluded from two contents being alike but that a failure was tried again.
func (r *Runner) linkRetry(ctx context.Context, in *Input) error {
	q := &in.Request
	if q.RetryOf != "" {
		if err := r.resolveRetry(ctx, in.Caller, q); err != nil {
			return err
		}
	} else if r.Repeats != nil {
		if f, ok := r.Repeats.find(r.Repeats.key(*in)); ok && (q.RetryCount > 0 || f.failed) {
			q.RetryOf = string(f.event)
		}
	}
	if q.RetryOf != "" {
		q.RetryCount = max(q.RetryCount, 1)
	}
	return nil
}

// resolveRetry turns whatever id a caller has of the earlier call into the event of its first try.
func (r *Runner) resolveRetry(ctx context.Context, c meter.Caller, q *meter.Request) error {
	if r.FindEvent == nil {
		return nil
	}
	e, err := r.FindEvent(ctx, c.TenantID, q.RetryOf)
	switch {
	case fault.KindOf(err) == fault.KindNotFound || err == nil && e.Livemode != c.Livemode:
		return fault.Field(fault.KindInvalid, "INVALID_INPUT", "X-P402-Retry-Of", "is not the id of an earlier event")
	case err != nil:
		if _, refusal := fault.As(err); refusal {
			return err
		}
		return fault.New(fault.KindUnavailable, "CONTROL_UNAVAILABLE", "the earlier event cannot be looked up now").Because(err)
	}
	q.RetryOf = string(e.ID)
	if e.RetryOf != "" {
		q.RetryOf = e.RetryOf
	}
	return nil
}

// noteTry remembers a finished call for the tries that may follow.
func (r *Runner) noteTry(in Input, e meter.Event) {
	if r.Repeats == nil || e.ID == "" {
		return
	}
	first := e.ID
	if e.RetryOf != "" {
		first = id.Event(e.RetryOf)
	}
	r.Repeats.note(r.Repeats.key(in), first, !e.Success)
}
