package api

import (
	"net/http"
	"net/url"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

func (s *Surface) listPlans(_ *gin.Context, _ meter.Caller) (int, any, error) {
	return http.StatusOK, gin.H{"object": "list", "data": meter.Plans(), "has_more": false, "next_cursor": nil}, nil
}

// planUsage is the month's use, counted from the ledger.
func (s *Surface) planUsage(c *gin.Context, caller meter.Caller) (int, any, error) {
	u, err := s.Store.PlanUse(c.Request.Context(), caller.TenantID)
	if err != nil {
		return 0, nil, err
	}
	now := s.Now()
	begin, end := meter.PlanMonth(now)
	out := gin.H{"object": "plan_usage", "plan": u.Plan, "state": u.State(now), "used": u.Used, "included": nil, "percent": nil, "projected": nil, "notice": u.Notice(),
		"overage_usd": u.Overage(), "first_event_at": u.First, "last_event_at": u.Last, "cap_reached_at": u.ReachedAt, "month_begins": begin, "month_ends": end}
	if u.Plan.Events > 0 {
		out["included"], out["percent"], out["projected"] = u.Plan.Events, u.Used*100/u.Plan.Events, u.Projected(now)
	}
	return http.StatusOK, out, nil
}

type checkoutBody struct {
	ProductKey string `json:"productKey"`
}

// checkout never makes a charge: it is off until an operator connects one, and says whom to ask instead (O21).
func (s *Surface) checkout(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b checkoutBody
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	if caller.Role != meter.RoleOwner {
		return 0, nil, fault.New(fault.KindDenied, "OWNER_REQUIRED", "only an owner buys a plan")
	}
	plan, known := meter.FindPlan(b.ProductKey)
	if !known || plan.ID == meter.PlanSelfHosted || plan.ID == "sandbox" {
		return 0, nil, fault.Field(fault.KindInvalid, "INVALID_PRODUCT_KEY", "productKey", "must be build, growth, scale or enterprise")
	}
	code := "CHECKOUT_DISABLED"
	if !plan.Priced {
		code = "CONTACT_SALES"
	}
	return http.StatusOK, gin.H{"ok": false, "code": code, "product": plan.Name, "contactUrl": "/get-access?intent=" + url.QueryEscape(plan.ID)}, nil
}

type accessBody struct {
	Email   string `json:"email"`
	Company string `json:"company"`
	Intent  string `json:"intent"`
	Note    string `json:"note"`
}

// requestAccess keeps who wants to hear from a person. It needs no account, so it is bounded by the hour.
func (s *Surface) requestAccess(c *gin.Context) (int, any, error) {
	var b accessBody
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	m, err := newMember(meter.Caller{}, b.Email, "", meter.RoleAuditor) // for the form of the address alone
	switch {
	case err != nil:
		return 0, nil, err
	case len(b.Company) > maxName || !printable(b.Company):
		return 0, nil, invalid("company", "has more than 200 bytes, or control characters")
	case len(b.Intent) > 40 || !printable(b.Intent):
		return 0, nil, invalid("intent", "has more than 40 bytes, or control characters")
	case len(b.Note) > 2000 || !printable(b.Note):
		return 0, nil, invalid("note", "has more than 2000 bytes, or control characters")
	}
	err = s.Store.PutAccessRequest(c.Request.Context(), store.AccessRequest{Email: m.Email, Company: b.Company, Intent: b.Intent, Note: b.Note})
	return http.StatusCreated, gin.H{"ok": true}, err
}
