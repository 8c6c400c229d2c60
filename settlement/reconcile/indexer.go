package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"p402.io/p402/internal/money"
)

const (
	// maxSpan is the widest range asked for at once; public nodes allow between 500 and 10,000 blocks.
	maxSpan = 2000
	// lookback is how many blocks before the first sight of a wallet are read when no payment says more.
	lookback = 1000
	// checkpoints is how many stored hashes are compared when looking for the fork of a reorganisation.
	checkpoints = 512
)

// Indexer follows the token transfers of every known seller wallet on one network. It is used by one goroutine.
type Indexer struct {
	Network string
	Node    Node
	Index   Index
	Now     func() time.Time
	Log     *slog.Logger
	Poll    time.Duration // between looks once the head is reached
	span    uint64        // blocks a range, halved when the node refuses and grown again when it answers
}

// Run loops Step until ctx ends. A node that does not answer is waited for; the silence shows as ViewBlind.
func (x *Indexer) Run(ctx context.Context) error {
	for {
		moved, err := x.Step(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			x.Log.WarnContext(ctx, "chain not read", "network", x.Network, "err", err)
		}
		if moved && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(x.Poll):
		}
	}
}

// Step reads one range, or unwinds one reorganisation; moved is false when there is nothing left to read. A crash between
// two steps loses nothing: cursor and transfers move together.
func (x *Indexer) Step(ctx context.Context) (moved bool, err error) {
	head, err := x.Node.Head(ctx)
	if err == nil {
		err = x.Index.See(ctx, Sight{Network: x.Network, HeadNumber: head.Number, HeadTime: &head.Time, SeenAt: x.at()})
	} else {
		err = errors.Join(err, x.problem(ctx, "no node answers"))
	}
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", x.Network, err)
	}
	if err := x.adopt(ctx, head); err != nil {
		return false, fmt.Errorf("follow new wallets on %s: %w", x.Network, err)
	}
	if unwound, err := x.unwind(ctx, head); unwound || err != nil {
		return unwound, err
	}
	wallets, err := x.Index.Wallets(ctx, x.Network)
	if err != nil {
		return false, err
	}
	group, r, ok := x.next(wallets, head.Number)
	if !ok {
		return false, nil
	}
	last, err := x.read(ctx, r)
	if errors.Is(err, ErrCursorMoved) {
		return true, nil // another process of ours has read it
	}
	if err != nil {
		return false, errors.Join(fmt.Errorf("read blocks %d to %d of %s: %w", r.From, r.To, x.Network, err), x.problem(ctx, "transfers cannot be read"))
	}
	if last.Number == head.Number {
		return true, x.verify(ctx, group, last.Number)
	}
	return true, nil
}

func (x *Indexer) at() *time.Time {
	now := x.Now()
	return &now
}

func (x *Indexer) problem(ctx context.Context, text string) error {
	return x.Index.See(ctx, Sight{Network: x.Network, Problem: text, ProblemAt: x.at()})
}

// adopt begins to follow wallets that appeared, from their first known payment or a little before now.
func (x *Indexer) adopt(ctx context.Context, head Block) error {
	fresh, err := x.Index.Unfollowed(ctx, x.Network)
	if err != nil {
		return err
	}
	for _, w := range fresh {
		if w.StartBlock == 0 {
			w.StartBlock = head.Number - min(head.Number, lookback)
		}
		w.NextBlock = w.StartBlock
		if w.StartBlock == 0 {
			w.Opening = &money.USDC{} // nothing is before the first block
		} else if opening, err := x.Node.Balance(ctx, w.Asset, w.Address, w.StartBlock-1); err == nil {
			w.Opening = &opening
		} else {
			x.Log.WarnContext(ctx, "opening balance unknown; balances of this wallet stay unchecked", "network", x.Network, "wallet", w.Address, "err", err)
		}
		if err := x.Index.Follow(ctx, w); err != nil {
			return err
		}
		x.Log.InfoContext(ctx, "wallet followed", "network", x.Network, "wallet", w.Address, "block", w.StartBlock)
	}
	return nil
}

// unwind compares stored hashes with the chain and takes back everything above the newest that still holds.
func (x *Indexer) unwind(ctx context.Context, head Block) (bool, error) {
	seen, err := x.Index.Checkpoints(ctx, x.Network, checkpoints)
	if err != nil || len(seen) == 0 {
		return false, err
	}
	if seen[0].Number > head.Number {
		return false, nil // this node lags behind what another has shown; it is no proof of a reorganisation
	}
	for i, b := range seen {
		now, err := x.Node.Block(ctx, b.Number)
		if err != nil && !errors.Is(err, ErrNoBlock) {
			return false, errors.Join(err, x.problem(ctx, "no node answers"))
		}
		if err != nil || now.Hash != b.Hash {
			continue
		}
		if i == 0 {
			return false, nil
		}
		return true, x.takeBack(ctx, b.Number)
	}
	oldest := seen[len(seen)-1].Number
	return true, x.takeBack(ctx, oldest-min(oldest, 1))
}

func (x *Indexer) takeBack(ctx context.Context, above uint64) error {
	gone, err := x.Index.Unwind(ctx, x.Network, above, x.Now())
	if err != nil {
		return fmt.Errorf("unwind %s above block %d: %w", x.Network, above, err)
	}
	x.Log.WarnContext(ctx, "reorganisation unwound", "network", x.Network, "block", above, "transfers", gone)
	return nil
}

// next is the range of the wallets that are furthest behind, never across another wallet's cursor: so late-comers catch up
// and from there on share one question.
func (x *Indexer) next(wallets []Wallet, head uint64) (group []Wallet, r Range, ok bool) {
	if x.span == 0 {
		x.span = maxSpan
	}
	r = Range{Network: x.Network, From: head + 1}
	for _, w := range wallets {
		if w.NextBlock < r.From {
			r.From, r.Asset = w.NextBlock, w.Asset
		}
	}
	if r.From > head {
		return nil, r, false
	}
	r.To = min(r.From+x.span-1, head)
	for _, w := range wallets {
		switch {
		case w.NextBlock == r.From && w.Asset == r.Asset:
			r.Addresses, group = append(r.Addresses, w.Address), append(group, w)
		case w.NextBlock > r.From && w.NextBlock <= r.To && w.Asset == r.Asset:
			r.To = w.NextBlock - 1
		}
	}
	return group, r, true
}

// read asks for a range, halving it as often as the node wants, and stores the answer only if the range's last block was the
// same before and after: an answer from two branches is no answer.
func (x *Indexer) read(ctx context.Context, r Range) (Block, error) {
	for {
		before, err := x.Node.Block(ctx, r.To)
		if err != nil {
			return Block{}, err
		}
		transfers, err := x.Node.Transfers(ctx, r)
		if errors.Is(err, ErrTooMuch) && r.To > r.From {
			r.To = r.From + (r.To-r.From+1)/2 - 1
			x.span = r.To - r.From + 1
			continue
		}
		if err != nil {
			return Block{}, err
		}
		after, err := x.Node.Block(ctx, r.To)
		if err != nil {
			return Block{}, err
		}
		if after.Hash != before.Hash {
			return Block{}, fmt.Errorf("block %d changed while it was read: %w", r.To, ErrNoBlock)
		}
		x.span = min(x.span*2, maxSpan)
		return after, x.Index.Advance(ctx, r, transfers, after)
	}
}

// verify compares balances with what was read. A first difference means a gap: everything since the last good block is read
// again; one that stays is shown as such, and reading goes on.
func (x *Indexer) verify(ctx context.Context, wallets []Wallet, block uint64) error {
	for _, w := range wallets {
		if w.Opening == nil {
			continue
		}
		balance, err := x.Node.Balance(ctx, w.Asset, w.Address, block)
		if err != nil {
			x.Log.DebugContext(ctx, "balance not checked", "network", x.Network, "wallet", w.Address, "err", err)
			continue // the range is stored; the next head asks again
		}
		in, out, err := x.Index.Sums(ctx, w, block)
		if err != nil {
			return err
		}
		if w.Opening.Add(in).Cmp(balance.Add(out)) == 0 {
			err = x.Index.Verified(ctx, w, block)
		} else if w.GapFrom == nil {
			from := w.StartBlock
			if w.VerifiedBlock != nil {
				from = max(from, *w.VerifiedBlock+1)
			}
			x.Log.WarnContext(ctx, "transfers are missing; reading again", "network", x.Network, "wallet", w.Address, "block", from)
			err = x.Index.Gap(ctx, w, from)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// BlockBefore is the newest final block that is older than a time: the cut-off of a period. ErrNoBlock when the chain has not
// finalized a block at or after that time yet, as then a later one may still come before it.
func BlockBefore(ctx context.Context, n Node, end time.Time) (Block, error) {
	final, err := n.Finalized(ctx)
	if err != nil {
		return Block{}, err
	}
	if final.Time.Before(end) {
		return Block{}, ErrNoBlock
	}
	low, high := uint64(0), final.Number // block high is at or after end; everything below low is before it
	for low < high {
		middle := low + (high-low)/2
		b, err := n.Block(ctx, middle)
		if err != nil {
			return Block{}, err
		}
		if b.Time.Before(end) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low == 0 {
		return Block{}, ErrNoBlock
	}
	return n.Block(ctx, low-1)
}
