package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
)

// recordGrace is how long after its own time stamp a fact may still be on its way into the database. A closing counts only
// what is older, so that nothing falls between two periods; a call's close is given up after ten seconds.
const recordGrace = time.Minute

// Bounds is which facts count in a period: those of its time, and late ones of closed periods, recorded before RecordedTo.
type Bounds struct {
	Since, Until time.Time
	LateFrom     *time.Time // when the period before was closed; nil: there is none
	RecordedTo   time.Time
}

// Facts is what a closing reads of the ledger.
type Facts struct {
	Totals       Totals
	Late         Totals
	Accounts     []Account
	OpenCalls    int64 // calls of the period that have not ended
	Pending      int64 // payments of the period on their way
	CostEvents   money.USD
	CostJournal  money.USD
	Sales        money.USD
	SalesJournal money.USD
}

// PeriodBook stores periods. Each method is one database transaction.
type PeriodBook interface {
	// PeriodByName finds a tenant's period.
	PeriodByName(ctx context.Context, tenant id.Tenant, livemode bool, name string) (Period, bool, error)
	// PeriodBounds is which facts count in a period that is closed, or would be by a closing now.
	PeriodBounds(ctx context.Context, tenant id.Tenant, livemode bool, p Period) (Bounds, error)
	// LastClosed is the newest closed period with its statement's digest; found is false when none is closed.
	LastClosed(ctx context.Context, tenant id.Tenant, livemode bool) (p Period, last Statement, digest string, found bool, err error)
	// PeriodFacts adds up what counts in a period, in one snapshot.
	PeriodFacts(ctx context.Context, tenant id.Tenant, livemode bool, b Bounds) (Facts, error)
	// PeriodExceptions lists the exceptions of a period's time.
	PeriodExceptions(ctx context.Context, tenant id.Tenant, livemode bool, b Bounds) ([]Exception, error)
	// TenantWallets lists a tenant's followed wallets, and the views of all it has.
	TenantWallets(ctx context.Context, s Scope) ([]Wallet, []WalletView, error)
	// Sums adds up what went into and out of a wallet from its start to a block; of the first, what payments explain.
	Sums(ctx context.Context, w Wallet, upTo uint64) (in, out money.USDC, err error)
	// SalesIn is what authorizations of our payments moved into a wallet in blocks from to upTo.
	SalesIn(ctx context.Context, w Wallet, from, upTo uint64) (money.USDC, error)
	// SaveClose closes a period with its signed statement, or fails with ErrOutOfOrder when another was closed meanwhile.
	SaveClose(ctx context.Context, p Period, st Statement, doc []byte, digest string) error
	// SaveReopen opens the newest closed period again; its statements stay.
	SaveReopen(ctx context.Context, tenant id.Tenant, livemode bool, name, by, reason string, at time.Time) (Period, error)
}

// Refusals of a closing.
var (
	ErrOpenExceptions = fault.New(fault.KindConflict, "OPEN_EXCEPTIONS", "exceptions of the period are undecided; explain, adjust or waive them by name")
	ErrChecklist      = fault.New(fault.KindConflict, "CHECKLIST_INCOMPLETE", "the period cannot be closed yet")
	ErrOutOfOrder     = fault.New(fault.KindConflict, "PERIOD_OUT_OF_ORDER", "periods are closed one after the other, without holes, and reopened from the newest")
	ErrClosedAlready  = fault.New(fault.KindConflict, "PERIOD_CLOSED", "the period is closed; reopen it first")
)

// Closer closes periods.
type Closer struct {
	Book       PeriodBook
	Reconciler *Reconciler
	Nodes      map[string]Node // by network; a network without a node is blind
	Signer     Signer
	IDs        *id.Source
	Now        func() time.Time
	// Digest makes the period's exports and digests them, by the same code that serves downloads.
	Digest func(ctx context.Context, p Period, b Bounds) ([]FileDigest, error)
}

// CloseRequest asks to close a period.
type CloseRequest struct {
	TenantID  id.Tenant
	Livemode  bool
	Span      Span
	By        string
	Tolerance Tolerance
	// Threshold is the amount up to which an undecided exception does not block; zero: every one does.
	Threshold money.USD
	DryRun    bool // only the checklist
}

// Prepared is a closing that was worked out and not signed.
type Prepared struct {
	Period    Period
	Statement Statement
	Open      []Exception // what needs a decision
}

// Blocked is the first blocking line that does not hold, or nil.
func (p Prepared) Blocked() error {
	var failed []string
	open := false
	for _, c := range p.Statement.Checklist {
		if !c.OK && c.Blocking {
			failed = append(failed, c.Name+": "+c.Detail)
			open = open || c.Name == checkExceptions
		}
	}
	switch {
	case len(failed) == 0:
		return nil
	case open && len(failed) == 1:
		return ErrOpenExceptions.With("open", len(p.Open)).With("checklist", p.Statement.Checklist)
	}
	return ErrChecklist.With("failed", failed).With("checklist", p.Statement.Checklist)
}

// The checklist's lines.
const (
	checkEnded      = "period has ended"
	checkOrder      = "period before is closed"
	checkCalls      = "every call has ended"
	checkChain      = "chain is read to the cut-off"
	checkBalances   = "wallets equal the chain"
	checkJournal    = "journal equals the sub-ledgers"
	checkExceptions = "exceptions are decided"
	checkBills      = "vendor bills are imported"
	checkPending    = "no payment is on its way"
)

// Close reconciles the period once more, works out its statement, and, if nothing blocks, signs and stores it. With DryRun
// it stops before that.
func (c *Closer) Close(ctx context.Context, q CloseRequest) (Prepared, error) {
	if q.By == "" && !q.DryRun {
		return Prepared{}, fault.Field(fault.KindInvalid, "INVALID_INPUT", "by", "must name who closes the period")
	}
	p, found, err := c.Book.PeriodByName(ctx, q.TenantID, q.Livemode, q.Span.Name)
	switch {
	case err != nil:
		return Prepared{}, err
	case found && p.State == "closed":
		return Prepared{}, ErrClosedAlready
	case !found:
		p = Period{ID: c.IDs.Period(), TenantID: q.TenantID, Livemode: q.Livemode, Span: q.Span, State: "open"}
	}
	out, err := c.prepare(ctx, q, p)
	if err != nil || q.DryRun {
		return out, err
	}
	if err := out.Blocked(); err != nil {
		return out, err
	}
	b := out.Statement
	if out.Statement.Files, err = c.Digest(ctx, p, Bounds{Since: b.StartsAt, Until: b.EndsAt, LateFrom: b.LateFrom, RecordedTo: b.RecordedTo}); err != nil {
		return out, fmt.Errorf("digest the exports of %s: %w", p.Span.Name, err)
	}
	doc, digest, err := c.Signer.Sign(out.Statement)
	if err != nil {
		return out, err
	}
	return out, c.Book.SaveClose(ctx, p, out.Statement, doc, digest)
}

func (c *Closer) prepare(ctx context.Context, q CloseRequest, p Period) (Prepared, error) {
	now := c.Now()
	out := Prepared{Period: p}
	st := Statement{PeriodID: p.ID, Revision: p.Revision + 1, Tenant: q.TenantID, Livemode: q.Livemode, Period: p.Span.Name, Zone: p.Span.Zone, StartsAt: p.Span.Start,
		EndsAt: p.Span.End, RecordedTo: now.Add(-recordGrace), ClosedAt: now, ClosedBy: q.By, CutOffs: []CutOff{}, Wallets: []RollForward{}, Exceptions: []Settled{}, Files: []FileDigest{}}
	check := func(name string, ok, blocking bool, detail string) {
		st.Checklist = append(st.Checklist, Check{Name: name, OK: ok, Blocking: blocking, Detail: detail})
	}
	check(checkEnded, !p.Span.End.After(st.RecordedTo), true, "it ends "+p.Span.End.Format(time.RFC3339)+"; a minute later it can be closed")
	previous, last, digest, found, err := c.Book.LastClosed(ctx, q.TenantID, q.Livemode)
	if err != nil {
		return out, err
	}
	if found {
		st.Previous, st.LateFrom = digest, previous.RecordedTo
		check(checkOrder, previous.Span.End.Equal(p.Span.Start), true, "the newest closed period is "+previous.Span.Name)
	}
	run, err := c.Reconciler.Run(ctx, Request{Scope: Scope{TenantID: q.TenantID, Livemode: q.Livemode, Since: p.Span.Start, Until: p.Span.End}, Tolerance: q.Tolerance})
	if err != nil {
		return out, fmt.Errorf("reconcile %s: %w", p.Span.Name, err)
	}
	st.RunID = run.ID
	b := Bounds{Since: p.Span.Start, Until: p.Span.End, LateFrom: st.LateFrom, RecordedTo: st.RecordedTo}
	f, err := c.Book.PeriodFacts(ctx, q.TenantID, q.Livemode, b)
	if err != nil {
		return out, err
	}
	st.Totals, st.Late, st.Accounts = f.Totals, f.Late, f.Accounts
	check(checkCalls, f.OpenCalls == 0, true, fmt.Sprintf("%d calls are open", f.OpenCalls))
	check(checkJournal, f.CostEvents.Cmp(f.CostJournal) == 0 && f.Sales.Cmp(f.SalesJournal) == 0, true,
		fmt.Sprintf("costs %s and %s, sales %s and %s", f.CostEvents, f.CostJournal, f.Sales, f.SalesJournal))
	check(checkPending, f.Pending == 0, false, fmt.Sprintf("%d payments are on their way; they count when they are in a block", f.Pending))
	if run.Cost != nil {
		check(checkBills, run.Cost.NotCovered == 0, false, fmt.Sprintf("%d of %d vendor-model-days have no bill", run.Cost.NotCovered, run.Cost.Cells))
	}
	if err := c.wallets(ctx, q, &st, last, check); err != nil {
		return out, err
	}
	list, err := c.Book.PeriodExceptions(ctx, q.TenantID, q.Livemode, b)
	if err != nil {
		return out, err
	}
	for _, e := range list {
		if e.NeedsDecision() && e.Finding.Amount.Cmp(q.Threshold) >= 0 && (e.Finding.Amount.Sign() > 0 || q.Threshold.IsZero()) {
			out.Open = append(out.Open, e)
		}
		if e.State != ExceptionOpen {
			st.Exceptions = append(st.Exceptions, Settled{ID: e.ID, Kind: e.Rule.Kind, Reason: e.Finding.Reason, AmountUSD: e.Finding.Amount, State: string(e.State), DecidedBy: e.DecidedBy, Note: e.Note})
		}
	}
	check(checkExceptions, len(out.Open) == 0, true, fmt.Sprintf("%d need a decision", len(out.Open)))
	out.Statement = st
	return out, nil
}

// wallets fixes each network's cut-off block and rolls every wallet forward to it.
func (c *Closer) wallets(ctx context.Context, q CloseRequest, st *Statement, last Statement, check func(string, bool, bool, string)) error {
	scope := Scope{TenantID: q.TenantID, Livemode: q.Livemode}
	wallets, views, err := c.Book.TenantWallets(ctx, scope)
	if err != nil || len(views) == 0 {
		return err
	}
	cuts, blind := map[string]CutOff{}, []string{}
	for _, v := range views {
		if _, done := cuts[v.Network]; done {
			continue
		}
		cut, err := c.cutOff(ctx, v.Network, st.EndsAt)
		if err != nil {
			blind = append(blind, fmt.Sprintf("%s: no cut-off block (%v)", v.Network, err))
		}
		cuts[v.Network] = cut
	}
	for _, v := range views {
		if cut := cuts[v.Network]; cut.Hash != "" && (v.View != ViewFollowing && v.View != ViewBehind || v.NextBlock <= cut.Number) {
			blind = append(blind, fmt.Sprintf("wallet %s is %s, read to block %d", v.Wallet, v.View, v.NextBlock-min(v.NextBlock, 1)))
		}
	}
	check(checkChain, len(blind) == 0, true, strings.Join(blind, "; "))
	if len(blind) > 0 {
		return nil
	}
	for _, cut := range cuts {
		st.CutOffs = append(st.CutOffs, cut)
	}
	sort.Slice(st.CutOffs, func(i, j int) bool { return st.CutOffs[i].Network < st.CutOffs[j].Network })
	var wrong []string
	for _, w := range wallets {
		r, err := c.roll(ctx, w, cuts[w.Network], last)
		if err != nil {
			return fmt.Errorf("roll wallet %s forward: %w", w.Address, err)
		}
		if st.Wallets = append(st.Wallets, r); !r.Reconciled {
			wrong = append(wrong, fmt.Sprintf("%s: %s by its transfers, %s on chain (%s)", w.Address, r.Closing, r.Balance, r.Source))
		}
	}
	check(checkBalances, len(wrong) == 0, true, strings.Join(wrong, "; "))
	return nil
}

func (c *Closer) cutOff(ctx context.Context, network string, end time.Time) (CutOff, error) {
	node := c.Nodes[network]
	if node == nil {
		return CutOff{}, errors.New("no node is configured")
	}
	b, err := BlockBefore(ctx, node, end)
	return CutOff{Network: network, Number: b.Number, Hash: b.Hash, Time: b.Time}, err
}

// roll takes a wallet from the last statement's closing to the cut-off. A wallet that was in no statement opens with what it
// held when it was first followed.
func (c *Closer) roll(ctx context.Context, w Wallet, cut CutOff, last Statement) (RollForward, error) {
	r := RollForward{Network: w.Network, Asset: w.Asset, Wallet: w.Address, FromBlock: w.StartBlock, ToBlock: cut.Number, Source: "unknown"}
	if w.Opening == nil || cut.Number < w.StartBlock {
		return r, nil
	}
	in, out, err := c.Book.Sums(ctx, w, cut.Number)
	if err != nil {
		return r, err
	}
	r.Opening, r.In, r.Out = *w.Opening, in, out
	for _, was := range last.Wallets {
		if was.Network == w.Network && was.Asset == w.Asset && was.Wallet == w.Address && was.ToBlock >= w.StartBlock {
			beforeIn, beforeOut, err := c.Book.Sums(ctx, w, was.ToBlock)
			if err != nil {
				return r, err
			}
			r.FromBlock, r.Opening, r.In, r.Out = was.ToBlock+1, was.Closing, minus(in, beforeIn), minus(out, beforeOut)
		}
	}
	if r.OfSales, err = c.Book.SalesIn(ctx, w, r.FromBlock, r.ToBlock); err != nil {
		return r, err
	}
	r.Closing = minus(r.Opening.Add(r.In), r.Out)
	if r.Balance, err = c.Nodes[w.Network].Balance(ctx, w.Asset, w.Address, cut.Number); err == nil {
		r.Source, r.Reconciled = "node", r.Balance.Cmp(r.Closing) == 0
	} else if w.VerifiedBlock != nil && *w.VerifiedBlock >= cut.Number {
		r.Source, r.Balance, r.Reconciled = "index", r.Closing, true
	}
	return r, nil
}

// minus is a - b; what would be negative is zero, and then the sums do not add up, which the checklist shows.
func minus(a, b money.USDC) money.USDC {
	n := a.Big()
	out, err := money.USDCFromBig(n.Sub(n, b.Big()))
	if err != nil {
		return money.USDC{}
	}
	return out
}
