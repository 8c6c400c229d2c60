package sell

import (
	"context"
	"net/http"
	"regexp"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/fault"
	"p402.io/p402/settlement"
)

// Statuses finds what became of an authorization.
type Statuses interface {
	// PaymentStatus is an authorization's payment, with the transaction last sent while none is in a block, and its refund, nil if none;
	// settlement.ErrNotFound if it was never claimed.
	PaymentStatus(ctx context.Context, network, asset, payer, nonce string) (settlement.Payment, *settlement.Refund, error)
}

var (
	addressForm = regexp.MustCompile(`^0x[0-9a-fA-F]{40}$`)
	nonceForm   = regexp.MustCompile(`^0x[0-9a-f]{64}$`)
)

// status tells a payer, who has no key, what became of its authorization, so that nobody has to guess after a time-out. Who asks
// names the nonce, which is secret until it stands on chain; what is answered stands there too.
func (s *Surface) status(c *gin.Context) {
	query := c.Request.URL.Query()
	network, payer, nonce := query.Get("network"), query.Get("payer"), query.Get("nonce")
	asset, known := s.Assets[network]
	var bad *fault.Error
	switch {
	case len(query) > 3 || len(query["network"]) > 1 || len(query["payer"]) > 1 || len(query["nonce"]) > 1:
		bad = fault.New(fault.KindInvalid, "INVALID_INPUT", "ask by network, payer and nonce, each once")
	case !known:
		bad = fault.Field(fault.KindInvalid, "INVALID_INPUT", "network", "is not served here")
	case !addressForm.MatchString(payer):
		bad = fault.Field(fault.KindInvalid, "INVALID_INPUT", "payer", "must be 0x and 40 hex digits")
	case !nonceForm.MatchString(nonce):
		bad = fault.Field(fault.KindInvalid, "INVALID_INPUT", "nonce", "must be 0x and 64 lower-case hex digits")
	}
	if bad != nil {
		gateway.Fail(c, s.Log, bad)
		return
	}
	p, refund, err := s.Statuses.PaymentStatus(c.Request.Context(), network, asset, payer, nonce)
	if err != nil {
		gateway.Fail(c, s.Log, err)
		return
	}
	out := gin.H{"object": "payment_status", "payment_id": p.ID, "state": p.State, "settled": p.State == settlement.StateIncluded || p.State == settlement.StateFinal,
		"network": network, "asset": p.Authorization.Asset, "payer": p.Authorization.Payer, "payTo": p.Authorization.PayTo, "amount_atomic": p.Amount.String(),
		"transaction": nil, "receipt_id": nil, "refund": nil}
	if p.Evidence.TxHash != "" {
		out["transaction"] = p.Evidence.TxHash
	}
	if p.ReceiptID != "" {
		out["receipt_id"] = p.ReceiptID
	}
	if refund != nil {
		out["refund"] = gin.H{"state": refund.State, "transaction": nil}
		if refund.Transaction != "" {
			out["refund"] = gin.H{"state": refund.State, "transaction": refund.Transaction}
		}
	}
	c.Header("Cache-Control", "no-store")
	c.JSON(http.StatusOK, out)
}
