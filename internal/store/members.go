package store

import (
	"context"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/meter"
)

// Member is a person of a tenant. Password and second factor are never part of it.
type Member struct {
	ID          id.Member  `json:"member_id"`
	TenantID    id.Tenant  `json:"-"`
	Email       string     `json:"email"`
	Name        string     `json:"name"`
	Role        meter.Role `json:"role"`
	HasPassword bool       `json:"has_password"`
	TOTPSince   *time.Time `json:"totp_since"`
	CreatedAt   time.Time  `json:"created_at"`
}

// Credential is what a sign-in is checked against. It is never shown.
type Credential struct {
	MemberID     id.Member
	TenantID     id.Tenant
	PasswordHash string // "" = none set: only a link signs in
	Sealed       []byte // the second factor's secret, sealed; nil = none
	Step         int64  // the last code used
	LockedUntil  *time.Time
}

// Refusals about members.
var (
	errEmailTaken = fault.Field(fault.KindConflict, "EMAIL_TAKEN", "email", "somebody signs in with this address already")
	errLastOwner  = fault.New(fault.KindConflict, "LAST_OWNER", "a tenant keeps at least one owner: make another one first")
	// ErrSignIn answers every wrong sign-in alike: which part was wrong is nobody's business.
	ErrSignIn = fault.New(fault.KindUnauthenticated, "SIGN_IN_REFUSED", "address, password or code is wrong, or the sign-in is paused after too many attempts")
)

const memberColumns = "id, tenant_id, email, name, role, password_hash IS NOT NULL AS has_password, totp_since, created_at"

// PutMember adds a person. The address is kept in lower case and is one person's only.
func (s *Store) PutMember(ctx context.Context, m Member) (Member, error) {
	m.ID, m.CreatedAt = s.ids.Member(), s.now()
	err := s.change(ctx, "INSERT INTO members (id, tenant_id, email, name, role, created_at) VALUES (?, ?, ?, ?, ?, ?)", m.ID, m.TenantID, m.Email, m.Name, m.Role, m.CreatedAt).Error
	if violates(err, "members_email") {
		return m, errEmailTaken
	}
	return m, err
}

// Members lists a tenant's people by the time they joined, after an id; "" begins.
func (s *Store) Members(ctx context.Context, tenant id.Tenant, after id.Member, limit int) ([]Member, error) {
	return s.members(ctx, "tenant_id = ? AND removed_at IS NULL AND id > ? ORDER BY id LIMIT ?", tenant, after, limit)
}

// Member is one of a tenant's people.
func (s *Store) Member(ctx context.Context, tenant id.Tenant, member id.Member) (Member, error) {
	list, err := s.members(ctx, "tenant_id = ? AND id = ? AND removed_at IS NULL", tenant, member)
	if err == nil && len(list) == 0 {
		err = errNotFound
	}
	if err != nil {
		return Member{}, err
	}
	return list[0], nil
}

func (s *Store) members(ctx context.Context, where string, args ...any) ([]Member, error) {
	var rows []struct {
		ID, TenantID, Email, Name, Role string
		HasPassword                     bool
		TOTPSince                       *time.Time `gorm:"column:totp_since"`
		CreatedAt                       time.Time
	}
	err := s.db.WithContext(ctx).Raw("SELECT "+memberColumns+" FROM members WHERE "+where, args...).Scan(&rows).Error
	out := make([]Member, 0, len(rows))
	for _, r := range rows {
		out = append(out, Member{ID: id.Member(r.ID), TenantID: id.Tenant(r.TenantID), Email: r.Email, Name: r.Name, Role: meter.Role(r.Role),
			HasPassword: r.HasPassword, TOTPSince: r.TOTPSince, CreatedAt: r.CreatedAt.UTC()})
	}
	return out, err
}

// SetRole changes what a person may do. The last owner stays one.
func (s *Store) SetRole(ctx context.Context, tenant id.Tenant, member id.Member, role meter.Role) error {
	return s.keepOwner(ctx, tenant, func(tx *gorm.DB) error {
		return exactly(tx.Exec("UPDATE members SET role = ? WHERE tenant_id = ? AND id = ? AND removed_at IS NULL", role, tenant, member), errNotFound)
	})
}

// RemoveMember ends a person's membership and every session and link of theirs.
func (s *Store) RemoveMember(ctx context.Context, tenant id.Tenant, member id.Member) error {
	return s.keepOwner(ctx, tenant, func(tx *gorm.DB) error {
		if err := exactly(tx.Exec("UPDATE members SET removed_at = ?, password_hash = NULL, totp_secret = NULL, totp_since = NULL WHERE tenant_id = ? AND id = ? AND removed_at IS NULL",
			s.now(), tenant, member), errNotFound); err != nil {
			return err
		}
		return tx.Exec("DELETE FROM sessions WHERE member_id = ?", member).Error
	})
}

// ResetMember takes password, second factor and every session from a person, who comes back by a link.
func (s *Store) ResetMember(ctx context.Context, tenant id.Tenant, member id.Member) error {
	return s.tx(ctx, func(tx *gorm.DB) error {
		if err := exactly(tx.Exec(`UPDATE members SET password_hash = NULL, totp_secret = NULL, totp_since = NULL, failed_logins = 0, locked_until = NULL
			WHERE tenant_id = ? AND id = ? AND removed_at IS NULL`, tenant, member), errNotFound); err != nil {
			return err
		}
		return tx.Exec("DELETE FROM sessions WHERE member_id = ?", member).Error
	})
}

// keepOwner does work on a tenant's members unless it would leave a tenant that has members without an owner. The tenant's
// row is the lock: two owners cannot remove each other at once.
func (s *Store) keepOwner(ctx context.Context, tenant id.Tenant, work func(tx *gorm.DB) error) error {
	return s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec("SELECT 1 FROM tenants WHERE id = ? FOR UPDATE", tenant).Error; err != nil {
			return err
		}
		if err := work(tx); err != nil {
			return err
		}
		var owners int64
		if err := tx.Raw("SELECT count(*) FROM members WHERE tenant_id = ? AND role = 'owner' AND removed_at IS NULL", tenant).Scan(&owners).Error; err != nil {
			return err
		}
		if owners == 0 {
			return errLastOwner
		}
		return nil
	})
}

// SetPassword keeps a password's hash, and signs every other browser of the person out. keep is the session that stays.
func (s *Store) SetPassword(ctx context.Context, member id.Member, hash, keep string) error {
	return s.tx(ctx, func(tx *gorm.DB) error {
		if err := exactly(tx.Exec("UPDATE members SET password_hash = ?, failed_logins = 0, locked_until = NULL WHERE id = ? AND removed_at IS NULL", hash, member), errNotFound); err != nil {
			return err
		}
		return tx.Exec("DELETE FROM sessions WHERE member_id = ? AND hash <> sha256(?::text::bytea)", member, keep).Error
	})
}

// SetTOTP keeps a sealed second factor, with the step of the code that proved it; nil takes it away.
func (s *Store) SetTOTP(ctx context.Context, member id.Member, sealed []byte, step int64) error {
	var since *time.Time
	if sealed != nil {
		now := s.now()
		since = &now
	}
	return exactly(s.change(ctx, "UPDATE members SET totp_since = ?, totp_step = ?, totp_secret = ? WHERE id = ? AND removed_at IS NULL", since, step, sealed, member), errNotFound)
}

// Credential is what a sign-in by address is checked against; an unknown address has an empty one.
func (s *Store) Credential(ctx context.Context, email string) (Credential, error) {
	return s.credential(ctx, "email = ? AND removed_at IS NULL", email)
}

// MemberCredential is the same of a person who is signed in.
func (s *Store) MemberCredential(ctx context.Context, member id.Member) (Credential, error) {
	return s.credential(ctx, "id = ? AND removed_at IS NULL", member)
}

func (s *Store) credential(ctx context.Context, where string, args ...any) (Credential, error) {
	var r struct {
		ID, TenantID string
		PasswordHash *string
		TOTPSecret   []byte `gorm:"column:totp_secret"`
		TOTPStep     int64  `gorm:"column:totp_step"`
		LockedUntil  *time.Time
	}
	err := s.db.WithContext(ctx).Raw("SELECT id, tenant_id, password_hash, totp_secret, totp_step, locked_until FROM members WHERE "+where, args...).Scan(&r).Error
	c := Credential{MemberID: id.Member(r.ID), TenantID: id.Tenant(r.TenantID), Sealed: r.TOTPSecret, Step: r.TOTPStep, LockedUntil: r.LockedUntil}
	if r.PasswordHash != nil {
		c.PasswordHash = *r.PasswordHash
	}
	return c, err
}

// After lockAfter wrong sign-ins a person's sign-in pauses: a minute, then twice as long each time, an hour at most.
const (
	lockAfter = 5
	maxLock   = time.Hour
)

// RefuseSignIn counts a wrong sign-in of a known person.
func (s *Store) RefuseSignIn(ctx context.Context, c Credential) error {
	now := s.now()
	return s.tx(ctx, func(tx *gorm.DB) error {
		var failed int
		if err := tx.Raw("UPDATE members SET failed_logins = failed_logins + 1 WHERE id = ? RETURNING failed_logins", c.MemberID).Scan(&failed).Error; err != nil {
			return err
		}
		if failed >= lockAfter {
			pause := maxLock
			if n := failed - lockAfter; n < 6 {
				pause = time.Minute << n
			}
			if err := tx.Exec("UPDATE members SET locked_until = ? WHERE id = ?", now.Add(pause), c.MemberID).Error; err != nil {
				return err
			}
		}
		return note(tx, c.TenantID, now, "member "+string(c.MemberID), "sign-in refused", "session", "")
	})
}

// SignIn begins a session for a person whose password, and code where there is a second factor, were right. step is that
// code's; a code that another sign-in has used meanwhile is refused.
func (s *Store) SignIn(ctx context.Context, c Credential, step int64) (session string, err error) {
	err = s.tx(ctx, func(tx *gorm.DB) error {
		if err := exactly(tx.Exec("UPDATE members SET failed_logins = 0, locked_until = NULL, totp_step = greatest(totp_step, ?) WHERE id = ? AND removed_at IS NULL AND (? = 0 OR totp_step < ?)",
			step, c.MemberID, step, step), ErrSignIn); err != nil {
			return err
		}
		session, err = s.begin(tx, c.TenantID, c.MemberID)
		return err
	})
	return session, err
}

// Adopt makes the set-up link's session a person's: the first owner. The session goes on as theirs.
func (s *Store) Adopt(ctx context.Context, session string, m Member, hash string) (Member, error) {
	m.ID, m.CreatedAt, m.Role = s.ids.Member(), s.now(), meter.RoleOwner
	err := s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec("INSERT INTO members (id, tenant_id, email, name, role, password_hash, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
			m.ID, m.TenantID, m.Email, m.Name, m.Role, hash, m.CreatedAt).Error; err != nil {
			return err
		}
		return exactly(tx.Exec("UPDATE sessions SET member_id = ? WHERE tenant_id = ? AND hash = sha256(?::text::bytea) AND member_id IS NULL", m.ID, m.TenantID, session), errNotFound)
	})
	if violates(err, "members_email") {
		return m, errEmailTaken
	}
	return m, err
}
