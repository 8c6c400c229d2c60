package catalogue

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
)

func rows(t testing.TB) []meter.RateRow {
	t.Helper()
	all, err := meter.ParseRateRows(raw)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// everyRates visits each set of rates of a row: by itself, by tier, by size, by hour.
func everyRates(r meter.RateRow, visit func(where string, rates meter.Rates)) {
	sizes := func(where string, list []meter.ContextTier) {
		for _, size := range list {
			visit(where+" above a size", size.Rates)
		}
	}
	visit("base", r.Rates)
	sizes("base", r.ContextTiers)
	for name, tier := range r.ServiceTiers {
		visit(name, tier.Rates)
		sizes(name, tier.ContextTiers)
	}
	for _, w := range r.TimeWindows {
		visit("from "+w.From, w.Rates)
		sizes("from "+w.From, w.ContextTiers)
	}
}

func TestRowsAreSane(t *testing.T) {
	t.Parallel()
	ids := map[string]bool{}
	for _, r := range rows(t) {
		if ids[r.ID] {
			t.Errorf("%s is there twice", r.ID)
		}
		ids[r.ID] = true
		if r.Source.Name == "" {
			t.Errorf("%s has no source", r.ID)
		}
		if strings.HasPrefix(r.Source.Name, "@") && (r.Source.Version == "" || r.Source.Retrieved == "" || r.Provider == "") {
			t.Errorf("%s: source %+v of %q is not whole", r.ID, r.Source, r.Provider)
		}
		everyRates(r, func(where string, rates meter.Rates) {
			for class, rate := range rates {
				if rate.Sign() < 0 {
					t.Errorf("%s %s: %s is negative", r.ID, where, class)
				}
			}
			notAbove(t, r.ID+" "+where, rates, "cached_input", "input")
			notAbove(t, r.ID+" "+where, rates, "cache_write_5m", "cache_write_1h")
			notAbove(t, r.ID+" "+where, rates, "input", "cache_write_5m")
		})
	}
}

func notAbove(t *testing.T, where string, rates meter.Rates, lower, upper string) {
	t.Helper()
	a, okA := rates[lower]
	b, okB := rates[upper]
	if okA && okB && a.Cmp(b) > 0 {
		t.Errorf("%s: %s %s is above %s %s", where, lower, a, upper, b)
	}
}

// TestDatedRowsDoNotOverlap: one name of one provider has at most one price at a time.
func TestDatedRowsDoNotOverlap(t *testing.T) {
	t.Parallel()
	byName := map[string][]meter.RateRow{}
	for _, r := range rows(t) {
		if r.EffectiveTo != nil && !r.EffectiveFrom.Before(*r.EffectiveTo) {
			t.Errorf("%s ends before it begins", r.ID)
		}
		for _, name := range r.Models {
			byName[r.Provider+"/"+name] = append(byName[r.Provider+"/"+name], r)
		}
	}
	for name, list := range byName {
		slices.SortFunc(list, func(a, b meter.RateRow) int { return a.EffectiveFrom.Compare(b.EffectiveFrom) })
		for i := 1; i < len(list); i++ {
			if to := list[i-1].EffectiveTo; to == nil || to.After(list[i].EffectiveFrom) {
				t.Errorf("%s: %s overlaps %s", name, list[i-1].ID, list[i].ID)
			}
		}
	}
}

// TestOverlayLanded: what was checked by hand is in the book as it was written.
func TestOverlayLanded(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("overlay.json")
	if err != nil {
		t.Fatal(err)
	}
	var overlay struct {
		Patches []struct {
			Provider     string
			Models       []string
			From         string
			Rates        meter.Rates
			Scale        map[string]money.USD
			ServiceTiers map[string]meter.ServiceTier `json:"service_tiers"`
			Fees         map[string]meter.Fee
			Multipliers  []meter.Multiplier
		}
		Rows []meter.RateRow
	}
	if err := json.Unmarshal(text, &overlay); err != nil {
		t.Fatal(err)
	}
	all := rows(t)
	for _, want := range overlay.Rows {
		if !slices.ContainsFunc(all, func(r meter.RateRow) bool { return r.ID == want.ID }) {
			t.Errorf("row %s is missing", want.ID)
		}
	}
	for _, p := range overlay.Patches {
		for _, model := range p.Models {
			found := false
			for _, r := range all {
				if r.Provider != p.Provider || !slices.Contains(r.Models, model) || !strings.HasPrefix(r.EffectiveFrom.Format(time.DateOnly), p.From) {
					continue
				}
				found = true
				for class, rate := range p.Rates {
					if r.Rates[class].Cmp(rate) != 0 {
						t.Errorf("%s: %s is %s, want %s", r.ID, class, r.Rates[class], rate)
					}
				}
				for tier, factor := range p.Scale {
					for class, rate := range r.Rates {
						want := money.FromDecimal(rate.Decimal().Mul(factor.Decimal()))
						if got, ok := r.ServiceTiers[tier].Rates[class]; !ok || got.Cmp(want) != 0 {
							t.Errorf("%s: %s of tier %s is %s, want %s", r.ID, class, tier, got, want)
						}
					}
				}
				for tier := range p.ServiceTiers {
					if _, ok := r.ServiceTiers[tier]; !ok {
						t.Errorf("%s has no tier %s", r.ID, tier)
					}
				}
				for fee := range p.Fees {
					if _, ok := r.Fees[fee]; !ok {
						t.Errorf("%s has no fee %s", r.ID, fee)
					}
				}
				if len(r.Multipliers) < len(p.Multipliers) {
					t.Errorf("%s has no multipliers", r.ID)
				}
			}
			if !found {
				t.Errorf("%s has no %s", p.Provider, model)
			}
		}
	}
}

// TestKnownPrices: a few prices anybody can look up, by the names that vendors echo, on the days on which they changed.
func TestKnownPrices(t *testing.T) {
	t.Parallel()
	card, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ provider, model, day, class, want string }{
		{"openai", "gpt-4o-mini-2024-07-18", "2026-10-05", "input", "0.15"},
		{"openai", "o3-2025-04-16", "2025-06-09", "output", "40"},
		{"openai", "o3-2025-04-16", "2025-06-10", "output", "8"},
		{"anthropic", "claude-sonnet-4-5-20250929", "2026-10-05", "cache_write_1h", "6"},
		{"google", "gemini-2.5-flash", "2026-10-05", "cached_input_audio", "0.1"},
		{"deepseek", "deepseek-v4-flash", "2026-10-05", "input", "0.22"},
		{"bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "2026-10-05", "input", "3.3"},
		{"bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", "2026-10-05", "input", "3"},
		{"mock", "mock-small", "2026-10-05", "output", "0.6"},
	} {
		at, err := time.Parse(time.DateOnly, c.day)
		if err != nil {
			t.Fatal(err)
		}
		row, ok := card.LookupFor(c.provider, at, c.model)
		if rate := row.Rates[c.class]; !ok || rate.Cmp(money.MustUSD(c.want)) != 0 {
			t.Errorf("%s/%s on %s: %s = %s, want %s", c.provider, c.model, c.day, c.class, rate, c.want)
		}
	}
	for _, unknown := range []string{"gpt-5-nano-2099", "gpt-4o-mini-", "claude", ""} {
		if row, ok := card.Lookup(time.Date(2026, 10, 5, 0, 0, 0, 0, time.UTC), unknown); ok {
			t.Errorf("%q has the price of %s", unknown, row.ID)
		}
	}
}

// TestOperatorFileWins: rows of the same form on top of the book; elsewhere the book still answers.
func TestOperatorFileWins(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "prices.json")
	text := `[{"id":"ours/gpt-4o@2026-01-01","provider":"openai","models":["gpt-4o"],"effective_from":"2026-01-01T00:00:00Z","rates":{"input":"1","output":"2"},"source":"contract 7"}]`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	card, err := LoadWith(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ provider, model, day, want string }{
		{"openai", "gpt-4o", "2026-01-01", "ours/gpt-4o@2026-01-01"},
		{"openai", "gpt-4o", "2025-12-31", "openai/gpt-4o@2024-05-13"},
		{"openai", "gpt-4o-2024-08-06", "2026-01-01", "openai/gpt-4o@2024-05-13"},
	} {
		at, _ := time.Parse(time.DateOnly, c.day)
		if row, _ := card.LookupFor(c.provider, at, c.model); row.ID != c.want {
			t.Errorf("%s on %s: %s, want %s", c.model, c.day, row.ID, c.want)
		}
	}
	builtin, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(card.Version, builtin.Version+"+file-") {
		t.Errorf("version %s does not name both", card.Version)
	}
	for name, bad := range map[string]string{"negative": `[{"id":"a","models":["m"],"rates":{"input":"-1"}}]`, "no price": `[{"id":"a","models":["m"],"rates":{},"fees":{"x":{"price":"1"}}}]`, "not rows": `{}`} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadWith(path); err == nil {
			t.Errorf("%s: a wrong price file was taken", name)
		}
	}
	if _, err := LoadWith(path + ".none"); err == nil {
		t.Error("a price file that is not there was taken for none")
	}
}

// The book is read at every start.
func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := Load(); err != nil {
			b.Fatal(err)
		}
	}
}
