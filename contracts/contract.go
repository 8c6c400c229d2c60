// Package contracts holds the contracts of the test chain as data: interface, code, and where their storage lies.
//
// The sources are in src, compiled by gen.go into build, and both are committed: nobody needs a Solidity compiler to
// build p402. On public networks only the interfaces count; the code there is other people's, and this package
// never deploys anything.
package contracts

import (
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"sync"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
)

//go:embed build/*.json
var build embed.FS

// The contracts. USDC's interface is the part of the deployed USDC's that p402 uses, and Multicall3's is the
// canonical one, so both also serve to call those on public networks.
var (
	// USDC is the test token: ERC-20, EIP-2612, EIP-3009 with both signature forms, six decimals.
	USDC = load("TestUSDC")
	// Multicall3 bundles calls.
	Multicall3 = load("Multicall3")
	// ERC1271Wallet is a smart wallet that pays by its owner's signature.
	ERC1271Wallet = load("ERC1271Wallet")
	// Delegate7702 is code for EIP-7702 delegation that accepts the account's own signatures.
	Delegate7702 = load("Delegate7702")
	// Permit2 is the part of the canonical contract that x402 uses: transfers by signature, with a witness.
	Permit2 = load("Permit2")
	// ExactPermit2Proxy and UptoPermit2Proxy are x402's, through which Permit2 is spent.
	ExactPermit2Proxy = load("ExactPermit2Proxy")
	UptoPermit2Proxy  = load("UptoPermit2Proxy")
)

// Contract is one compiled contract. It is immutable; what its methods return is the caller's own to change,
// except for the ABI, which is shared and only to be read.
type Contract struct {
	Name string // as in its source file
	read func() artifact
}

// artifact is a file of build, decoded.
type artifact struct {
	Compiler string                  `json:"compiler"`
	ABI      abi.ABI                 `json:"abi"`
	Storage  map[string]StoragePlace `json:"storage"`
	Creation hexutil.Bytes           `json:"creation"`
	Runtime  hexutil.Bytes           `json:"runtime"`
}

// StoragePlace is where a state variable begins: a slot number and, for packed variables, the offset in bytes from
// the low end of the slot.
type StoragePlace struct {
	Slot   uint64 `json:"slot"`
	Offset uint   `json:"offset"`
}

// load names a contract; its file is decoded on first use, so that a program that never asks pays nothing.
// It panics on first use if the embedded file is not what gen.go writes, which only a broken build can cause.
func load(name string) Contract {
	return Contract{Name: name, read: sync.OnceValue(func() artifact {
		raw, err := build.ReadFile("build/" + name + ".json")
		if err != nil {
			panic(fmt.Sprintf("contracts: embedded artifact of %s: %v", name, err))
		}
		var a artifact
		if err := json.Unmarshal(raw, &a); err != nil {
			panic(fmt.Sprintf("contracts: decode artifact of %s: %v", name, err))
		}
		return a
	})}
}

// ABI returns the parsed interface. Overloads are numbered in the order of the source, as go-ethereum does it:
// `transferWithAuthorization` and `transferWithAuthorization0`; prefer Method, which goes by signature.
func (c Contract) ABI() abi.ABI { return c.read().ABI }

// Method finds a function by its full signature, for instance "transfer(address,uint256)". A signature that the
// contract does not have is a programmer's error and panics.
func (c Contract) Method(signature string) abi.Method {
	id := crypto.Keccak256([]byte(signature))[:4]
	a := c.read().ABI
	m, err := a.MethodById(id)
	if err != nil || m.Sig != signature {
		panic(fmt.Sprintf("contracts: %s has no function %s", c.Name, signature))
	}
	return *m
}

// Pack encodes a call of the function with this full signature: selector and arguments. It fails when the arguments
// do not fit the signature.
func (c Contract) Pack(signature string, args ...any) ([]byte, error) {
	m := c.Method(signature)
	packed, err := m.Inputs.Pack(args...)
	if err != nil {
		return nil, fmt.Errorf("pack %s of %s: %w", signature, c.Name, err)
	}
	return append(append([]byte{}, m.ID...), packed...), nil
}

// Event returns the topic (hash of the signature) of the named event. An unknown name panics.
func (c Contract) Event(name string) common.Hash {
	e, ok := c.read().ABI.Events[name]
	if !ok {
		panic(fmt.Sprintf("contracts: %s has no event %s", c.Name, name))
	}
	return e.ID
}

// Creation returns the code that deploys the contract; constructor arguments are appended to it.
func (c Contract) Creation() []byte { return common.CopyBytes(c.read().Creation) }

// Runtime returns the code as it lies on the chain. None of our contracts has immutables, so it may be placed in a
// genesis block as it is, with the storage that its constructor would have written.
func (c Contract) Runtime() []byte { return common.CopyBytes(c.read().Runtime) }

// Compiler names the compiler's exact version.
func (c Contract) Compiler() string { return c.read().Compiler }

// Storage returns where each state variable lies, by its name in the source.
func (c Contract) Storage() map[string]StoragePlace { return maps.Clone(c.read().Storage) }

// Slot returns the storage key of the named variable, or, with keys, of the entry under them in a (nested) mapping.
// Each key is 32 bytes: an address left-padded, a number, or a bytes32. An unknown variable panics.
func (c Contract) Slot(variable string, keys ...common.Hash) common.Hash {
	place, ok := c.read().Storage[variable]
	if !ok {
		panic(fmt.Sprintf("contracts: %s has no variable %s", c.Name, variable))
	}
	slot := common.BigToHash(new(big.Int).SetUint64(place.Slot))
	for _, key := range keys {
		slot = crypto.Keccak256Hash(key[:], slot[:])
	}
	return slot
}
