package catalogue

import (
	"encoding/json"
	"os"
	"testing"

	"p402.io/p402/meter"
)

// TestBookAgreesWithTheUsageCases: the rows that the usage cases are priced by were checked against the vendors' pages
// one by one; the book has the same rates, tiers and fees for the same names and days. What the cases' rows leave out,
// such as a cache's default lifetime, the book may have.
func TestBookAgreesWithTheUsageCases(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../provider/testdata/usage_cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct {
			Provider string
			Prices   []meter.RateRow
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	card, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range file.Cases {
		// A server of one's own costs what its owner says; a router's row depends on the route it took.
		if c.Provider == "ollama" || c.Provider == "vllm" || c.Provider == "openai_compat" || c.Provider == "openrouter" {
			continue
		}
		for _, want := range c.Prices {
			if seen[want.ID] {
				continue
			}
			seen[want.ID] = true
			for _, name := range want.Models {
				got, ok := card.LookupFor(c.Provider, want.EffectiveFrom, name)
				if !ok {
					t.Errorf("%s: the book has no %s of %s", want.ID, name, c.Provider)
					continue
				}
				agrees(t, want, got)
			}
		}
	}
	if len(seen) < 30 {
		t.Errorf("only %d rows were compared", len(seen))
	}
}

func agrees(t *testing.T, want, got meter.RateRow) {
	t.Helper()
	rates := func(where string, want, got meter.Rates) {
		for class, rate := range want {
			if own, ok := got[class]; !ok || own.Cmp(rate) != 0 {
				t.Errorf("%s: %s is %s, want %s", where, class, own, rate)
			}
		}
	}
	sizes := func(where string, want, got []meter.ContextTier) {
		if len(want) != len(got) {
			t.Errorf("%s has %d sizes, want %d", where, len(got), len(want))
			return
		}
		for i := range want {
			if want[i].InputTokensGT != got[i].InputTokensGT {
				t.Errorf("%s: size %d, want %d", where, got[i].InputTokensGT, want[i].InputTokensGT)
			}
			rates(where, want[i].Rates, got[i].Rates)
		}
	}
	rates(got.ID, want.Rates, got.Rates)
	if len(want.ContextTiers) > 0 {
		sizes(got.ID, want.ContextTiers, got.ContextTiers)
	}
	for name, tier := range want.ServiceTiers {
		own, ok := got.ServiceTiers[name]
		if !ok {
			t.Errorf("%s has no tier %s", got.ID, name)
			continue
		}
		rates(got.ID+" "+name, tier.Rates, own.Rates)
		sizes(got.ID+" "+name, tier.ContextTiers, own.ContextTiers)
	}
	for name, fee := range want.Fees {
		own, ok := got.Fees[name]
		if !ok {
			t.Errorf("%s has no fee %s", got.ID, name)
			continue
		}
		for option, price := range fee.Options {
			if p, ok := own.Options[option]; !ok || p.Cmp(price) != 0 {
				t.Errorf("%s: fee %s for %s is %s, want %s", got.ID, name, option, p, price)
			}
		}
		if fee.Price == nil {
			continue
		}
		// The same price may be told by the minute or by the hour.
		if own.Price == nil || own.Price.Decimal().Mul(fee.Per.Decimal()).Cmp(fee.Price.Decimal().Mul(own.Per.Decimal())) != 0 {
			t.Errorf("%s: fee %s is %v per %s, want %s per %s", got.ID, name, own.Price, own.Per, fee.Price, fee.Per)
		}
		if fee.Min != nil && (own.Min == nil || own.Min.Cmp(*fee.Min) != 0) {
			t.Errorf("%s: fee %s has not its least quantity", got.ID, name)
		}
	}
	if len(got.Multipliers) < len(want.Multipliers) || len(got.TimeWindows) < len(want.TimeWindows) {
		t.Errorf("%s lacks factors or hours", got.ID)
	}
}
