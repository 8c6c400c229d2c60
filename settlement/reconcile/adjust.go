package reconcile

import (
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/journal"
	"p402.io/p402/internal/money"
)

// ErrNothingToBook refuses an adjustment where no posting would make the books right: explain or waive it instead.
var ErrNothingToBook = fault.Field(fault.KindImpossible, "NOTHING_TO_BOOK", "state", "this exception has no adjusting entry; explain or waive it")

// Adjusting is the balanced posting that corrects the books for a finding, by its reason.
func Adjusting(f Finding) ([]journal.Entry, error) {
	pair := func(debit, credit journal.Account) ([]journal.Entry, error) {
		if f.Amount.IsZero() {
			return nil, ErrNothingToBook
		}
		return journal.Move(debit, credit, f.Amount, "adjustment "+string(f.Reason)), nil
	}
	switch f.Reason {
	case ReasonBillHigher, ReasonBilledNotMetered:
		return pair(journal.AccountCostVariance, journal.AccountProviderOwed)
	case ReasonBillLower, ReasonMeteredNotBilled:
		return pair(journal.AccountProviderOwed, journal.AccountCostVariance)
	case ReasonTokensDiffer:
		return adjustTokens(f)
	case ReasonUnknownAuthorization, ReasonUnknownTransfer:
		return pair(journal.AccountSellerWallet, journal.AccountSuspense)
	case ReasonVoidedButCollected:
		return pair(journal.AccountSellerWallet, journal.AccountRefundsPayable)
	case ReasonUndelivered:
		return pair(journal.AccountRevenue, journal.AccountRefundsPayable)
	case ReasonNotOnChain, ReasonPaidElsewhere, ReasonTransferTwice:
		return pair(journal.AccountRevenue, journal.AccountSellerWallet)
	case ReasonUnderpaid:
		return pair(journal.AccountBadDebt, journal.AccountSellerWallet)
	case ReasonOverpaid:
		return pair(journal.AccountSellerWallet, journal.AccountRefundsPayable)
	case ReasonUncollectable, ReasonDeliveredUnpaid:
		return pair(journal.AccountBadDebt, journal.AccountRevenue)
	case ReasonVendorCallTwice:
		return pair(journal.AccountProviderOwed, journal.AccountCostOfCalls)
	case ReasonCollectionLate, ReasonNotRecorded, ReasonNoReceipt, ReasonReceiptDiffers, ReasonRevenueDiffers, ReasonPaymentWithoutEvent,
		ReasonBillLineTwice, ReasonNoPrice, ReasonNoOwner, ReasonAfterClose:
		return nil, ErrNothingToBook
	}
	return nil, ErrNothingToBook
}

// adjustTokens books the money of a token difference, which may point either way.
func adjustTokens(f Finding) ([]journal.Entry, error) {
	if f.Expected == nil || f.Found == nil || f.Amount.IsZero() {
		return nil, ErrNothingToBook
	}
	debit, credit := journal.AccountCostVariance, journal.AccountProviderOwed
	if f.Found.Cmp(*f.Expected) < 0 {
		debit, credit = credit, debit
	}
	return journal.Move(debit, credit, f.Amount, "adjustment "+string(f.Reason)), nil
}

// Reversing is the posting that takes another back.
func Reversing(entries []journal.Entry) []journal.Entry {
	out := make([]journal.Entry, 0, len(entries))
	for _, e := range entries {
		out = append(out, journal.Entry{Account: e.Account, Amount: money.Zero.Sub(e.Amount), Ref: "reversal"})
	}
	return out
}
