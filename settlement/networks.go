package settlement

import (
	"time"

	"p402.io/p402/internal/money"
)

// Network is one chain as data. A new one is a row here and an RPC address in the configuration.
type Network struct {
	CAIP2        string
	V1Name       string
	ChainID      int64
	USDC         string // checksummed
	USDCName     string // EIP-712 domain
	USDCVersion  string
	Testnet      bool
	Explorer     string
	BlockTime    time.Duration
	MaxFeePerGas money.Wei // above it nothing is sent: someone must look
	// CoinPrice is what one of the network's coins is taken to cost, rather too high than too low: it only bounds fees to a share of the
	// payment. Zero on test networks, where it is worth nothing. The figures are ours, rounded up from the end of 2025.
	CoinPrice money.USD
}

func gwei(n int64) money.Wei { return money.Wei{USDC: money.Atomic(n * 1_000_000_000)} }

// networks is what is known. Addresses and domains: Circle's list of USDC contracts; v1 names: x402 v1.
var networks = []Network{
	{CAIP2: "eip155:84532", V1Name: "base-sepolia", ChainID: 84532, USDC: "0x036CbD53842c5426634e7929541eC2318f3dCF7e", USDCName: "USDC",
		USDCVersion: "2", Testnet: true, Explorer: "https://sepolia.basescan.org", BlockTime: 2 * time.Second, MaxFeePerGas: gwei(20)},
	{CAIP2: "eip155:8453", V1Name: "base", ChainID: 8453, USDC: "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", USDCName: "USD Coin",
		USDCVersion: "2", Explorer: "https://basescan.org", BlockTime: 2 * time.Second, MaxFeePerGas: gwei(5), CoinPrice: money.MustUSD("5000")},
	{CAIP2: "eip155:43113", V1Name: "avalanche-fuji", ChainID: 43113, USDC: "0x5425890298aed601595a70AB815c96711a31Bc65", USDCName: "USD Coin",
		USDCVersion: "2", Testnet: true, Explorer: "https://testnet.snowtrace.io", BlockTime: 2 * time.Second, MaxFeePerGas: gwei(100)},
	{CAIP2: "eip155:43114", V1Name: "avalanche", ChainID: 43114, USDC: "0xB97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E", USDCName: "USD Coin",
		USDCVersion: "2", Explorer: "https://snowtrace.io", BlockTime: 2 * time.Second, MaxFeePerGas: gwei(100), CoinPrice: money.MustUSD("50")},
	{CAIP2: "eip155:137", V1Name: "polygon", ChainID: 137, USDC: "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359", USDCName: "USD Coin",
		USDCVersion: "2", Explorer: "https://polygonscan.com", BlockTime: 2 * time.Second, MaxFeePerGas: gwei(1000), CoinPrice: money.MustUSD("1")},
}

// FindNetwork is the row of a CAIP-2 id.
func FindNetwork(caip2 string) (Network, bool) {
	for _, n := range networks {
		if n.CAIP2 == caip2 {
			return n, true
		}
	}
	return Network{}, false
}
