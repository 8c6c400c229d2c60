// Package journal is double entry: both domains post their money facts as entries that sum to zero.
package journal

import (
	"errors"
	"fmt"

	"p402.io/p402/internal/money"
)

// ErrUnbalanced is returned by Balanced.
var ErrUnbalanced = errors.New("entries do not sum to zero")

// Account is a line of the chart of accounts; docs/ledger-journal.md explains each.
type Account string

// The chart of accounts. Debits are positive, credits negative. docs/ledger-journal.md says which fact posts where.
const (
	AccountCostOfCalls    Account = "cost:provider"       // expense: what vendors take
	AccountCostVariance   Account = "cost:variance"       // expense: what vendors billed above or below the meter
	AccountGas            Account = "expense:gas"         // expense: what the network took for collecting
	AccountBadDebt        Account = "expense:bad_debt"    // captured, can no longer be collected
	AccountProviderOwed   Account = "liability:provider"  // what we owe vendors until their bill is paid
	AccountRefundsPayable Account = "liability:refund"    // collected for work that never left
	AccountPrepaid        Account = "liability:prepaid"   // paid before the work: revenue only when it is used
	AccountSuspense       Account = "liability:suspense"  // money that came and belongs to nobody known
	AccountReceivable     Account = "asset:receivable"    // captured, not yet on chain
	AccountSellerWallet   Account = "asset:wallet:seller" // USDC on the seller's own address
	AccountGasWallet      Account = "asset:wallet:gas"    // the network's own coin that pays gas
	AccountRevenue        Account = "income:workflow"     // what payers owe for delivered work
)

// Chart is every account, in the order of a trial balance.
func Chart() []Account {
	return []Account{AccountSellerWallet, AccountGasWallet, AccountReceivable, AccountProviderOwed, AccountRefundsPayable, AccountPrepaid, AccountSuspense,
		AccountRevenue, AccountCostOfCalls, AccountCostVariance, AccountGas, AccountBadDebt}
}

// Entry is one line: an amount in US dollars on an account. Ref says why, in a word from docs/ledger-journal.md.
type Entry struct {
	Account Account
	Amount  money.USD
	Ref     string
}

// Move is the pair of entries that takes an amount from one account (credit) to another (debit).
func Move(debit, credit Account, amount money.USD, ref string) []Entry {
	return []Entry{{debit, amount, ref}, {credit, amount.Neg(), ref}}
}

// Balanced reports whether the entries sum to exactly zero.
func Balanced(entries []Entry) error {
	sum := money.Zero
	for _, e := range entries {
		sum = sum.Add(e.Amount)
	}
	if !sum.IsZero() {
		return fmt.Errorf("sum %s: %w", sum, ErrUnbalanced)
	}
	return nil
}
