// Package meter is what an AI call is, costs, may do and was worth. It is pure: no context, no clock, no I/O and no
// goroutine, so that every price and decision can be recomputed from its inputs for ever.
package meter

import (
	"time"

	"p402.io/p402/internal/id"
)

// Scope is one thing a key may do (PRODUCT §6).
type Scope string

// The scopes that routes ask for.
const (
	ScopeInfer        Scope = "infer"
	ScopeMeterRead    Scope = "meter:read"
	ScopeMeterWrite   Scope = "meter:write"
	ScopeOutcomeWrite Scope = "outcome:write"
	ScopeControlRead  Scope = "control:read"
	ScopeControlWrite Scope = "control:write"
	ScopeKeysRead     Scope = "keys:read"
	ScopeKeysWrite    Scope = "keys:write"
	ScopeSellRead     Scope = "sell:read"
	ScopeSellWrite    Scope = "sell:write"
	ScopeReceiptsRead Scope = "receipts:read"
	ScopeEvidenceRead Scope = "evidence:read"
	ScopeSettleVerify Scope = "settle:verify"
	ScopeSettleWrite  Scope = "settle:write"
	ScopeFinanceRead  Scope = "finance:read"
	ScopeFinanceWrite Scope = "finance:write"
	ScopeFinanceClose Scope = "finance:close"
	ScopeExportRead   Scope = "export:read"
)

// AllScopes is every scope there is, in a fixed order.
func AllScopes() []Scope {
	return []Scope{ScopeInfer, ScopeMeterRead, ScopeMeterWrite, ScopeOutcomeWrite, ScopeControlRead, ScopeControlWrite, ScopeKeysRead, ScopeKeysWrite,
		ScopeSellRead, ScopeSellWrite, ScopeReceiptsRead, ScopeEvidenceRead, ScopeSettleVerify, ScopeSettleWrite,
		ScopeFinanceRead, ScopeFinanceWrite, ScopeFinanceClose, ScopeExportRead}
}

// Override says whether a caller may change a dimension that its key has a default for (PRODUCT §2.1).
type Override string

// The override policies of a key.
const (
	OverrideAllow      Override = "allow"      // body and header win over the key's default
	OverrideRestricted Override = "restricted" // a dimension with a default cannot be changed
	OverrideDeny       Override = "deny"       // no caller value at all
)

// Caller is who called: the tenant and key that authentication found, and nothing that the request claims. For a
// paid call without a key, TenantID is the seller, KeyID is empty and Payer is the wallet once it is checked.
type Caller struct {
	TenantID      id.Tenant
	KeyID         id.Key
	MemberID      id.Member // a signed-in person instead of a key; "" for a key, and for the set-up link's session
	Role          Role      // of the person; "" for a key
	KeyPrefix     string    // for display, e.g. "p402_live_1a2b3c"
	Livemode      bool
	Scopes        []Scope
	Override      Override
	Defaults      Attribution
	AllowedModels []string   // empty = every model
	ExpiresAt     *time.Time // when the key ends; nil = never
	Payer         string
}

// May reports whether the caller holds a scope.
func (c Caller) May(s Scope) bool {
	for _, have := range c.Scopes {
		if have == s {
			return true
		}
	}
	return false
}
