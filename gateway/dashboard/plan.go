package dashboard

import (
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/fault"
	"p402.io/p402/meter"
)

// planPage is what the month has used and what else there is.
type planPage struct {
	Use       meter.PlanUse
	Figures   []figure
	Share     int // of the included events, in whole per cent
	State     string
	Words     string
	Plans     []meter.Plan
	Disabled  string // what a checkout answered
	Contact   string
	Owner     bool
	Refusal   string
	Unlimited bool
}

func (s *Surface) plan(r *request) error { return s.showPlan(r, planPage{}) }

func (s *Surface) showPlan(r *request, p planPage) error {
	u, err := s.Store.PlanUse(r.Request.Context(), r.session.TenantID)
	if err != nil {
		return err
	}
	now := s.Now()
	p.Use, p.State, p.Words, p.Plans, p.Owner, p.Unlimited = u, string(u.State(now)), u.Words(now), meter.Plans(), r.session.Role == meter.RoleOwner, u.Plan.Events == 0
	_, end := meter.PlanMonth(now)
	p.Figures = []figure{{Label: "Plan", Value: u.Plan.Name}}
	if !p.Unlimited {
		p.Share = int(min(u.Used*100/u.Plan.Events, 100))
		projected := "–"
		if n := u.Projected(now); n != nil {
			projected = count(*n)
		}
		p.Figures = append(p.Figures, figure{Label: "Used this month", Value: count(u.Used), Note: "of " + count(u.Plan.Events) + " events"}, figure{Label: "Projected", Value: projected, Note: "at the month's end"},
			figure{Label: "Overage so far", Value: cash(u.Overage()), Title: full(u.Overage())}, figure{Label: "Begins anew", Value: end.Format("2 Jan") + " UTC"})
	}
	return r.show("Plan", "plan.html", false, p)
}

// checkout asks for a plan. No charge can be made here: the answer says whom to ask.
func (s *Surface) checkout(r *request) error {
	var answer struct {
		Code, Product string
		Contact       string `json:"contactUrl"`
	}
	err := r.api(http.MethodPost, "/billing/checkout", map[string]any{"productKey": r.PostForm("productKey")}, &answer)
	if err != nil {
		why := formPage{}
		if err := why.explain(err); err != nil {
			return err
		}
		return s.showPlan(r, planPage{Refusal: why.Refusal})
	}
	return s.showPlan(r, planPage{Disabled: answer.Product, Contact: answer.Contact})
}

// access is the page on which anybody asks to hear from a person.
func (s *Surface) access(c *gin.Context) {
	s.render(c, http.StatusOK, page{Title: "Get access", Template: "access.html", Body: formPage{Values: map[string]string{"intent": clip(c.Query("intent"))}}})
}

func (s *Surface) accessForm(c *gin.Context) {
	if err := http.NewCrossOriginProtection().Check(c.Request); err != nil {
		s.notice(c, http.StatusForbidden, "That form came from elsewhere", "Open the page itself and try again.")
		return
	}
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxForm)
	r := &request{Context: c, s: s}
	values, _ := r.typed()
	err := r.api(http.MethodPost, "/access-requests", map[string]any{"email": values["email"], "company": values["company"], "intent": values["intent"], "note": values["note"]}, nil)
	if err == nil {
		s.notice(c, http.StatusOK, "Thank you", "We have your request and answer to "+clip(values["email"])+".")
		return
	}
	p := formPage{Values: values}
	if refusal, ok := fault.As(err); !ok || p.explain(refusal) != nil {
		r.failed(err)
		return
	}
	s.render(c, http.StatusUnprocessableEntity, page{Title: "Get access", Template: "access.html", Body: p})
}

// included is a plan's included events in words.
func included(p meter.Plan) string {
	if p.Events == 0 {
		return "unlimited"
	}
	return count(p.Events)
}

// keptFor is a plan's retention in words.
func keptFor(p meter.Plan) string {
	if p.RetentionDays == 0 {
		return "as agreed"
	}
	return strconv.Itoa(p.RetentionDays) + " days"
}
