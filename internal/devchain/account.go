package devchain

import (
	"crypto/ecdsa"
	"fmt"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
)

// Addresses of the contracts that stand on the chain from its genesis on, checksummed.
const (
	// USDCAddress is where Base Sepolia has its USDC, and the devchain its TestUSDC, owned by `deployer`.
	USDCAddress = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
	// Multicall3Address is the canonical one.
	Multicall3Address = "0xcA11bde05977b3631167028862bE2a173976CA11"
	// Permit2Address, ExactPermit2ProxyAddress and UptoPermit2ProxyAddress are the canonical ones.
	Permit2Address           = "0x000000000022D473030F116dDEE9F6B43aC78BA3"
	ExactPermit2ProxyAddress = "0x402085c248EeA27D92E8b30b2C58ed07f9E20001"
	UptoPermit2ProxyAddress  = "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002"
	// ERC1271WalletAddress is a smart wallet that holds 10,000 USDC and is owned by `wallet-owner`.
	ERC1271WalletAddress = "0x1271000000000000000000000000000000001271"
	// Delegate7702Address is code that an account may delegate to by EIP-7702 and still pay by signature.
	Delegate7702Address = "0x7702000000000000000000000000000000007702"
)

// Account is a key with money on the chain. The key is public knowledge: whoever reads this file has it.
type Account struct {
	Name    string
	Address string // checksummed
	Key     string // 32 bytes, 0x hex
}

// funds is what an account has at genesis: whole ETH and whole USDC.
type funds struct {
	name string
	eth  int64
	usdc int64
}

// funded lists the accounts: who pays gas, who sells, who buys, who cannot, who owns the token, and who signs for
// the smart wallet.
func funded() []funds {
	list := []funds{
		{name: "settler", eth: 1000},
		{name: "seller", eth: 10},
		{name: "poor", eth: 10},
		{name: "deployer", eth: 1000},
		{name: "wallet-owner", eth: 10},
	}
	for i := 1; i <= 6; i++ {
		list = append(list, funds{name: fmt.Sprintf("payer-%d", i), eth: 10, usdc: 10_000})
	}
	return list
}

// Accounts lists the well-known accounts: `settler` (gas wallet, 1000 ETH), `seller`, `poor` (ETH but no USDC),
// `deployer` (owner of the token), `wallet-owner` (signs for the smart wallet) and `payer-1` to `payer-6`
// (10,000 USDC and 10 ETH each).
func Accounts() []Account {
	var accounts []Account
	for _, f := range funded() {
		accounts = append(accounts, account(f.name))
	}
	return accounts
}

// Lookup returns the well-known account of that name. It panics on any other: a name is written in code, and a
// derived account without money would only fail later and less clearly.
func Lookup(name string) Account {
	for _, f := range funded() {
		if f.name == name {
			return account(name)
		}
	}
	panic(fmt.Sprintf("devchain: no account %q", name))
}

func account(name string) Account {
	key := privateKey(name)
	return Account{
		Name:    name,
		Address: crypto.PubkeyToAddress(key.PublicKey).Hex(),
		Key:     hexutil.Encode(crypto.FromECDSA(key)),
	}
}

// privateKey is keccak256("p402 devchain " + name), so that anybody can derive it again.
func privateKey(name string) *ecdsa.PrivateKey {
	key, err := crypto.ToECDSA(crypto.Keccak256([]byte("p402 devchain " + name)))
	if err != nil {
		panic(fmt.Sprintf("devchain: key of %s: %v", name, err)) // one hash in 2^128 is no key; none of ours is
	}
	return key
}
