package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/reconcile"
)

var _ reconcile.Source = (*Store)(nil)

// partnerMargin is how far outside a run's time partners are read: a payment and its event, delivery and transfer lie within
// minutes, and a day is far beyond every authorization's window.
const partnerMargin = 24 * time.Hour

// Books reads one tenant's payments, sold events and transfers of a time, with their partners outside it, in one snapshot.
func (s *Store) Books(ctx context.Context, q reconcile.Scope, asOf time.Time) (reconcile.Books, []reconcile.WalletView, error) {
	b := reconcile.Books{AsOf: asOf, Grace: reconcile.DefaultGrace, Covered: map[reconcile.WalletKey]reconcile.Coverage{}}
	views := []reconcile.WalletView{}
	err := s.snapshot(ctx, func(tx *gorm.DB) error {
		wallets, err := tenantWallets(tx, q)
		if err != nil {
			return err
		}
		if views, err = coverage(tx, wallets, b.Covered, asOf); err != nil {
			return err
		}
		if b.Payments, err = collected(tx, q); err != nil {
			return err
		}
		if b.Events, err = billed(tx, q); err != nil {
			return err
		}
		b.Transfers, err = placed(tx, q, wallets)
		return err
	})
	return b, views, err
}

// snapshot runs reads that must agree with one another.
func (s *Store) snapshot(ctx context.Context, read func(tx *gorm.DB) error) error {
	return s.db.WithContext(ctx).Transaction(read, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
}

// namedWallet is a wallet that a tenant's prices or payments name.
type namedWallet struct {
	Network, Asset, Address string
	Followed                bool
}

func tenantWallets(tx *gorm.DB, q reconcile.Scope) ([]namedWallet, error) {
	var all []namedWallet
	err := tx.Raw(`WITH named AS (SELECT DISTINCT network, asset, pay_to AS address FROM payments WHERE tenant_id = ?
			UNION SELECT price ->> 'Network', price ->> 'Asset', price ->> 'PayTo' FROM workflow_prices WHERE tenant_id = ? AND price ->> 'PayTo' <> '')
		SELECT n.network, n.asset, n.address, w.address IS NOT NULL AS followed FROM named n
		LEFT JOIN chain_wallets w ON w.network = n.network AND w.asset = n.asset AND w.address = n.address ORDER BY 1, 2, 3`, q.TenantID, q.TenantID).Scan(&all).Error
	var out []namedWallet
	for _, w := range all {
		if isLive(w.Network) == q.Livemode {
			out = append(out, w)
		}
	}
	return out, err
}

// isLive reports whether money on a network is real. A network that is not in our list is taken for real.
func isLive(network string) bool {
	n, known := settlement.FindNetwork(network)
	return !known || !n.Testnet
}

// coverage says what of each wallet was read; a wallet that nobody follows is blind.
func coverage(tx *gorm.DB, wallets []namedWallet, covered map[reconcile.WalletKey]reconcile.Coverage, now time.Time) ([]reconcile.WalletView, error) {
	var followed []reconcile.Wallet
	if err := tx.Raw("SELECT " + walletColumns + " FROM chain_wallets").Scan(&followed).Error; err != nil {
		return nil, err
	}
	var rows []reconcile.Sight
	if err := tx.Raw("SELECT network, head_number, head_time, seen_at, problem, problem_at FROM chain_sights").Scan(&rows).Error; err != nil {
		return nil, err
	}
	sights, byKey := map[string]reconcile.Sight{}, map[reconcile.WalletKey]reconcile.Wallet{}
	for _, r := range rows {
		sights[r.Network] = r
	}
	for _, w := range followed {
		byKey[reconcile.Key(w.Network, w.Asset, w.Address)] = w
	}
	views := []reconcile.WalletView{}
	for _, n := range wallets {
		k := reconcile.Key(n.Network, n.Asset, n.Address)
		w, ok := byKey[k]
		sight := sights[n.Network]
		v := reconcile.WalletView{Network: n.Network, Asset: n.Asset, Wallet: n.Address, View: reconcile.ViewBlind, HeadBlock: sight.HeadNumber, Problem: sight.Problem}
		if ok {
			v.View, v.NextBlock, v.VerifiedBlock, v.GapFrom = w.View(sight, now), w.NextBlock, w.VerifiedBlock, w.GapFrom
			c := reconcile.Coverage{From: w.StartBlock, Next: w.NextBlock, Trusted: w.GapFrom == nil}
			if w.CoveredUntil != nil {
				c.Until = *w.CoveredUntil
			}
			covered[k] = c
		} else if v.Problem == "" {
			v.Problem = "nobody follows this wallet"
		}
		views = append(views, v)
	}
	return views, nil
}

// ChainViews is how far the index of each of a tenant's wallets can be trusted now.
func (s *Store) ChainViews(ctx context.Context, q reconcile.Scope) ([]reconcile.WalletView, error) {
	var out []reconcile.WalletView
	err := s.snapshot(ctx, func(tx *gorm.DB) error {
		wallets, err := tenantWallets(tx, q)
		if err != nil {
			return err
		}
		out, err = coverage(tx, wallets, map[reconcile.WalletKey]reconcile.Coverage{}, s.now())
		return err
	})
	return out, err
}

func collected(tx *gorm.DB, q reconcile.Scope) ([]reconcile.Collected, error) {
	var rows []collectedRow
	err := tx.Raw(`SELECT p.id AS payment_id, coalesce(p.event_id, '') AS event_id, p.network, p.asset, p.payer, p.nonce, p.pay_to, p.amount_atomic AS amount, p.state, p.reason,
			p.claimed_at, p.moved_at, coalesce(p.evidence ->> 'TxHash', '') AS tx_hash, coalesce((p.evidence ->> 'LogIndex')::bigint, 0) AS log_index,
			coalesce((p.evidence ->> 'BlockNumber')::bigint, 0) AS block_number, p.delivered_at IS NOT NULL AS delivered, coalesce(f.state, '') AS refund_state,
			p.source = 'call' AS from_seller, p.claimed_at >= ? AND p.claimed_at < ? AS in_window, e.id IS NOT NULL AS event_present,
			r.id AS receipt_id, r.doc ->> 'amount_atomic' AS receipt_amount, r.doc ->> 'payer' AS receipt_payer, r.doc ->> 'transaction' AS receipt_tx,
			(r.doc ->> 'log_index')::bigint AS receipt_log
		FROM payments p LEFT JOIN events e ON e.id = p.event_id LEFT JOIN refunds f ON f.payment_id = p.id
		LEFT JOIN LATERAL (SELECT id, doc::jsonb AS doc FROM receipts r WHERE r.payment_id = p.id ORDER BY id DESC LIMIT 1) r ON true
		WHERE p.tenant_id = ? AND (p.claimed_at >= ? AND p.claimed_at < ? OR EXISTS (SELECT 1 FROM chain_transfers t WHERE t.gone_at IS NULL AND t.network = p.network
			AND t.nonce = p.nonce AND t.block_time >= ? AND t.block_time < ?))`,
		q.Since, q.Until, q.TenantID, q.Since.Add(-partnerMargin), q.Until.Add(partnerMargin), q.Since, q.Until).Scan(&rows).Error
	out := make([]reconcile.Collected, 0, len(rows))
	for _, r := range rows {
		if isLive(r.Network) != q.Livemode {
			continue
		}
		out = append(out, r.collected())
	}
	return out, err
}

// collectedRow is a payment with its receipt and refund, flat.
type collectedRow struct {
	PaymentID, EventID, Network, Asset, Payer, Nonce, PayTo, State, Reason, TxHash, RefundState string
	Amount                                                                                      money.USDC
	ClaimedAt, MovedAt                                                                          time.Time
	LogIndex                                                                                    uint
	BlockNumber                                                                                 uint64
	Delivered, FromSeller, InWindow, EventPresent                                               bool
	ReceiptID, ReceiptAmount, ReceiptPayer, ReceiptTx                                           *string
	ReceiptLog                                                                                  *uint
}

func (r collectedRow) collected() reconcile.Collected {
	c := reconcile.Collected{PaymentID: r.PaymentID, EventID: r.EventID, Network: r.Network, Asset: r.Asset, Payer: r.Payer, Nonce: r.Nonce, PayTo: r.PayTo, Amount: r.Amount,
		State: r.State, Reason: r.Reason, ClaimedAt: r.ClaimedAt, MovedAt: r.MovedAt, TxHash: r.TxHash, LogIndex: r.LogIndex, BlockNumber: r.BlockNumber,
		Delivered: r.Delivered, RefundState: r.RefundState, FromSeller: r.FromSeller, InWindow: r.InWindow, EventPresent: r.EventPresent}
	if r.ReceiptID != nil {
		c.Receipt = &reconcile.ReceiptFacts{ReceiptID: *r.ReceiptID, Amount: text(r.ReceiptAmount), Payer: text(r.ReceiptPayer), TxHash: text(r.ReceiptTx)}
		if r.ReceiptLog != nil {
			c.Receipt.LogIndex = *r.ReceiptLog
		}
	}
	return c
}

func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

func billed(tx *gorm.DB, q reconcile.Scope) ([]reconcile.Billed, error) {
	var out []reconcile.Billed
	err := tx.Raw(`SELECT id AS event_id, event_time AS occurred_at, state, revenue_usd AS revenue, receipt_status, coalesce(delivered = 'whole', false) AS delivered,
			event_time >= ? AND event_time < ? AS in_window
		FROM events WHERE tenant_id = ? AND livemode = ? AND source = 'sold' AND event_time >= ? AND event_time < ?`,
		q.Since, q.Until, q.TenantID, q.Livemode, q.Since.Add(-partnerMargin), q.Until.Add(partnerMargin)).Scan(&out).Error
	return out, err
}

// placedRow is a transfer with its place in the run, flat.
type placedRow struct {
	Network, Asset, From, To, Nonce, TxHash, BlockHash string
	Amount                                             money.USDC
	LogIndex                                           uint
	BlockNumber                                        uint64
	BlockTime                                          time.Time
	InWindow                                           bool
}

func (r placedRow) placed() reconcile.Placed {
	return reconcile.Placed{InWindow: r.InWindow, Transfer: reconcile.Transfer{Network: r.Network, Asset: r.Asset, From: r.From, To: r.To, Nonce: r.Nonce, TxHash: r.TxHash,
		BlockHash: r.BlockHash, Amount: r.Amount, LogIndex: r.LogIndex, BlockNumber: r.BlockNumber, BlockTime: r.BlockTime}}
}

// placed reads transfers of the tenant's wallets in the window, and those that the window's payments' authorizations made,
// to whichever followed wallet.
func placed(tx *gorm.DB, q reconcile.Scope, wallets []namedWallet) ([]reconcile.Placed, error) {
	out := []reconcile.Placed{}
	seen := map[string]bool{}
	add := func(query string, args ...any) error {
		var rows []placedRow
		if err := tx.Raw(query, args...).Scan(&rows).Error; err != nil {
			return err
		}
		for _, r := range rows {
			k := fmt.Sprint(r.Network, " ", r.TxHash, " ", r.LogIndex)
			if !seen[k] {
				seen[k] = true
				out = append(out, r.placed())
			}
		}
		return nil
	}
	for _, w := range wallets {
		if err := add("SELECT "+transferColumns+`, true AS in_window FROM chain_transfers WHERE network = ? AND asset = ? AND (recipient = ? OR sender = ?)
			AND block_time >= ? AND block_time < ? AND gone_at IS NULL`, w.Network, w.Asset, w.Address, w.Address, q.Since, q.Until); err != nil {
			return nil, err
		}
	}
	err := add("SELECT "+prefixed("t", transferColumns)+`, false AS in_window FROM payments p JOIN chain_transfers t ON t.network = p.network AND t.nonce = p.nonce
		AND t.asset = p.asset AND lower(t.sender) = lower(p.payer) AND t.gone_at IS NULL
		WHERE p.tenant_id = ? AND p.claimed_at >= ? AND p.claimed_at < ?`, q.TenantID, q.Since.Add(-partnerMargin), q.Until.Add(partnerMargin))
	return out, err
}

// prefixed names the transfer columns of one table in a join.
func prefixed(table, columns string) string {
	r := strings.NewReplacer("network,", table+".network,", " asset,", " "+table+".asset,", "sender AS", table+".sender AS", "recipient AS", table+".recipient AS",
		"amount_atomic AS", table+".amount_atomic AS", "(nonce,", "("+table+".nonce,", "tx_hash,", table+".tx_hash,", "log_index,", table+".log_index,")
	return r.Replace(columns)
}

// unowned is when none of the dimensions is set that give a cost its owner.
const unowned = "workflow_id IS NULL AND customer_id IS NULL AND feature_id IS NULL AND department IS NULL AND employee IS NULL AND project_id IS NULL"

// Costs reads what the ledger and the imported files say about vendors. Days are the vendors': UTC.
func (s *Store) Costs(ctx context.Context, q reconcile.Scope) (reconcile.Costs, error) {
	c := reconcile.Costs{Covered: map[string]bool{}}
	err := s.snapshot(ctx, func(tx *gorm.DB) error {
		in := []any{q.TenantID, q.Livemode, q.Since, q.Until}
		if err := tx.Raw(`SELECT coalesce(provider, '') AS provider, coalesce(model_used, model_requested) AS model, to_char(event_time AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day,
				count(*) AS events, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens, coalesce(sum(cost_usd), 0) AS cost_usd,
				count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced
			FROM events WHERE tenant_id = ? AND livemode = ? AND event_time >= ? AND event_time < ? AND state <> 'intent' AND provider IS NOT NULL GROUP BY 1, 2, 3`, in...).Scan(&c.Metered).Error; err != nil {
			return err
		}
		days := []any{q.TenantID, q.Livemode, q.Since.UTC().Format(time.DateOnly), q.Until.UTC().Add(-time.Microsecond).Format(time.DateOnly)}
		if err := tx.Raw(`SELECT provider, model, to_char(day, 'YYYY-MM-DD') AS day, requests, input_tokens, output_tokens, cost_usd, external_id, digest, again
			FROM recon_lines WHERE tenant_id = ? AND livemode = ? AND day >= ?::date AND day <= ?::date AND replaced_by IS NULL ORDER BY id`, days...).Scan(&c.Lines).Error; err != nil {
			return err
		}
		var covered []string
		if err := tx.Raw(`SELECT DISTINCT provider || ' ' || to_char(d, 'YYYY-MM-DD') FROM recon_imports i, generate_series(i.first_day, i.last_day, interval '1 day') d
			WHERE tenant_id = ? AND livemode = ? AND d >= ?::date AND d <= ?::date`, days...).Scan(&covered).Error; err != nil {
			return err
		}
		for _, k := range covered {
			c.Covered[k] = true
		}
		if err := tx.Raw(`SELECT id AS event_id, first_id, provider, model, coalesce(cost_usd, 0) AS cost_usd, event_time AS at FROM (
				SELECT id, provider, coalesce(model_used, model_requested) AS model, cost_usd, event_time, first_value(id) OVER w AS first_id, row_number() OVER w AS n
				FROM events WHERE tenant_id = ? AND livemode = ? AND event_time >= ? AND event_time < ? AND upstream_id IS NOT NULL AND state <> 'intent'
				WINDOW w AS (PARTITION BY provider, upstream_id ORDER BY event_time, id)) x WHERE n > 1`, in...).Scan(&c.Twice).Error; err != nil {
			return err
		}
		if err := tx.Raw(`SELECT coalesce(provider, '') AS provider, to_char(event_time AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, count(*) AS events, sum(cost_usd) AS cost_usd
			FROM events WHERE tenant_id = ? AND livemode = ? AND event_time >= ? AND event_time < ? AND cost_usd > 0 AND `+unowned+` GROUP BY 1, 2`, in...).Scan(&c.Unattributed).Error; err != nil {
			return err
		}
		return tx.Raw(`SELECT e.id AS event_id, p.id AS period_id, coalesce(e.cost_usd, 0) AS cost_usd, e.finalized_at AS at FROM events e
			JOIN periods p ON p.tenant_id = e.tenant_id AND p.livemode = e.livemode AND p.state = 'closed' AND e.event_time >= p.starts_at AND e.event_time < p.ends_at AND e.finalized_at >= p.recorded_to
			WHERE e.tenant_id = ? AND e.livemode = ? AND e.finalized_at >= ? AND e.finalized_at < ?`, in...).Scan(&c.Late).Error
	})
	return c, err
}

// SaveRun stores a run with its findings.
func (s *Store) SaveRun(ctx context.Context, r reconcile.Run, findings []reconcile.Finding, clears []reconcile.Side) (reconcile.Run, error) {
	err := s.tx(ctx, func(tx *gorm.DB) error {
		r.New, r.Cleared = 0, 0
		rows := make([][]any, 0, len(findings))
		for _, f := range findings {
			row, err := s.exceptionValues(r, f)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		if err := insertMany(tx, `recon_exceptions (id, tenant_id, livemode, key, kind, reason, side, owner, group_name, subject, amount_usd, expected_usd, found_usd, tokens, detail,
			suggested, occurred_at, first_run, last_run, first_seen_at, last_seen_at, state)`, rows, `ON CONFLICT (tenant_id, livemode, key) DO UPDATE SET amount_usd = EXCLUDED.amount_usd,
			expected_usd = EXCLUDED.expected_usd, found_usd = EXCLUDED.found_usd, tokens = EXCLUDED.tokens, detail = EXCLUDED.detail, suggested = EXCLUDED.suggested,
			last_run = EXCLUDED.last_run, last_seen_at = EXCLUDED.last_seen_at, cleared_at = NULL`); err != nil {
			return err
		}
		if err := tx.Raw("SELECT count(*) FROM recon_exceptions WHERE tenant_id = ? AND livemode = ? AND first_run = ?", r.TenantID, r.Livemode, r.ID).Scan(&r.New).Error; err != nil {
			return err
		}
		if len(clears) > 0 {
			res := tx.Exec(`UPDATE recon_exceptions SET cleared_at = ? WHERE tenant_id = ? AND livemode = ? AND side IN ? AND occurred_at >= ? AND occurred_at < ?
				AND last_run <> ? AND cleared_at IS NULL`, r.StartedAt, r.TenantID, r.Livemode, clears, r.Since, r.Until, r.ID)
			if res.Error != nil {
				return res.Error
			}
			r.Cleared = int(res.RowsAffected)
		}
		doc, err := json.Marshal(r)
		if err != nil {
			return err
		}
		return tx.Exec("INSERT INTO recon_runs (id, tenant_id, livemode, since, until, started_at, doc) VALUES (?, ?, ?, ?, ?, ?, ?)",
			r.ID, r.TenantID, r.Livemode, r.Since, r.Until, r.StartedAt, string(doc)).Error
	})
	return r, err
}

func (s *Store) exceptionValues(r reconcile.Run, f reconcile.Finding) ([]any, error) {
	rule, ok := reconcile.RuleOf(f.Reason)
	if !ok {
		return nil, fmt.Errorf("finding with unknown reason %q", f.Reason)
	}
	subject, err := json.Marshal(f.Subject)
	if err != nil {
		return nil, err
	}
	suggested, err := json.Marshal(append([]string{}, f.Suggested...))
	if err != nil {
		return nil, err
	}
	return []any{s.ids.Exception(), r.TenantID, r.Livemode, f.Key(), rule.Kind, f.Reason, rule.Side, rule.Owner, f.Group(), string(subject), f.Amount, nullUSD(f.Expected), nullUSD(f.Found),
		f.Tokens, f.Detail, string(suggested), f.OccurredAt, r.ID, r.ID, r.StartedAt, r.StartedAt, "open"}, nil
}

// nullUSD stores an unknown amount as null.
func nullUSD(u *money.USD) any {
	if u == nil {
		return nil
	}
	return *u
}
