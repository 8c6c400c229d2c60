package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

type policyBody struct {
	Name  string `json:"name"`
	Rules struct {
		AllowedModels []string `json:"allowed_models"`
	} `json:"rules"`
}

func (s *Surface) createPolicy(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b policyBody
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	if len(b.Name) > maxName {
		return 0, nil, invalid("name", "has more than 200 bytes")
	}
	if len(b.Rules.AllowedModels) == 0 {
		return 0, nil, invalid("rules.allowed_models", "must name at least one model, or a prefix that ends in *")
	}
	if err := checkModels("rules.allowed_models", b.Rules.AllowedModels); err != nil {
		return 0, nil, err
	}
	stored, err := s.Store.PutPolicy(c.Request.Context(), meter.Policy{TenantID: caller.TenantID, Name: b.Name, AllowedModels: b.Rules.AllowedModels})
	return http.StatusCreated, gin.H{"object": "policy", "policy_id": stored, "name": b.Name, "state": "enforced"}, err
}

func policyJSON(p meter.Policy) gin.H {
	return gin.H{"object": "policy", "policy_id": p.ID, "name": p.Name, "version": p.Version, "rules": gin.H{"allowed_models": p.AllowedModels}, "state": "enforced"}
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

func (s *Surface) retirePolicy(c *gin.Context, caller meter.Caller) (int, any, error) {
	return http.StatusOK, gin.H{"ok": true}, s.Store.RetirePolicy(c.Request.Context(), caller.TenantID, id.Policy(c.Param("id")))
}
