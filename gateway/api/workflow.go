package api

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/x402"
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
	// What per_token asks per million tokens.
	InputUSD  *money.USD `json:"input_per_mtok_usd"`
	OutputUSD *money.USD `json:"output_per_mtok_usd"`
	PayTo     string     `json:"payTo"`
	Network   string     `json:"network"`
	Scheme    string     `json:"scheme"`
	WaitFor   string     `json:"wait_for"`
	// Credit is what the seller risks with wait_for authorized.
	Credit *meter.Credit `json:"credit"`
}

func (s *Surface) putWorkflow(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b workflowBody
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	w, err := s.workflow(b, caller.TenantID)
	if err != nil {
		return 0, nil, err
	}
	stored, err := s.Store.PutWorkflow(c.Request.Context(), w)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, workflowJSON(stored), nil
}

// workflow checks what a seller wrote.
func (s *Surface) workflow(b workflowBody, tenant id.Tenant) (meter.Workflow, error) {
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
	w.Price, err = s.price(*b.Price)
	return w, err
}

func (s *Surface) price(b priceBody) (*meter.Price, error) {
	n, known := settlement.FindNetwork(b.Network)
	switch {
	case b.Model != meter.PricePerCall && b.Model != meter.PricePerToken:
		return nil, fault.Field(fault.KindImpossible, "PRICE_MODEL_UNSUPPORTED", "price.model", "must be per_call or per_token")
	case b.Scheme != "" && b.Scheme != x402.SchemeExact && b.Scheme != x402.SchemeUpto:
		return nil, fault.Field(fault.KindImpossible, "PRICE_MODEL_UNSUPPORTED", "price.scheme", "must be exact or upto")
	case b.Model == meter.PricePerToken && b.Scheme != x402.SchemeUpto:
		return nil, fault.Field(fault.KindImpossible, "PRICE_MODEL_UNSUPPORTED", "price.scheme", "a variable price needs upto")
	case b.Model == meter.PricePerToken && (b.InputUSD == nil || b.OutputUSD == nil || b.InputUSD.Sign() < 0 || b.OutputUSD.Sign() < 0):
		return nil, invalid("price.input_per_mtok_usd", "per_token needs it and output_per_mtok_usd, neither below 0")
	case b.Model == meter.PricePerCall && (b.InputUSD != nil || b.OutputUSD != nil):
		return nil, invalid("price.input_per_mtok_usd", "is for per_token only")
	case !known:
		return nil, invalid("price.network", "must be a known network such as eip155:84532")
	case b.AmountUSD.Sign() <= 0:
		return nil, invalid("price.amount_usd", "must be more than 0")
	case b.WaitFor != "" && b.WaitFor != "included" && b.WaitFor != "final" && b.WaitFor != "authorized":
		return nil, invalid("price.wait_for", "must be included, final or authorized")
	}
	if err := checkCredit(b); err != nil {
		return nil, err
	}
	if _, err := money.Payable(b.AmountUSD); err != nil {
		return nil, invalid("price.amount_usd", "cannot be paid")
	}
	payTo, err := s.PayTo(b.PayTo)
	if refusal, ok := fault.As(err); ok {
		return nil, invalid("price.payTo", refusal.Message)
	}
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(payTo, n.USDC) {
		return nil, invalid("price.payTo", "cannot receive: it is the token itself")
	}
	wait := b.WaitFor
	if wait == "" {
		wait = "included"
	}
	p := &meter.Price{Model: b.Model, AmountUSD: b.AmountUSD, PayTo: payTo, Network: n.CAIP2, Asset: n.USDC, Scheme: b.Scheme, WaitFor: wait, Credit: b.Credit}
	if p.Scheme == "" {
		p.Scheme = x402.SchemeExact
	}
	if b.Model == meter.PricePerToken {
		p.PerToken = &meter.TokenPrice{InputUSD: *b.InputUSD, OutputUSD: *b.OutputUSD}
	}
	return p, nil
}

// checkCredit wants limits with wait_for authorized, and only there.
func checkCredit(b priceBody) error {
	switch {
	case b.WaitFor != "authorized" && b.Credit != nil:
		return invalid("price.credit", "is for wait_for authorized only")
	case b.WaitFor != "authorized":
		return nil
	case b.Credit == nil:
		return invalid("price.credit", "is required with wait_for authorized: per_payer_usd and total_usd")
	case b.Credit.PerPayerUSD.Sign() <= 0:
		return invalid("price.credit.per_payer_usd", "must be more than 0")
	case b.Credit.TotalUSD.Cmp(b.Credit.PerPayerUSD) < 0:
		return invalid("price.credit.total_usd", "must be at least per_payer_usd")
	}
	for name, limit := range map[string]money.USD{"per_payer_usd": b.Credit.PerPayerUSD, "total_usd": b.Credit.TotalUSD} {
		if _, err := money.Payable(limit); err != nil {
			return invalid("price.credit."+name, "cannot be paid")
		}
	}
	return nil
}

func workflowJSON(w meter.Workflow) gin.H {
	out := gin.H{"object": "workflow", "workflow_id": w.WorkflowID, "seller": w.Seller, "name": w.Name, "description": w.Description, "target": w.Target, "state": w.State,
		"price": nil, "paid_path": "/x/" + w.Seller + "/" + w.WorkflowID}
	if p := w.Price; p != nil {
		out["price"] = gin.H{"version": p.Version, "model": p.Model, "amount_usd": p.AmountUSD, "payTo": p.PayTo, "network": p.Network, "asset": p.Asset,
			"scheme": p.Scheme, "wait_for": p.WaitFor, "credit": p.Credit, "effective_from": p.EffectiveFrom}
		if t := p.PerToken; t != nil {
			out["price"].(gin.H)["input_per_mtok_usd"], out["price"].(gin.H)["output_per_mtok_usd"] = t.InputUSD, t.OutputUSD
		}
	}
	return out
}

func (s *Surface) listWorkflows(c *gin.Context, caller meter.Caller) (int, any, error) {
	p, err := s.page(c, caller)
	if err != nil {
		return 0, nil, err
	}
	all, err := s.Store.Workflows(c.Request.Context(), caller.TenantID)
	if err != nil {
		return 0, nil, err
	}
	slices.SortFunc(all, func(a, b meter.Workflow) int { return strings.Compare(a.WorkflowID, b.WorkflowID) })
	rows := rest(p, all, func(w meter.Workflow, last string) bool { return w.WorkflowID <= last })
	out, err := list(s, c, caller, p, rows, func(w meter.Workflow) any { return workflowJSON(w) }, func(w meter.Workflow) store.Position { return byID(w.WorkflowID) })
	return http.StatusOK, out, err
}

func (s *Surface) oneWorkflow(c *gin.Context, caller meter.Caller) (int, any, error) {
	w, err := s.Store.Workflow(c.Request.Context(), caller.TenantID, c.Param("id"))
	return http.StatusOK, workflowJSON(w), err
}
