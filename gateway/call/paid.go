package call

import (
	"context"
	"errors"
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/provider"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/x402"
)

// Settler collects captured payments on one network and waits for them; settlement.Worker is one.
type Settler interface {
	Kick()
	Await(ctx context.Context, paymentID id.Payment, s settlement.State) (settlement.Payment, error)
}

// Asset is the token that a network is paid in.
type Asset struct {
	Network, V1Network     string // CAIP-2 and, where there is one, v1's name
	Address, Name, Version string
	Testnet                bool
	// Permit2 and Upto say that the contracts for exact over Permit2, and for upto, are on the network; Facilitator is our
	// wallet that alone may settle an upto permit.
	Permit2, Upto bool
	Facilitator   string
}

// Sale is everything a sold call needs beyond a metered one.
type Sale struct {
	SealKey  []byte
	Assets   map[string]Asset             // by CAIP-2
	Schemes  map[string]settlement.Scheme // by CAIP-2: exact, today
	Settlers map[string]Settler           // by CAIP-2
	Funders  map[string]Funder            // by CAIP-2
	// OfferFor is how long a quote may be taken up; AwaitFor how long a call waits for its payment.
	OfferFor time.Duration
	AwaitFor time.Duration
	// Holder claims and gives up the right to answer for a payment.
	Holder Holder
	// Signer signs offers and receipts; nil leaves the extension out.
	Signer Signer
}

// Holder moves a payment's hold, guarded by its present value: who moves it owns the answer. False: somebody was first.
type Holder interface {
	Hold(ctx context.Context, paymentID id.Payment, from, until time.Time) (bool, error)
}

// sell is a call that has to be paid: offer, check, claim, run, capture, await, answer.
func (r *Runner) sell(ctx context.Context, in Input, res Result, v run, out Sink) (Result, error) {
	if in.PaymentError != nil {
		return res, r.refused(in, res.Quote, in.PaymentError)
	}
	if in.Payment == nil {
		offer, err := r.offer(in, res.Quote, reasonRequired)
		if err != nil {
			return res, err
		}
		return res, offer
	}
	terms, err := r.accepted(in, res.Quote)
	if err != nil {
		return res, err
	}
	price, err := r.priceOf(ctx, res.Quote.Workflow, terms)
	if err != nil {
		return res, err
	}
	if done, res, err := r.known(ctx, in, res, terms, v, out); done {
		return res, err
	}
	if err := r.notRepeated(ctx, &in); err != nil {
		return res, err
	}
	auth, err := r.Sale.Schemes[terms.Network].Check(ctx, terms, *in.Payment)
	if err != nil {
		return res, r.refused(in, res.Quote, err)
	}
	name, err := x402.PaymentIdentifier(in.Payment.Extensions)
	if err != nil {
		return res, r.refused(in, res.Quote, err)
	}
	if done, res, err := r.named(ctx, in, res, terms, auth.Payer, name, v, out); done {
		return res, err
	}
	in.Caller.Payer = auth.Payer
	if in.Caller.KeyID == "" {
		in.Request.Attribution.Dimensions[meter.DimCustomer] = auth.Payer
	}
	event := r.openEvent(in, res.Quote, res.Decision, v.Provider)
	event.Source, event.Decision, event.ReceiptStatus, event.WorkflowPrice = "sold", "settlement_required", "required", terms.PriceVersion
	res.Event = event
	payment, err := r.claim(ctx, in, &res, terms, auth, name)
	if err != nil {
		return res, err
	}
	return r.runPaid(ctx, in, res, v, order{payment, price}, out)
}

// order is a claimed payment with the price that its offer named.
type order struct {
	settlement.Payment
	price meter.Price
}

// metered reports whether what is owed is known only after the work.
func (o order) metered() bool { return o.Terms.Scheme == x402.SchemeUpto }

// capture is the evidence that the work of an event was done: all that was signed for, or of upto what was used, rounded up to
// the token's unit. Nothing used captures nothing, and the authorization is spent all the same.
func (o order) capture(e meter.Event) (settlement.Evidence, error) {
	evidence := settlement.Evidence{Kind: settlement.EvidenceCapture}
	if !o.metered() {
		return evidence, nil
	}
	amount, err := money.Payable(o.price.Charge(e.Usage))
	if amount.Cmp(o.Terms.Amount) > 0 {
		amount = o.Terms.Amount
	}
	evidence.Amount = &amount
	return evidence, err
}

// priceOf is the price that terms were quoted by: an open offer keeps its version (S7).
func (r *Runner) priceOf(ctx context.Context, w *meter.Workflow, t settlement.Terms) (meter.Price, error) {
	if w.Price.Version == t.PriceVersion || t.Scheme != x402.SchemeUpto {
		return *w.Price, nil
	}
	p, err := r.Store.WorkflowPrice(ctx, t.TenantID, t.WorkflowID, t.PriceVersion)
	if err != nil {
		return p, fault.New(fault.KindUnavailable, "CONTROL_UNAVAILABLE", "the offer's price cannot be read now").Because(err)
	}
	return p, nil
}

// runPaid serves a claimed payment's call. A plain answer is held until the payment has reached WaitFor (law 3).
func (r *Runner) runPaid(ctx context.Context, in Input, res Result, v run, o order, out Sink) (Result, error) {
	t := r.begin(ctx, in, res.Event, v)
	defer t.end()
	if t.streaming() {
		return r.streamPaid(ctx, res, t, o, out)
	}
	held := t.collect(maxHeldBytes)
	return r.settleHeld(ctx, res, t, o, held, out)
}

// settleHeld books an answer of which nothing has left, collects its payment and lets it go; without a good answer nothing
// is collected (S5).
func (r *Runner) settleHeld(ctx context.Context, res Result, t *try, o order, held []provider.Frame, out Sink) (Result, error) {
	e := t.finish(r.Now())
	good := e.Success && t.complete
	evidence := settlement.Evidence{Kind: settlement.EvidenceVoid, Reason: "work_failed"}
	if good {
		var err error
		if evidence, err = o.capture(e); err != nil {
			return res, err
		}
	}
	next, move, err := o.Advance(evidence, r.Now())
	if err != nil {
		return res, err
	}
	move.Actor = "call"
	e.ReceiptStatus = "failed"
	if good {
		earned := next.Amount.USD()
		e.ReceiptStatus, e.RevenueUSD = "pending", &earned
	}
	res.Event = e
	if err := r.close(ctx, t.closing(e, &move)); err != nil {
		return res, fault.New(fault.KindUnavailable, "LEDGER_UNAVAILABLE", "the answer is withheld: the call could not be booked; nothing was collected").Because(err)
	}
	if !good {
		return r.unpaid(ctx, res, t, held, out)
	}
	settled, err := r.await(ctx, next)
	if err != nil {
		return res, err
	}
	return r.answerPaid(ctx, res, settled, t, held, out)
}

// unpaid passes a vendor's own refusal on, or ours; nothing was collected (S5).
func (r *Runner) unpaid(ctx context.Context, res Result, t *try, held []provider.Frame, out Sink) (Result, error) {
	if t.failure != nil {
		return res, t.failure
	}
	res.Started = true
	if err := out.Start(r.head(res, t)); err != nil {
		t.gone = true
	}
	r.deliver(ctx, res.Event, held, t, out)
	return res, nil
}

func (r *Runner) answerPaid(ctx context.Context, res Result, p settlement.Payment, t *try, held []provider.Frame, out Sink) (Result, error) {
	head := r.head(res, t)
	head.Payment, head.Extensions = &p, r.receipt(p)
	if p.State != settlement.StateCaptured { // on credit it is still on its way
		head.Event.ReceiptStatus, head.Event.Decision = "settled", "settled"
	}
	res.Event, res.Started = head.Event, true
	if err := out.Start(head); err != nil {
		t.gone = true
	}
	r.deliver(ctx, res.Event, held, t, out)
	return res, nil
}

// await waits until a captured payment has gone as far as its seller wants: not at all where the call is on credit. Out of time: a payment of which nothing
// was signed is voided; otherwise the payer is told to come again with the same payment, never to pay again.
func (r *Runner) await(ctx context.Context, p settlement.Payment) (settlement.Payment, error) {
	settler := r.Sale.Settlers[p.Terms.Network]
	settler.Kick()
	if p.Terms.WaitFor == settlement.WaitAuthorized {
		return p, nil
	}
	want := settlement.StateIncluded
	if p.Terms.WaitFor == settlement.WaitFinal {
		want = settlement.StateFinal
	}
	waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.Sale.AwaitFor)
	defer cancel()
	got, err := settler.Await(waiting, p.ID, want)
	switch {
	case err == nil && (got.State == settlement.StateIncluded || got.State == settlement.StateFinal):
		return got, nil
	case err == nil || got.State == settlement.StateLost || got.State == settlement.StateVoided:
		return got, &PaymentLost{Payment: got}
	}
	return got, r.giveUp(ctx, p)
}

// pending tells a payer that its payment is on its way, with the transaction to look for.
func (r *Runner) pending(ctx context.Context, p settlement.Payment) error {
	hash, err := r.Store.SentAs(context.WithoutCancel(ctx), p.ID)
	if err != nil {
		r.Log.WarnContext(ctx, "transaction of a pending payment not read", "payment_id", p.ID, "err", err)
	}
	p.Evidence.TxHash = hash
	return &PaymentPending{Payment: p}
}

// giveUp ends the wait of a call. The void and the worker's Stage exclude each other: both leave captured, once.
func (r *Runner) giveUp(ctx context.Context, p settlement.Payment) error {
	if r.voided(ctx, p, "out_of_time") {
		return settlement.ErrChainUnavailable.With("payment", "nothing was collected; the payment is void")
	}
	return r.release(ctx, p, r.pending(ctx, p))
}

// refused turns a failed check into a fresh offer with the protocol's reason; a chain that cannot be read is no
// payer's fault and must not make a wallet sign again.
func (r *Runner) refused(in Input, q meter.Quote, err error) error {
	var refusal *x402.Error
	if !errors.As(err, &refusal) {
		if _, ok := fault.As(err); ok {
			return err
		}
		return settlement.ErrChainUnavailable.Because(err)
	}
	offer, offerErr := r.offer(in, q, string(refusal.Reason))
	if offerErr != nil {
		return offerErr
	}
	return offer
}
