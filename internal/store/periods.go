package store

import (
	"context"
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
)

// Zone is the time zone that a tenant's days and months are of; UTC until one is set.
func (s *Store) Zone(ctx context.Context, tenant id.Tenant) (*time.Location, error) {
	var name string
	if err := s.db.WithContext(ctx).Raw("SELECT zone FROM finance_settings WHERE tenant_id = ?", tenant).Scan(&name).Error; err != nil || name == "" {
		return time.UTC, err
	}
	return time.LoadLocation(name)
}

// SetZone sets a tenant's zone. Periods that exist keep theirs: it is written into each.
func (s *Store) SetZone(ctx context.Context, tenant id.Tenant, name string) error {
	if _, err := time.LoadLocation(name); err != nil || name == "" || name == "Local" {
		return fault.Field(fault.KindInvalid, "INVALID_INPUT", "zone", "must be an IANA time zone such as Europe/Berlin")
	}
	return s.db.WithContext(ctx).Exec("INSERT INTO finance_settings (tenant_id, zone, updated_at) VALUES (?, ?, ?) ON CONFLICT (tenant_id) DO UPDATE SET zone = EXCLUDED.zone, updated_at = EXCLUDED.updated_at",
		tenant, name, s.now()).Error
}
