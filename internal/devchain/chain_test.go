package devchain

import (
	"context"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/core/types"
)

// pay collects one authorization and returns its receipt.
func (r rig) pay(payer string, nonce byte) *types.Receipt {
	r.Helper()
	a := r.authorize(Lookup(payer).Address, nonce)
	return r.settle("settler", USDCAddress, a.vrsForm(r.T, transferVRS, sign(privateKey(payer), a.digest(transferType))))
}

func (r rig) stop() {
	r.Helper()
	r.client.Close()
	r.must(r.Close())
}

func TestRestartContinuesTheChain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := manual(t, dir)
	receipt := r.pay("payer-1", 1)
	r.mine(600) // more than one batch of the replay
	head := r.Head()
	if _, err := Start(t.Context(), Config{Dir: dir, Manual: true}); !errors.Is(err, ErrDirInUse) {
		t.Errorf("second chain on the folder: %v", err)
	}
	r.stop()

	r = start(t, Config{Dir: dir, Manual: true})
	if got := r.Head(); got != head {
		t.Errorf("head after restart %v, before %v", got, head)
	}
	if got := r.balance(Lookup("seller").Address); got != 10_000 {
		t.Errorf("seller holds %d after restart", got)
	}
	again, err := r.client.TransactionReceipt(t.Context(), receipt.TxHash)
	r.must(err)
	if again.BlockHash != receipt.BlockHash || len(again.Logs) != 2 {
		t.Errorf("receipt after restart: block %s, %d logs", again.BlockHash, len(again.Logs))
	}
	r.pay("payer-1", 2)
	r.stop()

	r = start(t, Config{Dir: dir, Manual: true})
	if got := r.balance(Lookup("seller").Address); got != 20_000 {
		t.Errorf("seller holds %d after the second restart", got)
	}
}

// Whatever a client was shown is on disk already: the log of a chain that was never closed holds it.
func TestCrashLosesNoBlock(t *testing.T) {
	t.Parallel()
	dir, copied := t.TempDir(), t.TempDir()
	r := manual(t, dir)
	r.pay("payer-1", 1)
	r.must(r.Reorg(1, FatePending))
	r.mine(1)
	raw, err := os.ReadFile(filepath.Join(dir, logName))
	r.must(err)
	r.must(os.WriteFile(filepath.Join(copied, logName), raw, 0o600))
	after := start(t, Config{Dir: copied, Manual: true})
	if got, want := after.Head(), r.Head(); got != want || after.balance(Lookup("seller").Address) != 10_000 {
		t.Errorf("head %v after the crash, %v before; seller holds %d", got, want, after.balance(Lookup("seller").Address))
	}
}

// What a crash can leave at the end of the log is cut off, and the chain goes on from the last whole block.
func TestTornTailIsTruncated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, logName)
	r := manual(t, dir)
	r.pay("payer-1", 1)
	head := r.Head()
	whole, err := os.Stat(path)
	r.must(err)
	r.mine(1)
	r.stop()
	full, err := os.ReadFile(path)
	r.must(err)

	last := full[whole.Size():]
	garbled := append([]byte{}, last...)
	garbled[len(garbled)-1] ^= 1
	for name, tail := range map[string][]byte{
		"inside the frame": last[:5],
		"frame alone":      last[:frameSize],
		"inside the block": last[:len(last)-1],
		"garbled block":    garbled,
		"zeros":            make([]byte, len(last)),
	} {
		r.must(os.WriteFile(path, append(append([]byte{}, full[:whole.Size()]...), tail...), 0o600))
		r := start(t, Config{Dir: dir, Manual: true})
		if got := r.Head(); got != head {
			t.Errorf("%s: head %v, want %v", name, got, head)
		}
		if got := r.balance(Lookup("seller").Address); got != 10_000 {
			t.Errorf("%s: seller holds %d", name, got)
		}
		r.mine(1)
		mined := r.Head()
		r.stop()
		r = start(t, Config{Dir: dir, Manual: true})
		if got := r.Head(); got != mined {
			t.Errorf("%s: head %v after a block and a restart, want %v", name, got, mined)
		}
		r.stop()
	}
}

func TestForeignAndDamagedLogsAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, logName)
	r := manual(t, dir)
	r.mine(3)
	r.stop()
	full, err := os.ReadFile(path)
	r.must(err)
	for _, tc := range []struct {
		name   string
		offset int
		want   error
	}{
		{"another genesis", len(logMagic) + 3, ErrForeignLog},
		{"not a block log", 0, ErrForeignLog},
		{"a byte of the first block, with others behind it", headerSize + frameSize + 40, ErrDamagedLog},
	} {
		changed := append([]byte{}, full...)
		changed[tc.offset] ^= 1
		r.must(os.WriteFile(path, changed, 0o600))
		if _, err := Start(t.Context(), Config{Dir: dir, Manual: true}); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
		if kept, err := os.ReadFile(path); err != nil || string(kept) != string(changed) {
			t.Errorf("%s: the file was touched (%v)", tc.name, err)
		}
	}
	// A header cut short by a crash at the very first start is no damage.
	r.must(os.WriteFile(path, full[:10], 0o600))
	if got := start(t, Config{Dir: dir, Manual: true}).Head().Number; got != 0 {
		t.Errorf("head %d on a fresh log", got)
	}
}

func TestA125_ReorgTakesAPaymentBackAndBringsItAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := manual(t, dir)
	seller := Lookup("seller").Address
	receipt := r.pay("payer-1", 1)
	r.mine(2)
	before := r.Head()
	r.must(r.Reorg(3, FatePending))
	if got := r.Head(); got.Number != before.Number+1 || got.Hash == before.Hash {
		t.Fatalf("head %v after reorganising from %v", got, before)
	}
	if _, err := r.client.TransactionReceipt(t.Context(), receipt.TxHash); !errors.Is(err, ethereum.NotFound) {
		t.Errorf("receipt of the removed transaction: %v, want not found", err)
	}
	if _, pending, err := r.client.TransactionByHash(t.Context(), receipt.TxHash); err != nil || !pending {
		t.Errorf("removed transaction: pending %v, %v", pending, err)
	}
	if got := r.balance(seller); got != 0 {
		t.Errorf("seller holds %d after the reorganisation", got)
	}
	r.mine(1)
	again, err := r.client.TransactionReceipt(t.Context(), receipt.TxHash)
	r.must(err)
	if again.Status != types.ReceiptStatusSuccessful || again.BlockHash == receipt.BlockHash {
		t.Errorf("second inclusion: status %d in block %s", again.Status, again.BlockHash)
	}
	head := r.Head()
	r.stop()
	r = start(t, Config{Dir: dir, Manual: true})
	if got := r.Head(); got != head || r.balance(seller) != 10_000 {
		t.Errorf("after restart: head %v (was %v), seller holds %d", got, head, r.balance(seller))
	}
}

func TestA125_ReorgMayDropAPaymentForGood(t *testing.T) {
	t.Parallel()
	r := manual(t, "")
	a := r.authorize(Lookup("payer-2").Address, 1)
	tx := r.send("settler", USDCAddress, a.vrsForm(t, transferVRS, sign(privateKey("payer-2"), a.digest(transferType))))
	r.mine(1)
	r.must(r.Reorg(1, FateDropped))
	r.mine(2)
	if _, _, err := r.client.TransactionByHash(t.Context(), tx.Hash()); !errors.Is(err, ethereum.NotFound) {
		t.Errorf("dropped transaction: %v, want not found", err)
	}
	if got := r.balance(Lookup("seller").Address); got != 0 {
		t.Errorf("seller holds %d", got)
	}
	// The same bytes may be sent again: the sender's nonce is free, the authorization unused.
	r.must(r.client.SendTransaction(t.Context(), tx))
	r.mine(1)
	if got := r.balance(Lookup("seller").Address); got != 10_000 {
		t.Errorf("seller holds %d after sending again", got)
	}
}

func TestReorgBounds(t *testing.T) {
	t.Parallel()
	r := manual(t, "")
	r.mine(150)
	for _, depth := range []int{0, -1, 101} {
		if err := r.Reorg(depth, FatePending); err == nil {
			t.Errorf("depth %d was accepted", depth)
		}
	}
	r.must(r.Reorg(100, FatePending))
	r.must(r.Reorg(100, FatePending))
	if got := r.Head().Number; got != 153 {
		t.Errorf("head %d", got)
	}
	other := manual(t, "")
	if err := other.Reorg(2, FatePending); err == nil {
		t.Error("genesis was reorganised away")
	}
}

func TestMarksFollowTheHead(t *testing.T) {
	t.Parallel()
	r := manual(t, "")
	r.mine(9)
	for tag, want := range map[int64]int64{-3: 7, -4: 9} { // finalized, safe
		h, err := r.client.HeaderByNumber(t.Context(), big.NewInt(tag))
		r.must(err)
		if h.Number.Int64() != want {
			t.Errorf("tag %d is block %s, want %d", tag, h.Number, want)
		}
	}
}

func TestAdvanceTimeOutlivesARestart(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cfg := Config{Dir: t.TempDir(), Manual: true, Now: func() time.Time { return now }}
	r := start(t, cfg)
	r.mine(1)
	if got := r.Head().Time; !got.Equal(now) {
		t.Errorf("first block at %s, want %s", got, now)
	}
	a := r.authorize(Lookup("payer-1").Address, 1)
	data := a.vrsForm(t, transferVRS, sign(privateKey("payer-1"), a.digest(transferType)))
	if got := r.refusal("settler", USDCAddress, data); got != "" {
		t.Fatalf("inside the window: %q", got)
	}
	r.must(r.AdvanceTime(time.Hour))
	if got := r.refusal("settler", USDCAddress, data); got != "FiatTokenV2: authorization is expired" {
		t.Errorf("an hour later: %q", got)
	}
	if err := r.AdvanceTime(-time.Hour); err == nil {
		t.Error("time went back")
	}
	r.stop()
	r = start(t, cfg)
	r.mine(1)
	if got, want := r.Head().Time, now.Add(time.Hour+time.Second); !got.Equal(want) {
		t.Errorf("block after restart at %s, want %s", got, want)
	}
}

func TestBlockIsDue(t *testing.T) {
	t.Parallel()
	head := time.Unix(1_800_000_000, 0)
	for _, tc := range []struct {
		name string
		pace pace
		want time.Duration
	}{
		{"a payment waits: at once, borrowing a second at most", pace{pending: true, confirming: 3}, 0},
		{"confirmations: a second each", pace{confirming: 1}, time.Second},
		{"idle: the heartbeat", pace{}, 2 * time.Second},
	} {
		tc.pace.head, tc.pace.heartbeat = head, 2*time.Second
		if got := tc.pace.due().Sub(head); got != tc.want {
			t.Errorf("%s: due after %s, want %s", tc.name, got, tc.want)
		}
	}
}

// The only test that waits for the wall clock: a running chain takes payments by itself, confirms them, and keeps its
// clock with the wall, in a burst too: never two seconds ahead, and behind by the heartbeat and scheduling at most.
func TestRunningChainKeepsWithTheClock(t *testing.T) {
	t.Parallel()
	r := start(t, Config{Dir: t.TempDir()})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	heads := r.watchHeads(ctx)
	var last *types.Transaction
	for i := range 3 {
		a := r.authorize(Lookup("payer-1").Address, byte(i+1))
		last = r.send("settler", USDCAddress, a.vrsForm(t, transferVRS, sign(privateKey("payer-1"), a.digest(transferType))))
	}
	var included uint64
	for h := range heads {
		if lag := time.Since(h.Time); lag > 4*time.Second || lag < -2*time.Second {
			t.Errorf("block %d is %s behind the wall clock", h.Number, lag)
		}
		if included == 0 {
			if receipt, err := r.client.TransactionReceipt(ctx, last.Hash()); err == nil {
				included = receipt.BlockNumber.Uint64()
			}
		}
		if included > 0 && h.Number >= included+confirmingBlocks {
			return
		}
	}
	t.Errorf("payments included in block %d were not confirmed in time", included)
}

// watchHeads polls for new blocks until ctx ends.
func (r rig) watchHeads(ctx context.Context) <-chan Head {
	heads := make(chan Head)
	go func() {
		defer close(heads)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		var last Head
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			head := r.Head()
			if head == last {
				continue
			}
			last = head
			select {
			case heads <- head:
			case <-ctx.Done():
				return
			}
		}
	}()
	return heads
}

// What a chain left idle costs at its next start, by block of its log. 10,000 heartbeats are five and a half hours.
func BenchmarkReplayIdleBlocks(b *testing.B) {
	dir := b.TempDir()
	chain, err := Start(b.Context(), Config{Dir: dir, Manual: true})
	if err == nil {
		err = errors.Join(chain.Mine(b.N), chain.Close())
	}
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	chain, err = Start(b.Context(), Config{Dir: dir, Manual: true})
	if err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if err := chain.Close(); err != nil {
		b.Fatal(err)
	}
}
