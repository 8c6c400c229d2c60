package call

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"p402.io/p402/internal/crash"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
)

// Spool keeps closings on the local disk while the store is away; internal/spool is one.
type Spool interface {
	// Keep returns once the record is durable; the same name again replaces it.
	Keep(name string, record []byte) error
	// Drain hands each record to take and forgets those that it takes, sets aside those that are no good, and stops at an error.
	Drain(ctx context.Context, take func(ctx context.Context, record []byte) (good bool, err error)) (int, error)
}

const (
	// keepAfter is how long a call waits for the store before its closing goes to the spool: its client need not wait longer.
	keepAfter = 2 * time.Second
	// stallAfter without one answer from the store, while some are waited for, and new calls are shed (O24).
	stallAfter = time.Second
	// maxOpening is how many calls may wait for their opening at once; more are shed before anything is sent.
	maxOpening = 4096
	// controlWait bounds the reads before a call: a store that hangs is a store that is away.
	controlWait = 2 * time.Second
)

// ErrShed is what new calls get while the store is away or behind: nothing was sent, and the client may come again.
var ErrShed = fault.New(fault.KindUnavailable, "CONTROL_UNAVAILABLE", "the ledger is behind or away; nothing was sent: try again in some seconds")

// pressure watches the store's answers to openings. Nothing but the time of the last answer and the number of those that wait is
// needed to tell a busy store from one that hangs.
type pressure struct {
	mu      sync.Mutex
	waiting int
	moved   time.Time // the last answer, or the first to wait after none did
}

// enter asks for a place; done gives it back and counts as an answer.
func (p *pressure) enter(now func() time.Time) (done func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := now()
	if p.waiting > 0 && at.Sub(p.moved) > stallAfter || p.waiting >= maxOpening {
		return nil, ErrShed
	}
	if p.waiting == 0 {
		p.moved = at
	}
	p.waiting++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.waiting--
		p.moved = now()
	}, nil
}

// close writes a closing and does not give up with the client. A store that does not answer within keepAfter loses it to the spool,
// from where it is drained: the write that hangs may still arrive, and whichever comes second finds the event closed. What moves a
// payment is never spooled: its answer must not leave before the payment is captured.
func (r *Runner) close(ctx context.Context, c Closing) error {
	ctx = context.WithoutCancel(ctx)
	if r.Spool == nil || c.PaymentMove != nil {
		return r.closeUntil(ctx, c, r.CloseGrace)
	}
	written := make(chan error, 1)
	r.late.Go(func() { written <- r.closeUntil(ctx, c, keepAfter) })
	wait := time.NewTimer(keepAfter)
	defer wait.Stop()
	select {
	case err := <-written:
		if err == nil || isAnswer(err) {
			return err
		}
	case <-wait.C:
	}
	if err := r.keep(c); err != nil {
		r.Log.ErrorContext(ctx, "a closing can be neither stored nor spooled", "request_id", c.Event.RequestID, "event_id", c.Event.ID, "err", err)
		return r.closeUntil(ctx, c, r.CloseGrace)
	}
	r.Log.WarnContext(ctx, "the store is away: closing spooled", "request_id", c.Event.RequestID, "event_id", c.Event.ID)
	return nil
}

// isAnswer tells what the store has decided from a store that is away.
func isAnswer(err error) bool {
	_, refusal := fault.As(err)
	return refusal
}

// closeUntil tries until the store has decided or the grace is over; then the sweeper owns the event.
func (r *Runner) closeUntil(ctx context.Context, c Closing, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	for wait := 20 * time.Millisecond; ; wait *= 2 {
		err := r.Store.Close(ctx, c)
		if err == nil || isAnswer(err) {
			return err
		}
		pause := time.NewTimer(min(wait, time.Second))
		select {
		case <-ctx.Done():
			pause.Stop()
			return err
		case <-pause.C:
		}
	}
}

// Wait returns once no write of this runner is on its way any more.
func (r *Runner) Wait() { r.late.Wait() }

func (r *Runner) keep(c Closing) error {
	raw, err := json.Marshal(c)
	if err != nil {
		return err
	}
	crash.Point("spool.keep")
	err = r.Spool.Keep(string(c.Event.ID), raw)
	crash.Point("spool.kept")
	return err
}

// neverRan keeps, for an opening whose outcome is unknown, that nothing was sent: should its intent be in the ledger after all, it
// is closed at no cost instead of being taken for a call that a crash has cut.
func (r *Runner) neverRan(ctx context.Context, e meter.Event) {
	if r.Spool == nil {
		return
	}
	now, zero := r.Now(), money.Zero
	e.State, e.Cause, e.StatusCode, e.FinalizedAt = meter.EventFailed, meter.CauseStoreAway, 503, &now
	e.CostUSD, e.CostState, e.ReservedUSD = &zero, meter.CostPriced, money.Zero
	if err := r.keep(Closing{Event: e}); err != nil {
		r.Log.ErrorContext(ctx, "an opening of unknown outcome is not spooled: the sweeper will estimate it", "event_id", e.ID, "err", err)
	}
}

// Drain closes what was spooled, for as long as the store answers. Closing twice is harmless: the second finds it done.
func (r *Runner) Drain(ctx context.Context) (int, error) {
	if r.Spool == nil {
		return 0, nil
	}
	return r.Spool.Drain(ctx, func(ctx context.Context, record []byte) (bool, error) {
		var c Closing
		if err := json.Unmarshal(record, &c); err != nil {
			return false, nil // set aside: the next ones are no worse for it
		}
		crash.Point("spool.drain")
		err := r.Store.Close(ctx, c)
		crash.Point("spool.drained")
		switch {
		case err == nil:
			r.Log.InfoContext(ctx, "spooled closing stored", "event_id", c.Event.ID)
		case errors.Is(err, ErrClosed): // it arrived by itself, or never began
		case isAnswer(err):
			r.Log.ErrorContext(ctx, "a spooled closing is refused", "event_id", c.Event.ID, "err", err)
			return false, nil
		default:
			return true, err
		}
		return true, nil
	})
}
