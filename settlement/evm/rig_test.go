package evm

import (
	"context"
	"crypto/ecdsa"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"

	"p402.io/p402/contracts"
	"p402.io/p402/internal/devchain"
	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/x402"
)

// rig is the test chain, a client of it and the scheme under test. Clock and chain agree: blocks come by hand.
type rig struct {
	*testing.T
	chain  *devchain.Chain
	client *ethclient.Client
	exact  *Exact
}

func newRig(t *testing.T) *rig {
	t.Helper()
	now := time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC)
	chain, err := devchain.Start(t.Context(), devchain.Config{Manual: true, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = chain.Close() })
	client, err := ethclient.DialContext(t.Context(), chain.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	r := &rig{T: t, chain: chain, client: client}
	r.must(chain.Mine(1))
	r.exact = &Exact{Node: client, ChainID: big.NewInt(devchain.ChainID), Now: r.now}
	return r
}

// now is the newest block's time.
func (r *rig) now() time.Time { return r.chain.Head().Time }

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func keyOf(t *testing.T, name string) *ecdsa.PrivateKey {
	t.Helper()
	key, err := crypto.HexToECDSA(strings.TrimPrefix(devchain.Lookup(name).Key, "0x"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func addressOf(name string) common.Address { return common.HexToAddress(devchain.Lookup(name).Address) }

// promise is a payment before it is signed: a test changes what it wants to be wrong.
type promise struct {
	terms           settlement.Terms
	version         int
	scheme, network string
	m               Transfer
	domain          Domain                  // what the payer signs under; the terms' by default
	signer          string                  // well-known account
	after           func(sig []byte) []byte // changes the finished signature
}

func (r *rig) promise(payer string, nonce byte) promise {
	t := settlement.Terms{Scheme: x402.SchemeExact, Network: devchain.Network, Asset: devchain.USDCAddress, AssetName: "USDC", AssetVersion: "2",
		PayTo: devchain.Lookup("seller").Address, Amount: money.Atomic(10_000)}
	p := promise{terms: t, version: 2, scheme: x402.SchemeExact, network: devchain.Network, signer: payer,
		domain: Domain{"USDC", "2", big.NewInt(devchain.ChainID), common.HexToAddress(devchain.USDCAddress)},
		m: Transfer{From: addressOf(payer), To: addressOf("seller"), Value: big.NewInt(10_000), ValidAfter: new(big.Int),
			ValidBefore: big.NewInt(r.now().Unix() + 300)}}
	p.m.Nonce[31] = nonce
	return p
}

func (p promise) payment(t *testing.T) x402.Payment {
	t.Helper()
	signature, err := crypto.Sign(Digest(p.domain, p.m.StructHash()).Bytes(), keyOf(t, p.signer))
	if err != nil {
		t.Fatal(err)
	}
	signature[64] += 27
	if p.after != nil {
		signature = p.after(signature)
	}
	return x402.Payment{Version: p.version, Scheme: p.scheme, Network: p.network, Exact: x402.ExactPayload{Signature: signature,
		Authorization: x402.Authorization{From: p.m.From.Hex(), To: p.m.To.Hex(), Value: p.m.Value.String(), ValidAfter: p.m.ValidAfter.String(),
			ValidBefore: p.m.ValidBefore.String(), Nonce: p.m.Nonce.Hex()}}}
}

func (r *rig) check(p promise) (settlement.Authorization, error) {
	r.Helper()
	return r.exact.Check(context.Background(), p.terms, p.payment(r.T))
}

// refused expects one reason of the protocol.
func (r *rig) refused(name string, p promise, want x402.Reason) {
	r.Helper()
	_, err := r.check(p)
	if got := reasonOf(err); got != want {
		r.Errorf("%s: %q (%v), want %q", name, got, err, want)
	}
}

func reasonOf(err error) x402.Reason {
	refusal, ok := err.(*x402.Error)
	if !ok {
		return ""
	}
	return refusal.Reason
}

// send signs a call by a well-known account, mines it and returns its receipt.
func (r *rig) send(sender string, to common.Address, data []byte) *types.Receipt {
	r.Helper()
	key := keyOf(r.T, sender)
	nonce, err := r.client.PendingNonceAt(r.Context(), crypto.PubkeyToAddress(key.PublicKey))
	r.must(err)
	tx := types.MustSignNewTx(key, types.LatestSignerForChainID(r.exact.ChainID), &types.DynamicFeeTx{ChainID: r.exact.ChainID, Nonce: nonce,
		To: &to, Data: data, Gas: 300_000, GasFeeCap: big.NewInt(5e9), GasTipCap: big.NewInt(1e7)})
	r.must(r.client.SendTransaction(r.Context(), tx))
	r.must(r.chain.Mine(1))
	receipt, err := r.client.TransactionReceipt(r.Context(), tx.Hash())
	r.must(err)
	return receipt
}

// accepted checks a payment, collects it on chain and finds its evidence: what Check lets pass must be collectable.
func (r *rig) accepted(name string, p promise) settlement.Evidence {
	r.Helper()
	a, err := r.check(p)
	if err != nil {
		r.Fatalf("%s: %v", name, err)
	}
	intent, err := r.exact.Collect(a, a.Value)
	r.must(err)
	from := r.chain.Head().Number
	receipt := r.send("settler", common.HexToAddress(intent.To), intent.Data)
	if receipt.Status != types.ReceiptStatusSuccessful {
		r.Fatalf("%s: passed the check, reverted on chain", name)
	}
	e, found, err := (&Chain{Client: r.client}).Evidence(r.Context(), a, from)
	if err != nil || !found || e.Kind != settlement.EvidenceSeen || e.TxHash != receipt.TxHash.Hex() || e.BlockHash != receipt.BlockHash.Hex() {
		r.Fatalf("%s: evidence %+v %v %v", name, e, found, err)
	}
	return e
}

func pack(t *testing.T, signature string, args ...any) []byte {
	t.Helper()
	data, err := contracts.USDC.Pack(signature, args...)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// cancel takes back an authorization on chain, by its own payer.
func (r *rig) cancel(p promise) {
	r.Helper()
	inner := hashWords(crypto.Keccak256([]byte("CancelAuthorization(address authorizer,bytes32 nonce)")), address(p.m.From), p.m.Nonce.Bytes())
	signature, err := crypto.Sign(Digest(p.domain, inner).Bytes(), keyOf(r.T, p.signer))
	r.must(err)
	signature[64] += 27
	receipt := r.send("payer-6", p.domain.Contract, pack(r.T, "cancelAuthorization(address,bytes32,bytes)", p.m.From, [32]byte(p.m.Nonce), signature))
	if receipt.Status != types.ReceiptStatusSuccessful {
		r.Fatal("cancel reverted")
	}
}
