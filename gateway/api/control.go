package api

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$`)

// workflowBody is one workflow as it is posted and as `p402 apply` sends it.
type workflowBody struct {
	WorkflowID  string       `json:"workflow_id"`
	Name        string       `json:"name"`
	Description string       `json:"description"`
	Target      meter.Target `json:"target"`
	State       string       `json:"state"`
	Price       *priceBody   `json:"price"`
}

type priceBody struct {
	Model     string    `json:"model"`
	AmountUSD money.USD `json:"amount_usd"`
	PayTo     string    `json:"payTo"`
	Network   string    `json:"network"`
	Scheme    string    `json:"scheme"`
	WaitFor   string    `json:"wait_for"`
}

func (s *Surface) putWorkflow(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b workflowBody
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	w, err := b.workflow(caller.TenantID)
	if err != nil {
		return 0, nil, err
	}
	stored, err := s.Store.PutWorkflow(c.Request.Context(), w)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, workflowJSON(stored), nil
}

func (b workflowBody) workflow(tenant id.Tenant) (meter.Workflow, error) {
	w := meter.Workflow{TenantID: tenant, WorkflowID: b.WorkflowID, Name: b.Name, Description: b.Description, Target: b.Target, State: meter.WorkflowState(b.State)}
	if w.State == "" {
		w.State = meter.WorkflowDraft
	}
	switch {
	case !nameForm.MatchString(b.WorkflowID) || strings.Contains(b.WorkflowID, "/v1"):
		return w, invalid("workflow_id", "must be 1 to 128 of A-Z a-z 0-9 . _ : / - and begin with a letter or digit")
	case b.Target.Kind != "model":
		return w, fault.Field(fault.KindImpossible, "TARGET_UNSUPPORTED", "target.kind", "only model targets can be run")
	case b.Target.Model == "":
		return w, invalid("target.model", "is required")
	case !slices.Contains([]meter.WorkflowState{meter.WorkflowDraft, meter.WorkflowLive, meter.WorkflowPaused, meter.WorkflowRetired}, w.State):
		return w, invalid("state", "must be draft, live, paused or retired")
	case len(b.Name) > 200 || len(b.Description) > 2000:
		return w, invalid("description", "is too long")
	case b.Price == nil && w.State == meter.WorkflowLive:
		return w, fault.Field(fault.KindImpossible, "PRICE_REQUIRED", "price", "a live workflow needs a price")
	}
	if b.Price == nil {
		return w, nil
	}
	var err error
	w.Price, err = b.Price.price()
	return w, err
}

func (b priceBody) price() (*meter.Price, error) {
	n, known := settlement.FindNetwork(b.Network)
	switch {
	case b.Model != "per_call":
		return nil, fault.Field(fault.KindImpossible, "PRICE_MODEL_UNSUPPORTED", "price.model", "only per_call is served with scheme exact")
	case b.Scheme != "" && b.Scheme != "exact":
		return nil, fault.Field(fault.KindImpossible, "PRICE_MODEL_UNSUPPORTED", "price.scheme", "only exact is served")
	case !known:
		return nil, invalid("price.network", "must be a known network such as eip155:84532")
	case b.AmountUSD.Sign() <= 0:
		return nil, invalid("price.amount_usd", "must be more than 0")
	case b.WaitFor != "" && b.WaitFor != "included" && b.WaitFor != "final":
		return nil, invalid("price.wait_for", "must be included or final")
	case !common.IsHexAddress(b.PayTo) || !strings.HasPrefix(b.PayTo, "0x"):
		return nil, invalid("price.payTo", "must be an address: 0x and 40 hex digits")
	}
	if _, err := money.Payable(b.AmountUSD); err != nil {
		return nil, invalid("price.amount_usd", "cannot be paid")
	}
	address := common.HexToAddress(b.PayTo)
	if digits := b.PayTo[2:]; digits != strings.ToLower(digits) && digits != strings.ToUpper(digits) && address.Hex() != b.PayTo {
		return nil, invalid("price.payTo", "has a wrong checksum (EIP-55): a letter may be mistyped")
	}
	if address == (common.Address{}) || strings.EqualFold(address.Hex(), n.USDC) {
		return nil, invalid("price.payTo", "cannot receive: it is the zero address or the token itself")
	}
	wait := b.WaitFor
	if wait == "" {
		wait = "included"
	}
	return &meter.Price{Model: b.Model, AmountUSD: b.AmountUSD, PayTo: address.Hex(), Network: n.CAIP2, Asset: n.USDC, Scheme: "exact", WaitFor: wait}, nil
}

func workflowJSON(w meter.Workflow) gin.H {
	out := gin.H{"object": "workflow", "workflow_id": w.WorkflowID, "seller": w.Seller, "name": w.Name, "description": w.Description, "target": w.Target, "state": w.State,
		"price": nil, "paid_path": "/x/" + w.Seller + "/" + w.WorkflowID}
	if p := w.Price; p != nil {
		out["price"] = gin.H{"version": p.Version, "model": p.Model, "amount_usd": p.AmountUSD, "payTo": p.PayTo, "network": p.Network, "asset": p.Asset,
			"scheme": p.Scheme, "wait_for": p.WaitFor, "effective_from": p.EffectiveFrom}
	}
	return out
}

func (s *Surface) listWorkflows(c *gin.Context, caller meter.Caller) (int, any, error) {
	list, err := s.Store.Workflows(c.Request.Context(), caller.TenantID)
	data := []gin.H{}
	for _, w := range list {
		data = append(data, workflowJSON(w))
	}
	return http.StatusOK, gin.H{"object": "list", "data": data, "has_more": false, "next_cursor": nil}, err
}

type keyBody struct {
	Name          string            `json:"name"`
	Scopes        []meter.Scope     `json:"scopes"`
	Override      meter.Override    `json:"header_override_policy"`
	Defaults      map[string]string `json:"defaults"`
	AllowedModels []string          `json:"allowed_models"`
	ExpiresAt     *time.Time        `json:"expires_at"`
}

func (s *Surface) createKey(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b keyBody
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	if b.Name == "" || len(b.Name) > 100 {
		return 0, nil, invalid("name", "must have 1 to 100 characters")
	}
	for _, scope := range b.Scopes {
		if !caller.May(scope) {
			return 0, nil, fault.Field(fault.KindDenied, "SCOPE_MISSING", "scopes", "a key cannot make a key that may do more than itself")
		}
	}
	switch b.Override {
	case "", meter.OverrideAllow, meter.OverrideRestricted, meter.OverrideDeny:
	default:
		return 0, nil, invalid("header_override_policy", "must be allow, restricted or deny")
	}
	defaults, err := meter.ParseMetadata(b.Defaults)
	if err != nil {
		return 0, nil, err
	}
	plain, info, err := s.Store.CreateKey(c.Request.Context(), store.NewKey{TenantID: caller.TenantID, Name: b.Name, Livemode: caller.Livemode, Scopes: b.Scopes,
		Override: b.Override, Defaults: defaults, AllowedModels: b.AllowedModels, ExpiresAt: b.ExpiresAt})
	return http.StatusCreated, gin.H{"key": plain, "info": info}, err
}

func (s *Surface) listKeys(c *gin.Context, caller meter.Caller) (int, any, error) {
	list, err := s.Store.Keys(c.Request.Context(), caller.TenantID)
	return http.StatusOK, gin.H{"object": "list", "data": list, "has_more": false, "next_cursor": nil}, err
}

func (s *Surface) revokeKey(c *gin.Context, caller meter.Caller) (int, any, error) {
	err := s.Store.RevokeKey(c.Request.Context(), caller.TenantID, id.Key(c.Param("id")))
	s.Auth.Forget()
	return http.StatusOK, gin.H{"ok": true}, err
}

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
	switch {
	case !slices.Contains(meter.ScopeTypes(), b.Scope.Type):
		return 0, nil, invalid("scope.type", "must be one of "+strings.Join(meter.ScopeTypes(), ", "))
	case b.Scope.Type != "tenant" && !nameForm.MatchString(b.Scope.ID):
		return 0, nil, invalid("scope.id", "must name what the budget is for")
	case !b.Window.Valid():
		return 0, nil, invalid("window", "must be day, month or total")
	case b.LimitUSD == nil && b.LimitEvents == nil && b.LimitTokens == nil:
		return 0, nil, invalid("limit_usd", "one of limit_usd, limit_events, limit_tokens is required")
	case b.LimitUSD != nil && b.LimitUSD.Sign() < 0, b.LimitEvents != nil && *b.LimitEvents < 0, b.LimitTokens != nil && *b.LimitTokens < 0:
		return 0, nil, invalid("limit_usd", "a limit must not be negative")
	case b.OnExceed != "" && b.OnExceed != "deny", b.Enforcement != "" && b.Enforcement != "hard":
		return 0, nil, fault.Field(fault.KindImpossible, "BUDGET_UNSUPPORTED", "on_exceed", "only hard budgets that deny are served")
	}
	budget := meter.Budget{TenantID: caller.TenantID, Name: b.Name, Scope: meter.BudgetScope{Type: b.Scope.Type, ID: b.Scope.ID}, Window: b.Window,
		LimitUSD: b.LimitUSD, LimitEvents: b.LimitEvents, LimitTokens: b.LimitTokens}
	stored, err := s.Store.PutBudget(c.Request.Context(), budget)
	return http.StatusCreated, gin.H{"object": "budget", "budget_id": stored, "name": b.Name}, err
}

func (s *Surface) listBudgets(c *gin.Context, caller meter.Caller) (int, any, error) {
	list, err := s.Store.Budgets(c.Request.Context(), caller.TenantID)
	data := []gin.H{}
	for _, b := range list {
		data = append(data, gin.H{"object": "budget", "budget_id": b.ID, "name": b.Name, "scope": gin.H{"type": b.Scope.Type, "id": b.Scope.ID}, "window": b.Window,
			"limit_usd": b.LimitUSD, "limit_events": b.LimitEvents, "limit_tokens": b.LimitTokens, "spent_usd": b.Spent.USD, "reserved_usd": b.Reserved.USD,
			"spent_events": b.Spent.Events, "reserved_events": b.Reserved.Events, "spent_tokens": b.Spent.Tokens, "reserved_tokens": b.Reserved.Tokens})
	}
	return http.StatusOK, gin.H{"object": "list", "data": data, "has_more": false, "next_cursor": nil}, err
}

func (s *Surface) retireBudget(c *gin.Context, caller meter.Caller) (int, any, error) {
	return http.StatusOK, gin.H{"ok": true}, s.Store.RetireBudget(c.Request.Context(), caller.TenantID, id.Budget(c.Param("id")))
}

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
	if len(b.Rules.AllowedModels) == 0 {
		return 0, nil, invalid("rules.allowed_models", "name at least one model, or a prefix that ends in *")
	}
	stored, err := s.Store.PutPolicy(c.Request.Context(), meter.Policy{TenantID: caller.TenantID, Name: b.Name, AllowedModels: b.Rules.AllowedModels})
	return http.StatusCreated, gin.H{"object": "policy", "policy_id": stored, "name": b.Name, "state": "enforced"}, err
}

func (s *Surface) listPolicies(c *gin.Context, caller meter.Caller) (int, any, error) {
	list, err := s.Store.Policies(c.Request.Context(), caller.TenantID)
	data := []gin.H{}
	for _, p := range list {
		data = append(data, gin.H{"object": "policy", "policy_id": p.ID, "name": p.Name, "version": p.Version, "rules": gin.H{"allowed_models": p.AllowedModels}, "state": "enforced"})
	}
	return http.StatusOK, gin.H{"object": "list", "data": data, "has_more": false, "next_cursor": nil}, err
}

func (s *Surface) retirePolicy(c *gin.Context, caller meter.Caller) (int, any, error) {
	return http.StatusOK, gin.H{"ok": true}, s.Store.RetirePolicy(c.Request.Context(), caller.TenantID, id.Policy(c.Param("id")))
}
