package devchain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/big"

	"github.com/ethereum/go-ethereum/core"
	"github.com/ethereum/go-ethereum/eth"
	"github.com/ethereum/go-ethereum/eth/ethconfig"
	gethlog "github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/node"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/params"
)

// clientName is what web3_clientVersion begins with: whoever asks learns that the chain is no public one.
const clientName = "p402-devchain-simulated"

// assemble puts go-ethereum's parts together and starts them: a node without peers or endpoints, and the Ethereum
// service on a database in memory.
func (c *Chain) assemble(genesis *core.Genesis) error {
	conf := node.DefaultConfig
	conf.Name = clientName
	conf.DataDir = ""
	conf.P2P = p2p.Config{NoDiscovery: true, NoDial: true}
	conf.Logger = gethlog.NewLogger(quiet{c.log.Handler()})
	stack, err := node.New(&conf)
	if err != nil {
		return fmt.Errorf("create node: %w", err)
	}
	backend, err := eth.New(stack, ethConfig(genesis))
	if err != nil {
		return errors.Join(fmt.Errorf("create ethereum service: %w", err), stack.Close())
	}
	// Started at once, though blocks are still to be replayed, because go-ethereum stops in good order only what
	// was started: its background work on a closed database would end the process.
	if err := stack.Start(); err != nil {
		return fmt.Errorf("start node: %w", err)
	}
	c.stack, c.backend = stack, backend
	return nil
}

func ethConfig(genesis *core.Genesis) *ethconfig.Config {
	conf := ethconfig.Defaults
	conf.Genesis = genesis
	conf.SyncMode = ethconfig.FullSync
	conf.Miner.GasCeil = gasLimit
	conf.Miner.GasPrice = big.NewInt(params.GWei / 1000) // least tip; Base's are of this order
	conf.TxPool.NoLocals = true
	conf.TxPool.Journal = ""
	conf.BlobPool.Datadir = ""
	// Logs are found by walking the blocks, whose blooms say where to look: no index to build, none to wait for.
	conf.LogNoHistory = true
	conf.TransactionHistory = 0 // every transaction stays known by its hash
	// Megabytes; the defaults are for a main net.
	conf.DatabaseCache, conf.TrieCleanCache, conf.TrieDirtyCache, conf.SnapshotCache = 16, 16, 32, 16
	return &conf
}

// quiet passes go-ethereum's log lines on at debug level: what is news to its operator is none to ours.
type quiet struct{ next slog.Handler }

func (q quiet) Enabled(ctx context.Context, _ slog.Level) bool {
	return q.next.Enabled(ctx, slog.LevelDebug)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return q.next.Handle(ctx, r)
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.next.WithAttrs(attrs)} }

func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.next.WithGroup(name)} }
