package reconcile

import (
	"sort"
	"strings"
	"time"

	"p402.io/p402/internal/money"
)

// Billed is a sold call as the ledger has it. InWindow says that it is judged; others are there for their partners only.
type Billed struct {
	EventID       string
	OccurredAt    time.Time
	State         string // intent | final | failed | expired
	Revenue       *money.USD
	ReceiptStatus string
	Delivered     bool
	InWindow      bool
}

// Collected is a payment with its receipt and refund.
type Collected struct {
	PaymentID    string
	EventID      string // "" for the facilitator's clients
	Network      string
	Asset        string
	Payer        string
	Nonce        string
	PayTo        string
	Amount       money.USDC
	State        string
	Reason       string
	ClaimedAt    time.Time
	MovedAt      time.Time
	TxHash       string // of the evidence, if there is any
	LogIndex     uint
	BlockNumber  uint64
	Receipt      *ReceiptFacts // nil: none was issued
	Delivered    bool
	RefundState  string // "" | due | paid | used | waived
	FromSeller   bool   // source "call": an event belongs to it
	InWindow     bool
	EventPresent bool // the event's row exists, whatever its time
}

// ReceiptFacts is what a receipt says that the chain can check.
type ReceiptFacts struct {
	ReceiptID string
	Amount    string // atomic
	Payer     string
	TxHash    string
	LogIndex  uint
}

// Coverage is what of a wallet's chain was read: blocks From to Next-1. Trusted is false behind a gap or without a node.
type Coverage struct {
	From, Next uint64
	Until      time.Time
	Trusted    bool
}

// WalletKey names a followed wallet; Key makes one.
type WalletKey string

// Key is the wallet's name in a coverage map.
func Key(network, asset, address string) WalletKey {
	return WalletKey(network + " " + strings.ToLower(asset) + " " + strings.ToLower(address))
}

// Books is everything one settlement run compares.
type Books struct {
	Events    []Billed
	Payments  []Collected
	Transfers []Placed
	Covered   map[WalletKey]Coverage
	AsOf      time.Time // the run's time: what is younger than Grace is pending
	Grace     time.Duration
}

// Placed is a transfer with its place in the run.
type Placed struct {
	Transfer
	InWindow bool
}

// DefaultGrace is how long a payment may be on its way before it is a finding: well above the time to finality of the
// networks we list.
const DefaultGrace = 30 * time.Minute

// suggestWithin is how far apart a payment and a transfer may lie to be suggested to a person as one.
const suggestWithin = 24 * time.Hour

// Matched is what a run says about settlement. Every payment and every incoming transfer in the window is in exactly one
// of the counts; a run in which NotJudgeable is not zero is no clean bill.
type Matched struct {
	Payments     int       `json:"payments"`
	Matched      int       `json:"matched"`
	Pending      int       `json:"pending"`       // young enough to wait for
	NotJudgeable int       `json:"not_judgeable"` // the chain there was not read
	NothingOwed  int       `json:"nothing_owed"`  // voided, and not collected
	Excepted     int       `json:"excepted"`      // payments with at least one finding
	Transfers    int       `json:"transfers"`
	Orphans      int       `json:"orphans"`
	Outgoing     int       `json:"outgoing"` // sweeps, refunds, payouts: not sales
	InUSD        money.USD `json:"in_usd"`
	MatchedUSD   money.USD `json:"matched_usd"`
	OrphanUSD    money.USD `json:"orphan_usd"`
	OutUSD       money.USD `json:"out_usd"`
	Findings     []Finding `json:"-"`
}

type matcher struct {
	Books
	out    Matched
	byAuth map[string]int // authorization -> transfer
	byLog  map[string]int // transaction and log -> transfer
	taken  []int          // transfer -> payment + 1
	events map[string]Billed
}

// Match compares payments, receipts and events with the chain, in the order: authorization (payer and nonce); transaction and
// log index; then amount, payer and time, but only as a suggestion. It is pure: the same books give the same answer.
func Match(b Books) Matched {
	m := &matcher{Books: b, byAuth: map[string]int{}, byLog: map[string]int{}, taken: make([]int, len(b.Transfers)), events: make(map[string]Billed, len(b.Events))}
	for _, e := range b.Events {
		m.events[e.EventID] = e
	}
	for i, t := range b.Transfers {
		m.byLog[logKey(t.Network, t.TxHash, t.LogIndex)] = i
		if t.Nonce != "" {
			m.byAuth[authKey(t.Network, t.Asset, t.From, t.Nonce)] = i
		}
	}
	// Live payments choose first: a voided claim of the same authorization has no right to its transfer.
	order := make([]int, len(b.Payments))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(i, j int) bool {
		x, y := b.Payments[order[i]], b.Payments[order[j]]
		if (x.State == "voided") != (y.State == "voided") {
			return y.State == "voided"
		}
		return x.PaymentID < y.PaymentID
	})
	for _, i := range order {
		m.payment(i)
	}
	m.unpaidEvents()
	m.orphans()
	sort.Slice(m.out.Findings, func(i, j int) bool {
		a, c := m.out.Findings[i], m.out.Findings[j]
		if !a.OccurredAt.Equal(c.OccurredAt) {
			return a.OccurredAt.Before(c.OccurredAt)
		}
		return a.Key() < c.Key()
	})
	return m.out
}

func authKey(network, asset, payer, nonce string) string {
	return network + " " + strings.ToLower(asset) + " " + strings.ToLower(payer) + " " + strings.ToLower(nonce)
}

func logKey(network, tx string, index uint) string {
	var b [20]byte
	n := len(b)
	for {
		n--
		b[n] = byte('0' + index%10)
		if index /= 10; index == 0 {
			break
		}
	}
	return network + " " + strings.ToLower(tx) + " " + string(b[n:])
}

// find is a payment's transfer: by its authorization, else by the place its evidence names.
func (m *matcher) find(p Collected) (at int, ok bool) {
	if at, ok = m.byAuth[authKey(p.Network, p.Asset, p.Payer, p.Nonce)]; ok {
		return at, true
	}
	if p.TxHash == "" {
		return 0, false
	}
	if at, ok = m.byLog[logKey(p.Network, p.TxHash, p.LogIndex)]; ok && m.Transfers[at].Nonce == "" {
		return at, true
	}
	return 0, false
}

func (m *matcher) payment(i int) {
	p := m.Payments[i]
	at, found := m.find(p)
	var list []Finding
	var pending, unjudged bool
	switch p.State {
	case "included", "final":
		list, unjudged = m.settled(p, at, found)
	case "authorized", "captured", "submitted":
		switch {
		case found && m.AsOf.Sub(m.Transfers[at].BlockTime) > m.Grace:
			list = append(list, m.about(p, ReasonNotRecorded, m.Transfers[at].TxHash))
		case p.State != "authorized" && m.AsOf.Sub(p.MovedAt) > m.Grace:
			list = append(list, m.about(p, ReasonCollectionLate, p.State))
		default:
			pending = true
		}
	case "voided", "lost":
		switch {
		case found && m.taken[at] != 0 && p.State == "voided": // the live claim of the same authorization has it
			found = false
		case found:
			list = append(list, m.about(p, ReasonVoidedButCollected, m.Transfers[at].TxHash))
		case p.State == "lost":
			list = append(list, m.about(p, ReasonUncollectable, p.Reason))
		}
	}
	if found {
		if first := m.taken[at]; first != 0 {
			list = append(list, m.about(p, ReasonTransferTwice, m.Payments[first-1].PaymentID))
		} else {
			m.taken[at] = i + 1
		}
	}
	m.count(p, list, pending, unjudged)
}

// count puts a payment of the window into exactly one class.
func (m *matcher) count(p Collected, list []Finding, pending, unjudged bool) {
	if !p.InWindow {
		return
	}
	m.out.Payments++
	switch {
	case len(list) > 0:
		m.out.Excepted++
	case unjudged:
		m.out.NotJudgeable++
	case pending:
		m.out.Pending++
	case p.State == "voided":
		m.out.NothingOwed++
	default:
		m.out.Matched++
	}
	m.out.Findings = append(m.out.Findings, list...)
}

// about is a finding on a payment, with its whole amount at stake.
func (m *matcher) about(p Collected, r Reason, detail string) Finding {
	return Finding{Reason: r, Subject: Subject{PaymentID: p.PaymentID, EventID: p.EventID, Network: p.Network}, Amount: p.Amount.USD(), OccurredAt: p.ClaimedAt, Detail: detail}
}

// settled checks a payment that the books call collected.
func (m *matcher) settled(p Collected, at int, found bool) (list []Finding, unjudged bool) {
	if !found {
		c, known := m.Covered[Key(p.Network, p.Asset, p.PayTo)]
		if !known || !c.Trusted || p.BlockNumber < c.From || p.BlockNumber >= c.Next {
			unjudged = true
		} else {
			list = append(list, m.about(p, ReasonNotOnChain, p.TxHash))
		}
	} else {
		list = m.compare(p, m.Transfers[at].Transfer)
	}
	if p.Receipt == nil {
		list = append(list, m.about(p, ReasonNoReceipt, ""))
	}
	if !p.FromSeller {
		return list, unjudged
	}
	if !p.EventPresent {
		return append(list, m.about(p, ReasonPaymentWithoutEvent, "")), unjudged
	}
	e, known := m.events[p.EventID]
	if known && e.Revenue != nil && !owes(*e.Revenue, p.Amount) {
		f := m.about(p, ReasonRevenueDiffers, "")
		owed := p.Amount.USD()
		f.Expected, f.Found, f.Amount = &owed, e.Revenue, absolute(e.Revenue.Sub(owed))
		list = append(list, f)
	}
	if !p.Delivered && p.RefundState == "" && m.AsOf.Sub(p.MovedAt) > m.Grace {
		list = append(list, m.about(p, ReasonUndelivered, ""))
	}
	return list, unjudged
}

// owes reports whether a price is what a payment of that amount is for: payers owe whole units, rounded up.
func owes(price money.USD, paid money.USDC) bool {
	due, err := money.Payable(price)
	return err == nil && due.Cmp(paid) == 0
}

// compare sets a payment and its receipt against the transfer that the authorization made.
func (m *matcher) compare(p Collected, t Transfer) (list []Finding) {
	if !strings.EqualFold(t.To, p.PayTo) {
		list = append(list, m.about(p, ReasonPaidElsewhere, t.To))
	}
	if c := t.Amount.Cmp(p.Amount); c != 0 {
		reason := ReasonOverpaid
		if c < 0 {
			reason = ReasonUnderpaid
		}
		f := m.about(p, reason, t.TxHash)
		owed, paid := p.Amount.USD(), t.Amount.USD()
		f.Expected, f.Found, f.Amount = &owed, &paid, absolute(paid.Sub(owed))
		list = append(list, f)
	}
	if r := p.Receipt; r != nil && (r.Amount != t.Amount.String() || !strings.EqualFold(r.Payer, t.From) || !strings.EqualFold(r.TxHash, t.TxHash) || r.LogIndex != t.LogIndex) {
		if r.Amount == p.Amount.String() && r.Amount != t.Amount.String() && strings.EqualFold(r.TxHash, t.TxHash) {
			return list // the amount's difference is named already
		}
		list = append(list, m.about(p, ReasonReceiptDiffers, r.ReceiptID))
	}
	return list
}

// unpaidEvents finds sold answers that left with no payment behind them.
func (m *matcher) unpaidEvents() {
	paid := make(map[string]bool, len(m.Payments))
	for _, p := range m.Payments {
		if p.State != "voided" {
			paid[p.EventID] = true
		}
	}
	for _, e := range m.Events {
		if !e.InWindow || !e.Delivered || e.State != "final" || e.ReceiptStatus == "reused" || paid[e.EventID] {
			continue
		}
		f := Finding{Reason: ReasonDeliveredUnpaid, Subject: Subject{EventID: e.EventID}, OccurredAt: e.OccurredAt}
		if e.Revenue != nil {
			f.Amount = *e.Revenue
		}
		m.out.Findings = append(m.out.Findings, f)
	}
}

// orphans names what came in and belongs to no payment, and counts what went out.
func (m *matcher) orphans() {
	waiting := m.unmatchedPayments()
	for i, t := range m.Transfers {
		if !t.InWindow {
			continue
		}
		if _, ours := m.Covered[Key(t.Network, t.Asset, t.To)]; !ours {
			m.out.Outgoing++
			m.out.OutUSD = m.out.OutUSD.Add(t.Amount.USD())
			continue
		}
		m.out.Transfers++
		m.out.InUSD = m.out.InUSD.Add(t.Amount.USD())
		if m.taken[i] != 0 {
			m.out.MatchedUSD = m.out.MatchedUSD.Add(t.Amount.USD())
			continue
		}
		m.out.Orphans++
		m.out.OrphanUSD = m.out.OrphanUSD.Add(t.Amount.USD())
		index, reason := t.LogIndex, ReasonUnknownTransfer
		if t.Nonce != "" {
			reason = ReasonUnknownAuthorization
		}
		m.out.Findings = append(m.out.Findings, Finding{Reason: reason, Subject: Subject{Network: t.Network, TxHash: t.TxHash, LogIndex: &index}, Amount: t.Amount.USD(),
			OccurredAt: t.BlockTime, Detail: t.From, Suggested: suggest(waiting, t.Transfer)})
	}
}

// unmatchedPayments is what waits for money, by payer, wallet and amount.
func (m *matcher) unmatchedPayments() map[string][]Collected {
	has := map[int]bool{}
	for _, p := range m.taken {
		has[p-1] = true
	}
	out := map[string][]Collected{}
	for i, p := range m.Payments {
		if !has[i] && p.State != "voided" {
			k := likeness(p.Network, p.Payer, p.PayTo, p.Amount)
			out[k] = append(out[k], p)
		}
	}
	return out
}

func likeness(network, payer, payTo string, amount money.USDC) string {
	return network + " " + strings.ToLower(payer) + " " + strings.ToLower(payTo) + " " + amount.String()
}

func suggest(waiting map[string][]Collected, t Transfer) (out []string) {
	for _, p := range waiting[likeness(t.Network, t.From, t.To, t.Amount)] {
		if d := t.BlockTime.Sub(p.ClaimedAt); d < suggestWithin && d > -suggestWithin {
			out = append(out, p.PaymentID)
		}
	}
	sort.Strings(out)
	return out
}

func absolute(u money.USD) money.USD {
	if u.Sign() < 0 {
		return u.Neg()
	}
	return u
}
