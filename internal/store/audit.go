package store

import (
	"context"
	"encoding/json"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/internal/id"
)

// Actor is who acts, for the audit log: "member mem_…", "key key_…", and the request it was in. It rides in the context as
// the request id does: no store method does anything else because of it.
type Actor struct {
	Name    string
	Request string
}

type actorKey struct{}

// WithActor says who acts in what is done under the context.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// nameActor tells the database's audit trigger, for this transaction only.
func nameActor(ctx context.Context, tx *gorm.DB) error {
	a, ok := ctx.Value(actorKey{}).(Actor)
	if !ok {
		return nil
	}
	return tx.Exec("SELECT set_config('p402.actor', ?, true), set_config('p402.request', ?, true)", a.Name, a.Request).Error
}

// change is one statement that the audit log shall know the author of.
func (s *Store) change(ctx context.Context, sql string, args ...any) *gorm.DB {
	var res *gorm.DB
	err := s.tx(ctx, func(tx *gorm.DB) error {
		res = tx.Exec(sql, args...)
		return res.Error
	})
	if res == nil || res.Error == nil && err != nil {
		return &gorm.DB{Error: err}
	}
	return res
}

// AuditEntry is one change: who, what, when, and the thing before and after, without its secrets.
type AuditEntry struct {
	ID         int64           `json:"id"`
	At         time.Time       `json:"at"`
	Actor      string          `json:"actor"` // "member mem_…", "key key_…", "set-up link", "system"
	RequestID  string          `json:"request_id"`
	Action     string          `json:"action"`
	ObjectType string          `json:"object_type"`
	ObjectID   string          `json:"object_id"`
	Before     json.RawMessage `json:"before"`
	After      json.RawMessage `json:"after"`
}

// AuditFilter selects entries; "" selects all. Before is the id of the last one seen, 0 begins with the newest.
type AuditFilter struct {
	ObjectType, ObjectID, Actor string
	Before                      int64
}

// Audit lists a tenant's changes, newest first.
func (s *Store) Audit(ctx context.Context, tenant id.Tenant, f AuditFilter, limit int) ([]AuditEntry, error) {
	var rows []struct {
		ID                                             int64
		At                                             time.Time
		Actor, RequestID, Action, ObjectType, ObjectID string
		Before, After                                  []byte
	}
	err := s.db.WithContext(ctx).Raw(`SELECT id, at, actor, request_id, action, object_type, object_id, before, after FROM audit_log
		WHERE tenant_id = ? AND (? = 0 OR id < ?) AND (? = '' OR object_type = ?) AND (? = '' OR object_id = ?) AND (? = '' OR actor = ?) ORDER BY id DESC LIMIT ?`,
		tenant, f.Before, f.Before, f.ObjectType, f.ObjectType, f.ObjectID, f.ObjectID, f.Actor, f.Actor, limit).Scan(&rows).Error
	out := make([]AuditEntry, 0, len(rows))
	for _, r := range rows {
		out = append(out, AuditEntry{ID: r.ID, At: r.At.UTC(), Actor: r.Actor, RequestID: r.RequestID, Action: r.Action, ObjectType: r.ObjectType, ObjectID: r.ObjectID,
			Before: raw(r.Before), After: raw(r.After)})
	}
	return out, err
}

// raw is a document as JSON has it: absent is null.
func raw(doc []byte) json.RawMessage {
	if doc == nil {
		return json.RawMessage("null")
	}
	return doc
}

// note writes what no row's change shows: signing in and out.
func note(tx *gorm.DB, tenant id.Tenant, now time.Time, actor, action, kind, object string) error {
	return tx.Exec(`INSERT INTO audit_log (tenant_id, at, actor, request_id, action, object_type, object_id)
		VALUES (?, ?, ?, coalesce(current_setting('p402.request', true), ''), ?, ?, ?)`, tenant, now, actor, action, kind, object).Error
}
