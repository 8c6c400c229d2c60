package dashboard

import (
	"math/big"
	"time"

	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
)

// chart is a picture of stacked columns, drawn on the server: it prints, needs no script, and stands above a table of the
// same figures. Coordinates are whole units of a box that the page stretches.
type chart struct {
	Title         string
	Width, Height int
	Bars          []rect
	Lines         []line // a limit, a forecast
	Top, Middle   string // the scale's labels
	First, Last   string
	Legend        []legend
	Rows          []chartRow
	Heads         []string
}

type rect struct {
	X, Y, W, H int
	Series     int
	Title      string
}

type line struct {
	Y     int
	Label string
}

type legend struct {
	Series int
	Label  string
	Link   string
}

// chartRow is one line of the table beneath.
type chartRow struct {
	Label string
	Cells []money.USD
	Total money.USD
}

const (
	chartWidth  = 1000
	chartHeight = 200
	// maxSeries is how many colours can be told apart; the tail is one more, Other.
	maxSeries = 5
)

// stack draws cells as one column a slot, the dearest keys as colours and the rest as Other; none names what has no key.
func stack(title, none string, slots []string, cells []store.Cell, link func(key *string) string) chart {
	c := chart{Title: title, Width: chartWidth, Height: chartHeight}
	names, index := series(none, cells, link, &c)
	sums := make([][]money.USD, len(slots))
	place := map[string]int{}
	for i, slot := range slots {
		sums[i], place[slot] = make([]money.USD, len(names)), i
	}
	for _, cell := range cells {
		if i, ok := place[cell.Slot]; ok {
			k := index(cell.Key)
			sums[i][k] = sums[i][k].Add(cell.CostUSD)
		}
	}
	c.Heads = names
	var top money.USD
	for i, slot := range slots {
		row := chartRow{Label: slot, Cells: sums[i]}
		for _, v := range sums[i] {
			row.Total = row.Total.Add(v)
		}
		if row.Total.Cmp(top) > 0 {
			top = row.Total
		}
		c.Rows = append(c.Rows, row)
	}
	if len(slots) == 0 {
		return c
	}
	c.First, c.Last = slots[0], slots[len(slots)-1]
	c.Top, c.Middle = cash(top), cash(*per(top, 2))
	step := chartWidth / len(slots)
	gap := min(max(step/6, 1), 8)
	for i, row := range c.Rows {
		y := chartHeight
		for k, v := range row.Cells {
			h := scaled(v, top, chartHeight-4)
			if h == 0 && v.Sign() > 0 {
				h = 1 // something is there
			}
			if h > 0 {
				y -= h
				c.Bars = append(c.Bars, rect{X: i*step + gap/2, Y: max(y, 0), W: max(step-gap, 1), H: h, Series: c.Legend[k].Series, Title: row.Label + " · " + names[k] + " · " + full(v)})
			}
		}
	}
	return c
}

// series names the colours: the first keys of the cells' totals, then what has no key (unnamed), then Other.
func series(unnamed string, cells []store.Cell, link func(key *string) string, c *chart) (names []string, index func(key *string) int) {
	totals := map[string]money.USD{}
	var order []string
	none, tail := false, false
	for _, cell := range cells {
		if cell.Key == nil {
			none = true
			continue
		}
		if _, seen := totals[*cell.Key]; !seen {
			order = append(order, *cell.Key)
		}
		totals[*cell.Key] = totals[*cell.Key].Add(cell.CostUSD)
	}
	sortByTotal(order, totals)
	place := map[string]int{}
	for i, key := range order {
		if i == maxSeries {
			tail = true
			break
		}
		place[key] = i
		names = append(names, key)
		c.Legend = append(c.Legend, legend{i, key, link(&key)})
	}
	unowned, other := -1, -1
	if none {
		unowned = len(names)
		names = append(names, unnamed)
		c.Legend = append(c.Legend, legend{6, unnamed, link(nil)})
	}
	if tail {
		other = len(names)
		names = append(names, "Other")
		c.Legend = append(c.Legend, legend{7, "Other", ""})
	}
	return names, func(key *string) int {
		if key == nil {
			return unowned
		}
		if i, ok := place[*key]; ok {
			return i
		}
		return other
	}
}

// Half is where the middle line of the scale stands.
func (c chart) Half() int { return c.Height / 2 }

// scaled is v ÷ top of a height, in whole units, rounded down.
func scaled(v, top money.USD, height int64) int {
	if top.Sign() <= 0 {
		return 0
	}
	share := new(big.Rat).Mul(new(big.Rat).Quo(v.Rat(), top.Rat()), big.NewRat(height, 1))
	return int(new(big.Int).Div(share.Num(), share.Denom()).Int64())
}

// slots is every step between two times, so that a day without a call is an empty place and not a missing one.
func slots(unit string, since, until time.Time) []string {
	var out []string
	const most = 400
	for at := since; at.Before(until) && len(out) < most; {
		switch unit {
		case "hour":
			out = append(out, at.Format("2006-01-02T15:00"))
			at = at.Add(time.Hour)
		case "month":
			out = append(out, at.Format("2006-01"))
			at = time.Date(at.Year(), at.Month()+1, 1, 0, 0, 0, 0, time.UTC)
		default:
			out = append(out, at.Format(dayForm))
			at = at.AddDate(0, 0, 1)
		}
	}
	return out
}

// unitOf is the step that suits a span: hours for a day or two, days to a quarter, months beyond.
func unitOf(since, until time.Time) string {
	switch span := until.Sub(since); {
	case span <= 49*time.Hour:
		return "hour"
	case span <= 100*24*time.Hour:
		return "day"
	}
	return "month"
}
