package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"p402.io/p402/internal/money"
)

func errJoin(errs ...error) error { return errors.Join(errs...) }

// line is what the ledger says of one mark.
type line struct {
	Mark, ID, State, CostState, Decision, Customer string
	Input, Output                                  int64
	Cost, Reserved                                 *string
}

func (w *world) query(ctx context.Context, do func(c *pgx.Conn) error) error {
	c, err := pgx.Connect(ctx, w.database)
	if err != nil {
		return err
	}
	return errJoin(do(c), c.Close(ctx))
}

func (w *world) count(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = w.query(ctx, func(c *pgx.Conn) error { return c.QueryRow(ctx, query, args...).Scan(&n) })
	return n, err
}

func (w *world) ledger(ctx context.Context) (map[string][]line, error) {
	out := map[string][]line{}
	err := w.query(ctx, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, `SELECT session_id, id, state, cost_state, decision, customer_id, input_tokens, output_tokens, cost_usd::text, doc->>'ReservedUSD'
			FROM events WHERE tenant_id = $1`, w.tenant)
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[line])
		for _, l := range list {
			out[l.Mark] = append(out[l.Mark], l)
		}
		return err
	})
	return out, err
}

// The rates of mock-small, in dollars a token, as the vendor publishes them: the auditor multiplies for itself.
const inputRate, outputRate = "0.00000015", "0.0000006"

func price(input, output int64) money.USD {
	return money.MustUSD(inputRate).MulInt(input).Add(money.MustUSD(outputRate).MulInt(output))
}

// audit compares the vendor's log, the callers' log and the ledger, and the budgets with all of them.
func (w *world) audit(ctx context.Context) error {
	ledger, err := w.ledger(ctx)
	if err != nil {
		return err
	}
	bad := map[string][]string{}
	note := func(kind, format string, args ...any) { bad[kind] = append(bad[kind], fmt.Sprintf(format, args...)) }
	for mark, b := range w.vendor.log {
		lines := ledger[mark]
		switch {
		case len(lines) == 0:
			note("lost", "%s: the vendor served it, the ledger has nothing", mark)
		case len(lines) > 1 || b.Times > 1:
			note("doubled", "%s: %d events, %d times at the vendor", mark, len(lines), b.Times)
		}
	}
	exact, estimated := 0, 0
	for mark, lines := range ledger {
		for _, l := range lines {
			if w.judge(mark, l, note) {
				exact++
			} else {
				estimated++
			}
		}
	}
	answered := 0
	for mark, s := range w.load.log {
		if s.Status != 200 {
			continue
		}
		answered++
		i := slices.IndexFunc(ledger[mark], func(l line) bool { return l.ID == s.EventID })
		switch {
		case i < 0:
			note("lost", "%s: answered as %s, which is not in the ledger", mark, s.EventID)
		case s.Whole && ledger[mark][i].State != "final":
			note("lost", "%s: answered whole, yet the ledger says %s", mark, ledger[mark][i].State)
		}
	}
	if err := w.budgets(ctx, note); err != nil {
		return err
	}
	v, err := w.db.VerifyLedger(ctx, w.tenant, nil)
	if err != nil {
		return err
	}
	for _, f := range v.Findings {
		note("broken", "%+v", f)
	}
	fmt.Printf("\ncalls sent %d, answered %d, at the vendor %d, in the ledger %d (exact %d, estimated %d), chain %d rows\n", len(w.load.log), answered,
		len(w.vendor.log), len(ledger), exact, estimated, v.Rows)
	total := 0
	for _, kind := range []string{"lost", "doubled", "overcharged", "leaked", "overspent", "broken"} {
		fmt.Printf("%-12s %d\n", kind, len(bad[kind]))
		total += len(bad[kind])
		for _, text := range bad[kind][:min(len(bad[kind]), 5)] {
			fmt.Println("   ", text)
		}
	}
	if total > 0 {
		return fmt.Errorf("%d findings", total)
	}
	return nil
}

// judge holds one event against the vendor's bill; exact says that its cost is stated as certain.
func (w *world) judge(mark string, l line, note func(kind, format string, args ...any)) (exact bool) {
	b, asked := w.vendor.log[mark]
	owed, cost := money.Zero, money.Zero
	if asked {
		owed = price(b.Input, b.Output)
	}
	if l.Cost != nil {
		cost = money.MustUSD(*l.Cost)
	}
	exact = l.CostState == "priced" || l.CostState == "reported"
	switch {
	case l.State == "intent":
		note("leaked", "%s: %s is open", mark, l.ID)
	case exact && asked && l.State == "final" && (cost.Cmp(owed) != 0 || l.Input != b.Input || l.Output != b.Output):
		note("overcharged", "%s: costs %s for %d and %d tokens, the vendor bills %s for %d and %d", mark, cost, l.Input, l.Output, owed, b.Input, b.Output)
	case exact && cost.Cmp(owed) > 0:
		note("overcharged", "%s: costs %s, the vendor bills %s", mark, cost, owed)
	case !exact && l.Reserved != nil && cost.Cmp(money.MustUSD(*l.Reserved)) > 0:
		note("overcharged", "%s: estimated at %s, more than the %s that were reserved", mark, cost, *l.Reserved)
	}
	return exact
}

// budgets: nothing reserved at rest, nothing above a limit, and spent is what the events say.
func (w *world) budgets(ctx context.Context, note func(kind, format string, args ...any)) error {
	list, err := w.db.Budgets(ctx, w.tenant)
	if err != nil {
		return err
	}
	for _, b := range list {
		if b.Reserved.USD.Sign() != 0 || b.Reserved.Events != 0 || b.Reserved.Tokens != 0 {
			note("leaked", "budget %s has %+v reserved at rest", b.Name, b.Reserved)
		}
		if b.LimitUSD != nil && b.Spent.USD.Cmp(*b.LimitUSD) > 0 || b.LimitEvents != nil && b.Spent.Events > *b.LimitEvents {
			note("overspent", "budget %s: %+v spent", b.Name, b.Spent)
		}
		var usd string
		var events int64
		if err := w.query(ctx, func(c *pgx.Conn) error {
			return c.QueryRow(ctx, `SELECT coalesce(sum(cost_usd), 0)::text, count(*) FROM events WHERE tenant_id = $1 AND decision <> 'denied' AND ($2 = 'wide' OR customer_id = $2)`,
				w.tenant, b.Name).Scan(&usd, &events)
		}); err != nil {
			return err
		}
		if b.Spent.USD.Cmp(money.MustUSD(usd)) != 0 || b.Spent.Events != events {
			note("leaked", "budget %s has %+v spent, its events say %s in %d", b.Name, b.Spent, usd, events)
		}
	}
	left, err := w.count(ctx, "SELECT count(*) FROM reservations")
	if err == nil && left != 0 {
		note("leaked", "%d reservations at rest", left)
	}
	return err
}
