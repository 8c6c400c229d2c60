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

// Offer is a 402: what has to be paid, sealed. It is an error so that it travels up like every other refusal.
type Offer struct {
	Terms  settlement.Terms
	Seal   string
	Reason string
	V1     string // v1's name of the network, "" if it has none
}

// Error is the text for logs.
func (o *Offer) Error() string { return "payment required: " + o.Reason }

// As lets the offer be read as a plain refusal by surfaces that know no payments.
func (o *Offer) As(target any) bool {
	f, ok := target.(**fault.Error)
	if ok {
		*f = fault.New(fault.KindPaymentRequired, "PAYMENT_REQUIRED", "this call costs "+o.Terms.PriceUSD.String()+" USDC on "+o.Terms.Network+"; pay it with an x402 client")
	}
	return ok
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
	terms, err := r.terms(in, q)
	if err != nil {
		return nil, err
	}
	seal, err := sealer{r.Sale.SealKey}.Seal(terms)
	if err != nil {
		return nil, err
	}
	return &Offer{Terms: terms, Seal: seal, Reason: reason, V1: r.Sale.Assets[terms.Network].V1Network}, nil
}

func (r *Runner) terms(in Input, q meter.Quote) (settlement.Terms, error) {
	w, now := q.Workflow, r.Now().UTC().Truncate(time.Microsecond)
	asset, ok := r.Sale.Assets[w.Price.Network]
	if !ok {
		return settlement.Terms{}, fault.New(fault.KindUnavailable, "NETWORK_UNAVAILABLE", "the workflow's payment network is not configured here")
	}
	amount, err := money.Payable(w.Price.AmountUSD)
	if err != nil {
		return settlement.Terms{}, err
	}
	return settlement.Terms{
		QuoteID: "quo_" + string(r.IDs.Request())[4:], TenantID: w.TenantID, WorkflowID: w.WorkflowID, PriceVersion: w.Price.Version,
		Scheme: w.Price.Scheme, Network: w.Price.Network, Asset: asset.Address, AssetName: asset.Name, AssetVersion: asset.Version,
		PayTo: w.Price.PayTo, Amount: amount, PriceUSD: w.Price.AmountUSD, MaxTimeoutSeconds: maxTimeoutSeconds, Resource: in.Resource,
		Description: w.Description, MimeType: "application/json", RequestDigest: in.Request.Digest,
		WaitFor: settlement.WaitFor(w.Price.WaitFor), QuotedAt: now, ExpiresAt: now.Add(r.Sale.OfferFor),
	}, nil
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
		terms, err := r.terms(in, q)
		if err != nil {
			return settlement.Terms{}, err
		}
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
	want := (&Offer{Terms: terms, Seal: extra.Seal}).Requirements()
	if !x402.Accepts(want, *p.Accepted) {
		return settlement.Terms{}, refuse(reasonNoMatch)
	}
	if r.Now().After(terms.ExpiresAt) {
		return settlement.Terms{}, refuse(reasonExpired)
	}
	return terms, nil
}

// Requirements is the offer as v2's PaymentRequirements.
func (o *Offer) Requirements() x402.PaymentRequirements {
	extra, err := json.Marshal(map[string]string{"name": o.Terms.AssetName, "version": o.Terms.AssetVersion, "p402": o.Seal})
	if err != nil {
		panic("call: " + err.Error()) // three strings always marshal
	}
	return x402.PaymentRequirements{Scheme: o.Terms.Scheme, Network: o.Terms.Network, Amount: o.Terms.Amount.String(), Asset: o.Terms.Asset,
		PayTo: o.Terms.PayTo, MaxTimeoutSeconds: json.Number(strconv.Itoa(o.Terms.MaxTimeoutSeconds)), Extra: extra}
}
