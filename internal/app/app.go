// Package app builds every room and runs the house: it starts in order and stops in reverse. It is the one room that
// knows all others, but neither test chain nor private database.
package app

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/ethereum/go-ethereum/ethclient"
	"golang.org/x/sync/errgroup"

	"p402.io/p402/gateway"
	"p402.io/p402/gateway/api"
	"p402.io/p402/gateway/call"
	"p402.io/p402/gateway/dashboard"
	"p402.io/p402/gateway/facilitator"
	"p402.io/p402/gateway/openai"
	"p402.io/p402/gateway/sell"
	"p402.io/p402/internal/catalogue"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/store"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/evm"
	"p402.io/p402/settlement/reconcile"
	"p402.io/p402/settlement/txmgr"
)

// Config is what an operator decides.
type Config struct {
	Listen      string
	DatabaseURL string
	Vendor      Vendor
	Settlement  *Settlement // nil: metering only; no chain setting is read
	// Alone says that no other node serves this database: calls that a crash left open are then closed at once on start.
	Alone bool
	// CallTimeout bounds one call. 0 = 5 minutes.
	CallTimeout time.Duration
}

// Vendor is where calls go: an OpenAI-compatible base URL.
type Vendor struct {
	Name         string
	BaseURL      string
	APIKey       string
	AllowPrivate bool // loopback and private addresses may be dialled
	Simulated    bool // answers are made up
	TestKeys     bool // test keys may use it
}

// Settlement is one network with the wallet that pays its gas.
type Settlement struct {
	Network string // CAIP-2
	RPC     string
	Key     string // private key of the gas wallet
	PayTo   []string
}

// App is the built house.
type App struct {
	Store   *store.Store
	IDs     *id.Source
	cfg     Config
	log     *slog.Logger
	handler http.Handler
	sweeper *call.Sweeper
	workers []*settlement.Worker
	indexer *reconcile.Indexer // nil without settlement
	addr    net.Listener
	metrics *metrics
}

const (
	defaultCallTimeout = 5 * time.Minute
	closeGrace         = 10 * time.Second
	offerFor           = 10 * time.Minute
	awaitFor           = 45 * time.Second
	drainTimeout       = 20 * time.Second
	indexPoll          = 5 * time.Second // a block or three; finance does not read faster
)

// now is the house's clock: UTC, in whole microseconds, which is what the ledger keeps.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// New migrates the database and builds every room. Nothing is served yet.
func New(ctx context.Context, cfg Config, log *slog.Logger) (*App, error) {
	if cfg.CallTimeout == 0 {
		cfg.CallTimeout = defaultCallTimeout
	}
	if err := store.Migrate(ctx, cfg.DatabaseURL); err != nil {
		return nil, err
	}
	card, err := catalogue.Load()
	if err != nil {
		return nil, err
	}
	ids := id.NewSource(now)
	db, err := store.New(ctx, cfg.DatabaseURL, store.Options{Now: now, IDs: ids, Card: card})
	if err != nil {
		return nil, err
	}
	if cfg.Alone {
		if err := db.Orphan(ctx); err != nil {
			return nil, errors.Join(err, db.Shutdown())
		}
	}
	a := &App{Store: db, IDs: ids, cfg: cfg, log: log, metrics: newMetrics()}
	if err := a.build(ctx); err != nil {
		return nil, errors.Join(err, db.Shutdown())
	}
	return a, nil
}

func (a *App) build(ctx context.Context) error {
	vendors, err := newVendors(a.cfg.Vendor, a.Store)
	if err != nil {
		return err
	}
	signing, err := a.Store.Secret(ctx, "receipt_ed25519", ed25519.SeedSize)
	if err != nil {
		return err
	}
	issuer := settlement.NewIssuer("p402", ed25519.NewKeyFromSeed(signing))
	runner := &call.Runner{Store: a.Store, IDs: a.IDs, Now: now, Log: a.log, Route: vendors.route, CallTimeout: a.cfg.CallTimeout, CloseGrace: closeGrace}
	auth := gateway.NewAuth(a.Store, now)
	inference := &openai.Surface{Auth: auth, Runner: runner, Log: a.log, Models: vendors}
	cursorKey, err := a.Store.Secret(ctx, "cursor", 32)
	if err != nil {
		return err
	}
	finance := api.Finance{Signer: reconcile.Signer{Name: issuer.Name, KeyID: issuer.KeyID, Key: issuer.Key}, Nodes: map[string]reconcile.Node{}}
	surfaces := []gateway.Surface{inference,
		&api.Surface{Auth: auth, Store: a.Store, Now: now, Log: a.log, CursorKey: cursorKey, Keys: issuer.KeySet(), Finance: finance},
		&dashboard.Surface{Store: a.Store, Log: a.log, Now: now},
		&system{app: a, keys: issuer.KeySet()}}
	if a.cfg.Settlement != nil {
		if runner.Sale, err = a.sale(ctx, issuer); err != nil {
			return err
		}
		finance.Nodes[a.indexer.Network] = a.indexer.Node
		payTo := map[string]bool{}
		for _, address := range a.cfg.Settlement.PayTo {
			payTo[address] = true
		}
		n, _ := settlement.FindNetwork(a.cfg.Settlement.Network) // sale has found it already
		surfaces = append(surfaces, &sell.Surface{Workflows: a.Store, OpenAI: inference, Log: a.log, Live: func(string) bool { return !n.Testnet }},
			&facilitator.Surface{Auth: auth, Book: a.Store, IDs: a.IDs, Now: now, Log: a.log, Sale: runner.Sale, PayTo: payTo,
				Signers: map[string][]string{"eip155:*": {a.workers[0].Sender.Account()}}})
	}
	a.sweeper = &call.Sweeper{Runner: runner, Every: time.Second, Limit: 100}
	a.handler = gateway.NewRouter(gateway.Config{Log: a.log, IDs: a.IDs, Now: now, Observe: a.metrics.observe}, surfaces...)
	return nil
}

// sale builds settlement on one network: scheme, wallet, worker.
func (a *App) sale(ctx context.Context, issuer *settlement.Issuer) (*call.Sale, error) {
	c := a.cfg.Settlement
	n, ok := settlement.FindNetwork(c.Network)
	if !ok {
		return nil, fmt.Errorf("settlement network %q is not known", c.Network)
	}
	client, err := ethclient.DialContext(ctx, c.RPC)
	if err != nil {
		return nil, fmt.Errorf("reach the RPC of %s: %w", c.Network, err)
	}
	chainID, err := client.ChainID(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the chain id of %s: %w", c.Network, err)
	}
	if !chainID.IsInt64() || chainID.Int64() != n.ChainID {
		return nil, fmt.Errorf("the RPC of %s answers for chain %s, not %d", c.Network, chainID, n.ChainID)
	}
	sender, err := txmgr.New(client, c.Key, n)
	if err != nil {
		return nil, err
	}
	seal, err := a.Store.Secret(ctx, "offer_seal", 32)
	if err != nil {
		return nil, err
	}
	scheme := &evm.Exact{Node: client, ChainID: chainID, Now: now}
	worker := settlement.NewWorker(settlement.WorkerConfig{Network: n.CAIP2, Book: a.Store, Chain: &evm.Chain{Client: client}, Sender: sender, Scheme: scheme,
		Receipts: issuer, IDs: a.IDs, Now: now, Log: a.log, Poll: 500 * time.Millisecond, Rebroadcast: 5 * time.Second, Replace: 30 * time.Second})
	a.workers = append(a.workers, worker)
	a.indexer = &reconcile.Indexer{Network: n.CAIP2, Node: &evm.Logs{Client: client, Network: n.CAIP2}, Index: a.Store, Now: now, Log: a.log, Poll: indexPoll}
	return &call.Sale{SealKey: seal, OfferFor: offerFor, AwaitFor: awaitFor, Holder: a.Store,
		Assets:   map[string]call.Asset{n.CAIP2: {Network: n.CAIP2, V1Network: n.V1Name, Address: n.USDC, Name: n.USDCName, Version: n.USDCVersion, Testnet: n.Testnet}},
		Schemes:  map[string]settlement.Scheme{n.CAIP2: scheme},
		Settlers: map[string]call.Settler{n.CAIP2: worker}}, nil
}

// Listen binds the address, so that who starts us knows it before Run.
func (a *App) Listen() (net.Addr, error) {
	l, err := net.Listen("tcp", a.cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a.cfg.Listen, err)
	}
	a.addr = l
	return l.Addr(), nil
}

// Run serves until ctx ends, then stops in reverse: no new calls, finish open ones, sweeper, workers, store.
func (a *App) Run(ctx context.Context) error {
	server := &http.Server{Handler: a.handler, MaxHeaderBytes: gateway.MaxHeaderBytes, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug)}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var group errgroup.Group
	group.Go(func() error { return a.sweeper.Run(background) })
	if a.indexer != nil {
		group.Go(func() error { return a.indexer.Run(background) })
	}
	for _, w := range a.workers {
		group.Go(func() error { return w.Run(background) })
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(a.addr) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		err = server.Shutdown(draining)
		<-served
	}
	stop()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, group.Wait(), a.Store.Shutdown())
}
