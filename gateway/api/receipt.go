package api

import (
	"encoding/json"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/tidwall/gjson"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

// listReceipts is newest first: a receipt's id sorts by time.
func (s *Surface) listReceipts(c *gin.Context, caller meter.Caller) (int, any, error) {
	p, err := s.page(c, caller)
	if err != nil {
		return 0, nil, err
	}
	rows, err := s.Store.Receipts(c.Request.Context(), caller.TenantID, p.lastID(), p.limit+1)
	if err != nil {
		return 0, nil, err
	}
	out, err := list(s, c, caller, p, rows, func(r json.RawMessage) any { return r }, receiptPlace)
	return http.StatusOK, out, err
}

// receiptPlace reads the id of a receipt we have signed ourselves.
func receiptPlace(raw json.RawMessage) store.Position {
	return byID(gjson.GetBytes(raw, "receipt_id").Str)
}

func (s *Surface) oneReceipt(c *gin.Context, caller meter.Caller) (int, any, error) {
	raw, err := s.Store.Receipt(c.Request.Context(), caller.TenantID, c.Param("id"))
	return http.StatusOK, raw, err
}

// verifyReceipt checks a receipt for anybody: it needs nothing but the published key. The bytes count as they were sent.
func (s *Surface) verifyReceipt(c *gin.Context) {
	raw, err := body(c)
	if err == nil {
		err = checkQuery(c, route{method: http.MethodGet})
	}
	if err != nil {
		gateway.Fail(c, s.Log, err)
		return
	}
	reasons := []string{}
	if _, err := settlement.VerifyReceipt(raw, s.Keys); err != nil {
		reasons = append(reasons, "the signature does not match these facts")
	}
	c.JSON(http.StatusOK, gin.H{"valid": len(reasons) == 0, "reasons": reasons, "chain": gin.H{"checked": false}})
}
