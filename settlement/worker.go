package settlement

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"time"

	"p402.io/p402/internal/id"
)

// WorkerConfig is what a Worker needs. All fields are required.
type WorkerConfig struct {
	Network  string
	Book     Book
	Chain    Chain
	Sender   Sender
	Scheme   Scheme
	Receipts *Issuer
	IDs      *id.Source
	Now      func() time.Time
	Log      *slog.Logger
	// Poll is how often the chain is looked at; Rebroadcast and Replace how long a silent attempt is waited for.
	Poll, Rebroadcast, Replace time.Duration
}

const (
	leaseFor  = 20 * time.Second
	workBatch = 100
	// lookBack is how many blocks before the claim evidence is searched: the payer's wallet may have sent it itself.
	lookBack = 50
)

// Worker collects one network's payments, under a fenced lease. It is the only one that signs there.
type Worker struct {
	WorkerConfig
	owner string
	kick  chan struct{}

	mu      sync.Mutex
	waiting map[id.Payment][]chan struct{}
	from    map[id.Payment]uint64 // first block to search for evidence
}

// NewWorker returns a Worker with an owner name of its own.
func NewWorker(c WorkerConfig) *Worker {
	name := make([]byte, 8)
	if _, err := rand.Read(name); err != nil {
		panic("settlement: no randomness: " + err.Error()) // crypto/rand does not fail on systems we run on
	}
	return &Worker{WorkerConfig: c, owner: hex.EncodeToString(name), kick: make(chan struct{}, 1),
		waiting: map[id.Payment][]chan struct{}{}, from: map[id.Payment]uint64{}}
}

// Kick makes the next round begin at once.
func (w *Worker) Kick() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// Run loops over Step until ctx ends.
func (w *Worker) Run(ctx context.Context) error {
	tick := time.NewTicker(w.Poll)
	defer tick.Stop()
	for {
		if _, err := w.Step(ctx); err != nil && ctx.Err() == nil {
			w.Log.WarnContext(ctx, "settlement round failed", "network", w.Network, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-w.kick:
		}
	}
}

// Step is one round over the network's open payments; it reports how many moved. One payment's trouble does not stop
// the others.
func (w *Worker) Step(ctx context.Context) (moved int, err error) {
	now := w.Now()
	lease, err := w.Book.AcquireLease(ctx, w.Network, w.owner, now, now.Add(leaseFor))
	if err != nil {
		return 0, err
	}
	work, err := w.Book.Work(ctx, lease, workBatch)
	if err != nil || len(work) == 0 {
		return 0, err
	}
	head, err := w.Chain.Head(ctx)
	if err != nil {
		return 0, err
	}
	var trouble []error
	for _, p := range work {
		ok, err := w.one(ctx, lease, p, head)
		if err != nil && !errors.Is(err, ErrMoved) {
			w.Log.WarnContext(ctx, "payment not moved", "payment_id", p.ID, "state_from", p.State, "err", err)
			trouble = append(trouble, err)
		}
		if ok {
			moved++
		}
	}
	return moved, errors.Join(trouble...)
}

func (w *Worker) one(ctx context.Context, l Lease, p Payment, head Block) (bool, error) {
	switch p.State {
	case StateCaptured:
		return w.collect(ctx, l, p, head)
	case StateSubmitted:
		return w.watch(ctx, l, p, head)
	case StateIncluded:
		return w.confirm(ctx, p)
	case StateAuthorized, StateFinal, StateVoided, StateLost:
		return false, nil
	}
	return false, nil
}

// seen looks for evidence and records it: the payment is included, whoever sent it.
func (w *Worker) seen(ctx context.Context, p Payment, head Block) (bool, error) {
	e, found, err := w.Chain.Evidence(ctx, p.Authorization, w.searchFrom(p, head))
	if err != nil || !found {
		return false, err
	}
	if e.Kind == EvidenceUncollectable {
		return true, w.record(ctx, p, e)
	}
	e.Kind = EvidenceSeen
	return true, w.record(ctx, p, e)
}

func (w *Worker) searchFrom(p Payment, head Block) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if from, ok := w.from[p.ID]; ok {
		return from
	}
	// Blocks are at least a second apart on the networks we list: the claim's age bounds how far back to look.
	age := uint64(max(w.Now().Sub(p.ClaimedAt), 0)/time.Second) + lookBack
	from := uint64(0)
	if head.Number > age {
		from = head.Number - age
	}
	w.from[p.ID] = from
	return from
}

// collect signs and sends a captured payment, after looking whether it can still be, and whether it has been already.
func (w *Worker) collect(ctx context.Context, l Lease, p Payment, head Block) (bool, error) {
	if p.Source == "call" && !p.HoldUntil.After(w.Now()) {
		return false, nil // nobody waits for the answer any more: the sweeper voids it, the payer keeps the money
	}
	used, err := w.Chain.AuthorizationUsed(ctx, p.Authorization)
	if err != nil {
		return false, err
	}
	if used {
		return w.seen(ctx, p, head)
	}
	if head.Time >= p.Authorization.ValidBefore {
		return true, w.record(ctx, p, Evidence{Kind: EvidenceUncollectable, Reason: "window_closed"})
	}
	intent, err := w.Scheme.Collect(p.Authorization, p.Amount)
	if err != nil {
		return false, err
	}
	if err := w.Chain.Simulate(ctx, intent); err != nil {
		if errors.Is(err, ErrChainUnavailable) {
			return false, err
		}
		return true, w.record(ctx, p, Evidence{Kind: EvidenceUncollectable, Reason: "unfunded"})
	}
	return true, w.stage(ctx, l, p, intent)
}

// stage stores the raw transaction, then sends it (law 2).
func (w *Worker) stage(ctx context.Context, l Lease, p Payment, intent TxIntent) error {
	chainNonce, err := w.Sender.ChainNonce(ctx)
	if err != nil {
		return err
	}
	nonce, err := w.Book.NextNonce(ctx, w.Network, w.Sender.Account(), chainNonce)
	if err != nil {
		return err
	}
	slot := Slot{Network: w.Network, Account: w.Sender.Account(), Nonce: nonce}
	a, err := w.Sender.Sign(ctx, slot, intent, nil, p.Amount)
	if err != nil {
		return err
	}
	a.PaymentID, a.SignedAt, a.State = p.ID, w.Now(), AttemptSigned
	_, m, err := p.Advance(Evidence{Kind: EvidenceStaged, TxHash: a.TxHash}, w.Now())
	if err != nil {
		return err
	}
	m.Actor = "worker"
	if err := w.Book.Stage(ctx, l, p, m, a); err != nil {
		return err
	}
	w.moved(ctx, m)
	return w.send(ctx, a)
}

func (w *Worker) send(ctx context.Context, a Attempt) error {
	if err := w.Sender.Broadcast(ctx, a.Raw); err != nil {
		return err
	}
	return w.Book.Sent(ctx, a, w.Now())
}

// watch looks for a submitted payment's evidence, sends stored bytes again, and outbids itself when nothing happens.
func (w *Worker) watch(ctx context.Context, l Lease, p Payment, head Block) (bool, error) {
	if found, err := w.seen(ctx, p, head); err != nil || found {
		return found, err
	}
	attempts, err := w.Book.Attempts(ctx, p.ID)
	if err != nil || len(attempts) == 0 {
		return false, err
	}
	last := attempts[len(attempts)-1]
	for _, a := range attempts {
		mined, ok, err := w.Sender.Mined(ctx, a.TxHash)
		if err != nil {
			return false, err
		}
		if mined && !ok {
			return true, w.reverted(ctx, p, head)
		}
	}
	now := w.Now()
	switch {
	case head.Time >= p.Authorization.ValidBefore+UnixSeconds(lookBack):
		return true, w.record(ctx, p, Evidence{Kind: EvidenceUncollectable, Reason: "window_closed"})
	case now.Sub(last.SignedAt) > w.Replace:
		return false, w.outbid(ctx, l, p, last)
	case last.LastSentAt == nil || now.Sub(*last.LastSentAt) > w.Rebroadcast:
		return false, w.send(ctx, last)
	}
	return false, nil
}

// reverted: our transaction is in a block and failed. If the authorization is unused and its window open it can be
// tried again; otherwise it is used by a transaction that seen will find, or lost.
func (w *Worker) reverted(ctx context.Context, p Payment, head Block) error {
	used, err := w.Chain.AuthorizationUsed(ctx, p.Authorization)
	if err != nil || used {
		return err
	}
	if head.Time >= p.Authorization.ValidBefore {
		return w.record(ctx, p, Evidence{Kind: EvidenceUncollectable, Reason: "window_closed"})
	}
	return w.record(ctx, p, Evidence{Kind: EvidenceReverted, Reason: "reverted"})
}

func (w *Worker) outbid(ctx context.Context, l Lease, p Payment, last Attempt) error {
	intent, err := w.Scheme.Collect(p.Authorization, p.Amount)
	if err != nil {
		return err
	}
	a, err := w.Sender.Sign(ctx, last.Slot, intent, &last, p.Amount)
	if err != nil {
		return err
	}
	a.PaymentID, a.SignedAt, a.State, a.Number = p.ID, w.Now(), AttemptSigned, last.Number+1
	if err := w.Book.Replace(ctx, l, a); err != nil {
		return err
	}
	return w.send(ctx, a)
}

// confirm follows an included payment to its end, and back when its block is gone.
func (w *Worker) confirm(ctx context.Context, p Payment) (bool, error) {
	there, err := w.Chain.Canonical(ctx, p.Evidence.BlockNumber, p.Evidence.BlockHash)
	if err != nil {
		return false, err
	}
	if !there {
		return true, w.record(ctx, p, Evidence{Kind: EvidenceReorged, Reason: "reorged", BlockNumber: p.Evidence.BlockNumber, BlockHash: p.Evidence.BlockHash})
	}
	final, err := w.Chain.FinalizedNumber(ctx)
	if err != nil || p.Evidence.BlockNumber > final {
		return false, err
	}
	return true, w.record(ctx, p, Evidence{Kind: EvidenceFinal})
}

// record advances and stores a payment; a first inclusion gets its receipt.
func (w *Worker) record(ctx context.Context, p Payment, e Evidence) error {
	next, m, err := p.Advance(e, w.Now())
	if err != nil {
		return err
	}
	m.Actor = "worker"
	var receipt *Receipt
	if next.State == StateIncluded && p.Source == "call" {
		next.ReceiptID = w.IDs.Receipt()
		r, err := w.Receipts.NewReceipt(next.ReceiptID, next)
		if err != nil {
			return err
		}
		receipt = &r
	}
	if err := w.Book.Record(ctx, next, m, receipt); err != nil {
		return err
	}
	w.moved(ctx, m)
	return nil
}

// moved tells who waits, and the log.
func (w *Worker) moved(ctx context.Context, m Move) {
	w.Log.InfoContext(ctx, "payment moved", "payment_id", m.PaymentID, "network", w.Network, "state_from", m.From, "state_to", m.To,
		"tx_hash", m.Evidence.TxHash, "reason", m.Reason)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, waiter := range w.waiting[m.PaymentID] {
		select {
		case waiter <- struct{}{}:
		default:
		}
	}
	if m.To == StateFinal || m.To == StateLost {
		delete(w.from, m.PaymentID)
	}
}

// awaitPoll is how often a waiting call reads the book itself, in case another node's worker moves the payment.
const awaitPoll = 500 * time.Millisecond

// Await returns once the payment has reached the state or cannot any more; ErrPending with the payment as it stands
// when ctx ends first.
func (w *Worker) Await(ctx context.Context, paymentID id.Payment, want State) (Payment, error) {
	news := make(chan struct{}, 1)
	w.mu.Lock()
	w.waiting[paymentID] = append(w.waiting[paymentID], news)
	w.mu.Unlock()
	defer w.forget(paymentID, news)
	tick := time.NewTicker(awaitPoll)
	defer tick.Stop()
	for {
		p, err := w.Book.Payment(context.WithoutCancel(ctx), paymentID)
		switch {
		case err != nil:
			return p, err
		case p.State == want, p.State == StateFinal, p.State == StateVoided, p.State == StateLost:
			return p, nil
		}
		select {
		case <-ctx.Done():
			return p, ErrPending
		case <-news:
		case <-tick.C:
		}
	}
}

func (w *Worker) forget(paymentID id.Payment, news chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.waiting[paymentID]
	for i := range list {
		if list[i] == news {
			w.waiting[paymentID] = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(w.waiting[paymentID]) == 0 {
		delete(w.waiting, paymentID)
	}
}
