package dashboard

import (
	"strings"

	"p402.io/p402/meter"
)

// navGroup is one heading of the navigation with the pages under it that the visitor may see.
type navGroup struct {
	Label string
	Items []navItem
}

type navItem struct {
	Label, Path string
	Here        bool
}

type navLine struct {
	label, path string
}

// navigation is the pages that exist and that the visitor's role may see: what is not served is not named.
func navigation(r *request) []navGroup {
	groups := []struct {
		label string
		lines []navLine
	}{
		{"", []navLine{{"Start", "/app/start"}, {"Overview", "/app"}, {"Events", "/app/events"}}},
		{"Understand", []navLine{{"Workflows", "/app/workflows"}, {"Customers", "/app/customers"}, {"Dimensions", "/app/dimensions"}, {"Outcomes", "/app/outcomes"}, {"Waste", "/app/waste"}}},
		{"Control", []navLine{{"Budgets", "/app/budgets"}, {"Policies", "/app/policies"}, {"Simulator", "/app/simulator"}, {"Reviews", "/app/reviews"}}},
		{"Sell", []navLine{{"Sell", "/app/sell"}, {"Receipts", "/app/receipts"}, {"Payments", "/app/payments"}}},
		{"Finance", []navLine{{"Reconcile", "/app/reconcile"}, {"Exports", "/app/exports"}}},
		{"Settings", []navLine{{"Keys", "/app/keys"}, {"Providers and prices", "/app/providers"}, {"Privacy", "/app/privacy"}, {"Members", "/app/members"},
			{"Audit log", "/app/audit"}, {"Plan", "/app/plan"}, {"System", "/app/system"}, {"Your account", "/app/account"}}},
	}
	need := map[string]meter.Scope{}
	for _, rt := range r.s.routes() {
		if rt.method == "GET" {
			need[rt.path] = rt.need
		}
	}
	here := ""
	for path := range need { // the longest page above this one
		if at := r.Request.URL.Path; (at == path || path != "/app" && strings.HasPrefix(at, path+"/")) && len(path) > len(here) && !strings.Contains(path, ":") {
			here = path
		}
	}
	if strings.HasPrefix(r.Request.URL.Path, "/app/periods/") {
		here = "/app/reconcile" // a period has no line of its own
	}
	var out []navGroup
	for _, g := range groups {
		kept := navGroup{Label: g.label}
		for _, line := range g.lines {
			scope, served := need[line.path]
			if served && r.may(scope) {
				kept.Items = append(kept.Items, navItem{line.label, r.view.onlyWindow(line.path), here == line.path})
			}
		}
		if len(kept.Items) > 0 {
			out = append(out, kept)
		}
	}
	return out
}

// onlyWindow carries ledger and window to another page, and no filter that the visitor would not see there.
func (v view) onlyWindow(path string) string {
	var drop []string
	for name := range v.kept {
		if name != "mode" && name != "window" && name != "since" && name != "until" {
			drop = append(drop, name, "")
		}
	}
	return v.On(path, drop...)
}

// may reports whether the visitor's role has a scope; "" is open to every member.
func (r *request) may(scope meter.Scope) bool { return scope == "" || r.session.Role.May(scope) }
