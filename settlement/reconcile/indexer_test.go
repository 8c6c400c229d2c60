package reconcile_test

import (
	"context"
	"errors"
	"log/slog"
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
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/pgtest"
	"p402.io/p402/internal/store"
	"p402.io/p402/settlement/evm"
	"p402.io/p402/settlement/reconcile"
)

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func newStore(t *testing.T) *store.Store {
	t.Helper()
	db, err := store.New(t.Context(), pgtest.New(t, store.Migrate), store.Options{Now: now, IDs: id.NewSource(now)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Shutdown() })
	return db
}

// rig is a chain on which only the test mines, a database, and the indexer between them.
type rig struct {
	*testing.T
	chain  *devchain.Chain
	client *ethclient.Client
	db     *store.Store
	x      *reconcile.Indexer
	node   *hurt
}

func newRig(t *testing.T) *rig {
	t.Helper()
	chain, err := devchain.Start(t.Context(), devchain.Config{Manual: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = chain.Close() })
	client, err := ethclient.DialContext(t.Context(), chain.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	r := &rig{T: t, chain: chain, client: client, db: newStore(t)}
	r.node = &hurt{Logs: &evm.Logs{Client: client, Network: devchain.Network}}
	r.x = &reconcile.Indexer{Network: devchain.Network, Node: r.node, Index: r.db, Now: now, Log: slog.New(slog.DiscardHandler)}
	r.mine(1)
	return r
}

// hurt is a node with faults that a test switches on.
type hurt struct {
	*evm.Logs
	dead   bool
	widest uint64 // 0 = no limit
	lose   int    // this many answers lose their last transfer
	asked  []uint64
}

func (h *hurt) Head(ctx context.Context) (reconcile.Block, error) {
	if h.dead {
		return reconcile.Block{}, errors.New("connection refused")
	}
	return h.Logs.Head(ctx)
}

func (h *hurt) Transfers(ctx context.Context, r reconcile.Range) ([]reconcile.Transfer, error) {
	h.asked = append(h.asked, r.To-r.From+1)
	if h.widest > 0 && r.To-r.From+1 > h.widest {
		return nil, reconcile.ErrTooMuch
	}
	list, err := h.Logs.Transfers(ctx, r)
	if h.lose > 0 && len(list) > 0 {
		h.lose--
		list = list[:len(list)-1]
	}
	return list, err
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) mine(n int) { r.Helper(); r.must(r.chain.Mine(n)) }

func (r *rig) send(sender, to string, data []byte) *types.Transaction {
	r.Helper()
	key, err := crypto.HexToECDSA(strings.TrimPrefix(devchain.Lookup(sender).Key, "0x"))
	r.must(err)
	nonce, err := r.client.PendingNonceAt(r.Context(), crypto.PubkeyToAddress(key.PublicKey))
	r.must(err)
	address := common.HexToAddress(to)
	tx := types.MustSignNewTx(key, types.LatestSignerForChainID(big.NewInt(devchain.ChainID)), &types.DynamicFeeTx{ChainID: big.NewInt(devchain.ChainID),
		Nonce: nonce, To: &address, Data: data, Gas: 300_000, GasFeeCap: big.NewInt(5e9), GasTipCap: big.NewInt(1e7)})
	r.must(r.client.SendTransaction(r.Context(), tx))
	return tx
}

// plain moves money with no authorization.
func (r *rig) plain(sender, recipient string, atomic int64) *types.Transaction {
	r.Helper()
	data, err := contracts.USDC.Pack("transfer(address,uint256)", common.HexToAddress(recipient), big.NewInt(atomic))
	r.must(err)
	return r.send(sender, devchain.USDCAddress, data)
}

// collect uses a payer's authorization, as our worker or anybody else would.
func (r *rig) collect(payer, recipient string, atomic int64, nonce byte) *types.Transaction {
	r.Helper()
	key, err := crypto.HexToECDSA(strings.TrimPrefix(devchain.Lookup(payer).Key, "0x"))
	r.must(err)
	m := evm.Transfer{From: crypto.PubkeyToAddress(key.PublicKey), To: common.HexToAddress(recipient), Value: big.NewInt(atomic), ValidAfter: new(big.Int),
		ValidBefore: big.NewInt(now().Unix() + 3600), Nonce: common.Hash{31: nonce}}
	d := evm.Domain{Name: "USDC", Version: "2", ChainID: big.NewInt(devchain.ChainID), Contract: common.HexToAddress(devchain.USDCAddress)}
	signature, err := crypto.Sign(evm.Digest(d, m.StructHash()).Bytes(), key)
	r.must(err)
	signature[64] += 27
	data, err := contracts.USDC.Pack("transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)", m.From, m.To, m.Value, m.ValidAfter, m.ValidBefore, [32]byte(m.Nonce), signature)
	r.must(err)
	return r.send("settler", devchain.USDCAddress, data)
}

func (r *rig) follow(address string) {
	r.Helper()
	r.must(r.db.Follow(r.Context(), reconcile.Wallet{Network: devchain.Network, Asset: devchain.USDCAddress, Address: address, Opening: &money.USDC{}}))
}

// catchUp steps until nothing is left.
func (r *rig) catchUp() {
	r.Helper()
	for range 500 {
		moved, err := r.x.Step(r.Context())
		r.must(err)
		if !moved {
			return
		}
	}
	r.Fatal("the indexer does not come to an end")
}

func (r *rig) wallet(address string) (reconcile.Wallet, reconcile.Sight) {
	r.Helper()
	list, err := r.db.Wallets(r.Context(), devchain.Network)
	r.must(err)
	sights, err := r.db.Sights(r.Context())
	r.must(err)
	for _, w := range list {
		if w.Address == address {
			return w, sights[devchain.Network]
		}
	}
	r.Fatalf("%s is not followed", address)
	return reconcile.Wallet{}, reconcile.Sight{}
}

func (r *rig) sums(address string) (in, out int64) {
	r.Helper()
	w, _ := r.wallet(address)
	i, o, err := r.db.Sums(r.Context(), w, r.chain.Head().Number)
	r.must(err)
	return i.Big().Int64(), o.Big().Int64()
}

func (r *rig) live() []reconcile.Transfer {
	r.Helper()
	list, err := r.db.Transfers(r.Context(), devchain.Network, devchain.USDCAddress, devchain.Lookup("seller").Address)
	r.must(err)
	return list
}

func seller() string { return devchain.Lookup("seller").Address }

func TestIndexerSeesMoneyThatNobodyHereMoved(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.follow(seller())
	used := r.collect("payer-1", seller(), 700, 1)
	r.mine(1)
	gift := r.plain("payer-2", seller(), 55)
	r.mine(3)
	swept := r.plain("seller", devchain.Lookup("payer-3").Address, 100)
	r.mine(1)
	r.catchUp()
	list := r.live()
	if len(list) != 3 || list[0].TxHash != used.Hash().Hex() || list[1].TxHash != gift.Hash().Hex() || list[2].TxHash != swept.Hash().Hex() {
		t.Fatalf("transfers: %+v", list)
	}
	if list[0].Nonce != (common.Hash{31: 1}).Hex() || list[1].Nonce != "" || list[0].Amount.Cmp(money.Atomic(700)) != 0 || list[0].BlockTime.IsZero() {
		t.Fatalf("first: %+v; second: %+v", list[0], list[1])
	}
	w, sight := r.wallet(seller())
	if w.View(sight, now()) != reconcile.ViewFollowing || w.VerifiedBlock == nil || *w.VerifiedBlock != r.chain.Head().Number {
		t.Fatalf("%+v is %s", w, w.View(sight, now()))
	}
}

func TestIndexerHalvesWhatANodeRefusesAndStillReadsAll(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.follow(seller())
	for i := range 6 {
		r.collect("payer-1", seller(), int64(i+1), byte(i+1))
		r.mine(9)
	}
	r.node.widest = 7
	r.catchUp()
	if in, _ := r.sums(seller()); in != 21 {
		t.Errorf("read %d of 21", in)
	}
	w, _ := r.wallet(seller())
	if w.NextBlock != r.chain.Head().Number+1 {
		t.Errorf("cursor at %d, head %d", w.NextBlock, r.chain.Head().Number)
	}
	refused := 0
	for _, n := range r.node.asked {
		if n > 7 {
			refused++
		}
	}
	if refused == 0 || refused > len(r.node.asked)/2+4 {
		t.Errorf("%d of %d questions were refused", refused, len(r.node.asked))
	}
}

func TestA125_ReorganisationsOfEveryDepthAreUnwound(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.follow(seller())
	r.mine(25)
	for depth := 1; depth <= 20; depth++ {
		fate := devchain.FatePending
		if depth%2 == 0 {
			fate = devchain.FateDropped
		}
		r.collect("payer-1", seller(), int64(depth), byte(depth))
		r.mine(depth)
		r.catchUp()
		before, _ := r.sums(seller())
		r.must(r.chain.Reorg(depth, fate))
		r.catchUp()
		after, _ := r.sums(seller())
		if after != before-int64(depth) {
			t.Fatalf("depth %d: %d before, %d after the block is gone", depth, before, after)
		}
		r.mine(1) // the pool brings the transaction back, or it is lost for good
		r.catchUp()
		again, _ := r.sums(seller())
		want := after
		if fate == devchain.FatePending {
			want = before
		}
		if again != want {
			t.Fatalf("depth %d: %d, want %d", depth, again, want)
		}
		if w, sight := r.wallet(seller()); w.View(sight, now()) != reconcile.ViewFollowing || w.VerifiedBlock == nil {
			t.Fatalf("depth %d: %+v", depth, w)
		}
	}
}

func TestIndexerFindsWhatANodeKeptBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.follow(seller())
	r.collect("payer-1", seller(), 10, 1)
	r.mine(1)
	r.catchUp()
	r.collect("payer-1", seller(), 5, 2)
	r.mine(1)
	r.node.lose = 1
	moved, err := r.x.Step(t.Context())
	w, sight := r.wallet(seller())
	if err != nil || !moved || w.View(sight, now()) != reconcile.ViewGap {
		t.Fatalf("a lost transfer went unnoticed: %s, %v", w.View(sight, now()), err)
	}
	r.catchUp()
	w, sight = r.wallet(seller())
	if in, _ := r.sums(seller()); in != 15 || w.View(sight, now()) != reconcile.ViewFollowing {
		t.Fatalf("in %d, %s", in, w.View(sight, now()))
	}
	// A node that never shows it leaves the gap open, and reading goes on.
	r.collect("payer-1", seller(), 7, 3)
	r.mine(1)
	r.node.lose = 1000
	r.catchUp()
	r.mine(2)
	r.catchUp()
	if w, sight = r.wallet(seller()); w.View(sight, now()) != reconcile.ViewGap || w.NextBlock != r.chain.Head().Number+1 {
		t.Fatalf("%+v", w)
	}
}

func TestIndexerSaysThatItIsBlind(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.follow(seller())
	w, sight := r.wallet(seller())
	if w.View(sight, now()) != reconcile.ViewBlind {
		t.Error("before any look it is not blind")
	}
	r.catchUp()
	w, sight = r.wallet(seller())
	if w.View(sight, now()) != reconcile.ViewFollowing || w.View(sight, now().Add(time.Hour)) != reconcile.ViewBlind {
		t.Error("silence for an hour is taken for good news")
	}
	r.node.dead = true
	if _, err := r.x.Step(t.Context()); err == nil {
		t.Error("a dead node raised no error")
	}
	if w, sight = r.wallet(seller()); w.View(sight, now()) != reconcile.ViewBlind || sight.Problem == "" || sight.HeadNumber == 0 {
		t.Errorf("%s: %+v", w.View(sight, now()), sight)
	}
	r.node.dead = false
	r.mine(40)
	r.node.widest = 1
	if _, err := r.x.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w, sight = r.wallet(seller()); w.View(sight, now()) != reconcile.ViewBehind {
		t.Errorf("%d blocks behind is %s", sight.HeadNumber-w.NextBlock, w.View(sight, now()))
	}
}

func TestLateWalletCatchesUpAndThenSharesQuestions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.follow(seller())
	r.mine(30)
	r.catchUp()
	other := devchain.Lookup("wallet-owner").Address
	r.plain("payer-1", other, 9)
	r.plain("payer-1", seller(), 4)
	r.mine(2)
	r.follow(other)
	r.catchUp()
	a, _ := r.wallet(seller())
	b, _ := r.wallet(other)
	in, _ := r.sums(other)
	if a.NextBlock != b.NextBlock || in != 9 {
		t.Errorf("cursors %d and %d, in %d", a.NextBlock, b.NextBlock, in)
	}
	if got, _ := r.sums(seller()); got != 4 {
		t.Errorf("the seller's %d", got)
	}
}

func TestF8_CutOffIsTheLastFinalBlockBeforeThePeriodEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.mine(20)
	for n := uint64(1); n < r.chain.Head().Number-3; n++ {
		b, err := r.node.Block(t.Context(), n)
		r.must(err)
		got, err := reconcile.BlockBefore(t.Context(), r.node, b.Time)
		r.must(err)
		if got.Number != n-1 {
			t.Fatalf("cut-off at block %d's own time is block %d", n, got.Number)
		}
	}
	if _, err := reconcile.BlockBefore(t.Context(), r.node, time.Now().Add(time.Hour)); !errors.Is(err, reconcile.ErrNoBlock) {
		t.Errorf("a period that has not ended: %v", err)
	}
}
