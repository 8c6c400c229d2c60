package main

import (
	"context"
	"fmt"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// plan shows a tenant's plan and use, or changes the plan: the operator's act, as no checkout does it.
func plan(ctx context.Context, args []string) error {
	f := flags("plan", "p402 plan shows what a tenant has used of its plan this month; --set changes the plan.")
	path := configFlag(f)
	tenant := f.String("tenant", "default", "the tenant's slug; it is made if there is none")
	change := f.String("set", "", "sandbox, build, growth, scale, enterprise or self_hosted")
	if err := f.Parse(args); err != nil {
		return err
	}
	cfg, err := loadConfig(*path)
	if err != nil {
		return err
	}
	db, err := store.New(ctx, cfg.DatabaseURL, store.Options{Now: now, IDs: id.NewSource(now)})
	if err != nil {
		return err
	}
	defer func() { _ = db.Shutdown() }() // nothing is pending
	owner, err := db.EnsureTenant(ctx, *tenant, *tenant)
	if err != nil {
		return err
	}
	if *change != "" {
		if _, ok := meter.FindPlan(*change); !ok {
			return fault.Field(fault.KindInvalid, "INVALID_INPUT", "set", "is no plan")
		}
		if err := db.SetPlan(ctx, owner, *change); err != nil {
			return err
		}
	}
	u, err := db.PlanUse(ctx, owner)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %s, %d of %d events this month, %s\n", *tenant, u.Plan.Name, u.Used, u.Plan.Events, u.State(now()))
	return nil
}
