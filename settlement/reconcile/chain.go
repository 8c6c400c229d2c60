// Package reconcile compares four accounts of the same money (events, payments, receipts, the chain's own logs) and a fifth,
// the vendor's bill; it names every difference and closes periods. It decides; it neither stores nor asks a network: the
// ports do. It never says that all is well about what it has not seen.
package reconcile

import (
	"context"
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/money"
)

// Block is a header in brief.
type Block struct {
	Number uint64
	Hash   string
	Time   time.Time
}

// Transfer is one Transfer log of a token, live on the present chain. Nonce is that of the authorization whose use emitted
// it (0x + 64 lower-case hex), empty for a plain transfer.
type Transfer struct {
	Network     string
	Asset       string // checksummed, as From and To
	From        string
	To          string
	Amount      money.USDC
	Nonce       string
	TxHash      string
	LogIndex    uint
	BlockNumber uint64
	BlockHash   string
	BlockTime   time.Time
}

// Wallet is one followed address of one token, with its cursor: every block from StartBlock to NextBlock-1 has been read.
type Wallet struct {
	Network       string
	Asset         string
	Address       string
	StartBlock    uint64
	NextBlock     uint64
	CoveredUntil  *time.Time  // time of block NextBlock-1
	Opening       *money.USDC // balance before StartBlock; nil: the node could not say, so no balance is ever checked
	VerifiedBlock *uint64     // newest block at which the balance was opening + in - out
	GapFrom       *uint64     // from here on the transfers read do not explain the balance
}

// Sight is what is known of a network's node. Problem is empty while it answers.
type Sight struct {
	Network    string
	HeadNumber uint64
	HeadTime   *time.Time
	SeenAt     *time.Time // when it last answered
	Problem    string
	ProblemAt  *time.Time
}

// View says how far a wallet's index can be trusted.
type View string

// The views. Only ViewFollowing allows to say that nothing is missing.
const (
	ViewFollowing View = "following" // read up to the head, a moment ago
	ViewBehind    View = "behind"    // still catching up
	ViewGap       View = "gap"       // the balance is not what the transfers read say
	ViewBlind     View = "blind"     // no node answers, or nobody looks
)

const (
	// blindAfter is how long a node may be silent before we call ourselves blind: some polls of a few seconds.
	blindAfter = 2 * time.Minute
	// behindBlocks is how far the cursor may lag in ordinary following: one poll on a chain of two-second blocks, with room.
	behindBlocks = 30
)

// View judges the wallet's index at a time.
func (w Wallet) View(s Sight, now time.Time) View {
	switch {
	case s.SeenAt == nil || s.Problem != "" || now.Sub(*s.SeenAt) > blindAfter:
		return ViewBlind
	case w.GapFrom != nil:
		return ViewGap
	case w.NextBlock+behindBlocks <= s.HeadNumber:
		return ViewBehind
	}
	return ViewFollowing
}

// Range asks for the transfers of one token into or out of some addresses, in blocks From to To, both included.
type Range struct {
	Network   string
	Asset     string
	Addresses []string
	From, To  uint64
}

// Refusals of a node.
var (
	// ErrTooMuch: the node will not answer so wide a range; a narrower one may pass.
	ErrTooMuch = fault.New(fault.KindUpstream, "CHAIN_RANGE_TOO_WIDE", "the node does not answer a range of that many blocks")
	// ErrNoBlock: the node has no such block.
	ErrNoBlock = fault.New(fault.KindUpstream, "CHAIN_NO_BLOCK", "the node has no such block")
	// ErrCursorMoved: another node of ours has read this range; read the cursor again.
	ErrCursorMoved = fault.New(fault.KindConflict, "CHAIN_CURSOR_MOVED", "the cursor was moved by somebody else")
)

// Node reads one network. Errors other than ErrTooMuch and ErrNoBlock mean that it cannot be reached.
type Node interface {
	// Head is the newest block.
	Head(ctx context.Context) (Block, error)
	// Finalized is the newest block past the network's finality rule.
	Finalized(ctx context.Context) (Block, error)
	// Block is the canonical block of a number.
	Block(ctx context.Context, number uint64) (Block, error)
	// Transfers lists the range's transfers in chain order, each with its authorization's nonce if it has one.
	Transfers(ctx context.Context, r Range) ([]Transfer, error)
	// Balance is the token balance of an address after a block. Nodes that prune refuse old blocks.
	Balance(ctx context.Context, asset, address string, block uint64) (money.USDC, error)
}

// Index stores what was read. Each method is one database transaction.
type Index interface {
	// Wallets lists what is followed on a network.
	Wallets(ctx context.Context, network string) ([]Wallet, error)
	// Unfollowed lists the wallets that workflows and payments name and nobody follows yet; StartBlock is the first block
	// known to hold a payment, or 0.
	Unfollowed(ctx context.Context, network string) ([]Wallet, error)
	// Follow adds a wallet; one that is followed already stays as it is.
	Follow(ctx context.Context, w Wallet) error
	// Checkpoints lists block hashes that were seen, newest first.
	Checkpoints(ctx context.Context, network string, limit int) ([]Block, error)
	// Advance stores a range's transfers, moves the cursors of its addresses from r.From to r.To+1 and remembers the block
	// r.To; ErrCursorMoved if a cursor is not at r.From.
	Advance(ctx context.Context, r Range, transfers []Transfer, last Block) error
	// Unwind marks every transfer above a block as gone, takes cursors back behind it and forgets later checkpoints.
	Unwind(ctx context.Context, network string, above uint64, at time.Time) (gone int, err error)
	// Sums adds up what went into and out of a wallet in blocks up to one, from its start.
	Sums(ctx context.Context, w Wallet, upTo uint64) (in, out money.USDC, err error)
	// Verified notes that the balance was right at a block, and ends a gap.
	Verified(ctx context.Context, w Wallet, block uint64) error
	// Gap notes that something is missing from a block on and takes the cursor back to it, to read again.
	Gap(ctx context.Context, w Wallet, from uint64) error
	// See notes what was learnt of the network's node.
	See(ctx context.Context, s Sight) error
}
