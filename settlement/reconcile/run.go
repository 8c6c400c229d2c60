package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sort"
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
)

// Scope is whose books a run compares, and of which time: half-open, in the tenant's zone or the caller's words.
type Scope struct {
	TenantID id.Tenant
	Livemode bool
	Since    time.Time
	Until    time.Time
}

// Request is one run.
type Request struct {
	Scope
	Sides     []Side // empty = both
	Tolerance Tolerance
}

// WalletView is a wallet with how far its index can be trusted, as a run saw it.
type WalletView struct {
	Network       string  `json:"network"`
	Asset         string  `json:"asset"`
	Wallet        string  `json:"wallet"`
	View          View    `json:"view"`
	NextBlock     uint64  `json:"next_block"`
	HeadBlock     uint64  `json:"head_block"`
	VerifiedBlock *uint64 `json:"verified_block"`
	GapFrom       *uint64 `json:"gap_from"`
	Problem       string  `json:"problem"`
}

// Run is a finished run. Complete is false when a wallet was not followed to the end of the time asked for, when the vendor's
// bill of a metered day is missing, or when payments wait: then "no exception" does not mean "nothing wrong".
type Run struct {
	ID         id.Run       `json:"run_id"`
	TenantID   id.Tenant    `json:"-"`
	Livemode   bool         `json:"livemode"`
	Since      time.Time    `json:"since"`
	Until      time.Time    `json:"until"`
	Sides      []Side       `json:"sides"`
	Tolerance  Tolerance    `json:"tolerance"`
	StartedAt  time.Time    `json:"started_at"`
	Settlement *Matched     `json:"settlement"`
	Cost       *CostMatched `json:"cost"`
	Wallets    []WalletView `json:"wallets"`
	Complete   bool         `json:"complete"`
	Missing    []string     `json:"missing"` // why it is not complete, in words
	Found      int          `json:"found"`
	New        int          `json:"new"`
	Cleared    int          `json:"cleared"`
	Digest     string       `json:"digest"` // over the findings: equal runs have equal digests
}

// Source is the storage that runs need. Each method is one database transaction.
type Source interface {
	// Books reads payments, sold events and transfers of the scope, with their partners outside it.
	Books(ctx context.Context, s Scope, asOf time.Time) (Books, []WalletView, error)
	// Costs reads what the ledger and the imported files say about vendors.
	Costs(ctx context.Context, s Scope) (Costs, error)
	// SaveRun stores a run and its findings: a known one keeps its id and what people decided; one of the scope that is gone
	// is marked as cleared, on the given sides only. It returns the run with New and Cleared.
	SaveRun(ctx context.Context, r Run, findings []Finding, clears []Side) (Run, error)
}

// Reconciler makes runs.
type Reconciler struct {
	Source Source
	IDs    *id.Source
	Now    func() time.Time
}

// ErrScope refuses a time that is empty or has not begun.
var ErrScope = fault.Field(fault.KindInvalid, "INVALID_INPUT", "until", "must be later than since")

// maxScope bounds one run: a quarter, with room.
const maxScope = 100 * 24 * time.Hour

// Run compares everything once. It changes nothing but exceptions; running it again finds the same.
func (r *Reconciler) Run(ctx context.Context, q Request) (Run, error) {
	if !q.Since.Before(q.Until) {
		return Run{}, ErrScope
	}
	if q.Until.Sub(q.Since) > maxScope {
		return Run{}, fault.Field(fault.KindInvalid, "INVALID_INPUT", "until", "one run covers at most 100 days")
	}
	if len(q.Sides) == 0 {
		q.Sides = []Side{SideCost, SideSettlement}
	}
	out := Run{ID: r.IDs.Run(), TenantID: q.TenantID, Livemode: q.Livemode, Since: q.Since.UTC(), Until: q.Until.UTC(), Sides: q.Sides, Tolerance: q.Tolerance,
		StartedAt: r.Now(), Missing: []string{}, Wallets: []WalletView{}}
	var findings []Finding
	var clears []Side
	for _, side := range q.Sides {
		switch side {
		case SideSettlement:
			books, wallets, err := r.Source.Books(ctx, q.Scope, out.StartedAt)
			if err != nil {
				return Run{}, fmt.Errorf("read books: %w", err)
			}
			matched := Match(books)
			out.Settlement, out.Wallets = &matched, wallets
			findings = append(findings, matched.Findings...)
			if out.lookAtChain(books) {
				clears = append(clears, side)
			}
		case SideCost:
			costs, err := r.Source.Costs(ctx, q.Scope)
			if err != nil {
				return Run{}, fmt.Errorf("read costs: %w", err)
			}
			costs.Tolerance = q.Tolerance
			matched := MatchCosts(costs)
			out.Cost = &matched
			findings = append(findings, matched.Findings...)
			clears = append(clears, side)
			if matched.NotCovered > 0 {
				out.Missing = append(out.Missing, fmt.Sprintf("no vendor bill for %d of %d vendor-model-days", matched.NotCovered, matched.Cells))
			}
		default:
			return Run{}, fault.Field(fault.KindInvalid, "INVALID_INPUT", "sides", "must be cost or settlement")
		}
	}
	findings = merge(findings)
	out.Complete, out.Found, out.Digest = len(out.Missing) == 0, len(findings), digest(findings)
	return r.Source.SaveRun(ctx, out, findings, clears)
}

// merge makes one of findings with one identity, such as a bill's line that stands three times.
func merge(list []Finding) []Finding {
	at := map[string]int{}
	out := make([]Finding, 0, len(list))
	for _, f := range list {
		if i, ok := at[f.Key()]; ok {
			out[i].Amount = out[i].Amount.Add(f.Amount)
			continue
		}
		at[f.Key()] = len(out)
		out = append(out, f)
	}
	return out
}

// lookAtChain lists why the chain's side is not the whole truth; trusted says that every wallet is read without a gap, so
// that a difference which is gone may be cleared.
func (r *Run) lookAtChain(b Books) (trusted bool) {
	trusted = true
	for _, w := range r.Wallets {
		if w.View != ViewFollowing {
			trusted = false
			r.Missing = append(r.Missing, fmt.Sprintf("the index of wallet %s on %s is %s", w.Wallet, w.Network, w.View))
		} else if c := b.Covered[Key(w.Network, w.Asset, w.Wallet)]; c.Until.Before(r.Until) && r.Until.Before(r.StartedAt) {
			r.Missing = append(r.Missing, fmt.Sprintf("wallet %s on %s is read to %s only", w.Wallet, w.Network, c.Until.UTC().Format(time.RFC3339)))
		}
	}
	if r.Until.After(r.StartedAt) {
		r.Missing = append(r.Missing, "the time asked for has not ended")
	}
	if n := r.Settlement.NotJudgeable; n > 0 {
		r.Missing = append(r.Missing, fmt.Sprintf("%d payments lie where the chain was not read", n))
	}
	if n := r.Settlement.Pending; n > 0 {
		r.Missing = append(r.Missing, fmt.Sprintf("%d payments are on their way", n))
	}
	return trusted
}

// digest is over every finding's identity and amounts, in order of keys.
func digest(findings []Finding) string {
	lines := make([]string, 0, len(findings))
	for _, f := range findings {
		lines = append(lines, f.Key()+" "+f.Amount.String())
	}
	sort.Strings(lines)
	h := sha256.New()
	for _, l := range lines {
		h.Write([]byte(l + "\n"))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// ExceptionState is what a person has decided about an exception.
type ExceptionState string

// The states of an exception.
const (
	ExceptionOpen      ExceptionState = "open"
	ExceptionExplained ExceptionState = "explained" // the difference is right as it is; the note says why
	ExceptionAdjusted  ExceptionState = "adjusted"  // the books were corrected by a posting
	ExceptionWaived    ExceptionState = "waived"    // given up by name
)

// Exception is a finding that is kept, with a person's decision.
type Exception struct {
	ID            id.Exception
	Finding       Finding
	Rule          Rule
	State         ExceptionState
	FirstSeenAt   time.Time
	LastSeenAt    time.Time
	ClearedAt     *time.Time // a later run no longer found it
	DecidedBy     string
	DecidedAt     *time.Time
	Note          string
	DecidedAmount *money.USD
	Posting       string
}

// NeedsDecision reports whether a period may not be closed over it: nobody has decided, or the amount is another than the
// one that was decided about. What a later run no longer finds needs nobody.
func (e Exception) NeedsDecision() bool {
	if e.ClearedAt != nil {
		return false
	}
	return e.State == ExceptionOpen || e.DecidedAmount == nil || e.DecidedAmount.Cmp(e.Finding.Amount) != 0
}

// Decision is what a person decides: who and why are never empty.
type Decision struct {
	State ExceptionState
	By    string
	Note  string
	At    time.Time
}

// Check refuses a decision without a name, a reason or a known state.
func (d Decision) Check() error {
	switch {
	case d.State != ExceptionOpen && d.State != ExceptionExplained && d.State != ExceptionAdjusted && d.State != ExceptionWaived:
		return fault.Field(fault.KindInvalid, "INVALID_INPUT", "state", "must be explained, adjusted, waived or open")
	case d.By == "" || len(d.By) > 128:
		return fault.Field(fault.KindInvalid, "INVALID_INPUT", "by", "must name who decides, in at most 128 characters")
	case d.Note == "" || len(d.Note) > 2000:
		return fault.Field(fault.KindInvalid, "INVALID_INPUT", "note", "must say why, in at most 2000 characters")
	}
	return nil
}
