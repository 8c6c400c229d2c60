package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"p402.io/p402/internal/app"
	"p402.io/p402/internal/devchain"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/pgembed"
	"p402.io/p402/internal/provider"
	"p402.io/p402/internal/provider/mock"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// sandbox is the running house with its simulated surroundings.
type sandbox struct {
	options
	log    *slog.Logger
	pg     *pgembed.Server
	chain  *devchain.Chain
	vendor *mock.Vendor
	app    *app.App
}

// ready is the contract with other programs (docs/running.md).
type ready struct {
	BaseURL        string     `json:"base_url"`
	APIKey         string     `json:"api_key"`
	APIKey2        string     `json:"api_key_2"`
	AdminURL       string     `json:"admin_url"`
	MetricsURL     string     `json:"metrics_url"`
	RPCURL         string     `json:"rpc_url"`
	ChainID        int64      `json:"chain_id"`
	Network        string     `json:"network"`
	Asset          string     `json:"asset"`
	PayTo          string     `json:"pay_to"`
	FacilitatorURL string     `json:"facilitator_url"`
	FacilitatorKey string     `json:"facilitator_key"`
	Payers         []payer    `json:"payers"`
	Workflows      []workflow `json:"workflows"`
	Simulated      bool       `json:"simulated"`
	PID            int        `json:"pid"`
}

type payer struct {
	Address    string `json:"address"`
	PrivateKey string `json:"private_key"`
}

type workflow struct {
	Name          string `json:"name"`
	Scheme        string `json:"scheme"`
	PaidURL       string `json:"paid_url"`
	OpenAIBaseURL string `json:"openai_base_url"`
	PriceUSD      string `json:"price_usd"`
	AmountAtomic  string `json:"amount_atomic"`
}

// step tells a waiting person what is being prepared.
func step(text string) { fmt.Fprintf(os.Stderr, "  · %s\n", text) }

func (s *sandbox) start(ctx context.Context) error {
	database := s.database
	if database == "" {
		step("private PostgreSQL")
		var err error
		if s.pg, err = pgembed.Start(ctx, pgembed.Config{Dir: filepath.Join(s.data, "postgres"), Log: s.log, Progress: step}); err != nil {
			return fmt.Errorf("private PostgreSQL: %w", err)
		}
		database = s.pg.URL("p402")
	}
	step("development chain (simulated)")
	var err error
	if s.chain, err = devchain.Start(ctx, devchain.Config{Dir: filepath.Join(s.data, "chain"), Listen: "127.0.0.1:0", Now: time.Now, Log: s.log}); err != nil {
		return fmt.Errorf("development chain: %w", err)
	}
	vendor, err := s.startVendor()
	if err != nil {
		return err
	}
	step("gateway")
	seller := devchain.Lookup("seller").Address
	s.app, err = app.New(ctx, app.Config{Listen: s.listen, MetricsListen: s.metrics, SpoolDir: filepath.Join(s.data, "spool"), DatabaseURL: database, Vendor: vendor, CallTimeout: 2 * time.Minute, Alone: true,
		Settlement: &app.Settlement{Network: devchain.Network, RPC: s.chain.URL(), Key: devchain.Lookup("settler").Key, PayTo: []string{seller}}}, s.log)
	return err
}

func (s *sandbox) startVendor() (app.Vendor, error) {
	if s.upstream == "" {
		step("mock vendor (simulated)")
		var err error
		if s.vendor, err = mock.Start("127.0.0.1:0"); err != nil {
			return app.Vendor{}, err
		}
		return app.Vendor{Name: "mock", Prices: provider.AnyPrices, BaseURL: s.vendor.URL(), AllowPrivate: true, Simulated: true, TestKeys: true}, nil
	}
	u, err := url.Parse(s.upstream)
	if err != nil || u.Host == "" {
		return app.Vendor{}, errors.New("--upstream must be a URL such as http://127.0.0.1:9000/v1")
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1"
	}
	return app.Vendor{Name: "upstream", Prices: provider.AnyPrices, BaseURL: u.String(), APIKey: os.Getenv("P402_UPSTREAM_KEY"), AllowPrivate: true, TestKeys: true}, nil
}

func (s *sandbox) serve(ctx context.Context) error {
	addr, err := s.app.Listen()
	if err != nil {
		return err
	}
	metrics, err := s.app.ListenMetrics()
	if err != nil {
		return err
	}
	r, err := s.seed(ctx, "http://"+addr.String())
	if err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	if metrics != nil {
		r.MetricsURL = "http://" + metrics.String() + "/metrics"
	}
	done := make(chan error, 1)
	go func() { done <- s.app.Run(ctx) }()
	if s.ready != "" {
		if err := writeReady(s.ready, r); err != nil {
			return fmt.Errorf("ready file: %w", err)
		}
	}
	summary(r, s.data)
	return <-done
}

// stop ends what start began, in reverse.
func (s *sandbox) stop() error {
	var errs []error
	if s.vendor != nil {
		errs = append(errs, s.vendor.Close())
	}
	if s.chain != nil {
		errs = append(errs, s.chain.Close())
	}
	if s.pg != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		errs = append(errs, s.pg.Stop(ctx))
	}
	return errors.Join(errs...)
}

// keyring is the plain keys of this sandbox. A real installation keeps none; this one must show the same keys again.
type keyring struct {
	APIKey, APIKey2, FacilitatorKey string
}

// The sandbox's priced workflow.
const (
	demoWorkflow = "demo.exact"
	demoPrice    = "0.01"
	demoModel    = "mock-small"
	// By use: the most a run may cost, and what a million tokens cost.
	demoMost   = "0.05"
	demoInput  = "20"
	demoOutput = "100"
	// seedEvents is a budget that no run exhausts, in events: models without a price stay usable.
	seedEvents = 1_000_000_000
)

func (s *sandbox) seed(ctx context.Context, base string) (ready, error) {
	db := s.app.Store
	demo, err := db.EnsureTenant(ctx, "demo", "Demo tenant (simulated)")
	if err != nil {
		return ready{}, err
	}
	other, err := db.EnsureTenant(ctx, "other", "A second tenant (simulated)")
	if err != nil {
		return ready{}, err
	}
	keys, err := s.keys(ctx, db, demo, other)
	if err != nil {
		return ready{}, err
	}
	seller := devchain.Lookup("seller").Address
	link, err := db.CreateSignInLink(ctx, demo, "", 24*time.Hour)
	if err != nil {
		return ready{}, err
	}
	sold, err := s.sell(ctx, base, demo)
	if err != nil {
		return ready{}, err
	}
	r := ready{BaseURL: base, APIKey: keys.APIKey, APIKey2: keys.APIKey2, AdminURL: base + "/sign-in/" + link, RPCURL: s.chain.URL(), ChainID: devchain.ChainID,
		Network: devchain.Network, Asset: devchain.USDCAddress, PayTo: seller, FacilitatorURL: base + "/x402", FacilitatorKey: keys.FacilitatorKey,
		Workflows: sold,
		Simulated: true, PID: os.Getpid()}
	for _, a := range devchain.Accounts() {
		if strings.HasPrefix(a.Name, "payer-") {
			r.Payers = append(r.Payers, payer{a.Address, a.Key})
		}
	}
	return r, nil
}

// sell puts one workflow on sale for each scheme that works.
func (s *sandbox) sell(ctx context.Context, base string, demo id.Tenant) ([]workflow, error) {
	price := meter.Price{Model: meter.PricePerCall, AmountUSD: money.MustUSD(demoPrice), PayTo: devchain.Lookup("seller").Address, Network: devchain.Network,
		Asset: devchain.USDCAddress, Scheme: "exact", WaitFor: "included"}
	byUse := price
	byUse.Model, byUse.Scheme, byUse.AmountUSD = meter.PricePerToken, "upto", money.MustUSD(demoMost)
	byUse.PerToken = &meter.TokenPrice{InputUSD: money.MustUSD(demoInput), OutputUSD: money.MustUSD(demoOutput)}
	var out []workflow
	for _, w := range []meter.Workflow{
		{WorkflowID: demoWorkflow, Name: "Demo answer", Description: "One simulated answer, paid per call", Price: &price},
		{WorkflowID: "demo.upto", Name: "Demo answer by use", Description: "One simulated answer, paid by tokens", Price: &byUse},
	} {
		w.TenantID, w.State, w.Target = demo, meter.WorkflowLive, meter.Target{Kind: "model", Model: demoModel}
		stored, err := s.app.Store.PutWorkflow(ctx, w)
		if err != nil {
			return nil, err
		}
		amount, err := money.Payable(stored.Price.AmountUSD)
		if err != nil {
			return nil, err
		}
		paid := base + "/x/" + stored.Seller + "/" + stored.WorkflowID
		out = append(out, workflow{Name: stored.WorkflowID, Scheme: stored.Price.Scheme, PaidURL: paid, OpenAIBaseURL: paid + "/v1",
			PriceUSD: stored.Price.AmountUSD.String(), AmountAtomic: amount.String()})
	}
	return out, nil
}

// keys makes the seeded keys on the first start, and finds them again on later ones.
func (s *sandbox) keys(ctx context.Context, db *store.Store, demo, other id.Tenant) (keyring, error) {
	path := filepath.Join(s.data, "keys.json")
	var k keyring
	raw, err := os.ReadFile(path)
	if err == nil {
		return k, json.Unmarshal(raw, &k)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return k, err
	}
	var info store.KeyInfo
	if k.APIKey, info, err = db.CreateKey(ctx, store.NewKey{TenantID: demo, Name: "sandbox", Scopes: meter.AllScopes()}); err != nil {
		return k, err
	}
	events := int64(seedEvents)
	if _, err = db.PutBudget(ctx, meter.Budget{TenantID: demo, Name: "sandbox key", Scope: meter.BudgetScope{Type: "key", ID: string(info.ID)}, Window: meter.WindowMonth, LimitEvents: &events}); err != nil {
		return k, err
	}
	if k.APIKey2, _, err = db.CreateKey(ctx, store.NewKey{TenantID: other, Name: "sandbox", Scopes: meter.AllScopes()}); err != nil {
		return k, err
	}
	if k.FacilitatorKey, _, err = db.CreateKey(ctx, store.NewKey{TenantID: demo, Name: "facilitator", Scopes: []meter.Scope{meter.ScopeSettleVerify, meter.ScopeSettleWrite}}); err != nil {
		return k, err
	}
	if raw, err = json.Marshal(k); err != nil {
		return k, err
	}
	return k, os.WriteFile(path, raw, 0o600)
}

// summary is what a newcomer reads and pastes.
func summary(r ready, data string) {
	w := r.Workflows[0]
	fmt.Printf(`
  p402 sandbox · everything here is simulated: mock vendor, development chain, no real money

  gateway    %s
  key        %s
  dashboard  %s   (works once)
  metrics    %s
  data       %s

  1 · a metered call
  curl -s %s/v1/chat/completions -H "Authorization: Bearer %s" -H "Content-Type: application/json" \
    -d '{"model":"mock-small","messages":[{"role":"user","content":"hello"}],"metadata":{"workflow_id":"support.reply","customer_id":"acme","feature_id":"chat"}}'

  2 · its outcome (put the answer's id in place of ID)
  curl -s %s/api/v2/meter/events/ID/outcome -H "Authorization: Bearer %s" -H "Content-Type: application/json" -d '{"outcome":"accepted"}'

  3 · a paid call, by a stranger with a wallet (%s USDC)
  bin/p402 pay %s --key %s

  Stop with Ctrl-C; the next start continues with the same data and keys.
`, r.BaseURL, r.APIKey, r.AdminURL, r.MetricsURL, data, r.BaseURL, r.APIKey, r.BaseURL, r.APIKey, w.PriceUSD, w.PaidURL, r.Payers[0].PrivateKey)
}
