package evm

import (
	"context"
	"errors"
	"math/big"
	"sort"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/ethereum/go-ethereum/rpc"

	"p402.io/p402/contracts"
	"p402.io/p402/internal/money"
	"p402.io/p402/settlement/reconcile"
)

// Logs reads token transfers for the indexer.
type Logs struct {
	Client  *ethclient.Client
	Network string // CAIP-2
}

var _ reconcile.Node = (*Logs)(nil)

// maxTopics is how many payers one question about authorizations names; nodes bound the size of a filter.
const maxTopics = 500

// Head is the newest block.
func (l *Logs) Head(ctx context.Context) (reconcile.Block, error) { return l.header(ctx, nil) }

// Finalized is the block that the network calls finalized.
func (l *Logs) Finalized(ctx context.Context) (reconcile.Block, error) {
	return l.header(ctx, big.NewInt(int64(rpc.FinalizedBlockNumber)))
}

// Block is the canonical block of a number.
func (l *Logs) Block(ctx context.Context, number uint64) (reconcile.Block, error) {
	return l.header(ctx, new(big.Int).SetUint64(number))
}

func (l *Logs) header(ctx context.Context, number *big.Int) (reconcile.Block, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	h, err := l.Client.HeaderByNumber(ctx, number)
	if errors.Is(err, ethereum.NotFound) {
		return reconcile.Block{}, reconcile.ErrNoBlock
	}
	if err != nil {
		return reconcile.Block{}, unavailable(err)
	}
	return reconcile.Block{Number: h.Number.Uint64(), Hash: h.Hash().Hex(), Time: time.Unix(int64(h.Time), 0).UTC()}, nil
}

// Balance is the token's balanceOf after a block.
func (l *Logs) Balance(ctx context.Context, asset, address string, block uint64) (money.USDC, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	data, err := contracts.USDC.Pack("balanceOf(address)", common.HexToAddress(address))
	if err != nil {
		return money.USDC{}, err
	}
	to := common.HexToAddress(asset)
	word, err := l.Client.CallContract(ctx, ethereum.CallMsg{To: &to, Data: data}, new(big.Int).SetUint64(block))
	if err != nil {
		return money.USDC{}, unavailable(err)
	}
	return money.USDCFromBig(new(big.Int).SetBytes(word))
}

// Transfers asks three questions: what came in, what went out, and which authorizations the senders of the first used. The
// third names the payers, so it stays small however busy the token is.
func (l *Logs) Transfers(ctx context.Context, r reconcile.Range) ([]reconcile.Transfer, error) {
	topic, wallets := contracts.USDC.Event("Transfer"), words(r.Addresses)
	in, err := l.ask(ctx, r, [][]common.Hash{{topic}, nil, wallets})
	if err != nil {
		return nil, err
	}
	out, err := l.ask(ctx, r, [][]common.Hash{{topic}, wallets})
	if err != nil {
		return nil, err
	}
	nonces, err := l.nonces(ctx, r, in)
	if err != nil {
		return nil, err
	}
	transfers, err := l.decode(ctx, r, append(in, out...), nonces)
	if err != nil {
		return nil, err
	}
	sort.Slice(transfers, func(i, j int) bool {
		a, b := transfers[i], transfers[j]
		return a.BlockNumber < b.BlockNumber || a.BlockNumber == b.BlockNumber && a.LogIndex < b.LogIndex
	})
	return transfers, nil
}

// place is where a log stands in the chain.
type place struct {
	tx    common.Hash
	index uint
}

// decode turns logs into transfers; one between two followed wallets came in both answers and counts once.
func (l *Logs) decode(ctx context.Context, r reconcile.Range, logs []types.Log, nonces map[place]common.Hash) ([]reconcile.Transfer, error) {
	times, seen, out := map[common.Hash]uint64{}, map[place]bool{}, []reconcile.Transfer{}
	for _, e := range logs {
		at := place{e.TxHash, e.Index}
		if e.Removed || len(e.Topics) != 3 || seen[at] {
			continue
		}
		seen[at] = true
		stamp, err := l.stamp(ctx, e, times)
		if err != nil {
			return nil, err
		}
		amount, err := money.USDCFromBig(new(big.Int).SetBytes(e.Data))
		if err != nil {
			return nil, err
		}
		t := reconcile.Transfer{Network: r.Network, Asset: e.Address.Hex(), From: holder(e.Topics[1]), To: holder(e.Topics[2]), Amount: amount, TxHash: e.TxHash.Hex(),
			LogIndex: e.Index, BlockNumber: e.BlockNumber, BlockHash: e.BlockHash.Hex(), BlockTime: time.Unix(int64(stamp), 0).UTC()}
		if nonce, ok := nonces[at]; ok {
			t.Nonce = nonce.Hex()
		}
		out = append(out, t)
	}
	return out, nil
}

// stamp is a log's block time; older nodes leave it out of logs, and then the block is asked.
func (l *Logs) stamp(ctx context.Context, e types.Log, known map[common.Hash]uint64) (uint64, error) {
	if e.BlockTimestamp != 0 {
		return e.BlockTimestamp, nil
	}
	if at, ok := known[e.BlockHash]; ok {
		return at, nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	h, err := l.Client.HeaderByHash(ctx, e.BlockHash)
	if err != nil {
		return 0, unavailable(err)
	}
	known[e.BlockHash] = h.Time
	return h.Time, nil
}

// nonces finds the authorization behind each incoming transfer. The token marks an authorization as used and then moves the
// money with nothing between (FiatTokenV2): the transfer's log is the next one, and its sender the authorizer.
func (l *Logs) nonces(ctx context.Context, r reconcile.Range, in []types.Log) (map[place]common.Hash, error) {
	senders, payers, out := map[place]common.Hash{}, []common.Hash{}, map[place]common.Hash{}
	known := map[common.Hash]bool{}
	for _, e := range in {
		if len(e.Topics) != 3 {
			continue
		}
		senders[place{e.TxHash, e.Index}] = e.Topics[1]
		if !known[e.Topics[1]] {
			known[e.Topics[1]], payers = true, append(payers, e.Topics[1])
		}
	}
	for start := 0; start < len(payers); start += maxTopics {
		logs, err := l.ask(ctx, r, [][]common.Hash{{contracts.USDC.Event("AuthorizationUsed")}, payers[start:min(start+maxTopics, len(payers))]})
		if err != nil {
			return nil, err
		}
		for _, e := range logs {
			next := place{e.TxHash, e.Index + 1}
			if len(e.Topics) == 3 && senders[next] == e.Topics[1] {
				out[next] = e.Topics[2]
			}
		}
	}
	return out, nil
}

func (l *Logs) ask(ctx context.Context, r reconcile.Range, topics [][]common.Hash) ([]types.Log, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	logs, err := l.Client.FilterLogs(ctx, ethereum.FilterQuery{FromBlock: new(big.Int).SetUint64(r.From), ToBlock: new(big.Int).SetUint64(r.To),
		Addresses: []common.Address{common.HexToAddress(r.Asset)}, Topics: topics})
	var refused rpc.Error
	var status rpc.HTTPError
	switch {
	case err == nil:
		return logs, nil
	case errors.As(err, &refused), errors.As(err, &status) && status.StatusCode >= 400 && status.StatusCode < 500 && status.StatusCode != 401 && status.StatusCode != 403:
		return nil, reconcile.ErrTooMuch.Because(err) // nodes name their limits in a dozen ways; an answer that refuses is one of them
	case errors.Is(err, context.DeadlineExceeded):
		return nil, reconcile.ErrTooMuch.Because(err)
	}
	return nil, unavailable(err)
}

func words(addresses []string) []common.Hash {
	out := make([]common.Hash, 0, len(addresses))
	for _, a := range addresses {
		out = append(out, common.BytesToHash(common.HexToAddress(a).Bytes()))
	}
	return out
}

func holder(topic common.Hash) string { return common.BytesToAddress(topic.Bytes()).Hex() }
