package meter

import "strings"

// Role is what a member of a tenant is (PRODUCT §6). It grants scopes, and nothing else decides what a member may do.
type Role string

// The roles.
const (
	RoleOwner     Role = "owner"
	RoleAdmin     Role = "admin"
	RoleDeveloper Role = "developer"
	RoleSeller    Role = "seller"
	RoleFinance   Role = "finance"
	RoleAuditor   Role = "auditor"
)

// The scopes that only a signed-in member can have: no key is made with them.
const (
	ScopeMembersRead  Scope = "members:read"
	ScopeMembersWrite Scope = "members:write"
	ScopeAuditRead    Scope = "audit:read"
	ScopeSystemRead   Scope = "system:read"
)

// Roles is every role, the mightiest first.
func Roles() []Role {
	return []Role{RoleOwner, RoleAdmin, RoleDeveloper, RoleSeller, RoleFinance, RoleAuditor}
}

// MemberScopes is the scopes of signed-in members alone.
func MemberScopes() []Scope {
	return []Scope{ScopeMembersRead, ScopeMembersWrite, ScopeAuditRead, ScopeSystemRead}
}

// grants is the families of scopes a role has, by what stands before the colon; a scope without one is its own family. "r" is
// reading only, "rw" everything. Owner and admin have all, the auditor reads all: a new scope is theirs without a line here.
var grants = map[Role]map[string]string{
	RoleDeveloper: {"infer": "rw", "meter": "rw", "outcome": "rw", "control": "r", "keys": "rw", "sell": "r", "receipts": "r", "system": "r"},
	RoleSeller:    {"meter": "r", "outcome": "rw", "sell": "rw", "receipts": "rw", "control": "r"},
	RoleFinance: {"meter": "r", "control": "r", "sell": "r", "receipts": "rw", "finance": "rw", "export": "rw", "evidence": "rw",
		"reconciliation": "rw", "period": "rw", "audit": "r"},
}

// Scopes is everything a role may do; none for a word that is no role.
func (r Role) Scopes() []Scope {
	var out []Scope
	for _, s := range append(AllScopes(), MemberScopes()...) {
		if r.grants(s) {
			out = append(out, s)
		}
	}
	return out
}

func (r Role) grants(s Scope) bool {
	family, verb, _ := strings.Cut(string(s), ":")
	reads := verb == "read"
	switch r {
	case RoleOwner, RoleAdmin:
		return true
	case RoleAuditor:
		return reads
	case RoleDeveloper, RoleSeller, RoleFinance:
	default:
		return false
	}
	switch grants[r][family] {
	case "rw":
		return true
	case "r":
		return reads
	}
	return false
}

// Valid reports whether r is a role.
func (r Role) Valid() bool { return len(r.Scopes()) > 0 }

// May reports whether a role has a scope.
func (r Role) May(s Scope) bool {
	for _, have := range r.Scopes() {
		if have == s {
			return true
		}
	}
	return false
}
