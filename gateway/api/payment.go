package api

import (
	"errors"
	"net/http"
	"regexp"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

var addressForm = regexp.MustCompile(`^0x[0-9a-fA-F]{40}$`)

// listPayments is newest first: a payment's id sorts by time.
func (s *Surface) listPayments(c *gin.Context, caller meter.Caller) (int, any, error) {
	p, err := s.page(c, caller)
	if err != nil {
		return 0, nil, err
	}
	payer, nonce := c.Query("payer"), c.Query("nonce")
	switch {
	case payer != "" && !addressForm.MatchString(payer):
		return 0, nil, invalid("payer", "must be 0x and 40 hex digits")
	case nonce != "" && !hashForm.MatchString(nonce):
		return 0, nil, invalid("nonce", "must be 0x and 64 hex digits")
	}
	rows, err := s.Store.Payments(c.Request.Context(), caller.TenantID, payer, nonce, p.lastID(), p.limit+1)
	if err != nil {
		return 0, nil, err
	}
	out, err := list(s, c, caller, p, rows, func(p settlement.Payment) any { return paymentJSON(p, nil) },
		func(p settlement.Payment) store.Position { return byID(string(p.ID)) })
	return http.StatusOK, out, err
}

func (s *Surface) onePayment(c *gin.Context, caller meter.Caller) (int, any, error) {
	p, moves, err := s.Store.TenantPayment(c.Request.Context(), caller.TenantID, c.Param("id"))
	if err != nil {
		return 0, nil, err
	}
	out := paymentJSON(p, moves)
	refund, err := s.Store.RefundOf(c.Request.Context(), p.ID)
	switch {
	case err == nil:
		out["refund"] = refundJSON(refund)
	case !errors.Is(err, settlement.ErrNotFound):
		return 0, nil, err
	}
	return http.StatusOK, out, nil
}

func paymentJSON(p settlement.Payment, moves []settlement.Move) gin.H {
	history := []gin.H{}
	for _, m := range moves {
		history = append(history, gin.H{"from": orNull(string(m.From)), "to": m.To, "actor": m.Actor, "reason": orNull(m.Reason), "at": m.At, "transaction": orNull(m.Evidence.TxHash)})
	}
	return gin.H{"object": "payment", "payment_id": p.ID, "event_id": orNull(string(p.EventID)), "state": p.State, "reason": orNull(p.Reason),
		"payer": p.Authorization.Payer, "payTo": p.Authorization.PayTo, "network": p.Authorization.Network, "asset": p.Authorization.Asset,
		"nonce": p.Authorization.Nonce, "amount_atomic": p.Amount.String(), "transaction": orNull(p.Evidence.TxHash), "block_number": p.Evidence.BlockNumber,
		"log_index": p.Evidence.LogIndex, "receipt_id": orNull(string(p.ReceiptID)), "moves": history}
}
