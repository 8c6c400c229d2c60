package settlement

import (
	"context"
	"errors"
	"time"
)

// maxFill is how many gaps one round fills: a journal that is far behind its chain is looked at by somebody, not repaired at once.
const maxFill = 16

// tend keeps the wallet's nonces flowing. A slot blocks every later one until some transaction uses it, so a gap in the journal
// and a slot whose payment no longer needs it (somebody else collected it, or its window closed) are filled by a transfer to ourselves.
// The first round after a start does this too, whatever the crash left.
func (w *Worker) tend(ctx context.Context, r *round) error {
	slots, err := w.Book.OpenSlots(ctx, w.Network, w.Sender.Account(), r.nonce)
	if err != nil {
		return err
	}
	w.quiet = len(slots) == 0
	next, filled := r.nonce, 0
	var trouble []error
	for _, s := range slots {
		for ; next < s.Last.Slot.Nonce && filled < maxFill; next, filled = next+1, filled+1 {
			gap := Slot{Network: w.Network, Account: w.Sender.Account(), Nonce: next}
			w.Log.WarnContext(ctx, "a gap before journalled nonces is filled", "network", w.Network, "nonce", next)
			trouble = append(trouble, w.fill(ctx, r, gap, nil))
		}
		next = s.Last.Slot.Nonce + 1
		trouble = append(trouble, w.tendSlot(ctx, r, s))
	}
	return errors.Join(trouble...)
}

func (w *Worker) tendSlot(ctx context.Context, r *round, s OpenSlot) error {
	if s.Last.Purpose == PurposeCollect {
		switch s.State {
		case StateSubmitted:
			return nil // its payment is watched
		case StateIncluded, StateFinal, StateLost, StateVoided, StateCaptured, StateAuthorized:
		}
		w.Log.InfoContext(ctx, "a slot without use is filled", "network", w.Network, "payment_id", s.Last.PaymentID, "nonce", s.Last.Slot.Nonce)
		return w.fillOrResend(ctx, r, s)
	}
	if w.Now().Sub(s.Last.SignedAt) > w.Replace {
		return w.fillOrResend(ctx, r, s)
	}
	return w.resend(ctx, s.Last)
}

// fillOrResend outbids a slot's newest attempt by a filling; above the fee cap that attempt's bytes must do.
func (w *Worker) fillOrResend(ctx context.Context, r *round, s OpenSlot) error {
	err := w.fill(ctx, r, s.Last.Slot, &s.Last)
	if errors.Is(err, ErrFeeTooHigh) {
		return w.resend(ctx, s.Last)
	}
	return err
}

func (w *Worker) fill(ctx context.Context, r *round, slot Slot, prev *Attempt) error {
	a, err := w.Sender.Fill(ctx, slot, prev)
	if err != nil {
		return err
	}
	a.Purpose, a.SignedAt, a.State, a.Number = PurposeFill, w.Now(), AttemptSigned, 1
	if prev != nil {
		a.PaymentID, a.Number = prev.PaymentID, prev.Number+1
	}
	if err := w.Book.Replace(ctx, r.lease, a); err != nil {
		return err
	}
	return w.send(ctx, a)
}

// readGas looks now and then what the wallet still has. A node that does not answer is found by the rest of the round.
func (w *Worker) readGas(ctx context.Context, now time.Time) {
	if !w.gasRead.IsZero() && now.Sub(w.gasRead) < gasEvery {
		return
	}
	g, err := w.Sender.Gas(ctx)
	if err != nil {
		w.Log.DebugContext(ctx, "wallet balance not read", "network", w.Network, "err", err)
		return
	}
	w.gasRead = now
	if g.Low {
		w.Log.WarnContext(ctx, "the settlement wallet is low on gas", "network", w.Network, "account", g.Account, "balance_wei", g.Balance.String(),
			"payments_left", g.Payments)
	}
	if w.Gas != nil {
		w.Gas(g)
	}
}
