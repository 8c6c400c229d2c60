package dashboard

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

func key(text string) *string { return &text }

func place(slot string, key *string, usd string) store.Cell {
	return store.Cell{Slot: slot, Key: key, Count: 1, CostUSD: money.MustUSD(usd)}
}

// The picture and the table beneath it are the same figures, to the last digit (F1), and Unattributed has a place of its own
// (F2) however many dearer keys there are.
func TestF1_TestF2_AChartsTableAddsUpToItsCells(t *testing.T) {
	t.Parallel()
	var cells []store.Cell
	var want money.USD
	for i, usd := range []string{"0.000000000000000001", "3", "2.5", "0.1", "7", "0.02", "1.5"} {
		c := place("2026-01-0"+string(rune('1'+i%3)), key(string(rune('a'+i))), usd)
		cells, want = append(cells, c), want.Add(c.CostUSD)
	}
	cells = append(cells, place("2026-01-02", nil, "0.25"))
	want = want.Add(money.MustUSD("0.25"))
	c := stack("cost", "Unattributed", []string{"2026-01-01", "2026-01-02", "2026-01-03"}, cells, func(*string) string { return "" })
	var got money.USD
	for _, row := range c.Rows {
		var line money.USD
		for _, v := range row.Cells {
			line = line.Add(v)
		}
		if line.Cmp(row.Total) != 0 {
			t.Errorf("%s: cells are %s, total %s", row.Label, line, row.Total)
		}
		got = got.Add(row.Total)
	}
	if got.Cmp(want) != 0 {
		t.Errorf("the table holds %s of %s", got, want)
	}
	if heads := strings.Join(c.Heads, " "); heads != "e b c g d Unattributed Other" {
		t.Errorf("the columns are %s", heads)
	}
	for _, b := range c.Bars {
		if b.X < 0 || b.Y < 0 || b.X+b.W > c.Width || b.Y+b.H > c.Height {
			t.Errorf("%s leaves the box: %+v", b.Title, b)
		}
	}
}

// The first rows, Unattributed and the rest are the total (F1, F2).
func TestF2_TheRowsShownAndTheRestAreAll(t *testing.T) {
	t.Parallel()
	var rows []store.Group
	total := store.Group{}
	for i := range 30 {
		g := store.Group{Key: key(string(rune('A' + i))), Count: int64(i + 1), CostUSD: money.MustUSD("1").MulInt(int64(30 - i))}
		rows, total.Count, total.CostUSD = append(rows, g), total.Count+g.Count, total.CostUSD.Add(g.CostUSD)
	}
	none := store.Group{Count: 7, CostUSD: money.MustUSD("0.5")}
	rows, total.Count, total.CostUSD = append(rows, none), total.Count+none.Count, total.CostUSD.Add(none.CostUSD)
	shown, left := bars(view{}, rows, total, "workflow_id", 8)
	count, cost, unowned := left.Count, left.Cost, false
	for _, b := range shown {
		count, cost, unowned = count+b.Count, cost.Add(b.CostUSD), unowned || b.None
	}
	if count != total.Count || cost.Cmp(total.CostUSD) != 0 || !unowned || len(shown) != 9 || left.Rows != 22 {
		t.Errorf("%d rows and %d more hold %d calls of %d, %s of %s; Unattributed among them: %v", len(shown), left.Rows, count, total.Count, cost, total.CostUSD, unowned)
	}
}

func TestWindowsAreHalfOpenDays(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 23, 59, 0, 0, time.UTC)
	for _, c := range []struct{ query, since, until string }{
		{"window=today", "2026-03-01", "2026-03-02"},
		{"window=7d", "2026-02-23", "2026-03-02"},
		{"", "2026-01-31", "2026-03-02"},
		{"window=month", "2026-03-01", "2026-03-02"},
		{"window=custom&since=2026-02-01&until=2026-02-28", "2026-02-01", "2026-03-01"},
	} {
		q, err := url.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		v := view{Window: window30}
		if err := v.readWindow(q, now); err != nil || v.Since.Format(dayForm) != c.since || v.Until.Format(dayForm) != c.until {
			t.Errorf("%s: %v to %v, %v", c.query, v.Since, v.Until, err)
		}
	}
	for _, bad := range []string{"window=1y", "window=custom", "window=custom&since=2026-02-30&until=2026-03-01", "window=custom&since=2026-03-02&until=2026-03-01"} {
		q, _ := url.ParseQuery(bad)
		if err := (&view{Window: window30}).readWindow(q, now); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestAmountsKeepEveryDigitInTheTitle(t *testing.T) {
	t.Parallel()
	u := money.MustUSD("1234567.000000000000000001")
	if full(u) != "$1,234,567.000000000000000001" || cash(u) != "$1,234,567.00" || cash(u.Neg()) != "−$1,234,567.00" || cash(money.MustUSD("0.0000412")) != "$0.000041" {
		t.Errorf("%s, %s, %s", full(u), cash(u), cash(u.Neg()))
	}
	if got := percent(9999, 10000); got != "99.9 %" {
		t.Errorf("not quite all reads %s", got)
	}
	if got := shareOf(money.MustUSD("0.0199"), money.MustUSD("0.02").Neg()); got != "−99.5 %" {
		t.Errorf("a loss reads %s", got)
	}
	if marginPercent(&u, nil) != "–" || marginPercent(&u, &money.USD{}) != "–" {
		t.Error("no revenue is no margin (F3)")
	}
}

// A cell that a spreadsheet would run is text to it, and a number stays one (F12).
func TestF12_CellsOfAFileAreInert(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"=1+1": "'=1+1", "+49": "'+49", "-x": "'-x", "@sum": "'@sum", "\tx": "'\tx", `"x`: `'"x`, "-0.5": "-0.5", "a=b": "a=b", "": ""} {
		if got := inert(in); got != want {
			t.Errorf("%q becomes %q", in, got)
		}
	}
	u := money.MustUSD("1234.000000000000000001")
	if got := exact(usdCell(&u)); got != "1234.000000000000000001" {
		t.Errorf("an amount in a file is %s", got)
	}
	if got := exact(usdCell((*money.USD)(nil))); got != "" {
		t.Errorf("no amount in a file is %q", got)
	}
}

// The tightest of a budget's limits counts, and a limit of nothing is used up.
func TestABudgetsTightestLimitRaisesTheAlarm(t *testing.T) {
	t.Parallel()
	usd, events, none := money.MustUSD("10"), int64(100), int64(0)
	b := meter.BudgetStanding{Budget: meter.Budget{LimitUSD: &usd, LimitEvents: &events}}
	b.Spent.USD, b.Spent.Events, b.Reserved.Events = money.MustUSD("1.99"), 70, 9
	if got := tightest(b); got != 79 {
		t.Errorf("%d %%", got)
	}
	b.Spent.USD, b.Reserved.USD = money.MustUSD("9"), money.MustUSD("0.999")
	if got := tightest(b); got != 99 {
		t.Errorf("not quite all is %d %%", got)
	}
	if got := tightest(meter.BudgetStanding{Budget: meter.Budget{LimitEvents: &none}}); got != 100 {
		t.Errorf("nothing allowed is used to %d %%", got)
	}
}
