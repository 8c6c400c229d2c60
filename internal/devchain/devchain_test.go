package devchain

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/ethereum/go-ethereum/rpc"

	"p402.io/p402/contracts"
)

// rig is a chain and a client that reaches it as any client would: over HTTP.
type rig struct {
	*testing.T
	*Chain
	client *ethclient.Client
}

// manual starts a chain in which only the test mines.
func manual(t *testing.T, dir string) rig {
	t.Helper()
	r := start(t, Config{Dir: dir, Manual: true})
	r.mine(1) // brings the chain's clock to the present
	return r
}

func start(t *testing.T, cfg Config) rig {
	t.Helper()
	chain, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := chain.Close(); err != nil {
			t.Error(err)
		}
	})
	client, err := ethclient.DialContext(t.Context(), chain.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return rig{T: t, Chain: chain, client: client}
}

func (r rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r rig) mine(n int) {
	r.Helper()
	r.must(r.Mine(n))
}

// call reads a view function of a contract at the newest block.
func (r rig) call(to string, c contracts.Contract, signature string, args ...any) []any {
	r.Helper()
	data, err := c.Pack(signature, args...)
	r.must(err)
	address := common.HexToAddress(to)
	raw, err := r.client.CallContract(r.Context(), ethereum.CallMsg{To: &address, Data: data}, nil)
	r.must(err)
	values, err := c.Method(signature).Outputs.Unpack(raw)
	r.must(err)
	return values
}

func (r rig) balance(address string) int64 {
	r.Helper()
	return r.call(USDCAddress, contracts.USDC, "balanceOf(address)", common.HexToAddress(address))[0].(*big.Int).Int64()
}

// send signs a call of the token by a well-known account and hands it to the pool.
func (r rig) send(sender string, to string, data []byte) *types.Transaction {
	r.Helper()
	key := privateKey(sender)
	nonce, err := r.client.PendingNonceAt(r.Context(), crypto.PubkeyToAddress(key.PublicKey))
	r.must(err)
	address := common.HexToAddress(to)
	tx := types.MustSignNewTx(key, types.LatestSignerForChainID(big.NewInt(ChainID)), &types.DynamicFeeTx{
		ChainID: big.NewInt(ChainID), Nonce: nonce, To: &address, Data: data,
		Gas: 300_000, GasFeeCap: big.NewInt(5e9), GasTipCap: big.NewInt(1e7),
	})
	r.must(r.client.SendTransaction(r.Context(), tx))
	return tx
}

// settle sends, mines and returns the receipt.
func (r rig) settle(sender, to string, data []byte) *types.Receipt {
	r.Helper()
	tx := r.send(sender, to, data)
	r.mine(1)
	receipt, err := r.client.TransactionReceipt(r.Context(), tx.Hash())
	r.must(err)
	return receipt
}

// refusal simulates a call and returns the revert reason; empty when it would succeed.
func (r rig) refusal(sender, to string, data []byte) string {
	r.Helper()
	address := common.HexToAddress(to)
	msg := ethereum.CallMsg{From: common.HexToAddress(Lookup(sender).Address), To: &address, Data: data}
	_, err := r.client.CallContract(r.Context(), msg, nil)
	if err == nil {
		return ""
	}
	if !strings.Contains(err.Error(), "execution reverted") {
		r.Fatalf("call failed without reverting: %v", err)
	}
	return strings.TrimPrefix(err.Error(), "execution reverted: ")
}

func pack(t *testing.T, signature string, args ...any) []byte {
	t.Helper()
	data, err := contracts.USDC.Pack(signature, args...)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const (
	transferVRS   = "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)"
	transferBytes = "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)"
	receiveVRS    = "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)"
	receiveBytes  = "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)"
	cancelVRS     = "cancelAuthorization(address,bytes32,uint8,bytes32,bytes32)"
	cancelBytes   = "cancelAuthorization(address,bytes32,bytes)"

	transferType = "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
	receiveType  = "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
	cancelType   = "CancelAuthorization(address authorizer,bytes32 nonce)"
)

// authorization is an EIP-3009 transfer before it is signed.
type authorization struct {
	payer, to               common.Address
	value                   int64
	validAfter, validBefore int64
	nonce                   common.Hash
}

// authorize asks for 0.01 USDC from payer to seller, valid around the chain's present.
func (r rig) authorize(payer string, nonce byte) authorization {
	now := r.Head().Time.Unix()
	return authorization{
		payer: common.HexToAddress(payer), to: common.HexToAddress(Lookup("seller").Address), value: 10_000,
		validAfter: now - 600, validBefore: now + 600, nonce: common.Hash{nonce},
	}
}

func word[T int64 | common.Address](v T) []byte {
	switch v := any(v).(type) {
	case int64:
		return common.BigToHash(big.NewInt(v)).Bytes()
	case common.Address:
		return common.BytesToHash(v[:]).Bytes()
	}
	panic("unreachable: the constraint lists both")
}

// digest is the EIP-712 hash of a struct in the domain of the test USDC, computed here from the standard so that the
// contract is checked against something other than itself.
func digest(typeName string, words ...[]byte) []byte {
	domain := crypto.Keccak256(
		crypto.Keccak256([]byte("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")),
		crypto.Keccak256([]byte("USDC")), crypto.Keccak256([]byte("2")),
		word(int64(ChainID)), word(common.HexToAddress(USDCAddress)),
	)
	parts := append([][]byte{crypto.Keccak256([]byte(typeName))}, words...)
	return crypto.Keccak256([]byte{0x19, 0x01}, domain, crypto.Keccak256(parts...))
}

func (a authorization) digest(typeName string) []byte {
	return digest(typeName, word(a.payer), word(a.to), word(a.value), word(a.validAfter), word(a.validBefore), a.nonce[:])
}

// sign returns r, s, v with v 27 or 28.
func sign(key *ecdsa.PrivateKey, digest []byte) []byte {
	signature, err := crypto.Sign(digest, key)
	if err != nil {
		panic(err) // only a digest of the wrong length
	}
	signature[64] += 27
	return signature
}

func split(signature []byte) (v uint8, r, s [32]byte) {
	return signature[64], [32]byte(signature[:32]), [32]byte(signature[32:64])
}

// bytesForm is the call that takes the signature whole; vrsForm the one that takes it in three.
func (a authorization) bytesForm(t *testing.T, function string, signature []byte) []byte {
	t.Helper()
	return pack(t, function, a.payer, a.to, big.NewInt(a.value), big.NewInt(a.validAfter), big.NewInt(a.validBefore), a.nonce, signature)
}

func (a authorization) vrsForm(t *testing.T, function string, signature []byte) []byte {
	t.Helper()
	v, r, s := split(signature)
	return pack(t, function, a.payer, a.to, big.NewInt(a.value), big.NewInt(a.validAfter), big.NewInt(a.validBefore), a.nonce, v, r, s)
}

func TestChainSaysWhatItIs(t *testing.T) {
	t.Parallel()
	r := manual(t, "")
	id, err := r.client.ChainID(t.Context())
	r.must(err)
	if id.Int64() != ChainID || r.ChainID() != ChainID {
		t.Errorf("chain id %s", id)
	}
	var version string
	r.must(r.client.Client().CallContext(t.Context(), &version, "web3_clientVersion"))
	if !strings.HasPrefix(version, "p402-devchain-simulated/") {
		t.Errorf("client version %q hides that the chain is simulated", version)
	}
	// Modules that write files, stop the node or unlock keys are not served.
	for _, method := range []string{"debug_stacks", "admin_nodeInfo", "miner_setGasPrice", "engine_exchangeCapabilities"} {
		err := r.client.Client().CallContext(t.Context(), nil, method)
		var coded rpc.Error
		if !errors.As(err, &coded) || coded.ErrorCode() != -32601 {
			t.Errorf("%s: %v, want method not found", method, err)
		}
	}
	var pool json.RawMessage
	r.must(r.client.Client().CallContext(t.Context(), &pool, "txpool_status"))
	// An unknown transaction is "not found", not an error about an index being built.
	if _, err := r.client.TransactionReceipt(t.Context(), common.Hash{1}); !errors.Is(err, ethereum.NotFound) {
		t.Errorf("receipt of an unknown transaction: %v, want not found", err)
	}
}

func TestAccountsAreFunded(t *testing.T) {
	t.Parallel()
	r := manual(t, "")
	if len(Accounts()) != 11 {
		t.Errorf("%d accounts", len(Accounts()))
	}
	var held int64
	for _, f := range funded() {
		a := Lookup(f.name)
		key, err := crypto.HexToECDSA(strings.TrimPrefix(a.Key, "0x"))
		r.must(err)
		if got := crypto.PubkeyToAddress(key.PublicKey).Hex(); got != a.Address {
			t.Errorf("%s: key belongs to %s, not %s", f.name, got, a.Address)
		}
		wei, err := r.client.BalanceAt(t.Context(), common.HexToAddress(a.Address), nil)
		r.must(err)
		if want := new(big.Int).Mul(big.NewInt(f.eth), big.NewInt(1e18)); wei.Cmp(want) != 0 {
			t.Errorf("%s: %s wei, want %s", f.name, wei, want)
		}
		if got := r.balance(a.Address); got != f.usdc*1_000_000 {
			t.Errorf("%s: %d atomic USDC", f.name, got)
		}
		held += f.usdc * 1_000_000
	}
	held += r.balance(ERC1271WalletAddress)
	if total := r.call(USDCAddress, contracts.USDC, "totalSupply()")[0].(*big.Int).Int64(); total != held {
		t.Errorf("total supply %d, held %d", total, held)
	}
	if owner := r.call(USDCAddress, contracts.USDC, "owner()")[0].(common.Address).Hex(); owner != Lookup("deployer").Address {
		t.Errorf("token owned by %s", owner)
	}
}

// The domain separator of the USDC deployed on Base Sepolia, so that wallets configured for it sign for this one too.
func TestDomainIsBaseSepoliaUSDCs(t *testing.T) {
	t.Parallel()
	r := manual(t, "")
	const published = "0x71f17a3b2ff373b803d70a5a07c046c1a2bc8e89c09ef722fcb047abe94c9818"
	got := r.call(USDCAddress, contracts.USDC, "DOMAIN_SEPARATOR()")[0].([32]byte)
	if hexutil.Encode(got[:]) != published {
		t.Errorf("domain separator %x, want %s", got, published)
	}
}

func TestStartHonoursContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Config{Dir: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("start with a cancelled context: %v", err)
	}
}

// A start that fails gives everything back: the folder, and the process itself, which go-ethereum would end if its
// database went away under it.
func TestTakenPortIsAnError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := manual(t, "")
	taken := strings.TrimPrefix(r.URL(), "http://")
	for range 3 {
		if _, err := Start(t.Context(), Config{Dir: dir, Listen: taken}); !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatalf("start on a taken port: %v", err)
		}
	}
	start(t, Config{Dir: dir, Manual: true})
}

func TestClosedChainRefusesToMine(t *testing.T) {
	t.Parallel()
	chain, err := Start(t.Context(), Config{Manual: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(chain.Close(), chain.Close()); err != nil {
		t.Fatal(err)
	}
	if err := chain.Mine(1); !errors.Is(err, ErrClosed) {
		t.Errorf("mine after close: %v", err)
	}
	if err := chain.AdvanceTime(time.Hour); !errors.Is(err, ErrClosed) {
		t.Errorf("advance after close: %v", err)
	}
}
