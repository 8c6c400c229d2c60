// Package journal is double entry: both domains post their money facts as entries that sum to zero.
package journal

import (
	"errors"
	"fmt"

	"p402.io/p402/internal/money"
)

// ErrUnbalanced is returned by Balanced.
var ErrUnbalanced = errors.New("entries do not sum to zero")

// Account is a line of the chart of accounts; docs/ledger.md explains each.
type Account string

// The chart of accounts. Debits are positive, credits negative.
const (
	AccountCostOfCalls    Account = "cost:provider"       // expense: what vendors take
	AccountProviderOwed   Account = "liability:provider"  // what we owe vendors until their bill is paid
	AccountReceivable     Account = "asset:receivable"    // captured, not yet on chain
	AccountSellerWallet   Account = "asset:wallet:seller" // USDC on the seller's own address
	AccountRevenue        Account = "income:workflow"     // what payers owe for delivered work
	AccountRefundsPayable Account = "liability:refund"    // collected for work that never left
	AccountBadDebt        Account = "expense:bad_debt"    // captured, can no longer be collected
)

// Entry is one line: an amount in US dollars on an account. Ref says why, in a word from docs/ledger.md.
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
