package meter_test

import (
	"testing"

	"pgregory.net/rapid"

	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
)

// TestS8_AMeteredPriceIsExactAndNeverAboveItsMost.
func TestS8_AMeteredPriceIsExactAndNeverAboveItsMost(t *testing.T) {
	t.Parallel()
	p := meter.Price{Model: meter.PricePerToken, AmountUSD: money.MustUSD("0.05"), PerToken: &meter.TokenPrice{InputUSD: money.MustUSD("3"), OutputUSD: money.MustUSD("15")}}
	for _, row := range []struct {
		in, out int64
		want    string
	}{{0, 0, "0"}, {1, 0, "0.000003"}, {1000, 500, "0.0105"}, {1, 1, "0.000018"}, {1_000_000, 1_000_000, "0.05"}} {
		if got := p.Charge(meter.Usage{InputTokens: row.in, OutputTokens: row.out}); got.Cmp(money.MustUSD(row.want)) != 0 {
			t.Errorf("%d in, %d out: %s, want %s", row.in, row.out, got, row.want)
		}
	}
	flat := meter.Price{Model: meter.PricePerCall, AmountUSD: money.MustUSD("0.01")}
	rapid.Check(t, func(t *rapid.T) {
		u := meter.Usage{InputTokens: rapid.Int64Range(0, 1e9).Draw(t, "in"), OutputTokens: rapid.Int64Range(0, 1e9).Draw(t, "out")}
		if got := p.Charge(u); got.Cmp(p.AmountUSD) > 0 || got.Sign() < 0 {
			t.Fatalf("%s", got)
		}
		more := u
		more.OutputTokens++
		if p.Charge(more).Cmp(p.Charge(u)) < 0 {
			t.Fatal("more costs less")
		}
		if flat.Charge(u).Cmp(flat.AmountUSD) != 0 {
			t.Fatal("a flat price depends on use")
		}
	})
}
