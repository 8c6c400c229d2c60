package openai

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/gateway/call"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/x402"
)

// refuse writes an error. A payment's errors speak x402 beside OpenAI's error object: v2 in the header, v1 in the body.
func (s *Surface) refuse(c *gin.Context, err error) {
	var offer *call.Offer
	var lost *call.PaymentLost
	var pending *call.PaymentPending
	var unserved *call.PaidUnserved
	switch {
	case errors.As(err, &offer):
		s.challenge(c, offer)
	case errors.As(err, &lost):
		s.settlementFailed(c, http.StatusPaymentRequired, lost.Payment, "PAYMENT_FAILED", "the payment could not be collected ("+lost.Payment.Reason+"); nothing was taken")
	case errors.As(err, &pending):
		c.Header("Retry-After", "5")
		s.settlementFailed(c, http.StatusServiceUnavailable, pending.Payment, string(settlement.ErrPending.Code), settlement.ErrPending.Message)
	case errors.As(err, &unserved):
		if headerErr := paidHeaders(c.Writer.Header(), unserved.Payment, nil); headerErr != nil {
			s.Log.WarnContext(c.Request.Context(), "payment header not written", "payment_id", unserved.Payment.ID, "err", headerErr)
		}
		gateway.Fail(c, s.Log, unserved.Refusal())
	default:
		gateway.Fail(c, s.Log, err)
	}
}

// challenge is the 402: PAYMENT-REQUIRED for v2, accepts in the body for v1, and an error that an OpenAI SDK shows.
func (s *Surface) challenge(c *gin.Context, o *call.Offer) {
	resource := x402.Resource{URL: o.Terms.Resource, Description: o.Terms.Description, MimeType: o.Terms.MimeType}
	text, err := x402.EncodeHeader(x402.PaymentRequired{X402Version: 2, Error: o.Reason, Resource: resource, Accepts: o.Requirements(), Extensions: o.Extensions})
	if err != nil {
		gateway.Fail(c, s.Log, err)
		return
	}
	h := c.Writer.Header()
	h.Set(x402.HeaderPaymentRequired, text)
	h.Set("Cache-Control", privateAnswer)
	refusal := gateway.Refusal(o)
	refusal.Details = map[string]any{"reason": o.Reason, "price_usd": o.Terms.PriceUSD.String(), "amount_atomic": o.Terms.Amount.String(),
		"network": o.Terms.Network, "asset": o.Terms.Asset, "payTo": o.Terms.PayTo}
	body := gateway.ErrorBody(refusal, gateway.RequestID(c))
	if name, ok := x402.V1LegacyName(o.Terms.Network); ok && o.Terms.Scheme == x402.SchemeExact {
		body["x402Version"] = 1
		body["accepts"] = []x402.PaymentRequirementsV1{{Scheme: o.Terms.Scheme, Network: name, MaxAmountRequired: o.Terms.Amount.String(),
			Resource: o.Terms.Resource, Description: o.Terms.Description, MimeType: o.Terms.MimeType, PayTo: o.Terms.PayTo,
			MaxTimeoutSeconds: int64(o.Terms.MaxTimeoutSeconds), Asset: o.Terms.Asset,
			Extra: map[string]string{"name": o.Terms.AssetName, "version": o.Terms.AssetVersion}}}
	}
	status := http.StatusPaymentRequired
	if o.Reason == string(x402.ReasonPermit2Allowance) {
		status = http.StatusPreconditionFailed // as official servers say it: another signature would not help before an approval
	}
	c.AbortWithStatusJSON(status, body)
}

func (s *Surface) settlementFailed(c *gin.Context, status int, p settlement.Payment, code, message string) {
	name, text, err := settlementHeader(p, nil)
	if err != nil {
		gateway.Fail(c, s.Log, err)
		return
	}
	c.Header(name, text)
	c.Header("Cache-Control", privateAnswer)
	c.AbortWithStatusJSON(status, gin.H{"error": gin.H{"type": "payment_required", "code": code, "message": message, "param": nil,
		"request_id": gateway.RequestID(c), "details": gin.H{"payment_id": p.ID, "transaction": p.Evidence.TxHash}}})
}

// paidHeaders writes a collected payment's headers, in the version the payer spoke.
func paidHeaders(h http.Header, p settlement.Payment, extensions map[string]json.RawMessage) error {
	name, text, err := settlementHeader(p, extensions)
	if err != nil {
		return err
	}
	h.Set(name, text)
	h.Set("Cache-Control", privateAnswer)
	h.Set(gateway.HeaderReceiptID, string(p.ReceiptID))
	return nil
}

// settlementHeader is what became of a payment. A success is one that is in a block; what is on its way is pending, with
// its hash if it has one.
func settlementHeader(p settlement.Payment, extensions map[string]json.RawMessage) (name, text string, err error) {
	name, network := x402.HeaderPaymentResponse, p.Terms.Network
	if p.Authorization.X402Version == 1 {
		name = x402.HeaderXPaymentResponse
		if v1, ok := x402.V1Name(network); ok {
			network = v1
		}
	}
	answer := x402.SettlementResponse{Transaction: p.Evidence.TxHash, Network: network, Payer: p.Authorization.Payer, Extensions: extensions}
	switch p.State {
	case settlement.StateIncluded, settlement.StateFinal:
		answer.Success, answer.Amount = true, p.Amount.String()
	case settlement.StateVoided, settlement.StateLost:
		answer.ErrorReason = p.Reason
	case settlement.StateAuthorized, settlement.StateCaptured, settlement.StateSubmitted:
		answer.ErrorReason = string(x402.ReasonSettlementPending)
	}
	text, err = x402.EncodeHeader(answer)
	return name, text, err
}
