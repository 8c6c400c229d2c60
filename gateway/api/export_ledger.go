package api

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"p402.io/p402/internal/journal"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
)

// ledgerNames is the chart of accounts in the words of plain-text accounting, whose five roots are fixed.
var ledgerNames = map[journal.Account]string{
	journal.AccountSellerWallet: "Assets:Wallet:Seller", journal.AccountGasWallet: "Assets:Wallet:Gas", journal.AccountReceivable: "Assets:Receivable",
	journal.AccountProviderOwed: "Liabilities:Provider", journal.AccountRefundsPayable: "Liabilities:Refund", journal.AccountPrepaid: "Liabilities:Prepaid",
	journal.AccountSuspense: "Liabilities:Suspense", journal.AccountRevenue: "Income:Workflow", journal.AccountCostOfCalls: "Expenses:Provider",
	journal.AccountCostVariance: "Expenses:Variance", journal.AccountGas: "Expenses:Gas", journal.AccountBadDebt: "Expenses:BadDebt"}

// openingAccount takes the other side of balances that an export carries forward.
const openingAccount = "Equity:Opening"

// ledgerRows writes the journal for hledger or beancount: one transaction a posting, balances carried forward, and at the end
// an assertion of every account's balance, which those programs check when they load the file.
type ledgerRows struct {
	out         *bufio.Writer
	beancount   bool
	balances    map[journal.Account]money.USD
	first, last time.Time
	at          map[string]int
	posting     string // of the transaction being written
}

func newLedger(w io.Writer, format string, opening map[journal.Account]money.USD, first, last time.Time) *ledgerRows {
	return &ledgerRows{out: bufio.NewWriterSize(w, 64<<10), beancount: format == "beancount", balances: opening, first: first, last: last, at: map[string]int{}}
}

func (l *ledgerRows) begin(columns []store.Column) error {
	for i, c := range columns {
		l.at[c.Name] = i
	}
	if l.first.IsZero() {
		l.first = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	day := l.first.Format(time.DateOnly)
	accounts := []string{openingAccount}
	for _, a := range journal.Chart() {
		accounts = append(accounts, ledgerNames[a])
	}
	if l.beancount {
		l.line("option \"operating_currency\" \"USD\"\n")
		l.line("; 1 USDC is booked as 1 USD: policy usdc-usd-1")
		for _, a := range accounts {
			l.line("%s open %s USD", day, a)
		}
	} else {
		l.line("; 1 USDC is booked as 1 USD: policy usdc-usd-1")
		l.line("commodity USD 1000.000000000000000000\n")
		for _, a := range accounts {
			l.line("account %s", a)
		}
	}
	return l.carry(day)
}

// line writes one line; bufio keeps the first error for Flush.
func (l *ledgerRows) line(format string, args ...any) { fmt.Fprintf(l.out, format+"\n", args...) }

// amount writes dollars as the program wants them: the name behind for beancount, in front for hledger.
func (l *ledgerRows) amount(u money.USD) string {
	if l.beancount {
		return u.Fixed(2) + " USD"
	}
	return "USD " + u.Fixed(2)
}

// carry writes what the accounts held before the export begins.
func (l *ledgerRows) carry(day string) error {
	sum, some := money.Zero, false
	for _, a := range journal.Chart() {
		if b, ok := l.balances[a]; ok && !b.IsZero() {
			if !some {
				l.head(day, "balances carried forward")
				some = true
			}
			l.line("  %s  %s", ledgerNames[a], l.amount(b))
			sum = sum.Add(b)
		}
	}
	if some {
		l.line("  %s  %s", openingAccount, l.amount(sum.Neg()))
	}
	return nil
}

func (l *ledgerRows) head(day, what string) {
	if l.beancount {
		l.line("\n%s * \"p402\" \"%s\"", day, strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", " ").Replace(what))
		return
	}
	l.line("\n%s * %s", day, strings.NewReplacer("\n", " ", "\r", " ", ";", ",").Replace(what))
}

func (l *ledgerRows) cell(cells []*string, name string) string {
	if c := cells[l.at[name]]; c != nil {
		return *c
	}
	return ""
}

func (l *ledgerRows) row(cells []*string) error {
	usd, err := money.ParseUSD(l.cell(cells, "amount_usd"))
	if err != nil {
		return err
	}
	account := journal.Account(l.cell(cells, "account"))
	name := ledgerNames[account]
	if name == "" {
		return fmt.Errorf("account %q is not in the chart", account)
	}
	day := l.cell(cells, "day")
	if day < l.first.Format(time.DateOnly) {
		day = l.first.Format(time.DateOnly) // a late item of a closed period counts from this period's first day
	}
	if posting := l.cell(cells, "posting"); posting != l.posting {
		l.posting = posting
		l.head(day, posting+" "+l.cell(cells, "ref"))
		for _, key := range []string{"event_id", "payment_id", "provider", "workflow_id", "customer_id", "payer", "tx_hash", "fx"} {
			l.meta(key, l.cell(cells, key))
		}
	}
	l.balances[account] = l.balances[account].Add(usd)
	l.line("  %s  %s", name, l.amount(usd))
	return nil
}

// meta writes what the posting is about: metadata for beancount, a tag in a comment for hledger. Both end at the line, and
// hledger's tag at a comma.
func (l *ledgerRows) meta(key, value string) {
	if value == "" {
		return
	}
	if l.beancount {
		l.line("  %s: \"%s\"", key, strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", " ").Replace(value))
		return
	}
	l.line("  ; %s:%s", key, strings.NewReplacer("\n", " ", "\r", " ", ",", " ").Replace(value))
}

// end asserts every balance: beancount at the start of the day after, hledger by postings of nothing on the last day.
func (l *ledgerRows) end() error {
	l.line("")
	if l.beancount {
		day := l.last.AddDate(0, 0, 1).Format(time.DateOnly)
		for _, a := range journal.Chart() {
			l.line("%s balance %s  %s ~ 0 USD", day, ledgerNames[a], l.balances[a].Fixed(2))
		}
		return l.out.Flush()
	}
	l.line("%s * closing balances", l.last.Format(time.DateOnly))
	for _, a := range journal.Chart() {
		l.line("  %s  USD 0 = %s", ledgerNames[a], l.amount(l.balances[a]))
	}
	return l.out.Flush()
}

// voucherRows writes the journal as QuickBooks' and Xero's import files have it: debits and credits apart, or a signed amount;
// one number or narration a posting.
type voucherRows struct {
	csv  *csvRows
	xero bool
	at   map[string]int
}

func newVoucher(w io.Writer, format string) *voucherRows {
	return &voucherRows{csv: newCSV(w), xero: format == "xero", at: map[string]int{}}
}

func (v *voucherRows) begin(columns []store.Column) error {
	for i, c := range columns {
		v.at[c.Name] = i
	}
	text, number := store.ColumnText, store.ColumnMoney
	if v.xero {
		return v.csv.begin([]store.Column{{Name: "*Narration", Kind: text}, {Name: "*Date", Kind: store.ColumnTime}, {Name: "Description", Kind: text}, {Name: "*AccountCode", Kind: text},
			{Name: "*TaxRate", Kind: text}, {Name: "*Amount", Kind: number}})
	}
	return v.csv.begin([]store.Column{{Name: "*JournalNo", Kind: text}, {Name: "*JournalDate", Kind: store.ColumnTime}, {Name: "*AccountName", Kind: text}, {Name: "*Debits", Kind: number},
		{Name: "*Credits", Kind: number}, {Name: "Description", Kind: text}, {Name: "Name", Kind: text}})
}

func (v *voucherRows) row(cells []*string) error {
	cell := func(name string) *string { return cells[v.at[name]] }
	usd, err := money.ParseUSD(*cell("amount_usd"))
	if err != nil {
		return err
	}
	if v.xero {
		tax := "Tax Exempt"
		return v.csv.row([]*string{cell("posting"), cell("day"), cell("ref"), cell("account"), &tax, cell("amount_usd")})
	}
	debit, credit := cell("amount_usd"), (*string)(nil)
	if usd.Sign() < 0 {
		text := usd.Neg().String()
		debit, credit = nil, &text
	}
	return v.csv.row([]*string{cell("posting"), cell("day"), cell("account"), debit, credit, cell("ref"), cell("workflow_id")})
}

func (v *voucherRows) end() error { return v.csv.end() }
