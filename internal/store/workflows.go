package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/internal/id"
	"p402.io/p402/meter"
)

type workflowRow struct {
	TenantID, Slug, WorkflowID, Name, Description, State string
	Target                                               []byte
	Price                                                []byte
	Version                                              *int
	EffectiveFrom                                        *time.Time
}

const workflowQuery = `SELECT w.tenant_id, t.slug, w.workflow_id, w.name, w.description, w.state, w.target, p.price, p.version, p.effective_from
	FROM workflows w JOIN tenants t ON t.id = w.tenant_id
	LEFT JOIN LATERAL (SELECT price, version, effective_from FROM workflow_prices p WHERE p.tenant_id = w.tenant_id AND p.workflow_id = w.workflow_id
		AND p.effective_from <= ? ORDER BY version DESC LIMIT 1) p ON true `

func (s *Store) workflows(ctx context.Context, where string, args ...any) ([]meter.Workflow, error) {
	var rows []workflowRow
	if err := s.db.WithContext(ctx).Raw(workflowQuery+where, append([]any{s.now()}, args...)...).Scan(&rows).Error; err != nil {
		return nil, err
	}
	out := make([]meter.Workflow, 0, len(rows))
	for _, r := range rows {
		w := meter.Workflow{TenantID: id.Tenant(r.TenantID), Seller: r.Slug, WorkflowID: r.WorkflowID, Name: r.Name, Description: r.Description, State: meter.WorkflowState(r.State)}
		if err := json.Unmarshal(r.Target, &w.Target); err != nil {
			return nil, fmt.Errorf("workflow %s: %w", r.WorkflowID, err)
		}
		if r.Version != nil {
			w.Price = &meter.Price{}
			if err := json.Unmarshal(r.Price, w.Price); err != nil {
				return nil, fmt.Errorf("price of workflow %s: %w", r.WorkflowID, err)
			}
			w.Price.Version, w.Price.EffectiveFrom = *r.Version, *r.EffectiveFrom
		}
		out = append(out, w)
	}
	return out, nil
}

func one(list []meter.Workflow, err error) (meter.Workflow, error) {
	if err == nil && len(list) == 0 {
		err = errNotFound
	}
	if err != nil {
		return meter.Workflow{}, err
	}
	return list[0], nil
}

// Workflow reads a tenant's workflow with the price in force.
func (s *Store) Workflow(ctx context.Context, tenant id.Tenant, workflowID string) (meter.Workflow, error) {
	return one(s.workflows(ctx, "WHERE w.tenant_id = ? AND w.workflow_id = ?", tenant, workflowID))
}

// SoldWorkflow reads a workflow by its public address.
func (s *Store) SoldWorkflow(ctx context.Context, seller, workflowID string) (meter.Workflow, error) {
	return one(s.workflows(ctx, "WHERE t.slug = ? AND w.workflow_id = ?", seller, workflowID))
}

// Workflows lists a tenant's workflows by name.
func (s *Store) Workflows(ctx context.Context, tenant id.Tenant) ([]meter.Workflow, error) {
	return s.workflows(ctx, "WHERE w.tenant_id = ? ORDER BY w.workflow_id LIMIT 1000", tenant)
}

// WorkflowPrice reads one version of a workflow's price; versions are never edited.
func (s *Store) WorkflowPrice(ctx context.Context, tenant id.Tenant, workflowID string, version int) (meter.Price, error) {
	var p meter.Price
	var row struct {
		Price         []byte
		EffectiveFrom time.Time
	}
	res := s.db.WithContext(ctx).Raw("SELECT price, effective_from FROM workflow_prices WHERE tenant_id = ? AND workflow_id = ? AND version = ?", tenant, workflowID, version).Scan(&row)
	if res.Error != nil || res.RowsAffected == 0 {
		return p, cmp.Or(res.Error, error(errNotFound))
	}
	if err := json.Unmarshal(row.Price, &p); err != nil {
		return p, fmt.Errorf("price %d of workflow %s: %w", version, workflowID, err)
	}
	p.Version, p.EffectiveFrom = version, row.EffectiveFrom
	return p, nil
}

// PutWorkflow stores a workflow; a price that differs from the one in force becomes a new version. Earlier versions stay.
func (s *Store) PutWorkflow(ctx context.Context, w meter.Workflow) (meter.Workflow, error) {
	target, err := json.Marshal(w.Target)
	if err != nil {
		return w, err
	}
	now := s.now()
	defer s.known.forget()
	err = s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec(`INSERT INTO workflows (tenant_id, workflow_id, name, description, target, state, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (tenant_id, workflow_id) DO UPDATE SET name = EXCLUDED.name, description = EXCLUDED.description, target = EXCLUDED.target,
				state = EXCLUDED.state, updated_at = EXCLUDED.updated_at`,
			w.TenantID, w.WorkflowID, w.Name, w.Description, string(target), w.State, now).Error; err != nil || w.Price == nil {
			return err
		}
		price := *w.Price
		price.Version, price.EffectiveFrom = 0, time.Time{}
		doc, err := json.Marshal(price)
		if err != nil {
			return err
		}
		var last struct {
			Version int
			Same    bool
		}
		if err := tx.Raw("SELECT version, price = ?::jsonb AS same FROM workflow_prices WHERE tenant_id = ? AND workflow_id = ? ORDER BY version DESC LIMIT 1 FOR UPDATE",
			string(doc), w.TenantID, w.WorkflowID).Scan(&last).Error; err != nil || last.Same {
			return err
		}
		return tx.Exec("INSERT INTO workflow_prices (tenant_id, workflow_id, version, price, effective_from) VALUES (?, ?, ?, ?, ?)",
			w.TenantID, w.WorkflowID, last.Version+1, string(doc), now).Error
	})
	if err != nil {
		return w, err
	}
	return s.Workflow(ctx, w.TenantID, w.WorkflowID)
}
