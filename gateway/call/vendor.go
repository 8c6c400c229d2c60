package call

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"p402.io/p402/internal/crash"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/journal"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/provider"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

// maxHeldBytes bounds a paid answer that waits for its payment.
const maxHeldBytes = 32 << 20

// serve runs the vendor for an open event and lets the answer pass: a stream frame by frame, a plain body once the
// event is closed. The last frame of a stream waits for the closing too, so no client sees an end that is not booked.
func (r *Runner) serve(ctx context.Context, in Input, res Result, v run, out Sink) (Result, error) {
	t := r.begin(ctx, in, res.Event, v)
	defer t.end()
	var held []provider.Frame
	if t.streaming() {
		res.Started = true
		if err := out.Start(r.head(res, t)); err != nil {
			t.clientGone()
		}
		held = t.pass(out)
	} else {
		held = t.collect(maxHeldBytes)
	}
	crash.Point("call.finish")
	res.Event = t.finish(r.Now())
	crash.Point("call.close")
	if err := r.close(ctx, t.closing(res.Event, nil)); err != nil {
		r.Log.ErrorContext(ctx, "closing failed", "request_id", res.Event.RequestID, "event_id", res.Event.ID, "err", err)
		if !res.Started {
			return res, fault.New(fault.KindUnavailable, "LEDGER_UNAVAILABLE", "the answer is withheld: the call could not be booked").Because(err)
		}
		return res, err
	}
	crash.Point("call.closed")
	if !res.Started {
		if t.failure != nil {
			return res, t.failure
		}
		res.Started = true
		if err := out.Start(r.head(res, t)); err != nil {
			t.gone = true
		}
	}
	r.deliver(ctx, res.Event, held, t, out)
	if t.failure != nil && !errors.Is(t.failure, errClientGone) {
		return res, t.failure
	}
	return res, nil
}

func (r *Runner) head(res Result, t *try) Head {
	return Head{Status: t.status, Stream: t.stream, Header: t.header, Event: res.Event, Decision: res.Decision, Provider: res.Event.Provider}
}

// deliver sends what was held back and notes that it left.
func (r *Runner) deliver(ctx context.Context, e meter.Event, held []provider.Frame, t *try, out Sink) {
	whole := !t.gone
	crash.Point("call.answer")
	for _, f := range held {
		if !whole {
			break
		}
		err := out.Frame(f)
		if whole = err == nil; whole || errors.Is(err, context.Canceled) { // written, and then the client was seen to be gone
			t.sent += int64(len(f.Raw))
		}
	}
	if whole && out.End(e) != nil {
		whole = false
	}
	d := Delivery{EventID: e.ID, Tenant: e.TenantID, At: r.Now(), Bytes: t.sent, Whole: whole && t.complete}
	d.Earned = d.Whole || t.sent > 0 && (t.byMeter || !t.vendorsFault())
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.CloseGrace)
	defer cancel()
	if err := r.Store.Deliver(ctx, d); err != nil {
		r.Log.WarnContext(ctx, "delivery not recorded", "event_id", e.ID, "err", err)
	}
	crash.Point("call.delivered")
}

var errClientGone = errors.New("the client is gone")

// try is one attempt at a vendor while it runs.
type try struct {
	r        *Runner
	in       Input
	event    meter.Event
	v        run
	upstream *provider.Response
	parser   *provider.UsageParser
	failed   []meter.Attempt // the attempts before this one
	estimate *money.USD      // what those may have cost, should their vendors bill after all
	attempt  meter.Attempt
	measured meter.Measured
	cost     meter.Cost

	status   int
	stream   bool
	hides    bool // the usage chunk, which only we asked for
	header   map[string]string
	failure  error // what the caller is told when nothing was sent; nil for a vendor's own answer
	cause    meter.Cause
	sentUp   bool // the vendor may have started work
	complete bool
	gone     bool
	byMeter  bool // sold by what was sent
	sent     int64
	cancel   context.CancelFunc
}

func (t *try) end() {
	if t.upstream != nil {
		if err := t.upstream.Close(); err != nil {
			t.r.Log.Debug("closing vendor connection", "event_id", t.event.ID, "err", err)
		}
	}
	t.cancel()
}

func (t *try) streaming() bool { return t.failure == nil && t.stream && t.status < 400 }

func (t *try) fail(err error, cause meter.Cause, sent bool) {
	t.failure, t.cause, t.sentUp = err, cause, sent
	t.status = 502
}

func (t *try) clientGone() {
	t.gone, t.cause = true, meter.CauseClientGone
	t.failure = errClientGone
}

// vendorError notes what kept a vendor from answering.
func (t *try) vendorError(ctx context.Context, err error) {
	var pe *provider.Error
	sent := !errors.As(err, &pe) || pe.Sent
	switch said := VendorFault(ctx, err); {
	case fault.KindOf(said) == fault.KindUpstreamTimeout:
		t.fail(said, meter.CauseVendorTimeout, sent)
		t.status = 504
	case ctx.Err() != nil:
		t.fail(errClientGone, meter.CauseClientGone, sent)
		t.gone, t.status = true, 499
	default:
		t.fail(said, meter.CauseVendorFailed, sent)
		if fault.KindOf(said) == fault.KindUnavailable {
			t.status = 503
		}
	}
}

// VendorFault says in our words what kept a vendor from answering; the vendor's text stays out of it.
func VendorFault(ctx context.Context, err error) *fault.Error {
	var pe *provider.Error
	switch {
	case errors.As(err, &pe) && pe.Kind == provider.KindTimeout, errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fault.New(fault.KindUpstreamTimeout, "PROVIDER_TIMEOUT", "the provider did not answer in time").Because(err)
	case pe != nil && pe.Kind == provider.KindOpen:
		return fault.New(fault.KindUnavailable, "NO_PROVIDER_AVAILABLE", "the provider of this model is failing; try again in some seconds").Because(err)
	case pe != nil && pe.Kind == provider.KindRequest:
		return fault.New(fault.KindUnavailable, "NO_PROVIDER_AVAILABLE", "the provider of this model does not serve this route").Because(err)
	}
	return fault.New(fault.KindUpstream, "PROVIDER_ERROR", "the provider failed before it answered").Because(err)
}

// next is the vendor's next frame as the client gets it: counted, under our id, without what only we asked for; false at the end.
func (t *try) next() (provider.Frame, bool) {
	for {
		f, err := t.upstream.Next()
		if err != nil {
			t.ended(err)
			return provider.Frame{}, false
		}
		t.read(f)
		if t.hides && provider.IsUsageOnlyChunk(f.Data) {
			continue
		}
		if f = t.rewrite(f); t.hides {
			f = provider.HideUsage(f)
		}
		return f, true
	}
}

// pass hands a stream's frames to the sink as they come, and returns the last one for after the closing.
func (t *try) pass(out Sink) []provider.Frame {
	for !t.gone {
		f, ok := t.next()
		switch {
		case !ok:
			return nil
		case provider.EndsStream(f):
			t.drain()
			return []provider.Frame{f}
		}
		if err := out.Frame(f); err != nil {
			t.clientGone()
		}
		crash.Point("call.frame")
		t.sent += int64(len(f.Raw))
	}
	return nil
}

// hidesUsage reports whether the vendor was asked for a usage chunk that the caller did not ask for; only the chat form
// has one to ask for.
func (t *try) hidesUsage() bool {
	chat := t.in.Request.Route == meter.RouteChat || t.in.Request.Route == meter.RouteCompletion
	return t.stream && chat && !provider.AsksUsage(t.in.Body)
}

// drain reads what may follow a stream's last frame, which is nothing but the end.
func (t *try) drain() {
	for {
		f, err := t.upstream.Next()
		if err != nil {
			t.ended(err)
			return
		}
		t.parser.Frame(f.Event, f.Data)
	}
}

// collect holds a whole answer back: plain bodies always, streams when they wait for a payment.
func (t *try) collect(limit int) []provider.Frame {
	if t.failure != nil {
		return nil
	}
	var held []provider.Frame
	size := 0
	for {
		f, ok := t.next()
		if !ok {
			return held
		}
		if !t.stream && t.status < 400 && provider.CheckAnswer(f.Data) != nil {
			t.fail(fault.New(fault.KindUpstream, "PROVIDER_ERROR", "the provider's answer is not an answer"), meter.CauseVendorFailed, true)
			return nil
		}
		if size += len(f.Raw); size > limit {
			t.fail(fault.New(fault.KindUpstream, "PROVIDER_ERROR", "the provider's answer is too large to be held"), meter.CauseVendorFailed, true)
			return nil
		}
		held = append(held, f)
	}
}

// read counts a frame on its way, and notes a vendor that fails in the middle of a stream.
func (t *try) read(f provider.Frame) {
	t.parser.Frame(f.Event, f.Data)
	if t.stream && t.cause == meter.CauseNone && provider.IsErrorFrame(f) {
		t.cause = meter.CauseVendorFailed
	}
	if t.event.FirstByteMS == nil && len(f.Data) > 0 {
		ms := t.r.Now().Sub(t.event.ReceivedAt).Milliseconds()
		t.event.FirstByteMS = &ms
	}
}

func (t *try) rewrite(f provider.Frame) provider.Frame {
	if t.status >= 400 {
		return f
	}
	if t.event.UpstreamID == "" {
		t.event.UpstreamID = provider.TopLevelID(f.Data)
	}
	if t.event.CompletionID == "" {
		return f
	}
	return provider.RewriteFrame(f, t.event.CompletionID)
}

// ended notes how the vendor's answer stopped.
func (t *try) ended(err error) {
	if errors.Is(err, io.EOF) {
		t.complete = true
		return
	}
	if t.gone {
		return
	}
	var pe *provider.Error
	if errors.As(err, &pe) && pe.Kind == provider.KindCanceled {
		t.clientGone()
		return
	}
	t.cause = meter.CauseVendorCut
	if errors.As(err, &pe) && pe.Kind == provider.KindTimeout {
		t.cause = meter.CauseVendorTimeout
	}
	t.failure = fault.New(fault.KindUpstream, "PROVIDER_ERROR", "the provider's answer broke off").Because(err)
}

// endedBy is how the usage parser names the end of an answer.
func (t *try) endedBy() string {
	switch {
	case t.complete:
		return "eof"
	case t.gone:
		return "client_cancel"
	}
	return "cut"
}

// finish turns what was seen into a final event: usage, cost and how sure both are.
func (t *try) finish(now time.Time) meter.Event {
	e := t.event
	t.attempt.FinishedAt, t.attempt.Cause, t.attempt.UpstreamID = now, t.cause, e.UpstreamID
	t.measure(now)
	t.attempt.Measured, t.attempt.Cost = t.measured, t.cost
	e.FinalizedAt, e.StatusCode, e.Cause = &now, t.status, t.cause
	e.LatencyMS = now.Sub(e.ReceivedAt).Milliseconds()
	vendors := t.attempt.FinishedAt.Sub(t.attempt.StartedAt)
	for _, a := range t.failed {
		vendors += a.FinishedAt.Sub(a.StartedAt)
	}
	e.OverheadUS = max(now.Sub(e.ReceivedAt)-vendors, 0).Microseconds()
	e.ModelUsed = t.measured.Model
	if e.ModelUsed == "" && t.sentUp {
		e.ModelUsed = t.v.Model
	}
	e.Usage, e.UsageSource, e.UsageComplete = t.measured.Usage, t.measured.Source, t.measured.Complete
	e.Success = t.failure == nil && t.status < 400 && t.cause == meter.CauseNone
	e.State = meter.EventFinal
	if !e.Success {
		e.State = meter.EventFailed
		if e.Cause == meter.CauseNone {
			e.Cause = meter.CauseVendorStatus
		}
	}
	t.book(&e)
	if t.attempt.Cost.USD = e.CostUSD; e.CostUSD == nil || e.CostUSD.Sign() == 0 {
		t.attempt.Cost.Components = nil
	}
	e.Attempts = append(t.failed, t.attempt) // their costs sum to the event's (D12)
	return e
}

// book sets the event's cost. Unknown is null. A vendor that failed without reporting usage costs nothing, with our
// estimate kept beside it; a client that left pays for what was counted until then (PRODUCT §2).
func (t *try) book(e *meter.Event) {
	zero := money.Zero
	if t.cost.RowID != "" {
		e.PriceVersion = t.v.card.Version + "/" + t.cost.RowID
	}
	e.CostUSD, e.ReportedUSD, e.CostLines = t.cost.USD, t.cost.Reported, t.cost.Components
	switch {
	case !t.sentUp:
		e.CostUSD, e.CostState = &zero, meter.CostPriced
	case e.CostUSD == nil:
		e.CostState = meter.CostUnpriced
	case t.failedUncounted():
		t.addEstimate(*t.cost.USD)
		e.CostUSD, e.CostState, e.CostLines = &zero, meter.CostEstimated, nil
	case t.cost.Estimated:
		e.CostState = meter.CostEstimated
	case strings.HasPrefix(string(t.cost.Source), "reported"):
		e.CostState = meter.CostReported
	default:
		e.CostState = meter.CostPriced
	}
	e.EstimateUSD = t.estimate
}

// vendorsFault reports whether it was the vendor who did not bring the answer to its end.
func (t *try) vendorsFault() bool {
	return t.cause == meter.CauseVendorCut || t.cause == meter.CauseVendorFailed || t.cause == meter.CauseVendorTimeout
}

func (t *try) failedUncounted() bool {
	return t.vendorsFault() && t.measured.Source != "provider" && t.measured.Source != "partial"
}

// closing is the event with its journal entries, and what its reservations become.
func (t *try) closing(e meter.Event, move *settlement.Move) Closing {
	c := Closing{Event: e, PaymentMove: move, Actual: meter.Amount{Events: 1, Tokens: e.Usage.InputTokens + e.Usage.OutputTokens}}
	if e.CostUSD != nil {
		c.Actual.USD = *e.CostUSD
		if e.CostUSD.Sign() != 0 {
			c.Entries = journal.Move(journal.AccountCostOfCalls, journal.AccountProviderOwed, *e.CostUSD, "call")
		}
	}
	return c
}
