package devchain

import (
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/params"

	"p402.io/p402/contracts"
)

const (
	// genesisTime is 2025-01-01T00:00:00Z. It is fixed because it is part of the genesis hash, by which a stored
	// chain knows that it continues the same one; the first block brings the clock to the present.
	genesisTime = 1735689600

	// genesisBaseFee is 1 gwei. Empty blocks lower it by an eighth each, as on any chain.
	genesisBaseFee = params.GWei

	// gasLimit is a public network's order of magnitude: 60 million.
	gasLimit = 60_000_000

	usdcUnits = 1_000_000 // atomic units of one USDC
)

// newGenesis is the first block: every fork up to Prague (EIP-7702) from the start, the contracts with the storage
// that their constructors would have written, and the funded accounts.
func newGenesis() *core.Genesis {
	return &core.Genesis{
		Config:    chainConfig(),
		Timestamp: genesisTime,
		ExtraData: []byte("p402-devchain-simulated"),
		GasLimit:  gasLimit,
		BaseFee:   big.NewInt(genesisBaseFee),
		Alloc:     alloc(),
	}
}

func chainConfig() *params.ChainConfig {
	zero, start := new(big.Int), uint64(0)
	return &params.ChainConfig{
		ChainID:                 big.NewInt(ChainID),
		HomesteadBlock:          zero,
		EIP150Block:             zero,
		EIP155Block:             zero,
		EIP158Block:             zero,
		ByzantiumBlock:          zero,
		ConstantinopleBlock:     zero,
		PetersburgBlock:         zero,
		IstanbulBlock:           zero,
		MuirGlacierBlock:        zero,
		BerlinBlock:             zero,
		LondonBlock:             zero,
		ArrowGlacierBlock:       zero,
		GrayGlacierBlock:        zero,
		TerminalTotalDifficulty: zero,
		ShanghaiTime:            &start,
		CancunTime:              &start,
		PragueTime:              &start,
		BlobScheduleConfig: &params.BlobScheduleConfig{
			Cancun: params.DefaultCancunBlobConfig,
			Prague: params.DefaultPragueBlobConfig,
		},
	}
}

func alloc() types.GenesisAlloc {
	a := types.GenesisAlloc{
		common.HexToAddress(USDCAddress):          usdcAccount(),
		common.HexToAddress(Multicall3Address):    contractAccount(contracts.Multicall3, nil),
		common.HexToAddress(ERC1271WalletAddress): walletAccount(),
		common.HexToAddress(Delegate7702Address):  contractAccount(contracts.Delegate7702, nil),

		common.HexToAddress(Permit2Address):           contractAccount(contracts.Permit2, nil),
		common.HexToAddress(ExactPermit2ProxyAddress): contractAccount(contracts.ExactPermit2Proxy, nil),
		common.HexToAddress(UptoPermit2ProxyAddress):  contractAccount(contracts.UptoPermit2Proxy, nil),

		// Contracts that every block calls since Cancun and Prague: EIP-4788, EIP-2935, EIP-7002, EIP-7251.
		params.BeaconRootsAddress:        systemAccount(params.BeaconRootsCode),
		params.HistoryStorageAddress:     systemAccount(params.HistoryStorageCode),
		params.WithdrawalQueueAddress:    systemAccount(params.WithdrawalQueueCode),
		params.ConsolidationQueueAddress: systemAccount(params.ConsolidationQueueCode),
	}
	for _, f := range funded() {
		wei := new(big.Int).Mul(big.NewInt(f.eth), big.NewInt(params.Ether))
		a[common.HexToAddress(account(f.name).Address)] = types.Account{Balance: wei}
	}
	return a
}

// usdcAccount is the token after its deployment by `deployer`, with everybody's balance in place.
func usdcAccount() types.Account {
	usdc := contracts.USDC
	storage := map[common.Hash]common.Hash{
		usdc.Slot("owner"): addressWord(account("deployer").Address),
	}
	total := int64(0)
	grant := func(address string, whole int64) {
		total += whole * usdcUnits
		storage[usdc.Slot("balanceOf", addressWord(address))] = amountWord(whole * usdcUnits)
	}
	for _, f := range funded() {
		if f.usdc > 0 {
			grant(account(f.name).Address, f.usdc)
		}
	}
	grant(ERC1271WalletAddress, 10_000)
	storage[usdc.Slot("totalSupply")] = amountWord(total)
	return contractAccount(usdc, storage)
}

func walletAccount() types.Account {
	wallet := contracts.ERC1271Wallet
	return contractAccount(wallet, map[common.Hash]common.Hash{
		wallet.Slot("owner"): addressWord(account("wallet-owner").Address),
	})
}

func contractAccount(c contracts.Contract, storage map[common.Hash]common.Hash) types.Account {
	return types.Account{Code: c.Runtime(), Storage: storage, Nonce: 1, Balance: new(big.Int)}
}

func systemAccount(code []byte) types.Account {
	return types.Account{Code: code, Nonce: 1, Balance: new(big.Int)}
}

func addressWord(address string) common.Hash { return common.HexToHash(address) }

func amountWord(atomic int64) common.Hash { return common.BigToHash(big.NewInt(atomic)) }
