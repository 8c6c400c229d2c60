package devchain

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/miner"
)

// Depths behind the head at which a block is called safe and finalized: small, so that nobody waits for them.
const (
	safeDepth      = 1
	finalizedDepth = 3
)

// Fate is what becomes of the transactions in blocks that a reorganisation removes.
type Fate int

const (
	// FatePending puts them back into the pool; the next block mined includes them again.
	FatePending Fate = iota
	// FateDropped forgets them, and everything else in the pool. Their bytes may be sent again.
	FateDropped
)

// Head is the newest canonical block.
type Head struct {
	Number uint64
	Hash   string // 0x hex
	Time   time.Time
}

// Head returns the newest canonical block.
func (c *Chain) Head() Head {
	h := c.backend.BlockChain().CurrentBlock()
	return Head{Number: h.Number.Uint64(), Hash: h.Hash().Hex(), Time: time.Unix(int64(h.Time), 0).UTC()}
}

// Mine mines n blocks at once; the first takes what is pending. Block times grow by a second at least, so n blocks
// end up to n seconds ahead of the clock; the mining loop then waits for the clock to catch up.
func (c *Chain) Mine(n int) error {
	for range n {
		if _, err := c.seal(); err != nil {
			return err
		}
	}
	return nil
}

// AdvanceTime moves the chain's clock ahead of Config.Now by d more, in whole seconds, and mines a block there. A
// chain with a Dir stays ahead after a restart. Time does not go back: a d below one second is refused.
func (c *Chain) AdvanceTime(d time.Duration) error {
	if d < time.Second {
		return fmt.Errorf("advance time by %s: less than a second", d)
	}
	c.mu.Lock()
	c.ahead += d.Truncate(time.Second)
	c.mu.Unlock()
	_, err := c.seal()
	return err
}

// Reorg removes the last depth blocks and puts depth+1 empty ones in their place, in one step as seen by clients;
// then says what happens to the removed transactions. It may cut below what was called finalized, which no honest
// network does. The removed state must still be there: at most 100 blocks.
func (c *Chain) Reorg(depth int, fate Fate) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return c.broken
	}
	chain := c.backend.BlockChain()
	head := chain.CurrentBlock()
	if depth < 1 || depth > 100 || uint64(depth) > head.Number.Uint64() {
		return fmt.Errorf("reorganise %d of %d blocks: out of range", depth, head.Number.Uint64())
	}
	parent := chain.GetHeaderByNumber(head.Number.Uint64() - uint64(depth))
	var branch []*types.Block
	for i := 0; i <= depth; i++ {
		timestamp := parent.Time + 1
		if i == depth {
			timestamp = max(timestamp, c.clock())
		}
		block, err := c.build(parent, timestamp, true)
		if err != nil {
			return err
		}
		branch, parent = append(branch, block), block.Header()
	}
	if err := c.adopt(branch); err != nil {
		return err
	}
	if fate == FateDropped {
		c.backend.TxPool().Clear()
	}
	return nil
}

// seal mines one block on the head and returns how many transactions it took.
func (c *Chain) seal() (transactions int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return 0, c.broken
	}
	// The pool sorts arrivals in the background; without waiting, a transaction sent before this call might miss
	// the block.
	if err := c.backend.TxPool().Sync(); err != nil {
		return 0, fmt.Errorf("settle transaction pool: %w", err)
	}
	head := c.backend.BlockChain().CurrentBlock()
	block, err := c.build(head, max(head.Time+1, c.clock()), false)
	if err != nil {
		return 0, err
	}
	if err := c.adopt([]*types.Block{block}); err != nil {
		return 0, err
	}
	return len(block.Transactions()), nil
}

// build makes a block on parent, executes it and keeps it beside the canonical chain. The caller holds mu.
func (c *Chain) build(parent *types.Header, timestamp uint64, empty bool) (*types.Block, error) {
	var random common.Hash
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("draw block randomness: %w", err)
	}
	args := &miner.BuildPayloadArgs{
		Parent:     parent.Hash(),
		Timestamp:  timestamp,
		Random:     random, // also makes a branch's block differ from the one it replaces
		BeaconRoot: new(common.Hash),
	}
	block, _, err := c.backend.Miner().BuildTestingPayload(args, nil, empty, []byte(clientName))
	if err != nil {
		return nil, fmt.Errorf("build block %d: %w", parent.Number.Uint64()+1, err)
	}
	if _, err := c.backend.BlockChain().InsertBlockWithoutSetHead(context.Background(), block, false); err != nil {
		return nil, fmt.Errorf("execute block %d: %w", block.NumberU64(), err)
	}
	return block, nil
}

// adopt makes the last of the blocks the head, once they are on disk: what a client was shown survives a crash.
// The caller holds mu.
func (c *Chain) adopt(blocks []*types.Block) error {
	tip := blocks[len(blocks)-1]
	if c.store != nil {
		if err := c.store.append(blocks); err != nil {
			// What part of it is on disk is unknown, and a later record would lie behind it.
			c.broken = errors.Join(errors.New("devchain stopped mining: its block log cannot be written"), err)
			return c.broken
		}
	}
	if _, err := c.backend.BlockChain().SetCanonical(tip); err != nil {
		return fmt.Errorf("make block %d the head: %w", tip.NumberU64(), err)
	}
	c.markFinal()
	// The pool follows the head in the background. With this wait, whoever saw this return finds a pool that has
	// forgotten what was mined and, after a reorganisation, taken back what was removed.
	if err := c.backend.TxPool().Sync(); err != nil {
		return fmt.Errorf("settle transaction pool: %w", err)
	}
	c.log.Debug("block mined", "block", tip.NumberU64(), "time", tip.Time(), "transactions", len(tip.Transactions()))
	return nil
}

// markFinal moves the safe and finalized marks along with the head.
func (c *Chain) markFinal() {
	chain := c.backend.BlockChain()
	number := chain.CurrentBlock().Number.Uint64()
	chain.SetSafe(chain.GetHeaderByNumber(number - min(number, safeDepth)))
	chain.SetFinalized(chain.GetHeaderByNumber(number - min(number, finalizedDepth)))
}

// clock is the present on this chain, in Unix seconds. The caller holds mu.
func (c *Chain) clock() uint64 { return uint64(c.cfg.Now().Add(c.ahead).Unix()) }
