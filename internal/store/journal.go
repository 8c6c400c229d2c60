package store

import (
	"context"
	"time"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/journal"
	"p402.io/p402/internal/money"
)

// TrialBalance is every account's balance of what happened before a time; it sums to zero.
func (s *Store) TrialBalance(ctx context.Context, tenant id.Tenant, livemode bool, before time.Time) (map[journal.Account]money.USD, error) {
	var rows []struct {
		Account string
		Amount  money.USD
	}
	err := s.db.WithContext(ctx).Raw(`SELECT account, sum(amount_usd) AS amount FROM journal_entries WHERE tenant_id = ? AND coalesce(livemode, false) = ? AND effective_at < ? GROUP BY account`,
		tenant, livemode, before).Scan(&rows).Error
	out := map[journal.Account]money.USD{}
	for _, r := range rows {
		out[journal.Account(r.Account)] = r.Amount
	}
	return out, err
}
