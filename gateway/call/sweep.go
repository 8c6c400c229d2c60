package call

import (
	"context"
	"errors"
	"time"

	"p402.io/p402/internal/crash"
	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

// Sweeper closes what a crash left open: overdue intents, claims without work, money owed back.
type Sweeper struct {
	Runner *Runner
	Every  time.Duration
	// Refund makes a refund fall due for a collected payment whose answer never left by its hold.
	Limit int
}

// Run sweeps until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	tick := time.NewTicker(s.Every)
	defer tick.Stop()
	for {
		if _, err := s.Step(ctx); err != nil && ctx.Err() == nil {
			s.Runner.Log.WarnContext(ctx, "sweep failed", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Step is one round; it reports how many rows it moved. Every move is guarded, so rounds on many nodes are harmless.
func (s *Sweeper) Step(ctx context.Context) (moved int, err error) {
	// What this node has spooled comes first: the sweeper must not estimate a call whose true cost lies on the disk.
	if moved, err = s.Runner.Drain(ctx); err != nil {
		return moved, err
	}
	crash.Point("sweep.begin")
	now := s.Runner.Now()
	open, err := s.Runner.Store.Overdue(ctx, now, s.Limit)
	if err != nil {
		return moved, err
	}
	for _, o := range open {
		if err := s.expire(ctx, o, now); err != nil && !errors.Is(err, ErrClosed) {
			return moved, err
		}
		moved++
	}
	owed, err := s.Runner.Store.Undelivered(ctx, now, s.Limit)
	if err != nil {
		return moved, err
	}
	for _, p := range owed {
		if err := s.settleAccounts(ctx, p, now); err != nil && !errors.Is(err, settlement.ErrMoved) {
			return moved, err
		}
		moved++
	}
	return moved, nil
}

// expire closes an intent whose call is gone: what it cost is not known, so the reservation stands in as an estimate
// and the event says so. Its claim is voided: nothing was captured, so nothing is owed.
func (s *Sweeper) expire(ctx context.Context, o Opening, now time.Time) error {
	crash.Point("sweep.expire")
	e := o.Event
	e.State, e.Cause, e.FinalizedAt, e.Success = meter.EventExpired, meter.CauseCrashed, &now, false
	e.UsageSource, e.UsageComplete, e.CostState = "none", false, meter.CostEstimated
	worst := e.ReservedUSD
	e.CostUSD = &worst
	if worst.Cmp(money.Zero) == 0 {
		e.CostUSD, e.CostState = nil, meter.CostUnpriced
	}
	c := Closing{Event: e, Actual: meter.Amount{USD: worst, Events: 1}}
	if o.Payment != nil && o.Payment.State == settlement.StateAuthorized {
		_, move, err := o.Payment.Advance(settlement.Evidence{Kind: settlement.EvidenceVoid, Reason: "call_lost"}, now)
		if err != nil {
			return err
		}
		move.Actor = "sweeper"
		c.PaymentMove = &move
		c.Event.ReceiptStatus = "failed"
	}
	return s.Runner.Store.Close(ctx, c)
}

// settleAccounts ends a payment whose answer never left: void while nothing is signed, a refund due once collected.
func (s *Sweeper) settleAccounts(ctx context.Context, p settlement.Payment, now time.Time) error {
	switch p.State {
	case settlement.StateAuthorized, settlement.StateCaptured:
		_, move, err := p.Advance(settlement.Evidence{Kind: settlement.EvidenceVoid, Reason: "answer_never_left"}, now)
		if err != nil {
			return err
		}
		move.Actor = "sweeper"
		return s.Runner.Store.Void(ctx, move)
	case settlement.StateIncluded, settlement.StateFinal:
		return s.Runner.Store.DueRefund(ctx, p, "answer_never_left", now)
	case settlement.StateSubmitted, settlement.StateVoided, settlement.StateLost:
		return nil
	}
	return nil
}
