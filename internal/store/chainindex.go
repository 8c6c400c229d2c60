package store

import (
	"context"
	"strings"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/internal/money"
	"p402.io/p402/settlement/reconcile"
)

var _ reconcile.Index = (*Store)(nil)

const walletColumns = "network, asset, address, start_block, next_block, covered_until, opening_atomic AS opening, verified_block, gap_from"

// Wallets lists what is followed on a network; "" is every network.
func (s *Store) Wallets(ctx context.Context, network string) ([]reconcile.Wallet, error) {
	var out []reconcile.Wallet
	err := s.db.WithContext(ctx).Raw("SELECT "+walletColumns+" FROM chain_wallets WHERE ? = '' OR network = ? ORDER BY network, asset, address", network, network).Scan(&out).Error
	return out, err
}

// Unfollowed lists wallets that prices and payments name and nobody follows yet.
func (s *Store) Unfollowed(ctx context.Context, network string) ([]reconcile.Wallet, error) {
	var out []reconcile.Wallet
	err := s.db.WithContext(ctx).Raw(`WITH named AS (
			SELECT asset, pay_to AS address, min(nullif(evidence ->> 'BlockNumber', '0')::bigint) AS start_block FROM payments WHERE network = ? GROUP BY 1, 2
			UNION ALL SELECT price ->> 'asset', price ->> 'payTo', NULL FROM workflow_prices WHERE price ->> 'network' = ?
			UNION ALL SELECT price ->> 'Asset', price ->> 'PayTo', NULL FROM workflow_prices WHERE price ->> 'Network' = ?)
		SELECT ? AS network, asset, address, coalesce(min(start_block), 0) AS start_block FROM named n
		WHERE asset <> '' AND address <> '' AND NOT EXISTS (SELECT 1 FROM chain_wallets w WHERE w.network = ? AND w.asset = n.asset AND w.address = n.address)
		GROUP BY asset, address ORDER BY asset, address`, network, network, network, network, network).Scan(&out).Error
	return out, err
}

// Follow adds a wallet; one that is followed already stays as it is.
func (s *Store) Follow(ctx context.Context, w reconcile.Wallet) error {
	return s.db.WithContext(ctx).Exec(`INSERT INTO chain_wallets (network, asset, address, start_block, next_block, opening_atomic)
		VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, w.Network, w.Asset, w.Address, w.StartBlock, w.NextBlock, w.Opening).Error
}

// Checkpoints lists block hashes that were seen, newest first.
func (s *Store) Checkpoints(ctx context.Context, network string, limit int) ([]reconcile.Block, error) {
	var out []reconcile.Block
	err := s.db.WithContext(ctx).Raw("SELECT number, hash, time FROM chain_blocks WHERE network = ? ORDER BY number DESC LIMIT ?", network, limit).Scan(&out).Error
	return out, err
}

// keptBlocks is how deep stored hashes reach below the newest: far beyond any network's finality.
const keptBlocks = 50_000

// Advance stores a range's transfers and moves the cursors of its addresses, all or nothing.
func (s *Store) Advance(ctx context.Context, r reconcile.Range, transfers []reconcile.Transfer, last reconcile.Block) error {
	return s.tx(ctx, func(tx *gorm.DB) error {
		res := tx.Exec(`UPDATE chain_wallets SET next_block = ?, covered_until = ? WHERE network = ? AND asset = ? AND address IN ? AND next_block = ?`,
			r.To+1, last.Time, r.Network, r.Asset, r.Addresses, r.From)
		if res.Error != nil {
			return res.Error
		}
		if res.RowsAffected != int64(len(r.Addresses)) {
			return reconcile.ErrCursorMoved
		}
		rows := make([][]any, 0, len(transfers))
		for _, t := range transfers {
			rows = append(rows, []any{t.Network, t.Asset, t.From, t.To, t.Amount, optional(t.Nonce), t.TxHash, t.LogIndex, t.BlockNumber, t.BlockHash, t.BlockTime})
		}
		if err := insertMany(tx, "chain_transfers (network, asset, sender, recipient, amount_atomic, nonce, tx_hash, log_index, block_number, block_hash, block_time)",
			rows, "ON CONFLICT (network, tx_hash, log_index) WHERE gone_at IS NULL DO UPDATE SET nonce = coalesce(EXCLUDED.nonce, chain_transfers.nonce)"); err != nil {
			return err
		}
		if err := tx.Exec("INSERT INTO chain_blocks (network, number, hash, time) VALUES (?, ?, ?, ?) ON CONFLICT (network, number) DO UPDATE SET hash = EXCLUDED.hash, time = EXCLUDED.time",
			r.Network, last.Number, last.Hash, last.Time).Error; err != nil {
			return err
		}
		return tx.Exec("DELETE FROM chain_blocks WHERE network = ? AND number < ?", r.Network, int64(last.Number)-keptBlocks).Error
	})
}

// insertBatch is how many rows one INSERT carries; PostgreSQL allows 65,535 arguments.
const insertBatch = 1000

// insertMany inserts rows of one shape; into is the table with its columns, tail what follows the values.
func insertMany(tx *gorm.DB, into string, rows [][]any, tail string) error {
	for start := 0; start < len(rows); start += insertBatch {
		batch := rows[start:min(start+insertBatch, len(rows))]
		mark := "(" + strings.TrimSuffix(strings.Repeat("?, ", len(batch[0])), ", ") + ")"
		marks := strings.TrimSuffix(strings.Repeat(mark+", ", len(batch)), ", ")
		args := make([]any, 0, len(batch)*len(batch[0]))
		for _, row := range batch {
			args = append(args, row...)
		}
		if err := tx.Exec("INSERT INTO "+into+" VALUES "+marks+" "+tail, args...).Error; err != nil {
			return err
		}
	}
	return nil
}

// Unwind marks every transfer above a block as gone and takes cursors back behind it.
func (s *Store) Unwind(ctx context.Context, network string, above uint64, at time.Time) (gone int, err error) {
	err = s.tx(ctx, func(tx *gorm.DB) error {
		res := tx.Exec("UPDATE chain_transfers SET gone_at = ? WHERE network = ? AND block_number > ? AND gone_at IS NULL", at, network, above)
		if res.Error != nil {
			return res.Error
		}
		gone = int(res.RowsAffected)
		if err := tx.Exec("DELETE FROM chain_blocks WHERE network = ? AND number > ?", network, above).Error; err != nil {
			return err
		}
		return tx.Exec(`UPDATE chain_wallets SET next_block = greatest(start_block, least(next_block, ?::bigint + 1)),
				verified_block = CASE WHEN verified_block > ? THEN nullif(greatest(?::bigint, start_block - 1), start_block - 1) ELSE verified_block END,
				gap_from = CASE WHEN gap_from > ? THEN NULL ELSE gap_from END
			WHERE network = ? AND next_block > ?`, above, above, above, above, network, above).Error
	})
	return gone, err
}

// Sums adds up what went into and out of a wallet up to a block.
func (s *Store) Sums(ctx context.Context, w reconcile.Wallet, upTo uint64) (in, out money.USDC, err error) {
	err = s.db.WithContext(ctx).Raw(`SELECT
			(SELECT coalesce(sum(amount_atomic), 0)::text FROM chain_transfers WHERE network = ? AND asset = ? AND recipient = ? AND block_number BETWEEN ? AND ? AND gone_at IS NULL),
			(SELECT coalesce(sum(amount_atomic), 0)::text FROM chain_transfers WHERE network = ? AND asset = ? AND sender = ? AND block_number BETWEEN ? AND ? AND gone_at IS NULL)`,
		w.Network, w.Asset, w.Address, w.StartBlock, upTo, w.Network, w.Asset, w.Address, w.StartBlock, upTo).Row().Scan(&in, &out)
	return in, out, err
}

// Verified notes that the balance was right at a block.
func (s *Store) Verified(ctx context.Context, w reconcile.Wallet, block uint64) error {
	return s.db.WithContext(ctx).Exec("UPDATE chain_wallets SET verified_block = ?, gap_from = NULL WHERE network = ? AND asset = ? AND address = ?", block, w.Network, w.Asset, w.Address).Error
}

// Gap notes that something is missing from a block on, and takes the cursor back to it.
func (s *Store) Gap(ctx context.Context, w reconcile.Wallet, from uint64) error {
	return s.db.WithContext(ctx).Exec("UPDATE chain_wallets SET gap_from = ?, next_block = ? WHERE network = ? AND asset = ? AND address = ?", from, from, w.Network, w.Asset, w.Address).Error
}

// See notes what was learnt of a network's node: an answer ends the problem, a problem keeps the last answer.
func (s *Store) See(ctx context.Context, v reconcile.Sight) error {
	return s.db.WithContext(ctx).Exec(`INSERT INTO chain_sights (network, head_number, head_time, seen_at, problem, problem_at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (network) DO UPDATE SET head_number = CASE WHEN EXCLUDED.problem = '' THEN EXCLUDED.head_number ELSE chain_sights.head_number END,
			head_time = coalesce(EXCLUDED.head_time, chain_sights.head_time), seen_at = coalesce(EXCLUDED.seen_at, chain_sights.seen_at),
			problem = EXCLUDED.problem, problem_at = EXCLUDED.problem_at`, v.Network, v.HeadNumber, v.HeadTime, v.SeenAt, v.Problem, v.ProblemAt).Error
}

// Sights lists what is known of every network's node.
func (s *Store) Sights(ctx context.Context) (map[string]reconcile.Sight, error) {
	var rows []reconcile.Sight
	err := s.db.WithContext(ctx).Raw("SELECT network, head_number, head_time, seen_at, problem, problem_at FROM chain_sights").Scan(&rows).Error
	out := map[string]reconcile.Sight{}
	for _, r := range rows {
		out[r.Network] = r
	}
	return out, err
}

const transferColumns = `network, asset, sender AS "from", recipient AS "to", amount_atomic AS amount, coalesce(nonce, '') AS nonce, tx_hash, log_index, block_number, block_hash, block_time`

// Transfers lists a wallet's live transfers in chain order.
func (s *Store) Transfers(ctx context.Context, network, asset, address string) ([]reconcile.Transfer, error) {
	var out []reconcile.Transfer
	err := s.db.WithContext(ctx).Raw("SELECT "+transferColumns+` FROM chain_transfers WHERE network = ? AND asset = ? AND (recipient = ? OR sender = ?) AND gone_at IS NULL
		ORDER BY block_number, log_index`, network, asset, address, address).Scan(&out).Error
	return out, err
}
