// Package txmgr signs and sends for one wallet on one network: fees under a cap, replacement, broadcast. It stores
// nothing; the worker journals the raw bytes before they are sent.
package txmgr

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
)

// ErrFeeTooHigh: the network asks more than the configured cap; the payment waits rather than burn money.
var ErrFeeTooHigh = fault.New(fault.KindUnavailable, "FEE_TOO_HIGH", "the network's fee is above the configured cap")

const (
	rpcTimeout = 8 * time.Second
	// bumpPercent is the least raise that nodes accept for a replacement (geth: 10 %), with room.
	bumpPercent = 15
	// defaultTip is 0.001 gwei, above what Base asks.
	defaultTip = 1_000_000
)

// Sender is one wallet on one network.
type Sender struct {
	client  *ethclient.Client
	key     *ecdsa.PrivateKey
	account common.Address
	chainID *big.Int
	cap     *big.Int
}

var _ settlement.Sender = (*Sender)(nil)

// New returns a Sender for a private key of 64 hex digits, with or without 0x. The key is never logged or returned.
func New(client *ethclient.Client, privateKey string, n settlement.Network) (*Sender, error) {
	key, err := crypto.HexToECDSA(strings.TrimPrefix(privateKey, "0x"))
	if err != nil {
		return nil, errors.New("the settlement key is not 64 hex digits of a secp256k1 key")
	}
	return &Sender{client: client, key: key, account: crypto.PubkeyToAddress(key.PublicKey), chainID: big.NewInt(n.ChainID), cap: n.MaxFeePerGas.Big()}, nil
}

// Account is the wallet's checksummed address.
func (s *Sender) Account() string { return s.account.Hex() }

func unavailable(err error) error { return settlement.ErrChainUnavailable.Because(err) }

// ChainNonce is the wallet's next nonce as mined.
func (s *Sender) ChainNonce(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	n, err := s.client.NonceAt(ctx, s.account, nil)
	if err != nil {
		return 0, unavailable(err)
	}
	return n, nil
}

// Balance is the wallet's gas money.
func (s *Sender) Balance(ctx context.Context) (money.Wei, error) {
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	n, err := s.client.BalanceAt(ctx, s.account, nil)
	if err != nil {
		return money.Wei{}, unavailable(err)
	}
	return money.WeiFromBig(n)
}

// Sign makes an EIP-1559 transaction for a slot at present fees; with prev it outbids that attempt.
func (s *Sender) Sign(ctx context.Context, slot settlement.Slot, i settlement.TxIntent, prev *settlement.Attempt, _ money.USDC) (settlement.Attempt, error) {
	tip, fee, err := s.fees(ctx, prev)
	if err != nil {
		return settlement.Attempt{}, err
	}
	to := common.HexToAddress(i.To)
	tx, err := types.SignNewTx(s.key, types.LatestSignerForChainID(s.chainID), &types.DynamicFeeTx{ChainID: s.chainID, Nonce: slot.Nonce,
		GasTipCap: tip, GasFeeCap: fee, Gas: i.GasLimit, To: &to, Data: i.Data})
	if err != nil {
		return settlement.Attempt{}, fmt.Errorf("sign transaction: %w", err)
	}
	raw, err := tx.MarshalBinary()
	if err != nil {
		return settlement.Attempt{}, fmt.Errorf("encode transaction: %w", err)
	}
	feeCap, err := money.WeiFromBig(fee)
	if err != nil {
		return settlement.Attempt{}, err
	}
	tipCap, err := money.WeiFromBig(tip)
	if err != nil {
		return settlement.Attempt{}, err
	}
	return settlement.Attempt{Slot: slot, Number: 1, TxHash: tx.Hash().Hex(), Raw: raw, FeeCap: feeCap, TipCap: tipCap}, nil
}

// fees: twice the base fee and the tip, so that six full blocks do not price it out; never above the cap.
func (s *Sender) fees(ctx context.Context, prev *settlement.Attempt) (tip, fee *big.Int, err error) {
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
	fee = new(big.Int).Add(new(big.Int).Lsh(head.BaseFee, 1), tip)
	if prev != nil {
		tip, fee = larger(tip, raised(prev.TipCap.Big())), larger(fee, raised(prev.FeeCap.Big()))
	}
	if fee.Cmp(s.cap) > 0 {
		return nil, nil, ErrFeeTooHigh
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

// harmless is what nodes say when there is nothing left to do: they know the transaction, or its slot is used.
var harmless = []string{"already known", "nonce too low", "known transaction", "already imported", "underpriced"}

// Broadcast hands stored bytes to the network.
func (s *Sender) Broadcast(ctx context.Context, raw []byte) error {
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	var tx types.Transaction
	if err := tx.UnmarshalBinary(raw); err != nil {
		return fmt.Errorf("read stored transaction: %w", err)
	}
	err := s.client.SendTransaction(ctx, &tx)
	if err == nil {
		return nil
	}
	for _, text := range harmless {
		if strings.Contains(err.Error(), text) {
			return nil
		}
	}
	return unavailable(err)
}

// Mined reports whether a transaction is in a block, and whether it succeeded there.
func (s *Sender) Mined(ctx context.Context, txHash string) (found, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	r, err := s.client.TransactionReceipt(ctx, common.HexToHash(txHash))
	if errors.Is(err, ethereum.NotFound) {
		return false, false, nil
	}
	if err != nil {
		return false, false, unavailable(err)
	}
	return true, r.Status == types.ReceiptStatusSuccessful, nil
}
