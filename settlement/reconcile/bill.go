package reconcile

import (
	"sort"
	"strings"
	"time"

	"p402.io/p402/internal/money"
)

// Metered is what the ledger has for one vendor, model and UTC day.
type Metered struct {
	Provider     string
	Model        string
	Day          string // YYYY-MM-DD, UTC
	Events       int64
	InputTokens  int64
	OutputTokens int64
	CostUSD      money.USD
	Unpriced     int64 // events without a cost
}

// Line is one line of a vendor's usage or invoice file.
type Line struct {
	Provider     string
	Model        string
	Day          string // YYYY-MM-DD, UTC
	Requests     int64
	InputTokens  *int64 // nil: the file does not say
	OutputTokens *int64
	CostUSD      *money.USD // nil: the file counts usage and names no money
	ExternalID   string     // what tells this line from its like: project, key, line id
	Digest       string     // of all of the above: the line's identity
	Again        bool       // an equal line was imported before; it is not counted
}

// Tolerance is how much bill and ledger may differ: the larger of the two bounds holds.
type Tolerance struct {
	Percent money.USD `json:"pct"` // of the bill: a decimal number, not dollars
	USD     money.USD `json:"usd"`
}

// within reports whether two amounts are close enough.
func (t Tolerance) within(bill, ledger money.USD) bool {
	difference := absolute(bill.Sub(ledger))
	share := money.FromDecimal(absolute(bill).Decimal().Mul(t.Percent.Decimal()).Shift(-2))
	return difference.Cmp(t.USD) <= 0 || difference.Cmp(share) <= 0
}

// Costs is what a cost run compares. Covered tells the days that imported files speak for, as "provider day".
type Costs struct {
	Metered      []Metered
	Lines        []Line
	Covered      map[string]bool
	Twice        []Twin
	Unattributed []Unowned
	Late         []LateEvent
	Tolerance    Tolerance
}

// Twin is an event that records a vendor call which an earlier event has recorded.
type Twin struct {
	EventID, FirstID, Provider, Model string
	CostUSD                           money.USD
	At                                time.Time
}

// Unowned is the cost of one vendor's day that no workflow, customer, feature, department, employee or project owns.
type Unowned struct {
	Provider, Day string
	Events        int64
	CostUSD       money.USD
}

// LateEvent belongs by its time to a period that was closed when it came.
type LateEvent struct {
	EventID, PeriodID string
	CostUSD           money.USD
	At                time.Time
}

// CostMatched is what a run says about the vendors' bills. Billed = Metered + Variance, to the last digit, over the days
// that were compared.
type CostMatched struct {
	Cells       int       `json:"cells"` // vendor, model, day
	Matched     int       `json:"matched"`
	Within      int       `json:"within_tolerance"`
	TokensOnly  int       `json:"tokens_only"` // a usage file without money: tokens compared, dollars not
	NotCovered  int       `json:"not_covered"` // metered on days for which no bill was imported: not judgeable
	BilledUSD   money.USD `json:"billed_usd"`
	MeteredUSD  money.USD `json:"metered_usd"`
	VarianceUSD money.USD `json:"variance_usd"`
	Findings    []Finding `json:"-"`
}

type cell struct {
	metered  *Metered
	lines    int // that name money
	in, out  int64
	billed   money.USD
	provider string
	model    string
	day      string
	counts   int // lines that count tokens
	both     int // lines that do both
}

// MatchCosts compares the ledger with the vendors' files by vendor, model and day, and lists what the ledger itself lacks:
// prices, owners, timeliness. It is pure.
func MatchCosts(c Costs) CostMatched {
	var out CostMatched
	cells := c.cells(&out)
	keys := make([]string, 0, len(cells))
	for k := range cells {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		c.judge(cells[k], &out)
	}
	for _, t := range c.Twice {
		out.Findings = append(out.Findings, Finding{Reason: ReasonVendorCallTwice, Subject: Subject{EventID: t.EventID, Provider: t.Provider, Model: t.Model}, Amount: t.CostUSD, OccurredAt: t.At, Detail: t.FirstID})
	}
	for _, u := range c.Unattributed {
		out.Findings = append(out.Findings, Finding{Reason: ReasonNoOwner, Subject: Subject{Provider: u.Provider, Day: u.Day}, Amount: u.CostUSD, OccurredAt: midnight(u.Day)})
	}
	for _, l := range c.Late {
		out.Findings = append(out.Findings, Finding{Reason: ReasonAfterClose, Subject: Subject{EventID: l.EventID}, Amount: l.CostUSD, OccurredAt: l.At, Detail: l.PeriodID})
	}
	return out
}

// ModelName is a model's name as bills and events are compared: lower case, without the vendor's own prefix.
func ModelName(provider, model string) string {
	return strings.TrimPrefix(strings.ToLower(strings.TrimSpace(model)), strings.ToLower(provider)+"/")
}

func (c Costs) cells(out *CostMatched) map[string]*cell {
	cells := map[string]*cell{}
	at := func(provider, model, day string) *cell {
		model = ModelName(provider, model)
		k := provider + "\x00" + model + "\x00" + day
		if cells[k] == nil {
			cells[k] = &cell{provider: provider, model: model, day: day}
		}
		return cells[k]
	}
	for _, m := range c.Metered {
		x := at(m.Provider, m.Model, m.Day)
		if x.metered == nil {
			x.metered = &Metered{}
		}
		x.metered.Events += m.Events
		x.metered.InputTokens += m.InputTokens
		x.metered.OutputTokens += m.OutputTokens
		x.metered.CostUSD = x.metered.CostUSD.Add(m.CostUSD)
		x.metered.Unpriced += m.Unpriced
	}
	for _, l := range c.Lines {
		if l.Again {
			out.Findings = append(out.Findings, Finding{Reason: ReasonBillLineTwice, Subject: Subject{Provider: l.Provider, Model: ModelName(l.Provider, l.Model), Day: l.Day, Line: l.Digest},
				Amount: l.amount(), OccurredAt: midnight(l.Day)})
			continue
		}
		at(l.Provider, l.Model, l.Day).add(l)
	}
	return cells
}

func (l Line) amount() money.USD {
	if l.CostUSD == nil {
		return money.Zero
	}
	return absolute(*l.CostUSD)
}

func (x *cell) add(l Line) {
	counts := l.InputTokens != nil && l.OutputTokens != nil
	if counts {
		x.in, x.out, x.counts = x.in+*l.InputTokens, x.out+*l.OutputTokens, x.counts+1
	}
	if l.CostUSD != nil {
		x.lines, x.billed = x.lines+1, x.billed.Add(*l.CostUSD)
		if counts {
			x.both++
		}
	}
}

// counted reports whether the cell's lines count all tokens: each of them, or a usage file of its own beside the money.
func (x *cell) counted() bool { return x.counts > 0 && (x.both == x.lines || x.both == 0) }

func (c Costs) judge(x *cell, out *CostMatched) {
	out.Cells++
	subject := Subject{Provider: x.provider, Model: x.model, Day: x.day}
	var metered money.USD
	if x.metered != nil {
		metered = x.metered.CostUSD
		if x.metered.Unpriced > 0 {
			out.Findings = append(out.Findings, Finding{Reason: ReasonNoPrice, Subject: subject, Amount: x.billed, OccurredAt: midnight(x.day)})
		}
	}
	if x.lines == 0 && x.counts == 0 && !c.Covered[x.provider+" "+x.day] {
		out.NotCovered++
		return
	}
	if x.lines == 0 && x.counts > 0 {
		c.judgeTokens(x, subject, out)
		return
	}
	out.BilledUSD, out.MeteredUSD = out.BilledUSD.Add(x.billed), out.MeteredUSD.Add(metered)
	difference := x.billed.Sub(metered)
	out.VarianceUSD = out.VarianceUSD.Add(difference)
	f := Finding{Subject: subject, Amount: absolute(difference), Expected: &metered, Found: &x.billed, OccurredAt: midnight(x.day)}
	switch {
	case x.lines == 0 && metered.IsZero():
		out.Matched++ // nothing was owed and nothing billed: free, failed or denied calls
		return
	case x.lines == 0:
		f.Reason = ReasonMeteredNotBilled
	case x.metered == nil:
		f.Reason = ReasonBilledNotMetered
	case x.metered.Unpriced > 0:
		return // the missing price explains it
	case x.counted() && c.tokensDiffer(x):
		f.Reason, f.Tokens = ReasonTokensDiffer, x.in+x.out-x.metered.InputTokens-x.metered.OutputTokens
	case difference.IsZero():
		out.Matched++
		return
	case c.Tolerance.within(x.billed, metered):
		out.Within++
		return
	case difference.Sign() > 0:
		f.Reason = ReasonBillHigher
	default:
		f.Reason = ReasonBillLower
	}
	out.Findings = append(out.Findings, f)
}

// judgeTokens judges a cell of which only usage is known; its money is not judged.
func (c Costs) judgeTokens(x *cell, subject Subject, out *CostMatched) {
	out.TokensOnly++
	f := Finding{Subject: subject, OccurredAt: midnight(x.day), Tokens: x.in + x.out}
	switch {
	case x.metered == nil:
		f.Reason = ReasonBilledNotMetered
	case c.tokensDiffer(x):
		f.Reason, f.Tokens = ReasonTokensDiffer, x.in+x.out-x.metered.InputTokens-x.metered.OutputTokens
	default:
		return
	}
	out.Findings = append(out.Findings, f)
}

// tokensDiffer compares input and output apart, each by the percentage alone: tokens are no dollars.
func (c Costs) tokensDiffer(x *cell) bool {
	far := func(bill, ledger int64) bool {
		b, l := whole(bill), whole(ledger)
		return !Tolerance{Percent: c.Tolerance.Percent}.within(b, l)
	}
	return far(x.in, x.metered.InputTokens) || far(x.out, x.metered.OutputTokens)
}

// whole is a count as a decimal number, for comparisons by percentage.
func whole(n int64) money.USD { return money.Atomic(1).USD().MulInt(1_000_000).MulInt(n) }

func midnight(day string) time.Time {
	at, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return time.Time{} // days are checked when a file is read
	}
	return at
}
