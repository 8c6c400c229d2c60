package dashboard

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/fault"
)

// signInData is the sign-in page: what was typed, but for secrets, and why it did not do.
type signInData struct {
	Refusal string
	Email   string
	Issuer  string // the button for signing in by an issuer; "" without one
	Next    string // where the visitor wanted to go; a path of ours
}

func (s *Surface) signInPage(c *gin.Context) {
	s.render(c, http.StatusOK, page{Title: "Sign in", Template: "signin.html", Body: signInData{Next: ours(c.Query("next")), Issuer: s.issuer()}})
}

// signInAgain answers a visit without a session: the sign-in page, in the place of the page that was asked for.
func (s *Surface) signInAgain(c *gin.Context) {
	next := ""
	if c.Request.Method == http.MethodGet {
		next = ours(c.Request.URL.RequestURI())
	}
	s.render(c, http.StatusUnauthorized, page{Title: "Sign in", Template: "signin.html", Body: signInData{Next: next, Issuer: s.issuer()}})
}

// issuer is what the members know their issuer by; "" without one.
func (s *Surface) issuer() string {
	if s.OIDC == nil {
		return ""
	}
	return s.OIDC.Name()
}

// ours is an address that leads to a page of ours, or "".
func ours(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(u.Path, "/app") || strings.Contains(path, "\\") {
		return ""
	}
	return u.RequestURI()
}

// signInForm signs in by password. There is no session to hold a token for yet, so the browser's own word on where the form
// came from is asked instead.
func (s *Surface) signInForm(c *gin.Context) {
	if err := http.NewCrossOriginProtection().Check(c.Request); err != nil {
		s.notice(c, http.StatusForbidden, "That form came from elsewhere", "Open the sign-in page itself and try again.")
		return
	}
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxForm)
	r := &request{Context: c, s: s}
	err := r.api(http.MethodPost, "/auth/login", map[string]string{"email": c.PostForm("email"), "password": c.PostForm("password"), "code": c.PostForm("code")}, nil)
	if err == nil {
		next := ours(c.PostForm("next"))
		if next == "" {
			next = "/app"
		}
		c.Redirect(http.StatusSeeOther, next)
		return
	}
	refusal, ok := fault.As(err)
	if !ok {
		r.failed(err)
		return
	}
	s.render(c, http.StatusUnauthorized, page{Title: "Sign in", Template: "signin.html", Body: signInData{Refusal: refusal.Message, Email: c.PostForm("email"), Next: ours(c.PostForm("next")), Issuer: s.issuer()}})
}

// signIn spends the link, once, and leaves its secret out of the address bar.
func (s *Surface) signIn(c *gin.Context) {
	session, err := s.Store.UseSignInLink(c.Request.Context(), c.Param("token"))
	if err != nil {
		s.notice(c, http.StatusNotFound, "This link is used up", "A sign-in link works once and for a short time. Ask for a new one, or start the sandbox again: it prints one.")
		return
	}
	setCookie(c, gateway.SessionCookie, session, sessionAge)
	c.Redirect(http.StatusSeeOther, "/app")
}
