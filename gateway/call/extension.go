package call

import (
	"context"
	"encoding/json"
	"errors"

	"p402.io/p402/internal/fault"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/x402"
)

// Signer signs offers and receipts in the protocol's standard form, beside our own receipt.
type Signer interface {
	// SignJWS is the compact JWS of a payload, under a key id that names the key itself.
	SignJWS(payload any) (string, error)
}

// errIdentifier: the payer has given this name to another request of its own.
var errIdentifier = fault.New(fault.KindConflict, "PAYMENT_ID_CONFLICT", "this payment identifier stands for another request")

// advertised is what every offer of these ways says that it supports, but for what is signed afresh each time.
func advertised(ways []settlement.Terms) map[string]json.RawMessage {
	out := map[string]json.RawMessage{x402.ExtensionPaymentIdentifier: x402.OfferPaymentIdentifier(false)}
	if ways[len(ways)-1].TransferMethod == settlement.MethodPermit2 {
		out[x402.ExtensionEIP2612Gas] = x402.OfferEIP2612Gas()
	}
	return out
}

// extensions is what an offer supports beside: names for payments, approvals of Permit2 by signature, and the offer itself signed,
// so that a payer can show what was promised.
func (r *Runner) extensions(ways []settlement.Terms) (map[string]json.RawMessage, error) {
	out := advertised(ways)
	if r.Sale.Signer == nil {
		return out, nil
	}
	var info x402.OffersInfo
	for i, t := range ways {
		text, err := r.Sale.Signer.SignJWS(x402.OfferPayload{Version: 1, ResourceURL: t.Resource, Scheme: t.Scheme, Network: t.Network, Asset: t.Asset,
			PayTo: t.PayTo, Amount: t.Amount.String(), ValidUntil: t.ExpiresAt.Unix()})
		if err != nil {
			return nil, err
		}
		info.Offers = append(info.Offers, x402.Signed{Format: x402.FormatJWS, AcceptIndex: &i, Signature: text})
	}
	signed, err := x402.NewExtension(info, nil)
	out[x402.ExtensionOfferReceipt] = signed
	return out, err
}

// receipt is the protocol's own receipt for a payment that is in a block. It leaves the transaction out, as the protocol does for
// privacy: ours names it.
func (r *Runner) receipt(p settlement.Payment) map[string]json.RawMessage {
	if r.Sale.Signer == nil || p.Authorization.X402Version != x402.Version2 || p.State != settlement.StateIncluded && p.State != settlement.StateFinal {
		return nil
	}
	text, err := r.Sale.Signer.SignJWS(x402.ReceiptPayload{Version: 1, Network: p.Terms.Network, ResourceURL: p.Terms.Resource,
		Payer: p.Authorization.Payer, IssuedAt: r.Now().Unix()})
	if err == nil {
		var signed json.RawMessage
		if signed, err = x402.NewExtension(x402.ReceiptInfo{Receipt: x402.Signed{Format: x402.FormatJWS, Signature: text}}, nil); err == nil {
			return map[string]json.RawMessage{x402.ExtensionOfferReceipt: signed}
		}
	}
	r.Log.Error("receipt not signed", "payment_id", p.ID, "err", err) // the answer is paid for and leaves: our own receipt is stored
	return nil
}

// named handles a payment identifier that the payer, whose signature is proved by now, has used before: whoever signs anew because an
// answer did not come is not charged twice. The same request goes on with the first payment; another one is a conflict.
func (r *Runner) named(ctx context.Context, in Input, res Result, terms settlement.Terms, payer, name string, v run, out Sink) (bool, Result, error) {
	if name == "" {
		return false, res, nil
	}
	p, err := r.Store.PaymentNamed(ctx, terms.TenantID, terms.WorkflowID, payer, name)
	switch {
	case errors.Is(err, settlement.ErrNotFound):
		return false, res, nil
	case err != nil:
		return true, res, fault.New(fault.KindUnavailable, "CONTROL_UNAVAILABLE", "the payment cannot be looked up now").Because(err)
	case p.Terms.RequestDigest != in.Request.Digest:
		return true, res, errIdentifier.With("payment_id", p.ID)
	}
	res, err = r.again(ctx, in, res, p, v, out)
	return true, res, err
}
