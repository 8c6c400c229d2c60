// Package settlement is what a payment is and what moves it, without a chain and without a database: states, terms
// and the ports that storage and networks fill. It never imports meter: a payment is collectable with no event.
package settlement

import (
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
)

// State is where a payment stands (HOUSE, "States of a payment").
type State string

// The states of a payment.
const (
	StateAuthorized State = "authorized" // claimed; nothing owed yet
	StateCaptured   State = "captured"   // owed; amount fixed
	StateSubmitted  State = "submitted"  // a signed transaction is stored
	StateIncluded   State = "included"   // evidence in a block
	StateFinal      State = "final"      // past the network's finality rule
	StateVoided     State = "voided"     // nobody owes; nothing was ever signed by us
	StateLost       State = "lost"       // owed, cannot be collected
)

// States is every state, in order of life.
func States() []State {
	return []State{StateAuthorized, StateCaptured, StateSubmitted, StateIncluded, StateFinal, StateVoided, StateLost}
}

// UnixSeconds is a chain time.
type UnixSeconds int64

// Time is the chain time as UTC.
func (s UnixSeconds) Time() time.Time { return time.Unix(int64(s), 0).UTC() }

// WaitFor is how far a payment must be before its answer may leave (law 3).
type WaitFor string

// The values of WaitFor that are served.
const (
	WaitIncluded   WaitFor = "included"
	WaitFinal      WaitFor = "final"
	WaitAuthorized WaitFor = "authorized" // credit: the answer leaves before the payment is collected
)

// Terms is what we ask for one request: the content of a 402.
type Terms struct {
	QuoteID      string
	TenantID     id.Tenant // the seller
	WorkflowID   string
	PriceVersion int
	Scheme       string     // "exact"
	Network      string     // CAIP-2
	Asset        string     // checksummed token address
	AssetName    string     // EIP-712 domain name
	AssetVersion string     // EIP-712 domain version
	PayTo        string     // checksummed address of the seller
	Amount       money.USDC // upto: the most that may be captured
	PriceUSD     money.USD
	// TransferMethod is how the token moves: empty for EIP-3009, MethodPermit2. Facilitator is who settles upto, checksummed; empty otherwise.
	TransferMethod    string `json:",omitempty"`
	Facilitator       string `json:",omitempty"`
	MaxTimeoutSeconds int
	Resource          string // absolute URL
	Description       string
	MimeType          string
	RequestDigest     [32]byte
	WaitFor           WaitFor
	QuotedAt          time.Time
	ExpiresAt         time.Time
}

// MethodPermit2 is the transfer method through Uniswap's Permit2 contract, as x402 calls it.
const MethodPermit2 = "permit2"

// Authorization is the payer's signed promise, checked: EIP-3009's TransferWithAuthorization, or Permit2's PermitWitnessTransferFrom
// to one of x402's proxies.
type Authorization struct {
	Method      string `json:",omitempty"` // empty for EIP-3009, MethodPermit2
	Facilitator string `json:",omitempty"` // who alone may settle an upto permit, checksummed; empty for exact
	Network     string
	Asset       string     // checksummed
	Payer       string     // checksummed
	PayTo       string     // checksummed
	Value       money.USDC // upto: the most
	ValidAfter  UnixSeconds
	ValidBefore UnixSeconds
	// NeverEnds is the signed validBefore, in decimal, when it lies beyond the year 9999, where ValidBefore stops: payers
	// write 2^256-1 for "never", and the token wants the very number that was signed. Empty otherwise.
	NeverEnds   string `json:",omitempty"`
	Nonce       string // 0x + 64 lower-case hex
	Signature   Signature
	X402Version int // 1 or 2: in which form the payer spoke, and so is answered
	// Sponsored is the payer's own approval of Permit2, to be sent along; nil if there is none.
	Sponsored *TokenPermit `json:",omitempty"`
}

// TokenPermit is an EIP-2612 permit of the payer for Permit2. It can do no more than approve Permit2 for Value.
type TokenPermit struct {
	Value     money.USDC
	Deadline  UnixSeconds
	Signature Signature // 65 bytes
}

// Signature is the payer's signature. It prints as [redacted].
type Signature []byte

// LogValue keeps signatures out of logs.
func (Signature) LogValue() any { return "[redacted]" }

// String keeps signatures out of error texts.
func (Signature) String() string { return "[redacted]" }

// Evidence is what a chain showed about an authorization: the token's own logs, whoever sent the transaction (law 4).
type Evidence struct {
	Kind        EvidenceKind
	TxHash      string
	BlockNumber uint64
	BlockHash   string
	LogIndex    uint
	BlockTime   UnixSeconds
	Reason      string // for EvidenceUncollectable, EvidenceReverted: window_closed, cancelled, unfunded, reverted
	// Amount is what is captured of an upto authorization; nil captures all of it.
	Amount *money.USDC `json:",omitempty"`
}

// EvidenceKind says what was seen or done.
type EvidenceKind string

// The kinds of evidence that may move a payment.
const (
	EvidenceCapture       EvidenceKind = "capture"       // the work is done: collect
	EvidenceVoid          EvidenceKind = "void"          // the work failed or nobody waits any more
	EvidenceStaged        EvidenceKind = "staged"        // a signed transaction is stored
	EvidenceNothing       EvidenceKind = "nothing"       // zero was captured: there is nothing to collect, and the authorization is spent
	EvidenceSeen          EvidenceKind = "seen"          // Transfer and AuthorizationUsed in a block
	EvidenceFinal         EvidenceKind = "final"         // that block is past the finality rule
	EvidenceReorged       EvidenceKind = "reorged"       // that block is gone
	EvidenceReverted      EvidenceKind = "reverted"      // our transaction failed, authorization unused, window open
	EvidenceUncollectable EvidenceKind = "uncollectable" // can never be collected any more
)

// Payment is one claimed authorization and its fate. Its identity on chain is (network, asset, payer, nonce).
type Payment struct {
	ID            id.Payment
	TenantID      id.Tenant
	EventID       id.Event // empty for the facilitator's clients
	Source        string   // "call" | "facilitator"
	Terms         Terms
	Authorization Authorization
	Amount        money.USDC // captured amount
	State         State
	Reason        string
	Evidence      Evidence // of the last EvidenceSeen; zero before
	ReceiptID     id.Receipt
	ClaimedAt     time.Time
	MovedAt       time.Time
	Identifier    string    // the payer's own name for it, unique by seller, workflow and payer; empty if it gave none
	HoldUntil     time.Time // the call holds the claim until then; afterwards the sweeper may void it
}

// Move is one change of state, appended to payment_moves.
type Move struct {
	PaymentID id.Payment
	From, To  State
	Actor     string // "call" | "worker" | "sweeper" | "facilitator"
	Reason    string
	Evidence  Evidence
	At        time.Time
}

// Refusals of settlement.
var (
	// ErrMoved: somebody moved the payment first; read again and decide afresh.
	ErrMoved = fault.New(fault.KindConflict, "PAYMENT_MOVED", "the payment was moved by somebody else")
	// ErrAuthorizationUsed: the authorization is already claimed by another call.
	ErrAuthorizationUsed = fault.New(fault.KindConflict, "REPLAY_DETECTED", "this payment authorization was already used")
	// ErrPending: something may have been broadcast; the payer must not pay again.
	ErrPending = fault.New(fault.KindUnavailable, "PAYMENT_PENDING", "the payment is on its way; send the same request with the same payment again")
	// ErrChainUnavailable: the network's node does not answer.
	ErrChainUnavailable = fault.New(fault.KindUnavailable, "CHAIN_UNAVAILABLE", "the payment network cannot be reached now")
	// ErrLeaseLost: another worker has the network now; what was about to be written must not be.
	ErrLeaseLost = fault.New(fault.KindConflict, "LEASE_LOST", "another worker has this network")
	// ErrFeeTooHigh: the network asks more than the cap; the payment waits rather than burn money.
	ErrFeeTooHigh = fault.New(fault.KindUnavailable, "FEE_TOO_HIGH", "the network's fee is above the cap for this payment")
	// ErrTransition: the evidence does not fit the state; a defect.
	ErrTransition = fault.New(fault.KindInternal, "PAYMENT_TRANSITION", "the payment cannot move so")
	// ErrNotFound: no such payment for this tenant.
	ErrNotFound = fault.New(fault.KindNotFound, "NOT_FOUND", "no such payment")
)

// Claim makes the payment that a checked authorization stands for, in state authorized.
func Claim(paymentID id.Payment, t Terms, a Authorization, eventID id.Event, now, holdUntil time.Time) Payment {
	return Payment{ID: paymentID, TenantID: t.TenantID, EventID: eventID, Source: "call", Terms: t, Authorization: a,
		Amount: t.Amount, State: StateAuthorized, ClaimedAt: now, MovedAt: now, HoldUntil: holdUntil}
}
