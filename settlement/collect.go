package settlement

import (
	"context"
	"errors"
	"time"
)

const (
	// lookBack is how many blocks before the claim evidence is searched: the payer's wallet may have sent it itself.
	lookBack = 50
	// windowGrace is how long after its window an authorization that was sent is still looked for: the block that holds it may
	// reach us late.
	windowGrace UnixSeconds = 50
	// maxReverts is how often a transaction of one payment may fail on chain. A wallet contract that agrees in simulation and refuses
	// in the block would otherwise burn our gas for as long as its window is open.
	maxReverts = 2
)

// seen looks for evidence and records it: the payment is included, whoever sent it.
func (w *Worker) seen(ctx context.Context, r *round, p Payment) (bool, error) {
	e, found, err := w.Chain.Evidence(ctx, p.Authorization, w.searchFrom(p, r.head))
	if err != nil || !found {
		return false, err
	}
	if e.Kind != EvidenceUncollectable {
		e.Kind = EvidenceSeen
	}
	return true, w.record(ctx, p, e)
}

func (w *Worker) searchFrom(p Payment, head Block) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if from, ok := w.from[p.ID]; ok {
		return from
	}
	// Blocks are at least a second apart on the networks we list: the claim's age bounds how far back to look.
	age := uint64(max(w.Now().Sub(p.ClaimedAt), 0)/time.Second) + lookBack
	from := uint64(0)
	if head.Number > age {
		from = head.Number - age
	}
	w.from[p.ID] = from
	return from
}

// collect signs and sends a captured payment, after looking whether it has been collected already, and whether it still can be.
func (w *Worker) collect(ctx context.Context, r *round, p Payment) (bool, error) {
	if p.Amount.IsZero() { // the row stays, so that the authorization cannot be claimed again
		return true, w.record(ctx, p, Evidence{Kind: EvidenceNothing})
	}
	used, err := w.Chain.AuthorizationUsed(ctx, p.Authorization)
	if err != nil {
		return false, err
	}
	if used {
		return w.seen(ctx, r, p)
	}
	if p.Source == "call" && !p.HoldUntil.After(w.Now()) {
		return false, nil // nobody waits for the answer any more: the sweeper voids it, the payer keeps the money
	}
	if r.head.Time >= p.Authorization.ValidBefore {
		return true, w.record(ctx, p, Evidence{Kind: EvidenceUncollectable, Reason: "window_closed"})
	}
	intent, err := w.Scheme.Collect(p.Authorization, p.Amount)
	if err != nil {
		return false, err
	}
	if err := w.Chain.Simulate(ctx, intent); err != nil {
		if errors.Is(err, ErrChainUnavailable) {
			return false, err
		}
		return true, w.record(ctx, p, Evidence{Kind: EvidenceUncollectable, Reason: "unfunded"})
	}
	return true, w.stage(ctx, r, p, intent)
}

// stage stores the raw transaction, then sends it (law 2).
func (w *Worker) stage(ctx context.Context, r *round, p Payment, intent TxIntent) error {
	nonce, err := w.Book.NextNonce(ctx, w.Network, w.Sender.Account(), r.nonce)
	if err != nil {
		return err
	}
	slot := Slot{Network: w.Network, Account: w.Sender.Account(), Nonce: nonce}
	a, err := w.Sender.Sign(ctx, slot, intent, nil, p.Amount)
	if err != nil {
		return err
	}
	a.PaymentID, a.Purpose, a.Number, a.SignedAt, a.State = p.ID, PurposeCollect, 1, w.Now(), AttemptSigned
	_, m, err := p.Advance(Evidence{Kind: EvidenceStaged, TxHash: a.TxHash}, w.Now())
	if err != nil {
		return err
	}
	m.Actor = "worker"
	if err := w.Book.Stage(ctx, r.lease, p, m, a); err != nil {
		return err
	}
	w.quiet = false
	w.moved(ctx, m)
	return w.send(ctx, a)
}

func (w *Worker) send(ctx context.Context, a Attempt) error {
	if err := w.Sender.Broadcast(ctx, a.Raw); err != nil {
		return err
	}
	return w.Book.Sent(ctx, a, w.Now())
}

// watch looks for a submitted payment's evidence, sends stored bytes again, and outbids itself when nothing happens.
func (w *Worker) watch(ctx context.Context, r *round, p Payment) (bool, error) {
	if found, err := w.seen(ctx, r, p); err != nil || found {
		return found, err
	}
	attempts, err := w.Book.Attempts(ctx, p.ID)
	if err != nil || len(attempts) == 0 {
		return false, err
	}
	last := attempts[len(attempts)-1]
	if moved, err := w.used(ctx, r, p, attempts); err != nil || moved {
		return moved, err
	}
	now := w.Now()
	switch {
	case r.head.Time >= p.Authorization.ValidBefore+windowGrace:
		return w.unlessUsed(ctx, p, Evidence{Kind: EvidenceUncollectable, Reason: "window_closed"})
	case last.Purpose == PurposeFill:
		return false, nil // the slot is spent on nothing and tend sees it through; then the payment is staged anew
	case now.Sub(last.SignedAt) > w.Replace:
		err := w.outbid(ctx, r, p, last)
		if !errors.Is(err, ErrFeeTooHigh) {
			return false, err
		}
		w.Log.WarnContext(ctx, "payment waits: the fee is above the cap", "payment_id", p.ID, "network", w.Network)
		return false, w.resend(ctx, last)
	}
	return false, w.resend(ctx, last)
}

// resend hands stored bytes to the network again if they were silent for long.
func (w *Worker) resend(ctx context.Context, a Attempt) error {
	if a.LastSentAt != nil && w.Now().Sub(*a.LastSentAt) <= w.Rebroadcast {
		return nil
	}
	return w.send(ctx, a)
}

// used looks whether the payment's newest slot is used up on chain without having collected it: by a transaction of ours that failed,
// or by one that is not the payment's. Then it may be staged again; the authorization itself can be used once only.
func (w *Worker) used(ctx context.Context, r *round, p Payment, attempts []Attempt) (bool, error) {
	slot, failed := attempts[len(attempts)-1].Slot, 1
	for _, a := range attempts {
		if a.Slot != slot && a.State == AttemptMined { // mined, and the payment was staged again: it failed
			failed++
		}
		if a.Slot != slot || a.Purpose != PurposeCollect {
			continue
		}
		mined, ok, err := w.Sender.Mined(ctx, a.TxHash)
		switch {
		case err != nil:
			return false, err
		case !mined:
		case ok: // and yet no evidence: mined since that was looked for, or a token that moves nothing and does not say so
			if found, err := w.seen(ctx, r, p); err != nil || found {
				return found, err
			}
			return w.unlessUsed(ctx, p, Evidence{Kind: EvidenceReverted, Reason: "no_transfer", TxHash: a.TxHash})
		case r.head.Time >= p.Authorization.ValidBefore:
			return w.unlessUsed(ctx, p, Evidence{Kind: EvidenceUncollectable, Reason: "window_closed", TxHash: a.TxHash})
		case failed >= maxReverts:
			return w.unlessUsed(ctx, p, Evidence{Kind: EvidenceUncollectable, Reason: "reverted", TxHash: a.TxHash})
		default:
			return w.unlessUsed(ctx, p, Evidence{Kind: EvidenceReverted, Reason: "reverted", TxHash: a.TxHash})
		}
	}
	if r.nonce > slot.Nonce {
		return w.unlessUsed(ctx, p, Evidence{Kind: EvidenceReverted, Reason: "slot_used"})
	}
	return false, nil
}

// unlessUsed records that a payment was not collected, if its authorization is unused. If it is used, its logs are there or will be.
func (w *Worker) unlessUsed(ctx context.Context, p Payment, e Evidence) (bool, error) {
	used, err := w.Chain.AuthorizationUsed(ctx, p.Authorization)
	if err != nil || used {
		return false, err
	}
	return true, w.record(ctx, p, e)
}

func (w *Worker) outbid(ctx context.Context, r *round, p Payment, last Attempt) error {
	intent, err := w.Scheme.Collect(p.Authorization, p.Amount)
	if err != nil {
		return err
	}
	a, err := w.Sender.Sign(ctx, last.Slot, intent, &last, p.Amount)
	if err != nil {
		return err
	}
	a.PaymentID, a.Purpose, a.SignedAt, a.State, a.Number = p.ID, PurposeCollect, w.Now(), AttemptSigned, last.Number+1
	if err := w.Book.Replace(ctx, r.lease, a); err != nil {
		return err
	}
	return w.send(ctx, a)
}

// confirm follows an included payment to its end, and back when its block is gone.
func (w *Worker) confirm(ctx context.Context, r *round, p Payment) (bool, error) {
	if r.head.Number < p.Evidence.BlockNumber {
		return false, nil // the node is behind: it cannot know
	}
	there, known := r.canonical[p.Evidence.BlockHash]
	if !known {
		var err error
		if there, err = w.Chain.Canonical(ctx, p.Evidence.BlockNumber, p.Evidence.BlockHash); err != nil {
			return false, err
		}
		r.canonical[p.Evidence.BlockHash] = there
	}
	if !there {
		return true, w.record(ctx, p, Evidence{Kind: EvidenceReorged, Reason: "reorged", BlockNumber: p.Evidence.BlockNumber, BlockHash: p.Evidence.BlockHash})
	}
	if r.final == nil {
		final, err := w.Chain.FinalizedNumber(ctx)
		if err != nil {
			return false, err
		}
		r.final = &final
	}
	if p.Evidence.BlockNumber > *r.final {
		return false, nil
	}
	return true, w.record(ctx, p, Evidence{Kind: EvidenceFinal})
}
