package call

import (
	"context"
	"errors"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
)

// known handles an authorization that was claimed before: delivered or running is a conflict; paid but never answered
// gets its run now, for the same request only.
func (r *Runner) known(ctx context.Context, in Input, res Result, terms settlement.Terms, v run, out Sink) (bool, Result, error) {
	p, err := r.Store.PaymentFor(ctx, terms.Network, terms.Asset, in.Payment.Payer(), in.Payment.Nonce())
	switch {
	case errors.Is(err, settlement.ErrNotFound):
		return false, res, nil
	case err != nil:
		return true, res, fault.New(fault.KindUnavailable, "CONTROL_UNAVAILABLE", "the payment cannot be looked up now").Because(err)
	case p.State == settlement.StateVoided:
		return false, res, nil
	}
	if p.Terms.RequestDigest != in.Request.Digest || !in.Payment.SignedAs(p.Authorization.Signature) {
		return true, res, replayed(p)
	}
	res, err = r.again(ctx, in, res, p, v, out)
	return true, res, err
}

func replayed(p settlement.Payment) error {
	replay := settlement.ErrAuthorizationUsed.With("payment_id", p.ID)
	if p.ReceiptID != "" {
		replay = replay.With("receipt_id", p.ReceiptID)
	}
	return replay
}

// again is a payer who comes back with a payment for the same request: its run, if it was paid for and never answered.
func (r *Runner) again(ctx context.Context, in Input, res Result, p settlement.Payment, v run, out Sink) (Result, error) {
	now := r.Now()
	if p.State == settlement.StateLost || p.HoldUntil.After(now) {
		return res, replayed(p)
	}
	if p.State == settlement.StateAuthorized { // its call is gone; once the sweeper has voided the claim it can be made again
		return res, r.pending(ctx, p)
	}
	// The hold is over and Deliver did not end it for ever: the answer never left. Who moves the hold serves it.
	until := now.Add(r.CallTimeout + r.CloseGrace)
	if held, err := r.Sale.Holder.Hold(ctx, p.ID, p.HoldUntil, until); err != nil || !held {
		return res, replayed(p)
	}
	p.HoldUntil = until
	return r.resume(ctx, in, res, p, v, out)
}

// resume gives a payer the run that an earlier call took payment for and could not answer. A refund that was due for it is used up
// by that; if the run fails it is due again.
func (r *Runner) resume(ctx context.Context, in Input, res Result, p settlement.Payment, v run, out Sink) (Result, error) {
	settled, err := r.await(ctx, p)
	if err != nil {
		return res, err
	}
	if err := r.Store.UseRefund(ctx, settled, r.Now()); err != nil {
		if errors.Is(err, settlement.ErrRefundOver) {
			err = replayed(settled)
		}
		return res, r.release(ctx, p, err)
	}
	in.Caller.Payer, in.Request.RetryOf = p.Authorization.Payer, string(p.EventID)
	in.Request.IdempotencyKey = "" // it stands for the first run
	e := r.openEvent(in, res.Quote, res.Decision, v.Provider)
	e.Source, e.Decision, e.ReceiptStatus, e.WorkflowPrice = "sold", "receipt_reused", "reused", p.Terms.PriceVersion
	res.Event = e
	if err := r.open(ctx, in, &res, Opening{Event: e, Reservations: res.Decision.Reservations}); err != nil {
		return res, r.notRun(ctx, p, settled, err)
	}
	t := r.begin(ctx, in, e, v)
	held := t.collect(maxHeldBytes)
	t.end()
	res.Event = t.finish(r.Now())
	zero := money.Zero
	res.Event.RevenueUSD = &zero // earned once, by the first run's event
	if err := r.close(ctx, t.closing(res.Event, nil)); err != nil {
		return res, r.notRun(ctx, p, settled, err)
	}
	if !res.Event.Success {
		if err := r.notRun(ctx, p, settled, nil); err != nil {
			return res, err
		}
		return r.unpaid(ctx, res, t, held, out)
	}
	res, err = r.answerPaid(ctx, res, settled, t, held, out)
	d := Delivery{EventID: p.EventID, Tenant: p.TenantID, At: r.Now(), Bytes: t.sent, Whole: !t.gone, Earned: !t.gone || t.sent > 0}
	if err == nil {
		err = r.Store.Deliver(context.WithoutCancel(ctx), d)
	}
	if !d.Earned {
		return res, r.notRun(ctx, p, settled, err)
	}
	return res, err
}

// notRun owes the payment back again and gives its hold up, so that the payer may come at once; cause passes through.
func (r *Runner) notRun(ctx context.Context, p, settled settlement.Payment, cause error) error {
	if settled.State == settlement.StateIncluded || settled.State == settlement.StateFinal {
		if err := r.Store.DueRefund(context.WithoutCancel(ctx), settled, "answer_never_left", r.Now()); err != nil {
			r.Log.WarnContext(ctx, "refund not noted", "payment_id", p.ID, "err", err) // the sweeper's, as the hold ends here
		}
	}
	return r.release(ctx, p, cause)
}

// release gives the hold back, so that the payer may come again at once; cause passes through.
func (r *Runner) release(ctx context.Context, p settlement.Payment, cause error) error {
	if _, err := r.Sale.Holder.Hold(context.WithoutCancel(ctx), p.ID, p.HoldUntil, r.Now()); err != nil {
		r.Log.WarnContext(ctx, "hold not given up", "payment_id", p.ID, "err", err)
	}
	return cause
}
