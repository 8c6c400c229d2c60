package call

import (
	"context"
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/journal"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

// Store is what a call needs of storage. Each method is one database transaction.
type Store interface {
	// Standing reads what Decide looks at and the tenant's rate card.
	Standing(ctx context.Context, c meter.Caller, r meter.Request) (meter.Standing, meter.RateCard, error)
	// Open writes the event intent, its reservations (guarded: spent + reserved + x <= limit for every budget at once,
	// BudgetExceeded otherwise) and, for a paid call, the payment claim (settlement.ErrAuthorizationUsed if taken).
	Open(ctx context.Context, o Opening) error
	// Close writes what became of the call: event, attempts, spend in place of reservations, journal entries, payment move.
	// ErrClosed if the event is closed already.
	Close(ctx context.Context, c Closing) error
	// Deliver notes that the answer left.
	Deliver(ctx context.Context, d Delivery) error
	// Overdue lists open events past their deadline, with what a sweeper needs to close them.
	Overdue(ctx context.Context, now time.Time, limit int) ([]Opening, error)
	// PaymentFor finds the payment that an authorization already has, with its event's id; settlement.ErrNotFound if none.
	PaymentFor(ctx context.Context, network, asset, payer, nonce string) (settlement.Payment, error)
	// PaymentNamed finds the payment, not voided, that a payer has given a name to; settlement.ErrNotFound if none.
	PaymentNamed(ctx context.Context, seller id.Tenant, workflowID, payer, name string) (settlement.Payment, error)
	// ByIdempotencyKey finds the event a key's Idempotency-Key made in the last 24 h, without an id if none. turn is what a new call of
	// that key has to carry: of two that carry the same, Open refuses one.
	ByIdempotencyKey(ctx context.Context, tenant id.Tenant, key id.Key, idempotencyKey string) (e meter.Event, turn int, err error)
	// Undelivered lists sold calls that are captured or collected, whose answer did not leave and whose hold has passed.
	Undelivered(ctx context.Context, now time.Time, limit int) ([]settlement.Payment, error)
	// WorkflowPrice reads one version of a workflow's price.
	WorkflowPrice(ctx context.Context, tenant id.Tenant, workflowID string, version int) (meter.Price, error)
	// Capture moves a payment from authorized to captured, before its call is closed; settlement.ErrMoved if somebody was first.
	Capture(ctx context.Context, m settlement.Move) error
	// Void moves a payment to voided, guarded by its state; DueRefund writes a refund that is owed.
	Void(ctx context.Context, m settlement.Move) error
	DueRefund(ctx context.Context, p settlement.Payment, reason string, now time.Time) error
	// UseRefund takes a due refund back for a later run; settlement.ErrRefundOver if it was paid or waived.
	UseRefund(ctx context.Context, p settlement.Payment, now time.Time) error
	// SentAs is the hash of the transaction last signed for a payment, "" if nothing was.
	SentAs(ctx context.Context, paymentID id.Payment) (string, error)
}

// Opening is what is known before the vendor is called.
type Opening struct {
	Event        meter.Event
	Reservations []meter.Reservation
	Payment      *settlement.Payment // claimed in the same transaction
	Funds        Funds               // of the payer: ErrNoFunds if the claim and those before it pass the balance
	Credit       *Credit             // set for a call on credit: ErrNoCredit if the claim would pass a limit
}

// Closing is what became of a call. For a call that never opened (denied), Fresh is true and Close inserts the event.
type Closing struct {
	Event       meter.Event
	Fresh       bool
	Actual      meter.Amount // what the reservations become
	Entries     []journal.Entry
	PaymentMove *settlement.Move // authorized -> captured | voided
	// Payment is a payment that moved while the call ran: the event's receipt status is read from it.
	Payment id.Payment
}

// Delivery says that an answer left: when, how many bytes, whole or cut.
type Delivery struct {
	EventID id.Event
	Tenant  id.Tenant
	At      time.Time
	Bytes   int64
	Whole   bool
	// Earned says that the sale is over with this: the answer is whole, or it was the payer who cut it. Otherwise its
	// payment is owed back, or a run.
	Earned bool
}

// ErrClosed is returned by Close for an event that is closed already.
var ErrClosed = fault.New(fault.KindConflict, "EVENT_CLOSED", "the event is closed already")

// BudgetExceeded is returned by Open when a budget cannot take one more reservation.
type BudgetExceeded struct{ Budget meter.Budget }

// Error is the text for logs.
func (e *BudgetExceeded) Error() string { return "budget " + string(e.Budget.ID) + " is used up" }
