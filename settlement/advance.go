package settlement

import (
	"fmt"
	"time"
)

// transition is where evidence takes a state, for every pair that is allowed. What is not here is ErrTransition.
var transition = map[State]map[EvidenceKind]State{
	StateAuthorized: {EvidenceCapture: StateCaptured, EvidenceVoid: StateVoided},
	StateCaptured: {EvidenceVoid: StateVoided, EvidenceStaged: StateSubmitted,
		EvidenceSeen:          StateIncluded, // somebody else sent it: the evidence counts, whoever pays the gas (law 4)
		EvidenceNothing:       StateFinal,
		EvidenceUncollectable: StateLost},
	StateSubmitted: {EvidenceSeen: StateIncluded, EvidenceReverted: StateCaptured, EvidenceUncollectable: StateLost},
	StateIncluded:  {EvidenceSeen: StateIncluded, EvidenceFinal: StateFinal, EvidenceReorged: StateSubmitted},
	StateFinal:     {},
	StateVoided:    {},
	StateLost:      {},
}

// Advance is the only way a payment changes its state. It is pure: the caller stores payment and move, guarded by From.
func (p Payment) Advance(e Evidence, now time.Time) (Payment, Move, error) {
	to, ok := transition[p.State][e.Kind]
	if !ok {
		return p, Move{}, ErrTransition.Because(fmt.Errorf("payment %s: %s does not fit state %s", p.ID, e.Kind, p.State))
	}
	if e.Amount != nil && (e.Kind != EvidenceCapture || e.Amount.Cmp(p.Amount) > 0) {
		return p, Move{}, ErrTransition.Because(fmt.Errorf("payment %s: %s of %s captured", p.ID, e.Amount, p.Amount))
	}
	if (e.Kind == EvidenceNothing) && !p.Amount.IsZero() {
		return p, Move{}, ErrTransition.Because(fmt.Errorf("payment %s: %s is not nothing", p.ID, p.Amount))
	}
	m := Move{PaymentID: p.ID, From: p.State, To: to, Reason: e.Reason, Evidence: e, At: now}
	if m.Reason == "" {
		m.Reason = string(e.Kind)
	}
	p.State, p.Reason, p.MovedAt = to, m.Reason, now
	switch e.Kind {
	case EvidenceSeen:
		p.Evidence = e
	case EvidenceReorged:
		p.Evidence = Evidence{}
	case EvidenceCapture:
		if e.Amount != nil {
			p.Amount = *e.Amount
		}
	case EvidenceNothing, EvidenceVoid, EvidenceStaged, EvidenceFinal, EvidenceReverted, EvidenceUncollectable:
	}
	return p, m, nil
}
