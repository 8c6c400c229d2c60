// Package dashboard is the pages: server-rendered, whole without scripts, one handler file and one template a page. Content
// of calls is never shown, as it is never stored; what a role may not see is neither shown nor named.
package dashboard

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/credential"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

//go:embed templates/*.html
var templates embed.FS

//go:embed assets/*
var assets embed.FS

// Config is what the pages show and whom they ask.
type Config struct {
	Store *store.Store
	Log   *slog.Logger
	Now   func() time.Time
	// Networks is where payments are collected, as CAIP-2 ids; none without settlement.
	Networks []string
	// OIDC is an issuer that members may sign in by; nil without one. Sealer hides what a browser carries to it.
	OIDC    *credential.OIDC
	Sealer  *credential.Sealer
	Card    meter.RateCard
	Version string
	// Vendors and Gas are read afresh for each page that shows them.
	Vendors func() []Vendor
	Gas     func() []Gas
}

// Surface is the pages under /app and /sign-in.
type Surface struct {
	Config
	pages  map[string]*template.Template // by file name, parsed at start
	assets map[string]asset              // by the name they are served under
	css    string
	script string
	engine http.Handler // the whole router, for what a form asks of the API
}

// asset is one embedded file; its name holds its hash, so that a browser may keep it for ever.
type asset struct {
	kind string
	body []byte
}

// csp allows our own style sheet and script and nothing else: no inline code, no third party, no frame.
const csp = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// New parses every template, so that a broken one stops the start and not a page.
func New(c Config) (*Surface, error) {
	s := &Surface{Config: c, pages: map[string]*template.Template{}, assets: map[string]asset{}}
	if s.Vendors == nil {
		s.Vendors = func() []Vendor { return nil }
	}
	if s.Gas == nil {
		s.Gas = func() []Gas { return nil }
	}
	names, err := fs.Glob(templates, "templates/*.html")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		base := path.Base(name)
		if base == "base.html" || base == "parts.html" {
			continue
		}
		t, err := template.New(base).Funcs(funcs).ParseFS(templates, "templates/base.html", "templates/parts.html", name)
		if err != nil {
			return nil, fmt.Errorf("page %s: %w", base, err)
		}
		s.pages[base] = t
	}
	if s.css, err = s.embed("p402.css", "text/css; charset=utf-8"); err != nil {
		return nil, err
	}
	s.script, err = s.embed("p402.js", "text/javascript; charset=utf-8")
	return s, err
}

func (s *Surface) embed(name, kind string) (string, error) {
	body, err := fs.ReadFile(assets, "assets/"+name)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(body)
	stem, ext, _ := strings.Cut(name, ".")
	served := stem + "-" + hex.EncodeToString(sum[:6]) + "." + ext
	s.assets[served] = asset{kind, body}
	return "/assets/" + served, nil
}

// route is one page or form. need is the scope that a role must have; "" is open to every member.
type route struct {
	method, path string
	need         meter.Scope
	maxForm      int64    // bytes, where a form carries a file
	params       []string // what the query may name beside the filter that all pages share
	do           func(*request) error
}

// routes is every page, for the router and for the test that walks routes and roles.
func (s *Surface) routes() []route {
	return []route{
		{method: "POST", path: "/sign-out", do: s.signOut},
		{method: "POST", path: "/app/mode", do: s.setMode},
		{method: "GET", path: "/app", need: meter.ScopeMeterRead, params: []string{"by"}, do: s.overview},
		{method: "GET", path: "/app/start", need: meter.ScopeMeterRead, do: s.start},
		{method: "GET", path: "/app/start/first", need: meter.ScopeMeterRead, do: s.firstEvent},
		{method: "GET", path: "/app/events", need: meter.ScopeMeterRead, params: []string{"before", "id"}, do: s.events},
		{method: "GET", path: "/app/events/:id", need: meter.ScopeMeterRead, do: s.event},
		{method: "GET", path: "/app/workflows", need: meter.ScopeMeterRead, do: s.workflows},
		{method: "GET", path: "/app/customers", need: meter.ScopeMeterRead, do: s.customers},
		{method: "GET", path: "/app/dimensions", need: meter.ScopeMeterRead, params: []string{"by"}, do: s.dimensions},
		{method: "GET", path: "/app/outcomes", need: meter.ScopeMeterRead, do: s.outcomes},
		{method: "GET", path: "/app/waste", need: meter.ScopeMeterRead, do: s.waste},
		{method: "POST", path: "/app/events/:id/outcome", need: meter.ScopeOutcomeWrite, do: s.outcome},
		{method: "GET", path: "/app/budgets", need: meter.ScopeControlRead, do: s.budgets},
		{method: "GET", path: "/app/budgets/new", need: meter.ScopeControlWrite, params: []string{"scope_type", "scope_id"}, do: s.budgetForm},
		{method: "POST", path: "/app/budgets/new", need: meter.ScopeControlWrite, do: s.createBudget},
		{method: "GET", path: "/app/budgets/:id", need: meter.ScopeControlRead, do: s.budget},
		{method: "POST", path: "/app/budgets/:id/retire", need: meter.ScopeControlWrite, do: s.retireBudget},
		{method: "GET", path: "/app/policies", need: meter.ScopeControlRead, do: s.policies},
		{method: "GET", path: "/app/policies/new", need: meter.ScopeControlWrite, do: s.policyForm},
		{method: "POST", path: "/app/policies/new", need: meter.ScopeControlWrite, do: s.createPolicy},
		{method: "POST", path: "/app/policies/:id/retire", need: meter.ScopeControlWrite, do: s.retirePolicy},
		{method: "GET", path: "/app/sell", need: meter.ScopeSellRead, do: s.sell},
		{method: "GET", path: "/app/sell/new", need: meter.ScopeSellWrite, do: s.sellNew},
		{method: "POST", path: "/app/sell/new", need: meter.ScopeSellWrite, do: s.sellCreate},
		{method: "GET", path: "/app/sell/:id", need: meter.ScopeSellRead, do: s.sellOne},
		{method: "POST", path: "/app/sell/:id", need: meter.ScopeSellWrite, do: s.sellChange},
		{method: "GET", path: "/app/receipts", need: meter.ScopeReceiptsRead, params: []string{"workflow", "after"}, do: s.receipts},
		{method: "GET", path: "/app/payments", need: meter.ScopeReceiptsRead, params: []string{"state", "after"}, do: s.payments},
		{method: "GET", path: "/app/keys", need: meter.ScopeKeysRead, params: []string{"after"}, do: s.keys},
		{method: "GET", path: "/app/keys/new", need: meter.ScopeKeysWrite, do: s.keyForm},
		{method: "POST", path: "/app/keys/new", need: meter.ScopeKeysWrite, do: s.createKey},
		{method: "POST", path: "/app/keys/:id/revoke", need: meter.ScopeKeysWrite, do: s.revokeKey},
		{method: "GET", path: "/app/providers", need: meter.ScopeMeterRead, params: []string{"model"}, do: s.providers},
		{method: "GET", path: "/app/privacy", do: s.privacy},
		{method: "GET", path: "/app/members", need: meter.ScopeMembersRead, params: []string{"after"}, do: s.members},
		{method: "POST", path: "/app/members", need: meter.ScopeMembersWrite, do: s.invite},
		{method: "POST", path: "/app/members/:id", need: meter.ScopeMembersWrite, do: s.memberChange},
		{method: "GET", path: "/app/audit", need: meter.ScopeAuditRead, params: []string{"object_type", "object_id", "actor", "before"}, do: s.audit},
		{method: "GET", path: "/app/account", params: []string{"saved"}, do: s.account},
		{method: "POST", path: "/app/account", do: s.accountChange},
		{method: "GET", path: "/app/reconcile", need: meter.ScopeFinanceRead, params: []string{"state", "cursor"}, do: s.reconcile},
		{method: "POST", path: "/app/reconcile/run", need: meter.ScopeFinanceWrite, do: s.runReconcile},
		{method: "POST", path: "/app/reconcile/import", need: meter.ScopeFinanceWrite, maxForm: 33 << 20, do: s.importBill},
		{method: "GET", path: "/app/reconcile/:id", need: meter.ScopeFinanceRead, do: s.exception},
		{method: "POST", path: "/app/reconcile/:id", need: meter.ScopeFinanceWrite, do: s.resolveException},
		{method: "POST", path: "/app/periods", need: meter.ScopeFinanceRead, do: s.openPeriod},
		{method: "GET", path: "/app/periods/:id", need: meter.ScopeFinanceRead, do: s.period},
		{method: "POST", path: "/app/periods/:id", need: meter.ScopeFinanceClose, do: s.periodChange},
		{method: "GET", path: "/app/exports", need: meter.ScopeExportRead, params: []string{"cursor"}, do: s.exports},
		{method: "POST", path: "/app/exports", need: meter.ScopeExportRead, do: s.createExport},
		{method: "GET", path: "/app/plan", need: meter.ScopeMeterRead, do: s.plan},
		{method: "POST", path: "/app/plan", do: s.checkout},
		{method: "GET", path: "/app/system", need: meter.ScopeSystemRead, do: s.system},
	}
}

// Register adds the routes.
func (s *Surface) Register(r *gin.Engine) {
	r.GET("/", func(c *gin.Context) { c.Redirect(http.StatusSeeOther, "/app") })
	r.GET("/app/ledger", func(c *gin.Context) { c.Redirect(http.StatusMovedPermanently, "/app/events?"+c.Request.URL.RawQuery) })
	r.GET("/assets/:name", s.asset)
	r.GET("/sign-in/:token", s.signIn)
	r.GET("/sign-in", s.signInPage)
	r.POST("/sign-in", s.signInForm)
	r.GET("/get-access", s.access)
	r.POST("/get-access", s.accessForm)
	if s.OIDC != nil {
		r.GET("/sign-in/oidc", s.toIssuer)
		r.GET("/sign-in/oidc/callback", s.fromIssuer)
	}
	s.engine = r
	for _, rt := range s.routes() {
		r.Handle(rt.method, rt.path, s.serve(rt))
	}
}

func (s *Surface) asset(c *gin.Context) {
	a, ok := s.assets[c.Param("name")]
	if !ok {
		c.Status(http.StatusNotFound)
		return
	}
	c.Header("Cache-Control", "public, max-age=31536000, immutable")
	c.Data(http.StatusOK, a.kind, a.body)
}

// page is what every template gets. Session is nil where nobody is signed in.
type page struct {
	Title       string
	Template    string
	CSS, Script string
	CSRF        string
	Session     *store.Session
	View        view
	Nav         []navGroup
	Filters     bool // show the bar of filters
	At          time.Time
	Body        any
	may         func(meter.Scope) bool
}

// Path is the page's own address without its query.
func (p page) Path() string { return p.View.Path }

// May reports whether the visitor's role has a scope: what it may not do has no button.
func (p page) May(scope string) bool { return p.may(meter.Scope(scope)) }

func (s *Surface) render(c *gin.Context, status int, p page) {
	p.CSS, p.Script, p.At = s.css, s.script, s.Now()
	var out bytes.Buffer
	err := fmt.Errorf("there is no template %s", p.Template)
	if t := s.pages[p.Template]; t != nil {
		err = t.ExecuteTemplate(&out, "base.html", p)
	}
	if err != nil {
		s.Log.ErrorContext(c.Request.Context(), "page failed", "request_id", gateway.RequestID(c), "err", err)
		c.String(http.StatusInternalServerError, "This page failed. Request "+gateway.RequestID(c))
		return
	}
	h := c.Writer.Header()
	h.Set("Content-Security-Policy", csp)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	c.Data(status, "text/html; charset=utf-8", out.Bytes())
}

// notice is a page with one message for somebody who is not signed in.
func (s *Surface) notice(c *gin.Context, status int, title, text string) {
	s.render(c, status, page{Title: title, Template: "notice.html", Body: text})
}

// failed shows an error as a page: a refusal with its own words, everything else without its text.
func (r *request) failed(err error) {
	if refusal, ok := fault.As(err); ok {
		title := map[fault.Kind]string{fault.KindNotFound: "Not found", fault.KindDenied: "Your role does not allow this"}[refusal.Kind]
		text := refusal.Message
		if refusal.Kind == fault.KindNotFound {
			text = "There is no such thing in this ledger."
		}
		if refusal.Param != "" {
			text = refusal.Param + ": " + text
		}
		if title == "" && refusal.Kind != fault.KindInternal && refusal.Kind != fault.KindUnavailable {
			title = "That cannot be done"
		}
		if title != "" {
			r.say(gateway.Status(refusal.Kind), title, text)
			return
		}
	}
	r.s.Log.ErrorContext(r.Request.Context(), "page failed", "request_id", gateway.RequestID(r.Context), "err", err)
	r.say(http.StatusServiceUnavailable, "The ledger cannot be read now", "Try again in a moment. Request "+gateway.RequestID(r.Context))
}
