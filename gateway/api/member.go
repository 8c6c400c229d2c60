package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

type memberBody struct {
	Email string     `json:"email"`
	Name  string     `json:"name"`
	Role  meter.Role `json:"role"`
}

// linkFor is how long an invitation waits to be followed.
const linkFor = 72 * time.Hour

// errOwnerOnly: an admin manages everybody but owners, or an admin could make themselves one.
var errOwnerOnly = fault.New(fault.KindDenied, "OWNER_REQUIRED", "only an owner makes, changes or removes an owner")

// addMember invites a person. The link stands in this answer and nowhere else.
func (s *Surface) addMember(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b memberBody
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	m, err := newMember(caller, b.Email, b.Name, b.Role)
	if err != nil {
		return 0, nil, err
	}
	if m.Role == meter.RoleOwner && caller.Role != meter.RoleOwner {
		return 0, nil, errOwnerOnly
	}
	if m, err = s.Store.PutMember(c.Request.Context(), m); err != nil {
		return 0, nil, err
	}
	token, err := s.Store.CreateSignInLink(c.Request.Context(), caller.TenantID, m.ID, linkFor)
	return http.StatusCreated, gin.H{"member": m, "sign_in_path": "/sign-in/" + token}, err
}

// memberLink is a new one-time link for a person who lost the way in. Their password and second factor end with it, so that
// nobody who has the link signs in as them unnoticed.
func (s *Surface) memberLink(c *gin.Context, caller meter.Caller) (int, any, error) {
	m, err := s.target(c, caller)
	if err != nil {
		return 0, nil, err
	}
	if err := s.Store.ResetMember(c.Request.Context(), caller.TenantID, m.ID); err != nil {
		return 0, nil, err
	}
	m.HasPassword, m.TOTPSince = false, nil
	token, err := s.Store.CreateSignInLink(c.Request.Context(), caller.TenantID, m.ID, linkFor)
	return http.StatusCreated, gin.H{"member": m, "sign_in_path": "/sign-in/" + token}, err
}

// target is the member a request is about, if the caller may touch them.
func (s *Surface) target(c *gin.Context, caller meter.Caller) (store.Member, error) {
	m, err := s.Store.Member(c.Request.Context(), caller.TenantID, id.Member(c.Param("id")))
	if err == nil && m.Role == meter.RoleOwner && caller.Role != meter.RoleOwner {
		err = errOwnerOnly
	}
	return m, err
}

func (s *Surface) listMembers(c *gin.Context, caller meter.Caller) (int, any, error) {
	p, err := s.page(c, caller)
	if err != nil {
		return 0, nil, err
	}
	rows, err := s.Store.Members(c.Request.Context(), caller.TenantID, id.Member(p.lastID()), p.limit+1)
	if err != nil {
		return 0, nil, err
	}
	out, err := list(s, c, caller, p, rows, func(m store.Member) any { return m }, func(m store.Member) store.Position { return byID(string(m.ID)) })
	return http.StatusOK, out, err
}

func (s *Surface) oneMember(c *gin.Context, caller meter.Caller) (int, any, error) {
	m, err := s.Store.Member(c.Request.Context(), caller.TenantID, id.Member(c.Param("id")))
	return http.StatusOK, m, err
}

func (s *Surface) setRole(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b struct {
		Role meter.Role `json:"role"`
	}
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	m, err := s.target(c, caller)
	switch {
	case err != nil:
		return 0, nil, err
	case !b.Role.Valid():
		return 0, nil, invalid("role", "must be owner, admin, developer, seller, finance or auditor")
	case b.Role == meter.RoleOwner && caller.Role != meter.RoleOwner:
		return 0, nil, errOwnerOnly
	}
	m.Role = b.Role
	return http.StatusOK, m, s.Store.SetRole(c.Request.Context(), caller.TenantID, m.ID, b.Role)
}

func (s *Surface) removeMember(c *gin.Context, caller meter.Caller) (int, any, error) {
	m, err := s.target(c, caller)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, gin.H{"ok": true}, s.Store.RemoveMember(c.Request.Context(), caller.TenantID, m.ID)
}

func (s *Surface) listAudit(c *gin.Context, caller meter.Caller) (int, any, error) {
	p, err := s.page(c, caller)
	if err != nil {
		return 0, nil, err
	}
	f := store.AuditFilter{ObjectType: c.Query("object_type"), ObjectID: c.Query("object_id"), Actor: c.Query("actor")}
	if last := p.lastID(); last != "" {
		if f.Before, err = strconv.ParseInt(last, 10, 64); err != nil {
			return 0, nil, invalid("cursor", "is not a cursor of this query")
		}
	}
	rows, err := s.Store.Audit(c.Request.Context(), caller.TenantID, f, p.limit+1)
	if err != nil {
		return 0, nil, err
	}
	out, err := list(s, c, caller, p, rows, func(e store.AuditEntry) any { return e }, func(e store.AuditEntry) store.Position { return byID(strconv.FormatInt(e.ID, 10)) })
	return http.StatusOK, out, err
}
