package meter

import (
	"slices"
	"strings"
	"testing"
)

// F18: the auditor reads all and changes nothing; no role but owner and admin touches members.
func TestF18_TheAuditorReadsAllAndChangesNothing(t *testing.T) {
	t.Parallel()
	for _, s := range append(AllScopes(), MemberScopes()...) {
		reads := strings.HasSuffix(string(s), ":read")
		if RoleAuditor.May(s) != reads {
			t.Errorf("the auditor and %s: %v", s, RoleAuditor.May(s))
		}
		for _, r := range Roles() {
			mighty := r == RoleOwner || r == RoleAdmin
			if mighty && !r.May(s) {
				t.Errorf("%s lacks %s", r, s)
			}
			if s == ScopeMembersWrite && !mighty && r.May(s) {
				t.Errorf("%s may change members", r)
			}
		}
	}
	if Role("nobody").Valid() || len(Role("").Scopes()) > 0 {
		t.Error("a word that is no role may do something")
	}
	for _, s := range MemberScopes() {
		if slices.Contains(AllScopes(), s) {
			t.Errorf("a key can be made with %s", s)
		}
	}
}
