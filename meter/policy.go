package meter

import (
	"fmt"
	"strings"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
)

// PolicyState says whether a policy denies or only watches.
type PolicyState string

// The states of a policy in force.
const (
	PolicyShadow   PolicyState = "shadow"   // what it would deny is kept on the event, and nothing is denied
	PolicyEnforced PolicyState = "enforced" // it denies
)

// Rules are what a call has to pass (PRODUCT §5). A rule that is absent does not apply.
type Rules struct {
	AllowedModels        []string   `json:"allowed_models,omitempty"` // exact names, or a prefix ending in "*"
	DeniedModels         []string   `json:"denied_models,omitempty"`  // likewise; they win over allowed ones
	AllowedTaskTypes     []string   `json:"allowed_task_types,omitempty"`
	RequiredMetadata     []string   `json:"required_metadata,omitempty"` // dimensions that a call with a key must name
	MaxCostPerRequestUSD *money.USD `json:"max_cost_per_request_usd,omitempty"`
	MaxInputTokens       *int64     `json:"max_input_tokens,omitempty"`
	MaxOutputTokens      *int64     `json:"max_output_tokens,omitempty"`
}

// Empty reports whether there is no rule at all.
func (r Rules) Empty() bool {
	return len(r.AllowedModels)+len(r.DeniedModels)+len(r.AllowedTaskTypes)+len(r.RequiredMetadata) == 0 &&
		r.MaxCostPerRequestUSD == nil && r.MaxInputTokens == nil && r.MaxOutputTokens == nil
}

// Policy is a set of rules of one tenant.
type Policy struct {
	ID       id.Policy
	TenantID id.Tenant
	Name     string
	Version  int
	State    PolicyState
	Rules    Rules
}

// Allows reports whether an enforced policy lets a model through at all; a policy in shadow lets everything through.
func (p Policy) Allows(model string) bool {
	return p.State == PolicyShadow || p.Rules.allows(model)
}

func (r Rules) allows(model string) bool {
	return AllowsModel(r.AllowedModels, model) && (len(r.DeniedModels) == 0 || !AllowsModel(r.DeniedModels, model))
}

// hits is every rule of the policy that a quote breaks, in PRODUCT §5's order: model, task type, metadata, size, cost. A
// stranger's call is judged by model, size and cost alone: its owner is the sold workflow.
func (p Policy) hits(c Caller, q Quote) []Hit {
	var out []Hit
	hit := func(h Hit) {
		h.Source, h.Scope, h.ObjectID, h.Shadow = "policy", "tenant", string(p.ID), p.State == PolicyShadow
		out = append(out, h)
	}
	a, r := q.Request.Attribution, p.Rules
	if !AllowsModel(r.AllowedModels, q.Request.Model) {
		hit(Hit{Code: "MODEL_NOT_ALLOWED", Rule: "allowed_models", Detail: "the policy does not allow this model"})
	} else if !r.allows(q.Request.Model) {
		hit(Hit{Code: "MODEL_NOT_ALLOWED", Rule: "denied_models", Detail: "the policy denies this model"})
	}
	if c.KeyID != "" {
		if task := a.Get(DimTaskType); len(r.AllowedTaskTypes) > 0 && !AllowsModel(r.AllowedTaskTypes, task) {
			hit(Hit{Code: "TASK_TYPE_NOT_ALLOWED", Rule: "allowed_task_types", Detail: "the policy does not allow this task type"})
		}
		var missing []string
		for _, dim := range r.RequiredMetadata {
			if a.Get(dim) == "" {
				missing = append(missing, dim)
			}
		}
		if len(missing) > 0 {
			hit(Hit{Code: "METADATA_REQUIRED", Rule: "required_metadata", Detail: "the policy wants every call to name its " + strings.Join(missing, ", ")})
		}
	}
	input, output := q.Request.Bounds()
	if limit := r.MaxInputTokens; limit != nil && input > *limit {
		hit(Hit{Code: "MAX_TOKENS_PER_REQUEST_EXCEEDED", Rule: "max_input_tokens", Detail: fmt.Sprintf("the request may hold up to %d input tokens; the policy allows %d", input, *limit)})
	}
	if limit := r.MaxOutputTokens; limit != nil && output > *limit {
		hit(Hit{Code: "MAX_TOKENS_PER_REQUEST_EXCEEDED", Rule: "max_output_tokens", Detail: fmt.Sprintf("the answer may have up to %d tokens; the policy allows %d: ask for fewer", output, *limit)})
	}
	if limit := r.MaxCostPerRequestUSD; limit != nil && (!q.Priced || q.WorstCase.USD.Cmp(*limit) > 0) {
		hit(Hit{Code: "MAX_COST_PER_REQUEST_EXCEEDED", Rule: "max_cost_per_request_usd", Detail: "the call may cost more than the policy allows for one"})
	}
	return out
}

// AllowsModel reports whether a model is on the list. An empty list allows every model.
func AllowsModel(list []string, model string) bool {
	if len(list) == 0 {
		return true
	}
	for _, allowed := range list {
		if n := len(allowed); n > 0 && allowed[n-1] == '*' {
			if len(model) >= n-1 && model[:n-1] == allowed[:n-1] {
				return true
			}
			continue
		}
		if allowed == model {
			return true
		}
	}
	return false
}
