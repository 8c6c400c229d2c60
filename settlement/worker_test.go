package settlement_test

import (
	"errors"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"p402.io/p402/internal/devchain"
	"p402.io/p402/settlement"
)

func TestAPaymentIsCollectedAndBecomesFinal(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.owed("payer-1")
	r.step()
	r.is(p, settlement.StateSubmitted, "")
	r.mine(1)
	r.step()
	r.is(p, settlement.StateIncluded, "")
	got := r.paidOnce(p)
	attempts, err := r.db.Attempts(t.Context(), p.ID)
	r.must(err)
	if len(attempts) != 1 || attempts[0].State != settlement.AttemptMined || attempts[0].TxHash != got.Evidence.TxHash {
		t.Errorf("attempts: %+v", attempts)
	}
}

// TestA130_ACrashBetweenAnyTwoSteps kills the worker before or after each write and each send of a payment's life; another one
// begins with what is stored.
func TestA130_ACrashBetweenAnyTwoSteps(t *testing.T) {
	t.Parallel()
	for k := 0; k < 6; k++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d after=%v", k, after), func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				c := &crash{Book: r.db, Sender: r.wallet, k: k, after: after}
				doomed := r.newWorker(c, c)
				p := r.owed("payer-1")
				for range 12 {
					if _, err := doomed.Step(t.Context()); errors.Is(err, errCrash) {
						break
					}
					r.wait(time.Second)
					r.mine(1)
				}
				if len(c.did) != k+1 && k < 5 {
					t.Fatalf("steps until the crash: %v", c.did)
				}
				r.wait(time.Minute) // the lease of the dead
				r.paidOnce(p)
			})
		}
	}
}

// TestA129_ALostBroadcastIsSentAgain: the very bytes that were stored, no second transaction.
func TestA129_ALostBroadcastIsSentAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.owed("payer-1")
	r.wallet.deaf = true
	r.step()
	r.is(p, settlement.StateSubmitted, "")
	r.mine(2)
	r.step()
	r.is(p, settlement.StateSubmitted, "")
	r.wallet.deaf = false
	r.wait(rebroadcast + time.Second)
	r.step()
	r.mine(1)
	r.step()
	r.is(p, settlement.StateIncluded, "")
	attempts, err := r.db.Attempts(t.Context(), p.ID)
	r.must(err)
	if len(attempts) != 1 || r.wallet.sent != 2 {
		t.Errorf("%d attempts, sent %d times", len(attempts), r.wallet.sent)
	}
	r.paidOnce(p)
}

// TestA125_ReorganisationsBackAndForth: every inclusion that is undone is followed by another, and each has its receipt.
func TestA125_ReorganisationsBackAndForth(t *testing.T) {
	t.Parallel()
	for name, fate := range map[string]devchain.Fate{"back into the pool": devchain.FatePending, "dropped": devchain.FateDropped} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			p := r.owed("payer-1")
			r.step()
			blocks := map[string]bool{}
			for depth := 1; depth <= 3; depth++ {
				r.mine(1)
				r.step()
				blocks[r.is(p, settlement.StateIncluded, "").Evidence.BlockHash] = true
				r.mine(depth - 1)
				r.must(r.chain.Reorg(depth, fate))
				if n := r.sold(); n != 0 {
					t.Fatalf("the reorganised chain still shows %d payments", n)
				}
				r.step()
				r.is(p, settlement.StateSubmitted, "reorged")
				r.wait(time.Second)
				r.step()
			}
			if len(blocks) != 3 {
				t.Errorf("%d blocks", len(blocks))
			}
			got := r.paidOnce(p)
			if blocks[got.Evidence.BlockHash] {
				t.Error("final in a block that is gone")
			}
		})
	}
}

// TestA118_AStrangerSubmitsFirst: the payer has paid, whoever sent it, so the payment is included with the stranger's
// transaction; our own slot must not block the next payment.
func TestA118_AStrangerSubmitsFirst(t *testing.T) {
	t.Parallel()
	t.Run("before we sign", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		p := r.owed("payer-1")
		tx := r.collectedBy("payer-6", p)
		r.mine(1)
		r.step()
		if got := r.is(p, settlement.StateIncluded, ""); got.Evidence.TxHash != tx.Hash().Hex() {
			t.Errorf("evidence %s, want the stranger's %s", got.Evidence.TxHash, tx.Hash())
		}
		r.paidOnce(p)
		if r.wallet.sent != 0 {
			t.Errorf("we sent %d transactions for nothing", r.wallet.sent)
		}
	})
	t.Run("ours reverts in the same block", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		p := r.owed("payer-1")
		r.step()
		tx := r.collectedBy("payer-6", p)
		r.mine(1)
		r.step()
		if got := r.is(p, settlement.StateIncluded, ""); got.Evidence.TxHash != tx.Hash().Hex() {
			t.Errorf("evidence %s, want the stranger's %s", got.Evidence.TxHash, tx.Hash())
		}
		r.paidOnce(p)
	})
	t.Run("ours never arrived", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		p := r.owed("payer-1")
		r.wallet.deaf = true
		r.step()
		r.collectedBy("payer-6", p)
		r.mine(1)
		r.wallet.deaf = false
		r.paidOnce(p)
		next := r.owed("payer-2")
		if got := r.finish(next); got.State != settlement.StateFinal {
			t.Fatalf("the next payment ended %s (%s): the unused slot blocks it", got.State, got.Reason)
		}
		slots, err := r.db.OpenSlots(t.Context(), devchain.Network, devchain.Lookup("settler").Address, 0)
		r.must(err)
		if len(slots) != 1 || slots[0].Last.Purpose != settlement.PurposeFill {
			t.Errorf("slots: %+v", slots)
		}
	})
	t.Run("and a reorganisation takes theirs away after our slot was filled", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		p := r.owed("payer-1")
		r.wallet.deaf = true
		r.step()
		r.collectedBy("payer-6", p)
		r.mine(1)
		r.wallet.deaf = false
		r.step() // included
		r.step() // the slot is filled
		r.mine(1)
		r.is(p, settlement.StateIncluded, "")
		r.must(r.chain.Reorg(2, devchain.FateDropped))
		r.paidOnce(p)
	})
}

// TestA119_ACancelledAuthorizationIsLost: used and cancelled look the same to authorizationState; the logs tell.
func TestA119_ACancelledAuthorizationIsLost(t *testing.T) {
	t.Parallel()
	t.Run("before we sign", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		p := r.owed("payer-1")
		r.cancelled("payer-1", p)
		r.mine(1)
		r.step()
		r.is(p, settlement.StateLost, "cancelled")
	})
	t.Run("in front of ours", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		p := r.owed("payer-1")
		r.step()
		r.cancelled("payer-1", p)
		r.mine(1)
		r.step()
		r.is(p, settlement.StateLost, "cancelled")
		if n := r.sold(); n != 0 {
			t.Errorf("%d payments", n)
		}
	})
}

// TestA114_AnEmptiedPayerIsLost: the balance goes between check and collection.
func TestA114_AnEmptiedPayerIsLost(t *testing.T) {
	t.Parallel()
	t.Run("before we sign", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		p := r.owed("payer-1")
		r.drained("payer-1")
		r.mine(1)
		r.step()
		r.is(p, settlement.StateLost, "unfunded")
		if r.wallet.sent != 0 {
			t.Error("gas was spent on what could not pass")
		}
	})
	t.Run("in front of ours", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		p := r.owed("payer-1")
		r.step()
		r.drained("payer-1")
		r.mine(1)
		r.step()
		r.is(p, settlement.StateCaptured, "reverted")
		r.step()
		r.is(p, settlement.StateLost, "unfunded")
	})
}

// TestA113_AClosedWindowIsLost covers authorizations that expire before and after they were sent.
func TestA113_AClosedWindowIsLost(t *testing.T) {
	t.Parallel()
	t.Run("before we sign", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		p := r.owed("payer-1")
		r.must(r.chain.AdvanceTime(301 * time.Second))
		r.step()
		r.is(p, settlement.StateLost, "window_closed")
	})
	t.Run("mined too late", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		p := r.owed("payer-1")
		r.step()
		r.must(r.chain.AdvanceTime(301 * time.Second)) // the block takes ours, and it reverts
		r.step()
		r.is(p, settlement.StateLost, "window_closed")
	})
	t.Run("never arrived", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		p := r.owed("payer-1")
		r.wallet.deaf = true
		r.step()
		r.must(r.chain.AdvanceTime(301 * time.Second))
		r.step()
		r.is(p, settlement.StateSubmitted, "") // what was sent may still be in a block that comes late
		r.must(r.chain.AdvanceTime(50 * time.Second))
		r.step()
		r.is(p, settlement.StateLost, "window_closed")
	})
}

// TestA133_AStuckNonceIsFreed: the first payment's transaction never arrives and its window closes; what waits behind it goes on.
func TestA133_AStuckNonceIsFreed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	stuck := r.owed("payer-1")
	r.wallet.deaf = true
	r.step()
	r.wallet.deaf = false
	r.must(r.chain.AdvanceTime(295 * time.Second))
	behind := r.owed("payer-2")
	r.wallet.deaf = true
	r.step()
	r.mine(1)
	r.is(behind, settlement.StateSubmitted, "")
	r.must(r.chain.AdvanceTime(60 * time.Second))
	r.step()
	r.is(stuck, settlement.StateLost, "window_closed")
	r.wallet.deaf = false
	if got := r.finish(behind); got.State != settlement.StateFinal {
		t.Fatalf("behind the stuck one: %s (%s)", got.State, got.Reason)
	}
	if n := r.sold(); n != 1 {
		t.Errorf("%d payments", n)
	}
}

// TestA133_AHigherFeeReplaces: both fee fields rise by a tenth at least, in the same slot; whichever attempt is mined is the payment.
func TestA133_AHigherFeeReplaces(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("the dearer one is lost: %v", lost), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			p := r.owed("payer-1")
			r.step()
			r.wait(replace + time.Second)
			r.wallet.deaf = lost
			r.step()
			attempts, err := r.db.Attempts(t.Context(), p.ID)
			r.must(err)
			if len(attempts) != 2 || attempts[0].Slot != attempts[1].Slot || attempts[1].Number != 2 {
				t.Fatalf("attempts: %+v", attempts)
			}
			for _, pair := range [][2]*big.Int{{attempts[0].FeeCap.Big(), attempts[1].FeeCap.Big()}, {attempts[0].TipCap.Big(), attempts[1].TipCap.Big()}} {
				if new(big.Int).Mul(pair[0], big.NewInt(110)).Cmp(new(big.Int).Mul(pair[1], big.NewInt(100))) > 0 {
					t.Errorf("fee %s after %s", pair[1], pair[0])
				}
			}
			r.mine(1)
			got := r.paidOnce(p)
			mined := 1
			if lost {
				mined = 0
			}
			if got.Evidence.TxHash != attempts[mined].TxHash {
				t.Errorf("evidence %s", got.Evidence.TxHash)
			}
			attempts, err = r.db.Attempts(t.Context(), p.ID)
			r.must(err)
			if attempts[mined].State != settlement.AttemptMined || attempts[1-mined].State != settlement.AttemptReplaced {
				t.Errorf("states %s, %s", attempts[0].State, attempts[1].State)
			}
		})
	}
}

// TestARevertedPaymentIsTriedAgainOnce: the token is paused for one block. A second failure is the end: gas is not burnt for ever.
func TestARevertedPaymentIsTriedAgainOnce(t *testing.T) {
	t.Parallel()
	for fails, want := range []settlement.State{settlement.StateFinal, settlement.StateFinal, settlement.StateLost} {
		t.Run(fmt.Sprintf("%d failures", fails), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			p := r.owed("payer-1")
			for range fails {
				r.step()
				r.other("deployer", "pause()")
				r.mine(1)
				r.other("deployer", "unpause()")
				r.mine(1)
				r.step()
			}
			if fails == 1 { // the failure of the first slot says nothing about the second
				r.step()
				r.step()
				r.is(p, settlement.StateSubmitted, "")
			}
			got := r.finish(p)
			if got.State != want || (want == settlement.StateLost && got.Reason != "reverted") {
				t.Fatalf("%s (%s)", got.State, got.Reason)
			}
			if n := r.sold(); (n == 1) != (want == settlement.StateFinal) {
				t.Errorf("%d payments", n)
			}
		})
	}
}

// TestA131_ALeaseFencesTheLoser: one worker at a time, and what the former holder is about to write is refused.
func TestA131_ALeaseFencesTheLoser(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first, second := r.worker, r.newWorker(r.db, r.wallet)
	if _, err := first.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	stale, err := r.db.AcquireLease(t.Context(), "eip155:1", "a", r.now(), r.now().Add(time.Second))
	r.must(err)
	if _, err := second.Step(t.Context()); !errors.Is(err, settlement.ErrLeaseLost) {
		t.Fatalf("a second worker worked: %v", err)
	}
	r.wait(time.Minute)
	p := r.owed("payer-1")
	if _, err := second.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Step(t.Context()); !errors.Is(err, settlement.ErrLeaseLost) {
		t.Fatalf("the former worker worked: %v", err)
	}
	other := r.owed("payer-2")
	fresh, err := r.db.AcquireLease(t.Context(), "eip155:1", "b", r.now(), r.now().Add(time.Second))
	r.must(err)
	if fresh.Fence <= stale.Fence {
		t.Errorf("fence %d after %d", fresh.Fence, stale.Fence)
	}
	a := settlement.Attempt{PaymentID: other.ID, Purpose: settlement.PurposeCollect, TxHash: "0x1", Raw: []byte{1}, State: settlement.AttemptSigned,
		Slot: settlement.Slot{Network: "eip155:1", Account: "0x1", Nonce: 1}, Number: 1, SignedAt: r.now()}
	_, m, err := other.Advance(settlement.Evidence{Kind: settlement.EvidenceStaged}, r.now())
	r.must(err)
	if err := r.db.Stage(t.Context(), stale, other, m, a); !errors.Is(err, settlement.ErrLeaseLost) {
		t.Errorf("stage with a stale lease: %v", err)
	}
	if err := r.db.Replace(t.Context(), stale, a); !errors.Is(err, settlement.ErrLeaseLost) {
		t.Errorf("replace with a stale lease: %v", err)
	}
	r.is(other, settlement.StateCaptured, "")
	r.is(p, settlement.StateSubmitted, "")
	if err := r.db.Stage(t.Context(), fresh, other, m, a); err != nil {
		t.Errorf("stage with the present lease: %v", err)
	}
}

// TestA132_AGapBeforeJournalledNoncesIsFilledAtStart: the journal holds a slot two beyond the chain's nonce, as a restored backup may.
func TestA132_AGapBeforeJournalledNoncesIsFilledAtStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	lease, err := r.db.AcquireLease(t.Context(), devchain.Network, "before", r.now(), r.now().Add(time.Second))
	r.must(err)
	far := settlement.Slot{Network: devchain.Network, Account: r.wallet.Account(), Nonce: 2}
	a, err := r.wallet.Fill(t.Context(), far, nil)
	r.must(err)
	a.Purpose, a.State, a.SignedAt = settlement.PurposeFill, settlement.AttemptSigned, r.now()
	r.must(r.db.Replace(t.Context(), lease, a))
	r.wait(2 * time.Second)
	r.step()
	r.mine(1)
	nonce, err := r.client.NonceAt(t.Context(), common.HexToAddress(r.wallet.Account()), nil)
	r.must(err)
	if nonce != 3 {
		t.Fatalf("nonce %d: slots 0 to 2 are not all used", nonce)
	}
	r.paidOnce(r.owed("payer-1"))
}

// TestA131_TheWalletWasUsedElsewhere: a transaction that is not in the journal took our slot; the payment is staged again.
func TestA131_TheWalletWasUsedElsewhere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.owed("payer-1")
	r.wallet.deaf = true
	r.step()
	r.wallet.deaf = false
	r.other("settler", "approve(address,uint256)", addressOf("payer-6"), new(big.Int))
	r.mine(1)
	r.step()
	r.is(p, settlement.StateCaptured, "slot_used")
	r.paidOnce(p)
}

// TestManyThatWaitToBeFinalDoNotStarveANewPayment: more payments than a round takes wait for finality.
func TestManyThatWaitToBeFinalDoNotStarveANewPayment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := r.db.AcquireLease(t.Context(), devchain.Network, "list", r.now(), r.now().Add(time.Second))
	r.must(err)
	for range 3 {
		p := r.owed("payer-1")
		_, m, err := p.Advance(settlement.Evidence{Kind: settlement.EvidenceSeen}, r.now())
		r.must(err)
		p.State = settlement.StateIncluded
		r.must(r.db.Record(t.Context(), p, m, nil))
		r.wait(time.Second)
	}
	lease, err := r.db.AcquireLease(t.Context(), devchain.Network, "list", r.now(), r.now().Add(time.Second))
	r.must(err)
	fresh := r.owed("payer-2")
	work, err := r.db.Work(t.Context(), lease, 2)
	r.must(err)
	if len(work) != 3 || work[0].ID != fresh.ID {
		t.Fatalf("%d payments, the fresh one not first", len(work))
	}
}

// TestAHoldThatHasPassedIsLeftToTheSweeper: nobody waits for the answer, so nothing is collected.
func TestAHoldThatHasPassedIsLeftToTheSweeper(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.owed("payer-1")
	r.wait(2 * time.Hour)
	r.step()
	r.is(p, settlement.StateCaptured, "")
	if r.wallet.sent != 0 {
		t.Error("collected for nobody")
	}
}
