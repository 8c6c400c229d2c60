package evm

import (
	"context"
	"errors"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/ethereum/go-ethereum/rpc"

	"p402.io/p402/contracts"
	"p402.io/p402/settlement"
)

// Chain reads one network over JSON-RPC.
type Chain struct{ Client *ethclient.Client }

var _ settlement.Chain = (*Chain)(nil)

// rpcTimeout bounds one question to a node.
const rpcTimeout = 8 * time.Second

// maxLogRange is how many blocks one eth_getLogs may span; public nodes refuse more than a few thousand.
const maxLogRange = 1000

func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, rpcTimeout)
}

// Head is the latest block.
func (c *Chain) Head(ctx context.Context) (settlement.Block, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	h, err := c.Client.HeaderByNumber(ctx, nil)
	if err != nil {
		return settlement.Block{}, unavailable(err)
	}
	return settlement.Block{Number: h.Number.Uint64(), Hash: h.Hash().Hex(), Time: settlement.UnixSeconds(h.Time)}, nil
}

// FinalizedNumber is the block that the network calls finalized.
func (c *Chain) FinalizedNumber(ctx context.Context) (uint64, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	h, err := c.Client.HeaderByNumber(ctx, big.NewInt(int64(rpc.FinalizedBlockNumber)))
	if err != nil {
		if errors.Is(err, ethereum.NotFound) {
			return 0, nil
		}
		return 0, unavailable(err)
	}
	return h.Number.Uint64(), nil
}

// Canonical reports whether the block is on the present chain.
func (c *Chain) Canonical(ctx context.Context, number uint64, hash string) (bool, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	h, err := c.Client.HeaderByNumber(ctx, new(big.Int).SetUint64(number))
	if errors.Is(err, ethereum.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, unavailable(err)
	}
	return h.Hash() == common.HexToHash(hash), nil
}

// AuthorizationUsed is the token's authorizationState, or Permit2's bit of the nonce: used or cancelled.
func (c *Chain) AuthorizationUsed(ctx context.Context, a settlement.Authorization) (bool, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	reader := Exact{Node: c.Client}
	if a.Method == settlement.MethodPermit2 {
		return permit2Used(ctx, &reader, a)
	}
	word, err := reader.read(ctx, common.HexToAddress(a.Asset), sigState, common.HexToAddress(a.Payer), [32]byte(common.HexToHash(a.Nonce)))
	if err != nil {
		return false, unavailable(err)
	}
	return new(big.Int).SetBytes(word).Sign() != 0, nil
}

// Simulate runs a call against the latest state.
func (c *Chain) Simulate(ctx context.Context, i settlement.TxIntent) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	to := common.HexToAddress(i.To)
	_, err := c.Client.CallContract(ctx, ethereum.CallMsg{From: common.HexToAddress(i.From), To: &to, Data: i.Data, Gas: i.GasLimit}, nil)
	if err != nil && !reverted(err) {
		return unavailable(err)
	}
	return err
}

// Evidence finds the authorization's own logs. An authorization that was cancelled, or whose money went elsewhere, is
// found as uncollectable.
func (c *Chain) Evidence(ctx context.Context, a settlement.Authorization, from uint64) (settlement.Evidence, bool, error) {
	head, err := c.Head(ctx)
	if err != nil {
		return settlement.Evidence{}, false, err
	}
	if a.Method == settlement.MethodPermit2 {
		return c.permit2Evidence(ctx, a, from, head.Number)
	}
	used, cancelled := contracts.USDC.Event("AuthorizationUsed"), contracts.USDC.Event("AuthorizationCanceled")
	for start := from; start <= head.Number; start += maxLogRange {
		query := ethereum.FilterQuery{FromBlock: new(big.Int).SetUint64(start), ToBlock: new(big.Int).SetUint64(min(start+maxLogRange-1, head.Number)),
			Addresses: []common.Address{common.HexToAddress(a.Asset)},
			Topics:    [][]common.Hash{{used, cancelled}, {common.BytesToHash(common.HexToAddress(a.Payer).Bytes())}, {common.HexToHash(a.Nonce)}}}
		logs, err := c.logs(ctx, query)
		if err != nil {
			return settlement.Evidence{}, false, err
		}
		for _, l := range logs {
			if l.Removed {
				continue
			}
			if l.Topics[0] == cancelled {
				return settlement.Evidence{Kind: settlement.EvidenceUncollectable, Reason: "cancelled", TxHash: l.TxHash.Hex(), BlockNumber: l.BlockNumber}, true, nil
			}
			return c.transfer(ctx, a, l)
		}
	}
	return settlement.Evidence{}, false, nil
}

func (c *Chain) logs(ctx context.Context, q ethereum.FilterQuery) ([]types.Log, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	logs, err := c.Client.FilterLogs(ctx, q)
	if err != nil {
		return nil, unavailable(err)
	}
	return logs, nil
}

// transfer finds the Transfer that follows the AuthorizationUsed log in its transaction: the token emits the use first
// (FiatTokenV2), so the next Transfer of the same payer and amount is this authorization's.
func (c *Chain) transfer(ctx context.Context, a settlement.Authorization, used types.Log) (settlement.Evidence, bool, error) {
	rctx, cancel := bounded(ctx)
	defer cancel()
	receipt, err := c.Client.TransactionReceipt(rctx, used.TxHash)
	if errors.Is(err, ethereum.NotFound) {
		return settlement.Evidence{}, false, nil // reorganised away between the two questions
	}
	if err != nil {
		return settlement.Evidence{}, false, unavailable(err)
	}
	topic := contracts.USDC.Event("Transfer")
	for _, l := range receipt.Logs {
		if l.Index <= used.Index || l.Address != used.Address || len(l.Topics) != 3 || l.Topics[0] != topic {
			continue
		}
		if l.Topics[1] != common.BytesToHash(common.HexToAddress(a.Payer).Bytes()) ||
			l.Topics[2] != common.BytesToHash(common.HexToAddress(a.PayTo).Bytes()) || new(big.Int).SetBytes(l.Data).Cmp(a.Value.Big()) != 0 {
			break
		}
		return settlement.Evidence{Kind: settlement.EvidenceSeen, TxHash: l.TxHash.Hex(), BlockNumber: l.BlockNumber, BlockHash: l.BlockHash.Hex(),
			LogIndex: l.Index, BlockTime: settlement.UnixSeconds(used.BlockTimestamp)}, true, nil
	}
	return settlement.Evidence{Kind: settlement.EvidenceUncollectable, Reason: "paid_elsewhere", TxHash: used.TxHash.Hex(), BlockNumber: used.BlockNumber}, true, nil
}
