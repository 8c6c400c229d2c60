package app

import (
	"net/url"
	"slices"
	"sync"
	"time"

	"p402.io/p402/gateway/dashboard"
	"p402.io/p402/internal/credential"
	"p402.io/p402/settlement"
)

// gasBook remembers what each network's worker last saw in its wallet, for the system page.
type gasBook struct {
	mu   sync.Mutex
	seen map[string]dashboard.Gas
}

func (b *gasBook) note(g settlement.Gas, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen == nil {
		b.seen = map[string]dashboard.Gas{}
	}
	b.seen[g.Network] = dashboard.Gas{Network: g.Network, Account: g.Account, BalanceWei: g.Balance.String(), Payments: g.Payments, Low: g.Low, At: at}
}

func (b *gasBook) list() []dashboard.Gas {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := []dashboard.Gas{}
	for _, g := range b.seen {
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b dashboard.Gas) int { return len(a.Network) - len(b.Network) })
	return out
}

// noteGas tells the metrics and the system page.
func (a *App) noteGas(g settlement.Gas) {
	a.metrics.gas(g)
	a.gas.note(g, now())
}

// shown is the vendors as a page may show them: where they are by host alone, and no secret.
func (v *vendors) shown() []dashboard.Vendor {
	var out []dashboard.Vendor
	for _, e := range v.routing.endpoints {
		host := "of the profile"
		if u, err := url.Parse(e.BaseURL); err == nil && u.Host != "" {
			host = u.Host
		}
		health := "ok"
		if !e.breaker.Ready() {
			health = "not asked for a moment: it failed too often"
		}
		out = append(out, dashboard.Vendor{Name: e.Name, Kind: e.Kind, Host: host, Priority: e.Priority, Weight: e.Weight, Models: e.Models, Simulated: e.Simulated, TestKeys: e.TestKeys, Health: health})
	}
	return out
}

// pages builds the dashboard over what the house knows.
func (a *App) pages(v *vendors, sealer *credential.Sealer) (*dashboard.Surface, error) {
	c := dashboard.Config{Store: a.Store, Log: a.log, Now: now, Card: v.card, Version: Version(), Vendors: v.shown, Gas: a.gas.list}
	if c.Sealer = sealer; a.cfg.OIDC != nil {
		c.OIDC = credential.NewOIDC(*a.cfg.OIDC, now)
	}
	if a.cfg.Settlement != nil {
		c.Networks = []string{a.cfg.Settlement.Network}
	}
	return dashboard.New(c)
}
