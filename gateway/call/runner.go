// Package call runs one AI call from Caller to receipt: quote, decision, payment, vendor, cost, ledger. It is the one
// room where metering and settlement meet, and knows no HTTP framework, no SQL and no chain library.
package call

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"p402.io/p402/internal/crash"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/provider"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/x402"
)

// Runner runs calls. Its fields are set once, before the first call.
type Runner struct {
	Store Store
	IDs   *id.Source
	Now   func() time.Time
	Log   *slog.Logger
	// Route lists where a call may go, the first choice first, each later one a fallback until a first byte has come; it
	// is never empty without a refusal that says why.
	Route func(a Ask) ([]Target, error)
	// FindEvent finds a tenant's event by any of its ids, for X-P402-Retry-Of; nil leaves that header unchecked.
	FindEvent func(ctx context.Context, tenant id.Tenant, anyID string) (meter.Event, error)
	// Repeats links tries of one request; nil leaves it to what callers say.
	Repeats *Repeats
	// Sale is nil while settlement is off: then no payment setting is read at all (law 8).
	Sale *Sale
	// CallTimeout bounds one call; CloseGrace bounds how long a closing is retried after the client is gone.
	CallTimeout time.Duration
	CloseGrace  time.Duration
	// Spool keeps closings while the store is away; nil: they are retried for CloseGrace, then the sweeper owns them.
	Spool Spool

	opening pressure
	late    sync.WaitGroup // writes that outlive their call
}

// Input is one call as a surface decoded it. Body is the caller's bytes; Upstream makes the vendor's bytes of them.
type Input struct {
	Caller   meter.Caller
	Request  meter.Request
	Body     []byte
	Workflow *meter.Workflow // set when the call came in where a workflow is sold
	Payment  *x402.Payment   // the payment that came with it, decoded; nil if none
	// PaymentError is why a payment header could not be read; the answer is an offer with that reason.
	PaymentError error
	Resource     string // absolute URL of what is bought
	// Upstream edits the body for the vendor: model name, owners taken out, usage asked for.
	Upstream func(body []byte, t Target) ([]byte, error)
	// Vendor is the one vendor that can serve the call, as the work it goes on with lies there; "" lets routing choose.
	Vendor string
	// Header is what of the caller's headers the vendor may see; nil for most.
	Header http.Header
	// API names the wire form for the usage parser, e.g. "openai.chat".
	API string
	// CompletionID is the prefix of the id the caller gets; "" keeps the vendor's.
	CompletionID string

	idempotencyTurn int // the how manieth call of its Idempotency-Key this is
}

// Head is what is known when the answer begins.
type Head struct {
	Status   int
	Stream   bool
	Header   map[string]string // vendor headers that may pass
	Event    meter.Event       // final for a plain answer, still open for a stream
	Decision meter.Decision
	Payment  *settlement.Payment
	// Extensions is what the settlement's answer carries beside, by key.
	Extensions map[string]json.RawMessage
	Provider   string
}

// Sink is where the answer goes. Each Frame is flushed by the time it returns. An error means that the client is gone.
type Sink interface {
	Start(h Head) error
	Frame(f provider.Frame) error
	// End is called once the event is closed and every frame is out; a stream's trailers are its chance.
	End(e meter.Event) error
}

// Result is what a surface still needs after Do, also beside an error.
type Result struct {
	Event    meter.Event
	Decision meter.Decision
	Quote    meter.Quote
	Started  bool // the sink has begun: an error can no longer be written
}

// Do runs one call: the whole story. The error is a *fault.Error or wraps one; *Offer asks for a payment.
func (r *Runner) Do(ctx context.Context, in Input, out Sink) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, r.CallTimeout)
	defer cancel()
	standing, card, err := r.standing(ctx, in)
	if err != nil {
		return Result{}, fault.New(fault.KindUnavailable, "CONTROL_UNAVAILABLE", "budgets and policies cannot be read now").Because(err)
	}
	targets, err := r.Route(Ask{Caller: in.Caller, Model: in.Request.Model, Route: in.Request.Route, Vendor: in.Vendor})
	if err != nil {
		return Result{}, err
	}
	sold := r.sold(in, standing)
	now := r.Now()
	quote := quoteDearest(in.Request, card, targets, sold, now)
	decision := meter.Decide(in.Caller, quote, standing, now)
	res := Result{Decision: decision, Quote: quote}
	if in.Request.DryRun {
		return res, nil
	}
	work := run{Target: targets[0], rest: targets[1:], card: card}
	switch decision.Verdict {
	case meter.VerdictDeny:
		return r.deny(ctx, in, res)
	case meter.VerdictPay:
		return r.sell(ctx, in, res, work, out)
	case meter.VerdictAllow:
	}
	if err := r.notRepeated(ctx, &in); err != nil {
		return res, err
	}
	if err := r.linkRetry(ctx, &in); err != nil {
		return res, err
	}
	event := r.openEvent(in, quote, decision, work.Provider)
	res.Event = event
	if err := r.open(ctx, in, &res, Opening{Event: event, Reservations: decision.Reservations}); err != nil {
		return res, err
	}
	res, err = r.serve(ctx, in, res, work, out)
	r.noteTry(in, res.Event)
	return res, err
}

// standing reads what Decide needs, and does not wait for a store that hangs.
func (r *Runner) standing(ctx context.Context, in Input) (meter.Standing, meter.RateCard, error) {
	ctx, cancel := context.WithTimeout(ctx, controlWait)
	defer cancel()
	return r.Store.Standing(ctx, in.Caller, in.Request)
}

// quoteDearest is the quote whose worst case holds wherever the call ends: under the name it was asked by if that has a
// price, else the dearest of its targets; no known price if one of them has none.
func quoteDearest(r meter.Request, card meter.RateCard, targets []Target, sold *meter.Workflow, now time.Time) meter.Quote {
	quote := meter.NewQuote(r, card, sold, now)
	if quote.Priced {
		return quote
	}
	for i, t := range targets {
		asked := r
		asked.Model = t.Model
		q := meter.NewQuote(asked, card, sold, now)
		q.Request = r
		if !q.Priced {
			return q
		}
		if i == 0 || q.WorstCase.USD.Cmp(quote.WorstCase.USD) > 0 {
			quote = q
		}
	}
	return quote
}

// sold is the workflow a call has to pay for: where it is sold to strangers always; with a key only if the caller
// brought a payment, as the owner's own use of a priced workflow is metered, not sold (docs/decisions).
func (r *Runner) sold(in Input, s meter.Standing) *meter.Workflow {
	if r.Sale == nil {
		return nil
	}
	if in.Workflow != nil {
		return in.Workflow
	}
	if in.Payment != nil {
		return s.Workflow
	}
	return nil
}

// Ask is what routing looks at.
type Ask struct {
	Caller meter.Caller
	Model  string
	Route  meter.Route
	Vendor string // the only vendor that will do; "" any
}

// Target is one vendor with the model's name there. Ready reports whether a further try may go there now (its circuit is
// closed, its retry budget not used up); nil is always. It is asked of fallbacks only, and may count the asking.
// Vendor and API are what the usage parser and the price book know it as; "" is the provider's name and the route's form.
type Target struct {
	Provider        provider.Provider
	Model           string
	Vendor, API     string
	Region          string // of the endpoint, for prices
	Prices          string // whose price list its models are of; "" = anybody's
	ForwardMetadata bool   // owners may go to this vendor
	Ready           func() bool
}

// run is what serves one call: the target being tried and those left.
type run struct {
	Target
	rest []Target
	card meter.RateCard
}

func (r *Runner) openEvent(in Input, q meter.Quote, d meter.Decision, vendor provider.Provider) meter.Event {
	now := r.Now()
	e := meter.Event{
		ID: r.IDs.Event(), TenantID: in.Caller.TenantID, KeyID: in.Caller.KeyID, Livemode: in.Caller.Livemode,
		RequestID: in.Request.RequestID, Route: in.Request.Route, Stream: in.Request.Stream, State: meter.EventIntent,
		Source: "hosted", Payer: in.Caller.Payer, Attribution: in.Request.Attribution, RetryOf: in.Request.RetryOf,
		RetryCount: in.Request.RetryCount, ModelRequested: in.Request.Model, UsageSource: "none", CostState: meter.CostUnpriced,
		PriceVersion: q.CardVersion, ReservedUSD: q.WorstCase.USD, Decision: "approved", Hits: d.Hits, BudgetID: d.BudgetID,
		PolicyID: d.PolicyID, PolicyVersion: d.PolicyVer, PrivacyMode: "metadata_only", ReceiptStatus: "none",
		IdempotencyKey: in.Request.IdempotencyKey, IdempotencyTurn: in.idempotencyTurn, EventTime: now, ReceivedAt: now, Deadline: now.Add(r.CallTimeout + r.CloseGrace),
	}
	if vendor != nil {
		e.Provider, e.Simulated = vendor.Name(), vendor.Simulated()
	}
	if in.CompletionID != "" {
		e.CompletionID = in.CompletionID + id.Suffix(string(e.ID))
	}
	return e
}

// open stores the intent. A budget that filled up between Decide and here is a denial like any other.
func (r *Runner) open(ctx context.Context, in Input, res *Result, o Opening) error {
	done, err := r.opening.enter(r.Now)
	if err != nil {
		return err
	}
	crash.Point("call.open")
	err = r.Store.Open(ctx, o)
	crash.Point("call.opened")
	done()
	var full *BudgetExceeded
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNoCredit), errors.Is(err, ErrNoFunds):
		return err
	case errors.As(err, &full):
		b := meter.BudgetStanding{Budget: full.Budget}
		zero := int64(0)
		b.LimitEvents, b.LimitUSD, b.LimitTokens = &zero, nil, nil // full: nothing more passes
		res.Decision = meter.Decide(in.Caller, res.Quote, meter.Standing{Budgets: []meter.BudgetStanding{b}}, r.Now())
		_, err = r.deny(ctx, in, *res)
		return err
	default:
		if _, refusal := fault.As(err); refusal {
			return err
		}
		if o.Payment == nil {
			r.neverRan(ctx, o.Event)
		}
		return fault.New(fault.KindUnavailable, "LEDGER_UNAVAILABLE", "the call was not started: it could not be recorded").Because(err)
	}
}

// deny records the refusal as a final event of no cost. A stranger without a key leaves no row: nothing happened for
// which a tenant could be answerable, and nobody may fill a ledger from outside.
func (r *Runner) deny(ctx context.Context, in Input, res Result) (Result, error) {
	refusal := res.Decision.Denied()
	if in.Caller.KeyID == "" {
		return res, refusal
	}
	e := r.openEvent(in, res.Quote, res.Decision, nil)
	now := r.Now()
	zero := money.Zero
	e.State, e.Cause, e.StatusCode, e.FinalizedAt = meter.EventFailed, meter.CauseDenied, 403, &now
	e.Decision, e.DenyCode, e.CostUSD, e.CostState, e.ReservedUSD = "denied", string(refusal.Code), &zero, meter.CostPriced, money.Zero
	e.IdempotencyKey, e.CompletionID = "", ""
	res.Event = e
	if err := r.close(ctx, Closing{Event: e, Fresh: true}); err != nil {
		r.Log.ErrorContext(ctx, "denial not recorded", "request_id", e.RequestID, "event_id", e.ID, "err", err)
		return Result{Decision: res.Decision, Quote: res.Quote}, refusal // denied all the same, but there is no event to name
	}
	return res, refusal
}

// notRepeated refuses a second run for one Idempotency-Key (D21): no answer text is kept that could be replayed.
// A key that is older than it is kept for starts anew.
func (r *Runner) notRepeated(ctx context.Context, in *Input) error {
	if in.Request.IdempotencyKey == "" || in.Caller.KeyID == "" {
		return nil
	}
	e, turn, err := r.Store.ByIdempotencyKey(ctx, in.Caller.TenantID, in.Caller.KeyID, in.Request.IdempotencyKey)
	switch {
	case err != nil:
		return fault.New(fault.KindUnavailable, "CONTROL_UNAVAILABLE", "the idempotency key cannot be checked now").Because(err)
	case e.ID == "":
		in.idempotencyTurn = turn
		return nil
	case e.State == meter.EventIntent:
		return fault.New(fault.KindConflict, "IDEMPOTENCY_IN_PROGRESS", "a call with this Idempotency-Key is running").With("event_id", e.ID)
	}
	return fault.New(fault.KindConflict, "IDEMPOTENT_RESULT_NOT_KEPT",
		"this Idempotency-Key was used; the call is in the ledger, its answer was not kept").With("event_id", e.ID)
}
