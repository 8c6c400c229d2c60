package api

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"p402.io/p402/meter"
)

// ledgerHead is the signed end of the tenant's chain: everything committed before the request is under it.
func (s *Surface) ledgerHead(c *gin.Context, caller meter.Caller) (int, any, error) {
	head, err := s.Store.LedgerHead(c.Request.Context(), caller.TenantID)
	return http.StatusOK, head, err
}

// ledgerProof shows that an event, by any of its ids, is under a signed head.
func (s *Surface) ledgerProof(c *gin.Context, caller meter.Caller) (int, any, error) {
	ctx := c.Request.Context()
	e, err := s.Store.Event(ctx, caller.TenantID, c.Param("id"))
	if err != nil {
		return 0, nil, err
	}
	proof, err := s.Store.LedgerProof(ctx, caller.TenantID, e.ID)
	return http.StatusOK, proof, err
}
