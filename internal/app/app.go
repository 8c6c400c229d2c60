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

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/ethclient"
	"golang.org/x/sync/errgroup"

	"p402.io/p402/gateway"
	"p402.io/p402/gateway/anthropic"
	"p402.io/p402/gateway/api"
	"p402.io/p402/gateway/call"
	"p402.io/p402/gateway/facilitator"
	"p402.io/p402/gateway/openai"
	"p402.io/p402/gateway/openapi"
	"p402.io/p402/gateway/sell"
	"p402.io/p402/internal/catalogue"
	"p402.io/p402/internal/credential"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/spool"
	"p402.io/p402/internal/store"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/evm"
	"p402.io/p402/settlement/reconcile"
	"p402.io/p402/settlement/txmgr"
)

// Config is what an operator decides.
type Config struct {
	Listen string
	// MetricsListen is where /metrics is served, never on Listen; "" is nowhere.
	MetricsListen string
	DatabaseURL   string
	Vendor        Vendor   // the one vendor of a small installation; it comes before Vendors
	Vendors       []Vendor // in the order they are preferred at equal priority and by lot
	// Aliases are names of the operator's own, each for an ordered list of models: the first, and its fallbacks.
	Aliases map[string][]string
	// PricesFile is the operator's own prices, laid over the built-in book; "" is none (catalogue.LoadWith).
	PricesFile string
	Settlement *Settlement // nil: metering only; no chain setting is read
	// Origins is the web origins whose pages may call the keyed surfaces; none by default.
	Origins []string
	// OIDC is an issuer that members may sign in by; nil: links and passwords only.
	OIDC *credential.OIDCConfig
	// Alone says that no other node serves this database: calls that a crash left open are then closed at once on start.
	Alone bool
	// SpoolDir is where closings wait while the store is away; "" is none, and then the sweeper estimates them.
	SpoolDir string
	// CallTimeout bounds one call. 0 = 5 minutes.
	CallTimeout time.Duration
}

// Vendor is where calls go.
type Vendor struct {
	Name         string
	Kind         string // a provider profile; "" is openai_compatible
	BaseURL      string // "" is the profile's
	APIKey       string
	AllowPrivate bool   // loopback and private addresses may be dialled
	Simulated    bool   // answers are made up
	Region       string // of its endpoint, as price rows name it; "" is the vendor's ordinary one
	Prices       string // whose price list its models are of (see provider.Profile.Prices); "" is the profile's
	TestKeys     bool   // test keys may use it, and live keys may not

	Models          []string          // what it is asked for by bare name; empty: everything
	Aliases         map[string]string // a model's name here -> its name there
	Priority        int               // the lowest first
	Weight          int               // share among equals; 0 = 1
	Retries         int               // times the same vendor is asked again where that is proved free
	ForwardMetadata bool              // owners may go to it
	FirstByte, Idle time.Duration     // 0 = the provider package's defaults
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
	runner  *call.Runner
	sealer  *store.Sealer
	workers []*settlement.Worker
	// transfers reads each settled network for refunds.
	transfers   map[string]api.Transfers
	addr        net.Listener
	metricsAddr net.Listener // nil: off
	metrics     *metrics
	indexer     *reconcile.Indexer // nil without settlement
	gas         gasBook
}

const (
	defaultCallTimeout = 5 * time.Minute
	closeGrace         = 10 * time.Second
	offerFor           = 10 * time.Minute
	awaitFor           = 45 * time.Second
	maxHashes          = 2 // passwords at once: each takes 19 MiB for some tens of milliseconds
	drainTimeout       = 20 * time.Second
	sealEvery          = time.Second     // how long a fact may wait for its place in the chain; no call does
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
	card, err := catalogue.LoadWith(cfg.PricesFile)
	if err != nil {
		return nil, err
	}
	ids := id.NewSource(now)
	db, err := store.New(ctx, cfg.DatabaseURL, store.Options{Now: now, IDs: ids, Card: card})
	if err != nil {
		return nil, err
	}
	a := &App{Store: db, IDs: ids, cfg: cfg, log: log, metrics: newMetrics()}
	if err := a.build(ctx); err != nil {
		return nil, errors.Join(err, db.Shutdown())
	}
	if err := a.recover(ctx); err != nil {
		return nil, errors.Join(err, db.Shutdown())
	}
	return a, nil
}

// recover takes up what a crash left: first what this node has spooled, as that is the truth about its calls, then the rest.
func (a *App) recover(ctx context.Context) error {
	if _, err := a.runner.Drain(ctx); err != nil {
		return fmt.Errorf("drain the spool: %w", err)
	}
	if !a.cfg.Alone {
		return nil
	}
	return a.Store.Orphan(ctx)
}

func (a *App) build(ctx context.Context) error {
	vendors, err := newVendors(a.cfg, a.Store)
	if err != nil {
		return err
	}
	signing, err := a.Store.Secret(ctx, "receipt_ed25519", ed25519.SeedSize)
	if err != nil {
		return err
	}
	issuer := settlement.NewIssuer("p402", ed25519.NewKeyFromSeed(signing))
	published, err := a.publishedKeys(ctx, issuer)
	if err != nil {
		return err
	}
	runner := &call.Runner{Store: a.Store, IDs: a.IDs, Now: now, Log: a.log, Route: vendors.route, CallTimeout: a.cfg.CallTimeout, CloseGrace: closeGrace,
		Repeats: call.NewRepeats(now), FindEvent: vendors.event}
	auth := gateway.NewAuth(a.Store, now)
	inference := &openai.Surface{Auth: auth, Runner: runner, Log: a.log, Models: vendors, Made: vendors}
	cursorKey, err := a.Store.Secret(ctx, "cursor", 32)
	if err != nil {
		return err
	}
	finance := api.Finance{Signer: reconcile.Signer{Name: issuer.Name, KeyID: issuer.KeyID, Key: issuer.Key}, Nodes: map[string]reconcile.Node{}}
	sealKey, err := a.Store.Secret(ctx, "member_seal", 32)
	if err != nil {
		return err
	}
	sealer, err := credential.NewSealer(sealKey)
	if err != nil {
		return err
	}
	pages, err := a.pages(vendors, sealer)
	if err != nil {
		return err
	}
	control := &api.Surface{Auth: auth, Store: a.Store, Now: now, Log: a.log, CursorKey: cursorKey, Keys: issuer.KeySet(), PayTo: evm.ParseAddress, Hasher: credential.NewHasher(maxHashes), Sealer: sealer, Finance: finance}
	surfaces := []gateway.Surface{inference, &anthropic.Surface{Auth: auth, Runner: runner, Log: a.log},
		control,
		pages,
		&system{app: a, keys: published}}
	if a.cfg.Settlement != nil {
		if runner.Sale, err = a.sale(ctx, issuer); err != nil {
			return err
		}
		control.Transfers = a.transfers
		finance.Nodes[a.indexer.Network] = a.indexer.Node
		payTo := map[string]bool{}
		for _, address := range a.cfg.Settlement.PayTo {
			payTo[address] = true
		}
		n, _ := settlement.FindNetwork(a.cfg.Settlement.Network) // sale has found it already
		surfaces = append(surfaces, &sell.Surface{Workflows: a.Store, OpenAI: inference, Log: a.log, Live: func(string) bool { return !n.Testnet },
			Statuses: a.Store, Assets: map[string]string{n.CAIP2: n.USDC}},
			&facilitator.Surface{Auth: auth, Book: a.Store, IDs: a.IDs, Now: now, Log: a.log, Sale: runner.Sale, PayTo: payTo,
				Signers: map[string][]string{"eip155:*": {a.workers[0].Sender.Account()}}})
	}
	surfaces = append(surfaces, openapi.Surface{}) // last: it describes what the others have registered
	a.sweeper = &call.Sweeper{Runner: runner, Every: time.Second, Limit: 100}
	if a.cfg.SpoolDir != "" {
		if runner.Spool, err = spool.Open(a.cfg.SpoolDir, now, a.log); err != nil {
			return err
		}
	}
	a.runner = runner
	a.sealer = &store.Sealer{Store: a.Store, Every: sealEvery, Failed: func(err error) { a.log.Warn("sealing the ledger failed", "err", err) }}
	a.handler = gateway.NewRouter(gateway.Config{Log: a.log, IDs: a.IDs, Now: now, Origins: a.cfg.Origins, Observe: a.metrics.observe}, surfaces...)
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
	if err := sender.Ready(ctx); err != nil {
		return nil, err
	}
	seal, err := a.Store.Secret(ctx, "offer_seal", 32)
	if err != nil {
		return nil, err
	}
	scheme := evm.NewSuite(&evm.Exact{Node: client, ChainID: chainID, Now: now, WorkTime: awaitFor, Wallets: []common.Address{common.HexToAddress(sender.Account())}})
	worker := settlement.NewWorker(settlement.WorkerConfig{Network: n.CAIP2, Book: a.Store, Chain: &evm.Chain{Client: client}, Sender: sender, Scheme: scheme,
		Receipts: issuer, IDs: a.IDs, Now: now, Log: a.log, Poll: 500 * time.Millisecond, Rebroadcast: 5 * time.Second, Replace: 30 * time.Second, Gas: a.noteGas})
	a.workers = append(a.workers, worker)
	a.indexer = &reconcile.Indexer{Network: n.CAIP2, Node: &evm.Logs{Client: client, Network: n.CAIP2}, Index: a.Store, Now: now, Log: a.log, Poll: indexPoll}
	a.transfers = map[string]api.Transfers{n.CAIP2: &evm.Chain{Client: client}}
	overPermit2, upto, err := evm.Permit2Ready(ctx, client)
	if err != nil {
		return nil, err
	}
	return &call.Sale{SealKey: seal, OfferFor: offerFor, AwaitFor: awaitFor, Holder: a.Store, Signer: issuer,
		Assets: map[string]call.Asset{n.CAIP2: {Network: n.CAIP2, V1Network: n.V1Name, Address: n.USDC, Name: n.USDCName, Version: n.USDCVersion, Testnet: n.Testnet,
			Permit2: overPermit2, Upto: upto, Facilitator: sender.Account()}},
		Schemes:  map[string]settlement.Scheme{n.CAIP2: scheme},
		Funders:  map[string]call.Funder{n.CAIP2: scheme},
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
	server := &http.Server{Handler: a.handler, MaxHeaderBytes: gateway.MaxHeaderBytes, ReadHeaderTimeout: gateway.ReadHeaderTimeout, IdleTimeout: gateway.IdleTimeout,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug)}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var group errgroup.Group
	group.Go(func() error { return a.sweeper.Run(background) })
	group.Go(func() error { return a.serveMetrics(background) })
	group.Go(func() error { return a.sealer.Run(background) })
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
	a.runner.Wait()
	stop()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, group.Wait(), a.Store.Shutdown())
}
