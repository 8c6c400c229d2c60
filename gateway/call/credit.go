package call

import (
	"context"
	"errors"
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/x402"
)

// Funder reads what a payer has of a token at the latest block; settlement.ErrChainUnavailable (wrapped) if the chain does not say.
type Funder interface {
	Funds(ctx context.Context, asset, payer string) (money.USDC, error)
}

// Credit is how much a seller trusts before it is collected: sums of what was authorized under credit and is on its way, with
// what was lost so counted in for good.
type Credit struct {
	PerPayer money.USDC // towards one payer
	Total    money.USDC // towards all
}

// Funds is a payer's balance when it was read. Everything of the payer's that is claimed and had not left the balance by
// then counts against it.
type Funds struct {
	Balance money.USDC
	At      time.Time
}

// Refusals of Store.Open for a claim; neither reaches a payer as it is.
var (
	// ErrNoCredit: the claim would pass a limit of its Credit; it may be made again without credit.
	ErrNoCredit = errors.New("the seller's credit for this payer is used up")
	// ErrNoFunds: the payer's balance does not cover this claim beside those on their way.
	ErrNoFunds = errors.New("the payer's balance is claimed by payments that are on their way")
)

// ErrInDebt: too many of the payer's payments to this seller could not be collected of late.
var ErrInDebt = fault.New(fault.KindDenied, "PAYER_IN_DEBT", "too many of this payer's payments could not be collected lately; the seller serves it again later")

// claim makes the payment and opens the call with it. A call on credit whose limit is reached is served all the same, as one
// that waits for its payment; a balance that earlier claims use up is refused, or one balance would buy many runs (A115).
func (r *Runner) claim(ctx context.Context, in Input, res *Result, t settlement.Terms, a settlement.Authorization, name string) (settlement.Payment, error) {
	funds := Funds{At: r.Now()} // before the reading: what moves meanwhile counts twice rather than not at all
	var err error
	if funds.Balance, err = r.Sale.Funders[t.Network].Funds(ctx, t.Asset, a.Payer); err != nil {
		return settlement.Payment{}, r.refused(in, res.Quote, err)
	}
	credit, err := credit(res.Quote.Workflow.Price)
	if err != nil {
		return settlement.Payment{}, err
	}
	if t.WaitFor == settlement.WaitAuthorized && credit == nil {
		t.WaitFor = settlement.WaitIncluded // the seller has withdrawn it since the offer
	}
	for {
		p := settlement.Claim(r.IDs.Payment(), t, a, res.Event.ID, r.Now(), res.Event.Deadline)
		p.Identifier = name
		o := Opening{Event: res.Event, Reservations: res.Decision.Reservations, Payment: &p, Funds: funds}
		if t.WaitFor == settlement.WaitAuthorized {
			o.Credit = credit
		}
		switch err := r.open(ctx, in, res, o); {
		case errors.Is(err, ErrNoCredit):
			t.WaitFor = settlement.WaitIncluded
		case errors.Is(err, ErrNoFunds):
			reason := x402.ReasonBalance
			if a.Method == settlement.MethodPermit2 {
				reason = x402.ReasonPermit2Balance
			}
			return p, r.refused(in, res.Quote, x402.Refuse(reason, "payload", ErrNoFunds.Error()))
		default:
			return p, err
		}
	}
}

func credit(p *meter.Price) (*Credit, error) {
	if p.Credit == nil || p.WaitFor != string(settlement.WaitAuthorized) {
		return nil, nil // none is given
	}
	perPayer, err := money.Payable(p.Credit.PerPayerUSD)
	if err != nil {
		return nil, err
	}
	total, err := money.Payable(p.Credit.TotalUSD)
	return &Credit{PerPayer: perPayer, Total: total}, err
}
