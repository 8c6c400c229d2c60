package meter

import (
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"p402.io/p402/internal/money"
)

var noon = time.Date(2026, 10, 5, 12, 0, 0, 0, time.UTC)

// drawUsage draws a usage that Check believes: totals first, then parts within them, overlaps included.
func drawUsage(t *rapid.T) Usage {
	part := func(label string, most int64) int64 { return rapid.Int64Range(0, most).Draw(t, label) }
	u := Usage{InputTokens: part("input", 1_000_000), OutputTokens: part("output", 1_000_000), CitationTokens: part("citation", 1000)}
	u.CachedInputTokens = part("cached", u.InputTokens)
	u.CacheWriteTokens = part("write", u.InputTokens-u.CachedInputTokens)
	u.CacheWrite5mTokens = part("5m", u.CacheWriteTokens)
	u.CacheWrite1hTokens = part("1h", u.CacheWriteTokens-u.CacheWrite5mTokens)
	u.InputAudioTokens = part("audio", u.InputTokens)
	u.InputImageTokens = part("image", u.InputTokens-u.InputAudioTokens)
	u.InputVideoTokens = part("video", u.InputTokens-u.InputAudioTokens-u.InputImageTokens)
	u.CachedInputAudioTokens = part("cached audio", min(u.CachedInputTokens, u.InputAudioTokens))
	u.CachedInputImageTokens = part("cached image", min(u.CachedInputTokens-u.CachedInputAudioTokens, u.InputImageTokens))
	u.CachedInputVideoTokens = part("cached video", min(u.CachedInputTokens-u.CachedInputAudioTokens-u.CachedInputImageTokens, u.InputVideoTokens))
	u.ReasoningTokens = part("reasoning", u.OutputTokens)
	u.OutputAudioTokens = part("audio out", u.OutputTokens-u.ReasoningTokens)
	u.OutputImageTokens = part("image out", u.OutputTokens-u.ReasoningTokens-u.OutputAudioTokens)
	return u
}

// drawRates draws rates for some of the classes, none of them above what it falls back on by more than a write is.
func drawRates(t *rapid.T, floor int64) Rates {
	cents := func(n int64) money.USD { return money.MustUSD("0.01").MulInt(n) }
	draw := func(label string, most int64) int64 { return rapid.Int64Range(floor, most).Draw(t, label) }
	rates := Rates{"input": cents(draw("input rate", 1000)), "output": cents(draw("output rate", 5000)), "citation": cents(draw("citation rate", 500))}
	for _, class := range classOrder {
		if _, has := rates[class]; has || rapid.Bool().Draw(t, "no "+class) {
			continue
		}
		rates[class] = cents(draw(class+" rate", 1000))
	}
	for cached, fresh := range map[string]string{"cached_input": "input", "cached_input_audio": "input_audio", "cached_input_image": "input_image"} {
		rate, _, _ := rates.find(fresh)
		if own, has := rates[cached]; has && own.Cmp(rate) > 0 {
			rates[cached] = rate
		}
	}
	return rates
}

func priceOf(t *rapid.T, u Usage, row RateRow) Cost {
	row.ID, row.Models = "row", []string{"m"}
	card, err := NewRateCard("v", []RateRow{row})
	if err != nil {
		t.Fatal(err)
	}
	return card.Price(Measured{Usage: u, Source: UsageProvider}, PricedCall{Model: "m", At: noon})
}

// TestD13_EveryTokenIsInOneClass: the classes are a partition of what was read and written, whatever overlaps.
func TestD13_EveryTokenIsInOneClass(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		u := drawUsage(t)
		if why := u.Check(); why != "" {
			t.Fatalf("drew a usage that is refused: %s", why)
		}
		split := classes(u)
		var in, out int64
		for _, class := range classOrder {
			n := split[class]
			if n < 0 {
				t.Fatalf("%s is %d", class, n)
			}
			switch class {
			case "output", "reasoning", "output_audio", "output_image":
				out += n
			case "citation":
			default:
				in += n
			}
		}
		if in != u.InputTokens || out != u.OutputTokens || len(split) != len(classOrder) {
			t.Fatalf("%d of %d read, %d of %d written, %d classes", in, u.InputTokens, out, u.OutputTokens, len(split))
		}
		if split["cache_write"]+split["cache_write_5m"]+split["cache_write_1h"] != u.CacheWriteTokens {
			t.Fatal("a written token lost its rate")
		}
	})
}

// TestCostIsTheSumOfItsLines: never negative, every token on one line, and the lines say what the total says.
func TestCostIsTheSumOfItsLines(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		u := drawUsage(t)
		cost := priceOf(t, u, RateRow{Rates: drawRates(t, 0)})
		if cost.Status != CostStatusPriced || cost.USD.Sign() < 0 {
			t.Fatalf("%+v", cost)
		}
		sum, tokens := new(big.Rat), int64(0)
		for _, line := range cost.Components {
			q, _ := new(big.Rat).SetString(line.Quantity)
			sum.Add(sum, new(big.Rat).Quo(new(big.Rat).Mul(q, line.Rate.Rat()), big.NewRat(1_000_000, 1)))
			tokens += q.Num().Int64()
		}
		if tokens != u.TotalTokens()+u.CitationTokens {
			t.Fatalf("%d tokens on the lines, %d were used", tokens, u.TotalTokens()+u.CitationTokens)
		}
		if cost.USD.Cmp(money.FromRat(sum)) != 0 {
			t.Fatalf("total %s, lines %s", cost.USD, sum)
		}
	})
}

// TestMoreTokensNeverCostLess, within and across a context size that is not cheaper.
func TestMoreTokensNeverCostLess(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		u := drawUsage(t)
		rates := drawRates(t, 0)
		double := Rates{}
		for class, rate := range rates {
			double[class] = rate.MulInt(2)
		}
		row := RateRow{Rates: rates, ContextTiers: []ContextTier{{InputTokensGT: rapid.Int64Range(0, 1_000_000).Draw(t, "size"), Rates: double}}}
		more := u
		n := rapid.Int64Range(1, 1000).Draw(t, "more")
		switch rapid.IntRange(0, 3).Draw(t, "of what") {
		case 0:
			more.InputTokens += n
		case 1:
			more.OutputTokens += n
		case 2:
			more.InputTokens, more.CachedInputTokens = more.InputTokens+n, more.CachedInputTokens+n
		case 3:
			more.OutputTokens, more.ReasoningTokens = more.OutputTokens+n, more.ReasoningTokens+n
		}
		if less, greater := priceOf(t, u, row), priceOf(t, more, row); greater.USD.Cmp(*less.USD) < 0 {
			t.Fatalf("%d more tokens: %s, then %s", n, less.USD, greater.USD)
		}
	})
}

// TestWorstCaseIsNeverBelowTheCost of any call within its bounds, whatever tier, hour or place serves it.
func TestWorstCaseIsNeverBelowTheCost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		u := drawUsage(t)
		u.CitationTokens = 0
		row := RateRow{ID: "row", Models: []string{"m"}, Rates: drawRates(t, 0),
			ContextTiers: []ContextTier{{InputTokensGT: 1000, Rates: drawRates(t, 0)}},
			ServiceTiers: map[string]ServiceTier{"priority": {Rates: drawRates(t, 0)}},
			TimeWindows:  []TimeWindow{{From: "16:30", To: "00:30", Rates: drawRates(t, 0)}},
			Multipliers:  []Multiplier{{When: map[string]OneOf{"region": {"eu"}}, Factor: money.MustUSD("1.1")}}}
		card, err := NewRateCard("v", []RateRow{row})
		if err != nil {
			t.Fatal(err)
		}
		at := noon.Add(time.Duration(rapid.Int64Range(0, 24*60).Draw(t, "minute")) * time.Minute)
		call := PricedCall{Model: "m", At: at, Region: rapid.SampledFrom([]string{"", "eu"}).Draw(t, "region"), Tier: rapid.SampledFrom([]string{"", "priority"}).Draw(t, "tier")}
		cost := card.Price(Measured{Usage: u, Source: UsageProvider}, call)
		bound, known := card.WorstCase("m", u.InputTokens, u.OutputTokens, at)
		if !known || cost.USD.Cmp(bound) > 0 {
			t.Fatalf("costs %s, bound %s", cost.USD, bound)
		}
	})
}

// TestA88_ExtremesStayExact: counts and prices at their largest and smallest, rounded once, half to even.
func TestA88_ExtremesStayExact(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, rate, want string
		tokens           int64
	}{
		{"the largest count at a large price", "999999999999", "999999999999000", 1_000_000_000},
		{"the last place that is kept", "0.000000000001", "0.000000000000000001", 1},
		{"half of it rounds to even, down", "0.0000000000005", "0", 1},
		{"one and a half rounds to even, up", "0.0000000000015", "0.000000000000000002", 1},
		{"beyond 64 bits", "123456789.123456789123", "123456789123.456789123", 1_000_000_000},
	} {
		card, err := NewRateCard("v", []RateRow{{ID: "row", Models: []string{"m"}, Rates: Rates{"input": money.MustUSD(c.rate)}}})
		if err != nil {
			t.Fatal(err)
		}
		cost := card.Price(Measured{Usage: Usage{InputTokens: c.tokens}, Source: UsageProvider}, PricedCall{Model: "m", At: noon})
		if cost.USD == nil || cost.USD.Cmp(money.MustUSD(c.want)) != 0 {
			t.Errorf("%s: %v, want %s", c.name, cost.USD, c.want)
		}
	}
}

// TestD14_UnknownIsNeverNought: whatever the book does not know leaves the cost null, with its reason.
func TestD14_UnknownIsNeverNought(t *testing.T) {
	t.Parallel()
	row := RateRow{ID: "row", Provider: "p", Models: []string{"m"}, EffectiveFrom: noon, Rates: Rates{"input": money.MustUSD("1")}}
	card, err := NewRateCard("v", []RateRow{row})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		reason string
		m      Measured
		call   PricedCall
	}{
		{"unknown_model", Measured{Usage: Usage{InputTokens: 1}, Source: UsageProvider}, PricedCall{Model: "m-2", At: noon}},
		{"unknown_model", Measured{Usage: Usage{InputTokens: 1}, Source: UsageProvider}, PricedCall{Model: "m", Provider: "q", At: noon}},
		{"unknown_model", Measured{Usage: Usage{InputTokens: 1}, Source: UsageProvider}, PricedCall{Model: "m", At: noon.Add(-time.Nanosecond)}},
		{"no_rate_for_class:output", Measured{Usage: Usage{OutputTokens: 1}, Source: UsageProvider}, PricedCall{Model: "m", At: noon}},
		{"no_rate_for_service_tier", Measured{Usage: Usage{InputTokens: 1}, Source: UsageProvider, ServiceTier: "flex"}, PricedCall{Model: "m", At: noon}},
		{"no_rate_for_fee:images", Measured{Usage: Usage{Counts: map[string]string{"images": "1"}}, Source: UsageCounted}, PricedCall{Model: "m", At: noon}},
		{"no_usage", Measured{Source: UsageNone}, PricedCall{Model: "m", At: noon}},
	} {
		cost := card.Price(c.m, c.call)
		if cost.USD != nil || cost.Computed != nil || cost.Status != CostStatusUnpriced || cost.Reason != c.reason || len(cost.Components) > 0 {
			t.Errorf("%s: %+v", c.reason, cost)
		}
	}
	if _, known := card.WorstCase("m-2", 1, 1, noon); known {
		t.Error("an unknown model has a worst case")
	}
}

// TestA79_WrongPricesAreRefused before anything is billed by them.
func TestA79_WrongPricesAreRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"negative rate":         `[{"id":"a","models":["m"],"rates":{"input":"-1"}}]`,
		"negative in a tier":    `[{"id":"a","models":["m"],"rates":{},"service_tiers":{"flex":{"rates":{"input":"-1"}}}}]`,
		"negative in a size":    `[{"id":"a","models":["m"],"rates":{},"context_tiers":[{"input_tokens_gt":1,"rates":{"input":"-1"}}]}]`,
		"negative in an hour":   `[{"id":"a","models":["m"],"rates":{},"time_windows":[{"from":"00:00","to":"01:00","rates":{"input":"-1"}}]}]`,
		"another currency":      `[{"id":"a","models":["m"],"currency":"EUR","rates":{"input":"1"}}]`,
		"an exponent":           `[{"id":"a","models":["m"],"rates":{"input":"1e3"}}]`,
		"no number":             `[{"id":"a","models":["m"],"rates":{"input":""}}]`,
		"fee per nothing":       `[{"id":"a","models":["m"],"rates":{},"fees":{"images":{"price":"1","per":"0"}}}]`,
		"negative option":       `[{"id":"a","models":["m"],"rates":{},"fees":{"images":{"per":"1","select":"image_kind","options":{"x":"-1"}}}}]`,
		"negative factor":       `[{"id":"a","models":["m"],"rates":{},"multipliers":[{"when":{},"factor":"-1"}]}]`,
		"no time of day":        `[{"id":"a","models":["m"],"rates":{},"time_windows":[{"from":"25:00","to":"01:00","rates":{}}]}]`,
		"no moment of the call": `[{"id":"a","models":["m"],"rates":{},"priced_by":"received_at"}]`,
		"no name":               `[{"id":"a","models":[],"rates":{}}]`,
		"no id":                 `[{"models":["m"],"rates":{}}]`,
	} {
		rows, err := ParseRateRows([]byte(text))
		if err == nil {
			_, err = NewRateCard("v", rows)
		}
		if err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestTierNames: vendors' words for tiers, in the price book's.
func TestTierNames(t *testing.T) {
	t.Parallel()
	for want, words := range map[string]string{
		"":                       "|auto|unspecified|null|AUTO|SERVICE_TIER_UNSPECIFIED|TRAFFIC_TYPE_UNSPECIFIED",
		"default":                "default|standard|on_demand|ON_DEMAND|standard_only|SERVICE_TIER_STANDARD",
		"flex":                   "flex|ON_DEMAND_FLEX|FLEX",
		"priority":               "priority|ON_DEMAND_PRIORITY|SERVICE_TIER_PRIORITY",
		"offpeak":                "ON_DEMAND_OFFPEAK",
		"provisioned_throughput": "PROVISIONED_THROUGHPUT",
	} {
		for _, word := range strings.Split(words, "|") {
			if got := tierName(word); got != want {
				t.Errorf("%q is %q, want %q", word, got, want)
			}
		}
	}
}

// TestUpperCardWins: laid-over rows answer first, by the echo or the request, and let through what they do not know.
func TestUpperCardWins(t *testing.T) {
	t.Parallel()
	at := func(id, model, rate string, from time.Time) RateRow {
		return RateRow{ID: id, Models: []string{model}, EffectiveFrom: from, Rates: Rates{"input": money.MustUSD(rate)}}
	}
	low, err := NewRateCard("low", []RateRow{at("low/echo", "echo", "1", time.Time{}), at("low/alias", "alias", "2", time.Time{})})
	if err != nil {
		t.Fatal(err)
	}
	card, err := low.Merge("top", []RateRow{at("top/alias", "alias", "3", noon)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want  string
		at    time.Time
		names []string
	}{
		{"top/alias", noon, []string{"echo", "alias"}},
		{"low/echo", noon.Add(-1), []string{"echo", "alias"}},
		{"low/alias", noon.Add(-1), []string{"unknown", "alias"}},
		{"low/echo", noon, []string{"echo"}},
	} {
		if row, _ := card.Lookup(c.at, c.names...); row.ID != c.want {
			t.Errorf("%v at %s: %s, want %s", c.names, c.at, row.ID, c.want)
		}
	}
	if row, _ := low.Lookup(noon, "alias"); row.ID != "low/alias" || card.Version != "low+top" {
		t.Errorf("the card below changed: %s, %s", row.ID, card.Version)
	}
	if bound, _ := card.WorstCase("alias", 1_000_000, 0, noon); bound.Cmp(money.MustUSD("3")) != 0 {
		t.Errorf("bound %s by a row that cannot apply", bound)
	}
}
