package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/internal/id"
	"p402.io/p402/meter"
)

// CreateSignInLink makes a one-time token for the dashboard. member "" is the set-up link, which signs in as owner. Only the
// token's hash is stored.
func (s *Store) CreateSignInLink(ctx context.Context, tenant id.Tenant, member id.Member, validFor time.Duration) (token string, err error) {
	token, hash, err := newToken()
	if err != nil {
		return "", err
	}
	now := s.now()
	return token, s.db.WithContext(ctx).Exec("INSERT INTO sign_in_links (tenant_id, member_id, hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?)",
		tenant, optional(string(member)), hash, now, now.Add(validFor)).Error
}

func newToken() (string, []byte, error) {
	raw := make([]byte, 24)
	if _, err := rand.Read(raw); err != nil {
		return "", nil, err
	}
	token := hex.EncodeToString(raw)
	hash := sha256.Sum256([]byte(token))
	return token, hash[:], nil
}

// Session is a signed-in browser.
type Session struct {
	TenantID  id.Tenant
	Tenant    string // the tenant's name
	MemberID  id.Member
	Email     string
	Name      string
	Role      meter.Role
	CSRF      string
	HasLive   bool // the tenant has a live key
	CreatedAt time.Time
}

// SetUp reports a session of the set-up link, which is nobody's yet.
func (s Session) SetUp() bool { return s.MemberID == "" }

// Actor is the session's name in the audit log.
func (s Session) Actor() string {
	if s.SetUp() {
		return "set-up link"
	}
	return "member " + string(s.MemberID)
}

// Caller is the session as the API's caller, in one of the two ledgers.
func (s Session) Caller(live bool) meter.Caller {
	return meter.Caller{TenantID: s.TenantID, MemberID: s.MemberID, Role: s.Role, Livemode: live, Scopes: s.Role.Scopes(), Override: meter.OverrideAllow}
}

// sessionFor is how long a browser stays signed in.
const sessionFor = 12 * time.Hour

// UseSignInLink spends a sign-in token, once, and begins a session.
func (s *Store) UseSignInLink(ctx context.Context, token string) (session string, err error) {
	hash := sha256.Sum256([]byte(token))
	now := s.now()
	err = s.tx(ctx, func(tx *gorm.DB) error {
		var link struct {
			TenantID string
			MemberID *string
		}
		res := tx.Raw(`UPDATE sign_in_links l SET used_at = ? WHERE hash = ? AND used_at IS NULL AND expires_at > ?
			AND (member_id IS NULL OR EXISTS (SELECT 1 FROM members m WHERE m.id = l.member_id AND m.removed_at IS NULL)) RETURNING tenant_id, member_id`, now, hash[:], now).Scan(&link)
		if res.Error != nil {
			return res.Error
		}
		if link.TenantID == "" {
			return errNotFound
		}
		member := id.Member("")
		if link.MemberID != nil {
			member = id.Member(*link.MemberID)
		}
		session, err = s.begin(tx, id.Tenant(link.TenantID), member)
		return err
	})
	return session, err
}

// begin writes a session and notes it.
func (s *Store) begin(tx *gorm.DB, tenant id.Tenant, member id.Member) (session string, err error) {
	session, hash, err := newToken()
	if err != nil {
		return "", err
	}
	csrf, _, err := newToken()
	if err != nil {
		return "", err
	}
	now := s.now()
	if err := tx.Exec("INSERT INTO sessions (tenant_id, member_id, hash, csrf, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
		tenant, optional(string(member)), hash, csrf, now, now.Add(sessionFor)).Error; err != nil {
		return "", err
	}
	return session, note(tx, tenant, now, Session{MemberID: member}.Actor(), "signed in", "session", "")
}

// Session finds a signed-in browser. A member who was removed is signed out with that.
func (s *Store) Session(ctx context.Context, session string) (Session, error) {
	hash := sha256.Sum256([]byte(session))
	var row struct {
		TenantID, Tenant, CSRF      string
		MemberID, Email, Name, Role *string
		HasLive                     bool
		CreatedAt                   time.Time
	}
	res := s.db.WithContext(ctx).Raw(`SELECT s.tenant_id, t.name AS tenant, s.csrf, s.member_id, m.email, m.name, m.role, s.created_at,
			EXISTS (SELECT 1 FROM keys k WHERE k.tenant_id = s.tenant_id AND k.livemode) AS has_live
		FROM sessions s JOIN tenants t ON t.id = s.tenant_id LEFT JOIN members m ON m.id = s.member_id
		WHERE s.hash = ? AND s.expires_at > ? AND (s.member_id IS NULL OR m.removed_at IS NULL)`, hash[:], s.now()).Scan(&row)
	if res.Error == nil && res.RowsAffected == 0 {
		return Session{}, errNotFound
	}
	out := Session{TenantID: id.Tenant(row.TenantID), Tenant: row.Tenant, CSRF: row.CSRF, HasLive: row.HasLive, CreatedAt: row.CreatedAt, Role: meter.RoleOwner, Name: "set-up link"}
	if row.MemberID != nil {
		out.MemberID, out.Email, out.Name, out.Role = id.Member(*row.MemberID), *row.Email, *row.Name, meter.Role(*row.Role)
	}
	return out, res.Error
}

// SessionCaller is Session for the API (gateway.Sessions): mode is "live" or "test"; any other word is the tenant's own.
func (s *Store) SessionCaller(ctx context.Context, session, mode string) (meter.Caller, string, error) {
	found, err := s.Session(ctx, session)
	live := found.HasLive
	if mode == "live" || mode == "test" {
		live = mode == "live"
	}
	return found.Caller(live), found.CSRF, err
}

// EndSession signs a browser out.
func (s *Store) EndSession(ctx context.Context, session string) error {
	hash := sha256.Sum256([]byte(session))
	return s.tx(ctx, func(tx *gorm.DB) error {
		var row struct{ TenantID, MemberID string }
		res := tx.Raw("DELETE FROM sessions WHERE hash = ? RETURNING tenant_id, coalesce(member_id, '') AS member_id", hash[:]).Scan(&row)
		if res.Error != nil || row.TenantID == "" {
			return res.Error
		}
		return note(tx, id.Tenant(row.TenantID), s.now(), Session{MemberID: id.Member(row.MemberID)}.Actor(), "signed out", "session", "")
	})
}
