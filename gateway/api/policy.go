package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

type policyBody struct {
	Name  string      `json:"name"`
	State string      `json:"state"`
	Rules meter.Rules `json:"rules"`
}

// check refuses by the field's name.
func (b policyBody) check() error {
	r := b.Rules
	switch {
	case len(b.Name) > maxName:
		return invalid("name", "has more than 200 bytes")
	case b.State != "" && b.State != string(meter.PolicyEnforced) && b.State != string(meter.PolicyShadow):
		return invalid("state", "must be enforced or shadow")
	case r.Empty():
		return invalid("rules", "must hold at least one rule")
	case r.MaxCostPerRequestUSD != nil && r.MaxCostPerRequestUSD.Sign() < 0:
		return invalid("rules.max_cost_per_request_usd", "must not be negative")
	case r.MaxInputTokens != nil && *r.MaxInputTokens < 0:
		return invalid("rules.max_input_tokens", "must not be negative")
	case r.MaxOutputTokens != nil && *r.MaxOutputTokens < 0:
		return invalid("rules.max_output_tokens", "must not be negative")
	}
	for _, list := range []struct {
		name   string
		values []string
	}{{"rules.allowed_models", r.AllowedModels}, {"rules.denied_models", r.DeniedModels}, {"rules.allowed_task_types", r.AllowedTaskTypes}} {
		if err := checkModels(list.name, list.values); err != nil {
			return err
		}
	}
	for i, dim := range r.RequiredMetadata {
		if !slices.Contains(meter.Dimensions(), dim) {
			return invalid(fmt.Sprintf("rules.required_metadata[%d]", i), "must be one of "+strings.Join(meter.Dimensions(), ", "))
		}
	}
	return nil
}

func (s *Surface) createPolicy(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b policyBody
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	if err := b.check(); err != nil {
		return 0, nil, err
	}
	state := meter.PolicyEnforced
	if b.State != "" {
		state = meter.PolicyState(b.State)
	}
	stored, err := s.Store.PutPolicy(c.Request.Context(), meter.Policy{TenantID: caller.TenantID, Name: b.Name, State: state, Rules: b.Rules})
	return http.StatusCreated, gin.H{"object": "policy", "policy_id": stored, "name": b.Name, "state": state}, err
}

func policyJSON(p meter.Policy) gin.H {
	return gin.H{"object": "policy", "policy_id": p.ID, "name": p.Name, "version": p.Version, "rules": p.Rules, "state": p.State}
}

func (s *Surface) listPolicies(c *gin.Context, caller meter.Caller) (int, any, error) {
	p, err := s.page(c, caller)
	if err != nil {
		return 0, nil, err
	}
	all, err := s.Store.Policies(c.Request.Context(), caller.TenantID)
	if err != nil {
		return 0, nil, err
	}
	slices.SortFunc(all, func(a, b meter.Policy) int { return strings.Compare(string(b.ID), string(a.ID)) })
	rows := rest(p, all, func(q meter.Policy, last string) bool { return string(q.ID) >= last })
	out, err := list(s, c, caller, p, rows, func(q meter.Policy) any { return policyJSON(q) }, func(q meter.Policy) store.Position { return byID(string(q.ID)) })
	return http.StatusOK, out, err
}

func (s *Surface) onePolicy(c *gin.Context, caller meter.Caller) (int, any, error) {
	all, err := s.Store.Policies(c.Request.Context(), caller.TenantID)
	all = slices.DeleteFunc(all, func(p meter.Policy) bool { return string(p.ID) != c.Param("id") })
	p, err := found(all, err)
	return http.StatusOK, policyJSON(p), err
}

// stagePolicy lets a policy only watch; enforcePolicy lets it deny. Both hold from the next call on.
func (s *Surface) stagePolicy(c *gin.Context, caller meter.Caller) (int, any, error) {
	return s.movePolicy(c, caller, meter.PolicyShadow)
}

func (s *Surface) enforcePolicy(c *gin.Context, caller meter.Caller) (int, any, error) {
	return s.movePolicy(c, caller, meter.PolicyEnforced)
}

func (s *Surface) movePolicy(c *gin.Context, caller meter.Caller, to meter.PolicyState) (int, any, error) {
	if err := decode(c, &struct{}{}); err != nil {
		return 0, nil, err
	}
	if err := s.Store.MovePolicy(c.Request.Context(), caller.TenantID, id.Policy(c.Param("id")), to); err != nil {
		return 0, nil, err
	}
	return s.onePolicy(c, caller)
}

func (s *Surface) retirePolicy(c *gin.Context, caller meter.Caller) (int, any, error) {
	return http.StatusOK, gin.H{"ok": true}, s.Store.RetirePolicy(c.Request.Context(), caller.TenantID, id.Policy(c.Param("id")))
}
