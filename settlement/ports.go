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
	From     string // who must send it; empty: anybody may
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

// Attempt is one signed transaction of a slot, stored before it is sent.
type Attempt struct {
	PaymentID  id.Payment // empty for a gap's filling
	Purpose    Purpose
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

// Purpose is what an attempt's slot is spent on.
type Purpose string

// The purposes of an attempt.
const (
	PurposeCollect Purpose = "collect" // the payment's money
	PurposeFill    Purpose = "fill"    // nothing: a transfer to ourselves, so that later slots are not blocked
)

// OpenSlot is a slot that no transaction is known to have used.
type OpenSlot struct {
	Last  Attempt // the newest stored
	State State   // of its payment; empty for a gap's filling
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
	// Work lists the network's payments that need the worker, while the caller's fenced lease holds; ErrLeaseLost otherwise.
	// Limit bounds those to be collected (captured, submitted; oldest first) and those that wait to be final (included; oldest block's
	// first), each by itself: many that wait must not keep a new one from being collected.
	Work(ctx context.Context, l Lease, limit int) ([]Payment, error)
	// AcquireLease takes or renews the network's worker lease for owner; it returns a fence that only grows.
	AcquireLease(ctx context.Context, network, owner string, now, until time.Time) (Lease, error)
	// Stage stores slot, attempt (raw bytes) and the move captured -> submitted; guarded by lease and m.From.
	Stage(ctx context.Context, l Lease, p Payment, m Move, a Attempt) error
	// Replace stores another attempt for a slot that is staged already (fee bump, filling), or the first one of a gap; no payment
	// moves. Guarded by lease.
	Replace(ctx context.Context, l Lease, a Attempt) error
	// Sent notes that an attempt was handed to the network.
	Sent(ctx context.Context, a Attempt, at time.Time) error
	// Attempts lists the attempts of a payment, oldest first.
	Attempts(ctx context.Context, paymentID id.Payment) ([]Attempt, error)
	// NextNonce is the lowest nonce that no stored slot of the account uses, at least chainNonce.
	NextNonce(ctx context.Context, network, account string, chainNonce uint64) (uint64, error)
	// OpenSlots lists the account's stored slots from chainNonce on of which no attempt is known to be mined, lowest nonce first.
	OpenSlots(ctx context.Context, network, account string, chainNonce uint64) ([]OpenSlot, error)
	// Record writes a move and p's new facts, guarded by m.From (ErrMoved). With m.To included it stores the receipt, if
	// given, and the journal entries. The payment's attempts are marked by what was seen: mined or replaced when included, again on
	// their way when that was reorganised away, used up when the payment returns to captured. A sale that was posted and is lost after all is
	// posted back as bad debt.
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
	// Fill makes a signed transfer of nothing to ourselves, the cheapest use of a slot; prev as for Sign. Only the absolute cap bounds
	// its fee: a slot left open blocks every later payment.
	Fill(ctx context.Context, s Slot, prev *Attempt) (Attempt, error)
	// Gas is what the wallet has for fees.
	Gas(ctx context.Context) (Gas, error)
	// Broadcast hands stored raw bytes to the network; "already known" and "nonce too low" are not errors.
	Broadcast(ctx context.Context, raw []byte) error
	// Mined reports whether a transaction of ours is in a block and whether it succeeded.
	Mined(ctx context.Context, txHash string) (found, ok bool, err error)
}

// Gas is a wallet's means to pay fees.
type Gas struct {
	Network, Account string
	Balance          money.Wei
	// Payments is for how many collecting transactions the balance lasts at present fees.
	Payments int64
	// Low says that somebody should top it up now.
	Low bool
}
