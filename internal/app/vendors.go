package app

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"p402.io/p402/gateway/call"
	"p402.io/p402/gateway/openai"
	"p402.io/p402/internal/catalogue"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/provider"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// vendors is where calls may go.
type vendors struct {
	routing routing
	card    meter.RateCard
	db      *store.Store
}

// newVendors builds every vendor of the configuration, each behind a circuit of its own.
func newVendors(cfg Config, db *store.Store) (*vendors, error) {
	card, err := catalogue.LoadWith(cfg.PricesFile)
	if err != nil {
		return nil, err
	}
	list := cfg.Vendors
	if cfg.Vendor.Name != "" {
		list = append([]Vendor{cfg.Vendor}, list...)
	}
	out := &vendors{card: card, db: db, routing: routing{aliases: cfg.Aliases}}
	for _, v := range list {
		e, err := newEndpoint(v)
		if err != nil {
			return nil, err
		}
		out.routing.endpoints = append(out.routing.endpoints, e)
	}
	return out, out.routing.check()
}

// vendorNames is every configured vendor, for readiness.
func (c Config) vendorNames() string {
	var names []string
	if c.Vendor.Name != "" {
		names = append(names, c.Vendor.Name)
	}
	for _, v := range c.Vendors {
		names = append(names, v.Name)
	}
	return strings.Join(names, ", ")
}

func newEndpoint(v Vendor) (endpoint, error) {
	if _, known := provider.FindProfile(v.Name); v.Kind == "" && known {
		v.Kind = v.Name // a vendor under its own name is of its own kind
	}
	if v.Kind == "" {
		v.Kind = "openai_compatible"
	}
	profile, ok := provider.FindProfile(v.Kind)
	if !ok {
		return endpoint{}, fmt.Errorf("provider %s: kind %q is none of %v", v.Name, v.Kind, provider.Kinds())
	}
	p, err := provider.New(provider.Config{Name: v.Name, Profile: profile, BaseURL: v.BaseURL, APIKey: v.APIKey, Simulated: v.Simulated,
		AllowPrivate: v.AllowPrivate, FirstByte: v.FirstByte, Idle: v.Idle})
	if err != nil {
		return endpoint{}, err
	}
	breaker := provider.NewBreaker(now)
	if v.Weight == 0 {
		v.Weight = 1
	}
	return endpoint{Vendor: v, profile: profile, breaker: breaker, provider: provider.Guarded{Provider: p, Breaker: breaker}}, nil
}

// route lists where a call may go.
func (v *vendors) route(a call.Ask) ([]call.Target, error) { return v.routing.targets(a) }

// ResponseMaker finds who made a response by its event, which has the caller's tenant and mode.
func (v *vendors) ResponseMaker(ctx context.Context, c meter.Caller, responseID string) (provider.Provider, id.Event, error) {
	e, err := v.db.Event(ctx, c.TenantID, responseID)
	if err != nil {
		return nil, "", err
	}
	maker, ok := v.routing.named(e.Provider)
	if e.Route != meter.RouteResponses || e.Livemode != c.Livemode || e.UpstreamID != responseID || !ok {
		return nil, "", fault.New(fault.KindNotFound, "RESPONSE_NOT_FOUND", "no such response")
	}
	return maker.provider, e.ID, nil
}

// event finds a tenant's event by any id handed out for it.
func (v *vendors) event(ctx context.Context, tenant id.Tenant, anyID string) (meter.Event, error) {
	e, err := v.db.Event(ctx, tenant, anyID)
	return e.Event, err
}

// List is what a key may use of what has a known price, by name, with who would serve it first.
func (v *vendors) List(ctx context.Context, c meter.Caller) ([]openai.Model, error) {
	policies, err := v.db.Policies(ctx, c.TenantID)
	if err != nil {
		return nil, err
	}
	out := []openai.Model{}
	at := now()
	for _, name := range v.card.Names() {
		allowed := meter.AllowsModel(c.AllowedModels, name)
		for _, p := range policies {
			allowed = allowed && p.Allows(name)
		}
		first, served := v.routing.first(c, name)
		row, priced := v.card.LookupFor(first.prices(), at, name)
		if allowed && served && priced {
			out = append(out, openai.Model{ID: name, Object: "model", OwnedBy: first.Name,
				P402: openai.ModelP402{Vendor: first.Name, Simulated: first.Simulated, Price: row.Rates}})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out, nil
}
