package settlement

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"p402.io/p402/internal/money"
)

// TestEveryStateMeetsEveryEvidence is the whole grid: what is not listed is refused.
func TestEveryStateMeetsEveryEvidence(t *testing.T) {
	t.Parallel()
	kinds := []EvidenceKind{EvidenceCapture, EvidenceVoid, EvidenceStaged, EvidenceSeen, EvidenceFinal, EvidenceReorged, EvidenceReverted, EvidenceUncollectable, EvidenceNothing}
	want := map[State]map[EvidenceKind]State{
		StateAuthorized: {EvidenceCapture: StateCaptured, EvidenceVoid: StateVoided},
		StateCaptured:   {EvidenceNothing: StateFinal, EvidenceVoid: StateVoided, EvidenceStaged: StateSubmitted, EvidenceSeen: StateIncluded, EvidenceUncollectable: StateLost},
		StateSubmitted:  {EvidenceSeen: StateIncluded, EvidenceReverted: StateCaptured, EvidenceUncollectable: StateLost},
		StateIncluded:   {EvidenceSeen: StateIncluded, EvidenceFinal: StateFinal, EvidenceReorged: StateSubmitted},
	}
	for _, from := range States() {
		for _, kind := range kinds {
			next, m, err := Payment{State: from}.Advance(Evidence{Kind: kind}, time.Unix(1, 0))
			to, allowed := want[from][kind]
			switch {
			case allowed && (err != nil || next.State != to || m.From != from || m.To != to):
				t.Errorf("%s + %s: %s, %v", from, kind, next.State, err)
			case !allowed && !errors.Is(err, ErrTransition):
				t.Errorf("%s + %s was allowed", from, kind)
			}
		}
	}
}

func TestS15_AReceiptVerifiesAndAnyAlteredFieldDoesNot(t *testing.T) {
	t.Parallel()
	issuer := NewIssuer("p402", ed25519.NewKeyFromSeed(make([]byte, 32)))
	p := Payment{ID: "pay_1", TenantID: "ten_1", EventID: "evt_1", Amount: money.Atomic(10000), MovedAt: time.Unix(1_800_000_000, 0),
		Authorization: Authorization{Payer: "0xA", PayTo: "0xB", Network: "eip155:84532", Nonce: "0x1"}, Evidence: Evidence{TxHash: "0xc", BlockNumber: 5}}
	r, err := issuer.NewReceipt("rcpt_1", p)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyReceipt(raw, issuer.KeySet()); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{{`"10000"`, `"10001"`}, {"0xA", "0xC"}, {"evt_1", "evt_2"}, {`"block_number":5`, `"block_number":6`}, {"rcpt_1", "rcpt_2"}} {
		forged := strings.Replace(string(raw), change[0], change[1], 1)
		if _, err := VerifyReceipt([]byte(forged), issuer.KeySet()); !errors.Is(err, ErrReceipt) {
			t.Errorf("%s -> %s verified", change[0], change[1])
		}
	}
}

// TestA117_NeverMoreIsCapturedThanWasSigned: less, and nothing at all, may be.
func TestA117_NeverMoreIsCapturedThanWasSigned(t *testing.T) {
	t.Parallel()
	signed := Payment{State: StateAuthorized, Amount: money.Atomic(50_000)}
	for amount, ok := range map[int64]bool{0: true, 1: true, 50_000: true, 50_001: false} {
		n := money.Atomic(amount)
		next, _, err := signed.Advance(Evidence{Kind: EvidenceCapture, Amount: &n}, time.Unix(1, 0))
		if ok != (err == nil) || ok && next.Amount.Cmp(n) != 0 {
			t.Errorf("%d: %s, %v", amount, next.Amount, err)
		}
	}
	all, _, err := signed.Advance(Evidence{Kind: EvidenceCapture}, time.Unix(1, 0))
	if err != nil || all.Amount.Cmp(signed.Amount) != 0 {
		t.Errorf("all: %s, %v", all.Amount, err)
	}
	if _, _, err := all.Advance(Evidence{Kind: EvidenceNothing}, time.Unix(1, 0)); !errors.Is(err, ErrTransition) {
		t.Errorf("50000 is nothing: %v", err)
	}
	if _, _, err := all.Advance(Evidence{Kind: EvidenceStaged, Amount: &money.USDC{}}, time.Unix(1, 0)); !errors.Is(err, ErrTransition) {
		t.Errorf("the amount was changed after the capture: %v", err)
	}
}
