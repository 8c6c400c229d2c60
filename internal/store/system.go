package store

import (
	"context"
	"time"

	"p402.io/p402/internal/id"
)

// Queue is what waits to be done, by kind, with the age of the oldest.
type Queue struct {
	Name   string
	Count  int64
	Oldest *time.Time
}

// Queues is a tenant's unfinished business: open calls, payments on their way, refunds due.
func (s *Store) Queues(ctx context.Context, tenant id.Tenant) ([]Queue, error) {
	var out []Queue
	err := s.db.WithContext(ctx).Raw(`SELECT 'open calls' AS name, count(*) AS count, min(event_time) AS oldest FROM events WHERE tenant_id = ? AND state = 'intent'
		UNION ALL SELECT 'payments ' || s.state, count(p.id), min(p.moved_at) FROM (VALUES ('authorized', 1), ('captured', 2), ('submitted', 3), ('included', 4)) AS s (state, place)
			LEFT JOIN payments p ON p.state = s.state AND p.tenant_id = ? GROUP BY s.state
		UNION ALL SELECT 'payments lost', count(*), min(moved_at) FROM payments WHERE tenant_id = ? AND state = 'lost'
		UNION ALL SELECT 'refunds due', count(*), min(due_at) FROM refunds WHERE tenant_id = ? AND state = 'due'`, tenant, tenant, tenant, tenant).Scan(&out).Error
	return out, err
}

// Migrations is the database's schema: how many files were applied and the last one's name.
func (s *Store) Migrations(ctx context.Context) (count int64, last string, err error) {
	var row struct {
		Count int64
		Last  string
	}
	err = s.db.WithContext(ctx).Raw("SELECT count(*) AS count, coalesce(max(name), '') AS last FROM schema_migrations").Scan(&row).Error
	return row.Count, row.Last, err
}
