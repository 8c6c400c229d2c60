package money_test

import (
	"encoding/json"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"p402.io/p402/internal/money"
)

func drawUSD(t *rapid.T) money.USD {
	digits := rapid.StringMatching(`(0|[1-9][0-9]{0,11})(\.[0-9]{1,18})?`).Draw(t, "usd")
	u, err := money.ParseUSD(digits)
	if err != nil {
		t.Fatalf("parse %q: %v", digits, err)
	}
	return u
}

func TestPayableRoundsUpByLessThanOneUnit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		price := drawUSD(t)
		owed, err := money.Payable(price)
		if err != nil || owed.USD().Cmp(price) < 0 {
			t.Fatalf("price %s owed %s: %v", price, owed, err)
		}
		if owed.USD().Sub(price).Cmp(money.OneAtomic.USD()) >= 0 {
			t.Fatalf("price %s owed %s: a whole unit more", price, owed)
		}
	})
	if _, err := money.Payable(money.MustUSD("-0.1")); err == nil {
		t.Fatal("a negative price was payable")
	}
}

func TestUSDTextRoundTripsWithoutLoss(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		price := drawUSD(t)
		raw, err := json.Marshal(price)
		if err != nil {
			t.Fatal(err)
		}
		var back money.USD
		if err := json.Unmarshal(raw, &back); err != nil || back.Cmp(price) != 0 {
			t.Fatalf("%s -> %s -> %s: %v", price, raw, back, err)
		}
		if again := money.MustUSD(price.String()); again.Cmp(price) != 0 {
			t.Fatalf("%s -> %s", price, again)
		}
	})
}

func TestAmountsRefuseWhatNobodyWrites(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", " 1", "1 ", "+1", "1e3", "1.", ".5", "--1", "0x10", "NaN", "1,5", "１"} {
		if _, err := money.ParseUSD(text); err == nil {
			t.Errorf("USD %q accepted", text)
		}
	}
	over := new(big.Int).Lsh(big.NewInt(1), 256).String()
	for _, text := range []string{"", "-1", "+1", "01", "1.0", "1e6", " 1", "0x1", over} {
		if _, err := money.ParseUSDC(text); err == nil {
			t.Errorf("USDC %q accepted", text)
		}
	}
}

func TestFromRatRoundsHalfEvenAtEighteenPlaces(t *testing.T) {
	t.Parallel()
	half := new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Exp(big.NewInt(10), big.NewInt(18), nil))
	half.Quo(half, big.NewRat(2, 1)) // 0.5e-18
	for _, row := range []struct {
		units int64
		want  string
	}{{1, "0"}, {3, "0.000000000000000002"}, {5, "0.000000000000000002"}, {-3, "-0.000000000000000002"}, {-1, "0"}} {
		r := new(big.Rat).Mul(half, big.NewRat(row.units, 1))
		if got := money.FromRat(r).String(); got != row.want {
			t.Errorf("%d halves: got %s want %s", row.units, got, row.want)
		}
	}
	if got := money.FromRat(big.NewRat(1, 3)).String(); got != "0.333333333333333333" {
		t.Errorf("one third: %s", got)
	}
}

func TestFixedKeepsEveryDigit(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"0": "0.000000000000", "1.5": "1.500000000000", "0.1234567890123": "0.1234567890123"} {
		if got := money.MustUSD(in).Fixed(12); got != want {
			t.Errorf("%s: got %s want %s", in, got, want)
		}
	}
}
