package store

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/journal"
	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
)

// DueRefund writes a refund that is owed, or owes again what a run that failed had used; a second one for the payment changes
// nothing.
func (s *Store) DueRefund(ctx context.Context, p settlement.Payment, reason string, now time.Time) error {
	return s.tx(ctx, func(tx *gorm.DB) error {
		res := tx.Exec(`INSERT INTO refunds (id, tenant_id, payment_id, amount_atomic, state, reason, due_at) VALUES (?, ?, ?, ?, 'due', ?, ?)
			ON CONFLICT (payment_id) DO UPDATE SET state = 'due', reason = EXCLUDED.reason, moved_at = EXCLUDED.due_at WHERE refunds.state = 'used'`,
			s.ids.Refund(), p.TenantID, p.ID, p.Amount, reason, now)
		if res.Error != nil || res.RowsAffected == 0 {
			return res.Error
		}
		return post(tx, p.TenantID, "refund:"+string(p.ID), journal.Move(journal.AccountRevenue, journal.AccountRefundsPayable, p.Amount.USD(), reason), now)
	})
}

// UseRefund takes a refund back as its payer gets the run after all; without one it changes nothing. ErrRefundOver if it was paid
// or waived.
func (s *Store) UseRefund(ctx context.Context, p settlement.Payment, now time.Time) error {
	return s.tx(ctx, func(tx *gorm.DB) error {
		var state string
		if err := tx.Raw("SELECT state FROM refunds WHERE payment_id = ? FOR UPDATE", p.ID).Scan(&state).Error; err != nil {
			return err
		}
		switch settlement.RefundState(state) {
		case "", settlement.RefundUsed:
			return nil
		case settlement.RefundPaid, settlement.RefundWaived:
			return settlement.ErrRefundOver
		case settlement.RefundDue:
		}
		if err := moveRefund(tx, p.ID, "state = 'used', moved_at = ?", now); err != nil {
			return err
		}
		return post(tx, p.TenantID, "refund:"+string(p.ID), journal.Move(journal.AccountRefundsPayable, journal.AccountRevenue, p.Amount.USD(), "used"), now)
	})
}

// PayRefund names the transfer that paid a refund; ErrRefundLog if it pays another already.
func (s *Store) PayRefund(ctx context.Context, r settlement.Refund, t settlement.Transfer, now time.Time) error {
	err := s.tx(ctx, func(tx *gorm.DB) error {
		if err := moveRefund(tx, r.PaymentID, "state = 'paid', moved_at = ?, network = ?, tx_hash = ?, log_index = ?", now, r.Network, t.TxHash, t.LogIndex); err != nil {
			return err
		}
		return post(tx, r.TenantID, "refund:"+string(r.PaymentID), journal.Move(journal.AccountRefundsPayable, journal.AccountSellerWallet, r.Amount.USD(), "paid"), now)
	})
	if violates(err, "refunds_log") {
		return settlement.ErrRefundLog
	}
	return err
}

// WaiveRefund notes why nothing is owed.
func (s *Store) WaiveRefund(ctx context.Context, r settlement.Refund, note string, now time.Time) error {
	return s.tx(ctx, func(tx *gorm.DB) error {
		if err := moveRefund(tx, r.PaymentID, "state = 'waived', moved_at = ?, note = ?", now, note); err != nil {
			return err
		}
		return post(tx, r.TenantID, "refund:"+string(r.PaymentID), journal.Move(journal.AccountRefundsPayable, journal.AccountRevenue, r.Amount.USD(), "waived"), now)
	})
}

// moveRefund leaves due, once.
func moveRefund(tx *gorm.DB, paymentID id.Payment, set string, args ...any) error {
	return exactly(tx.Exec("UPDATE refunds SET "+set+" WHERE payment_id = ? AND state = 'due'", append(args, paymentID)...), settlement.ErrRefundOver)
}

type refundRow struct {
	ID, TenantID, PaymentID, Network, Asset, Payer, PayTo, State, Reason, Note string
	AmountAtomic                                                               money.USDC
	TxHash                                                                     *string
	LogIndex                                                                   *uint
	DueAt                                                                      time.Time
	MovedAt                                                                    *time.Time
}

func (s *Store) refunds(ctx context.Context, where string, args ...any) ([]settlement.Refund, error) {
	var rows []refundRow
	err := s.db.WithContext(ctx).Raw(`SELECT r.id, r.tenant_id, r.payment_id, p.network, p.asset, p.payer, p.pay_to, r.state, r.reason, r.note, r.amount_atomic,
		r.tx_hash, r.log_index, r.due_at, r.moved_at FROM refunds r JOIN payments p ON p.id = r.payment_id WHERE `+where, args...).Scan(&rows).Error
	out := make([]settlement.Refund, 0, len(rows))
	for _, row := range rows {
		r := settlement.Refund{ID: id.Refund(row.ID), TenantID: id.Tenant(row.TenantID), PaymentID: id.Payment(row.PaymentID), Network: row.Network, Asset: row.Asset,
			Payer: row.Payer, PayTo: row.PayTo, Amount: row.AmountAtomic, State: settlement.RefundState(row.State), Reason: row.Reason, Note: row.Note, DueAt: row.DueAt, MovedAt: row.DueAt}
		if row.MovedAt != nil {
			r.MovedAt = *row.MovedAt
		}
		if row.TxHash != nil && row.LogIndex != nil {
			r.Transaction, r.LogIndex = *row.TxHash, *row.LogIndex
		}
		out = append(out, r)
	}
	return out, err
}

// Refunds lists a tenant's refunds, newest first, after an id; state "" is all.
func (s *Store) Refunds(ctx context.Context, tenant id.Tenant, state, after string, limit int) ([]settlement.Refund, error) {
	return s.refunds(ctx, "r.tenant_id = ? AND (? = '' OR r.state = ?) AND (? = '' OR r.id < ?) ORDER BY r.id DESC LIMIT ?", tenant, state, state, after, after, limit)
}

// Refund is a tenant's refund by its id.
func (s *Store) Refund(ctx context.Context, tenant id.Tenant, refund string) (settlement.Refund, error) {
	return oneRefund(s.refunds(ctx, "r.tenant_id = ? AND r.id = ?", tenant, refund))
}

// RefundOf is a payment's refund; settlement.ErrNotFound if it has none.
func (s *Store) RefundOf(ctx context.Context, paymentID id.Payment) (settlement.Refund, error) {
	return oneRefund(s.refunds(ctx, "r.payment_id = ?", paymentID))
}

func oneRefund(list []settlement.Refund, err error) (settlement.Refund, error) {
	if err == nil && len(list) == 0 {
		err = settlement.ErrNotFound
	}
	if err != nil {
		return settlement.Refund{}, err
	}
	return list[0], nil
}

// SentAs is the hash of the transaction last signed for a payment, "" if nothing was.
func (s *Store) SentAs(ctx context.Context, paymentID id.Payment) (string, error) {
	attempts, err := s.Attempts(ctx, paymentID)
	if err != nil || len(attempts) == 0 {
		return "", err
	}
	return attempts[len(attempts)-1].TxHash, nil
}

// PaymentStatus is the payment of an authorization with its refund, nil if it has none. Its evidence names the transaction that was
// last sent while none is in a block.
func (s *Store) PaymentStatus(ctx context.Context, network, asset, payer, nonce string) (settlement.Payment, *settlement.Refund, error) {
	p, err := s.ByAuthorization(ctx, network, asset, payer, nonce)
	if err != nil {
		return p, nil, err
	}
	if p.Evidence.TxHash == "" {
		if p.Evidence.TxHash, err = s.SentAs(ctx, p.ID); err != nil {
			return p, nil, err
		}
	}
	r, err := s.RefundOf(ctx, p.ID)
	if errors.Is(err, settlement.ErrNotFound) {
		return p, nil, nil
	}
	return p, &r, err
}
