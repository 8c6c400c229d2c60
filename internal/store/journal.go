package store

import (
	"context"
	"database/sql"
	"time"

	"gorm.io/gorm"

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
	err := s.db.WithContext(ctx).Raw(`SELECT account, sum(amount_usd) AS amount FROM journal_entries WHERE tenant_id = ? AND livemode IS NOT DISTINCT FROM ? AND effective_at < ? GROUP BY account`,
		tenant, livemode, before).Scan(&rows).Error
	out := map[journal.Account]money.USD{}
	for _, r := range rows {
		out[journal.Account(r.Account)] = r.Amount
	}
	return out, err
}

// SubLedger sets the journal against the facts it was posted from, up to a time: events' costs and receipts' amounts. The
// books are right when both differences are zero, to the last digit.
type SubLedger struct {
	CostEvents     money.USD `json:"cost_events"`     // sum of closed events' costs
	CostJournal    money.USD `json:"cost_journal"`    // what calls posted to cost:provider
	RevenueSettled money.USD `json:"revenue_settled"` // sum of receipts' payments
	RevenueJournal money.USD `json:"revenue_journal"` // what sales posted to income:workflow
	Unbalanced     int64     `json:"unbalanced"`      // postings that do not sum to zero; the database refuses them
}

// Equal reports whether journal and facts agree.
func (l SubLedger) Equal() bool {
	return l.Unbalanced == 0 && l.CostEvents.Cmp(l.CostJournal) == 0 && l.RevenueSettled.Cmp(l.RevenueJournal) == 0
}

// SubLedger reads both sides in one snapshot: facts of a span that were recorded before a moment.
func (s *Store) SubLedger(ctx context.Context, tenant id.Tenant, livemode bool, since, until, recordedTo time.Time) (SubLedger, error) {
	var l SubLedger
	err := s.snapshot(ctx, func(tx *gorm.DB) error {
		var err error
		l, err = subLedger(tx, tenant, livemode, since, until, recordedTo)
		return err
	})
	return l, err
}

func subLedger(tx *gorm.DB, tenant id.Tenant, livemode bool, since, until, recordedTo time.Time) (l SubLedger, err error) {
	err = tx.Raw(`SELECT
			(SELECT coalesce(sum(cost_usd), 0) FROM events WHERE tenant_id = @tenant AND livemode = @live AND event_time >= @since AND event_time < @until AND finalized_at < @to) AS cost_events,
			(SELECT coalesce(sum(amount_usd), 0) FROM journal_entries WHERE tenant_id = @tenant AND livemode = @live AND account = 'cost:provider' AND ref = 'call'
				AND effective_at >= @since AND effective_at < @until AND posted_at < @to) AS cost_journal,
			(SELECT coalesce(sum(p.amount_atomic), 0) / 1000000 FROM receipts r JOIN payments p ON p.id = r.payment_id
				WHERE r.tenant_id = @tenant AND (p.network NOT IN ('eip155:84532', 'eip155:43113')) = @live AND r.issued_at >= @since AND r.issued_at < @until AND r.issued_at < @to) AS revenue_settled,
			(SELECT coalesce(-sum(amount_usd), 0) FROM journal_entries WHERE tenant_id = @tenant AND livemode = @live AND account = 'income:workflow' AND ref = 'sale'
				AND effective_at >= @since AND effective_at < @until AND posted_at < @to) AS revenue_journal,
			(SELECT count(*) FROM (SELECT posting FROM journal_entries WHERE tenant_id = @tenant AND effective_at >= @since AND effective_at < @until
				GROUP BY posting HAVING sum(amount_usd) <> 0) x) AS unbalanced`,
		sql.Named("tenant", tenant), sql.Named("live", livemode), sql.Named("since", since), sql.Named("until", until), sql.Named("to", recordedTo)).Scan(&l).Error
	return l, err
}

// DailyBalances sums all lines of each day in a zone; every sum is zero, or the journal is broken.
func (s *Store) DailyBalances(ctx context.Context, tenant id.Tenant, livemode bool, zone *time.Location) (map[string]money.USD, error) {
	var rows []struct {
		Day    string
		Amount money.USD
	}
	err := s.db.WithContext(ctx).Raw(`SELECT to_char(effective_at AT TIME ZONE ?, 'YYYY-MM-DD') AS day, sum(amount_usd) AS amount FROM journal_entries
		WHERE tenant_id = ? AND livemode IS NOT DISTINCT FROM ? GROUP BY 1`, zone.String(), tenant, livemode).Scan(&rows).Error
	out := map[string]money.USD{}
	for _, r := range rows {
		out[r.Day] = r.Amount
	}
	return out, err
}

// JournalLine is one line with what it is about.
type JournalLine struct {
	Posting, Account, Ref, EventID, PaymentID, Provider, WorkflowID, Payer string
	FX                                                                     string `gorm:"column:fx"`
	AmountUSD                                                              money.USD
	EffectiveAt, PostedAt                                                  time.Time
}

// JournalLines lists the last thousand lines, oldest first; exports stream all of them.
func (s *Store) JournalLines(ctx context.Context, tenant id.Tenant, livemode bool) ([]JournalLine, error) {
	var out []JournalLine
	err := s.db.WithContext(ctx).Raw(`SELECT * FROM (SELECT id, posting, account, ref, coalesce(event_id, '') AS event_id, coalesce(payment_id, '') AS payment_id, coalesce(provider, '') AS provider,
			coalesce(workflow_id, '') AS workflow_id, coalesce(payer, '') AS payer, fx, amount_usd, effective_at, posted_at
		FROM journal_entries WHERE tenant_id = ? AND livemode IS NOT DISTINCT FROM ? ORDER BY effective_at DESC, id DESC LIMIT 1000) x ORDER BY effective_at, id`, tenant, livemode).Scan(&out).Error
	return out, err
}
