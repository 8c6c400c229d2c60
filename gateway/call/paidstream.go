package call

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/provider"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

// maxAhead bounds what is read of a stream before its payment is there: then the vendor waits, as for a slow client.
const maxAhead = 1 << 20

// streamPaid sells a stream (docs/decisions/0025). The vendor's first good frame proves the work, so the payment is captured
// there and collected while the vendor goes on; from WaitFor on the client gets frame by frame, the last one after the closing.
func (r *Runner) streamPaid(ctx context.Context, res Result, t *try, o order, out Sink) (Result, error) {
	first, good := t.firstGood()
	onCredit := o.Terms.WaitFor == settlement.WaitAuthorized
	if good && o.metered() && !onCredit { // what is to be collected is known at the end
		first, good = append(first, t.collect(maxHeldBytes)...), false
	}
	if !good {
		return r.settleHeld(ctx, res, t, o, first, out)
	}
	var err error
	if !o.metered() {
		if o.Payment, err = r.capture(ctx, o.Payment); err != nil {
			return res, err
		}
	}
	a := t.readAhead()
	defer a.stop()
	if !o.metered() {
		if first, o.Payment, err = r.holdBack(ctx, a, first, o.Payment); err != nil {
			a.stop()
			return r.unsold(ctx, res, t, o.Payment, err)
		}
	}
	res.Started = true
	head := r.head(res, t)
	if head.Payment, head.Extensions = &o.Payment, r.receipt(o.Payment); !onCredit {
		head.Event.ReceiptStatus, head.Event.Decision = "settled", "settled"
	}
	gone := out.Start(head) != nil
	for _, f := range first {
		gone = gone || t.send(out, f)
	}
	for more := true; more && !gone; {
		var f provider.Frame
		if f, more = <-a.frames; more {
			gone = t.send(out, f)
		}
	}
	a.stop()
	if gone && !t.complete {
		t.clientGone()
	}
	t.gone = t.gone || gone
	return r.endStream(ctx, res, t, o, a.last, out)
}

// endStream books a stream that has begun to leave, gives its last frame out, and gives back what was not earned. By the meter
// everything that was sent is earned, however the stream ended.
func (r *Runner) endStream(ctx context.Context, res Result, t *try, o order, last []provider.Frame, out Sink) (Result, error) {
	e := t.finish(r.Now())
	t.byMeter = o.metered()
	earned := t.sent > 0 && (t.byMeter || !t.vendorsFault())
	c, p, err := r.closeStream(t, o, e, earned)
	if err != nil {
		return res, err
	}
	res.Event = c.Event
	if err := r.close(ctx, c); err != nil {
		r.Log.ErrorContext(ctx, "closing failed", "request_id", e.RequestID, "event_id", e.ID, "err", err)
		return res, err
	}
	if o.metered() {
		r.Sale.Settlers[p.Terms.Network].Kick()
	}
	r.deliver(ctx, c.Event, last, t, out)
	if !earned && p.State != settlement.StateVoided {
		r.giveBack(ctx, p)
	}
	if t.vendorsFault() && t.failure != nil {
		return res, t.failure
	}
	return res, nil
}

// closeStream is the closing of a stream that has begun to leave. An exact payment was captured at its beginning.
func (r *Runner) closeStream(t *try, o order, e meter.Event, earned bool) (Closing, settlement.Payment, error) {
	p, move := o.Payment, (*settlement.Move)(nil)
	if o.metered() {
		evidence, err := settlement.Evidence{Kind: settlement.EvidenceVoid, Reason: "work_failed"}, error(nil)
		if earned {
			evidence, err = o.capture(e)
		}
		if err != nil {
			return Closing{}, p, err
		}
		next, m, err := p.Advance(evidence, r.Now())
		if err != nil {
			return Closing{}, p, err
		}
		m.Actor = "call"
		p, move = next, &m
	}
	revenue := money.Zero
	if e.ReceiptStatus = "pending"; earned {
		revenue = p.Amount.USD()
	}
	e.RevenueUSD = &revenue
	c := t.closing(e, move)
	c.Payment = p.ID
	return c, p, nil
}

// unsold ends a stream whose payment did not come, or not in time: none of it has left.
func (r *Runner) unsold(ctx context.Context, res Result, t *try, p settlement.Payment, why error) (Result, error) {
	zero := money.Zero
	if t.cause == meter.CauseNone || t.cause == meter.CauseClientGone {
		t.cause, t.failure, t.status = meter.CausePaymentRefused, why, http.StatusPaymentRequired
	}
	e := t.finish(r.Now())
	e.ReceiptStatus, e.RevenueUSD = "failed", &zero
	c := t.closing(e, nil)
	c.Payment, res.Event = p.ID, e
	if err := r.close(ctx, c); err != nil {
		r.Log.ErrorContext(ctx, "closing failed", "request_id", e.RequestID, "event_id", e.ID, "err", err)
	}
	return res, why
}

// capture makes the payment owed while the call runs.
func (r *Runner) capture(ctx context.Context, p settlement.Payment) (settlement.Payment, error) {
	next, move, err := p.Advance(settlement.Evidence{Kind: settlement.EvidenceCapture}, r.Now())
	if err != nil {
		return p, err
	}
	move.Actor = "call"
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.CloseGrace)
	defer cancel()
	if err := r.Store.Capture(ctx, move); err != nil {
		return p, fault.New(fault.KindUnavailable, "LEDGER_UNAVAILABLE", "the answer is withheld: its payment could not be booked; nothing was collected").Because(err)
	}
	return next, nil
}

// holdBack reads ahead until the payment has reached WaitFor. A vendor that breaks off meanwhile ends the wait: the payment is
// voided, or if it is on its way already owed back.
func (r *Runner) holdBack(ctx context.Context, a *ahead, held []provider.Frame, p settlement.Payment) ([]provider.Frame, settlement.Payment, error) {
	type arrival struct {
		payment settlement.Payment
		err     error
	}
	arrived := make(chan arrival, 1)
	go func() {
		got, err := r.await(ctx, p)
		arrived <- arrival{got, err}
	}()
	size, broke, frames := 0, false, a.frames
	for {
		select {
		case got := <-arrived:
			if !broke {
				return held, got.payment, got.err
			}
			if got.err == nil {
				r.giveBack(ctx, got.payment)
				return nil, got.payment, &PaidUnserved{Payment: got.payment, cause: a.t.brokeOff()}
			}
			return nil, got.payment, a.t.brokeOff()
		case f, more := <-frames:
			if !more {
				if frames, broke = nil, !a.t.complete || a.t.cause != meter.CauseNone; broke {
					r.voided(ctx, p, "work_failed") // the wait then ends by itself
				}
				continue
			}
			held = append(held, f)
			if size += len(f.Raw); size > maxAhead {
				frames = nil
			}
		}
	}
}

// voided ends a payment of which nothing was signed; false if it is beyond that.
func (r *Runner) voided(ctx context.Context, p settlement.Payment, reason string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.CloseGrace)
	defer cancel()
	_, move, err := p.Advance(settlement.Evidence{Kind: settlement.EvidenceVoid, Reason: reason}, r.Now())
	if err != nil {
		return false
	}
	move.Actor = "call"
	return r.Store.Void(ctx, move) == nil
}

// giveBack undoes a sale that was not earned: void while nothing is signed, a refund due once it is collected. What cannot be
// written now is the sweeper's, as the hold ends here.
func (r *Runner) giveBack(ctx context.Context, p settlement.Payment) {
	if r.voided(ctx, p, "answer_cut") {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.CloseGrace)
	defer cancel()
	if p.State == settlement.StateIncluded || p.State == settlement.StateFinal {
		if err := r.Store.DueRefund(ctx, p, "answer_cut", r.Now()); err != nil {
			r.Log.WarnContext(ctx, "refund not noted", "payment_id", p.ID, "err", err)
		}
	}
	_ = r.release(ctx, p, nil) // it returns what it was given
}

// firstGood reads up to the first frame that has anything in it and is no error. False: the stream is over without one.
func (t *try) firstGood() (held []provider.Frame, good bool) {
	for {
		f, ok := t.next()
		if !ok {
			return held, false
		}
		held = append(held, f)
		switch {
		case provider.EndsStream(f):
			t.drain()
			return held, false
		case t.cause != meter.CauseNone:
			return append(held, t.collect(maxAhead)...), false
		case len(f.Data) > 0:
			return held, true
		}
	}
}

// send hands one frame to the client; gone says that nobody is there any more.
func (t *try) send(out Sink, f provider.Frame) (gone bool) {
	err := out.Frame(f)
	if err == nil || errors.Is(err, context.Canceled) { // in that case it was written, and then the client was seen to be gone
		t.sent += int64(len(f.Raw))
	}
	return err != nil
}

// brokeOff is what a client is told of a vendor that ended its answer badly.
func (t *try) brokeOff() error {
	if t.failure != nil && !errors.Is(t.failure, errClientGone) {
		return t.failure
	}
	return fault.New(fault.KindUpstream, "PROVIDER_ERROR", "the provider's answer broke off")
}

// ahead reads a stream in front of the client. Its goroutine has the try to itself until frames is closed.
type ahead struct {
	t      *try
	frames chan provider.Frame
	halt   chan struct{}
	once   sync.Once
	last   []provider.Frame // the frame that ends the stream, once frames is closed
}

func (t *try) readAhead() *ahead {
	a := &ahead{t: t, frames: make(chan provider.Frame), halt: make(chan struct{})}
	go a.read()
	return a
}

func (a *ahead) read() {
	defer close(a.frames)
	for {
		f, ok := a.t.next()
		if !ok {
			return
		}
		if provider.EndsStream(f) {
			a.last = []provider.Frame{f}
			a.t.drain()
			return
		}
		select {
		case a.frames <- f:
		case <-a.halt: // nobody takes it any more
		}
	}
}

// stop ends the vendor's work if it is not over, and returns once the try is the caller's again.
func (a *ahead) stop() {
	a.once.Do(func() {
		close(a.halt)
		a.t.cancel()
	})
	for range a.frames { //nolint:revive // emptied, so that the reader can end
	}
}
