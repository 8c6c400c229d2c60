package settlement

import (
	"context"
	"time"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/settlement/x402"
)

// Scheme is one x402 payment scheme on one family of networks.
type Scheme interface {
	Name() string
	// Check verifies and simulates a payment against the terms; it reads the chain and writes nothing. A refusal is an
	// *x402.Error with the protocol's reason; ErrChainUnavailable when the chain could not be read.
	Check(ctx context.Context, t Terms, p x402.Payment) (Authorization, error)
	// Collect is the call that moves the money; pure.
	Collect(a Authorization, amount money.USDC) (TxIntent, error)
}

// TxIntent is a contract call to be signed.
type TxIntent struct {
	To       string
	Data     []byte
	GasLimit uint64 // 0 = estimate
}

// Slot is one nonce of one of our wallets on one network. A slot has at most one mined attempt.
type Slot struct {
	Network string
	Account string
	Nonce   uint64
}

// Attempt is one signed transaction for a payment, stored before it is sent.
type Attempt struct {
	PaymentID  id.Payment
	Slot       Slot
	Number     int // 1, 2, … within the slot; a higher one replaces with more fee
	TxHash     string
	Raw        []byte
	FeeCap     money.Wei
	TipCap     money.Wei
	State      AttemptState
	SignedAt   time.Time
	LastSentAt *time.Time
}

// AttemptState is signed -> sent -> mined | replaced.
type AttemptState string

// The states of an attempt.
const (
	AttemptSigned   AttemptState = "signed"
	AttemptSent     AttemptState = "sent"
	AttemptMined    AttemptState = "mined"
	AttemptReplaced AttemptState = "replaced"
)

// Book stores payments. Each method is one database transaction.
type Book interface {
	// Claim stores a facilitator's payment; ErrAuthorizationUsed if the authorization is taken. A paid call claims in
	// call.Store.Open.
	Claim(ctx context.Context, p Payment) error
	// ByAuthorization finds the payment of an authorization, or ErrNotFound.
	ByAuthorization(ctx context.Context, network, asset, payer, nonce string) (Payment, error)
	// Payment reads one payment by id, or ErrNotFound.
	Payment(ctx context.Context, paymentID id.Payment) (Payment, error)
	// Work lists the network's payments that need the worker (captured, submitted, included), oldest first, while the
	// caller's fenced lease holds; ErrLeaseLost otherwise.
	Work(ctx context.Context, l Lease, limit int) ([]Payment, error)
	// AcquireLease takes or renews the network's worker lease for owner; it returns a fence that only grows.
	AcquireLease(ctx context.Context, network, owner string, now, until time.Time) (Lease, error)
	// Stage stores slot, attempt (raw bytes) and the move captured -> submitted; guarded by lease and m.From.
	Stage(ctx context.Context, l Lease, p Payment, m Move, a Attempt) error
	// Replace stores another attempt for a slot that is already staged (fee bump); the payment does not move.
	Replace(ctx context.Context, l Lease, a Attempt) error
	// Sent notes that an attempt was handed to the network.
	Sent(ctx context.Context, a Attempt, at time.Time) error
	// Attempts lists the attempts of a payment, oldest first.
	Attempts(ctx context.Context, paymentID id.Payment) ([]Attempt, error)
	// NextNonce is the lowest nonce that no stored slot of the account uses, at least chainNonce.
	NextNonce(ctx context.Context, network, account string, chainNonce uint64) (uint64, error)
	// Record writes a move and p's new facts, guarded by m.From (ErrMoved). With m.To included it stores the receipt, if
	// given, and the journal entries; with m.To captured after a revert the attempts are marked.
	Record(ctx context.Context, p Payment, m Move, r *Receipt) error
}

// Lease is the right to be the one worker of a network. Fence rises with every new owner.
type Lease struct {
	Network string
	Owner   string
	Fence   int64
	Until   time.Time
}

// Chain reads one network. Every method may fail with ErrChainUnavailable (wrapped).
type Chain interface {
	// Head is the latest block.
	Head(ctx context.Context) (Block, error)
	// FinalizedNumber is the number of the newest block that is past the network's finality rule.
	FinalizedNumber(ctx context.Context) (uint64, error)
	// Evidence looks for the authorization's AuthorizationUsed and its Transfer in the token's logs from a block on,
	// whoever sent the transaction. found is false when there is none.
	Evidence(ctx context.Context, a Authorization, fromBlock uint64) (e Evidence, found bool, err error)
	// Canonical reports whether a block with this number and hash is on the present chain.
	Canonical(ctx context.Context, number uint64, hash string) (bool, error)
	// AuthorizationUsed is the token's authorizationState at the latest block.
	AuthorizationUsed(ctx context.Context, a Authorization) (bool, error)
	// Simulate runs the collecting call against the latest state; nil if it would pass, a reason otherwise.
	Simulate(ctx context.Context, i TxIntent) error
}

// Block is a header in brief.
type Block struct {
	Number uint64
	Hash   string
	Time   UnixSeconds
}

// Sender signs and broadcasts for one wallet on one network (settlement/txmgr).
type Sender interface {
	Account() string
	// ChainNonce is the account's next nonce as mined.
	ChainNonce(ctx context.Context) (uint64, error)
	// Sign makes a signed transaction for a slot with present fees; prev is the attempt to outbid, or nil. ErrFeeTooHigh
	// when the fee would pass the cap relative to the payment.
	Sign(ctx context.Context, s Slot, i TxIntent, prev *Attempt, payment money.USDC) (Attempt, error)
	// Broadcast hands stored raw bytes to the network; "already known" and "nonce too low" are not errors.
	Broadcast(ctx context.Context, raw []byte) error
	// Mined reports whether a transaction of ours is in a block and whether it succeeded.
	Mined(ctx context.Context, txHash string) (found, ok bool, err error)
}
