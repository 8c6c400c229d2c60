package meter

import (
	"time"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
)

// BudgetScope is whose spending a budget limits: one tenant, key, workflow, … by Type; ID "" for the tenant itself.
type BudgetScope struct {
	Type string // "tenant", "key", or a dimension's short name: workflow, customer, feature, department, …
	ID   string
}

// Window is how long a budget counts before it begins anew.
type Window string

// The windows. Day and month begin at midnight UTC.
const (
	WindowDay   Window = "day"
	WindowMonth Window = "month"
	WindowTotal Window = "total"
)

// Start is the beginning of the window that holds t; for total, the zero of Unix time.
func (w Window) Start(t time.Time) time.Time {
	t = t.UTC()
	switch w {
	case WindowDay:
		return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	case WindowMonth:
		return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	case WindowTotal:
		return time.Unix(0, 0).UTC()
	}
	return time.Unix(0, 0).UTC()
}

// Valid reports whether w is a window we know.
func (w Window) Valid() bool { return w == WindowDay || w == WindowMonth || w == WindowTotal }

// Budget is a hard limit. Nil limits do not apply; at least one is set.
type Budget struct {
	ID          id.Budget
	TenantID    id.Tenant
	Name        string
	Scope       BudgetScope
	Window      Window
	LimitUSD    *money.USD
	LimitEvents *int64
	LimitTokens *int64
}

// Applies reports whether the budget counts a call.
func (b Budget) Applies(c Caller, a Attribution) bool {
	switch b.Scope.Type {
	case "tenant":
		return true
	case "key":
		return b.Scope.ID == string(c.KeyID)
	}
	dim := scopeDimension(b.Scope.Type)
	return dim != "" && a.Get(dim) == b.Scope.ID && b.Scope.ID != ""
}

func scopeDimension(scope string) string {
	switch scope {
	case "workflow", "customer", "feature", "project", "agent":
		return scope + "_id"
	case "department", "employee":
		return scope
	}
	return ""
}

// ScopeTypes is every budget scope that is enforced.
func ScopeTypes() []string {
	return []string{"key", "employee", "department", "project", "agent", "customer", "workflow", "feature", "tenant"}
}

// Amount is what a call uses of a budget.
type Amount struct {
	USD    money.USD
	Events int64
	Tokens int64
}

// Reservation is an amount set aside in one window of one budget while a call runs.
type Reservation struct {
	BudgetID    id.Budget
	WindowStart time.Time
	Amount      Amount
}

// BudgetStanding is a budget with what its present window has spent and set aside.
type BudgetStanding struct {
	Budget
	Spent    Amount
	Reserved Amount
}

// Passes reports whether one more amount keeps within every limit: spent + reserved + x <= limit.
func (s BudgetStanding) Passes(x Amount) bool {
	if s.LimitUSD != nil && s.Spent.USD.Add(s.Reserved.USD).Add(x.USD).Cmp(*s.LimitUSD) > 0 {
		return false
	}
	if s.LimitEvents != nil && s.Spent.Events+s.Reserved.Events+x.Events > *s.LimitEvents {
		return false
	}
	return s.LimitTokens == nil || s.Spent.Tokens+s.Reserved.Tokens+x.Tokens <= *s.LimitTokens
}

// RemainingUSD is what is left of a dollar limit, or nil if the budget has none.
func (s BudgetStanding) RemainingUSD() *money.USD {
	if s.LimitUSD == nil {
		return nil
	}
	left := s.LimitUSD.Sub(s.Spent.USD).Sub(s.Reserved.USD)
	return &left
}
