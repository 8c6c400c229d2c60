package store

import (
	"context"
	"sync"
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/meter"
)

const (
	// knownFor bounds how long another node's change of a policy or workflow goes unseen; a change made here is seen at once.
	knownFor = time.Second
	maxKnown = 10_000 // entries; then all are forgotten
)

// known remembers policies and workflows for a moment, as every call reads them and they seldom change. Budgets are not
// among them: what is spent has to be read.
type known struct {
	mu        sync.Mutex
	changes   int // what was read before a change is not remembered after it
	policies  map[id.Tenant]policiesKnown
	workflows map[workflowName]workflowKnown
}

type workflowName struct {
	tenant id.Tenant
	name   string
}

type policiesKnown struct {
	list []meter.Policy
	at   time.Time
}

type workflowKnown struct {
	workflow *meter.Workflow // nil: there is none
	at       time.Time
}

// forget drops what is known of everything: after a change.
func (k *known) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.changes++
	k.policies, k.workflows = map[id.Tenant]policiesKnown{}, map[workflowName]workflowKnown{}
}

func (k *known) policiesOf(ctx context.Context, s *Store, tenant id.Tenant) ([]meter.Policy, error) {
	now := s.now()
	k.mu.Lock()
	p, ok := k.policies[tenant]
	changes := k.changes
	k.mu.Unlock()
	if ok && now.Sub(p.at) < knownFor {
		return p.list, nil
	}
	list, err := s.Policies(ctx, tenant)
	if err == nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(k.policies) >= maxKnown {
			clear(k.policies)
		}
		if changes == k.changes {
			k.policies[tenant] = policiesKnown{list, now}
		}
	}
	return list, err
}

// workflowOf is a tenant's workflow of a name, nil if there is none.
func (k *known) workflowOf(ctx context.Context, s *Store, tenant id.Tenant, name string) (*meter.Workflow, error) {
	key, now := workflowName{tenant, name}, s.now()
	k.mu.Lock()
	w, ok := k.workflows[key]
	changes := k.changes
	k.mu.Unlock()
	if ok && now.Sub(w.at) < knownFor {
		return w.workflow, nil
	}
	found, err := s.Workflow(ctx, tenant, name)
	switch {
	case err == nil:
		w.workflow = &found
	case fault.KindOf(err) == fault.KindNotFound:
		w.workflow = nil
	default:
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.workflows) >= maxKnown {
		clear(k.workflows)
	}
	if changes == k.changes {
		k.workflows[key] = workflowKnown{w.workflow, now}
	}
	return w.workflow, nil
}
