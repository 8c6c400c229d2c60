package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// verifyLedger reads the database itself: every row against the chain, for one tenant or for all.
func verifyLedger(ctx context.Context, args []string) error {
	f := flags("verify ledger", `p402 verify ledger holds every row of the ledger against its hash chain and names what was altered, removed, inserted or re-ordered.
With --head, a head kept from elsewhere (GET /api/v2/ledger/head, a closing), a chain that was written anew is found as well.`)
	path := configFlag(f)
	tenant := f.String("tenant", "", "the tenant's slug; left out: every tenant")
	headFile := f.String("head", "", "file with a head that was kept")
	if err := f.Parse(args); err != nil {
		return err
	}
	var known *meter.LedgerHead
	if *headFile != "" {
		raw, err := os.ReadFile(*headFile)
		if err != nil {
			return err
		}
		known = &meter.LedgerHead{}
		if err := json.Unmarshal(raw, known); err != nil {
			return fmt.Errorf("%s is not a ledger head: %w", *headFile, err)
		}
	}
	url, err := databaseURL(*path)
	if err != nil {
		return err
	}
	db, err := store.New(ctx, url, store.Options{Now: now, IDs: id.NewSource(now)})
	if err != nil {
		return err
	}
	defer func() { _ = db.Shutdown() }() // nothing is pending
	tenants, err := db.Tenants(ctx)
	if err != nil {
		return err
	}
	bad, seen := 0, 0
	for _, t := range tenants {
		if *tenant != "" && t.Slug != *tenant {
			continue
		}
		seen++
		kept := known
		if known != nil && known.TenantID != t.ID {
			kept = nil
		}
		v, err := db.VerifyLedger(ctx, t.ID, kept)
		if err != nil {
			return fmt.Errorf("ledger of %s: %w", t.Slug, err)
		}
		bad += len(v.Findings)
		sayVerified(t.Slug, v)
	}
	switch {
	case seen == 0:
		return fmt.Errorf("there is no tenant %q", *tenant)
	case bad > 0:
		return fmt.Errorf("the ledger is not what it was: %d findings", bad)
	}
	return nil
}

func sayVerified(slug string, v store.Verified) {
	if len(v.Findings) == 0 {
		fmt.Printf("whole   %s: %d rows in %d blocks, %d waiting, head %s\n", slug, v.Rows, v.Blocks, v.Waiting, v.Head.Head)
		return
	}
	for _, t := range v.Findings {
		fmt.Printf("BROKEN  %s: %s", slug, t.What)
		if t.Ref != "" {
			fmt.Printf(" %s %s", t.Kind, t.Ref)
		}
		if t.Seq > 0 {
			fmt.Printf(", row %d", t.Seq)
		}
		if t.Block > 0 {
			fmt.Printf(", block %d", t.Block)
		}
		fmt.Printf(": %s\n", t.Says)
	}
}

// databaseURL is all that tools on the database need of the configuration; a vendor need not be set.
func databaseURL(path string) (string, error) {
	if url, ok := os.LookupEnv("P402_DATABASE_URL"); ok && path == "" {
		return url, nil
	}
	cfg, err := loadConfig(path)
	if err != nil {
		return "", errors.Join(errors.New("verify ledger reads the database itself"), err)
	}
	return cfg.DatabaseURL, nil
}
