package evm

import (
	"bytes"
	"context"
	"errors"
	"math/big"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"p402.io/p402/contracts"
	"p402.io/p402/settlement"
)

// permit2Used reads the nonce's bit: used, or invalidated by its owner.
func permit2Used(ctx context.Context, reader *Exact, a settlement.Authorization) (bool, error) {
	word, bit := nonceBit(common.HexToHash(a.Nonce).Big())
	data, err := contracts.Permit2.Pack(sigBitmap, common.HexToAddress(a.Payer), word)
	if err != nil {
		return false, err
	}
	to := common.HexToAddress(Permit2Address)
	answer, err := reader.Node.CallContract(ctx, ethereum.CallMsg{To: &to, Data: data}, nil)
	if err != nil {
		return false, unavailable(err)
	}
	if len(answer) < 32 {
		return false, unavailable(errShape)
	}
	return new(big.Int).SetBytes(answer[:32]).Bit(int(bit)) == 1, nil
}

// permit2Evidence finds what became of a permit. Permit2 logs no nonce and the exact proxy's event has no fields, so the evidence is the
// token's Transfer from payer to payee, tied to the nonce twice: Permit2 says that it is used, and the transaction carries it.
func (c *Chain) permit2Evidence(ctx context.Context, a settlement.Authorization, from, head uint64) (settlement.Evidence, bool, error) {
	used, err := c.AuthorizationUsed(ctx, a)
	if err != nil || !used {
		return settlement.Evidence{}, false, err
	}
	transfer, invalidated := contracts.USDC.Event("Transfer"), contracts.Permit2.Event("UnorderedNonceInvalidation")
	payer, payTo := common.BytesToHash(common.HexToAddress(a.Payer).Bytes()), common.BytesToHash(common.HexToAddress(a.PayTo).Bytes())
	for start := from; start <= head; start += maxLogRange {
		span := ethereum.FilterQuery{FromBlock: new(big.Int).SetUint64(start), ToBlock: new(big.Int).SetUint64(min(start+maxLogRange-1, head))}
		span.Addresses, span.Topics = []common.Address{common.HexToAddress(a.Asset)}, [][]common.Hash{{transfer}, {payer}, {payTo}}
		moved, err := c.logs(ctx, span)
		if err != nil {
			return settlement.Evidence{}, false, err
		}
		for _, l := range moved {
			if e, ok, err := c.carries(ctx, a, l); err != nil || ok {
				return e, ok, err
			}
		}
		span.Addresses, span.Topics = []common.Address{common.HexToAddress(Permit2Address)}, [][]common.Hash{{invalidated}, {payer}}
		taken, err := c.logs(ctx, span)
		if err != nil {
			return settlement.Evidence{}, false, err
		}
		for _, l := range taken {
			if invalidates(l, a) {
				return settlement.Evidence{Kind: settlement.EvidenceUncollectable, Reason: "cancelled", TxHash: l.TxHash.Hex(), BlockNumber: l.BlockNumber}, true, nil
			}
		}
	}
	return settlement.Evidence{}, false, nil
}

// carries reports whether a Transfer is this permit's: its amount fits and its transaction holds the nonce.
func (c *Chain) carries(ctx context.Context, a settlement.Authorization, l types.Log) (settlement.Evidence, bool, error) {
	value := new(big.Int).SetBytes(l.Data)
	fits := value.Cmp(a.Value.Big()) == 0 || a.Facilitator != "" && value.Sign() > 0 && value.Cmp(a.Value.Big()) < 0
	if l.Removed || !fits {
		return settlement.Evidence{}, false, nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	tx, pending, err := c.Client.TransactionByHash(ctx, l.TxHash)
	if errors.Is(err, ethereum.NotFound) || pending {
		return settlement.Evidence{}, false, nil // reorganised away between the two questions
	}
	if err != nil {
		return settlement.Evidence{}, false, unavailable(err)
	}
	if !bytes.Contains(tx.Data(), common.HexToHash(a.Nonce).Bytes()) {
		return settlement.Evidence{}, false, nil
	}
	return settlement.Evidence{Kind: settlement.EvidenceSeen, TxHash: l.TxHash.Hex(), BlockNumber: l.BlockNumber, BlockHash: l.BlockHash.Hex(),
		LogIndex: l.Index, BlockTime: settlement.UnixSeconds(l.BlockTimestamp)}, true, nil
}

// invalidates reports whether an UnorderedNonceInvalidation (word, mask) took back the permit's nonce.
func invalidates(l types.Log, a settlement.Authorization) bool {
	word, bit := nonceBit(common.HexToHash(a.Nonce).Big())
	return !l.Removed && len(l.Data) == 64 && new(big.Int).SetBytes(l.Data[:32]).Cmp(word) == 0 && new(big.Int).SetBytes(l.Data[32:]).Bit(int(bit)) == 1
}
