package store

import (
	"context"
	"sync"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/meter"
)

// planFor is how long a count stands before the ledger is counted again: so much late a cap may fall, and no call waits for a
// count of a month.
const planFor = 5 * time.Second

// planNotices is the same for a plan that never stops: only its notices may come late.
const planNotices = 10 * time.Minute

// planBook remembers each tenant's use for a moment.
type planBook struct {
	mu   sync.Mutex
	seen map[id.Tenant]planSeen
}

type planSeen struct {
	use meter.PlanUse
	at  time.Time
}

// planOf is the use that a live call is judged by; nil where no gate can close.
func (s *Store) planOf(ctx context.Context, c meter.Caller) (*meter.PlanUse, error) {
	if !c.Livemode {
		return nil, nil
	}
	now := s.now()
	s.plans.mu.Lock()
	hit, ok := s.plans.seen[c.TenantID]
	s.plans.mu.Unlock()
	fresh := planFor
	if !hit.use.Plan.Cap {
		fresh = planNotices
	}
	if !ok || now.Sub(hit.at) >= fresh {
		if ok { // others go by the old count while this call makes the new one
			s.plans.mu.Lock()
			s.plans.seen[c.TenantID] = planSeen{hit.use, now}
			s.plans.mu.Unlock()
		}
		use, err := s.PlanUse(ctx, c.TenantID)
		if err != nil {
			return nil, err
		}
		hit = planSeen{use, now}
		s.plans.mu.Lock()
		if s.plans.seen == nil || len(s.plans.seen) >= maxKnown {
			s.plans.seen = map[id.Tenant]planSeen{}
		}
		s.plans.seen[c.TenantID] = hit
		s.plans.mu.Unlock()
	}
	if hit.use.Plan.Events == 0 {
		return nil, nil
	}
	return &hit.use, nil
}

// planEvents is what counts: the month's live events that were not denied.
const planEvents = "FROM events WHERE tenant_id = ? AND livemode AND decision <> 'denied' AND event_time >= ? AND event_time < ?"

// PlanUse counts the present month out of the ledger. A plan without a limit is not counted.
func (s *Store) PlanUse(ctx context.Context, tenant id.Tenant) (meter.PlanUse, error) {
	var planID string
	if err := s.db.WithContext(ctx).Raw("SELECT plan FROM tenants WHERE id = ?", tenant).Scan(&planID).Error; err != nil {
		return meter.PlanUse{}, err
	}
	plan, ok := meter.FindPlan(planID)
	if !ok {
		return meter.PlanUse{}, fault.New(fault.KindInternal, "INTERNAL_ERROR", "a tenant's plan is none of ours")
	}
	use := meter.PlanUse{Plan: plan}
	begin, end := meter.PlanMonth(s.now())
	if plan.Events == 0 {
		return use, nil
	}
	var row struct {
		Used        int64
		First, Last *time.Time
	}
	if err := s.db.WithContext(ctx).Raw("SELECT count(*) AS used, min(event_time) AS first, max(event_time) AS last "+planEvents, tenant, begin, end).Scan(&row).Error; err != nil {
		return use, err
	}
	use.Used, use.First, use.Last = row.Used, row.First, row.Last
	if use.Used < plan.Events {
		return use, nil
	}
	var reached []time.Time
	err := s.db.WithContext(ctx).Raw("SELECT event_time "+planEvents+" ORDER BY event_time OFFSET ? LIMIT 1", tenant, begin, end, plan.Events-1).Scan(&reached).Error
	if len(reached) > 0 {
		use.ReachedAt = &reached[0]
	}
	return use, err
}

// SetPlan changes what a tenant has taken.
func (s *Store) SetPlan(ctx context.Context, tenant id.Tenant, plan string) error {
	s.plans.mu.Lock()
	delete(s.plans.seen, tenant)
	s.plans.mu.Unlock()
	return s.tx(ctx, func(tx *gorm.DB) error {
		var was string
		if err := tx.Raw("SELECT plan FROM tenants WHERE id = ? FOR UPDATE", tenant).Scan(&was).Error; err != nil {
			return err
		}
		if err := exactly(tx.Exec("UPDATE tenants SET plan = ? WHERE id = ?", plan, tenant), errNotFound); err != nil {
			return err
		}
		return tx.Exec(`INSERT INTO audit_log (tenant_id, at, actor, request_id, action, object_type, object_id, before, after)
			VALUES (?, ?, coalesce(nullif(current_setting('p402.actor', true), ''), 'system'), coalesce(current_setting('p402.request', true), ''), 'changed', 'plan', ?,
				jsonb_build_object('plan', ?::text), jsonb_build_object('plan', ?::text))`, tenant, s.now(), tenant, was, plan).Error
	})
}

// AccessRequest is somebody who asks to hear from a person.
type AccessRequest struct{ Email, Company, Intent, Note string }

// The most that is written in an hour: of one address, and in all. Beyond it somebody is playing.
const (
	requestsOfOne = 3
	requestsInAll = 60
)

var errTooManyRequests = fault.New(fault.KindRateLimited, "RATE_LIMIT_EXCEEDED", "there were too many requests in the last hour; try again later")

// PutAccessRequest keeps a request, within the hour's bounds.
func (s *Store) PutAccessRequest(ctx context.Context, a AccessRequest) error {
	now := s.now()
	return s.tx(ctx, func(tx *gorm.DB) error {
		var n struct{ Own, Total int64 }
		if err := tx.Raw("SELECT count(*) FILTER (WHERE email = ?) AS own, count(*) AS total FROM access_requests WHERE created_at > ?", a.Email, now.Add(-time.Hour)).Scan(&n).Error; err != nil {
			return err
		}
		if n.Own >= requestsOfOne || n.Total >= requestsInAll {
			return errTooManyRequests
		}
		return tx.Exec("INSERT INTO access_requests (email, company, intent, note, created_at) VALUES (?, ?, ?, ?, ?)", a.Email, a.Company, a.Intent, a.Note, now).Error
	})
}
