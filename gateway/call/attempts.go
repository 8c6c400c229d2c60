package call

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"p402.io/p402/internal/crash"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/provider"
	"p402.io/p402/meter"
)

// maxPause is the longest wait before the same vendor is tried again; the wait is drawn at random below it, so that
// callers who failed together do not come back together.
const maxPause = 300 * time.Millisecond

// begin calls vendors in their order and returns once one's status is known that is worth passing on, or all have failed.
// Nothing has been sent to the client until then, so a fallback is never seen as anything but a later first byte. Every try
// is an attempt on the event; which vendor and model served is on the event beside what was asked for.
func (r *Runner) begin(ctx context.Context, in Input, e meter.Event, v run) *try {
	t := &try{r: r, in: in, event: e, v: v}
	ctx, t.cancel = context.WithCancel(ctx)
	t.dial(ctx)
	for {
		next, ok := t.another(ctx)
		if !ok {
			t.keepOurTroubles(ctx)
			return t
		}
		t.abandon()
		t.v.Target = next
		t.dial(ctx)
	}
}

// dial is one attempt, up to the vendor's status.
func (t *try) dial(ctx context.Context) {
	vendor, api := t.v.Vendor, t.v.API
	if vendor == "" {
		vendor = t.v.Provider.Name()
	}
	if api == "" {
		api = t.in.API
	}
	t.parser = provider.NewUsageParser(api, vendor)
	t.attempt = meter.Attempt{Number: len(t.failed) + 1, Provider: t.v.Provider.Name(), Model: t.v.Model, StartedAt: t.r.Now(), Simulated: t.v.Provider.Simulated()}
	t.event.Provider, t.event.Simulated = t.attempt.Provider, t.attempt.Simulated
	body, err := t.in.Upstream(t.in.Body, t.v.Target)
	if err != nil {
		t.fail(err, meter.CauseVendorFailed, false)
		return
	}
	crash.Point("call.dial")
	resp, err := t.v.Provider.Do(ctx, provider.Request{Route: provider.Route(t.in.Request.Route), Body: body, Header: t.in.Header, Stream: t.in.Request.Stream,
		UsageAddedByUs: t.in.Request.Stream && !provider.HasMember(t.in.Body, "stream_options")})
	crash.Point("call.dialled")
	if err != nil {
		t.vendorError(ctx, err)
		return
	}
	t.upstream, t.status, t.stream = resp, resp.Status, resp.Stream
	t.header = provider.PassingHeaders(resp.Header)
	t.attempt.Status, t.sentUp, t.hides = resp.Status, true, t.hidesUsage()
	t.parser.Header(resp.Header)
}

// another is where to go next, if this attempt failed in a way that another may not and somebody is left to ask.
func (t *try) another(ctx context.Context) (Target, bool) {
	if t.gone || ctx.Err() != nil {
		return Target{}, false
	}
	for len(t.v.rest) > 0 {
		next := t.v.rest[0]
		again := next.Provider.Name() == t.v.Provider.Name() && next.Model == t.v.Model
		if again && !t.mayRepeat() || !again && !t.mayPassOn() {
			if !again {
				return Target{}, false
			}
			t.v.rest = t.v.rest[1:]
			continue
		}
		t.v.rest = t.v.rest[1:]
		if next.Ready != nil && !next.Ready() || again && !pause(ctx) {
			continue
		}
		return next, true
	}
	return Target{}, false
}

// keepOurTroubles turns a vendor's refusal of this installation (its key, its account, its unpaid bill) into our failure:
// the caller's key is good, and 402 on this surface asks for an x402 payment and nothing else.
func (t *try) keepOurTroubles(ctx context.Context) {
	if t.failure != nil || t.status != http.StatusUnauthorized && t.status != http.StatusPaymentRequired &&
		t.status != http.StatusForbidden && t.status != http.StatusProxyAuthRequired {
		return
	}
	t.r.Log.ErrorContext(ctx, "the provider refuses this installation's account", "provider", t.v.Provider.Name(), "status", t.status, "event_id", t.event.ID)
	t.fail(fault.New(fault.KindUpstream, "PROVIDER_ERROR", "the provider does not accept this gateway's account at present; its operator has to look"), meter.CauseVendorStatus, true)
}

// mayPassOn reports whether another vendor may do better. 400 and its like are the caller's own and go back as they are;
// 401 and 403 are our account's at this vendor, 404 a model it does not have.
func (t *try) mayPassOn() bool {
	if t.failure != nil {
		return t.cause == meter.CauseVendorFailed || t.cause == meter.CauseVendorTimeout
	}
	switch t.status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	}
	return t.status >= http.StatusInternalServerError
}

// mayRepeat reports whether the same vendor may be asked once more: only where the first try certainly cost nothing,
// because it never arrived or was answered with an error that no vendor bills.
func (t *try) mayRepeat() bool {
	if t.failure != nil {
		return !t.sentUp
	}
	return t.status == http.StatusRequestTimeout || t.status >= http.StatusInternalServerError
}

func pause(ctx context.Context) bool {
	wait := time.NewTimer(rand.N(maxPause)) // no secret: it only spreads callers in time
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// abandon books a failed attempt and clears the way for the next. It bought nothing: an error status is not billed, and
// a vendor that failed without a count costs nothing until reconciled, with the estimate kept on the event.
func (t *try) abandon() {
	now := t.r.Now()
	if t.upstream != nil {
		if err := t.upstream.Close(); err != nil {
			t.r.Log.Debug("closing vendor connection", "event_id", t.event.ID, "err", err)
		}
	}
	t.attempt.FinishedAt, t.attempt.Cause = now, t.cause
	if t.attempt.Cause == meter.CauseNone {
		t.attempt.Cause = meter.CauseVendorStatus
	}
	t.measure(now)
	if t.cost.USD != nil && t.cost.USD.Sign() > 0 {
		t.addEstimate(*t.cost.USD)
	}
	zero := money.Zero
	t.attempt.Measured, t.attempt.Cost = t.measured, t.cost
	t.attempt.Cost.USD, t.attempt.Cost.Components = &zero, nil
	t.failed = append(t.failed, t.attempt)
	t.upstream, t.failure, t.cause, t.sentUp, t.status, t.stream, t.header = nil, nil, meter.CauseNone, false, 0, false, nil
	t.measured, t.cost = meter.Measured{}, meter.Cost{}
}

// measure counts and prices what is known of the present attempt.
func (t *try) measure(now time.Time) {
	if !t.sentUp {
		return
	}
	status := t.attempt.Status
	if status == 0 {
		status = 200 // sent, nothing heard: what it cost is unknown, not nothing
	}
	t.measured = t.parser.Finish(t.endedBy(), status, t.in.Body)
	t.cost = t.v.card.Price(t.measured, meter.PricedCall{Provider: t.v.Prices, Region: t.v.Region, Model: t.v.Model, StartedAt: t.attempt.StartedAt, At: now})
}

func (t *try) addEstimate(usd money.USD) {
	if t.estimate != nil {
		usd = t.estimate.Add(usd)
	}
	t.estimate = &usd
}
