package store_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"p402.io/p402/gateway/call"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/journal"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/pgtest"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// ledger is a house whose database can be reached behind its back.
type ledger struct {
	house
	url  string
	conn *pgx.Conn
}

func newLedger(t *testing.T) ledger {
	t.Helper()
	ids := id.NewSource(clock)
	url := pgtest.New(t, store.Migrate)
	db, err := store.New(t.Context(), url, store.Options{Now: clock, IDs: ids})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Shutdown() })
	tenant, err := db.EnsureTenant(t.Context(), "acme", "Acme")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return ledger{house{db, ids, tenant}, url, conn}
}

// fill runs calls with owners, costs and outcomes; it returns the events' ids in the order they were closed.
func (l ledger) fill(t *testing.T, calls int) []string {
	t.Helper()
	var out []string
	at, cost := clock(), money.MustUSD("0.000000000000000001")
	for i := range calls {
		e := l.event()
		e.Attribution = meter.Attribution{Dimensions: map[string]string{meter.DimWorkflow: "w", meter.DimCustomer: fmt.Sprintf("customer-%d", i%3), meter.DimEmployee: "ann"}}
		if i%4 == 0 {
			e.Attribution = meter.Attribution{}
		}
		if err := l.Open(t.Context(), call.Opening{Event: e}); err != nil {
			t.Fatal(err)
		}
		e.State, e.FinalizedAt, e.CostUSD, e.CostState = meter.EventFinal, &at, &cost, meter.CostPriced
		if err := l.Close(t.Context(), call.Closing{Event: e, Actual: meter.Amount{USD: cost, Events: 1},
			Entries: journal.Move(journal.AccountCostOfCalls, journal.AccountProviderOwed, cost, "call")}); err != nil {
			t.Fatal(err)
		}
		if err := l.Deliver(t.Context(), call.Delivery{EventID: e.ID, Tenant: l.tenant, At: at, Bytes: 7, Whole: true}); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := l.RecordOutcome(t.Context(), l.tenant, meter.Outcome{EventID: e.ID, Outcome: "accepted", OutcomeType: "request_completion", Source: "api", OccurredAt: at}); err != nil {
			t.Fatal(err)
		}
		out = append(out, string(e.ID))
	}
	return out
}

// behind runs SQL as somebody who owns the disk: no trigger speaks.
func (l ledger) behind(t *testing.T, query string, args ...any) {
	t.Helper()
	if _, err := l.conn.Exec(t.Context(), "SET session_replication_role = replica"); err != nil {
		t.Fatal(err)
	}
	tag, err := l.conn.Exec(t.Context(), query, args...)
	if err != nil || tag.RowsAffected() == 0 {
		t.Fatalf("%s: %v, %d rows", query, err, tag.RowsAffected())
	}
}

func (l ledger) head(t *testing.T) meter.LedgerHead {
	t.Helper()
	h, err := l.LedgerHead(t.Context(), l.tenant)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (l ledger) verify(t *testing.T, known *meter.LedgerHead) store.Verified {
	t.Helper()
	v, err := l.VerifyLedger(t.Context(), l.tenant, known)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// tampering is one way of laying hands on the ledger behind the house's back; ref is part of the name of what was touched.
type tampering struct {
	name, what string
	do         func(t *testing.T, l ledger, events []string) (ref string)
}

func tamperings() []tampering {
	return []tampering{
		{"a cost is edited", "altered", func(t *testing.T, l ledger, e []string) string {
			l.behind(t, "UPDATE events SET cost_usd = 0 WHERE id = $1", e[4])
			return e[4]
		}},
		{"the document is edited", "altered", func(t *testing.T, l ledger, e []string) string {
			l.behind(t, `UPDATE events SET doc = jsonb_set(doc, '{CostUSD}', '"0"') WHERE id = $1`, e[4])
			return e[4]
		}},
		{"an owner is exchanged", "altered", func(t *testing.T, l ledger, e []string) string {
			l.behind(t, "UPDATE events SET customer_id = 'customer-2' WHERE id = $1 AND customer_id <> 'customer-2'", e[7])
			return e[7]
		}},
		{"an owner is taken away", "altered", func(t *testing.T, l ledger, e []string) string {
			l.behind(t, "UPDATE events SET employee = NULL WHERE id = $1", e[5])
			return e[5]
		}},
		{"an event is deleted", "removed", func(t *testing.T, l ledger, e []string) string {
			l.behind(t, "DELETE FROM events WHERE id = $1", e[9])
			return e[9]
		}},
		{"an event is inserted", "inserted", func(t *testing.T, l ledger, e []string) string {
			l.behind(t, `INSERT INTO events SELECT (jsonb_populate_record(e, '{"id": "evt_made_up", "request_id": "made_up", "completion_id": null}')).* FROM events e WHERE id = $1`, e[3])
			return "evt_made_up"
		}},
		{"two events change places", "reordered", func(t *testing.T, l ledger, e []string) string {
			l.behind(t, "UPDATE ledger_blocks SET refs = array_replace(array_replace(array_replace(refs, $1, 'x'), $2, $1), 'x', $2)", e[1], e[2])
			return e[2]
		}},
		{"an entry of the journal is edited", "altered", func(t *testing.T, l ledger, e []string) string {
			l.behind(t, "UPDATE journal_entries SET amount_usd = 2 * amount_usd WHERE posting = $1", e[6])
			return e[6]
		}},
		{"an entry is added to a posting", "inserted", func(t *testing.T, l ledger, e []string) string {
			l.behind(t, "INSERT INTO journal_entries (tenant_id, posting, account, amount_usd, ref, posted_at, effective_at, fx) SELECT tenant_id, posting, account, 0, ref, posted_at, effective_at, fx FROM journal_entries WHERE posting = $1 LIMIT 1", e[6])
			return e[6]
		}},
		{"an outcome is turned", "altered", func(t *testing.T, l ledger, e []string) string {
			l.behind(t, "UPDATE outcomes SET outcome = 'failed' WHERE event_id = $1", e[8])
			return e[8]
		}},
		{"a leaf is made to fit", "broken", func(t *testing.T, l ledger, _ []string) string {
			l.behind(t, "UPDATE ledger_blocks SET hashes = overlay(hashes PLACING '\\x00' FROM 40)")
			return ""
		}},
		{"a block is deleted", "removed", func(t *testing.T, l ledger, _ []string) string {
			l.behind(t, "DELETE FROM ledger_blocks WHERE number = 2")
			return ""
		}},
		{"a signature is replaced", "broken", func(t *testing.T, l ledger, _ []string) string {
			l.behind(t, "UPDATE ledger_blocks SET signature = overlay(signature PLACING '\\x00ff' FROM 9) WHERE number = 1")
			return ""
		}},
	}
}

// Every way of laying hands on the ledger is found, and the row that was touched is named.
func TestO16_TestA157_TamperingIsFoundAndNamed(t *testing.T) {
	t.Parallel()
	for _, c := range tamperings() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLedger(t)
			events := l.fill(t, 10)
			l.head(t)
			l.fill(t, 2)
			l.head(t)
			l.fill(t, 2)
			l.head(t)
			if v := l.verify(t, nil); len(v.Findings) != 0 || v.Blocks < 3 || v.Waiting != 0 || v.Rows != v.Head.Size || v.Rows < 14*3 {
				t.Fatalf("before: %+v", v)
			}
			ref := c.do(t, l, events)
			v := l.verify(t, nil)
			if len(v.Findings) == 0 || v.Findings[0].What != c.what || !strings.Contains(v.Findings[0].Ref, ref) {
				t.Fatalf("findings %+v; want %s of %q first", v.Findings, c.what, ref)
			}
		})
	}
}

// Who rewrites the whole chain with the installation's own key is found by a head that was kept elsewhere.
func TestO16_AKeptHeadFindsAChainThatWasWrittenAnew(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	events := l.fill(t, 6)
	kept := l.head(t)
	l.behind(t, "UPDATE events SET cost_usd = 0 WHERE id = $1", events[0])
	l.behind(t, "WITH gone AS (DELETE FROM ledger_blocks RETURNING *) INSERT INTO ledger_queue (tenant_id, kind, ref) SELECT tenant_id, unnest(kinds), unnest(refs) FROM gone")
	l.head(t)
	if v := l.verify(t, nil); len(v.Findings) != 0 {
		t.Fatalf("the rewritten chain is whole by itself: %+v", v.Findings)
	}
	if v := l.verify(t, &kept); len(v.Findings) != 1 || v.Findings[0].What != "broken" {
		t.Fatalf("findings %+v", v.Findings)
	}
	l.behind(t, "DELETE FROM ledger_blocks")
	l.behind(t, "DELETE FROM events")
	if v := l.verify(t, &kept); len(v.Findings) == 0 || v.Findings[0].What != "removed" {
		t.Fatalf("an emptied ledger: %+v", v.Findings)
	}
}

// Notes beside an event, an event that is open, and rows not sealed yet are no tampering.
func TestO16_WhatMayChangeDoesNotBreakTheChain(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	events := l.fill(t, 3)
	l.head(t)
	if _, _, _, err := l.RecordOutcome(t.Context(), l.tenant, meter.Outcome{EventID: id.Event(events[0]), Outcome: "failed", OutcomeType: "request_completion", Source: "api", OccurredAt: clock()}); err != nil {
		t.Fatal(err)
	}
	if err := l.Open(t.Context(), call.Opening{Event: l.event()}); err != nil {
		t.Fatal(err)
	}
	if v := l.verify(t, nil); len(v.Findings) != 0 || v.Waiting != 1 {
		t.Fatalf("%+v", v)
	}
}

// Two sealers at once, and heads asked for meanwhile: one chain, every row once.
func TestO16_ManySealersMakeOneChain(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	done := make(chan error, 3)
	for range cap(done) {
		go func() {
			var err error
			for range 20 {
				if _, e := (&store.Sealer{Store: l.Store}).Step(t.Context()); e != nil {
					err = e
				}
			}
			done <- err
		}()
	}
	l.fill(t, 30)
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if head, v := l.head(t), l.verify(t, nil); len(v.Findings) != 0 || v.Rows != head.Size || v.Rows < 90 {
		t.Errorf("%+v", v)
	}
}

func TestA157_AProofHoldsAgainstItsHeadAndNothingElse(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	events := l.fill(t, 9)
	key, err := l.LedgerKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int64]bool{}
	for _, event := range events {
		p, err := l.LedgerProof(t.Context(), l.tenant, id.Event(event))
		if err != nil || p.Ref != event || seen[p.Seq] || p.Check(key) != nil {
			t.Fatalf("%s: %+v %v", event, p, err)
		}
		seen[p.Seq] = true
		raw, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back meter.LedgerProof
		if err := json.Unmarshal(raw, &back); err != nil || back.Check(key) != nil {
			t.Fatalf("as JSON: %v", err)
		}
		wrong := p
		wrong.Seq++
		other := p
		other.Index = (p.Index + 1) % p.Head.Leaves
		if wrong.Check(key) == nil || other.Check(key) == nil {
			t.Error("a proof for another place holds")
		}
	}
	stranger, err := l.EnsureTenant(t.Context(), "other", "Other")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.LedgerProof(t.Context(), stranger, id.Event(events[0])); err == nil {
		t.Error("another tenant gets a proof")
	}
}

// A dump taken of a running ledger and restored elsewhere has the same head, verifies, and goes on.
func TestO18_BackupAndRestoreKeepTheHead(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	l.fill(t, 5)
	head := l.head(t)
	l.fill(t, 2) // not sealed when the dump is taken
	copied := pgtest.New(t, nil)
	dump(t, l.url, copied)
	db, err := store.New(t.Context(), copied, store.Options{Now: clock, IDs: l.ids})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Shutdown() })
	v, err := db.VerifyLedger(t.Context(), l.tenant, &head)
	if err != nil || len(v.Findings) != 0 || v.Head != head || v.Waiting < 6 {
		t.Fatalf("restored: %+v %v; want head %+v", v, err, head)
	}
	restored, err := db.LedgerHead(t.Context(), l.tenant)
	if err != nil || restored.Size != head.Size+v.Waiting || restored.Previous != head.Head {
		t.Fatalf("the restored ledger goes on at %+v, %v", restored, err)
	}
	if v, err := db.VerifyLedger(t.Context(), l.tenant, &head); err != nil || len(v.Findings) != 0 {
		t.Fatalf("%+v %v", v, err)
	}
}

// dump copies a database with pg_dump and psql, as operators do.
func dump(t *testing.T, from, to string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ledger.sql")
	for _, run := range [][]string{{"pg_dump", "--no-owner", "--file", file, from}, {"psql", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", file, to}} {
		if out, err := exec.CommandContext(t.Context(), tool(t, run[0]), run[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v %.400s", run[0], err, out)
		}
	}
}

// tool finds one of PostgreSQL's programs where servers are usually installed.
func tool(t *testing.T, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(found) == 0 {
		if dir := os.Getenv("P402_PG_BIN"); dir != "" {
			return filepath.Join(dir, name)
		}
		t.Fatalf("%s is not installed: PostgreSQL's client programs are needed for this test", name)
	}
	return found[len(found)-1]
}
