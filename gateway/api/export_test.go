package api_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"p402.io/p402/gateway/api"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// readBack reads RFC 4180 as a strict reader does, and takes the apostrophe off that makes a cell inert.
func readBack(t interface{ Fatal(...any) }, text string) [][]string {
	r := csv.NewReader(strings.NewReader(text))
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestF12_A158_NoCellIsAFormulaAndEveryTextComesBack(t *testing.T) {
	t.Parallel()
	evil := rapid.StringMatching(`[=+\-@|%\t\r\n"' ,;a-z0-9\x{feff}\x{a0}\x{ff1d}\x{ff0b}]{0,12}`)
	rapid.Check(t, func(t *rapid.T) {
		cells := rapid.SliceOfN(evil, 1, 5).Draw(t, "cells")
		columns := make([]store.Column, len(cells))
		row := make([]*string, len(cells))
		for i := range cells {
			columns[i], row[i] = store.Column{Name: fmt.Sprintf("c%d", i), Kind: store.ColumnText}, &cells[i]
		}
		text := api.EncodeForTest("csv", columns, [][]*string{row})
		if strings.Count(text, "\r\n") < 2 {
			t.Fatalf("rows do not end as RFC 4180 wants: %q", text)
		}
		rows := readBack(t, text)
		if len(rows) != 2 {
			t.Fatalf("%d rows of %q", len(rows), text)
		}
		for i, got := range rows[1] {
			first := strings.TrimLeft(got, " \u00a0\ufeff")
			if first != "" && strings.ContainsAny(first[:1], "=+-@\t\r") || strings.HasPrefix(first, "\uff1d") || strings.HasPrefix(first, "\uff0b") {
				t.Fatalf("%q stands for %q", got, cells[i])
			}
			if back := strings.TrimPrefix(got, "'"); back != strings.ReplaceAll(cells[i], "\r\n", "\n") { // the reader joins the two in quoted cells
				t.Fatalf("%q came back as %q", cells[i], back)
			}
		}
		var line map[string]string
		if err := json.Unmarshal([]byte(api.EncodeForTest("ndjson", columns, [][]*string{row})), &line); err != nil {
			t.Fatal(err)
		}
		for i := range cells {
			if line[fmt.Sprintf("c%d", i)] != cells[i] {
				t.Fatalf("JSON changed %q", cells[i])
			}
		}
	})
	minus, amount := "-5", []store.Column{{Name: "amount_usd", Kind: store.ColumnMoney}, {Name: "note", Kind: store.ColumnText}}
	if got := api.EncodeForTest("csv", amount, [][]*string{{&minus, &minus}, {nil, nil}}); got != "amount_usd,note\r\n-5,\"'-5\"\r\n,\r\n" {
		t.Errorf("numbers are touched: %q", got)
	}
	nul, big := "a\x00b", strings.Repeat("x", 1<<20)
	if rows := readBack(t, api.EncodeForTest("csv", amount, [][]*string{{&minus, &nul}, {&minus, &big}})); rows[1][1] != "ab" || len(rows[2][1]) != 1<<20 {
		t.Error("NUL or a long cell")
	}
}

func TestF13_NoColumnHoldsContent(t *testing.T) {
	t.Parallel()
	for _, kind := range store.ExportKinds() {
		fields := map[string]string{}
		for _, c := range store.ExportColumns(kind) {
			if !strings.HasSuffix(c.Name, "_id") { // an id of a completion is none
				fields[c.Name] = "text"
			}
		}
		raw, err := json.Marshal(fields)
		must(t, err)
		if path := meter.ForbiddenPath(raw); path != "" {
			t.Errorf("%s has a column %s", kind, path)
		}
	}
}

// TestF11_ExportsStreamInConstantMemory: the heap while a hundred thousand rows pass is no larger than it is for a tenth.
func TestF11_ExportsStreamInConstantMemory(t *testing.T) {
	o := newOffice(t)
	conn, err := pgx.Connect(t.Context(), o.db)
	must(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	fill := func(from, to int) {
		_, err := conn.Exec(t.Context(), `INSERT INTO events (id, tenant_id, livemode, request_id, state, source, tags, provider, model_requested, model_used, input_tokens, cached_tokens, output_tokens,
				reasoning_tokens, cost_usd, cost_state, retry_count, decision, receipt_status, status_code, latency_ms, event_time, deadline, finalized_at, doc)
			SELECT 'evt_' || lpad(n::text, 26, '0'), $1, false, 'req_' || n, 'final', 'hosted', '{}', 'openai', 'm', 'm', 100, 0, 10, 0, 0.000123, 'priced', 0, 'approved', 'none', 200, 5,
				timestamptz '2027-03-01' + n * interval '1 second', '2027-03-01', timestamptz '2027-03-01' + n * interval '1 second', '{}' FROM generate_series($2::int, $3::int) n`, string(o.tenant), from, to)
		must(t, err)
	}
	peak := func(want int) uint64 {
		var e struct {
			Download string `json:"download"`
		}
		o.ask(http.MethodPost, "/exports", dict{"kind": "events", "format": "ndjson"}, &e)
		var most atomic.Uint64
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					most.Store(max(most.Load(), m.HeapInuse))
				}
			}
		}()
		rows, sum := o.count(e.Download)
		close(stop)
		<-done
		if rows != want || sum == "" {
			t.Fatalf("%d rows of %d, digest %q", rows, want, sum)
		}
		return most.Load()
	}
	fill(1, 10_000)
	runtime.GC()
	small := peak(10_000)
	fill(10_001, 100_000)
	runtime.GC()
	large := peak(100_000)
	if large > small+(24<<20) {
		t.Errorf("heap of %d MB for 10,000 rows and %d MB for 100,000", small>>20, large>>20)
	}
}

func TestDownloadsRepeatAndBelongToOneTenant(t *testing.T) {
	t.Parallel()
	o := aMarch(t)
	var e dict
	o.ask(http.MethodPost, "/exports", dict{"kind": "payments"}, &e)
	first, trailer := o.fetch(e["download"].(string))
	o.sale(march.AddDate(0, 1, 5), 5) // after the export was asked for
	second, _ := o.fetch(e["download"].(string))
	if first != second || trailer.Get("P402-Rows") != "3" {
		t.Errorf("the same export differs, or has %s rows", trailer.Get("P402-Rows"))
	}
	var stored struct {
		State  string `json:"state"`
		Rows   int    `json:"row_count"`
		SHA256 string `json:"sha256"`
	}
	o.ask(http.MethodGet, "/exports/"+e["export_id"].(string), nil, &stored)
	if stored.State != "downloaded" || stored.Rows != 3 || stored.SHA256 != digestOf([]byte(first)) {
		t.Errorf("%+v", stored)
	}
	other, err := o.EnsureTenant(t.Context(), "other", "Other")
	must(t, err)
	o.key, _, err = o.CreateKey(t.Context(), store.NewKey{TenantID: other, Name: "k", Scopes: meter.AllScopes()})
	must(t, err)
	for _, path := range []string{"/exports/" + e["export_id"].(string), "/exports/" + e["export_id"].(string) + "/download", "/periods/2027-03", "/reconciliation/exceptions/exc_1", "/exports/..%2f..%2fetc%2fpasswd/download"} {
		if status := o.ask(http.MethodGet, path, nil, nil); status != http.StatusNotFound {
			t.Errorf("A2, A35: %s answered %d to a stranger", path, status)
		}
	}
	for _, body := range []dict{{"kind": "secrets"}, {"kind": "events", "format": "exe"}, {"kind": "events", "format": "hledger"}, {"kind": "events", "period": "2027-3"}, {"kind": "events", "columns": "all"}} {
		if status := o.ask(http.MethodPost, "/exports", body, nil); status != http.StatusBadRequest {
			t.Errorf("%v answered %d", body, status)
		}
	}
}

// ledgerOf is a strict reader of the two plain-text formats as we write them: every transaction balances, every account is
// declared before use, and every asserted balance is the sum of what stands above.
func ledgerOf(t *testing.T, text string, beancount bool) (transactions, asserted int) {
	t.Helper()
	declared, balances, sum, open := map[string]bool{}, map[string]money.USD{}, money.Zero, false
	account, posting := regexp.MustCompile(`^(?:account|\d{4}-\d\d-\d\d open) ([A-Z][A-Za-z:]+)(?: USD)?$`), regexp.MustCompile(`^  ([A-Z][A-Za-z:]+)  (?:USD )?(-?[0-9]+\.[0-9]+)(?: USD)?$`)
	assertion, balance := regexp.MustCompile(`^  ([A-Z][A-Za-z:]+)  USD 0 = USD (-?[0-9]+\.[0-9]+)$`), regexp.MustCompile(`^\d{4}-\d\d-\d\d balance ([A-Z][A-Za-z:]+)  (-?[0-9]+\.[0-9]+) ~ 0 USD$`)
	head := regexp.MustCompile(`^\d{4}-\d\d-\d\d \* .+`)
	meta := regexp.MustCompile(`^  (; [a-z_]+:.*|[a-z_]+: ".*")$`)
	end := func() {
		if open && !sum.IsZero() {
			t.Errorf("a transaction sums to %s", sum)
		}
		open, sum = false, money.Zero
	}
	check := func(name, want string) {
		if asserted++; balances[name].Cmp(money.MustUSD(want)) != 0 {
			t.Errorf("%s holds %s, asserted %s", name, balances[name], want)
		}
	}
	for n, line := range strings.Split(text, "\n") {
		switch m := posting.FindStringSubmatch(line); {
		case line == "":
			end()
		case strings.HasPrefix(line, ";") || strings.HasPrefix(line, "option ") || strings.HasPrefix(line, "commodity "):
		case account.MatchString(line):
			declared[account.FindStringSubmatch(line)[1]] = true
		case balance.MatchString(line) && beancount:
			m := balance.FindStringSubmatch(line)
			check(m[1], m[2])
		case head.MatchString(line):
			end()
			open = true
			transactions++
		case assertion.MatchString(line) && !beancount:
			m := assertion.FindStringSubmatch(line)
			check(m[1], m[2])
		case m != nil && open:
			if !declared[m[1]] {
				t.Errorf("line %d: account %s is not declared", n+1, m[1])
			}
			usd := money.MustUSD(m[2])
			sum, balances[m[1]] = sum.Add(usd), balances[m[1]].Add(usd)
		case meta.MatchString(line) && open:
		default:
			t.Fatalf("line %d is nothing: %q", n+1, line)
		}
	}
	end()
	return transactions, asserted
}

// The journals balance and their assertions hold: by our own strict reader always, and by the real programs where they are
// installed.
func TestJournalsLoadWithTheirAssertions(t *testing.T) {
	t.Parallel()
	o := aMarch(t)
	o.close("2027-03")
	o.late(march.AddDate(0, 0, 3), "0.25") // carried and late items too
	o.metered(march.AddDate(0, 1, 4), "4")
	o.clock.set(march.AddDate(0, 1, 9)) // an export holds what was recorded before it was asked for
	for _, period := range []string{"2027-03", "2027-04", ""} {
		for format, programs := range map[string][][]string{"hledger": {{"hledger", "-s", "-f", "", "check"}}, "beancount": {{"bean-check", ""}}} {
			text := o.export("journal", format, period)
			transactions, asserted := ledgerOf(t, text, format == "beancount")
			want := map[string]int{"2027-03": 5, "2027-04": 3, "": 7}[period]
			if format == "hledger" {
				want++ // the closing balances
			}
			if transactions != want || asserted != 12 {
				t.Errorf("%s of %q: %d transactions, want %d; %d assertions\n%s", format, period, transactions, want, asserted, text)
			}
			path := filepath.Join(t.TempDir(), "books")
			must(t, os.WriteFile(path, []byte(text), 0o600))
			for _, p := range programs {
				load(t, p, path)
			}
		}
	}
	if text := o.export("journal", "quickbooks", "2027-03"); lines(text) != 11 || !strings.HasPrefix(text, "*JournalNo,*JournalDate") {
		t.Errorf("quickbooks: %s", text)
	}
	if text := o.export("journal", "xero", "2027-03"); lines(text) != 11 || !strings.HasPrefix(text, "*Narration,*Date") {
		t.Errorf("xero: %s", text)
	}
}

func load(t *testing.T, command []string, path string) {
	t.Helper()
	program, err := exec.LookPath(command[0])
	if err != nil {
		t.Logf("%s is not installed; only our own reader has checked", command[0])
		return
	}
	args := append([]string(nil), command[1:]...)
	for i := range args {
		if args[i] == "" {
			args[i] = path
		}
	}
	if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
		t.Errorf("%s refuses the file: %v\n%s", command[0], err, out)
	}
}
