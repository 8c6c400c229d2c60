package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

// listPayments is newest first: a payment's id sorts by time.
func (s *Surface) listPayments(c *gin.Context, caller meter.Caller) (int, any, error) {
	p, err := s.page(c, caller)
	if err != nil {
		return 0, nil, err
	}
	rows, err := s.Store.Payments(c.Request.Context(), caller.TenantID, p.lastID(), p.limit+1)
	if err != nil {
		return 0, nil, err
	}
	out, err := list(s, c, caller, p, rows, func(p settlement.Payment) any { return paymentJSON(p, nil) },
		func(p settlement.Payment) store.Position { return byID(string(p.ID)) })
	return http.StatusOK, out, err
}

func (s *Surface) onePayment(c *gin.Context, caller meter.Caller) (int, any, error) {
	p, moves, err := s.Store.TenantPayment(c.Request.Context(), caller.TenantID, c.Param("id"))
	return http.StatusOK, paymentJSON(p, moves), err
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
