package devchain

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/core"
)

// confirmingBlocks is how many blocks follow one with transactions at a second each, before the chain slows down to
// its heartbeat: enough for the last of them to be called finalized.
const confirmingBlocks = finalizedDepth

// pace says when the next block is due. Times of blocks are whole seconds and must grow, so a block a second is the
// most that keeps the chain with the clock.
type pace struct {
	head       time.Time     // time of the newest block
	pending    bool          // transactions wait
	confirming int           // blocks still owed to the last transactions
	heartbeat  time.Duration // spacing when idle
}

// due is the moment from which the next block should be mined.
func (p pace) due() time.Time {
	switch {
	case p.pending:
		// One second is borrowed from the future: a lone payment never waits, and in a burst the chain leads by
		// less than a second at any time, far inside what signed windows allow for.
		return p.head
	case p.confirming > 0:
		return p.head.Add(time.Second)
	default:
		return p.head.Add(p.heartbeat)
	}
}

// startLoop starts mining and returns what stops it and waits for its end.
func (c *Chain) startLoop() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	wake := make(chan struct{}, 1)
	var running sync.WaitGroup
	running.Go(func() { c.watchPool(ctx, wake) })
	running.Go(func() { c.mineLoop(ctx, wake) })
	return func() {
		cancel()
		running.Wait()
	}
}

// watchPool turns new transactions into a wake-up. It has a goroutine of its own because the pool blocks until its
// events are taken, and the miner in turn waits for the pool.
func (c *Chain) watchPool(ctx context.Context, wake chan<- struct{}) {
	events := make(chan core.NewTxsEvent, 64)
	sub := c.backend.TxPool().SubscribeTransactions(events, true)
	defer sub.Unsubscribe()
	for {
		select {
		case <-ctx.Done():
			return
		case <-sub.Err():
			return
		case <-events:
		}
		select {
		case wake <- struct{}{}:
		default: // one wake-up is waiting already
		}
	}
}

func (c *Chain) mineLoop(ctx context.Context, wake <-chan struct{}) {
	waiting, _ := c.backend.TxPool().Stats()
	p := pace{heartbeat: c.cfg.Heartbeat, pending: waiting > 0}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		p.head = c.Head().Time
		timer.Reset(max(p.due().Sub(c.present()), 0))
		select {
		case <-ctx.Done():
			return
		case <-wake:
			p.pending = true
			continue
		case <-timer.C:
		}
		if err := c.step(ctx, &p); err != nil {
			return
		}
	}
}

// step mines the block that is due and counts what it leaves to do. An error is the end of the loop: it was logged,
// and every later block would meet it again.
func (c *Chain) step(ctx context.Context, p *pace) error {
	taken, err := c.seal()
	switch {
	case errors.Is(err, ErrClosed):
		return err
	case err != nil:
		c.log.ErrorContext(ctx, "simulated chain stopped mining", "err", err)
		return err
	case taken > 0:
		waiting, _ := c.backend.TxPool().Stats()
		p.pending, p.confirming = waiting > 0, confirmingBlocks
	default:
		// What still waits cannot be mined now (too low a fee): a new arrival or the heartbeat tries again.
		p.pending, p.confirming = false, max(p.confirming-1, 0)
	}
	return nil
}

// present is the clock as blocks see it.
func (c *Chain) present() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cfg.Now().Add(c.ahead)
}
