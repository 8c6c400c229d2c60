package evm

import (
	"context"
	"math/big"

	"github.com/ethereum/go-ethereum/common"

	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/x402"
)

// Suite is every scheme and transfer method of one network behind one settlement.Scheme: a payment goes where the terms say, and an
// authorization where it came from.
type Suite struct {
	exact         *Exact
	permit2, upto *Permit2
}

var _ settlement.Scheme = (*Suite)(nil)

// NewSuite adds exact over Permit2 and upto to exact over EIP-3009; upto permits must name one of e.Wallets.
func NewSuite(e *Exact) *Suite {
	return &Suite{exact: e, permit2: &Permit2{Base: e}, upto: &Permit2{Base: e, Upto: true, Facilitators: e.Wallets}}
}

// Name is that of the scheme every network has.
func (s *Suite) Name() string { return x402.SchemeExact }

// Funds is what a payer has of a token at the latest block.
func (s *Suite) Funds(ctx context.Context, asset, payer string) (money.USDC, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	word, err := s.exact.read(ctx, common.HexToAddress(asset), sigBalance, common.HexToAddress(payer))
	if err != nil {
		return money.USDC{}, unavailable(err)
	}
	return money.USDCFromBig(new(big.Int).SetBytes(word))
}

// Permit2Ready says whether the contracts for exact over Permit2, and for upto, have code on a network.
func Permit2Ready(ctx context.Context, node Node) (exact, upto bool, err error) {
	there := map[string]bool{}
	for _, address := range []string{Permit2Address, ExactProxyAddress, UptoProxyAddress} {
		code, err := node.CodeAt(ctx, common.HexToAddress(address), nil)
		if err != nil {
			return false, false, unavailable(err)
		}
		there[address] = len(code) > 0
	}
	return there[Permit2Address] && there[ExactProxyAddress], there[Permit2Address] && there[UptoProxyAddress], nil
}

// Check routes by the terms' scheme and transfer method. A payload of another kind than was offered is refused.
func (s *Suite) Check(ctx context.Context, t settlement.Terms, p x402.Payment) (settlement.Authorization, error) {
	switch {
	case t.Scheme == x402.SchemeUpto:
		return s.upto.Check(ctx, t, p)
	case t.TransferMethod == settlement.MethodPermit2:
		return s.permit2.Check(ctx, t, p)
	}
	return s.exact.Check(ctx, t, p)
}

// Collect routes by what the payer signed.
func (s *Suite) Collect(a settlement.Authorization, amount money.USDC) (settlement.TxIntent, error) {
	switch {
	case a.Method != settlement.MethodPermit2:
		return s.exact.Collect(a, amount)
	case a.Facilitator != "":
		return s.upto.Collect(a, amount)
	}
	return s.permit2.Collect(a, amount)
}
