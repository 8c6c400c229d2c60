package dashboard

import (
	"crypto/subtle"
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/store"
)

const (
	sessionAge = 12 * 3600 // seconds
	// maxForm bounds a form; the longest one holds a workflow's description.
	maxForm = 64 << 10
)

// request is one signed-in visit.
type request struct {
	*gin.Context
	s       *Surface
	route   route
	session store.Session
	view    view
}

// serve lets a signed-in browser through to a page that its role may see; a POST also needs the session's CSRF token.
func (s *Surface) serve(rt route) gin.HandlerFunc {
	return func(c *gin.Context) {
		cookie, err := c.Cookie(gateway.SessionCookie)
		r := &request{Context: c, s: s, route: rt}
		if err == nil {
			r.session, err = s.Store.Session(c.Request.Context(), cookie)
		}
		if err != nil {
			s.signInAgain(c)
			return
		}
		if !r.may(rt.need) {
			r.say(http.StatusForbidden, "Your role does not allow this", "You are signed in as "+string(r.session.Role)+". Ask an owner or admin of "+r.session.Tenant+" if you need this page.")
			return
		}
		if c.Request.Method == http.MethodPost {
			c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, max(maxForm, rt.maxForm))
			if subtle.ConstantTimeCompare([]byte(c.PostForm("csrf")), []byte(r.session.CSRF)) != 1 {
				r.say(http.StatusForbidden, "That form is out of date", "Go back, reload the page and try again.")
				return
			}
		}
		if r.view, err = s.readView(r); err == nil {
			err = rt.do(r)
		}
		if err != nil {
			r.failed(err)
		}
	}
}

// show renders a page for the visitor.
func (r *request) show(title, template string, filters bool, body any) error {
	if p, ok := body.(gridPage); ok && len(p.Grids) > 0 {
		if r.Query("format") == "csv" {
			return r.sheet(strings.ToLower(title), p.Grids[:1])
		}
		p.CSV = withFormat(r.Request.URL)
		body = p
	}
	r.s.render(r.Context, http.StatusOK, r.page(title, template, filters, body))
	return nil
}

// withFormat is this very page as CSV.
func withFormat(at *url.URL) string {
	q := at.Query()
	q.Set("format", "csv")
	return at.Path + "?" + q.Encode()
}

func (r *request) page(title, template string, filters bool, body any) page {
	return page{Title: title, Template: template, CSRF: r.session.CSRF, Session: &r.session, View: r.view, Nav: navigation(r), Filters: filters, Body: body, may: r.may}
}

// say is a page with one message.
func (r *request) say(status int, title, text string) {
	r.s.render(r.Context, status, r.page(title, "notice.html", false, text))
}

func setCookie(c *gin.Context, name, value string, age int) {
	http.SetCookie(c.Writer, &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: c.Request.TLS != nil, MaxAge: age})
}

func (s *Surface) signOut(r *request) error {
	if cookie, err := r.Cookie(gateway.SessionCookie); err == nil {
		if err := s.Store.EndSession(r.Request.Context(), cookie); err != nil {
			s.Log.WarnContext(r.Request.Context(), "sign-out not stored", "request_id", gateway.RequestID(r.Context), "err", err)
		}
	}
	setCookie(r.Context, gateway.SessionCookie, "", -1)
	r.Redirect(http.StatusSeeOther, "/sign-in")
	return nil
}

// setMode changes the ledger that is looked at: live or test.
func (s *Surface) setMode(r *request) error {
	mode := r.PostForm("mode")
	if mode != modeLive && mode != modeTest {
		r.say(http.StatusBadRequest, "That cannot be done", "mode: must be live or test")
		return nil
	}
	setCookie(r.Context, gateway.ModeCookie, mode, 365*24*3600)
	at := ours(r.PostForm("at"))
	if at == "" {
		at = "/app"
	}
	return r.done(at)
}
