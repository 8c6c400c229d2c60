package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/ethclient"

	"p402.io/p402/internal/app"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/evm"
	"p402.io/p402/settlement/txmgr"
)

// flags makes a flag set that teaches: what the command does, then its flags.
func flags(name, teaches string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ExitOnError)
	f.Usage = func() {
		fmt.Fprintf(f.Output(), "%s\n\nFlags:\n", teaches)
		f.PrintDefaults()
	}
	return f
}

func configFlag(f *flag.FlagSet) *string {
	return f.String("config", os.Getenv("P402_CONFIG"), "configuration file (YAML); environment variables win over it")
}

func serve(ctx context.Context, args []string) error {
	f := flags("serve", "p402 serve runs the gateway until it gets SIGTERM, then finishes open calls.")
	path := configFlag(f)
	if err := f.Parse(args); err != nil {
		return err
	}
	cfg, err := loadConfig(*path)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	a, err := app.New(ctx, cfg, log)
	if err != nil {
		return err
	}
	addr, err := a.Listen()
	if err != nil {
		return err
	}
	metrics, err := a.ListenMetrics()
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "serving", "address", addr.String(), "metrics", addressOf(metrics), "settlement", cfg.Settlement != nil)
	return a.Run(ctx)
}

// addressOf is an address for people; nil is off.
func addressOf(a net.Addr) string {
	if a == nil {
		return "off"
	}
	return a.String()
}

func migrate(ctx context.Context, args []string) error {
	f := flags("migrate", "p402 migrate applies what is missing of the schema; running it twice is harmless.")
	path := configFlag(f)
	if err := f.Parse(args); err != nil {
		return err
	}
	cfg, err := loadConfig(*path)
	if err != nil {
		return err
	}
	return store.Migrate(ctx, cfg.DatabaseURL)
}

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// keys works on the database, as the first key has to come from somewhere.
func keys(ctx context.Context, args []string) error {
	f := flags("keys", "p402 keys create|list|revoke works on the database itself. A new key is shown once.")
	path := configFlag(f)
	tenant := f.String("tenant", "default", "the tenant's slug; it is made if there is none")
	name := f.String("name", "key", "what the key is for")
	live := f.Bool("live", false, "a live key; otherwise a test key")
	keyID := f.String("id", "", "key_… to revoke")
	if len(args) == 0 {
		f.Usage()
		return errors.New("say create, list or revoke")
	}
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	cfg, err := loadConfig(*path)
	if err != nil {
		return err
	}
	db, err := store.New(ctx, cfg.DatabaseURL, store.Options{Now: now, IDs: id.NewSource(now)})
	if err != nil {
		return err
	}
	defer func() { _ = db.Shutdown() }() // nothing is pending
	owner, err := db.EnsureTenant(ctx, *tenant, *tenant)
	if err != nil {
		return err
	}
	switch args[0] {
	case "create":
		plain, info, err := db.CreateKey(ctx, store.NewKey{TenantID: owner, Name: *name, Livemode: *live, Scopes: meter.AllScopes()})
		if err == nil {
			fmt.Printf("%s\n%s  (shown once: keep it)\n", info.ID, plain)
		}
		return err
	case "list":
		list, err := db.Keys(ctx, owner)
		for _, k := range list {
			state := "active"
			if k.RevokedAt != nil {
				state = "revoked"
			}
			fmt.Printf("%s  %s…  %-8s %s\n", k.ID, k.Prefix, state, k.Name)
		}
		return err
	case "revoke":
		return db.RevokeKey(ctx, owner, id.Key(*keyID))
	}
	return fmt.Errorf("%q is not create, list or revoke", args[0])
}

// doctor says of each part whether it is well and, if not, what to do.
func doctor(ctx context.Context, args []string) error {
	f := flags("doctor", "p402 doctor checks configuration, database, RPC, chain id, token domain and gas, and says what to do.")
	path := configFlag(f)
	if err := f.Parse(args); err != nil {
		return err
	}
	ill := 0
	say := func(what string, err error, remedy string) {
		if err == nil {
			fmt.Printf("ok    %s\n", what)
			return
		}
		ill++
		fmt.Printf("ILL   %s: %v\n      → %s\n", what, err, remedy)
	}
	cfg, err := loadConfig(*path)
	say("configuration", err, "set what is named above in the file or the environment")
	if err != nil {
		return errors.New("the configuration has to be right first")
	}
	db, err := store.New(ctx, cfg.DatabaseURL, store.Options{Now: now, IDs: id.NewSource(now)})
	say("database", err, "check that PostgreSQL runs and that the URL's user may connect")
	if err == nil {
		_ = db.Shutdown() // nothing is pending
	}
	if cfg.MetricsListen == "" {
		fmt.Println("ok    metrics are off")
	} else {
		say("metrics on "+cfg.MetricsListen+", off the public address", loopback(cfg.MetricsListen), "let only your monitoring reach it, or set metrics_listen to a loopback address or off")
	}
	if cfg.Settlement == nil {
		fmt.Println("ok    settlement is off: metering only, nothing else is needed")
	} else {
		checkNetwork(ctx, *cfg.Settlement, say)
	}
	if ill > 0 {
		return fmt.Errorf("%d of the checks failed", ill)
	}
	return nil
}

// loopback refuses an address for metrics that other machines can reach without a word about it.
func loopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || ip.IsUnspecified()) {
		return errors.New("every network can reach it")
	}
	return nil
}

func checkNetwork(ctx context.Context, c app.Settlement, say func(string, error, string)) {
	n, _ := settlement.FindNetwork(c.Network) // loadConfig has found it
	client, err := ethclient.DialContext(ctx, c.RPC)
	say("RPC address", err, "give an http(s) or ws(s) URL of a node")
	if err != nil {
		return
	}
	id, err := client.ChainID(ctx)
	if err == nil && id.Int64() != n.ChainID {
		err = fmt.Errorf("the node is on chain %s, not %d", id, n.ChainID)
	}
	say("chain id", err, "use a node of "+n.CAIP2)
	code, err := client.CodeAt(ctx, common.HexToAddress(n.USDC), nil)
	if err == nil && len(code) == 0 {
		err = errors.New("there is no token at " + n.USDC)
	}
	say("token", err, "check the network: USDC is not there")
	name, version, err := evm.TokenDomain(ctx, client, n.USDC)
	if err == nil && (name != n.USDCName || version != n.USDCVersion) {
		err = fmt.Errorf("the token says %q version %q, not %q version %q", name, version, n.USDCName, n.USDCVersion)
	}
	say("token domain", err, "payers' signatures would not verify; report the network row")
	sender, err := txmgr.New(client, c.Key, n)
	say("wallet key", err, "give 64 hex digits")
	if err != nil {
		return
	}
	say("wallet "+sender.Account(), sender.Ready(ctx), "use a plain account of its own for settlement")
	gas, err := sender.Gas(ctx)
	if err == nil && gas.Low {
		err = fmt.Errorf("%s wei last for %d payments at present fees", gas.Balance, gas.Payments)
	}
	say("gas", err, "send the wallet some of the network's coin")
}

func version(context.Context, []string) error {
	fmt.Println("p402", app.Version())
	return nil
}
