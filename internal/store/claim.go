package store

import (
	"time"

	"gorm.io/gorm"

	"p402.io/p402/gateway/call"
	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
)

// claim stores a paid call's payment, if the payer's balance covers it beside what is on its way already, and the seller's credit
// if it is on credit. Claims of one payer, and of one seller on credit, are decided one after the other.
func claim(tx *gorm.DB, o call.Opening) error {
	p := *o.Payment
	if err := alone(tx, "payer", p.Authorization.Network, p.Authorization.Asset, p.Authorization.Payer); err != nil {
		return err
	}
	on, err := claimed(tx, p.Authorization, o.Funds.At)
	if err != nil {
		return err
	}
	if on.Add(p.Amount).Cmp(o.Funds.Balance) > 0 {
		return call.ErrNoFunds
	}
	if err := inDebt(tx, p); err != nil {
		return err
	}
	if o.Credit != nil {
		if err := onCredit(tx, p, *o.Credit); err != nil {
			return err
		}
	}
	return insertPayment(tx, p, "call")
}

// alone makes the rest of the transaction wait for others that named the same.
func alone(tx *gorm.DB, what, network, asset, payer string) error {
	return tx.Exec("SELECT pg_advisory_xact_lock(hashtextextended(lower(concat_ws(' ', ?::text, ?::text, ?::text, ?::text)), 402))", what, network, asset, payer).Error
}

// claimed is what has a claim on a payer's balance as it was at a moment: everything claimed and not yet in a block, and what
// came into one since. A twin of the same authorization is told by its unique key, not by the balance.
func claimed(tx *gorm.DB, a settlement.Authorization, at time.Time) (money.USDC, error) {
	var sum money.USDC
	err := tx.Raw(`SELECT coalesce(sum(amount_atomic), 0) FROM payments WHERE network = ? AND lower(asset) = lower(?) AND lower(payer) = lower(?)
		AND nonce <> ? AND state <> 'voided' AND (state IN ('authorized', 'captured', 'submitted') OR state = 'included' AND moved_at >= ?)`,
		a.Network, a.Asset, a.Payer, a.Nonce, at).Row().Scan(&sum)
	return sum, err
}

const (
	// maxLost payments of one payer to one seller may be lost within lostFor; each cost the seller a run of the vendor's. An honest
	// wallet whose balance moved between two calls loses one or two.
	maxLost = 3
	lostFor = 24 * time.Hour
)

// inDebt refuses a payer who lets runs be made and then takes the money away.
func inDebt(tx *gorm.DB, p settlement.Payment) error {
	var lost int
	err := tx.Raw("SELECT count(*) FROM payments WHERE tenant_id = ? AND lower(payer) = lower(?) AND state = 'lost' AND source = 'call' AND moved_at > ?",
		p.TenantID, p.Authorization.Payer, p.ClaimedAt.Add(-lostFor)).Row().Scan(&lost)
	if err == nil && lost >= maxLost {
		return call.ErrInDebt
	}
	return err
}

// onCredit refuses a claim that would pass one of the seller's limits. What was lost on credit counts for good.
func onCredit(tx *gorm.DB, p settlement.Payment, c call.Credit) error {
	if err := alone(tx, "credit", string(p.TenantID), p.Authorization.Network, ""); err != nil {
		return err
	}
	var payer, total money.USDC
	if err := tx.Raw(`SELECT coalesce(sum(amount_atomic), 0), coalesce(sum(amount_atomic) FILTER (WHERE lower(payer) = lower(?)), 0) FROM payments
		WHERE tenant_id = ? AND on_credit AND state IN ('authorized', 'captured', 'submitted', 'lost')`,
		p.Authorization.Payer, p.TenantID).Row().Scan(&total, &payer); err != nil {
		return err
	}
	if total.Add(p.Amount).Cmp(c.Total) > 0 || payer.Add(p.Amount).Cmp(c.PerPayer) > 0 {
		return call.ErrNoCredit
	}
	return nil
}
