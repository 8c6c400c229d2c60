package api_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
	"p402.io/p402/settlement/reconcile"
)

func digestOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// aMarch is an office with a month that can be closed: two days of calls, three sales, a bill for each day.
func aMarch(t *testing.T) *office {
	o := newOffice(t)
	o.metered(march.Add(30*time.Hour), "1.000000000000000001")
	o.metered(march.AddDate(0, 0, 20), "2.5")
	for i := range 3 {
		o.sale(march.AddDate(0, 0, i+5), int64(1000*(i+1)))
	}
	o.bill(march.AddDate(0, 0, 1), "1.000000000000000001")
	o.bill(march.AddDate(0, 0, 20), "2.5")
	o.index()
	return o
}

type statements struct {
	State      string `json:"state"`
	Revision   int    `json:"revision"`
	Statements []struct {
		Revision  int             `json:"revision"`
		SHA256    string          `json:"sha256"`
		Statement json.RawMessage `json:"statement"`
	} `json:"statements"`
}

func (o *office) close(period string) (out statements, last reconcile.Statement) {
	o.Helper()
	var raw json.RawMessage
	if status := o.ask(http.MethodPost, "/periods/"+period+"/close", dict{"by": "Ada"}, &raw); status != http.StatusOK {
		o.Fatalf("close of %s answered %d: %s", period, status, raw)
	}
	must(o.T, json.Unmarshal(raw, &out))
	last, err := reconcile.VerifyStatement(out.Statements[len(out.Statements)-1].Statement, o.signer.Public().(ed25519.PublicKey))
	must(o.T, err)
	return out, last
}

func TestF8_CloseIsBlockedByOpenExceptionsUntilAPersonWaivesThem(t *testing.T) {
	t.Parallel()
	o := aMarch(t)
	at := march.AddDate(0, 0, 9)
	o.node.transfers = append(o.node.transfers, reconcile.Transfer{Network: network, Asset: token, From: "0x3333333333333333333333333333333333333333", To: purse, Amount: money.Atomic(70), TxHash: "0xaa",
		BlockNumber: uint64(at.Sub(genesis) / time.Hour), BlockHash: "0x01", BlockTime: at})
	_, err := o.Unwind(t.Context(), network, 0, o.clock.now())
	must(t, err)
	o.index()
	if code := o.code(http.MethodPost, "/periods/2027-03/close", dict{"by": "Ada"}); code != "OPEN_EXCEPTIONS" {
		t.Fatalf("closed over an orphan: %q", code)
	}
	var list struct {
		Data []struct {
			ID     string `json:"exception_id"`
			Reason string `json:"reason"`
			Next   string `json:"next_step"`
			Owner  string `json:"owner"`
			Age    int    `json:"age_hours"`
		} `json:"data"`
	}
	o.ask(http.MethodGet, "/reconciliation/exceptions?open=1", nil, &list)
	if len(list.Data) != 1 || list.Data[0].Reason != "unknown_transfer" || list.Data[0].Owner != "finance" || list.Data[0].Next == "" || list.Data[0].Age < 24*20 {
		t.Fatalf("%+v", list)
	}
	path := "/reconciliation/exceptions/" + list.Data[0].ID + "/resolve"
	if code := o.code(http.MethodPost, path, dict{"state": "waived", "note": "seventy units"}); code != "INVALID_INPUT" {
		t.Errorf("waived by nobody: %q", code)
	}
	if status := o.ask(http.MethodPost, path, dict{"state": "waived", "by": "Ada", "note": "a test of the wallet"}, nil); status != http.StatusOK {
		t.Fatalf("resolve answered %d", status)
	}
	_, st := o.close("2027-03")
	if len(st.Exceptions) != 1 || st.Exceptions[0].DecidedBy != "Ada" || st.Exceptions[0].State != "waived" || len(st.Wallets) != 1 {
		t.Fatalf("%+v", st)
	}
	w := st.Wallets[0]
	if w.In.String() != "6070" || w.OfSales.String() != "6000" || w.Closing.String() != "6070" || !w.Reconciled || w.Source != "node" || w.ToBlock != st.CutOffs[0].Number {
		t.Errorf("%+v", w)
	}
	if cut := st.CutOffs[0]; cut.Time.Add(time.Hour) != march.AddDate(0, 1, 0) {
		t.Errorf("cut off at %s", cut.Time)
	}
}

func TestF9_AfterTheCloseTotalsNeverMoveAndLateItemsFallIntoTheNextPeriod(t *testing.T) {
	t.Parallel()
	o := aMarch(t)
	first, st := o.close("2027-03")
	if st.Totals.CostUSD.String() != "3.500000000000000001" || st.Totals.Events != 5 || st.Totals.Sales != 3 || st.Totals.RevenueUSD.String() != "0.006" || st.Late.Events != 0 {
		t.Fatalf("%+v", st.Totals)
	}
	before := map[string]string{}
	for _, kind := range []string{"events", "payments", "receipts", "journal"} {
		before[kind] = o.export(kind, "csv", "2027-03")
		if !strings.Contains(string(first.Statements[0].Statement), digestOf([]byte(before[kind]))) {
			t.Errorf("the statement does not name the %s export", kind)
		}
	}
	// Late: a call of March, an outcome and a correction of one that was closed.
	late := o.late(march.AddDate(0, 0, 3), "0.25")
	outcome, err := meter.NewOutcome(meter.Outcome{EventID: late.ID, Outcome: "accepted"}, nil, o.clock.now())
	must(t, err)
	_, _, _, err = o.RecordOutcome(t.Context(), o.tenant, outcome)
	must(t, err)
	o.metered(march.AddDate(0, 1, 4), "4")
	o.clock.set(time.Date(2027, 5, 3, 9, 0, 0, 0, time.UTC))
	o.bill(march.AddDate(0, 1, 4), "4")
	o.index()
	for kind, text := range before {
		if again := o.export(kind, "csv", "2027-03"); again != text {
			t.Errorf("A161: the closed %s export changed: %d lines, then %d", kind, lines(text), lines(again))
		}
	}
	if code := o.code(http.MethodPost, "/periods/2027-04/close", dict{"by": "Ada"}); code != "OPEN_EXCEPTIONS" {
		t.Fatalf("a late event is no exception: %q", code)
	}
	o.decideAll("explained")
	_, april := o.close("2027-04")
	if april.Totals.CostUSD.String() != "4.25" || april.Late.CostUSD.String() != "0.25" || april.Late.Events != 1 || april.Previous != first.Statements[0].SHA256 {
		t.Fatalf("%+v late %+v", april.Totals, april.Late)
	}
	for _, a := range april.Accounts {
		if a.Account == "cost:provider" && (a.Opening.String() != "3.500000000000000001" || a.Movement.String() != "4.25") {
			t.Errorf("%+v", a)
		}
	}
	if text := o.export("events", "csv", "2027-04"); !strings.Contains(text, string(late.ID)) || lines(text) != 3 {
		t.Errorf("April's events: %s", text)
	}
	if w := april.Wallets[0]; w.Opening.String() != "6000" || !w.In.IsZero() || w.Closing.String() != "6000" {
		t.Errorf("%+v", w)
	}
}

// decideAll decides every open exception by name.
func (o *office) decideAll(state string) {
	o.Helper()
	var list struct {
		Data []struct {
			ID string `json:"exception_id"`
		} `json:"data"`
	}
	o.ask(http.MethodGet, "/reconciliation/exceptions?open=1&limit=200", nil, &list)
	for _, e := range list.Data {
		if status := o.ask(http.MethodPost, "/reconciliation/exceptions/"+e.ID+"/resolve", dict{"state": state, "by": "Ada", "note": "seen"}, nil); status != http.StatusOK {
			o.Fatalf("resolve answered %d", status)
		}
	}
}

func TestF10_ReopenNeedsAReasonAndLeavesBothStatements(t *testing.T) {
	t.Parallel()
	o := aMarch(t)
	o.close("2027-03")
	if code := o.code(http.MethodPost, "/periods/2027-03/close", dict{"by": "Ada"}); code != "PERIOD_CLOSED" {
		t.Errorf("closed twice: %q", code)
	}
	if code := o.code(http.MethodPost, "/periods/2027-03/reopen", dict{"by": "Ada"}); code != "INVALID_INPUT" {
		t.Errorf("reopened without a reason: %q", code)
	}
	if status := o.ask(http.MethodPost, "/periods/2027-03/reopen", dict{"by": "Bob", "reason": "a bill came"}, nil); status != http.StatusOK {
		t.Fatalf("reopen answered %d", status)
	}
	o.late(march.AddDate(0, 0, 20), "0.5")
	o.bill(march.AddDate(0, 0, 20), "0.5")
	o.clock.set(o.clock.now().Add(time.Hour))
	o.index()
	got, second := o.close("2027-03")
	if len(got.Statements) != 2 || second.Revision != 2 || second.Totals.CostUSD.String() != "4.000000000000000001" {
		t.Fatalf("%d statements, %+v", len(got.Statements), second.Totals)
	}
	first, err := reconcile.VerifyStatement(got.Statements[0].Statement, o.signer.Public().(ed25519.PublicKey))
	if err != nil || first.Totals.CostUSD.String() != "3.500000000000000001" {
		t.Errorf("the first statement: %+v %v", first.Totals, err)
	}
	// Only the newest can be reopened, and none is skipped.
	o.clock.set(time.Date(2027, 6, 3, 9, 0, 0, 0, time.UTC))
	o.index()
	if code := o.code(http.MethodPost, "/periods/2027-05/close", dict{"by": "Ada"}); code != "CHECKLIST_INCOMPLETE" {
		t.Errorf("April was skipped: %q", code)
	}
	o.decideAll("explained")
	o.close("2027-04")
	if code := o.code(http.MethodPost, "/periods/2027-03/reopen", dict{"by": "Bob", "reason": "again"}); code != "PERIOD_OUT_OF_ORDER" {
		t.Errorf("March was reopened under April: %q", code)
	}
}

func TestF15_StatementFailsOnAnyChange(t *testing.T) {
	t.Parallel()
	o := aMarch(t)
	got, _ := o.close("2027-03")
	raw, key := []byte(got.Statements[0].Statement), o.signer.Public().(ed25519.PublicKey)
	for i := range raw {
		changed := append([]byte(nil), raw...)
		changed[i] ^= 1
		if _, err := reconcile.VerifyStatement(changed, key); err == nil {
			t.Fatalf("byte %d (%q) may be changed", i, raw[i])
		}
	}
}

func TestCloseNeedsEyesOnTheChain(t *testing.T) {
	t.Parallel()
	o := aMarch(t)
	type answer struct {
		Blocked   string `json:"blocked"`
		Checklist []reconcile.Check
	}
	dry := func() (a answer) {
		o.ask(http.MethodPost, "/periods/2027-03/close", dict{"dry_run": true}, &a)
		return a
	}
	if a := dry(); a.Blocked != "" || len(a.Checklist) < 7 {
		t.Fatalf("%+v", a)
	}
	o.node.steal = 1 // the wallet holds less than its transfers say
	if a := dry(); a.Blocked != "CHECKLIST_INCOMPLETE" {
		t.Errorf("a wallet that does not add up closed: %+v", a)
	}
	o.node.steal, o.node.pruned = 0, true // the node forgot the state; the index was verified at a later block
	if a := dry(); a.Blocked != "" {
		t.Errorf("a node without old state blocks: %+v", a)
	}
	o.clock.set(o.clock.now().Add(time.Hour)) // nobody has looked for an hour
	if a := dry(); a.Blocked != "CHECKLIST_INCOMPLETE" {
		t.Errorf("closed blindly: %+v", a)
	}
	o.clock.set(march.AddDate(0, 0, 30))
	if a := dry(); a.Blocked != "CHECKLIST_INCOMPLETE" {
		t.Errorf("closed before its end: %+v", a)
	}
}

func TestF19_ChargebackByDepartmentSumsToTheBillWithItsVariance(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.metered(march.Add(time.Hour), "10")
	o.metered(march.AddDate(0, 0, 1), "20")
	o.bill(march, "10.75")
	o.bill(march.AddDate(0, 0, 1), "19.5")
	if code := o.code(http.MethodPost, "/periods/2027-03/close", dict{"by": "Ada"}); code != "OPEN_EXCEPTIONS" {
		t.Fatalf("%q", code)
	}
	o.decideAll("adjusted")
	o.clock.set(o.clock.now().Add(2 * time.Minute)) // an adjustment counts from a minute after it was made
	_, st := o.close("2027-03")
	sum := map[string]money.USD{}
	for _, a := range st.Accounts {
		sum[a.Account] = a.Closing
	}
	if got := sum["cost:provider"].Add(sum["cost:variance"]); got.String() != "30.25" || sum["liability:provider"].String() != "-30.25" || sum["cost:variance"].String() != "0.25" {
		t.Errorf("metered and variance are %s; accounts %v", got, sum)
	}
	if text := o.export("summary", "csv", "2027-03"); strings.Count(text, `"ops"`) != 2 {
		t.Errorf("%s", text)
	}
}
