package settlement

import (
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
)

// RefundState is where money that is owed back stands.
type RefundState string

// The states of a refund.
const (
	RefundDue    RefundState = "due"    // owed
	RefundPaid   RefundState = "paid"   // a transaction of the payee's names it
	RefundUsed   RefundState = "used"   // the payer came again and got its run for it
	RefundWaived RefundState = "waived" // the seller says why nothing is owed
)

// RefundStates is every state.
func RefundStates() []RefundState {
	return []RefundState{RefundDue, RefundPaid, RefundUsed, RefundWaived}
}

// Refund is money owed back for a payment that was collected and not served: at most one a payment, all of it, to its payer.
type Refund struct {
	ID          id.Refund
	TenantID    id.Tenant // the seller, who owes
	PaymentID   id.Payment
	Network     string // of the payment, CAIP-2
	Asset       string
	Payer       string // to whom it is owed
	PayTo       string // whose account has the money
	Amount      money.USDC
	State       RefundState
	Reason      string
	Note        string // of who waived it
	Transaction string // that paid it; empty before
	LogIndex    uint
	DueAt       time.Time
	MovedAt     time.Time
}

// Refusals about refunds.
var (
	// ErrRefundOver: the refund is paid, used or waived already.
	ErrRefundOver = fault.New(fault.KindConflict, "REFUND_NOT_DUE", "the refund is not due any more")
	// ErrRefundLog: the transfer pays another refund already.
	ErrRefundLog = fault.New(fault.KindConflict, "TRANSFER_USED", "the transaction's transfers pay other refunds already")
	// ErrNoTransfer: the transaction does not move the refund's amount from payee to payer.
	ErrNoTransfer = fault.Field(fault.KindImpossible, "TRANSFER_NOT_FOUND", "transaction", "does not move the refund's amount of its token from the payee to the payer after the payment")
)

// Transfer is one Transfer log of a token.
type Transfer struct {
	TxHash      string
	LogIndex    uint
	BlockNumber uint64
}
