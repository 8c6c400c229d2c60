package app

import (
	"context"
	"sort"

	"p402.io/p402/gateway/openai"
	"p402.io/p402/internal/catalogue"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/provider"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// vendors is where calls may go.
type vendors struct {
	cfg  Vendor
	main provider.Provider
	card meter.RateCard
	db   *store.Store
}

func newVendors(cfg Vendor, db *store.Store) (*vendors, error) {
	card, err := catalogue.Load()
	if err != nil {
		return nil, err
	}
	p, err := provider.New(provider.Config{Name: cfg.Name, BaseURL: cfg.BaseURL, APIKey: cfg.APIKey, Simulated: cfg.Simulated, AllowPrivate: cfg.AllowPrivate})
	if err != nil {
		return nil, err
	}
	return &vendors{cfg: cfg, main: p, card: card, db: db}, nil
}

// route chooses the vendor. A test key never reaches one that bills, and a live key never one that makes answers up (D26).
func (v *vendors) route(c meter.Caller, model string) (provider.Provider, string, error) {
	if c.Livemode == v.cfg.TestKeys {
		return nil, "", fault.New(fault.KindUnavailable, "NO_PROVIDER_AVAILABLE", "no provider serves this kind of key here; test keys and live keys are kept apart")
	}
	return v.main, model, nil
}

// List is what a key may use of what has a known price, by name.
func (v *vendors) List(ctx context.Context, c meter.Caller) ([]openai.Model, error) {
	policies, err := v.db.Policies(ctx, c.TenantID)
	if err != nil {
		return nil, err
	}
	out := []openai.Model{}
	for name, rates := range v.card.ModelsFor(v.main.Name(), now()) {
		allowed := meter.AllowsModel(c.AllowedModels, name)
		for _, p := range policies {
			allowed = allowed && meter.AllowsModel(p.AllowedModels, name)
		}
		if allowed {
			out = append(out, openai.Model{ID: name, Object: "model", OwnedBy: v.cfg.Name,
				P402: openai.ModelP402{Vendor: v.cfg.Name, Simulated: v.cfg.Simulated, Price: rates}})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out, nil
}
