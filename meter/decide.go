package meter

import (
	"strings"
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
)

// Quote is the offer for one request before it runs: what it may cost us, and what the payer owes.
type Quote struct {
	Request     Request
	WorstCase   Amount
	Priced      bool // false: no rate is known for the model
	CardVersion string
	Workflow    *Workflow // nil when the call is not sold
	At          time.Time
}

// NewQuote bounds a request's cost with the rate card and, for sold work, carries the price that applies.
func NewQuote(r Request, card RateCard, w *Workflow, now time.Time) Quote {
	in, out := r.Bounds()
	usd, known := card.WorstCase(r.Model, in, out, now)
	q := Quote{Request: r, WorstCase: Amount{USD: usd, Events: 1, Tokens: in + out}, Priced: known, CardVersion: card.Version, At: now}
	if w.Sold() {
		q.Workflow = w
	}
	return q
}

// Standing is everything Decide looks at that is stored: budgets with their windows, policies, the workflow sold.
type Standing struct {
	Budgets  []BudgetStanding
	Policies []Policy
	Workflow *Workflow
	Plan     *PlanUse // nil: no gate of a plan
}

// Verdict is the outcome of a decision.
type Verdict string

// The verdicts.
const (
	VerdictAllow Verdict = "allow"
	VerdictDeny  Verdict = "deny"
	VerdictPay   Verdict = "pay"
)

// Hit is one rule that spoke, kept on the event whether or not it decided.
type Hit struct {
	Code     fault.Code `json:"code"`
	Source   string     `json:"source"` // "budget" | "policy" | "key" | "request"
	Scope    string     `json:"scope,omitempty"`
	ObjectID string     `json:"object_id,omitempty"`
	Detail   string     `json:"detail"`
}

// Decision is what may happen and why. Reservations are what Store.Open has to set aside, in budget id order.
type Decision struct {
	Verdict      Verdict
	Code         fault.Code // the first definitive code when denied
	Hits         []Hit
	Reservations []Reservation
	BudgetID     id.Budget // the tightest dollar budget
	Remaining    *money.USD
	PolicyID     id.Policy
	PolicyVer    int
	PlanNotice   string // what the caller should hear of the tenant's plan
}

// Decide judges a quote. It explains; the guarded update in Store.Open enforces. Budgets come before rules, in
// PRODUCT §5's order, and every rule that would deny is recorded.
func Decide(c Caller, q Quote, s Standing, now time.Time) Decision {
	d := Decision{Verdict: VerdictAllow}
	for _, scope := range ScopeTypes() {
		for _, b := range s.Budgets {
			if b.Scope.Type == scope && b.Applies(c, q.Request.Attribution) {
				d.judgeBudget(b, q, now)
			}
		}
	}
	d.judgeModel(c, q, s)
	if limit := q.Request.MaxCost; limit != nil && (!q.Priced || q.WorstCase.USD.Cmp(*limit) > 0) {
		d.hit(Hit{Code: "MAX_COST_PER_REQUEST_EXCEEDED", Source: "request", Detail: "the call may cost more than X-P402-Max-Cost-USD"})
	}
	if q.Workflow != nil && !q.Priced {
		d.hit(Hit{Code: "MODEL_NOT_ALLOWED", Source: "policy", Scope: "workflow", ObjectID: q.Workflow.WorkflowID,
			Detail: "the model has no known cost, so it cannot be sold"})
	}
	d.judgePlan(s, now)
	if len(d.Hits) > 0 {
		d.Verdict, d.Code = VerdictDeny, d.Hits[0].Code
	} else if q.Workflow != nil {
		d.Verdict = VerdictPay
	}
	return d
}

// judgePlan comes last (PRODUCT §5): a plan denies only new calls, and only after its grace.
func (d *Decision) judgePlan(s Standing, now time.Time) {
	if s.Plan == nil {
		return
	}
	d.PlanNotice = s.Plan.Words(now)
	if s.Plan.State(now) == PlanCapped {
		d.hit(Hit{Code: "PLAN_CAP_EXCEEDED", Source: "plan", Scope: "tenant", ObjectID: s.Plan.Plan.ID, Detail: "the plan's events of this month are used and its grace is over"})
	}
}

func (d *Decision) hit(h Hit) { d.Hits = append(d.Hits, h) }

// judgeBudget holds one budget against the quote. A model without a price may not run under a dollar limit: what
// cannot be counted cannot be limited (docs/decisions).
func (d *Decision) judgeBudget(b BudgetStanding, q Quote, now time.Time) {
	code := fault.Code(strings.ToUpper(b.Scope.Type) + "_BUDGET_EXCEEDED")
	if b.Scope.Type == "key" {
		code = "API_KEY_BUDGET_EXCEEDED"
	}
	h := Hit{Code: code, Source: "budget", Scope: b.Scope.Type, ObjectID: string(b.ID)}
	switch {
	case b.LimitUSD != nil && !q.Priced:
		h.Detail = "the model has no known price and this budget is in dollars"
		d.hit(h)
	case !b.Passes(q.WorstCase):
		h.Detail = "spent, reserved and this call's worst case together pass the limit"
		d.hit(h)
	}
	d.Reservations = append(d.Reservations, Reservation{BudgetID: b.ID, WindowStart: b.Window.Start(now), Amount: q.WorstCase})
	if left := b.RemainingUSD(); left != nil && (d.Remaining == nil || left.Cmp(*d.Remaining) < 0) {
		d.Remaining, d.BudgetID = left, b.ID
	}
}

func (d *Decision) judgeModel(c Caller, q Quote, s Standing) {
	if !AllowsModel(c.AllowedModels, q.Request.Model) {
		d.hit(Hit{Code: "MODEL_NOT_ALLOWED", Source: "key", Scope: "key", ObjectID: string(c.KeyID), Detail: "the key does not allow this model"})
	}
	for _, p := range s.Policies {
		d.PolicyID, d.PolicyVer = p.ID, p.Version
		if !AllowsModel(p.AllowedModels, q.Request.Model) {
			d.hit(Hit{Code: "MODEL_NOT_ALLOWED", Source: "policy", Scope: "tenant", ObjectID: string(p.ID), Detail: "the policy does not allow this model"})
		}
	}
}

// Denied is the refusal a caller sees for a denied decision: 403, which no SDK retries and no wallet pays (D11).
func (d Decision) Denied() *fault.Error {
	why := "the call is not allowed"
	if len(d.Hits) > 0 {
		why = d.Hits[0].Detail
	}
	return fault.New(fault.KindDenied, d.Code, why)
}
