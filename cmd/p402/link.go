package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/store"
)

// link prints a one-time address that signs in to the pages: the first way in, and the last for who lost every other.
func link(ctx context.Context, args []string) error {
	f := flags("link", "p402 link prints a one-time sign-in link to the pages. Without --email it is the set-up link, which signs in as owner; with it, the\nlink of a member, whose password and second factor end with that.")
	path := configFlag(f)
	tenant := f.String("tenant", "default", "the tenant's slug; it is made if there is none")
	email := f.String("email", "", "the member's address")
	base := f.String("url", "http://127.0.0.1:8402", "where the gateway is reached")
	valid := f.Duration("valid", time.Hour, "how long the link waits to be followed")
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
	var member id.Member
	if *email != "" {
		known, err := db.Credential(ctx, strings.ToLower(*email))
		if err != nil {
			return err
		}
		if known.TenantID != owner {
			return fault.New(fault.KindNotFound, "NOT_FOUND", "no member of this tenant signs in with this address")
		}
		member = known.MemberID
		if err := db.ResetMember(ctx, owner, member); err != nil {
			return err
		}
	}
	token, err := db.CreateSignInLink(ctx, owner, member, *valid)
	if err == nil {
		fmt.Printf("%s/sign-in/%s  (works once, for %s)\n", strings.TrimSuffix(*base, "/"), token, *valid)
	}
	return err
}
