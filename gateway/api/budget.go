package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

type budgetBody struct {
	Name  string `json:"name"`
	Scope struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	} `json:"scope"`
	Window      meter.Window `json:"window"`
	LimitUSD    *money.USD   `json:"limit_usd"`
	LimitEvents *int64       `json:"limit_events"`
	LimitTokens *int64       `json:"limit_tokens"`
	OnExceed    string       `json:"on_exceed"`
	Enforcement string       `json:"enforcement"`
}

func (s *Surface) createBudget(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b budgetBody
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	if err := b.check(); err != nil {
		return 0, nil, err
	}
	if b.Scope.Type == "key" {
		if _, err := s.Store.Key(c.Request.Context(), caller.TenantID, id.Key(b.Scope.ID)); isNotFound(err) {
			return 0, nil, invalid("scope.id", "must be a key of this tenant")
		} else if err != nil {
			return 0, nil, err
		}
	}
	budget := meter.Budget{TenantID: caller.TenantID, Name: b.Name, Scope: meter.BudgetScope{Type: b.Scope.Type, ID: b.Scope.ID}, Window: b.Window,
		LimitUSD: b.LimitUSD, LimitEvents: b.LimitEvents, LimitTokens: b.LimitTokens}
	stored, err := s.Store.PutBudget(c.Request.Context(), budget)
	return http.StatusCreated, gin.H{"object": "budget", "budget_id": stored, "name": b.Name}, err
}

// check refuses by the field's name.
func (b budgetBody) check() error {
	switch {
	case len(b.Name) > maxName:
		return invalid("name", "has more than 200 bytes")
	case !slices.Contains(meter.ScopeTypes(), b.Scope.Type):
		return invalid("scope.type", "must be one of "+strings.Join(meter.ScopeTypes(), ", "))
	case b.Scope.Type != "tenant" && !nameForm.MatchString(b.Scope.ID):
		return invalid("scope.id", "must name what the budget is for")
	case !b.Window.Valid():
		return invalid("window", "must be day, month or total")
	case b.LimitUSD == nil && b.LimitEvents == nil && b.LimitTokens == nil:
		return invalid("limit_usd", "one of limit_usd, limit_events, limit_tokens is required")
	case b.LimitUSD != nil && b.LimitUSD.Sign() < 0:
		return invalid("limit_usd", "must not be negative")
	case b.LimitEvents != nil && *b.LimitEvents < 0:
		return invalid("limit_events", "must not be negative")
	case b.LimitTokens != nil && *b.LimitTokens < 0:
		return invalid("limit_tokens", "must not be negative")
	case b.OnExceed != "" && b.OnExceed != "deny":
		return fault.Field(fault.KindImpossible, "BUDGET_UNSUPPORTED", "on_exceed", "must be deny: only hard budgets that deny are served")
	case b.Enforcement != "" && b.Enforcement != "hard":
		return fault.Field(fault.KindImpossible, "BUDGET_UNSUPPORTED", "enforcement", "must be hard: only hard budgets that deny are served")
	}
	return nil
}

func budgetJSON(b meter.BudgetStanding) gin.H {
	return gin.H{"object": "budget", "budget_id": b.ID, "name": b.Name, "scope": gin.H{"type": b.Scope.Type, "id": b.Scope.ID}, "window": b.Window,
		"limit_usd": b.LimitUSD, "limit_events": b.LimitEvents, "limit_tokens": b.LimitTokens, "spent_usd": b.Spent.USD, "reserved_usd": b.Reserved.USD,
		"spent_events": b.Spent.Events, "reserved_events": b.Reserved.Events, "spent_tokens": b.Spent.Tokens, "reserved_tokens": b.Reserved.Tokens}
}

func (s *Surface) listBudgets(c *gin.Context, caller meter.Caller) (int, any, error) {
	p, err := s.page(c, caller)
	if err != nil {
		return 0, nil, err
	}
	all, err := s.Store.Budgets(c.Request.Context(), caller.TenantID)
	if err != nil {
		return 0, nil, err
	}
	slices.SortFunc(all, func(a, b meter.BudgetStanding) int { return strings.Compare(string(b.ID), string(a.ID)) })
	rows := rest(p, all, func(b meter.BudgetStanding, last string) bool { return string(b.ID) >= last })
	out, err := list(s, c, caller, p, rows, func(b meter.BudgetStanding) any { return budgetJSON(b) }, func(b meter.BudgetStanding) store.Position { return byID(string(b.ID)) })
	return http.StatusOK, out, err
}

func (s *Surface) oneBudget(c *gin.Context, caller meter.Caller) (int, any, error) {
	all, err := s.Store.Budgets(c.Request.Context(), caller.TenantID)
	all = slices.DeleteFunc(all, func(b meter.BudgetStanding) bool { return string(b.ID) != c.Param("id") })
	b, err := found(all, err)
	return http.StatusOK, budgetJSON(b), err
}

func (s *Surface) retireBudget(c *gin.Context, caller meter.Caller) (int, any, error) {
	return http.StatusOK, gin.H{"ok": true}, s.Store.RetireBudget(c.Request.Context(), caller.TenantID, id.Budget(c.Param("id")))
}
