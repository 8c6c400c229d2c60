package api

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/credential"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// caller authenticates a request: by its key, or by a signed-in browser's session where no key was sent. It also says who
// acts, for the audit log.
func (s *Surface) caller(c *gin.Context, rt route) (meter.Caller, error) {
	var caller meter.Caller
	var err error
	if _, cookieErr := c.Cookie(gateway.SessionCookie); cookieErr == nil && !gateway.HasKey(c) {
		caller, err = s.Auth.Member(c, s.Store)
	} else {
		caller, err = s.Auth.Caller(c, false)
	}
	switch {
	case err != nil:
		return caller, err
	case rt.member && caller.Role == "":
		return caller, fault.New(fault.KindDenied, "SCOPE_MISSING", "only a signed-in person may ask this; a key may not")
	case rt.scope != "" && !caller.May(rt.scope):
		who := "this key"
		if caller.Role != "" {
			who = "the role " + string(caller.Role)
		}
		return caller, fault.New(fault.KindDenied, "SCOPE_MISSING", who+" lacks the scope "+string(rt.scope))
	}
	if c.Request.Method == http.MethodGet || c.Request.Method == http.MethodHead {
		return caller, nil // nothing is changed, so nobody has to be named
	}
	actor := author(caller)
	if caller.KeyID != "" {
		actor = "key " + actor
	}
	c.Request = c.Request.WithContext(store.WithActor(c.Request.Context(), store.Actor{Name: actor, Request: gateway.RequestID(c)}))
	return caller, nil
}

// author is who did something, where it is written down beside the thing: the key's id, or the member's.
func author(caller meter.Caller) string {
	if caller.KeyID != "" {
		return string(caller.KeyID)
	}
	return store.Session{MemberID: caller.MemberID}.Actor()
}

// open serves a route that needs neither key nor session.
func (s *Surface) open(do func(c *gin.Context) (int, any, error)) gin.HandlerFunc {
	return func(c *gin.Context) {
		rt := route{method: c.Request.Method, path: c.FullPath(), do: func(c *gin.Context, _ meter.Caller) (int, any, error) { return do(c) }}
		err := checkQuery(c, rt)
		var out answer
		if err == nil {
			out, err = run(c, meter.Caller{}, rt)
		}
		if err != nil {
			gateway.Fail(c, s.Log, err)
			return
		}
		c.Header("Cache-Control", "no-store")
		c.Data(out.status, "application/json; charset=utf-8", out.body)
	}
}

type loginBody struct {
	Email    string `json:"email"`
	Password string `json:"password"`
	Code     string `json:"code"`
}

// sessionAge is the life of the cookie in seconds: that of the session behind it.
const sessionAge = 12 * 3600

// login begins a session. Whatever is wrong gets one answer, in the same time.
func (s *Surface) login(c *gin.Context) (int, any, error) {
	var b loginBody
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	if b.Email == "" || b.Password == "" {
		return 0, nil, invalid("email", "and password are required")
	}
	ctx := c.Request.Context()
	known, err := s.Store.Credential(ctx, strings.ToLower(strings.TrimSpace(b.Email)))
	if err != nil {
		return 0, nil, err
	}
	right, err := s.Hasher.Matches(ctx, b.Password, known.PasswordHash)
	if err != nil {
		return 0, nil, err
	}
	step := int64(0)
	if known.Sealed != nil {
		if step, err = s.codeStep(known, b.Code); err != nil {
			return 0, nil, err
		}
		right = right && step > 0
	}
	if known.LockedUntil != nil && known.LockedUntil.After(s.Now()) {
		return 0, nil, store.ErrSignIn // not even counted: guessing while it is paused gains nothing
	}
	if !right {
		if known.MemberID != "" {
			if err := s.Store.RefuseSignIn(ctx, known); err != nil {
				return 0, nil, err
			}
		}
		return 0, nil, store.ErrSignIn
	}
	session, err := s.Store.SignIn(ctx, known, step)
	if err != nil {
		return 0, nil, err
	}
	setSession(c, session, sessionAge)
	return http.StatusOK, gin.H{"ok": true, "member_id": known.MemberID}, nil
}

func setSession(c *gin.Context, value string, age int) {
	http.SetCookie(c.Writer, &http.Cookie{Name: gateway.SessionCookie, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: c.Request.TLS != nil, MaxAge: age})
}

// codeStep is the step of a right one-time code, 0 for a wrong one.
func (s *Surface) codeStep(known store.Credential, code string) (int64, error) {
	secret, err := s.Sealer.Open(known.Sealed, string(known.MemberID))
	if err != nil {
		return 0, err
	}
	return credential.Step(string(secret), code, known.Step, s.Now())
}

func (s *Surface) logout(c *gin.Context, _ meter.Caller) (int, any, error) {
	cookie, err := c.Cookie(gateway.SessionCookie)
	if err != nil {
		return 0, nil, gateway.ErrNoSession
	}
	setSession(c, "", -1)
	return http.StatusOK, gin.H{"ok": true}, s.Store.EndSession(c.Request.Context(), cookie)
}

type adoptBody struct {
	Email    string `json:"email"`
	Name     string `json:"name"`
	Password string `json:"password"`
}

// adopt turns the set-up link's session into the first owner's.
func (s *Surface) adopt(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b adoptBody
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	if caller.MemberID != "" {
		return 0, nil, fault.New(fault.KindConflict, "ALREADY_MEMBER", "this session belongs to a member already")
	}
	m, err := newMember(caller, b.Email, b.Name, meter.RoleOwner)
	if err != nil {
		return 0, nil, err
	}
	hash, err := s.Hasher.Hash(c.Request.Context(), b.Password)
	if err != nil {
		return 0, nil, err
	}
	cookie, err := c.Cookie(gateway.SessionCookie)
	if err != nil {
		return 0, nil, gateway.ErrNoSession
	}
	m, err = s.Store.Adopt(c.Request.Context(), cookie, m, hash)
	return http.StatusCreated, m, err
}

var emailForm = regexp.MustCompile(`^[^@\s]{1,64}@[^@\s]{1,189}$`)

func newMember(caller meter.Caller, email, name string, role meter.Role) (store.Member, error) {
	email = strings.ToLower(strings.TrimSpace(email))
	switch {
	case !emailForm.MatchString(email) || !printable(email):
		return store.Member{}, invalid("email", "must be an address such as ana@example.com")
	case len(name) > maxName || !printable(name):
		return store.Member{}, invalid("name", "has more than 200 bytes, or control characters")
	case !role.Valid():
		return store.Member{}, invalid("role", "must be owner, admin, developer, seller, finance or auditor")
	}
	return store.Member{TenantID: caller.TenantID, Email: email, Name: name, Role: role}, nil
}

type passwordBody struct {
	Current  string `json:"current_password"`
	Password string `json:"password"`
}

// setPassword changes the caller's own password; every other browser of theirs is signed out.
func (s *Surface) setPassword(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b passwordBody
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	ctx := c.Request.Context()
	known, err := s.own(c, caller)
	if err != nil {
		return 0, nil, err
	}
	if known.PasswordHash != "" {
		if err := s.prove(c, known, b.Current, "current_password"); err != nil {
			return 0, nil, err
		}
	}
	hash, err := s.Hasher.Hash(ctx, b.Password)
	if err != nil {
		return 0, nil, err
	}
	cookie, err := c.Cookie(gateway.SessionCookie)
	if err != nil {
		return 0, nil, gateway.ErrNoSession
	}
	return http.StatusOK, gin.H{"ok": true}, s.Store.SetPassword(ctx, caller.MemberID, hash, cookie)
}

// own is what the caller signs in with; a set-up session has nothing yet.
func (s *Surface) own(c *gin.Context, caller meter.Caller) (store.Credential, error) {
	if caller.MemberID == "" {
		return store.Credential{}, fault.New(fault.KindImpossible, "NOT_A_MEMBER", "make yourself a member first: the set-up link is nobody's")
	}
	return s.Store.MemberCredential(c.Request.Context(), caller.MemberID)
}

// prove asks a signed-in person for the password again.
func (s *Surface) prove(c *gin.Context, known store.Credential, password, param string) error {
	if known.LockedUntil != nil && known.LockedUntil.After(s.Now()) {
		return fault.Field(fault.KindDenied, "PASSWORD_WRONG", param, "too many attempts; wait a while")
	}
	right, err := s.Hasher.Matches(c.Request.Context(), password, known.PasswordHash)
	if err != nil || right {
		return err
	}
	if err := s.Store.RefuseSignIn(c.Request.Context(), known); err != nil {
		return err
	}
	return fault.Field(fault.KindDenied, "PASSWORD_WRONG", param, "is not your password")
}

// ticket is a second factor that waits for its first code. It is sealed to the member and over after ten minutes.
type ticket struct {
	Secret string    `json:"s"`
	Until  time.Time `json:"u"`
}

const ticketFor = 10 * time.Minute

// beginTOTP makes a secret; nothing is stored until a code has proved that the phone has it.
func (s *Surface) beginTOTP(c *gin.Context, caller meter.Caller) (int, any, error) {
	if _, err := s.own(c, caller); err != nil {
		return 0, nil, err
	}
	m, err := s.Store.Member(c.Request.Context(), caller.TenantID, caller.MemberID)
	if err != nil {
		return 0, nil, err
	}
	secret, url, err := credential.NewTOTP(m.Email)
	if err != nil {
		return 0, nil, err
	}
	raw, err := json.Marshal(ticket{secret, s.Now().Add(ticketFor)})
	if err != nil {
		return 0, nil, err
	}
	sealed, err := s.Sealer.Seal(raw, "ticket "+string(caller.MemberID))
	return http.StatusOK, gin.H{"secret": secret, "url": url, "ticket": base64.RawURLEncoding.EncodeToString(sealed)}, err
}

type totpBody struct {
	Ticket   string `json:"ticket"`
	Code     string `json:"code"`
	Password string `json:"password"`
}

func (s *Surface) confirmTOTP(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b totpBody
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	known, err := s.own(c, caller)
	if err != nil {
		return 0, nil, err
	}
	if known.PasswordHash == "" {
		return 0, nil, fault.New(fault.KindImpossible, "PASSWORD_REQUIRED", "set a password first: a second factor needs a first")
	}
	if err := s.prove(c, known, b.Password, "password"); err != nil {
		return 0, nil, err
	}
	var t ticket
	sealed, err := base64.RawURLEncoding.DecodeString(b.Ticket)
	if err == nil {
		var raw []byte
		if raw, err = s.Sealer.Open(sealed, "ticket "+string(caller.MemberID)); err == nil {
			err = json.Unmarshal(raw, &t)
		}
	}
	if err != nil || t.Until.Before(s.Now()) {
		return 0, nil, invalid("ticket", "is over; begin again")
	}
	step, err := credential.Step(t.Secret, b.Code, 0, s.Now())
	if err != nil {
		return 0, nil, err
	}
	if step == 0 {
		return 0, nil, invalid("code", "is not the code that the app shows now")
	}
	kept, err := s.Sealer.Seal([]byte(t.Secret), string(caller.MemberID))
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, gin.H{"ok": true}, s.Store.SetTOTP(c.Request.Context(), caller.MemberID, kept, step)
}

func (s *Surface) dropTOTP(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b totpBody
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	known, err := s.own(c, caller)
	if err != nil {
		return 0, nil, err
	}
	if err := s.prove(c, known, b.Password, "password"); err != nil {
		return 0, nil, err
	}
	return http.StatusOK, gin.H{"ok": true}, s.Store.SetTOTP(c.Request.Context(), caller.MemberID, nil, 0)
}
