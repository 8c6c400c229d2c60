package app

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"

	"p402.io/p402/gateway/call"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/provider"
	"p402.io/p402/meter"
)

// endpoint is one configured vendor, built.
type endpoint struct {
	Vendor
	profile  provider.Profile
	breaker  *provider.Breaker
	provider provider.Provider
}

// routing chooses vendors by a model's name. A name is, in this order: an alias of the configuration, which stands for an
// ordered list of names; "vendor/model" of a configured vendor; a model of every vendor that lists it or lists none. The
// model that was asked for and the one that served are both on the event; nothing is put in a model's place unless an
// alias of the operator's says so.
type routing struct {
	endpoints []endpoint
	aliases   map[string][]string
}

// check refuses a configuration that cannot route.
func (r routing) check() error {
	seen := map[string]bool{}
	for _, e := range r.endpoints {
		switch {
		case e.Name == "" || strings.Contains(e.Name, "/"):
			return fmt.Errorf("provider %q: needs a name without a slash", e.Name)
		case seen[e.Name]:
			return fmt.Errorf("provider %s: is configured twice", e.Name)
		case e.Weight < 0 || e.Retries < 0 || e.Retries > 5:
			return fmt.Errorf("provider %s: weight must not be negative, retries must be 0 to 5", e.Name)
		}
		seen[e.Name] = true
	}
	for alias, names := range r.aliases {
		if len(names) == 0 {
			return fmt.Errorf("alias %s: stands for nothing", alias)
		}
		for _, name := range names {
			if _, nested := r.aliases[name]; nested {
				return fmt.Errorf("alias %s: %s is an alias too; name models", alias, name)
			}
		}
	}
	return nil
}

func (r routing) named(name string) (endpoint, bool) {
	for _, e := range r.endpoints {
		if e.Name == name {
			return e, true
		}
	}
	return endpoint{}, false
}

// prices is whose price list the vendor's model names are of; "" is anybody's.
func (e endpoint) prices() string {
	for _, name := range []string{e.Prices, e.profile.Prices} {
		if name == provider.AnyPrices {
			return ""
		}
		if name != "" {
			return name
		}
	}
	return e.profile.Vendor
}

// may reports whether a caller's kind of key may use the vendor: a test key never reaches one that bills, and a live key
// never one that makes answers up (D26).
func (e endpoint) may(c meter.Caller) bool { return c.Livemode != e.TestKeys }

// choice is a vendor with the name a model has there.
type choice struct {
	endpoint
	model string
}

// targets lists where a call may go, first choice first: vendors by priority, those of one priority in an order drawn by
// weight, those whose circuit is open last. Each is repeated as often as its retries say.
func (r routing) targets(a call.Ask) ([]call.Target, error) {
	names := r.aliases[a.Model]
	if len(names) == 0 {
		names = []string{a.Model}
	}
	var choices, resting []choice
	usable := false
	for _, name := range names {
		for _, c := range r.choices(name) {
			if !c.may(a.Caller) || a.Vendor != "" && c.Name != a.Vendor {
				continue
			}
			usable = true
			switch {
			case !c.profile.Serves(provider.Route(a.Route)):
			case c.breaker.Ready():
				choices = append(choices, c)
			default:
				resting = append(resting, c)
			}
		}
	}
	out := spread(append(choices, resting...), provider.Route(a.Route))
	switch {
	case len(out) > 0:
		return out, nil
	case usable:
		return nil, fault.New(fault.KindNotFound, "UNSUPPORTED_FEATURE", "no provider of this model serves "+string(a.Route))
	case r.known(names):
		return nil, fault.New(fault.KindUnavailable, "NO_PROVIDER_AVAILABLE", "no provider serves this kind of key here; test keys and live keys are kept apart")
	}
	return nil, fault.Field(fault.KindNotFound, "MODEL_NOT_FOUND", "model", "no provider here has this model")
}

func (r routing) known(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return len(r.choices(name)) > 0 })
}

// spread turns choices into targets, repeating each as its retries allow; a fallback or a repeat spends of its vendor's
// retry budget.
func spread(choices []choice, route provider.Route) []call.Target {
	var out []call.Target
	for _, c := range choices {
		t := call.Target{Provider: c.provider, Model: c.model, ForwardMetadata: c.ForwardMetadata, Ready: c.breaker.Retry,
			Vendor: c.profile.Vendor, Prices: c.prices(), Region: c.Region, API: c.profile.API(route, "")}
		for range c.Retries + 1 {
			out = append(out, t)
		}
	}
	return out
}

// choices is every vendor for one name, in order.
func (r routing) choices(name string) []choice {
	if prefix, model, ok := strings.Cut(name, "/"); ok {
		e, found := r.named(prefix)
		if found && e.profile.OwnNames && prefix == e.Kind && !strings.Contains(model, "/") {
			model = name // "openrouter/auto" is a model's own name there
		}
		if found {
			return []choice{{e, e.there(model)}}
		}
	}
	var out []choice
	for _, e := range r.endpoints {
		if _, alias := e.Aliases[name]; alias || len(e.Models) == 0 || slices.Contains(e.Models, name) {
			out = append(out, choice{e, e.there(name)})
		}
	}
	return drawn(out)
}

// there is a model's name at a vendor.
func (e endpoint) there(model string) string {
	if name, ok := e.Aliases[model]; ok {
		return name
	}
	return model
}

// drawn orders by priority, the lower number first, and within one priority by lot: the chance to come first is the
// weight's share. Weight 0 cannot occur; newEndpoint makes it 1.
func drawn(list []choice) []choice {
	sort.SliceStable(list, func(i, j int) bool { return list[i].Priority < list[j].Priority })
	for i := range list {
		total := 0
		for j := i; j < len(list) && list[j].Priority == list[i].Priority; j++ {
			total += list[j].Weight
		}
		lot := rand.IntN(total) // no secret: it only spreads load
		for j := i; ; j++ {
			if lot -= list[j].Weight; lot < 0 {
				list[i], list[j] = list[j], list[i]
				break
			}
		}
	}
	return list
}

// first is the vendor that a caller's call for a model would most likely go to.
func (r routing) first(c meter.Caller, model string) (endpoint, bool) {
	targets, err := r.targets(call.Ask{Caller: c, Model: model, Route: meter.RouteChat})
	if err != nil {
		return endpoint{}, false
	}
	return r.named(targets[0].Provider.Name())
}
