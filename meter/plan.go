package meter

import (
	"fmt"
	"math/big"
	"time"

	"p402.io/p402/internal/money"
)

// Plan is what a tenant has taken (PRODUCT §10). The self-hosted one has every gate off.
type Plan struct {
	ID            string     `json:"id"`
	Name          string     `json:"name"`
	PriceUSD      *money.USD `json:"price_usd"`        // a month; null is by agreement, or nothing to pay
	Events        int64      `json:"events_included"`  // a month, UTC; 0 is unlimited
	OverageUSD    *money.USD `json:"overage_per_1000"` // for each thousand events beyond; null is none
	RetentionDays int        `json:"retention_days"`   // 0 is as the operator sets it
	Cap           bool       `json:"hard_cap"`         // beyond it new calls are denied, after a grace
	Includes      string     `json:"includes"`
	Priced        bool       `json:"priced"` // it can be bought at a checkout
}

// PlanSelfHosted is the plan of an installation of one's own, and the default.
const PlanSelfHosted = "self_hosted"

// Plans is every plan, the smallest first.
func Plans() []Plan {
	usd := func(text string) *money.USD { u := money.MustUSD(text); return &u }
	return []Plan{
		{ID: "sandbox", Name: "Sandbox", PriceUSD: usd("0"), Events: 25_000, RetentionDays: 14, Cap: true, Includes: "2 members, 1 project, test and live keys, outcomes, community help"},
		{ID: "build", Name: "Build", PriceUSD: usd("49"), Events: 250_000, OverageUSD: usd("0.25"), RetentionDays: 30, Includes: "unlimited members and workflows, outcome coverage, exports", Priced: true},
		{ID: "growth", Name: "Growth", PriceUSD: usd("199"), Events: 2_000_000, OverageUSD: usd("0.15"), RetentionDays: 90, Includes: "customer margin, retry waste, alerts", Priced: true},
		{ID: "scale", Name: "Scale", PriceUSD: usd("799"), Events: 20_000_000, OverageUSD: usd("0.08"), RetentionDays: 365, Includes: "enforced policy, customer budgets, margin floor, audit exports", Priced: true},
		{ID: "enterprise", Name: "Enterprise", RetentionDays: 0, Includes: "SSO, custom retention"},
		{ID: PlanSelfHosted, Name: "Self-hosted", Includes: "everything; plan gates are off"},
	}
}

// FindPlan is a plan by its id.
func FindPlan(planID string) (Plan, bool) {
	for _, p := range Plans() {
		if p.ID == planID {
			return p, true
		}
	}
	return Plan{}, false
}

// PlanMonth is the UTC month a moment counts in: from begin, until end.
func PlanMonth(now time.Time) (begin, end time.Time) {
	begin = time.Date(now.UTC().Year(), now.UTC().Month(), 1, 0, 0, 0, 0, time.UTC)
	return begin, begin.AddDate(0, 1, 0)
}

// PlanUse is how much of a plan the present month has used. One event is one count, whatever its attempts; denied and test-mode
// ones are free.
type PlanUse struct {
	Plan      Plan
	Used      int64
	ReachedAt *time.Time // when the last included event of a capped plan was used; nil before that
	First     *time.Time
	Last      *time.Time
}

// The grace of a capped plan: whichever ends first.
const (
	graceTime    = 72 * time.Hour
	gracePercent = 120
)

// PlanState says where a plan stands.
type PlanState string

// The states: nothing to say, a notice is due, the grace runs, new calls are denied.
const (
	PlanOK     PlanState = "ok"
	PlanNotice PlanState = "notice"
	PlanGrace  PlanState = "grace"
	PlanCapped PlanState = "capped"
)

// State judges a use at a moment.
func (u PlanUse) State(now time.Time) PlanState {
	p := u.Plan
	switch {
	case p.Events == 0:
		return PlanOK
	case p.Cap && u.ReachedAt != nil && (u.Used*100 >= p.Events*gracePercent || now.Sub(*u.ReachedAt) >= graceTime):
		return PlanCapped
	case p.Cap && u.ReachedAt != nil:
		return PlanGrace
	case u.Notice() > 0:
		return PlanNotice
	}
	return PlanOK
}

// Notice is the last threshold that was passed in per cent: 50, 80, 100 or 120; 0 before all of them.
func (u PlanUse) Notice() int {
	passed := 0
	for _, t := range []int{50, 80, 100, 120} {
		if u.Plan.Events > 0 && u.Used*100 >= u.Plan.Events*int64(t) {
			passed = t
		}
	}
	return passed
}

// Words is the state as a caller reads it in X-P402-Plan-Notice; "" is nothing to say.
func (u PlanUse) Words(now time.Time) string {
	switch u.State(now) {
	case PlanGrace:
		ends := u.ReachedAt.Add(graceTime).UTC()
		return fmt.Sprintf("the %s plan's %d events are used; calls go on until %s or %d events", u.Plan.Name, u.Plan.Events, ends.Format(time.RFC3339), u.Plan.Events*gracePercent/100)
	case PlanNotice:
		return fmt.Sprintf("%d%% of the %s plan's events are used", u.Notice(), u.Plan.Name)
	case PlanOK, PlanCapped:
		return ""
	}
	return ""
}

// Projected is the month's count at its end if it goes on as it went so far; it says nothing in the first hour.
func (u PlanUse) Projected(now time.Time) *int64 {
	begin, end := PlanMonth(now)
	passed := now.Sub(begin)
	if passed < time.Hour {
		return nil
	}
	n := new(big.Int).Mul(big.NewInt(u.Used), big.NewInt(int64(end.Sub(begin)/time.Second)))
	whole := n.Div(n, big.NewInt(int64(passed/time.Second))).Int64()
	return &whole
}

// Overage is what the events beyond the included ones cost so far; each begun thousand counts whole.
func (u PlanUse) Overage() money.USD {
	over := u.Used - u.Plan.Events
	if u.Plan.OverageUSD == nil || over <= 0 {
		return money.USD{}
	}
	return u.Plan.OverageUSD.MulInt((over + 999) / 1000)
}
