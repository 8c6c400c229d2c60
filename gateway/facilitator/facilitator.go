// Package facilitator is /x402 for other people's servers: it verifies and settles payments to payees that the operator
// has allowed. No meter event comes of it.
package facilitator

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/gateway/call"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/x402"
)

// Surface is the facilitator's routes.
type Surface struct {
	Auth    *gateway.Auth
	Book    settlement.Book
	IDs     *id.Source
	Now     func() time.Time
	Log     *slog.Logger
	Sale    *call.Sale
	Signers map[string][]string // CAIP-2 family "eip155:*" -> our sending addresses
	// PayTo is the addresses that may be paid through us; an open facilitator would burn our gas for anybody.
	PayTo map[string]bool
}

// Register adds the routes.
func (s *Surface) Register(r *gin.Engine) {
	r.GET("/x402/supported", s.supported)
	r.POST("/x402/verify", s.verify)
	r.POST("/x402/settle", s.settle)
}

func (s *Surface) supported(c *gin.Context) {
	out := x402.Supported{Kinds: []x402.SupportedKind{}, Extensions: []string{"eip2612GasSponsoring"}, Signers: s.Signers}
	for network, asset := range s.Sale.Assets {
		out.Kinds = append(out.Kinds, x402.SupportedKind{X402Version: 2, Scheme: x402.SchemeExact, Network: network})
		if wallets := s.Signers["eip155:*"]; len(wallets) > 0 {
			// Three words and an address: it always marshals.
			extra, _ := json.Marshal(map[string]string{"assetTransferMethod": settlement.MethodPermit2, "facilitatorAddress": wallets[0]})
			out.Kinds = append(out.Kinds, x402.SupportedKind{X402Version: 2, Scheme: x402.SchemeUpto, Network: network, Extra: extra})
		}
		if asset.V1Network != "" {
			out.Kinds = append(out.Kinds, x402.SupportedKind{X402Version: 1, Scheme: x402.SchemeExact, Network: asset.V1Network})
		}
	}
	c.JSON(http.StatusOK, out)
}

// asked is a facilitator request, decoded.
type asked struct {
	caller  meter.Caller
	version int
	network string // as the client names it
	terms   settlement.Terms
	payment x402.Payment
	actual  money.USDC // what is to be settled: the terms' amount, or for upto at most that
}

func (s *Surface) verify(c *gin.Context) {
	a, err := s.read(c, meter.ScopeSettleVerify)
	if err == nil {
		_, err = s.Sale.Schemes[a.terms.Network].Check(c.Request.Context(), a.terms, a.payment)
	}
	var refusal *x402.Error
	switch {
	case err == nil:
		c.JSON(http.StatusOK, x402.VerifyResponse{IsValid: true, Payer: a.payment.Payer()})
	case errors.As(err, &refusal):
		c.JSON(http.StatusOK, x402.VerifyResponse{InvalidReason: string(refusal.Reason), Payer: a.payment.Payer()})
	default:
		gateway.Fail(c, s.Log, err)
	}
}

// settle claims the authorization, lets the worker collect it and waits. The same body again resumes the same payment:
// nothing is ever sent twice for one authorization.
func (s *Surface) settle(c *gin.Context) {
	a, err := s.read(c, meter.ScopeSettleWrite)
	if err != nil {
		s.answer(c, a, settlement.Payment{}, err)
		return
	}
	a, err = a.metered()
	var p settlement.Payment
	if err == nil {
		p, err = s.claim(c.Request.Context(), a)
	}
	if err == nil {
		p, err = s.await(c.Request.Context(), p)
	}
	s.answer(c, a, p, err)
}

// metered reads a settle request of upto: its amount is what the work came to, and the terms are what the payer signed. Zero is
// claimed as well, so that the permit is spent, and nothing is sent.
func (a asked) metered() (asked, error) {
	if a.terms.Scheme != x402.SchemeUpto || a.payment.Permit2 == nil {
		return a, nil
	}
	ceiling, err := money.ParseUSDC(a.payment.Permit2.Amount)
	if err != nil || a.actual.Cmp(ceiling) > 0 {
		return a, x402.Refuse(x402.ReasonUptoExceeds, "paymentRequirements.amount", "is more than the payer signed")
	}
	a.terms.Amount, a.terms.PriceUSD = ceiling, a.actual.USD()
	return a, nil
}

func (s *Surface) claim(ctx context.Context, a asked) (settlement.Payment, error) {
	known, err := s.Book.ByAuthorization(ctx, a.terms.Network, a.terms.Asset, a.payment.Payer(), a.payment.Nonce())
	switch {
	case err == nil && (known.Source != "facilitator" || known.TenantID != a.caller.TenantID || known.Terms.PayTo != a.terms.PayTo || known.Amount.Cmp(a.actual) != 0):
		return known, x402.Refuse(x402.ReasonDuplicate, "payload", "")
	case err == nil && known.State != settlement.StateVoided:
		return known, nil
	case err != nil && !errors.Is(err, settlement.ErrNotFound):
		return settlement.Payment{}, err
	}
	auth, err := s.Sale.Schemes[a.terms.Network].Check(ctx, a.terms, a.payment)
	if err != nil {
		return settlement.Payment{}, err
	}
	p := settlement.Claim(s.IDs.Payment(), a.terms, auth, "", s.Now(), s.Now().Add(s.Sale.AwaitFor))
	p.Source, p.State = "facilitator", settlement.StateCaptured // the resource server has done the work: it is owed at once
	p.Amount = a.actual
	if err := s.Book.Claim(ctx, p); err != nil {
		if errors.Is(err, settlement.ErrAuthorizationUsed) {
			return p, x402.Refuse(x402.ReasonDuplicate, "payload", "")
		}
		return settlement.Payment{}, err
	}
	return p, nil
}

func (s *Surface) await(ctx context.Context, p settlement.Payment) (settlement.Payment, error) {
	settler := s.Sale.Settlers[p.Terms.Network]
	settler.Kick()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Sale.AwaitFor)
	defer cancel()
	got, err := settler.Await(ctx, p.ID, settlement.StateIncluded)
	switch {
	case err == nil && (got.State == settlement.StateIncluded || got.State == settlement.StateFinal):
		return got, nil
	case got.State == settlement.StateLost || got.State == settlement.StateVoided:
		return got, x402.Refuse(x402.ReasonTransactionFailed, "", got.Reason)
	}
	return got, x402.Refuse(x402.ReasonSettlementPending, "", "")
}

func (s *Surface) answer(c *gin.Context, a asked, p settlement.Payment, err error) {
	out := x402.SettlementResponse{Network: a.network, Payer: a.payment.Payer(), Transaction: p.Evidence.TxHash}
	var refusal *x402.Error
	switch {
	case err == nil:
		out.Success, out.Amount = true, p.Amount.String()
	case errors.As(err, &refusal):
		out.ErrorReason, out.ErrorMessage = string(refusal.Reason), refusal.Message
	default:
		gateway.Fail(c, s.Log, err)
		return
	}
	c.JSON(http.StatusOK, out)
}

// read authenticates and decodes. A refusal that is the payer's is an *x402.Error, a malformed body a plain 400.
func (s *Surface) read(c *gin.Context, scope meter.Scope) (asked, error) {
	caller, err := s.Auth.Require(c, scope)
	if err != nil {
		return asked{}, err
	}
	raw, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, gateway.MaxAPIBody))
	if err != nil {
		return asked{}, err
	}
	var body x402.FacilitatorRequest
	var malformed *x402.Error
	if errors.As(x402.Decode(raw, &body), &malformed) { // also a name that comes twice: two readers would see two requests
		return asked{}, fault.Field(fault.KindInvalid, "INVALID_INPUT", malformed.Field, malformed.Message)
	}
	if len(body.PaymentPayload) == 0 || len(body.PaymentRequirements) == 0 {
		return asked{}, fault.New(fault.KindInvalid, "INVALID_INPUT", "send x402Version, paymentPayload and paymentRequirements")
	}
	if body.X402Version != 1 && body.X402Version != 2 {
		return asked{}, fault.Field(fault.KindInvalid, "INVALID_INPUT", "x402Version", "must be 1 or 2")
	}
	a := asked{caller: caller, version: body.X402Version}
	payment, err := x402.DecodePayment(body.PaymentPayload, body.X402Version)
	if err != nil {
		return a, err
	}
	a.payment = *payment
	return s.readTerms(a, body.PaymentRequirements)
}

func (s *Surface) readTerms(a asked, raw json.RawMessage) (asked, error) {
	r, err := x402.DecodeRequirements(raw, a.version)
	if err != nil {
		return a, err
	}
	a.network = r.Network
	if name, ok := x402.V1Name(r.Network); ok && a.version == x402.Version1 {
		a.network = name
	}
	asset, ok := s.Sale.Assets[r.Network]
	if !ok {
		return a, x402.Refuse(x402.ReasonInvalidNetwork, "network", "is not served here")
	}
	if !strings.EqualFold(asset.Address, r.Asset) {
		return a, x402.Refuse(x402.ReasonInvalidRequirement, "asset", "is not served here")
	}
	payTo := ""
	for allowed := range s.PayTo {
		if strings.EqualFold(allowed, r.PayTo) {
			payTo = allowed
		}
	}
	if payTo == "" {
		return a, x402.Refuse(x402.ReasonInvalidRequirement, "payTo", "is not on the operator's list")
	}
	amount, err := money.ParseUSDC(r.Amount)
	if err != nil {
		return a, x402.Refuse(x402.ReasonInvalidRequirement, "amount", "")
	}
	var extra struct{ Name, Version, AssetTransferMethod, FacilitatorAddress string }
	if len(r.Extra) > 0 && json.Unmarshal(r.Extra, &extra) != nil {
		return a, x402.Refuse(x402.ReasonInvalidRequirement, "extra", "")
	}
	if r.Scheme == x402.SchemeUpto {
		extra.AssetTransferMethod = settlement.MethodPermit2
	}
	if extra.AssetTransferMethod != settlement.MethodPermit2 {
		extra.AssetTransferMethod = ""
	}
	a.actual = amount
	a.terms = settlement.Terms{TransferMethod: extra.AssetTransferMethod, Facilitator: extra.FacilitatorAddress, TenantID: a.caller.TenantID, Scheme: r.Scheme, Network: r.Network, Asset: asset.Address, AssetName: extra.Name,
		AssetVersion: extra.Version, PayTo: payTo, Amount: amount, PriceUSD: amount.USD(), WaitFor: settlement.WaitIncluded, QuotedAt: s.Now()}
	return a, nil
}
