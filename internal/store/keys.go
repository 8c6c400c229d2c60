package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"p402.io/p402/internal/id"
	"p402.io/p402/meter"
)

const keyColumns = "id, name, prefix, livemode, scopes, override, defaults, allowed_models, created_at, expires_at, revoked_at"

type keyRow struct {
	ID, Name, Prefix, Override      string
	Livemode                        bool
	Scopes, Defaults, AllowedModels []byte
	CreatedAt                       time.Time
	ExpiresAt, RevokedAt            *time.Time
}

func (r keyRow) info() (KeyInfo, error) {
	k := KeyInfo{ID: id.Key(r.ID), Name: r.Name, Prefix: r.Prefix, Livemode: r.Livemode, Override: meter.Override(r.Override),
		CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, RevokedAt: r.RevokedAt, Scopes: []meter.Scope{}, AllowedModels: []string{}}
	var defaults meter.Attribution
	if err := errors.Join(json.Unmarshal(r.Scopes, &k.Scopes), json.Unmarshal(r.Defaults, &defaults), json.Unmarshal(r.AllowedModels, &k.AllowedModels)); err != nil {
		return k, fmt.Errorf("key %s: %w", r.ID, err)
	}
	k.Defaults = pairs(defaults)
	return k, nil
}

// pairs shows a key's defaults as they were given: dimensions and tags in one map.
func pairs(a meter.Attribution) map[string]string {
	out := map[string]string{}
	maps.Copy(out, a.Tags)
	maps.Copy(out, a.Dimensions)
	return out
}

func (s *Store) keyInfos(ctx context.Context, where string, args ...any) ([]KeyInfo, error) {
	var rows []keyRow
	if err := s.db.WithContext(ctx).Raw("SELECT "+keyColumns+" FROM keys WHERE "+where, args...).Scan(&rows).Error; err != nil {
		return nil, err
	}
	out := make([]KeyInfo, 0, len(rows))
	for _, r := range rows {
		k, err := r.info()
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, nil
}

// maxKeys bounds the list that the command line shows; the API pages.
const maxKeys = 1000

// Keys lists a tenant's keys, newest first.
func (s *Store) Keys(ctx context.Context, tenant id.Tenant) ([]KeyInfo, error) {
	return s.KeysPage(ctx, tenant, "", maxKeys)
}

// KeysPage lists a tenant's keys, newest first, after a key; "" begins.
func (s *Store) KeysPage(ctx context.Context, tenant id.Tenant, after id.Key, limit int) ([]KeyInfo, error) {
	return s.keyInfos(ctx, "tenant_id = ? AND (? = '' OR id < ?) ORDER BY id DESC LIMIT ?", tenant, after, after, limit)
}

// Key is one of a tenant's keys, revoked or not.
func (s *Store) Key(ctx context.Context, tenant id.Tenant, key id.Key) (KeyInfo, error) {
	list, err := s.keyInfos(ctx, "tenant_id = ? AND id = ?", tenant, key)
	if err == nil && len(list) == 0 {
		err = errNotFound
	}
	if err != nil {
		return KeyInfo{}, err
	}
	return list[0], nil
}
