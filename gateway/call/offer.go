package call

import (
	"encoding/json"
	"strconv"
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/x402"
)

// Reasons of a 402 that are not a scheme's own (PROTOCOL §1, §4).
const (
	reasonRequired = "Payment required"
	reasonNoMatch  = "No matching payment requirements"
	reasonExpired  = "payment_expired"
)

// maxTimeoutSeconds is how long a payer's authorization should stay valid: the longest call plus the payment's own
// time on chain.
const maxTimeoutSeconds = 300

// Offer is a 402: what has to be paid, in each way it can be, sealed. It is an error so that it travels up like every other refusal.
type Offer struct {
	Ways       []Way            // the one we like best first; never empty
	Terms      settlement.Terms // of the first way
	Reason     string
	Extensions map[string]json.RawMessage // what the offer supports beside, by key
}

// Way is one way to pay an offer.
type Way struct {
	Terms settlement.Terms
	Seal  string
}

// Error is the text for logs.
func (o *Offer) Error() string { return "payment required: " + o.Reason }

// As lets the offer be read as a plain refusal by surfaces that know no payments.
func (o *Offer) As(target any) bool {
	f, ok := target.(**fault.Error)
	if ok {
		*f = fault.New(fault.KindPaymentRequired, "PAYMENT_REQUIRED", "this call costs "+o.most()+o.Terms.PriceUSD.String()+" USDC on "+o.Terms.Network+"; pay it with an x402 client")
	}
	return ok
}

func (o *Offer) most() string {
	if o.Terms.Scheme == x402.SchemeUpto {
		return "at most "
	}
	return ""
}

// PaymentLost is a payment that the chain refused: the answer is withheld, nothing was taken.
type PaymentLost struct{ Payment settlement.Payment }

// Error is the text for logs.
func (e *PaymentLost) Error() string {
	return "payment " + string(e.Payment.ID) + " failed: " + e.Payment.Reason
}

// PaymentPending is a payment that may have been broadcast: the same request with the same payment resumes it.
type PaymentPending struct {
	Payment settlement.Payment
}

// Error is the text for logs.
func (e *PaymentPending) Error() string { return "payment " + string(e.Payment.ID) + " is pending" }

// Unwrap makes it settlement.ErrPending for whoever matches that.
func (e *PaymentPending) Unwrap() error { return settlement.ErrPending }

// PaidUnserved is a payment that was collected for work that failed after all: it is owed back, and the same request with
// the same payment gets a run for it (A146).
type PaidUnserved struct {
	Payment settlement.Payment
	cause   error
}

// Error is the text for logs.
func (e *PaidUnserved) Error() string {
	return "payment " + string(e.Payment.ID) + " was collected and not served: " + e.cause.Error()
}

// Unwrap is what went wrong.
func (e *PaidUnserved) Unwrap() error { return e.cause }

// Refusal is what the payer is told.
func (e *PaidUnserved) Refusal() *fault.Error {
	return fault.New(fault.KindUpstream, "PROVIDER_ERROR",
		"the provider failed after the payment was taken; send the same request with the same payment again for its run, or the seller owes it back").
		With("payment_id", e.Payment.ID).With("refund", "due")
}

// offer makes and seals the terms for a request. Nothing is written for it.
func (r *Runner) offer(in Input, q meter.Quote, reason string) (*Offer, error) {
	ways, err := r.ways(in, q)
	if err != nil {
		return nil, err
	}
	o := &Offer{Terms: ways[0], Reason: reason}
	for _, terms := range ways {
		terms.Description = "" // it says nothing about the payment, and headers are short
		seal, err := sealer{r.Sale.SealKey}.Seal(terms)
		if err != nil {
			return nil, err
		}
		o.Ways = append(o.Ways, Way{Terms: terms, Seal: seal})
	}
	o.Extensions, err = r.extensions(ways)
	return o, err
}

// ways is every way in which a workflow can be paid. Wallets take the first they know: exact over EIP-3009 comes before exact over
// Permit2, which needs an approval; upto knows Permit2 only.
func (r *Runner) ways(in Input, q meter.Quote) ([]settlement.Terms, error) {
	w, now := q.Workflow, r.Now().UTC().Truncate(time.Microsecond)
	asset, ok := r.Sale.Assets[w.Price.Network]
	if !ok || w.Price.Scheme == x402.SchemeUpto && !asset.Upto {
		return nil, fault.New(fault.KindUnavailable, "NETWORK_UNAVAILABLE", "the workflow's payment network is not configured here")
	}
	amount, err := money.Payable(w.Price.AmountUSD)
	if err != nil {
		return nil, err
	}
	terms := settlement.Terms{
		QuoteID: "quo_" + string(r.IDs.Request())[4:], TenantID: w.TenantID, WorkflowID: w.WorkflowID, PriceVersion: w.Price.Version,
		Scheme: w.Price.Scheme, Network: w.Price.Network, Asset: asset.Address, AssetName: asset.Name, AssetVersion: asset.Version,
		PayTo: w.Price.PayTo, Amount: amount, PriceUSD: w.Price.AmountUSD, MaxTimeoutSeconds: maxTimeoutSeconds, Resource: in.Resource,
		Description: w.Description, MimeType: "application/json", RequestDigest: in.Request.Digest,
		WaitFor: settlement.WaitFor(w.Price.WaitFor), QuotedAt: now, ExpiresAt: now.Add(r.Sale.OfferFor),
	}
	if terms.Scheme == x402.SchemeUpto {
		terms.TransferMethod, terms.Facilitator = settlement.MethodPermit2, asset.Facilitator
		return []settlement.Terms{terms}, nil
	}
	ways := []settlement.Terms{terms}
	if asset.Permit2 {
		terms.TransferMethod = settlement.MethodPermit2
		ways = append(ways, terms)
	}
	return ways, nil
}

// accepted is the terms that a payment takes up. A v2 client echoes our seal: it opens to terms that must match what
// the client says field by field, this request and its time. A v1 client cannot echo: it is quoted afresh, and the
// scheme's check compares every field with that.
func (r *Runner) accepted(in Input, q meter.Quote) (settlement.Terms, error) {
	p := in.Payment
	refuse := func(reason string) error {
		offer, err := r.offer(in, q, reason)
		if err != nil {
			return err
		}
		return offer
	}
	if p.Accepted == nil {
		ways, err := r.ways(in, q)
		if err != nil {
			return settlement.Terms{}, err
		}
		terms := ways[0]
		if p.Scheme != terms.Scheme || p.Network != terms.Network {
			return settlement.Terms{}, refuse(reasonNoMatch)
		}
		return terms, nil
	}
	var extra struct {
		Seal string `json:"p402"`
	}
	if raw, err := json.Marshal(p.Accepted.Extra); err != nil || json.Unmarshal(raw, &extra) != nil {
		return settlement.Terms{}, refuse(reasonNoMatch)
	}
	terms, err := sealer{r.Sale.SealKey}.Open(extra.Seal)
	if err != nil || terms.TenantID != q.Workflow.TenantID || terms.WorkflowID != q.Workflow.WorkflowID || terms.RequestDigest != in.Request.Digest {
		return settlement.Terms{}, refuse(reasonNoMatch)
	}
	if !x402.Accepts(Way{Terms: terms, Seal: extra.Seal}.Requirements(), *p.Accepted) {
		return settlement.Terms{}, refuse(reasonNoMatch)
	}
	if x402.MismatchExtensions(advertised([]settlement.Terms{terms}), p.Extensions) != "" {
		return settlement.Terms{}, refuse(string(x402.ReasonExtensionEcho))
	}
	if r.Now().After(terms.ExpiresAt) {
		return settlement.Terms{}, refuse(reasonExpired)
	}
	return terms, nil
}

// Requirements is the way as v2's PaymentRequirements.
func (w Way) Requirements() x402.PaymentRequirements {
	t := w.Terms
	members := map[string]string{"name": t.AssetName, "version": t.AssetVersion, "p402": w.Seal}
	if t.TransferMethod != "" {
		members["assetTransferMethod"] = t.TransferMethod
	}
	if t.Facilitator != "" {
		members["facilitatorAddress"] = t.Facilitator
	}
	extra, err := json.Marshal(members)
	if err != nil {
		panic("call: " + err.Error()) // strings always marshal
	}
	return x402.PaymentRequirements{Scheme: t.Scheme, Network: t.Network, Amount: t.Amount.String(), Asset: t.Asset,
		PayTo: t.PayTo, MaxTimeoutSeconds: json.Number(strconv.Itoa(t.MaxTimeoutSeconds)), Extra: extra}
}

// Requirements is every way, in order.
func (o *Offer) Requirements() []x402.PaymentRequirements {
	out := make([]x402.PaymentRequirements, 0, len(o.Ways))
	for _, w := range o.Ways {
		out = append(out, w.Requirements())
	}
	return out
}
