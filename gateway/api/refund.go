package api

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

// Transfers finds a transaction's own Transfer logs on one network (evm.Chain).
type Transfers interface {
	Transfers(ctx context.Context, txHash, token, from, to string, amount money.USDC) ([]settlement.Transfer, error)
}

var hashForm = regexp.MustCompile(`^0x[0-9a-fA-F]{64}$`)

// maxNote bounds a waiver's reason in bytes; the table says the same.
const maxNote = 500

func (s *Surface) listRefunds(c *gin.Context, caller meter.Caller) (int, any, error) {
	p, err := s.page(c, caller)
	if err != nil {
		return 0, nil, err
	}
	state := c.Query("state")
	if state != "" && !slices.Contains(settlement.RefundStates(), settlement.RefundState(state)) {
		return 0, nil, invalid("state", "must be due, paid, used or waived")
	}
	rows, err := s.Store.Refunds(c.Request.Context(), caller.TenantID, state, p.lastID(), p.limit+1)
	if err != nil {
		return 0, nil, err
	}
	out, err := list(s, c, caller, p, rows, func(r settlement.Refund) any { return refundJSON(r) },
		func(r settlement.Refund) store.Position { return byID(string(r.ID)) })
	return http.StatusOK, out, err
}

func (s *Surface) oneRefund(c *gin.Context, caller meter.Caller) (int, any, error) {
	r, err := s.Store.Refund(c.Request.Context(), caller.TenantID, c.Param("id"))
	return http.StatusOK, refundJSON(r), err
}

// payRefund notes the transaction by which the payee has paid a refund. The chain is asked: it has to move the very amount of the very
// token from payee to payer after the payment, and a transfer pays one refund.
func (s *Surface) payRefund(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b struct {
		Transaction string `json:"transaction"`
	}
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	ctx := c.Request.Context()
	r, err := s.Store.Refund(ctx, caller.TenantID, c.Param("id"))
	switch {
	case err != nil:
		return 0, nil, err
	case !hashForm.MatchString(b.Transaction):
		return 0, nil, invalid("transaction", "must be a transaction's hash, 0x and 64 hex digits")
	case r.State == settlement.RefundPaid && strings.EqualFold(r.Transaction, b.Transaction):
		return http.StatusOK, refundJSON(r), nil
	case r.State != settlement.RefundDue:
		return 0, nil, settlement.ErrRefundOver.With("state", r.State)
	}
	chain, ok := s.Transfers[r.Network]
	if !ok {
		return 0, nil, fault.New(fault.KindUnavailable, "NETWORK_UNAVAILABLE", "the refund's network is not configured here")
	}
	payment, err := s.Store.Payment(ctx, r.PaymentID)
	if err != nil {
		return 0, nil, err
	}
	found, err := chain.Transfers(ctx, b.Transaction, r.Asset, r.PayTo, r.Payer, r.Amount)
	if err != nil {
		return 0, nil, err
	}
	err = settlement.ErrNoTransfer
	for _, t := range found {
		if t.BlockNumber <= payment.Evidence.BlockNumber {
			continue
		}
		if err = s.Store.PayRefund(ctx, r, t, s.Now()); err == nil || !errors.Is(err, settlement.ErrRefundLog) {
			break
		}
	}
	if err != nil {
		return 0, nil, err
	}
	return s.oneRefund(c, caller)
}

// waiveRefund notes why nothing is owed after all.
func (s *Surface) waiveRefund(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b struct {
		Reason string `json:"reason"`
	}
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	r, err := s.Store.Refund(c.Request.Context(), caller.TenantID, c.Param("id"))
	switch {
	case err != nil:
		return 0, nil, err
	case strings.TrimSpace(b.Reason) == "" || len(b.Reason) > maxNote:
		return 0, nil, invalid("reason", "must say why, in at most 500 bytes")
	case r.State != settlement.RefundDue:
		return 0, nil, settlement.ErrRefundOver.With("state", r.State)
	}
	if err := s.Store.WaiveRefund(c.Request.Context(), r, b.Reason, s.Now()); err != nil {
		return 0, nil, err
	}
	return s.oneRefund(c, caller)
}

func refundJSON(r settlement.Refund) gin.H {
	return gin.H{"object": "refund", "refund_id": r.ID, "payment_id": r.PaymentID, "state": r.State, "reason": r.Reason, "note": orNull(r.Note), "network": r.Network,
		"asset": r.Asset, "payer": r.Payer, "payTo": r.PayTo, "amount_atomic": r.Amount.String(), "transaction": orNull(r.Transaction), "log_index": r.LogIndex,
		"due_at": r.DueAt, "moved_at": r.MovedAt}
}
