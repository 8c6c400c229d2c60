package settlement_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"

	"p402.io/p402/contracts"
	"p402.io/p402/internal/devchain"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/pgtest"
	"p402.io/p402/internal/store"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/evm"
	"p402.io/p402/settlement/txmgr"
	"p402.io/p402/settlement/x402"
)

// rig is the real store, the real chain (blocks come by hand) and a worker between them. Only faults are made up.
type rig struct {
	*testing.T
	mu     sync.Mutex
	time   time.Time
	chain  *devchain.Chain
	client *ethclient.Client
	db     *store.Store
	ids    *id.Source
	tenant id.Tenant
	wallet *wallet
	worker *settlement.Worker
	exact  *evm.Exact
	nonce  byte
}

const (
	rebroadcast = 5 * time.Second
	replace     = 30 * time.Second
	price       = 10_000
)

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, time: time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC)}
	var err error
	r.chain, err = devchain.Start(t.Context(), devchain.Config{Manual: true, Now: r.now})
	r.must(err)
	t.Cleanup(func() { _ = r.chain.Close() })
	r.client, err = ethclient.DialContext(t.Context(), r.chain.URL())
	r.must(err)
	t.Cleanup(r.client.Close)
	r.mine(1)
	r.ids = id.NewSource(r.now)
	r.db, err = store.New(t.Context(), pgtest.New(t, store.Migrate), store.Options{Now: r.now, IDs: r.ids})
	r.must(err)
	t.Cleanup(func() { _ = r.db.Shutdown() })
	r.tenant, err = r.db.EnsureTenant(t.Context(), "acme", "Acme")
	r.must(err)
	r.exact = &evm.Exact{Node: r.client, ChainID: big.NewInt(devchain.ChainID), Now: r.now, Wallets: []common.Address{addressOf("settler")}}
	network, _ := settlement.FindNetwork(devchain.Network)
	sender, err := txmgr.New(r.client, devchain.Lookup("settler").Key, network)
	r.must(err)
	r.wallet = &wallet{Sender: sender}
	r.worker = r.newWorker(r.db, r.wallet)
	return r
}

func (r *rig) newWorker(book settlement.Book, sender settlement.Sender) *settlement.Worker {
	return settlement.NewWorker(settlement.WorkerConfig{Network: devchain.Network, Book: book, Chain: &evm.Chain{Client: r.client}, Sender: sender,
		Scheme: evm.NewSuite(r.exact), Receipts: settlement.NewIssuer("p402", ed25519.NewKeyFromSeed(make([]byte, 32))), IDs: r.ids, Now: r.now,
		Log: slog.New(slog.DiscardHandler), Poll: time.Second, Rebroadcast: rebroadcast, Replace: replace})
}

func (r *rig) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.time
}

func (r *rig) wait(d time.Duration) {
	r.mu.Lock()
	r.time = r.time.Add(d)
	r.mu.Unlock()
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) mine(n int) {
	r.Helper()
	r.must(r.chain.Mine(n))
}

// step is one round of the worker; its troubles are the test's only where they last.
func (r *rig) step() {
	r.Helper()
	if _, err := r.worker.Step(r.Context()); err != nil {
		r.Logf("round: %v", err)
	}
}

func keyOf(name string) *ecdsa.PrivateKey {
	key, err := crypto.HexToECDSA(strings.TrimPrefix(devchain.Lookup(name).Key, "0x"))
	if err != nil {
		panic(err) // the accounts are constants
	}
	return key
}

func addressOf(name string) common.Address { return common.HexToAddress(devchain.Lookup(name).Address) }

// domain is the test token's.
func domain() evm.Domain {
	return evm.Domain{Name: "USDC", Version: "2", ChainID: big.NewInt(devchain.ChainID), Contract: common.HexToAddress(devchain.USDCAddress)}
}

// owed is a captured payment of a fresh authorization, checked and claimed as the house does it.
func (r *rig) owed(payer string) settlement.Payment {
	r.Helper()
	r.nonce++
	m := evm.Transfer{From: addressOf(payer), To: addressOf("seller"), Value: big.NewInt(price), ValidAfter: new(big.Int),
		ValidBefore: big.NewInt(r.chain.Head().Time.Unix() + 300)}
	m.Nonce[0], m.Nonce[31] = 0xab, r.nonce
	signature, err := crypto.Sign(evm.Digest(domain(), m.StructHash()).Bytes(), keyOf(payer))
	r.must(err)
	terms := settlement.Terms{QuoteID: "quo_1", TenantID: r.tenant, WorkflowID: "demo", Scheme: x402.SchemeExact, Network: devchain.Network,
		Asset: devchain.USDCAddress, AssetName: "USDC", AssetVersion: "2", PayTo: devchain.Lookup("seller").Address, Amount: money.Atomic(price),
		PriceUSD: money.MustUSD("0.01"), WaitFor: settlement.WaitIncluded, QuotedAt: r.now()}
	a, err := r.exact.Check(r.Context(), terms, x402.Payment{Version: 2, Scheme: x402.SchemeExact, Network: devchain.Network,
		Exact: x402.ExactPayload{Signature: signature, Authorization: x402.Authorization{From: m.From.Hex(), To: m.To.Hex(), Value: m.Value.String(),
			ValidAfter: "0", ValidBefore: m.ValidBefore.String(), Nonce: m.Nonce.Hex()}}})
	r.must(err)
	p := settlement.Claim(r.ids.Payment(), terms, a, r.ids.Event(), r.now(), r.now().Add(time.Hour))
	p.State = settlement.StateCaptured
	r.must(r.db.Claim(r.Context(), p))
	return p
}

func (r *rig) read(p settlement.Payment) settlement.Payment {
	r.Helper()
	got, err := r.db.Payment(r.Context(), p.ID)
	r.must(err)
	return got
}

// is expects a payment's state and, unless empty, its reason.
func (r *rig) is(p settlement.Payment, want settlement.State, reason string) settlement.Payment {
	r.Helper()
	got := r.read(p)
	if got.State != want || (reason != "" && got.Reason != reason) {
		r.Fatalf("payment is %s (%s), want %s (%s)", got.State, got.Reason, want, reason)
	}
	return got
}

// finish steps and mines until the payment has come to an end.
func (r *rig) finish(p settlement.Payment) settlement.Payment {
	r.Helper()
	for range 60 {
		got := r.read(p)
		switch got.State {
		case settlement.StateFinal, settlement.StateLost, settlement.StateVoided:
			return got
		case settlement.StateAuthorized, settlement.StateCaptured, settlement.StateSubmitted, settlement.StateIncluded:
		}
		r.step()
		r.wait(3 * time.Second)
		r.mine(1)
	}
	r.Fatalf("no end: payment is %s", r.read(p).State)
	return p
}

// sold is how many payments the seller's balance says were made.
func (r *rig) sold() int64 {
	r.Helper()
	data, err := contracts.USDC.Pack("balanceOf(address)", addressOf("seller"))
	r.must(err)
	token := common.HexToAddress(devchain.USDCAddress)
	word, err := r.client.CallContract(r.Context(), ethereum.CallMsg{To: &token, Data: data}, nil)
	r.must(err)
	return new(big.Int).SetBytes(word).Int64() / price
}

// paidOnce expects the payment final, with one transfer and one receipt of the right transaction.
func (r *rig) paidOnce(p settlement.Payment) settlement.Payment {
	r.Helper()
	got := r.finish(p)
	if got.State != settlement.StateFinal {
		r.Fatalf("payment ended %s (%s)", got.State, got.Reason)
	}
	if n := r.sold(); n != 1 {
		r.Fatalf("the seller was paid %d times", n)
	}
	raw, err := r.db.Receipt(r.Context(), r.tenant, string(got.ReceiptID))
	r.must(err)
	if !strings.Contains(string(raw), got.Evidence.TxHash) {
		r.Fatalf("the receipt names another transaction than %s", got.Evidence.TxHash)
	}
	return got
}

// other sends a token call by somebody else, with a tip that puts it in front of ours; it is mined with the next block.
func (r *rig) other(sender string, method string, args ...any) *types.Transaction {
	r.Helper()
	data, err := contracts.USDC.Pack(method, args...)
	r.must(err)
	return r.transact(sender, common.HexToAddress(devchain.USDCAddress), data)
}

func (r *rig) transact(sender string, to common.Address, data []byte) *types.Transaction {
	r.Helper()
	key := keyOf(sender)
	nonce, err := r.client.PendingNonceAt(r.Context(), crypto.PubkeyToAddress(key.PublicKey))
	r.must(err)
	id := big.NewInt(devchain.ChainID)
	tx := types.MustSignNewTx(key, types.LatestSignerForChainID(id), &types.DynamicFeeTx{ChainID: id, Nonce: nonce, To: &to, Data: data,
		Gas: 300_000, GasFeeCap: big.NewInt(50e9), GasTipCap: big.NewInt(10e9)})
	r.must(r.client.SendTransaction(r.Context(), tx))
	return tx
}

// collectedBy lets a stranger submit a payment's authorization.
func (r *rig) collectedBy(stranger string, p settlement.Payment) *types.Transaction {
	r.Helper()
	intent, err := r.exact.Collect(p.Authorization, p.Amount)
	r.must(err)
	return r.transact(stranger, common.HexToAddress(intent.To), intent.Data)
}

// cancelled takes the authorization back on chain, in the next block.
func (r *rig) cancelled(payer string, p settlement.Payment) {
	r.Helper()
	nonce := common.HexToHash(p.Authorization.Nonce)
	hash := crypto.Keccak256Hash(crypto.Keccak256([]byte("CancelAuthorization(address authorizer,bytes32 nonce)")),
		common.LeftPadBytes(addressOf(payer).Bytes(), 32), nonce.Bytes())
	signature, err := crypto.Sign(evm.Digest(domain(), hash).Bytes(), keyOf(payer))
	r.must(err)
	signature[64] += 27
	r.other("payer-6", "cancelAuthorization(address,bytes32,bytes)", addressOf(payer), [32]byte(nonce), signature)
}

// drained moves the payer's whole balance away, in the next block.
func (r *rig) drained(payer string) {
	r.Helper()
	r.other(payer, "transfer(address,uint256)", addressOf("payer-6"), big.NewInt(10_000_000_000))
}

// wallet is the real sender with a network that can be cut.
type wallet struct {
	settlement.Sender
	deaf bool // what is broadcast is lost on its way, and nobody says so
	sent int
}

func (w *wallet) Broadcast(ctx context.Context, raw []byte) error {
	w.sent++
	if w.deaf {
		return nil
	}
	return w.Sender.Broadcast(ctx, raw)
}

var errCrash = errors.New("the process is gone")

// crash lets the k-th of the steps that leave traces be the last: before it, or after it but before anybody knows.
type crash struct {
	settlement.Book
	settlement.Sender
	k     int
	after bool
	did   []string
}

func (c *crash) at(name string, do func() error) error {
	c.did = append(c.did, name)
	switch n := len(c.did) - 1; {
	case n < c.k:
		return do()
	case n == c.k && c.after:
		if err := do(); err != nil {
			return err
		}
	}
	return errCrash
}

func (c *crash) Stage(ctx context.Context, l settlement.Lease, p settlement.Payment, m settlement.Move, a settlement.Attempt) error {
	return c.at("stage", func() error { return c.Book.Stage(ctx, l, p, m, a) })
}

func (c *crash) Broadcast(ctx context.Context, raw []byte) error {
	return c.at("broadcast", func() error { return c.Sender.Broadcast(ctx, raw) })
}

func (c *crash) Sent(ctx context.Context, a settlement.Attempt, at time.Time) error {
	return c.at("sent", func() error { return c.Book.Sent(ctx, a, at) })
}

func (c *crash) Record(ctx context.Context, p settlement.Payment, m settlement.Move, r *settlement.Receipt) error {
	return c.at("record "+string(m.To), func() error { return c.Book.Record(ctx, p, m, r) })
}
