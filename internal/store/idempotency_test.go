package store_test

import (
	"errors"
	"testing"
	"time"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/pgtest"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// An idempotency key's whole life, by the clock: running, answered, cut off, forgotten.
func TestA42_AnIdempotencyKeysLife(t *testing.T) {
	t.Parallel()
	now := clock()
	ids := id.NewSource(clock)
	db, err := store.New(t.Context(), pgtest.New(t, store.Migrate), store.Options{Now: func() time.Time { return now }, IDs: ids})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Shutdown() })
	tenant, err := db.EnsureTenant(t.Context(), "acme", "Acme")
	if err != nil {
		t.Fatal(err)
	}
	_, info, err := db.CreateKey(t.Context(), store.NewKey{TenantID: tenant, Name: "k", Scopes: meter.AllScopes()})
	if err != nil {
		t.Fatal(err)
	}
	claim := store.IdempotentClaim{TenantID: tenant, KeyID: info.ID, Key: "k1", Digest: [32]byte{1}}
	begin := func(c store.IdempotentClaim, want error, answer string) {
		t.Helper()
		got, err := db.BeginIdempotent(t.Context(), c)
		switch {
		case want == nil && err != nil, want != nil && !errors.Is(err, want):
			t.Fatalf("got %v, want %v", err, want)
		case (got != nil) != (answer != "") || got != nil && string(got.Body) != answer:
			t.Fatalf("got the answer %v, want %q", got, answer)
		}
	}
	other := claim
	other.Digest[0] = 2
	begin(claim, nil, "")
	begin(claim, store.ErrIdempotencyRunning, "")
	begin(other, store.ErrIdempotencyConflict, "")
	if err := db.EndIdempotent(t.Context(), claim, store.IdempotentAnswer{Status: 201, Body: []byte("done")}); err != nil {
		t.Fatal(err)
	}
	begin(claim, nil, "done")
	if err := db.DropIdempotent(t.Context(), claim); err != nil { // an answered claim is not given back
		t.Fatal(err)
	}
	begin(claim, nil, "done")

	cut := claim
	cut.Key = "k2"
	begin(cut, nil, "")
	now = now.Add(time.Minute) // the process died meanwhile
	begin(cut, store.ErrIdempotencyNotKept, "")
	begin(claim, nil, "done")
	now = clock().Add(24*time.Hour - time.Microsecond)
	begin(claim, nil, "done")
	now = clock().Add(24 * time.Hour)
	begin(other, nil, "") // forgotten: another request may use it
}
