package store

import (
	"context"
	"fmt"
	"p402.io/p402/internal/crash"
	"sync"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/gateway/call"
	"p402.io/p402/internal/journal"
)

const (
	maxBatch     = 128
	batchTimeout = 10 * time.Second
)

// operation is one caller's write: exactly one of the three is set.
type operation struct {
	opening  *call.Opening
	closing  *call.Closing
	delivery *call.Delivery

	err  error         // valid once done is closed
	done chan struct{} // closed when the write is durable or refused
	lead chan struct{} // closed when this caller has to run the next batch
}

// batch lets callers that arrive together share one commit. There is no waiting window and no goroutine of its own: the
// first caller writes at once; who arrives meanwhile waits, and one of those writes for all of them. A hot budget is
// then locked once a batch, not once a call, and a disk's flush is paid once.
type batch struct {
	mu      sync.Mutex
	busy    bool
	waiting []*operation
	write   func(ops []*operation)
}

// do returns when op is durable or refused. It does not return early with the caller's context: what was handed over may
// be written, and the caller must know.
func (b *batch) do(op *operation) error {
	op.done, op.lead = make(chan struct{}), make(chan struct{})
	b.mu.Lock()
	b.waiting = append(b.waiting, op)
	leads := !b.busy
	b.busy = true
	b.mu.Unlock()
	if !leads {
		select {
		case <-op.done:
			return op.err
		case <-op.lead:
		}
	}
	b.lead()
	<-op.done
	return op.err
}

// lead writes the callers at the head of the queue, itself among them, and names the next to lead.
func (b *batch) lead() {
	b.mu.Lock()
	n := min(len(b.waiting), maxBatch)
	ops := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	b.mu.Unlock()
	defer func() {
		if p := recover(); p != nil { // nobody may be left waiting, or take the write for done
			for _, op := range ops {
				op.err = fmt.Errorf("a shared write panicked: %v", p)
			}
		}
		for _, op := range ops {
			close(op.done)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.busy = len(b.waiting) > 0; b.busy {
			close(b.waiting[0].lead)
		}
	}()
	b.write(ops)
}

// Open writes intent, reservations and claim in one transaction.
func (s *Store) Open(ctx context.Context, o call.Opening) error {
	if o.Payment != nil {
		return s.openAlone(ctx, o)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.batch.do(&operation{opening: &o})
}

// Close writes what became of a call; ErrClosed if somebody closed it first.
func (s *Store) Close(ctx context.Context, c call.Closing) error {
	if err := journal.Balanced(c.Entries); err != nil {
		return err
	}
	if c.PaymentMove != nil || c.Payment != "" {
		return s.closeAlone(ctx, c)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.batch.do(&operation{closing: &c})
}

// Deliver notes that an answer left, on the event and on its payment.
func (s *Store) Deliver(ctx context.Context, d call.Delivery) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.batch.do(&operation{delivery: &d})
}

// writeBatch writes all in one transaction. If one of them makes it fail, such as an idempotency key that is taken, each
// is written alone and gets its own answer.
func (s *Store) writeBatch(ops []*operation) {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	crash.Point("store.begin")
	defer crash.Point("store.committed")
	if len(ops) > 1 {
		err := s.tx(ctx, func(tx *gorm.DB) error { return s.together(tx, ops) })
		if err == nil {
			return
		}
	}
	for _, op := range ops {
		op.err = s.alone(ctx, op)
	}
}

func (s *Store) alone(ctx context.Context, op *operation) error {
	switch {
	case op.opening != nil:
		return s.openAlone(ctx, *op.opening)
	case op.closing != nil:
		return s.closeAlone(ctx, *op.closing)
	}
	return s.deliverAlone(ctx, *op.delivery)
}
