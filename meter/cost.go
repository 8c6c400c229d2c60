package meter

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
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
	Status     CostStatus
	USD        *money.USD
	Source     string // computed | reported | none
	Computed   *money.USD
	Reported   *money.USD
	Difference *money.USD // reported - computed
	Reason     string
	// ComputedReason is why Computed is nil beside a vendor's own figure.
	ComputedReason string
	Warnings       []string
	Components     []Component
	RowID          string
	ServiceTier    string
	TierSource     string
	ContextTier    string
	Estimated      bool
}

// PricedCall is what pricing needs to know of a call beside its usage.
type PricedCall struct {
	Provider string
	Model    string    // as sent
	Tier     string    // as asked for; the tier that the answer reports wins
	At       time.Time // when the call completed
	Started  time.Time // when it was sent; zero: At
	Region   string    // where it was asked to run
	Batch    bool      // it came over a batch endpoint
}

// Price is the exact cost of what was measured, by the row in force when the call completed.
func (c RateCard) Price(m Measured, call PricedCall) Cost {
	out := Cost{Source: "none", ServiceTier: "default", TierSource: "default", Estimated: m.Source == UsageEstimated || m.Source == UsagePartial}
	switch {
	case m.HTTPStatus >= 400:
		zero := money.Zero
		out.Status, out.USD, out.Computed, out.Reason = CostStatusNoCharge, &zero, &zero, "http_error"
		return out
	case m.Rejected != "":
		out.Status, out.Reason = CostStatusRejected, m.Rejected
		return out
	case m.Source == UsageNone || m.Source == "":
		out.Status, out.Reason = CostStatusUnpriced, "no_usage"
		return out.reported(m)
	}
	if out.chooseTier(m, call); out.price(c, m, call) != "" {
		out.Status, out.Components, out.Computed, out.USD, out.Source = CostStatusUnpriced, nil, nil, nil, "none"
	}
	return out.reported(m)
}

// price computes by the row in force and returns why it cannot.
func (c *Cost) price(card RateCard, m Measured, call PricedCall) string {
	row, ok := card.Lookup(call.At, m.Model, call.Model)
	if !ok {
		c.Reason = "unknown_model"
		return c.Reason
	}
	c.RowID = row.ID
	rates, context, ok := row.ratesFor(c.ServiceTier, m.InputTokens, call)
	if !ok {
		c.Reason = "no_rate_for_service_tier"
		return c.Reason
	}
	c.ContextTier = context
	c.Reason = c.sum(m, rates, row.Fees, row.factor(map[string]string{"region": call.Region, "inference_geo": m.InferenceGeo,
		"service_tier": c.ServiceTier, "batch": fmt.Sprint(call.Batch)}))
	return c.Reason
}

// chooseTier: the tier the answer reports, else the endpoint's, else the one asked for. Vendors' words for the ordinary
// tier are one.
func (c *Cost) chooseTier(m Measured, call PricedCall) {
	if call.Tier == "" {
		call.Tier = m.TierAsked
	}
	endpoint := ""
	if call.Batch {
		endpoint = "batch"
	}
	for _, tier := range []struct{ name, source string }{{m.ServiceTier, "response"}, {endpoint, "endpoint"}, {call.Tier, "request"}} {
		switch tier.name {
		case "", "auto", "unspecified", "null":
			continue
		case "default", "standard", "on_demand":
			if c.TierSource = "default"; tier.source == "response" && call.Tier != "" {
				c.TierSource = "response" // something else was asked for
			}
			return
		}
		c.ServiceTier, c.TierSource = tier.name, tier.source
		return
	}
}

// factor is the product of the multipliers whose conditions all hold.
func (r RateRow) factor(attributes map[string]string) *big.Rat {
	product := big.NewRat(1, 1)
	for _, m := range r.Multipliers {
		holds := true
		for name, values := range m.When {
			holds = holds && slices.Contains(values, attributes[name])
		}
		if holds {
			product.Mul(product, m.Factor.Rat())
		}
	}
	return product
}

func (r RateRow) ratesFor(tier string, input int64, call PricedCall) (Rates, string, bool) {
	rates, sizes := r.Rates, r.ContextTiers
	for _, w := range r.TimeWindows {
		if w.holds(r.clock(call)) {
			rates = w.Rates
			if len(w.ContextTiers) > 0 {
				sizes = w.ContextTiers
			}
			break
		}
	}
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

// clock is the time of day that the row's windows are tested against.
func (r RateRow) clock(call PricedCall) string {
	at := call.At
	if r.PricedBy == "started_at" && !call.Started.IsZero() {
		at = call.Started
	}
	return at.UTC().Format("15:04:05")
}

// holds compares times of day as text, of which "15:04" is a prefix of its minute's seconds.
func (w TimeWindow) holds(clock string) bool {
	after, before := clock >= w.From, clock < w.To
	if w.From <= w.To {
		return after && before
	}
	return after || before // over midnight
}

// sum adds every token class and fee once, exactly, and rounds once at the end; it returns why it cannot.
func (c *Cost) sum(m Measured, rates Rates, fees map[string]Fee, factor *big.Rat) string {
	u := m.Usage
	merged := map[string]int64{}
	split := classes(u)
	for _, class := range sorted(split) { // in order, so that the first gap named is always the same
		tokens := split[class]
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
		rate := new(big.Rat).Mul(rates[class].Rat(), factor)
		cost := ratio(new(big.Rat).Mul(rate, new(big.Rat).SetInt64(merged[class])), million)
		total.Add(total, cost)
		c.Components = append(c.Components, Component{class, big.NewInt(merged[class]).String(), money.FromRat(rate), "1000000", money.FromRat(cost)})
	}
	if missing := c.fees(m, fees, total); missing != "" {
		return missing
	}
	usd := money.FromRat(total)
	c.Status, c.Source, c.USD, c.Computed = CostStatusPriced, "computed", &usd, &usd
	return ""
}

// fees adds what is charged by the piece. A count without a fee leaves the whole unpriced: tokens alone understate.
func (c *Cost) fees(m Measured, fees map[string]Fee, total *big.Rat) string {
	counts := map[string]string{}
	maps.Copy(counts, m.Counts)
	if _, due := fees["requests"]; due && m.Delivered {
		counts["requests"] = "1"
	}
	for _, pair := range [][2]string{{"grounded_prompts", "grounding_queries"}, {"grounding_queries", "grounded_prompts"}} {
		if _, priced := fees[pair[0]]; priced && counts[pair[0]] != "" {
			delete(counts, pair[1]) // two ways to count one thing: pricing one covers both
		}
	}
	for _, name := range sortedKeys(counts) {
		quantity, ok := new(big.Rat).SetString(counts[name])
		if !ok || quantity.Sign() == 0 || name == "web_fetches" {
			continue
		}
		fee, ok := fees[name]
		price := fee.Price
		if ok && fee.Select != "" {
			price, ok = fee.Options[m.Options[fee.Select]]
		}
		if !ok {
			return "no_rate_for_fee:" + name
		}
		text := counts[name]
		if fee.Min != nil && quantity.Cmp(fee.Min.Rat()) < 0 {
			quantity, text = fee.Min.Rat(), fee.Min.String()
		}
		cost := ratio(new(big.Rat).Mul(price.Rat(), quantity), fee.Per.Rat())
		total.Add(total, cost)
		c.Components = append(c.Components, Component{name, text, price, fee.Per.String(), money.FromRat(cost)})
	}
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
		c.Warnings = append(c.Warnings, "reported_cost_invalid")
		return c
	}
	c.ComputedReason, c.Reason = c.Reason, ""
	source := "reported"
	if m.BYOK { // the figure is a fee: what the upstream vendor bills comes on top
		upstream, err := money.ParseUSD(m.UpstreamCost)
		switch {
		case err == nil && upstream.Sign() >= 0:
			usd = usd.Add(upstream)
		case c.Computed != nil:
			c.Reported, c.Source = &usd, "reported_plus_computed"
			whole := usd.Add(*c.Computed)
			c.Status, c.USD = CostStatusPriced, &whole
			gap := usd.Sub(*c.Computed)
			c.Difference = &gap
			c.Warnings = append(c.Warnings, "byok_upstream_unknown")
			return c
		default:
			c.Reason, c.Reported = c.ComputedReason, &usd
			c.Warnings = append(c.Warnings, "byok_upstream_unknown")
			return c
		}
	}
	c.Status, c.Source, c.USD, c.Reported = CostStatusPriced, source, &usd, &usd
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
