package store

import (
	"bytes"
	"context"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
)

// IdempotentClaim is one use of an Idempotency-Key on /api/v2. Digest covers method, path, query and body.
type IdempotentClaim struct {
	TenantID id.Tenant
	KeyID    id.Key
	Key      string
	Digest   [32]byte
}

// IdempotentAnswer is the first answer, kept for a repeat. Body nil: it held a secret and was not kept.
type IdempotentAnswer struct {
	Status int
	Body   []byte
}

// How a repeat is refused.
var (
	ErrIdempotencyConflict = fault.New(fault.KindConflict, "IDEMPOTENCY_CONFLICT", "this Idempotency-Key was used for another request")
	ErrIdempotencyRunning  = fault.New(fault.KindConflict, "IDEMPOTENCY_IN_PROGRESS", "a request with this Idempotency-Key is running")
	ErrIdempotencyNotKept  = fault.New(fault.KindConflict, "IDEMPOTENT_RESULT_NOT_KEPT",
		"a request with this Idempotency-Key was run and its answer was not kept: look whether it took effect before you send it under a new key")
)

const (
	// idempotentRunTime is after what a claim without an answer counts as cut off: no /api/v2 request lives so long.
	idempotentRunTime = time.Minute
	// idempotentSweep is how many expired rows each claim clears away, so that the table stays as small as a day's traffic.
	idempotentSweep = 20
)

// BeginIdempotent claims a key for one run. It returns nil for the caller that may run, and the first answer for a repeat.
// A claim that a crash left without an answer is never run again: the work may have been done.
func (s *Store) BeginIdempotent(ctx context.Context, c IdempotentClaim) (*IdempotentAnswer, error) {
	var out *IdempotentAnswer
	err := s.tx(ctx, func(tx *gorm.DB) error {
		out = nil
		now := s.now()
		expired := now.Add(-idempotencyKept)
		if err := tx.Exec("DELETE FROM idempotent_requests WHERE tenant_id = ? AND key_id = ? AND idempotency_key = ? AND created_at <= ?",
			c.TenantID, c.KeyID, c.Key, expired).Error; err != nil {
			return err
		}
		if err := tx.Exec(`DELETE FROM idempotent_requests WHERE (tenant_id, key_id, idempotency_key) IN (SELECT tenant_id, key_id, idempotency_key
			FROM idempotent_requests WHERE created_at <= ? ORDER BY created_at LIMIT ? FOR UPDATE SKIP LOCKED)`, expired, idempotentSweep).Error; err != nil {
			return err
		}
		res := tx.Exec("INSERT INTO idempotent_requests (tenant_id, key_id, idempotency_key, digest, created_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
			c.TenantID, c.KeyID, c.Key, c.Digest[:], now)
		if res.Error != nil || res.RowsAffected == 1 {
			return res.Error
		}
		var err error
		out, err = repeated(tx, c, now)
		return err
	})
	return out, err
}

// repeated answers for a claim that somebody else holds.
func repeated(tx *gorm.DB, c IdempotentClaim, now time.Time) (*IdempotentAnswer, error) {
	var row struct {
		Digest    []byte
		Status    *int
		Answer    []byte
		CreatedAt time.Time
	}
	res := tx.Raw("SELECT digest, status, answer, created_at FROM idempotent_requests WHERE tenant_id = ? AND key_id = ? AND idempotency_key = ?",
		c.TenantID, c.KeyID, c.Key).Scan(&row)
	switch {
	case res.Error != nil:
		return nil, res.Error
	case res.RowsAffected == 0: // the first one has just given it back
		return nil, ErrIdempotencyRunning
	case !bytes.Equal(row.Digest, c.Digest[:]):
		return nil, ErrIdempotencyConflict
	case row.Status != nil && row.Answer != nil:
		return &IdempotentAnswer{Status: *row.Status, Body: row.Answer}, nil
	case row.Status == nil && now.Sub(row.CreatedAt) < idempotentRunTime:
		return nil, ErrIdempotencyRunning
	}
	return nil, ErrIdempotencyNotKept
}

// EndIdempotent keeps the answer of a claim's run.
func (s *Store) EndIdempotent(ctx context.Context, c IdempotentClaim, a IdempotentAnswer) error {
	return exactly(s.db.WithContext(ctx).Exec("UPDATE idempotent_requests SET status = ?, answer = ? WHERE tenant_id = ? AND key_id = ? AND idempotency_key = ? AND digest = ? AND status IS NULL",
		a.Status, a.Body, c.TenantID, c.KeyID, c.Key, c.Digest[:]), errNotFound)
}

// DropIdempotent gives a claim back whose run was refused or failed: nothing happened that a repeat could double.
func (s *Store) DropIdempotent(ctx context.Context, c IdempotentClaim) error {
	return s.db.WithContext(ctx).Exec("DELETE FROM idempotent_requests WHERE tenant_id = ? AND key_id = ? AND idempotency_key = ? AND status IS NULL",
		c.TenantID, c.KeyID, c.Key).Error
}
