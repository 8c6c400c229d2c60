package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
)

// Earning is what one workflow was paid, by its settled receipts.
type Earning struct {
	WorkflowID string
	Receipts   int64
	Payers     int64
	Amount     money.USDC
	LastAt     time.Time
}

// settledReceipts is the receipts whose payment stands in a block now: one that a reorganisation took back does not count.
const settledReceipts = `FROM receipts r JOIN payments p ON p.id = r.payment_id JOIN events e ON e.id = r.event_id
	WHERE r.tenant_id = ? AND e.livemode = ? AND p.state IN ('included', 'final')`

// Earnings adds up a seller's settled receipts by workflow, the best first (S16).
func (s *Store) Earnings(ctx context.Context, tenant id.Tenant, live bool) ([]Earning, error) {
	var out []Earning
	err := s.db.WithContext(ctx).Raw(`SELECT r.doc::jsonb ->> 'workflow_id' AS workflow_id, count(*) AS receipts, count(DISTINCT lower(r.doc::jsonb ->> 'payer')) AS payers,
		sum((r.doc::jsonb ->> 'amount_atomic')::numeric) AS amount, max(r.issued_at) AS last_at `+settledReceipts+` GROUP BY 1 ORDER BY 4 DESC, 1 LIMIT 1000`, tenant, live).Scan(&out).Error
	return out, err
}

// Settled is one receipt with where its payment stands now.
type Settled struct {
	settlement.Receipt
	State settlement.State
}

// ReceiptsPage lists a tenant's receipts of one ledger, newest first, after an id; workflow "" is all.
func (s *Store) ReceiptsPage(ctx context.Context, tenant id.Tenant, live bool, workflow, after string, limit int) ([]Settled, error) {
	var rows []struct{ Doc, State string }
	err := s.db.WithContext(ctx).Raw(`SELECT r.doc, p.state FROM receipts r JOIN payments p ON p.id = r.payment_id JOIN events e ON e.id = r.event_id
		WHERE r.tenant_id = ? AND e.livemode = ? AND (? = '' OR r.doc::jsonb ->> 'workflow_id' = ?) AND (? = '' OR r.id < ?) ORDER BY r.id DESC LIMIT ?`,
		tenant, live, workflow, workflow, after, after, limit).Scan(&rows).Error
	out := make([]Settled, 0, len(rows))
	for _, row := range rows {
		one := Settled{State: settlement.State(row.State)}
		if err := json.Unmarshal([]byte(row.Doc), &one.Receipt); err != nil {
			return nil, fmt.Errorf("read a receipt: %w", err)
		}
		out = append(out, one)
	}
	return out, err
}

// PaymentsPage lists a tenant's payments of one ledger, newest first, after an id; state "" is all. The facilitator's have no
// event and stand in both.
func (s *Store) PaymentsPage(ctx context.Context, tenant id.Tenant, live bool, state, after string, limit int) ([]settlement.Payment, error) {
	return s.payments(ctx, `tenant_id = ? AND (event_id IS NULL OR EXISTS (SELECT 1 FROM events e WHERE e.id = payments.event_id AND e.livemode = ?))
		AND (? = '' OR state = ?) AND (? = '' OR id < ?) ORDER BY id DESC LIMIT ?`, tenant, live, state, state, after, after, limit)
}

// PastCost is what finished runs of a workflow have cost the vendor's way: the ground of a price (S12).
type PastCost struct {
	Runs int64
	P50  *money.USD // nil without a run of known cost
	P95  *money.USD
	Most *money.USD
}

// PastCost reads the costs of a workflow's runs since a time, or of every call of a model where the workflow is new.
func (s *Store) PastCost(ctx context.Context, f Filter) (PastCost, error) {
	where, args := f.where()
	var out PastCost
	err := s.db.WithContext(ctx).Raw(`SELECT count(*) AS runs, percentile_disc(0.5) WITHIN GROUP (ORDER BY cost_usd) AS p50, percentile_disc(0.95) WITHIN GROUP (ORDER BY cost_usd) AS p95,
		max(cost_usd) AS most FROM events WHERE `+where+" AND state = 'final' AND cost_usd IS NOT NULL", args...).Scan(&out).Error
	return out, err
}
