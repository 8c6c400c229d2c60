package meter

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"p402.io/p402/internal/money"
)

// RateCard is one immutable version of the price book. A card may lie over another (Merge): the upper one's rows come
// first, by whatever name they match.
type RateCard struct {
	Version string
	layers  []map[string][]RateRow // by model name; the last is the uppermost
}

// NewRateCard indexes rows under a version. It refuses rows that cannot be priced by.
func NewRateCard(version string, rows []RateRow) (RateCard, error) {
	index := map[string][]RateRow{}
	for _, row := range rows {
		if err := row.check(); err != nil {
			return RateCard{}, err
		}
		for _, model := range row.Models {
			index[model] = append(index[model], row)
		}
	}
	return RateCard{Version: version, layers: []map[string][]RateRow{index}}, nil
}

// Merge lays an operator's or a tenant's rows over the card. They win wherever they are in force; elsewhere the card
// below still answers. version names the rows laid on top; the new card's version names both.
func (c RateCard) Merge(version string, rows []RateRow) (RateCard, error) {
	top, err := NewRateCard(version, rows)
	if err != nil {
		return RateCard{}, fmt.Errorf("prices %s: %w", version, err)
	}
	layers := append(append([]map[string][]RateRow(nil), c.layers...), top.layers...)
	return RateCard{Version: c.Version + "+" + version, layers: layers}, nil
}

// Lookup is the row in force for the first of the names that has one, whoever's price it is. Names are exact: unknown
// stays unknown.
func (c RateCard) Lookup(at time.Time, names ...string) (RateRow, bool) {
	return c.LookupFor("", at, names...)
}

// LookupFor is Lookup among the rows of one provider and those of nobody in particular; "" asks for anybody's.
func (c RateCard) LookupFor(provider string, at time.Time, names ...string) (RateRow, bool) {
	for i := len(c.layers) - 1; i >= 0; i-- {
		for _, name := range names {
			if row, ok := newest(c.layers[i][name], provider, at); ok {
				return row, true
			}
		}
	}
	return RateRow{}, false
}

// newest is the row in force that began last; of two that began together the one listed later.
func newest(rows []RateRow, provider string, at time.Time) (RateRow, bool) {
	best, found := RateRow{}, false
	for _, row := range rows {
		if provider != "" && row.Provider != "" && row.Provider != provider || !row.inForce(at) {
			continue
		}
		if !found || !row.EffectiveFrom.Before(best.EffectiveFrom) {
			best, found = row, true
		}
	}
	return best, found
}

// Names is every model name the card has a row for, whoever's and whenever, in order.
func (c RateCard) Names() []string {
	seen := map[string]bool{}
	for _, layer := range c.layers {
		for name := range layer {
			seen[name] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// WorstCase bounds what a call may cost before it is known who serves it and how: every input token at the dearest input
// class of any tier of any provider's row in force, every output token at the dearest output class, with the largest
// factor and the fee of one request. Fees for what a call may look up are not in it. false: no price is known.
func (c RateCard) WorstCase(model string, input, output int64, at time.Time) (money.USD, bool) {
	worst, known := money.Zero, false
	for i := len(c.layers) - 1; i >= 0; i-- {
		everybody := false // a row for everybody hides what lies below it
		for _, row := range c.layers[i][model] {
			if row.inForce(at) {
				worst, known = dearer(worst, row.worstCase(input, output)), true
				everybody = everybody || row.Provider == ""
			}
		}
		if everybody {
			break
		}
	}
	return worst, known
}

// worstCase bounds a call by one row.
func (r RateRow) worstCase(input, output int64) money.USD {
	in, out := money.Zero, money.Zero
	for _, rates := range r.allRates() {
		for class, rate := range rates {
			switch class {
			case "output", "reasoning", "output_audio", "output_image", "citation":
				out = dearer(out, rate)
			default:
				in = dearer(in, rate)
			}
		}
	}
	one := money.MustUSD("1")
	tokens := in.MulInt(input).Add(out.MulInt(output)).DivPow10(6)
	for _, m := range r.Multipliers {
		tokens = money.FromDecimal(tokens.Decimal().Mul(dearer(one, m.Factor).Decimal()))
	}
	fee, ok := r.Fees["requests"]
	if !ok {
		return tokens
	}
	price := money.Zero
	if fee.Price != nil {
		price = *fee.Price
	}
	for _, option := range fee.Options {
		price = dearer(price, option)
	}
	return tokens.Add(money.FromRat(ratio(price.Rat(), fee.Per.Rat())))
}

func dearer(a, b money.USD) money.USD {
	if a.Cmp(b) >= 0 {
		return a
	}
	return b
}
