// Package dashboard is the pages: server-rendered, no script needed, one handler file and one template a page. Content of
// calls is never shown, as it is never stored.
package dashboard

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/hex"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/store"
)

//go:embed templates/*.html
var templates embed.FS

//go:embed assets/p402.css
var css []byte

// Surface is the pages under /app and /sign-in.
type Surface struct {
	Store *store.Store
	Log   *slog.Logger
	Now   func() time.Time
}

// csp allows our own style sheet and nothing else: no script, no third party, no frame.
const csp = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

const sessionCookie = "p402_session"

// Register adds the routes.
func (s *Surface) Register(r *gin.Engine) {
	r.GET("/", func(c *gin.Context) { c.Redirect(http.StatusSeeOther, "/app") })
	r.GET("/assets/:name", s.asset)
	r.GET("/sign-in/:token", s.signIn)
	r.POST("/sign-out", s.signedIn(s.signOut))
	r.GET("/app", s.signedIn(s.ledger))
	r.GET("/app/ledger", s.signedIn(s.ledger))
	r.GET("/app/events/:id", s.signedIn(s.event))
	r.POST("/app/events/:id/outcome", s.signedIn(s.outcome))
}

func cssName() string {
	sum := sha256.Sum256(css)
	return "p402-" + hex.EncodeToString(sum[:6]) + ".css"
}

func (s *Surface) asset(c *gin.Context) {
	if c.Param("name") != cssName() {
		c.Status(http.StatusNotFound)
		return
	}
	c.Header("Cache-Control", "public, max-age=31536000, immutable")
	c.Data(http.StatusOK, "text/css; charset=utf-8", css)
}

// page is what every template gets.
type page struct {
	Title string
	CSS   string
	CSRF  string
	Body  any
}

func (s *Surface) render(c *gin.Context, status int, name string, p page) {
	p.CSS = "/assets/" + cssName()
	t, err := template.New(name).Funcs(funcs).ParseFS(templates, "templates/base.html", "templates/"+name)
	var out bytes.Buffer
	if err == nil {
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

// notice is a page with one message: expired links, absent objects.
func (s *Surface) notice(c *gin.Context, status int, title, text string) {
	s.render(c, status, "notice.html", page{Title: title, Body: text})
}

// signIn spends the link, once, and leaves its secret out of the address bar.
func (s *Surface) signIn(c *gin.Context) {
	session, err := s.Store.UseSignInLink(c.Request.Context(), c.Param("token"))
	if err != nil {
		s.notice(c, http.StatusNotFound, "This link is used up", "A sign-in link works once and for a short time. Ask for a new one, or start the sandbox again: it prints one.")
		return
	}
	http.SetCookie(c.Writer, &http.Cookie{Name: sessionCookie, Value: session, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: c.Request.TLS != nil, MaxAge: 12 * 3600})
	c.Redirect(http.StatusSeeOther, "/app")
}

type pageHandler func(c *gin.Context, session store.Session)

// signedIn lets a signed-in browser through; a POST also needs the session's CSRF token.
func (s *Surface) signedIn(h pageHandler) gin.HandlerFunc {
	return func(c *gin.Context) {
		cookie, err := c.Cookie(sessionCookie)
		var session store.Session
		if err == nil {
			session, err = s.Store.Session(c.Request.Context(), cookie)
		}
		switch {
		case err != nil:
			s.notice(c, http.StatusUnauthorized, "Please sign in", "Open the sign-in link that p402 printed when it started.")
		case c.Request.Method == http.MethodPost && subtle.ConstantTimeCompare([]byte(c.PostForm("csrf")), []byte(session.CSRF)) != 1:
			s.notice(c, http.StatusForbidden, "That form is out of date", "Go back, reload the page and try again.")
		default:
			h(c, session)
		}
	}
}

func (s *Surface) signOut(c *gin.Context, _ store.Session) {
	if cookie, err := c.Cookie(sessionCookie); err == nil {
		if err := s.Store.EndSession(c.Request.Context(), cookie); err != nil {
			s.Log.WarnContext(c.Request.Context(), "sign-out not stored", "err", err)
		}
	}
	http.SetCookie(c.Writer, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1, HttpOnly: true})
	s.notice(c, http.StatusOK, "Signed out", "You can close this window.")
}

// failed shows an error as a page: not found as such, everything else without its text.
func (s *Surface) failed(c *gin.Context, err error) {
	if fault.KindOf(err) == fault.KindNotFound {
		s.notice(c, http.StatusNotFound, "Not found", "There is no such event in this ledger.")
		return
	}
	s.Log.ErrorContext(c.Request.Context(), "page failed", "request_id", gateway.RequestID(c), "err", err)
	s.notice(c, http.StatusServiceUnavailable, "The ledger cannot be read now", "Try again in a moment. Request "+gateway.RequestID(c))
}
