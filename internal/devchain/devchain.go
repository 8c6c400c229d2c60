// Package devchain is a real Ethereum chain inside this process, for the sandbox and for tests: go-ethereum's own
// state, transaction pool and JSON-RPC over HTTP, with a test USDC at the address that Base Sepolia's has.
//
// It mines on demand, keeps its clock with the wall, and, given a folder, survives a crash. It has no peers, its
// keys are public and its money is worth nothing; it calls itself simulated, and nothing here ever speaks to a
// public network. p402 itself does not link it: only the sandbox and tests do.
package devchain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/eth"
	"github.com/ethereum/go-ethereum/node"
)

const (
	// ChainID is Base Sepolia's, so that clients built for x402 need no setting but the RPC address.
	ChainID = 84532
	// Network is the chain in CAIP-2 form.
	Network = "eip155:84532"

	// defaultHeartbeat is how far the chain's clock may lag when nothing happens. Payers sign windows that
	// begin now or ten minutes ago; two seconds is short for the first and costs little disk.
	defaultHeartbeat = 2 * time.Second

	// maxLead is how far ahead of the clock a stored head may be before the chain takes it for advanced on
	// purpose (AdvanceTime) and stays ahead, instead of waiting for the clock to catch up.
	maxLead = 15 * time.Second
)

// ErrClosed is returned by methods of a chain that was closed.
var ErrClosed = errors.New("devchain is closed")

// Config says how a chain runs. The zero value is a chain in memory on a free port of the loopback interface.
type Config struct {
	// Dir keeps the blocks; it is created when missing and belongs to one running chain. Empty: memory only.
	Dir string
	// Listen is host:port of the HTTP JSON-RPC, "127.0.0.1:0" when empty. The RPC has no authentication.
	Listen string
	// Now is the clock that block times follow; time.Now when nil.
	Now func() time.Time
	// Log gets what the chain does; nothing is logged when nil.
	Log *slog.Logger
	// Heartbeat is the time between blocks when nothing happens, in whole seconds; 2 s when zero.
	Heartbeat time.Duration
	// Manual leaves mining to Mine, AdvanceTime and Reorg alone; no block is mined at the start either. For tests.
	Manual bool
}

// Chain is a running chain. Its methods may be called from many goroutines.
type Chain struct {
	cfg      Config
	log      *slog.Logger
	stack    *node.Node
	backend  *eth.Ethereum
	endpoint *rpcServer

	// mu guards what follows and makes a block one step; it is held while a block is built and stored.
	mu     sync.Mutex
	store  *blockLog // nil in memory
	ahead  time.Duration
	broken error // why no further block can be mined: closed, or the log refused one

	stopLoop  func()
	closeOnce sync.Once
	closeErr  error
}

// Start brings a chain up: genesis, the blocks of Dir, HTTP, and, unless Manual, a first block at the present time
// and the mining loop. ctx bounds the start only; the chain runs until Close.
//
// It fails with ErrForeignLog when Dir holds another chain's blocks, with ErrDamagedLog when they do not read back,
// and with ErrDirInUse when another chain runs on Dir.
func Start(ctx context.Context, cfg Config) (*Chain, error) {
	c := &Chain{cfg: withDefaults(cfg), stopLoop: func() {}}
	c.log = c.cfg.Log
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start devchain: %w", err), c.Close())
	}
	head := c.backend.BlockChain().CurrentBlock()
	c.log.InfoContext(ctx, "simulated chain started", "network", Network, "url", c.URL(), "block", head.Number.Uint64(),
		"dir", c.cfg.Dir, "manual", c.cfg.Manual)
	return c, nil
}

func withDefaults(cfg Config) Config {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = defaultHeartbeat
	}
	// Block times are whole seconds and grow by one at least.
	cfg.Heartbeat = max(cfg.Heartbeat.Truncate(time.Second), time.Second)
	return cfg
}

func (c *Chain) start(ctx context.Context) error {
	genesis := newGenesis()
	if c.cfg.Dir != "" {
		store, err := openBlockLog(c.cfg.Dir, genesis.ToBlock().Hash())
		if err != nil {
			return err
		}
		c.store = store
	}
	if err := c.assemble(genesis); err != nil {
		return err
	}
	if err := c.replay(ctx); err != nil {
		return err
	}
	c.backend.SetSynced()
	if !c.cfg.Manual {
		if _, err := c.seal(); err != nil {
			return err
		}
	}
	if err := c.serve(ctx); err != nil {
		return err
	}
	if !c.cfg.Manual {
		c.stopLoop = c.startLoop()
	}
	return nil
}

// replay brings the stored blocks back, in the order in which they became canonical.
func (c *Chain) replay(ctx context.Context) error {
	if c.store == nil {
		return nil
	}
	blockchain := c.backend.BlockChain()
	started, blocks := c.cfg.Now(), 0
	err := c.store.replay(ctx, func(batch []*types.Block) error {
		blocks += len(batch)
		if n, err := blockchain.InsertChain(batch); err != nil {
			return fmt.Errorf("%w: block %d does not execute as it did: %w", ErrDamagedLog, batch[min(n, len(batch)-1)].NumberU64(), err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.markFinal()
	head := time.Unix(int64(blockchain.CurrentBlock().Time), 0)
	if lead := head.Sub(c.cfg.Now()); lead > maxLead {
		c.ahead = lead.Truncate(time.Second)
		c.log.WarnContext(ctx, "chain is ahead of the clock and stays so", "lead_s", int64(c.ahead/time.Second))
	}
	c.log.DebugContext(ctx, "blocks replayed", "blocks", blocks, "torn_bytes", c.store.torn,
		"duration_ms", c.cfg.Now().Sub(started).Milliseconds())
	return nil
}

// URL is the HTTP address of the JSON-RPC, with the port that was given or found free.
func (c *Chain) URL() string { return c.endpoint.url }

// ChainID is the EIP-155 chain id that transactions and the USDC's EIP-712 domain carry.
func (c *Chain) ChainID() int64 { return ChainID }

// Close stops mining, the RPC and the chain, waits for all of it, and releases Dir. Blocks were stored when they
// were mined: nothing is lost by not calling it. Further calls return what the first did.
func (c *Chain) Close() error {
	c.closeOnce.Do(func() {
		c.stopLoop()
		if c.endpoint != nil {
			c.closeErr = c.endpoint.close()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.broken = ErrClosed
		if c.stack != nil {
			c.closeErr = errors.Join(c.closeErr, c.stack.Close())
		}
		if c.store != nil {
			c.closeErr = errors.Join(c.closeErr, c.store.close())
		}
	})
	return c.closeErr
}
