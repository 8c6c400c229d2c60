package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/journal"
	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
)

var _ settlement.Book = (*Store)(nil)

type paymentRow struct {
	ID, TenantID, Source string
	EventID, ReceiptID   *string
	Identifier           *string
	AmountAtomic         money.USDC
	Terms                []byte
	AuthorizationDoc     []byte
	Signature            []byte
	State, Reason        string
	Evidence             []byte
	ClaimedAt, MovedAt   time.Time
	Hold                 *time.Time
}

const paymentColumns = `id, tenant_id, source, event_id, receipt_id, amount_atomic, terms, authorization_doc, signature, identifier, state, reason, evidence,
	claimed_at, moved_at, CASE WHEN hold_until = 'infinity' THEN NULL ELSE hold_until END AS hold`

// forEver stands for a hold that never ends: the answer has left.
var forEver = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

func (r paymentRow) payment() (settlement.Payment, error) {
	p := settlement.Payment{ID: id.Payment(r.ID), TenantID: id.Tenant(r.TenantID), Source: r.Source, Amount: r.AmountAtomic,
		State: settlement.State(r.State), Reason: r.Reason, ClaimedAt: r.ClaimedAt, MovedAt: r.MovedAt, HoldUntil: forEver}
	if r.EventID != nil {
		p.EventID = id.Event(*r.EventID)
	}
	if r.Identifier != nil {
		p.Identifier = *r.Identifier
	}
	if r.ReceiptID != nil {
		p.ReceiptID = id.Receipt(*r.ReceiptID)
	}
	if r.Hold != nil {
		p.HoldUntil = *r.Hold
	}
	for _, part := range []struct {
		raw  []byte
		into any
	}{{r.Terms, &p.Terms}, {r.AuthorizationDoc, &p.Authorization}, {r.Evidence, &p.Evidence}} {
		if err := json.Unmarshal(part.raw, part.into); err != nil {
			return p, fmt.Errorf("payment %s: %w", r.ID, err)
		}
	}
	p.Authorization.Signature = r.Signature
	return p, nil
}

func (s *Store) payments(ctx context.Context, where string, args ...any) ([]settlement.Payment, error) {
	var rows []paymentRow
	if err := s.db.WithContext(ctx).Raw("SELECT "+paymentColumns+" FROM payments WHERE "+where, args...).Scan(&rows).Error; err != nil {
		return nil, err
	}
	out := make([]settlement.Payment, 0, len(rows))
	for _, r := range rows {
		p, err := r.payment()
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (s *Store) payment(ctx context.Context, where string, args ...any) (settlement.Payment, error) {
	list, err := s.payments(ctx, where+" LIMIT 1", args...)
	if err == nil && len(list) == 0 {
		err = settlement.ErrNotFound
	}
	if err != nil {
		return settlement.Payment{}, err
	}
	return list[0], nil
}

func insertPayment(tx *gorm.DB, p settlement.Payment, actor string) error {
	terms, err := json.Marshal(p.Terms)
	if err != nil {
		return err
	}
	signature := p.Authorization.Signature
	p.Authorization.Signature = nil
	auth, err := json.Marshal(p.Authorization)
	if err != nil {
		return err
	}
	a := p.Authorization
	if err := tx.Exec(`INSERT INTO payments (id, tenant_id, event_id, source, network, asset, payer, nonce, pay_to, amount_atomic, request_digest, terms,
			authorization_doc, signature, identifier, state, reason, evidence, claimed_at, moved_at, hold_until)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', '{}', ?, ?, ?)`,
		p.ID, p.TenantID, optional(string(p.EventID)), p.Source, a.Network, a.Asset, a.Payer, a.Nonce, a.PayTo, p.Amount, p.Terms.RequestDigest[:],
		string(terms), string(auth), []byte(signature), optional(p.Identifier), p.State, p.ClaimedAt, p.MovedAt, p.HoldUntil).Error; err != nil {
		return err
	}
	return appendMove(tx, settlement.Move{PaymentID: p.ID, To: p.State, Actor: actor, At: p.ClaimedAt})
}

func appendMove(tx *gorm.DB, m settlement.Move) error {
	evidence, err := json.Marshal(m.Evidence)
	if err != nil {
		return err
	}
	return tx.Exec("INSERT INTO payment_moves (payment_id, from_state, to_state, actor, reason, evidence, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
		m.PaymentID, m.From, m.To, m.Actor, m.Reason, string(evidence), m.At).Error
}

// move changes a payment's state, guarded by the state it leaves.
func move(tx *gorm.DB, m settlement.Move) error {
	res := tx.Exec("UPDATE payments SET state = ?, reason = ?, moved_at = ? WHERE id = ? AND state = ?", m.To, m.Reason, m.At, m.PaymentID, m.From)
	if err := exactly(res, settlement.ErrMoved); err != nil {
		return err
	}
	if m.Evidence.Amount != nil { // less was captured than the payer signed for
		if err := tx.Exec("UPDATE payments SET amount_atomic = ? WHERE id = ?", *m.Evidence.Amount, m.PaymentID).Error; err != nil {
			return err
		}
	}
	if err := appendMove(tx, m); err != nil {
		return err
	}
	return showPayment(tx, m.PaymentID)
}

// showPayment brings a closed event's receipt status up to its payment's state; "" is no payment.
func showPayment(tx *gorm.DB, paymentID id.Payment) error {
	if paymentID == "" {
		return nil
	}
	return tx.Exec(`UPDATE events e SET receipt_status = s.status, decision = CASE WHEN s.status = 'settled' THEN 'settled' ELSE e.decision END
		FROM (SELECT p.event_id, CASE p.state WHEN 'captured' THEN 'pending' WHEN 'submitted' THEN 'pending' WHEN 'included' THEN 'settled'
			WHEN 'final' THEN 'settled' WHEN 'voided' THEN 'failed' WHEN 'lost' THEN 'failed' ELSE 'required' END AS status FROM payments p WHERE p.id = ?) s
		WHERE e.id = s.event_id AND e.state <> 'intent'`, paymentID).Error
}

// Claim stores a facilitator's payment.
func (s *Store) Claim(ctx context.Context, p settlement.Payment) error {
	err := s.tx(ctx, func(tx *gorm.DB) error { return insertPayment(tx, p, "facilitator") })
	if violates(err, "payments_authorization") {
		return settlement.ErrAuthorizationUsed
	}
	return err
}

// ByAuthorization finds an authorization's payment; the live one before voided ones.
func (s *Store) ByAuthorization(ctx context.Context, network, asset, payer, nonce string) (settlement.Payment, error) {
	return s.payment(ctx, "network = ? AND lower(asset) = lower(?) AND lower(payer) = lower(?) AND nonce = ? ORDER BY (state = 'voided'), claimed_at DESC",
		network, asset, payer, nonce)
}

// Payment reads one payment.
func (s *Store) Payment(ctx context.Context, paymentID id.Payment) (settlement.Payment, error) {
	return s.payment(ctx, "id = ?", paymentID)
}

// Work lists what a network's worker has to look at: first what is to be collected, then what waits to be final.
func (s *Store) Work(ctx context.Context, l settlement.Lease, limit int) ([]settlement.Payment, error) {
	const held = " AND EXISTS (SELECT 1 FROM leases WHERE network = ? AND owner = ? AND fence = ?) "
	var out []settlement.Payment
	for _, part := range []string{"network = ? AND state IN ('captured', 'submitted')" + held + "ORDER BY claimed_at LIMIT ?",
		"network = ? AND state = 'included'" + held + "ORDER BY moved_at LIMIT ?"} {
		list, err := s.payments(ctx, part, l.Network, l.Network, l.Owner, l.Fence, limit)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// AcquireLease takes or renews a network's lease. The fence rises with every new owner.
func (s *Store) AcquireLease(ctx context.Context, network, owner string, now, until time.Time) (settlement.Lease, error) {
	l := settlement.Lease{Network: network, Owner: owner, Until: until}
	res := s.db.WithContext(ctx).Raw(`INSERT INTO leases (network, owner, fence, until) VALUES (?, ?, 1, ?)
		ON CONFLICT (network) DO UPDATE SET fence = CASE WHEN leases.owner = EXCLUDED.owner THEN leases.fence ELSE leases.fence + 1 END,
			owner = EXCLUDED.owner, until = EXCLUDED.until
		WHERE leases.owner = EXCLUDED.owner OR leases.until < ? RETURNING fence`, network, owner, until, now).Scan(&l.Fence)
	if res.Error == nil && res.RowsAffected == 0 {
		return settlement.Lease{}, settlement.ErrLeaseLost
	}
	return l, res.Error
}

func fenced(tx *gorm.DB, l settlement.Lease) error {
	var n int64
	if err := tx.Raw("SELECT 1 FROM leases WHERE network = ? AND owner = ? AND fence = ? FOR SHARE", l.Network, l.Owner, l.Fence).Scan(&n).Error; err != nil {
		return err
	}
	if n == 0 {
		return settlement.ErrLeaseLost
	}
	return nil
}

func insertAttempt(tx *gorm.DB, a settlement.Attempt) error {
	return tx.Exec(`INSERT INTO tx_attempts (tx_hash, payment_id, purpose, network, account, nonce, number, raw, fee_cap, tip_cap, state, signed_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, a.TxHash, optional(string(a.PaymentID)), a.Purpose, a.Slot.Network, a.Slot.Account, a.Slot.Nonce,
		a.Number, a.Raw, a.FeeCap, a.TipCap, a.State, a.SignedAt).Error
}

// Stage stores the signed bytes and moves the payment, before anything is sent.
func (s *Store) Stage(ctx context.Context, l settlement.Lease, p settlement.Payment, m settlement.Move, a settlement.Attempt) error {
	return s.tx(ctx, func(tx *gorm.DB) error {
		if err := fenced(tx, l); err != nil {
			return err
		}
		if err := insertAttempt(tx, a); err != nil {
			return err
		}
		return move(tx, m)
	})
}

// Replace stores a dearer attempt for a staged slot.
func (s *Store) Replace(ctx context.Context, l settlement.Lease, a settlement.Attempt) error {
	return s.tx(ctx, func(tx *gorm.DB) error {
		if err := fenced(tx, l); err != nil {
			return err
		}
		return insertAttempt(tx, a)
	})
}

// Sent notes that an attempt was handed to the network.
func (s *Store) Sent(ctx context.Context, a settlement.Attempt, at time.Time) error {
	return s.db.WithContext(ctx).Exec("UPDATE tx_attempts SET last_sent_at = ?, state = CASE state WHEN 'signed' THEN 'sent' ELSE state END WHERE tx_hash = ?", at, a.TxHash).Error
}

type attemptRow struct {
	TxHash, Purpose, Network, Account, State string
	PaymentID, PaymentState                  *string
	Nonce                                    uint64
	Number                                   int
	Raw                                      []byte
	FeeCap, TipCap                           money.Wei
	SignedAt                                 time.Time
	LastSentAt                               *time.Time
}

const attemptColumns = "a.tx_hash, a.payment_id, a.purpose, a.network, a.account, a.state, a.nonce, a.number, a.raw, a.fee_cap, a.tip_cap, a.signed_at, a.last_sent_at"

func (r attemptRow) attempt() settlement.Attempt {
	a := settlement.Attempt{Purpose: settlement.Purpose(r.Purpose), Slot: settlement.Slot{Network: r.Network, Account: r.Account, Nonce: r.Nonce},
		Number: r.Number, TxHash: r.TxHash, Raw: r.Raw, FeeCap: r.FeeCap, TipCap: r.TipCap, State: settlement.AttemptState(r.State),
		SignedAt: r.SignedAt, LastSentAt: r.LastSentAt}
	if r.PaymentID != nil {
		a.PaymentID = id.Payment(*r.PaymentID)
	}
	return a
}

// Attempts lists a payment's attempts, oldest first.
func (s *Store) Attempts(ctx context.Context, paymentID id.Payment) ([]settlement.Attempt, error) {
	var rows []attemptRow
	err := s.db.WithContext(ctx).Raw("SELECT "+attemptColumns+" FROM tx_attempts a WHERE a.payment_id = ? ORDER BY a.signed_at, a.nonce, a.number", paymentID).Scan(&rows).Error
	out := make([]settlement.Attempt, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.attempt())
	}
	return out, err
}

// OpenSlots lists the stored slots from chainNonce on of which no attempt is known to be mined, each with its newest attempt.
func (s *Store) OpenSlots(ctx context.Context, network, account string, chainNonce uint64) ([]settlement.OpenSlot, error) {
	var rows []attemptRow
	err := s.db.WithContext(ctx).Raw(`SELECT DISTINCT ON (a.nonce) `+attemptColumns+`, p.state AS payment_state
		FROM tx_attempts a LEFT JOIN payments p ON p.id = a.payment_id
		WHERE a.network = ? AND a.account = ? AND a.nonce >= ? AND NOT EXISTS (SELECT 1 FROM tx_attempts m
			WHERE m.network = a.network AND m.account = a.account AND m.nonce = a.nonce AND m.state = 'mined')
		ORDER BY a.nonce, a.number DESC`, network, account, chainNonce).Scan(&rows).Error
	out := make([]settlement.OpenSlot, 0, len(rows))
	for _, r := range rows {
		slot := settlement.OpenSlot{Last: r.attempt()}
		if r.PaymentState != nil {
			slot.State = settlement.State(*r.PaymentState)
		}
		out = append(out, slot)
	}
	return out, err
}

// NextNonce is the first nonce from chainNonce on that no stored attempt of the account uses.
func (s *Store) NextNonce(ctx context.Context, network, account string, chainNonce uint64) (uint64, error) {
	var next *uint64
	err := s.db.WithContext(ctx).Raw("SELECT max(nonce) + 1 FROM tx_attempts WHERE network = ? AND account = ?", network, account).Row().Scan(&next)
	if err != nil || next == nil {
		return chainNonce, err
	}
	return max(*next, chainNonce), nil
}

// Record writes a move with its evidence, and what follows from it: receipt, entries.
func (s *Store) Record(ctx context.Context, p settlement.Payment, m settlement.Move, r *settlement.Receipt) error {
	return s.tx(ctx, func(tx *gorm.DB) error {
		if err := move(tx, m); err != nil {
			return err
		}
		evidence, err := json.Marshal(p.Evidence)
		if err != nil {
			return err
		}
		if err := tx.Exec("UPDATE payments SET evidence = ?, receipt_id = coalesce(?, receipt_id) WHERE id = ?", string(evidence), optional(string(p.ReceiptID)), p.ID).Error; err != nil {
			return err
		}
		if err := markAttempts(tx, p, m); err != nil {
			return err
		}
		if m.To == settlement.StateLost {
			return postLoss(tx, p, m.At)
		}
		return s.recordReceipt(tx, p, r)
	})
}

// markAttempts notes on a payment's attempts what its move says about them.
func markAttempts(tx *gorm.DB, p settlement.Payment, m settlement.Move) error {
	switch {
	case m.To == settlement.StateIncluded:
		return tx.Exec("UPDATE tx_attempts SET state = CASE WHEN tx_hash = ? THEN 'mined' ELSE 'replaced' END WHERE payment_id = ?", p.Evidence.TxHash, p.ID).Error
	case m.From == settlement.StateIncluded && m.To == settlement.StateSubmitted:
		return tx.Exec("UPDATE tx_attempts SET state = 'signed', last_sent_at = NULL WHERE payment_id = ?", p.ID).Error
	case m.From == settlement.StateSubmitted && m.To == settlement.StateCaptured:
		return tx.Exec("UPDATE tx_attempts SET state = CASE WHEN tx_hash = ? THEN 'mined' ELSE 'replaced' END WHERE payment_id = ?", m.Evidence.TxHash, p.ID).Error
	}
	return nil
}

func posted(tx *gorm.DB, posting string) (bool, error) {
	var n int64
	err := tx.Raw("SELECT count(*) FROM journal_entries WHERE posting = ?", posting).Scan(&n).Error
	return n > 0, err
}

// postLoss takes back a sale that a reorganisation undid for good: the answer has left, the money never came.
func postLoss(tx *gorm.DB, p settlement.Payment, at time.Time) error {
	sold, err := posted(tx, "sale:"+string(p.ID))
	if err != nil || !sold {
		return err
	}
	return post(tx, p.TenantID, "loss:"+string(p.ID), journal.Move(journal.AccountBadDebt, journal.AccountSellerWallet, p.Amount.USD(), "lost"), at)
}

// recordReceipt stores a receipt and posts the sale once: a payment included again after a reorganisation gets a receipt that
// names the new block, and no second posting.
func (s *Store) recordReceipt(tx *gorm.DB, p settlement.Payment, r *settlement.Receipt) error {
	if r == nil {
		return nil
	}
	doc, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := tx.Exec("INSERT INTO receipts (id, tenant_id, event_id, payment_id, doc, issued_at) VALUES (?, ?, ?, ?, ?, ?)",
		r.ReceiptID, p.TenantID, r.EventID, p.ID, string(doc), r.SettledAt).Error; err != nil {
		return err
	}
	if sold, err := posted(tx, "sale:"+string(p.ID)); err != nil || sold {
		return err
	}
	return post(tx, p.TenantID, "sale:"+string(p.ID), journal.Move(journal.AccountSellerWallet, journal.AccountRevenue, p.Amount.USD(), "sale"), r.SettledAt)
}
