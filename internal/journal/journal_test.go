package journal_test

import (
	"errors"
	"testing"

	"p402.io/p402/internal/journal"
	"p402.io/p402/internal/money"
)

func TestMoveBalancesAndAHalfDoesNot(t *testing.T) {
	t.Parallel()
	pair := journal.Move(journal.AccountCostOfCalls, journal.AccountProviderOwed, money.MustUSD("0.1"), "call")
	if err := journal.Balanced(pair); err != nil {
		t.Fatal(err)
	}
	if err := journal.Balanced(pair[:1]); !errors.Is(err, journal.ErrUnbalanced) {
		t.Fatalf("half a pair: %v", err)
	}
}
