package evm

import (
	"context"
	"errors"
	"math/big"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"p402.io/p402/contracts"
	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
)

// Transfers is a mined transaction's moves of exactly an amount of a token from one account to another, by the token's own logs;
// none if it failed, is not mined, or does something else.
func (c *Chain) Transfers(ctx context.Context, txHash, token, from, to string, amount money.USDC) ([]settlement.Transfer, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	receipt, err := c.Client.TransactionReceipt(ctx, common.HexToHash(txHash))
	if errors.Is(err, ethereum.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable(err)
	}
	var out []settlement.Transfer
	if receipt.Status != types.ReceiptStatusSuccessful || receipt.TxHash != common.HexToHash(txHash) {
		return nil, nil
	}
	topic := contracts.USDC.Event("Transfer")
	for _, l := range receipt.Logs {
		if l.Removed || l.Address != common.HexToAddress(token) || len(l.Topics) != 3 || l.Topics[0] != topic || len(l.Data) != 32 ||
			l.Topics[1] != common.BytesToHash(common.HexToAddress(from).Bytes()) || l.Topics[2] != common.BytesToHash(common.HexToAddress(to).Bytes()) ||
			new(big.Int).SetBytes(l.Data).Cmp(amount.Big()) != 0 {
			continue
		}
		out = append(out, settlement.Transfer{TxHash: l.TxHash.Hex(), LogIndex: l.Index, BlockNumber: l.BlockNumber})
	}
	return out, nil
}
