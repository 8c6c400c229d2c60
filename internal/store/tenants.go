package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/meter"
)

// EnsureTenant finds a tenant by its public slug, or makes it.
func (s *Store) EnsureTenant(ctx context.Context, slug, name string) (id.Tenant, error) {
	var out string
	err := s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec("INSERT INTO tenants (id, slug, name, created_at) VALUES (?, ?, ?, ?) ON CONFLICT (slug) DO NOTHING", s.ids.Tenant(), slug, name, s.now()).Error; err != nil {
			return err
		}
		return tx.Raw("SELECT id FROM tenants WHERE slug = ?", slug).Scan(&out).Error
	})
	return id.Tenant(out), err
}

// Secret is a random secret of the installation, made on first use.
func (s *Store) Secret(ctx context.Context, name string, size int) ([]byte, error) {
	fresh := make([]byte, size)
	if _, err := rand.Read(fresh); err != nil {
		return nil, err
	}
	if err := s.db.WithContext(ctx).Exec("INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", name, fresh).Error; err != nil {
		return nil, err
	}
	var value []byte
	err := s.db.WithContext(ctx).Raw("SELECT value FROM settings WHERE name = ?", name).Row().Scan(&value)
	return value, err
}

// NewKey is what a key is made of.
type NewKey struct {
	TenantID      id.Tenant
	Name          string
	Livemode      bool
	Scopes        []meter.Scope
	Override      meter.Override
	Defaults      meter.Attribution
	AllowedModels []string
	ExpiresAt     *time.Time
}

// KeyInfo is a key as it may be shown: never the key itself.
type KeyInfo struct {
	ID            id.Key            `json:"key_id"`
	Name          string            `json:"name"`
	Prefix        string            `json:"prefix"`
	Livemode      bool              `json:"livemode"`
	Scopes        []meter.Scope     `json:"scopes"`
	Override      meter.Override    `json:"header_override_policy"`
	Defaults      map[string]string `json:"defaults"`
	AllowedModels []string          `json:"allowed_models"`
	CreatedAt     time.Time         `json:"created_at"`
	ExpiresAt     *time.Time        `json:"expires_at"`
	RevokedAt     *time.Time        `json:"revoked_at"`
}

// displayHex is how much of a key is kept for display (PRODUCT §1).
const displayHex = 6

// CreateKey makes a key and returns it in plain, once. Only its SHA-256 is stored.
func (s *Store) CreateKey(ctx context.Context, k NewKey) (plain string, info KeyInfo, err error) {
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return "", KeyInfo{}, err
	}
	kind := "p402_test_"
	if k.Livemode {
		kind = "p402_live_"
	}
	plain = kind + hex.EncodeToString(raw)
	hash := sha256.Sum256([]byte(plain))
	if k.Override == "" {
		k.Override = meter.OverrideAllow
	}
	var docs [3]string
	for i, part := range []any{k.Scopes, k.Defaults, append([]string{}, k.AllowedModels...)} {
		doc, err := json.Marshal(part)
		if err != nil {
			return "", KeyInfo{}, err
		}
		docs[i] = string(doc)
	}
	info = KeyInfo{ID: s.ids.Key(), Name: k.Name, Prefix: plain[:len(kind)+displayHex], Livemode: k.Livemode, Scopes: k.Scopes, Override: k.Override,
		Defaults: pairs(k.Defaults), AllowedModels: append([]string{}, k.AllowedModels...), CreatedAt: s.now(), ExpiresAt: k.ExpiresAt}
	err = s.change(ctx, `INSERT INTO keys (id, tenant_id, name, hash, prefix, livemode, scopes, override, defaults, allowed_models, created_at, expires_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, info.ID, k.TenantID, k.Name, hash[:], info.Prefix, k.Livemode, docs[0], k.Override, docs[1], docs[2],
		info.CreatedAt, k.ExpiresAt).Error
	return plain, info, err
}

var errKey = fault.New(fault.KindUnauthenticated, "INVALID_KEY", "send a p402 key as Authorization: Bearer p402_…; this one is missing, unknown or revoked")

// KeyByHash is the caller behind a key.
func (s *Store) KeyByHash(ctx context.Context, hash [32]byte) (meter.Caller, error) {
	var r struct {
		ID, TenantID, Prefix, Override  string
		Livemode                        bool
		Scopes, Defaults, AllowedModels []byte
		ExpiresAt                       *time.Time
	}
	res := s.db.WithContext(ctx).Raw(`SELECT id, tenant_id, prefix, override, livemode, scopes, defaults, allowed_models, expires_at FROM keys
		WHERE hash = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)`, hash[:], s.now()).Scan(&r)
	if res.Error != nil {
		return meter.Caller{}, res.Error
	}
	if res.RowsAffected == 0 {
		return meter.Caller{}, errKey
	}
	c := meter.Caller{TenantID: id.Tenant(r.TenantID), KeyID: id.Key(r.ID), KeyPrefix: r.Prefix, Livemode: r.Livemode, Override: meter.Override(r.Override), ExpiresAt: r.ExpiresAt}
	err := errors.Join(json.Unmarshal(r.Scopes, &c.Scopes), json.Unmarshal(r.Defaults, &c.Defaults), json.Unmarshal(r.AllowedModels, &c.AllowedModels))
	return c, err
}

var errNotFound = fault.New(fault.KindNotFound, "NOT_FOUND", "there is no such object")

// RevokeKey ends a key; it stays ended.
func (s *Store) RevokeKey(ctx context.Context, tenant id.Tenant, key id.Key) error {
	return exactly(s.change(ctx, "UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE tenant_id = ? AND id = ?", s.now(), tenant, key), errNotFound)
}

// PutBudget stores a new budget and returns its id.
func (s *Store) PutBudget(ctx context.Context, b meter.Budget) (id.Budget, error) {
	b.ID = s.ids.Budget()
	return b.ID, s.change(ctx, `INSERT INTO budgets (id, tenant_id, name, scope_type, scope_id, period, limit_usd, limit_events, limit_tokens, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, b.ID, b.TenantID, b.Name, b.Scope.Type, b.Scope.ID, b.Window, b.LimitUSD, b.LimitEvents, b.LimitTokens, s.now()).Error
}

// RetireBudget ends a budget.
func (s *Store) RetireBudget(ctx context.Context, tenant id.Tenant, budget id.Budget) error {
	return exactly(s.change(ctx, "UPDATE budgets SET retired_at = ? WHERE tenant_id = ? AND id = ? AND retired_at IS NULL", s.now(), tenant, budget), errNotFound)
}

// PutPolicy stores a new policy and returns its id.
func (s *Store) PutPolicy(ctx context.Context, p meter.Policy) (id.Policy, error) {
	models, err := json.Marshal(append([]string{}, p.AllowedModels...))
	if err != nil {
		return "", err
	}
	p.ID = s.ids.Policy()
	defer s.known.forget()
	return p.ID, s.change(ctx, "INSERT INTO policies (id, tenant_id, name, version, allowed_models, created_at) VALUES (?, ?, ?, 1, ?, ?)",
		p.ID, p.TenantID, p.Name, string(models), s.now()).Error
}

// RetirePolicy ends a policy.
func (s *Store) RetirePolicy(ctx context.Context, tenant id.Tenant, policy id.Policy) error {
	defer s.known.forget()
	return exactly(s.change(ctx, "UPDATE policies SET retired_at = ? WHERE tenant_id = ? AND id = ? AND retired_at IS NULL", s.now(), tenant, policy), errNotFound)
}
