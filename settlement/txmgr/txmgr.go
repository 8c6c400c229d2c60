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

	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
)

const rpcTimeout = 8 * time.Second

// Sender is one wallet on one network.
type Sender struct {
	client  *ethclient.Client
	key     *ecdsa.PrivateKey
	account common.Address
	network settlement.Network
	chainID *big.Int
	limits  Limits
}

var _ settlement.Sender = (*Sender)(nil)

// New returns a Sender with the network's own limits for a private key of 64 hex digits, with or without 0x. The key is never
// logged or returned.
func New(client *ethclient.Client, privateKey string, n settlement.Network) (*Sender, error) {
	return NewLimited(client, privateKey, n, Limits{CoinPrice: n.CoinPrice})
}

// NewLimited is New with limits of the operator's.
func NewLimited(client *ethclient.Client, privateKey string, n settlement.Network, l Limits) (*Sender, error) {
	key, err := crypto.HexToECDSA(strings.TrimPrefix(privateKey, "0x"))
	if err != nil {
		return nil, errors.New("the settlement key is not 64 hex digits of a secp256k1 key")
	}
	if l.MaxFeePerGas.IsZero() {
		l.MaxFeePerGas = n.MaxFeePerGas
	}
	if l.SharePercent == 0 {
		l.SharePercent = defaultSharePercent
	}
	if l.FeeFloor.IsZero() {
		l.FeeFloor = money.MustUSD("0.05")
	}
	if l.LowGas == 0 {
		l.LowGas = defaultLowGas
	}
	return &Sender{client: client, key: key, account: crypto.PubkeyToAddress(key.PublicKey), network: n, chainID: big.NewInt(n.ChainID), limits: l}, nil
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

// Ready reports why the wallet cannot settle: the node is on another chain, or the account carries code (EIP-7702), which pools
// allow one transaction in flight only, and which may move its money.
func (s *Sender) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	chainID, err := s.client.ChainID(ctx)
	if err != nil {
		return unavailable(err)
	}
	if chainID.Cmp(s.chainID) != 0 {
		return fmt.Errorf("the node is on chain %s, not %s", chainID, s.chainID)
	}
	code, err := s.client.CodeAt(ctx, s.account, nil)
	if err != nil {
		return unavailable(err)
	}
	if len(code) > 0 {
		return fmt.Errorf("the wallet %s carries code: a settlement wallet must be a plain account", s.account)
	}
	return nil
}

// Sign makes an EIP-1559 transaction for a slot at present fees; with prev it outbids that attempt.
func (s *Sender) Sign(ctx context.Context, slot settlement.Slot, i settlement.TxIntent, prev *settlement.Attempt, payment money.USDC) (settlement.Attempt, error) {
	cap, err := s.limits.cap(payment, i.GasLimit)
	if err != nil {
		return settlement.Attempt{}, err
	}
	to := common.HexToAddress(i.To)
	return s.sign(ctx, types.DynamicFeeTx{Nonce: slot.Nonce, Gas: i.GasLimit, To: &to, Data: i.Data}, slot, prev, cap)
}

// Fill makes a transfer of nothing to ourselves for a slot; with prev it outbids that attempt.
func (s *Sender) Fill(ctx context.Context, slot settlement.Slot, prev *settlement.Attempt) (settlement.Attempt, error) {
	return s.sign(ctx, types.DynamicFeeTx{Nonce: slot.Nonce, Gas: fillGas, To: &s.account}, slot, prev, s.limits.MaxFeePerGas.Big())
}

func (s *Sender) sign(ctx context.Context, body types.DynamicFeeTx, slot settlement.Slot, prev *settlement.Attempt, cap *big.Int) (settlement.Attempt, error) {
	tip, fee, err := s.fees(ctx, prev, cap)
	if err != nil {
		return settlement.Attempt{}, err
	}
	body.ChainID, body.GasTipCap, body.GasFeeCap = s.chainID, tip, fee
	tx, err := types.SignNewTx(s.key, types.LatestSignerForChainID(s.chainID), &body)
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
