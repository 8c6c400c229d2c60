package reconcile_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"p402.io/p402/internal/money"
	"p402.io/p402/settlement/reconcile"
)

const (
	network = "eip155:84532"
	asset   = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
	wallet  = "0xAAAAaaaaAAAAaaaaAAAAaaaaAAAAaaaaAAAAaaaa"
	other   = "0xBBBBbbbbBBBBbbbbBBBBbbbbBBBBbbbbBBBBbbbb"
)

var (
	month = time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)
	asOf  = time.Date(2027, 4, 2, 0, 0, 0, 0, time.UTC)
)

// planted is a month of sound books, the faults put into it, and the findings they must give.
type planted struct {
	reconcile.Books
	want map[string]reconcile.Reason // by key
	rng  *rand.Rand
	next int
}

func newPlanted(seed uint64) *planted {
	return &planted{rng: rand.New(rand.NewPCG(seed, 402)), want: map[string]reconcile.Reason{}, Books: reconcile.Books{AsOf: asOf, Grace: reconcile.DefaultGrace,
		Covered: map[reconcile.WalletKey]reconcile.Coverage{
			reconcile.Key(network, asset, wallet): {From: 1, Next: 2_000_000, Until: asOf, Trusted: true},
			reconcile.Key(network, asset, other):  {From: 1, Next: 2_000_000, Until: asOf, Trusted: true}}}}
}

func (p *planted) expect(f reconcile.Finding) { p.want[f.Key()] = f.Reason }

// sale adds one paid call with nothing wrong; several in a row share a transaction, as a batch does.
func (p *planted) sale() (e *reconcile.Billed, c *reconcile.Collected, t *reconcile.Placed) {
	n := p.next
	p.next++
	at := month.Add(time.Duration(n) * 31 * 24 * time.Hour / 25_000)
	amount := money.Atomic(int64(100 + p.rng.IntN(100_000)))
	revenue := amount.USD()
	payer, nonce, tx := fmt.Sprintf("0x%040X", n%97+1), fmt.Sprintf("0x%064x", n), fmt.Sprintf("0x%064x", 1_000_000+n/3)
	index, block := uint(n%3*2+1), uint64(n/3+10)
	p.Events = append(p.Events, reconcile.Billed{EventID: fmt.Sprintf("evt_%d", n), OccurredAt: at, State: "final", Revenue: &revenue, ReceiptStatus: "settled", Delivered: true, InWindow: true})
	p.Payments = append(p.Payments, reconcile.Collected{PaymentID: fmt.Sprintf("pay_%06d", n), EventID: fmt.Sprintf("evt_%d", n), Network: network, Asset: asset, Payer: payer, Nonce: nonce,
		PayTo: wallet, Amount: amount, State: "final", ClaimedAt: at, MovedAt: at, TxHash: tx, LogIndex: index, BlockNumber: block, Delivered: true, FromSeller: true, InWindow: true, EventPresent: true,
		Receipt: &reconcile.ReceiptFacts{ReceiptID: fmt.Sprintf("rcpt_%d", n), Amount: amount.String(), Payer: payer, TxHash: tx, LogIndex: index}})
	p.Transfers = append(p.Transfers, reconcile.Placed{InWindow: true, Transfer: reconcile.Transfer{Network: network, Asset: asset, From: payer, To: wallet, Amount: amount, Nonce: nonce,
		TxHash: tx, LogIndex: index, BlockNumber: block, BlockTime: at}})
	return &p.Events[len(p.Events)-1], &p.Payments[len(p.Payments)-1], &p.Transfers[len(p.Transfers)-1]
}

func (p *planted) dropEvent()    { p.Events = p.Events[:len(p.Events)-1] }
func (p *planted) dropTransfer() { p.Transfers = p.Transfers[:len(p.Transfers)-1] }
func (p *planted) dropPayment()  { p.Payments = p.Payments[:len(p.Payments)-1] }

func onPayment(r reconcile.Reason, c *reconcile.Collected) reconcile.Finding {
	return reconcile.Finding{Reason: r, Subject: reconcile.Subject{PaymentID: c.PaymentID, EventID: c.EventID, Network: network}}
}

func onTransfer(r reconcile.Reason, t *reconcile.Placed) reconcile.Finding {
	index := t.LogIndex
	return reconcile.Finding{Reason: r, Subject: reconcile.Subject{Network: network, TxHash: t.TxHash, LogIndex: &index}}
}

// faults is every settlement fault and harmless oddity, each planted on a fresh sale.
var faults = []struct {
	name  string
	plant func(p *planted)
}{
	{"receipt without its transfer", func(p *planted) {
		_, c, _ := p.sale()
		p.expect(onPayment(reconcile.ReasonNotOnChain, c))
		p.dropTransfer()
	}},
	{"never collected", func(p *planted) {
		e, c, _ := p.sale()
		c.State, c.Receipt, c.TxHash, e.ReceiptStatus = "submitted", nil, "", "pending"
		p.expect(onPayment(reconcile.ReasonCollectionLate, c))
		p.dropTransfer()
	}},
	{"lost", func(p *planted) {
		e, c, _ := p.sale()
		c.State, c.Reason, c.Receipt, c.TxHash, e.ReceiptStatus = "lost", "window_closed", nil, "", "failed"
		p.expect(onPayment(reconcile.ReasonUncollectable, c))
		p.dropTransfer()
	}},
	{"delivered with no payment, its money lying there", func(p *planted) {
		e, _, t := p.sale()
		p.expect(reconcile.Finding{Reason: reconcile.ReasonDeliveredUnpaid, Subject: reconcile.Subject{EventID: e.EventID}})
		p.expect(onTransfer(reconcile.ReasonUnknownAuthorization, t))
		p.dropPayment()
	}},
	{"plain transfer", func(p *planted) {
		_, _, t := p.sale()
		t.Nonce = ""
		p.expect(onTransfer(reconcile.ReasonUnknownTransfer, t))
		p.dropEvent()
		p.dropPayment()
	}},
	{"voided, yet collected", func(p *planted) {
		e, c, _ := p.sale()
		c.State, c.Receipt, c.TxHash, c.Delivered, e.State, e.Delivered = "voided", nil, "", false, "failed", false
		p.expect(onPayment(reconcile.ReasonVoidedButCollected, c))
	}},
	{"on chain, not in the row", func(p *planted) {
		_, c, _ := p.sale()
		c.State, c.Receipt, c.TxHash = "submitted", nil, ""
		p.expect(onPayment(reconcile.ReasonNotRecorded, c))
	}},
	{"collected, never delivered", func(p *planted) {
		e, c, _ := p.sale()
		e.Delivered, c.Delivered = false, false
		p.expect(onPayment(reconcile.ReasonUndelivered, c))
	}},
	{"no receipt", func(p *planted) {
		_, c, _ := p.sale()
		c.Receipt = nil
		p.expect(onPayment(reconcile.ReasonNoReceipt, c))
	}},
	{"paid to another wallet", func(p *planted) {
		_, c, t := p.sale()
		t.To = other
		p.expect(onPayment(reconcile.ReasonPaidElsewhere, c))
	}},
	{"one unit too little", func(p *planted) {
		_, c, t := p.sale()
		t.Amount = less(t.Amount)
		p.expect(onPayment(reconcile.ReasonUnderpaid, c))
	}},
	{"one unit too much", func(p *planted) {
		_, c, t := p.sale()
		t.Amount = t.Amount.Add(money.OneAtomic)
		p.expect(onPayment(reconcile.ReasonOverpaid, c))
	}},
	{"altered receipt", func(p *planted) {
		_, c, _ := p.sale()
		c.Receipt.TxHash = fmt.Sprintf("0x%064x", 9)
		p.expect(onPayment(reconcile.ReasonReceiptDiffers, c))
	}},
	{"revenue that is not the payment", func(p *planted) {
		e, c, _ := p.sale()
		wrong := e.Revenue.Add(money.MustUSD("0.000000000000000001"))
		e.Revenue = &wrong
		p.expect(onPayment(reconcile.ReasonRevenueDiffers, c))
	}},
	{"two payments on one transfer", func(p *planted) {
		_, c, _ := p.sale()
		again := *c
		again.PaymentID, again.EventID = c.PaymentID+"b", ""
		again.FromSeller = false
		p.Payments = append(p.Payments, again)
		p.expect(onPayment(reconcile.ReasonTransferTwice, &again))
	}},
	{"payment whose event is gone", func(p *planted) {
		_, c, _ := p.sale()
		c.EventPresent = false
		p.expect(onPayment(reconcile.ReasonPaymentWithoutEvent, c))
		p.dropEvent()
	}},
	{"harmless: a voided claim, claimed again and paid", func(p *planted) {
		_, c, _ := p.sale()
		void := *c
		void.PaymentID, void.State, void.Receipt, void.TxHash = c.PaymentID+"a", "voided", nil, ""
		p.Payments = append(p.Payments, void)
	}},
	{"harmless: a voided claim that nobody collected", func(p *planted) {
		e, c, _ := p.sale()
		c.State, c.Receipt, c.TxHash, e.Delivered, e.State = "voided", nil, "", false, "failed"
		p.dropTransfer()
	}},
	{"harmless: undelivered and refunded", func(p *planted) {
		e, c, _ := p.sale()
		e.Delivered, c.Delivered, c.RefundState = false, false, "due"
	}},
	{"harmless: still on its way", func(p *planted) {
		e, c, _ := p.sale()
		c.State, c.Receipt, c.TxHash, c.MovedAt, e.ReceiptStatus = "submitted", nil, "", asOf.Add(-time.Minute), "pending"
		p.dropTransfer()
	}},
	{"harmless: addresses in another case", func(p *planted) {
		_, c, t := p.sale()
		c.Payer, t.To, c.Nonce = fmt.Sprintf("0x%040x", (p.next-1)%97+1), "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", fmt.Sprintf("0x%064X", p.next-1)
	}},
	{"harmless: the facilitator's client", func(p *planted) {
		_, c, _ := p.sale()
		c.EventID, c.FromSeller, c.EventPresent, c.Delivered = "", false, false, false
		p.dropEvent()
	}},
	{"harmless: money sent out", func(p *planted) {
		_, _, t := p.sale()
		t.From, t.To, t.Nonce = wallet, "0xCCCC", ""
		p.dropEvent()
		p.dropPayment()
	}},
	{"harmless: an answer for which an earlier call was paid", func(p *planted) {
		e, _, _ := p.sale()
		e.ReceiptStatus = "reused"
		p.dropPayment()
		p.dropTransfer()
	}},
}

func less(u money.USDC) money.USDC {
	n := u.Big()
	out, err := money.USDCFromBig(n.Sub(n, money.OneAtomic.Big()))
	if err != nil {
		panic(err)
	}
	return out
}

// plant makes a month: about one sale in a hundred has each of the faults.
func plant(seed uint64, sales int) *planted {
	p := newPlanted(seed)
	for p.next < sales {
		if p.rng.IntN(100) < len(faults) {
			faults[p.rng.IntN(len(faults))].plant(p)
		} else {
			p.sale()
		}
	}
	p.rng.Shuffle(len(p.Transfers), func(i, j int) { p.Transfers[i], p.Transfers[j] = p.Transfers[j], p.Transfers[i] })
	p.rng.Shuffle(len(p.Payments), func(i, j int) { p.Payments[i], p.Payments[j] = p.Payments[j], p.Payments[i] })
	return p
}

func check(t *testing.T, findings []reconcile.Finding, want map[string]reconcile.Reason) {
	t.Helper()
	seen := map[string]bool{}
	wrong := 0
	for _, f := range findings {
		if seen[f.Key()] {
			t.Errorf("%s on %+v came twice", f.Reason, f.Subject)
		}
		if seen[f.Key()] = true; want[f.Key()] == "" {
			wrong++
			t.Errorf("invented: %s on %+v (%s)", f.Reason, f.Subject, f.Detail)
		}
		if wrong > 5 {
			break
		}
	}
	missed := map[reconcile.Reason]int{}
	for key, reason := range want {
		if !seen[key] {
			missed[reason]++
		}
	}
	if len(missed) > 0 {
		t.Errorf("missed: %v", missed)
	}
}

func TestF6_EverySettlementFaultIsFoundAndNoneInvented(t *testing.T) {
	t.Parallel()
	for i, f := range faults {
		p := newPlanted(uint64(i))
		p.sale()
		f.plant(p)
		p.sale()
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			check(t, reconcile.Match(p.Books).Findings, p.want)
		})
	}
	p := plant(1, 20_000)
	got := reconcile.Match(p.Books)
	check(t, got.Findings, p.want)
	planted := map[reconcile.Reason]int{}
	for _, r := range p.want {
		planted[r]++
	}
	if len(planted) != 17 || got.Matched < 14_000 {
		t.Errorf("the month holds %v; %d matched", planted, got.Matched)
	}
	if sum := got.Matched + got.Pending + got.NotJudgeable + got.NothingOwed + got.Excepted; sum != got.Payments || got.Payments != len(p.Payments) {
		t.Errorf("%d of %d payments are in a class", sum, len(p.Payments))
	}
}

func TestA162_WhatIsExplainedAndWhatIsNotAddUpToAllThatCame(t *testing.T) {
	t.Parallel()
	p := plant(7, 5_000)
	got := reconcile.Match(p.Books)
	all, out := money.Zero, money.Zero
	for _, x := range p.Transfers {
		if x.To == "0xCCCC" {
			out = out.Add(x.Amount.USD())
		} else {
			all = all.Add(x.Amount.USD())
		}
	}
	if got.InUSD.Cmp(all) != 0 || got.MatchedUSD.Add(got.OrphanUSD).Cmp(all) != 0 || got.OutUSD.Cmp(out) != 0 {
		t.Errorf("in %s = matched %s + orphans %s; out %s; the chain has %s and %s", got.InUSD, got.MatchedUSD, got.OrphanUSD, got.OutUSD, all, out)
	}
	if got.Transfers+got.Outgoing != len(p.Transfers) {
		t.Errorf("%d and %d of %d", got.Transfers, got.Outgoing, len(p.Transfers))
	}
}

func TestF7_TheSameBooksGiveTheSameAnswerInAnyOrder(t *testing.T) {
	t.Parallel()
	p := plant(3, 3_000)
	first := reconcile.Match(p.Books)
	p.rng.Shuffle(len(p.Transfers), func(i, j int) { p.Transfers[i], p.Transfers[j] = p.Transfers[j], p.Transfers[i] })
	p.rng.Shuffle(len(p.Payments), func(i, j int) { p.Payments[i], p.Payments[j] = p.Payments[j], p.Payments[i] })
	p.rng.Shuffle(len(p.Events), func(i, j int) { p.Events[i], p.Events[j] = p.Events[j], p.Events[i] })
	if second := reconcile.Match(p.Books); !reflect.DeepEqual(first, second) {
		t.Errorf("%d findings, then %d", len(first.Findings), len(second.Findings))
	}
}

func TestUnreadChainIsNoVerdict(t *testing.T) {
	t.Parallel()
	p := newPlanted(1)
	p.sale()
	p.dropTransfer()
	for name, covered := range map[string]map[reconcile.WalletKey]reconcile.Coverage{
		"never read":   {},
		"not so far":   {reconcile.Key(network, asset, wallet): {From: 1, Next: 10, Trusted: true}},
		"begun later":  {reconcile.Key(network, asset, wallet): {From: 11, Next: 1000, Trusted: true}},
		"with a gap":   {reconcile.Key(network, asset, wallet): {From: 1, Next: 1000}},
		"other wallet": {reconcile.Key(network, asset, other): {From: 1, Next: 1000, Trusted: true}},
	} {
		p.Covered = covered
		if got := reconcile.Match(p.Books); got.NotJudgeable != 1 || len(got.Findings) != 0 || got.Matched != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestLikenessIsOnlyEverASuggestion(t *testing.T) {
	t.Parallel()
	p := newPlanted(1)
	_, c, x := p.sale()
	x.Nonce, x.TxHash = "", "0x01"
	want := c.PaymentID
	got := reconcile.Match(p.Books)
	if len(got.Findings) != 2 || got.Matched != 0 || got.Orphans != 1 {
		t.Fatalf("%+v", got)
	}
	for _, f := range got.Findings {
		if f.Reason == reconcile.ReasonUnknownTransfer && (len(f.Suggested) != 1 || f.Suggested[0] != want) {
			t.Errorf("suggested %v", f.Suggested)
		}
	}
}

func TestEveryReasonHasAnOwnerAndANextStep(t *testing.T) {
	t.Parallel()
	kinds := map[reconcile.Kind]bool{}
	for _, f := range faults {
		p := newPlanted(1)
		f.plant(p)
		for _, r := range p.want {
			rule, ok := reconcile.RuleOf(r)
			if !ok || rule.Owner == "" || rule.Next == "" || rule.Means == "" || rule.Side != reconcile.SideSettlement {
				t.Errorf("%s: %+v", r, rule)
			}
			kinds[rule.Kind] = true
		}
	}
	for _, f := range billFaults {
		rule, ok := reconcile.RuleOf(f.reason)
		if !ok || rule.Owner == "" || rule.Next == "" || rule.Side != reconcile.SideCost {
			t.Errorf("%s: %+v", f.reason, rule)
		}
		kinds[rule.Kind] = true
	}
	for _, k := range reconcile.Kinds() {
		if !kinds[k] {
			t.Errorf("no fault is planted for %s", k)
		}
	}
}
