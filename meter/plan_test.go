package meter

import (
	"testing"
	"time"
)

// O20: notice, grace of 72 hours or 120 %, denial; a paid plan never stops, and one's own installation has no gate.
func TestO20_APlansCap(t *testing.T) {
	t.Parallel()
	now := time.Date(2027, 1, 20, 12, 0, 0, 0, time.UTC)
	at := func(ago time.Duration) *time.Time { then := now.Add(-ago); return &then }
	for _, c := range []struct {
		name    string
		plan    string
		used    int64
		reached *time.Time
		want    PlanState
		notice  int
	}{
		{"little used", "sandbox", 12_499, nil, PlanOK, 0},
		{"half", "sandbox", 12_500, nil, PlanNotice, 50},
		{"one before the last", "sandbox", 24_999, nil, PlanNotice, 80},
		{"the last a moment ago", "sandbox", 25_000, at(0), PlanGrace, 100},
		{"the grace's last second", "sandbox", 25_001, at(72*time.Hour - time.Second), PlanGrace, 100},
		{"the grace is over", "sandbox", 25_001, at(72 * time.Hour), PlanCapped, 100},
		{"one before 120 %", "sandbox", 29_999, at(time.Hour), PlanGrace, 100},
		{"120 %", "sandbox", 30_000, at(time.Hour), PlanCapped, 120},
		{"a paid plan far beyond", "build", 25_000_000, at(1000 * time.Hour), PlanNotice, 120},
		{"one's own", PlanSelfHosted, 1 << 50, at(1000 * time.Hour), PlanOK, 0},
	} {
		p, ok := FindPlan(c.plan)
		u := PlanUse{Plan: p, Used: c.used, ReachedAt: c.reached}
		if got := u.State(now); !ok || got != c.want || u.Notice() != c.notice {
			t.Errorf("%s: %s at %d %%, want %s at %d", c.name, got, u.Notice(), c.want, c.notice)
		}
		d := Decision{Verdict: VerdictAllow}
		d.judgePlan(Standing{Plan: &u}, now)
		if denied := len(d.Hits) == 1 && d.Hits[0].Code == "PLAN_CAP_EXCEEDED"; denied != (c.want == PlanCapped) {
			t.Errorf("%s: hits %v", c.name, d.Hits)
		}
		if (d.PlanNotice != "") != (c.want == PlanNotice || c.want == PlanGrace) {
			t.Errorf("%s: notice %q", c.name, d.PlanNotice)
		}
	}
	build, _ := FindPlan("build")
	for used, want := range map[int64]string{250_000: "0", 250_001: "0.25", 251_000: "0.25", 251_001: "0.5"} {
		if got := (PlanUse{Plan: build, Used: used}).Overage().String(); got != want {
			t.Errorf("%d events: overage %s, want %s", used, got, want)
		}
	}
	if got := (PlanUse{Plan: build, Used: 195}).Projected(now); got == nil || *got != 310 {
		t.Errorf("195 in 19.5 days of 31 project %v", got)
	}
}
