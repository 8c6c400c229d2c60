package store_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/pgtest"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// O20: the cap is what the ledger holds: denied, test and last month's events are free, and when the last included one was used
// is its own time.
func TestO20_TheCapIsCountedFromTheLedger(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t, store.Migrate)
	db, err := store.New(t.Context(), url, store.Options{Now: clock, IDs: id.NewSource(clock)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Shutdown() })
	tenant, err := db.EnsureTenant(t.Context(), "acme", "Acme")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close(t.Context()) }()
	fill := func(n int, live bool, decision string, first time.Time, step time.Duration) {
		t.Helper()
		if _, err := raw.Exec(t.Context(), `INSERT INTO events (id, tenant_id, livemode, request_id, state, source, tags, model_requested, input_tokens, cached_tokens, output_tokens, reasoning_tokens,
			cost_state, retry_count, decision, receipt_status, status_code, latency_ms, event_time, deadline, finalized_at, doc)
			SELECT 'evt_' || gen_random_uuid(), $1, $2, gen_random_uuid(), 'final', 'hosted', '{}', 'm', 0, 0, 0, 0, 'priced', 0, $3, 'none', 200, 1,
			$4::timestamptz + n * $5::interval, now(), now(), '{}' FROM generate_series(0, $6::int) AS n`, string(tenant), live, decision, first, step, n-1); err != nil {
			t.Fatal(err)
		}
	}
	now := clock()
	begin, _ := meter.PlanMonth(now)
	fill(24_999, true, "approved", begin, 10*time.Second)
	fill(500, true, "denied", begin, time.Second)
	fill(500, false, "approved", begin, time.Second)
	fill(500, true, "approved", begin.Add(-time.Hour), time.Second)
	caller := meter.Caller{TenantID: tenant, Livemode: true}
	standing := func(c meter.Caller, plan string) *meter.PlanUse {
		t.Helper()
		if err := db.SetPlan(t.Context(), tenant, plan); err != nil { // it also forgets the count
			t.Fatal(err)
		}
		s, _, err := db.Standing(t.Context(), c, meter.Request{})
		if err != nil {
			t.Fatal(err)
		}
		return s.Plan
	}
	if u := standing(caller, "sandbox"); u == nil || u.Used != 24_999 || u.State(now) != meter.PlanNotice {
		t.Fatalf("one before the last: %+v", u)
	}
	fill(1, true, "warned", now.Add(-73*time.Hour), time.Second)
	u := standing(caller, "sandbox")
	if u.Used != 25_000 || u.ReachedAt == nil {
		t.Fatalf("the last: %+v", u)
	}
	if got := u.State(u.ReachedAt.Add(72*time.Hour - time.Second)); got != meter.PlanGrace {
		t.Errorf("within 72 hours: %s", got)
	}
	if got := u.State(u.ReachedAt.Add(72 * time.Hour)); got != meter.PlanCapped {
		t.Errorf("after 72 hours: %s", got)
	}
	fill(5_000, true, "approved", begin.Add(time.Second), 10*time.Second)
	if u := standing(caller, "sandbox"); u.Used != 30_000 || u.State(now) != meter.PlanCapped {
		t.Errorf("120 %%: %+v", u)
	}
	if u := standing(meter.Caller{TenantID: tenant}, "sandbox"); u != nil {
		t.Errorf("a test call is judged: %+v", u)
	}
	if u := standing(caller, meter.PlanSelfHosted); u != nil {
		t.Errorf("one's own installation has a gate: %+v", u)
	}
}
