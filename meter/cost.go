package meter

import (
	"math/big"
	"sort"
	"time"

	"p402.io/p402/internal/money"
)

// CostStatus says whether a cost is known.
type CostStatus string

// The cost statuses.
const (
	CostStatusPriced   CostStatus = "priced"
	CostStatusUnpriced CostStatus = "unpriced" // null, with a reason
	CostStatusRejected CostStatus = "rejected" // the vendor's usage is not believable: null
	CostStatusNoCharge CostStatus = "no_charge"
)

// Component is one line of a cost's arithmetic: quantity x rate / per.
type Component struct {
	Component string    `json:"component"`
	Quantity  string    `json:"quantity"`
	Rate      money.USD `json:"rate"`
	Per       string    `json:"per"`
	Cost      money.USD `json:"cost"`
}

// Cost is what a vendor takes for one attempt. USD nil means unknown, which is never 0.
type Cost struct {
	Status      CostStatus
	USD         *money.USD
	Source      string // computed | reported | none
	Computed    *money.USD
	Reported    *money.USD
	Difference  *money.USD // reported - computed
	Reason      string
	Components  []Component
	RowID       string
	ServiceTier string
	TierSource  string
	ContextTier string
	Estimated   bool
}

// PricedCall is what pricing needs to know of a call beside its usage.
type PricedCall struct {
	Provider string
	Model    string // as sent
	Tier     string // as asked for; the tier that the answer reports wins
	At       time.Time
}

// Price is the exact cost of what was measured, by the row in force when the call completed.
func (c RateCard) Price(m Measured, call PricedCall) Cost {
	out := Cost{Source: "none", ServiceTier: "default", TierSource: "default", Estimated: m.Source == UsageEstimated || m.Source == UsagePartial}
	switch {
	case m.HTTPStatus >= 400:
		zero := money.Zero
		out.Status, out.USD, out.Reason = CostStatusNoCharge, &zero, "http_error"
		return out
	case m.Rejected != "":
		out.Status, out.Reason = CostStatusRejected, m.Rejected
		return out
	case m.Source == UsageNone || m.Source == "":
		out.Status, out.Reason = CostStatusUnpriced, "no_usage"
		return out.reported(m)
	}
	row, ok := c.Lookup(call.At, m.Model, call.Model)
	if !ok {
		out.Status, out.Reason = CostStatusUnpriced, "unknown_model"
		return out.reported(m)
	}
	out.RowID = row.ID
	out.chooseTier(m, call)
	rates, context, ok := row.ratesFor(out.ServiceTier, m.InputTokens)
	if !ok {
		out.Status, out.Reason = CostStatusUnpriced, "no_rate_for_service_tier"
		return out.reported(m)
	}
	out.ContextTier = context
	if out.Reason = out.sum(m.Usage, rates, row.Fees); out.Reason != "" {
		out.Status, out.Components = CostStatusUnpriced, nil
		return out.reported(m)
	}
	return out.reported(m)
}

// chooseTier: the tier the answer reports, else the one asked for. Vendors' words for the ordinary tier are one.
func (c *Cost) chooseTier(m Measured, call PricedCall) {
	for _, tier := range []struct{ name, source string }{{m.ServiceTier, "response"}, {call.Tier, "request"}} {
		switch tier.name {
		case "", "default", "standard", "on_demand", "auto", "unspecified", "null":
			continue
		}
		c.ServiceTier, c.TierSource = tier.name, tier.source
		return
	}
}

func (r RateRow) ratesFor(tier string, input int64) (Rates, string, bool) {
	rates, sizes := r.Rates, r.ContextTiers
	if tier != "default" {
		t, ok := r.ServiceTiers[tier]
		if !ok {
			return nil, "", false
		}
		rates, sizes = t.Rates, t.ContextTiers
	}
	context, above := "base", int64(-1)
	for _, size := range sizes {
		if input > size.InputTokensGT && size.InputTokensGT > above {
			rates, above = size.Rates, size.InputTokensGT
			context = "gt_" + big.NewInt(above).String()
		}
	}
	return rates, context, true
}

// sum adds every token class and fee once, exactly, and rounds once at the end; it returns why it cannot.
func (c *Cost) sum(u Usage, rates Rates, fees map[string]Fee) string {
	merged := map[string]int64{}
	for class, tokens := range classes(u) {
		if tokens == 0 {
			continue
		}
		_, from, ok := rates.find(class)
		if !ok {
			return "no_rate_for_class:" + class
		}
		merged[from] += tokens
	}
	total := new(big.Rat)
	million := big.NewRat(1_000_000, 1)
	for _, class := range sorted(merged) {
		rate := rates[class]
		cost := ratio(new(big.Rat).Mul(rate.Rat(), new(big.Rat).SetInt64(merged[class])), million)
		total.Add(total, cost)
		c.Components = append(c.Components, Component{class, big.NewInt(merged[class]).String(), rate, "1000000", money.FromRat(cost)})
	}
	for _, name := range sortedKeys(u.Counts) {
		quantity, ok := new(big.Rat).SetString(u.Counts[name])
		if !ok || quantity.Sign() == 0 || name == "web_fetches" {
			continue
		}
		fee, ok := fees[name]
		if !ok {
			return "no_rate_for_fee:" + name
		}
		cost := ratio(new(big.Rat).Mul(fee.Price.Rat(), quantity), fee.Per.Rat())
		total.Add(total, cost)
		c.Components = append(c.Components, Component{name, u.Counts[name], fee.Price, fee.Per.String(), money.FromRat(cost)})
	}
	usd := money.FromRat(total)
	c.Status, c.Source, c.USD, c.Computed = CostStatusPriced, "computed", &usd, &usd
	return ""
}

// classes splits a usage so that every token is in exactly one class.
func classes(u Usage) map[string]int64 {
	write := u.CacheWriteTokens - u.CacheWrite5mTokens - u.CacheWrite1hTokens
	cachedText := u.CachedInputTokens - u.CachedInputAudioTokens - u.CachedInputImageTokens
	audio, image := u.InputAudioTokens-u.CachedInputAudioTokens, u.InputImageTokens-u.CachedInputImageTokens
	fresh := u.InputTokens - u.CachedInputTokens - u.CacheWriteTokens - audio - image - u.InputVideoTokens
	if fresh < 0 { // parts overlap in a way the wire does not tell: the written part keeps its rate
		write = max(write+fresh, 0)
		fresh = 0
	}
	return map[string]int64{"input": fresh, "cached_input": cachedText, "cached_input_audio": u.CachedInputAudioTokens,
		"cached_input_image": u.CachedInputImageTokens, "cache_write": write, "cache_write_5m": u.CacheWrite5mTokens,
		"cache_write_1h": u.CacheWrite1hTokens, "input_audio": audio, "input_image": image, "input_video": u.InputVideoTokens,
		"output": u.OutputTokens - u.ReasoningTokens - u.OutputAudioTokens - u.OutputImageTokens, "reasoning": u.ReasoningTokens,
		"output_audio": u.OutputAudioTokens, "output_image": u.OutputImageTokens, "citation": u.CitationTokens}
}

// reported lets a vendor's own figure win and keeps ours beside it.
func (c Cost) reported(m Measured) Cost {
	if m.ReportedCost == "" {
		return c
	}
	usd, err := money.ParseUSD(m.ReportedCost)
	if err != nil || usd.Sign() < 0 {
		return c
	}
	c.Status, c.Source, c.USD, c.Reported = CostStatusPriced, "reported", &usd, &usd
	if c.Computed != nil {
		gap := usd.Sub(*c.Computed)
		c.Difference = &gap
	}
	return c
}

func sorted(m map[string]int64) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
