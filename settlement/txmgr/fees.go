package txmgr

import (
	"context"
	"errors"
	"math"
	"math/big"

	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
)

// Limits bound what a wallet spends.
type Limits struct {
	// MaxFeePerGas is the absolute cap, whatever is paid for. Zero: the network's row.
	MaxFeePerGas money.Wei
	// CoinPrice is what one of the network's coins (10^18 wei) is taken to cost. It only bounds fees, so it should be rather too high. Zero, as
	// on test networks, where the coin is worth nothing: no cap relative to the payment.
	CoinPrice money.USD
	// SharePercent of a payment is the most that collecting it may cost; but FeeFloor is always allowed, so that small payments go on
	// cheap networks. Zero: 20 %, and 0.05 USD.
	SharePercent int64
	FeeFloor     money.USD
	// LowGas is the number of collecting transactions, at present fees, below which the wallet counts as low. Zero: 200.
	LowGas int64
}

const (
	// bumpPercent is the least raise that nodes accept for a replacement (geth: 10 %), with room.
	bumpPercent = 15
	// defaultTip is 0.001 gwei, above what Base asks.
	defaultTip          = 1_000_000
	defaultSharePercent = 20
	defaultLowGas       = 200
	// collectGas is what one collecting transaction uses, for the estimate of how long the balance lasts: USDC's
	// transferWithAuthorization takes 60,000 to 90,000.
	collectGas = 90_000
	// fillGas is what a transfer of nothing costs, to an account without code.
	fillGas = 21_000
)

// Gas is the wallet's balance and for how many payments it lasts at present fees.
func (s *Sender) Gas(ctx context.Context) (settlement.Gas, error) {
	balance, err := s.Balance(ctx)
	if err != nil {
		return settlement.Gas{}, err
	}
	_, price, err := s.market(ctx)
	if err != nil {
		return settlement.Gas{}, err
	}
	g := settlement.Gas{Network: s.network.CAIP2, Account: s.Account(), Balance: balance, Payments: math.MaxInt64}
	if cost := new(big.Int).Mul(price, big.NewInt(collectGas)); cost.Sign() > 0 {
		if n := cost.Div(balance.Big(), cost); n.IsInt64() {
			g.Payments = n.Int64()
		}
	}
	g.Low = g.Payments < s.limits.LowGas
	return g, nil
}

// cap is the highest fee per gas for a payment: the absolute one, or what the payment can bear if all the gas were used.
func (l Limits) cap(payment money.USDC, gas uint64) (*big.Int, error) {
	absolute := l.MaxFeePerGas.Big()
	if l.CoinPrice.IsZero() {
		return absolute, nil
	}
	if gas == 0 {
		return nil, errors.New("a transaction without a gas limit has no bound on its cost")
	}
	bearable := new(big.Rat).Mul(payment.USD().Rat(), big.NewRat(l.SharePercent, 100))
	if floor := l.FeeFloor.Rat(); bearable.Cmp(floor) < 0 {
		bearable = floor
	}
	bearable.Quo(bearable, l.CoinPrice.Rat())                 // coins
	bearable.Mul(bearable, new(big.Rat).SetInt(weiPerCoin())) // wei
	bearable.Quo(bearable, new(big.Rat).SetUint64(gas))       // wei a gas
	relative := new(big.Int).Quo(bearable.Num(), bearable.Denom())
	if relative.Cmp(absolute) < 0 {
		return relative, nil
	}
	return absolute, nil
}

// weiPerCoin is 10^18 on every EVM network.
func weiPerCoin() *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(18), nil) }

// market is the present tip and the least price per gas with it.
func (s *Sender) market(ctx context.Context) (tip, price *big.Int, err error) {
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	head, err := s.client.HeaderByNumber(ctx, nil)
	if err != nil {
		return nil, nil, unavailable(err)
	}
	if tip, err = s.client.SuggestGasTipCap(ctx); err != nil {
		return nil, nil, unavailable(err)
	}
	if tip.Sign() == 0 {
		tip = big.NewInt(defaultTip)
	}
	base := head.BaseFee
	if base == nil {
		base = new(big.Int) // a network without EIP-1559's base fee
	}
	return tip, new(big.Int).Add(base, tip), nil
}

// fees: twice the base fee and the tip, so that six full blocks do not price it out; never above the cap. Within the cap there may
// be room for less than twice: then the cap itself, as long as it buys a place now.
func (s *Sender) fees(ctx context.Context, prev *settlement.Attempt, cap *big.Int) (tip, fee *big.Int, err error) {
	tip, price, err := s.market(ctx)
	if err != nil {
		return nil, nil, err
	}
	least := price
	fee = new(big.Int).Sub(new(big.Int).Lsh(price, 1), tip)
	if prev != nil {
		least = larger(least, raised(prev.FeeCap.Big()))
		tip, fee = larger(tip, raised(prev.TipCap.Big())), larger(fee, least)
	}
	if least.Cmp(cap) > 0 {
		return nil, nil, settlement.ErrFeeTooHigh
	}
	if fee.Cmp(cap) > 0 {
		fee = cap
	}
	if tip.Cmp(fee) > 0 {
		tip = fee
	}
	return tip, fee, nil
}

func raised(n *big.Int) *big.Int {
	up := new(big.Int).Mul(n, big.NewInt(100+bumpPercent))
	up.Div(up, big.NewInt(100))
	return up.Add(up, big.NewInt(1))
}

func larger(a, b *big.Int) *big.Int {
	if a.Cmp(b) >= 0 {
		return a
	}
	return b
}
