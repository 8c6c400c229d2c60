package dashboard

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/credential"
)

const (
	// tripCookie carries a browser's trip to the issuer and back, sealed.
	tripCookie = "p402_trip"
	tripAge    = 600 // seconds
	tripHolder = "oidc trip"
)

// toIssuer sends a browser to the OpenID Connect issuer.
func (s *Surface) toIssuer(c *gin.Context) {
	address, trip, err := s.OIDC.Begin(c.Request.Context(), ours(c.Query("next")))
	var raw, sealed []byte
	if err == nil {
		raw, err = json.Marshal(trip)
	}
	if err == nil {
		sealed, err = s.Sealer.Seal(raw, tripHolder)
	}
	if err != nil {
		s.Log.ErrorContext(c.Request.Context(), "issuer not reached", "request_id", gateway.RequestID(c), "err", err)
		s.notice(c, http.StatusServiceUnavailable, "The issuer cannot be reached", "Try again in a moment, or sign in with your password. Request "+gateway.RequestID(c))
		return
	}
	setCookie(c, tripCookie, base64.RawURLEncoding.EncodeToString(sealed), tripAge)
	c.Redirect(http.StatusSeeOther, address)
}

// fromIssuer ends the trip: the issuer's word about an address that a member has is a sign-in. It makes nobody a member, and
// asks for no code of ours: a second factor is then the issuer's to ask for.
func (s *Surface) fromIssuer(c *gin.Context) {
	ctx := c.Request.Context()
	var trip credential.OIDCTrip
	if cookie, err := c.Cookie(tripCookie); err == nil {
		trip = s.openTrip(cookie)
	}
	setCookie(c, tripCookie, "", -1)
	email, err := s.OIDC.Finish(ctx, trip, c.Query("state"), c.Query("code"))
	if err != nil {
		s.Log.WarnContext(ctx, "sign-in by the issuer refused", "request_id", gateway.RequestID(c), "err", err)
		s.notice(c, http.StatusUnauthorized, "That did not sign you in", "Begin again from the sign-in page. Request "+gateway.RequestID(c))
		return
	}
	known, err := s.Store.Credential(ctx, strings.ToLower(email))
	if err == nil && known.MemberID == "" {
		s.notice(c, http.StatusForbidden, "Nobody here has that address", "Ask an owner or admin to invite you with the address that "+s.OIDC.Name()+" knows you by.")
		return
	}
	session := ""
	if err == nil {
		session, err = s.Store.SignIn(ctx, known, 0)
	}
	if err != nil {
		s.Log.ErrorContext(ctx, "sign-in not stored", "request_id", gateway.RequestID(c), "err", err)
		s.notice(c, http.StatusServiceUnavailable, "Sign-in does not work now", "Try again in a moment. Request "+gateway.RequestID(c))
		return
	}
	setCookie(c, gateway.SessionCookie, session, sessionAge)
	next := ours(trip.Next)
	if next == "" {
		next = "/app"
	}
	c.Redirect(http.StatusSeeOther, next)
}

// openTrip reads the sealed cookie; what is damaged is no trip, which Finish refuses.
func (s *Surface) openTrip(cookie string) credential.OIDCTrip {
	var trip credential.OIDCTrip
	sealed, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil {
		return trip
	}
	raw, err := s.Sealer.Open(sealed, tripHolder)
	if err != nil || json.Unmarshal(raw, &trip) != nil {
		return credential.OIDCTrip{}
	}
	return trip
}
