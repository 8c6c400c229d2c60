package meter

import "p402.io/p402/internal/id"

// Policy is a set of rules a call has to pass. One rule is enforced today; an empty list means that it does not apply.
type Policy struct {
	ID            id.Policy
	TenantID      id.Tenant
	Name          string
	Version       int
	AllowedModels []string // exact names, or a prefix ending in "*"
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
