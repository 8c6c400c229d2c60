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

// WorkerConfig is what a Worker needs. All fields but Gas are required.
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
	// Gas, if set, is told the wallet's means each time they are read: a gauge, an alarm.
	Gas func(Gas)
}

const (
	leaseFor  = 20 * time.Second
	workBatch = 100
	// gasEvery is how often the wallet's balance is read.
	gasEvery = 30 * time.Second
)

// Worker collects one network's payments, under a fenced lease. It is the only one that signs there.
type Worker struct {
	WorkerConfig
	owner string
	kick  chan struct{}

	mu      sync.Mutex
	waiting map[id.Payment][]chan struct{}
	from    map[id.Payment]uint64 // first block to search for evidence

	// What follows is the running round's alone: Step is not for two goroutines at once.
	quiet   bool // no slot was open when last looked, and nothing has been staged since
	gasRead time.Time
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
		_, err := w.Step(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, ErrLeaseLost):
			w.Log.DebugContext(ctx, "another worker has the network", "network", w.Network)
		default:
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

// round is what one Step has read and may use again.
type round struct {
	lease     Lease
	head      Block
	nonce     uint64          // the wallet's next nonce as mined, read before anything else
	final     *uint64         // once asked
	canonical map[string]bool // by block hash
}

// Step is one round over the network's open payments and the wallet's slots; it reports how many payments moved. One payment's
// trouble does not stop the others.
func (w *Worker) Step(ctx context.Context) (moved int, err error) {
	now := w.Now()
	r := &round{canonical: map[string]bool{}}
	if r.lease, err = w.Book.AcquireLease(ctx, w.Network, w.owner, now, now.Add(leaseFor)); err != nil {
		return 0, err
	}
	w.readGas(ctx, now)
	work, err := w.Book.Work(ctx, r.lease, workBatch)
	if err != nil || (len(work) == 0 && w.quiet) {
		return 0, err
	}
	if r.nonce, err = w.Sender.ChainNonce(ctx); err != nil {
		return 0, err
	}
	if r.head, err = w.Chain.Head(ctx); err != nil {
		return 0, err
	}
	trouble := []error{w.tend(ctx, r)}
	for _, p := range work {
		if err := w.renew(ctx, r); err != nil {
			return moved, err
		}
		ok, err := w.one(ctx, r, p)
		if errors.Is(err, ErrLeaseLost) {
			return moved, err
		}
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

// renew keeps the lease while a long round runs.
func (w *Worker) renew(ctx context.Context, r *round) (err error) {
	now := w.Now()
	if now.Before(r.lease.Until.Add(-leaseFor / 2)) {
		return nil
	}
	r.lease, err = w.Book.AcquireLease(ctx, w.Network, w.owner, now, now.Add(leaseFor))
	return err
}

func (w *Worker) one(ctx context.Context, r *round, p Payment) (bool, error) {
	switch p.State {
	case StateCaptured:
		return w.collect(ctx, r, p)
	case StateSubmitted:
		return w.watch(ctx, r, p)
	case StateIncluded:
		return w.confirm(ctx, r, p)
	case StateAuthorized, StateFinal, StateVoided, StateLost:
		return false, nil
	}
	return false, nil
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
	switch m.To {
	case StateFinal, StateLost, StateVoided:
		delete(w.from, m.PaymentID)
	case StateSubmitted, StateCaptured, StateIncluded, StateAuthorized:
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
