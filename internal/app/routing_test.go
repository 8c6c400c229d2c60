package app

import (
	"testing"
	"time"

	"p402.io/p402/gateway/call"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/provider"
	"p402.io/p402/meter"
)

func routingOf(t *testing.T, aliases map[string][]string, list ...Vendor) routing {
	t.Helper()
	r := routing{aliases: aliases}
	for _, v := range list {
		if v.BaseURL == "" {
			v.BaseURL = "https://vendor.example/v1"
		}
		e, err := newEndpoint(v)
		if err != nil {
			t.Fatal(err)
		}
		r.endpoints = append(r.endpoints, e)
	}
	if err := r.check(); err != nil {
		t.Fatal(err)
	}
	return r
}

func named(targets []call.Target) []string {
	var out []string
	for _, t := range targets {
		out = append(out, t.Provider.Name()+" "+t.Model)
	}
	return out
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("targets %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("targets %q, want %q", got, want)
		}
	}
}

func TestRoutingByName(t *testing.T) {
	t.Parallel()
	r := routingOf(t, map[string][]string{"fast": {"openai/gpt-mini", "anthropic/claude-small"}},
		Vendor{Name: "openai", Kind: "openai", Models: []string{"gpt-mini"}, Priority: 1, Aliases: map[string]string{"mini": "gpt-mini"}},
		Vendor{Name: "anthropic", Kind: "anthropic", Models: []string{"claude-small"}, Priority: 1},
		Vendor{Name: "openrouter", Kind: "openrouter", Priority: 2})
	rows := []struct {
		name, model string
		route       meter.Route
		want        []string
	}{
		{"the vendor is named", "openai/gpt-mini", meter.RouteChat, []string{"openai gpt-mini"}},
		{"listed by one, taken by one that lists nothing", "gpt-mini", meter.RouteChat, []string{"openai gpt-mini", "openrouter gpt-mini"}},
		{"the vendor's own alias", "mini", meter.RouteChat, []string{"openai gpt-mini", "openrouter mini"}},
		{"an alias is a list of fallbacks in its order", "fast", meter.RouteChat, []string{"openai gpt-mini", "anthropic claude-small"}},
		{"a maker that is no vendor here stays in the name (D27)", "meta/llama", meter.RouteChat, []string{"openrouter meta/llama"}},
		{"a name of its own that begins with the vendor's", "openrouter/auto", meter.RouteChat, []string{"openrouter openrouter/auto"}},
		{"the vendor before a name with a maker", "openrouter/openai/gpt-mini", meter.RouteChat, []string{"openrouter openai/gpt-mini"}},
		{"only who has the route", "fast", meter.RouteMessages, []string{"anthropic claude-small"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := r.targets(call.Ask{Caller: meter.Caller{Livemode: true}, Model: row.model, Route: row.route})
			if err != nil {
				t.Fatal(err)
			}
			same(t, named(got), row.want...)
		})
	}
}

func TestRoutingRefusals(t *testing.T) {
	t.Parallel()
	r := routingOf(t, nil, Vendor{Name: "openai", Kind: "openai", Models: []string{"gpt-mini"}})
	live := meter.Caller{Livemode: true}
	rows := []struct {
		name string
		ask  call.Ask
		code fault.Code
	}{
		{"nobody has it", call.Ask{Caller: live, Model: "other", Route: meter.RouteChat}, "MODEL_NOT_FOUND"},
		{"nobody has the route", call.Ask{Caller: live, Model: "gpt-mini", Route: meter.RouteMessages}, "UNSUPPORTED_FEATURE"},
		{"D26 a test key at a live vendor", call.Ask{Model: "gpt-mini", Route: meter.RouteChat}, "NO_PROVIDER_AVAILABLE"},
		{"the vendor a chain lies at is gone", call.Ask{Caller: live, Model: "gpt-mini", Route: meter.RouteResponses, Vendor: "azure"}, "NO_PROVIDER_AVAILABLE"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, err := r.targets(row.ask)
			f, ok := fault.As(err)
			if !ok || f.Code != row.code {
				t.Fatalf("got %v, want %s", err, row.code)
			}
		})
	}
}

func TestD26_TestKeysAndLiveKeysNeverShareAVendor(t *testing.T) {
	t.Parallel()
	r := routingOf(t, map[string][]string{"any": {"live/m", "mock/m"}},
		Vendor{Name: "live", Kind: "openai_compatible"}, Vendor{Name: "mock", Kind: "mock", TestKeys: true, Simulated: true})
	for _, model := range []string{"m", "any", "live/m", "mock/m"} {
		for _, livemode := range []bool{true, false} {
			targets, err := r.targets(call.Ask{Caller: meter.Caller{Livemode: livemode}, Model: model, Route: meter.RouteChat})
			if fault.KindOf(err) == fault.KindUnavailable {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, to := range targets {
				if to.Provider.Simulated() == livemode {
					t.Errorf("%s with livemode %t goes to %s", model, livemode, to.Provider.Name())
				}
			}
		}
	}
}

func TestWeightsSpreadCalls(t *testing.T) {
	t.Parallel()
	r := routingOf(t, nil, Vendor{Name: "a", Weight: 3}, Vendor{Name: "b", Weight: 1}, Vendor{Name: "last", Priority: 1, Weight: 100})
	first := map[string]int{}
	for range 4000 {
		got, err := r.targets(call.Ask{Caller: meter.Caller{Livemode: true}, Model: "m", Route: meter.RouteChat})
		if err != nil || len(got) != 3 || got[2].Provider.Name() != "last" {
			t.Fatal(named(got), err)
		}
		first[got[0].Provider.Name()]++
	}
	if share := first["a"]; share < 2800 || share > 3200 { // 3000 expected; 200 is more than seven deviations
		t.Errorf("a came first %d times of 4000, want about 3000", share)
	}
}

func TestOpenCircuitGoesLast(t *testing.T) {
	t.Parallel()
	r := routingOf(t, nil, Vendor{Name: "ill", BaseURL: "http://127.0.0.1:1/v1", AllowPrivate: true}, Vendor{Name: "well", Priority: 1})
	for range 5 { // nothing listens on port 1
		if _, err := r.endpoints[0].provider.Do(t.Context(), provider.Request{Route: provider.RouteChatCompletions, Body: []byte("{}")}); err == nil {
			t.Fatal("nobody should answer")
		}
	}
	got, err := r.targets(call.Ask{Caller: meter.Caller{Livemode: true}, Model: "m", Route: meter.RouteChat})
	if err != nil {
		t.Fatal(err)
	}
	same(t, named(got), "well m", "ill m")
}

func TestRoutingConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	bad := []Config{
		{Vendors: []Vendor{{Name: "a", BaseURL: "https://a.example"}, {Name: "a", BaseURL: "https://b.example"}}},
		{Vendors: []Vendor{{Name: "a/b", BaseURL: "https://a.example"}}},
		{Vendors: []Vendor{{Name: "a", BaseURL: "https://a.example", Kind: "abacus"}}},
		{Vendors: []Vendor{{Name: "a", BaseURL: "https://a.example", Retries: 99}}},
		{Vendors: []Vendor{{Name: "a", BaseURL: "https://a.example", FirstByte: time.Second}}, Aliases: map[string][]string{"x": {}}},
		{Vendors: []Vendor{{Name: "a", BaseURL: "https://a.example"}}, Aliases: map[string][]string{"x": {"y"}, "y": {"a/m"}}},
	}
	for i, cfg := range bad {
		if _, err := newVendors(cfg, nil); err == nil {
			t.Errorf("configuration %d was accepted", i)
		}
	}
}
