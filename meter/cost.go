package meter

import (
	"strconv"
	"strings"
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

// Where the effective cost comes from.
const (
	CostSourceNone     = "none"
	CostSourceComputed = "computed"               // our rates on the counts
	CostSourceReported = "reported"               // the vendor's own figure
	CostSourceBoth     = "reported_plus_computed" // a router's fee, and our figure for the vendor behind it
)

// Component is one line of a cost's arithmetic: quantity x rate / per.
type Component struct {
	Component string    `json:"component"`
	Quantity  string    `json:"quantity"`
	Rate      money.USD `json:"rate"`
	Per       string    `json:"per"`
	Cost      money.USD `json:"cost"`
}

// Cost is what a vendor takes for one attempt. USD nil means unknown, which is never 0. Each amount is rounded once,
// half-even at 18 places; components are rounded for themselves and may differ from their sum in the last place.
type Cost struct {
	Status         CostStatus
	USD            *money.USD
	Source         string // one of the CostSource words
	Computed       *money.USD
	Reported       *money.USD
	Difference     *money.USD // reported - computed, where both are figures for the same thing
	Reason         string     // why there is no cost
	ComputedReason string     // why there is no computed cost, where the reported one stands
	Components     []Component
	RowID          string
	ServiceTier    string
	TierSource     string // response | endpoint | request | default
	ContextTier    string // base | gt_<tokens>; "" if no rates were found
	Estimated      bool
}

// PricedCall is what pricing needs to know of a call beside its usage.
type PricedCall struct {
	Provider  string // whose prices; "" = anybody's
	Model     string // as sent; the one that the answer names is looked up first
	Tier      string // as asked for, if the caller of Price knows better than the request; what the answer reports wins
	Batch     bool   // asked for through a batch endpoint
	Region    string // of the endpoint, as the rows name it
	StartedAt time.Time
	At        time.Time // completed; decides which row is in force
}

// Price is the exact cost of what was measured, by the row in force when the call completed.
func (c RateCard) Price(m Measured, call PricedCall) Cost {
	out := Cost{Source: CostSourceNone, Estimated: m.Source == UsageEstimated || m.Source == UsagePartial}
	out.chooseTier(m, call)
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
	row, ok := c.LookupFor(call.Provider, call.At, m.Model, call.Model)
	if !ok {
		out.Status, out.Reason = CostStatusUnpriced, "unknown_model"
		return out.reported(m)
	}
	out.RowID = row.ID
	rates, context, ok := row.ratesFor(out.ServiceTier, m.InputTokens, call)
	if !ok {
		out.Status, out.Reason = CostStatusUnpriced, "no_rate_for_service_tier"
		return out.reported(m)
	}
	out.ContextTier = context
	facts := out.facts(m, call)
	sum := arithmetic{factor: row.factor(facts)}
	if out.Reason = sum.tokens(m.Usage, rates); out.Reason == "" {
		out.Reason = sum.fees(m.Counts, row.Fees, facts)
	}
	if out.Reason != "" {
		out.Status = CostStatusUnpriced
		return out.reported(m)
	}
	usd := money.FromRat(&sum.total)
	out.Status, out.Source, out.USD, out.Computed, out.Components = CostStatusPriced, CostSourceComputed, &usd, &usd, sum.lines
	return out.reported(m)
}

// facts are the settings of a call that conditions and choices of a row are about.
func (c Cost) facts(m Measured, call PricedCall) map[string]string {
	quality, size, _ := strings.Cut(m.ImageKind, ":")
	return map[string]string{"region": call.Region, "inference_geo": m.InferenceGeo, "service_tier": c.ServiceTier,
		"context_tier": c.ContextTier, "provider": call.Provider, "batch": strconv.FormatBool(call.Batch),
		"search_context_size": m.SearchContextSize, "image_kind": m.ImageKind, "image_quality": quality, "image_size": size}
}

// chooseTier: the tier that the answer reports, else the endpoint's, else the one asked for.
func (c *Cost) chooseTier(m Measured, call PricedCall) {
	c.ServiceTier, c.TierSource = "default", "default"
	asked := call.Tier
	if asked == "" {
		asked = m.AskedTier
	}
	switch tier := tierName(asked); {
	case call.Batch:
		c.ServiceTier, c.TierSource = "batch", "endpoint"
	case tier != "" && tier != "default":
		c.ServiceTier, c.TierSource = tier, "request"
	}
	// A vendor that repeats the ordinary tier where nothing else was asked for tells nothing new.
	if served := tierName(m.ServiceTier); served != "" && (served != "default" || c.ServiceTier != "default") {
		c.ServiceTier, c.TierSource = served, "response"
	}
}

// tierName is a vendor's word for a tier in the price book's words; "" if it leaves the tier open. Google spells its
// tiers in several ways, and Vertex as kinds of traffic.
func tierName(word string) string {
	name := strings.ToLower(word)
	for _, prefix := range []string{"service_tier_", "traffic_type_"} {
		name = strings.TrimPrefix(name, prefix)
	}
	switch name {
	case "", "auto", "unspecified", "null":
		return ""
	case "default", "standard", "on_demand", "standard_only":
		return "default"
	}
	return strings.TrimPrefix(name, "on_demand_")
}

// reported lets a vendor's own figure win and keeps ours beside it.
func (c Cost) reported(m Measured) Cost {
	if m.ReportedCost == "" {
		return c
	}
	figure, err := money.ParseUSD(m.ReportedCost)
	if err != nil || figure.Sign() < 0 {
		return c
	}
	usd := money.FromRat(figure.Rat())
	c.Reported = &usd
	if m.ReportedPartly {
		if c.Computed != nil { // without it the larger part is unknown, and so is the whole
			whole := usd.Add(*c.Computed)
			c.USD, c.Source = &whole, CostSourceBoth
		}
		return c
	}
	c.ComputedReason, c.Reason = c.Reason, ""
	c.Status, c.Source, c.USD = CostStatusPriced, CostSourceReported, &usd
	if c.Computed != nil {
		gap := usd.Sub(*c.Computed)
		c.Difference = &gap
	}
	return c
}
