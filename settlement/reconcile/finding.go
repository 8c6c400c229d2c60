package reconcile

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"p402.io/p402/internal/money"
)

// Kind is the type of an exception (PRODUCT §8). It is the column finance sorts by; Reason says more.
type Kind string

// The eleven kinds.
const (
	KindMissingEvent       Kind = "missing_event"
	KindMissingInvoiceLine Kind = "missing_invoice_line"
	KindAmountVariance     Kind = "amount_variance"
	KindTokenVariance      Kind = "token_variance"
	KindDuplicate          Kind = "duplicate"
	KindUnpricedModel      Kind = "unpriced_model"
	KindUnsettledReceipt   Kind = "unsettled_receipt"
	KindOrphanSettlement   Kind = "orphan_settlement"
	KindWrongPayee         Kind = "wrong_payee"
	KindLateEvent          Kind = "late_event"
	KindUnattributedCost   Kind = "unattributed_cost"
)

// Kinds is every kind, in the order of PRODUCT §8.
func Kinds() []Kind {
	return []Kind{KindMissingEvent, KindMissingInvoiceLine, KindAmountVariance, KindTokenVariance, KindDuplicate, KindUnpricedModel,
		KindUnsettledReceipt, KindOrphanSettlement, KindWrongPayee, KindLateEvent, KindUnattributedCost}
}

// Side is which comparison found it.
type Side string

// The sides of a run.
const (
	SideCost       Side = "cost"       // events against the vendor's bill
	SideSettlement Side = "settlement" // events, payments and receipts against the chain
)

// Owner is who acts next.
type Owner string

// The owners.
const (
	OwnerFinance   Owner = "finance"
	OwnerSeller    Owner = "seller"
	OwnerOperator  Owner = "operator"
	OwnerDeveloper Owner = "developer"
	OwnerVendor    Owner = "vendor"
)

// Reason is the one cause of a finding; it decides kind, side, owner and next step.
type Reason string

// The reasons.
const (
	ReasonNotOnChain           Reason = "not_on_chain"
	ReasonCollectionLate       Reason = "collection_late"
	ReasonUncollectable        Reason = "uncollectable"
	ReasonDeliveredUnpaid      Reason = "delivered_unpaid"
	ReasonUnknownAuthorization Reason = "unknown_authorization"
	ReasonUnknownTransfer      Reason = "unknown_transfer"
	ReasonVoidedButCollected   Reason = "voided_but_collected"
	ReasonNotRecorded          Reason = "not_recorded"
	ReasonUndelivered          Reason = "undelivered"
	ReasonNoReceipt            Reason = "no_receipt"
	ReasonPaidElsewhere        Reason = "paid_elsewhere"
	ReasonUnderpaid            Reason = "underpaid"
	ReasonOverpaid             Reason = "overpaid"
	ReasonReceiptDiffers       Reason = "receipt_differs"
	ReasonRevenueDiffers       Reason = "revenue_differs"
	ReasonTransferTwice        Reason = "transfer_claimed_twice"
	ReasonPaymentWithoutEvent  Reason = "payment_without_event"
	ReasonBillHigher           Reason = "bill_higher"
	ReasonBillLower            Reason = "bill_lower"
	ReasonTokensDiffer         Reason = "tokens_differ"
	ReasonBilledNotMetered     Reason = "billed_not_metered"
	ReasonMeteredNotBilled     Reason = "metered_not_billed"
	ReasonBillLineTwice        Reason = "bill_line_twice"
	ReasonVendorCallTwice      Reason = "vendor_call_twice"
	ReasonNoPrice              Reason = "no_price"
	ReasonNoOwner              Reason = "no_owner"
	ReasonAfterClose           Reason = "after_close"
)

// Rule is what a reason means for the people who read it.
type Rule struct {
	Kind  Kind
	Side  Side
	Owner Owner
	Means string // one sentence: what differs from what
	Next  string // one sentence: what to do about it
}

var rules = map[Reason]Rule{
	ReasonNotOnChain: {KindUnsettledReceipt, SideSettlement, OwnerOperator, "The books say it was collected; the chain, read past that block, does not show it.",
		"Check the payment's transaction on a second node; if it is gone, the worker must collect again or the sale is reversed."},
	ReasonCollectionLate: {KindUnsettledReceipt, SideSettlement, OwnerOperator, "The work is owed for, but nothing was collected in the time it takes.",
		"Look at the network's worker: gas, node, stuck transaction."},
	ReasonUncollectable: {KindUnsettledReceipt, SideSettlement, OwnerSeller, "The payer's promise can no longer be collected: a bad debt.",
		"Write it off, or ask the payer for a new payment."},
	ReasonDeliveredUnpaid: {KindUnsettledReceipt, SideSettlement, OwnerOperator, "A sold answer left without a payment behind it.",
		"Find out how it left; write the revenue off or collect it."},
	ReasonUnknownAuthorization: {KindOrphanSettlement, SideSettlement, OwnerFinance, "A signed authorization paid the wallet, and no payment here knows it.",
		"Ask the payer what it was for: another system of yours, or a sale this ledger never saw. Book it or refund it."},
	ReasonUnknownTransfer: {KindOrphanSettlement, SideSettlement, OwnerFinance, "Money came to the wallet by a plain transfer that no sale explains.",
		"Mark it as an own transfer, a deposit or a gift, or send it back."},
	ReasonVoidedButCollected: {KindOrphanSettlement, SideSettlement, OwnerSeller, "The payment was voided, yet somebody collected it.",
		"Refund the payer, or give the work."},
	ReasonNotRecorded: {KindOrphanSettlement, SideSettlement, OwnerOperator, "The chain shows the collection; the payment's row does not know it yet.",
		"The worker should notice by itself; if it does not, look at its log."},
	ReasonUndelivered: {KindOrphanSettlement, SideSettlement, OwnerSeller, "Money was collected for an answer that never left, and no refund is due.",
		"Refund the payer."},
	ReasonNoReceipt: {KindOrphanSettlement, SideSettlement, OwnerOperator, "Money was collected and no receipt was issued.",
		"Issue the receipt."},
	ReasonPaidElsewhere: {KindWrongPayee, SideSettlement, OwnerSeller, "The authorization paid another wallet than the sale named.",
		"Compare the workflow's payTo with the wallet that got the money; move it or correct the price."},
	ReasonUnderpaid: {KindAmountVariance, SideSettlement, OwnerSeller, "The chain moved less than was owed.",
		"Ask for the rest or write it off."},
	ReasonOverpaid: {KindAmountVariance, SideSettlement, OwnerSeller, "The chain moved more than was owed.",
		"Refund the difference."},
	ReasonReceiptDiffers: {KindAmountVariance, SideSettlement, OwnerOperator, "The receipt names another amount, payer or transaction than the chain.",
		"Keep the receipt as evidence and issue a correct one; find out who changed it."},
	ReasonRevenueDiffers: {KindAmountVariance, SideSettlement, OwnerFinance, "The event's revenue is not what its payment collected.",
		"Correct the revenue by an adjustment."},
	ReasonTransferTwice: {KindDuplicate, SideSettlement, OwnerOperator, "Two payments or receipts name the same transfer.",
		"One of them was never paid: reverse it."},
	ReasonPaymentWithoutEvent: {KindMissingEvent, SideSettlement, OwnerOperator, "A payment of a sold call has no event in the ledger.",
		"Restore the event from the backup; the money is there."},
	ReasonBillHigher: {KindAmountVariance, SideCost, OwnerVendor, "The vendor billed more than was metered.",
		"Open the events of that model and day; dispute the bill or correct the price."},
	ReasonBillLower: {KindAmountVariance, SideCost, OwnerFinance, "The vendor billed less than was metered.",
		"Check discounts and credits; correct the price if it is too high."},
	ReasonTokensDiffer: {KindTokenVariance, SideCost, OwnerDeveloper, "Vendor and ledger count different tokens.",
		"Look for calls that bypass the gateway, or for cut streams that were estimated."},
	ReasonBilledNotMetered: {KindMissingEvent, SideCost, OwnerDeveloper, "The vendor billed a model on a day with no event.",
		"Find the caller that goes around the gateway; its key is on the vendor's side."},
	ReasonMeteredNotBilled: {KindMissingInvoiceLine, SideCost, OwnerVendor, "Events cost money on a day whose bill does not name the model.",
		"Wait for the vendor's correction or look for the model under another name."},
	ReasonBillLineTwice: {KindDuplicate, SideCost, OwnerVendor, "The same line stands in the imported bills twice; it was counted once.",
		"Dispute the second, or remove the overlapping file."},
	ReasonVendorCallTwice: {KindDuplicate, SideCost, OwnerDeveloper, "One vendor call was recorded as two events.",
		"Send each call once: use the Idempotency-Key and one request_id."},
	ReasonNoPrice: {KindUnpricedModel, SideCost, OwnerFinance, "Calls of a model without a price have no cost.",
		"Add the model's price; unclosed events are priced again."},
	ReasonNoOwner: {KindUnattributedCost, SideCost, OwnerDeveloper, "Cost that no workflow, customer or department owns.",
		"Set a default on the key that made the calls, or require the owner by policy."},
	ReasonAfterClose: {KindLateEvent, SideCost, OwnerFinance, "An event of a closed period arrived after its close.",
		"It counts in the open period as an adjustment; note why it came late."},
}

// RuleOf is what a reason means; ok is false for a word that is none.
func RuleOf(r Reason) (Rule, bool) {
	rule, ok := rules[r]
	return rule, ok
}

// Subject is what a finding is about. Only the fields that identify it are set; together with the reason they are its
// identity, so that it is the same finding in every run.
type Subject struct {
	EventID   string `json:"event_id,omitempty"`
	PaymentID string `json:"payment_id,omitempty"`
	Network   string `json:"network,omitempty"`
	TxHash    string `json:"tx_hash,omitempty"`
	LogIndex  *uint  `json:"log_index,omitempty"`
	Provider  string `json:"provider,omitempty"`
	Model     string `json:"model,omitempty"`
	Day       string `json:"day,omitempty"`  // UTC, YYYY-MM-DD: the vendor's day
	Line      string `json:"line,omitempty"` // digest of a bill's line
}

// Finding is one difference. Amount is what is at stake, never negative; Difference is Found - Expected where both are known.
type Finding struct {
	Reason     Reason
	Subject    Subject
	Amount     money.USD
	Expected   *money.USD
	Found      *money.USD
	Tokens     int64 // found - expected, for token variances
	OccurredAt time.Time
	Detail     string   // facts that are not identity: an address, the other payment, a lost payment's reason
	Suggested  []string // payment ids that might belong here, by amount, payer and time: for a person to decide, never matched
}

// Key is the finding's stable identity: equal in every run that finds it again.
func (f Finding) Key() string {
	s := f.Subject
	parts := []string{string(f.Reason), s.EventID, s.PaymentID, s.Network, strings.ToLower(s.TxHash), "", s.Provider, s.Model, s.Day, s.Line}
	if s.LogIndex != nil {
		parts[5] = strconv.FormatUint(uint64(*s.LogIndex), 10)
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// Group is what repeats of one cause share: a page shows one line for all of them.
func (f Finding) Group() string {
	parts := []string{string(f.Reason)}
	for _, part := range []string{f.Subject.Provider, f.Subject.Model, f.Subject.Network} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, " · ")
}
