package app

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Every rule of a policy denies what breaks it, under its own code, with 403 that no SDK repeats; put on watch it notes the
// same on the event and denies nothing.
func TestO5_TestD11_EveryRuleOfAPolicy(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	for _, row := range []struct{ rules, more, code, rule string }{
		{`{"allowed_models":["gpt-*"]}`, ``, "MODEL_NOT_ALLOWED", "allowed_models"},
		{`{"denied_models":["mock-*"]}`, ``, "MODEL_NOT_ALLOWED", "denied_models"},
		{`{"allowed_models":["mock-*"],"denied_models":["mock-small"]}`, ``, "MODEL_NOT_ALLOWED", "denied_models"},
		{`{"allowed_task_types":["summary"]}`, `,"metadata":{"task_type":"chat"}`, "TASK_TYPE_NOT_ALLOWED", "allowed_task_types"},
		{`{"allowed_task_types":["summary"]}`, ``, "TASK_TYPE_NOT_ALLOWED", "allowed_task_types"},
		{`{"required_metadata":["customer_id","workflow_id"]}`, `,"metadata":{"customer_id":"c"}`, "METADATA_REQUIRED", "required_metadata"},
		{`{"max_cost_per_request_usd":"0.0000001"}`, ``, "MAX_COST_PER_REQUEST_EXCEEDED", "max_cost_per_request_usd"},
		{`{"max_input_tokens":1}`, ``, "MAX_TOKENS_PER_REQUEST_EXCEEDED", "max_input_tokens"},
		{`{"max_output_tokens":10}`, `,"max_tokens":11`, "MAX_TOKENS_PER_REQUEST_EXCEEDED", "max_output_tokens"},
	} {
		u := h.user(t)
		policy := u.must(201, "POST", "/api/v2/policies", `{"name":"p","rules":`+row.rules+`}`)["policy_id"].(string)
		r := u.do("POST", "/v1/chat/completions", chatWith(row.more))
		code, _, _ := r.fault(t)
		if r.status != http.StatusForbidden || code != row.code || r.header.Get("X-Should-Retry") != "false" {
			t.Errorf("%s: %d %s", row.rules, r.status, code)
		}
		u.must(200, "POST", "/api/v2/policies/"+policy+"/stage", "{}")
		r = u.do("POST", "/v1/chat/completions", chatWith(row.more))
		if r.status != http.StatusOK {
			t.Fatalf("%s on watch: %d %.200s", row.rules, r.status, r.body)
		}
		e := u.must(200, "GET", "/api/v2/meter/events/"+r.header.Get("X-P402-Event-ID"), nil)
		hits := e["hits"].([]any)
		if len(hits) != 1 || hits[0].(map[string]any)["shadow"] != true || hits[0].(map[string]any)["matched_rule"] != row.rule || hits[0].(map[string]any)["code"] != row.code {
			t.Errorf("%s on watch notes %v", row.rules, hits)
		}
		u.must(200, "POST", "/api/v2/policies/"+policy+"/enforce", "{}")
		if r := u.do("POST", "/v1/chat/completions", chatWith(row.more)); r.status != http.StatusForbidden {
			t.Errorf("%s enforced again: %d", row.rules, r.status)
		}
	}
}

// What keeps to the rules passes, and the strictest of several policies holds.
func TestPoliciesLetThroughWhatKeepsToThem(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	u.must(201, "POST", "/api/v2/policies", `{"rules":{"allowed_models":["mock-*"],"allowed_task_types":["sum*"],"required_metadata":["customer_id"],"max_cost_per_request_usd":"1","max_input_tokens":1000,"max_output_tokens":100}}`)
	const good = `,"max_tokens":100,"metadata":{"task_type":"summary","customer_id":"c"}`
	if r := u.do("POST", "/v1/chat/completions", chatWith(good)); r.status != 200 {
		t.Errorf("%d %.300s", r.status, r.body)
	}
	u.must(201, "POST", "/api/v2/policies", `{"rules":{"max_output_tokens":99}}`)
	if r := u.do("POST", "/v1/chat/completions", chatWith(good)); r.status != http.StatusForbidden {
		t.Errorf("the stricter policy: %d", r.status)
	}
}

func TestBadPoliciesAreRefusedByField(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	const path = "/api/v2/policies"
	var rows []badInput
	for _, row := range []struct{ body, param string }{{`{"rules":{}}`, "rules"}, {`{"rules":{"required_metadata":["colour"]}}`, "rules.required_metadata[0]"}, {`{"rules":{"max_input_tokens":-1}}`, "rules.max_input_tokens"},
		{`{"rules":{"max_output_tokens":-1}}`, "rules.max_output_tokens"}, {`{"rules":{"max_cost_per_request_usd":"-1"}}`, "rules.max_cost_per_request_usd"}, {`{"rules":{"denied_models":["a*b"]}}`, "rules.denied_models[0]"},
		{`{"state":"draft","rules":{"allowed_models":["m"]}}`, "state"}} {
		rows = append(rows, badInput{name: row.body, path: path, body: row.body, status: 400, code: "INVALID_INPUT", param: row.param})
	}
	u.refuses(rows)
	if r := u.do("POST", path+"/pol_nobody/enforce", "{}"); r.status != 404 || !strings.Contains(string(r.body), "NOT_FOUND") {
		t.Error(fmt.Sprint(r.status), string(r.body))
	}
}
