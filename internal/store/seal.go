package store

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"gorm.io/gorm"

	"p402.io/p402/internal/crash"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/meter"
)

// maxLeaves bounds a block, and with it the memory of a sealing and the length of a proof.
const maxLeaves = 512

// LedgerKey is the public key that checks heads; the private one is made on first use and never leaves the store.
func (s *Store) LedgerKey(ctx context.Context) (ed25519.PublicKey, error) {
	key, err := s.ledgerKey(ctx)
	if err != nil {
		return nil, err
	}
	return key.Public().(ed25519.PublicKey), nil
}

func (s *Store) ledgerKey(ctx context.Context) (ed25519.PrivateKey, error) {
	seed, err := s.Secret(ctx, "ledger_ed25519", ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("the ledger's signing key: %w", err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// Sealer appends what has become a fact to the chains. Any number of nodes may run one: a tenant's chain has one writer at a time.
type Sealer struct {
	Store *Store
	Every time.Duration
	// Failed is told of a round that failed; the next one tries again.
	Failed func(err error)
}

// Run seals until ctx ends.
func (s *Sealer) Run(ctx context.Context) error {
	tick := time.NewTicker(s.Every)
	defer tick.Stop()
	for {
		if _, err := s.Step(ctx); err != nil && ctx.Err() == nil {
			s.Failed(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Step seals all that waits, of every tenant; it reports how many leaves that were.
func (s *Sealer) Step(ctx context.Context) (leaves int, err error) {
	tenants, err := s.Store.unsealed(ctx)
	if err != nil {
		return 0, err
	}
	for _, tenant := range tenants {
		n, err := s.Store.seal(ctx, tenant)
		if leaves += n; err != nil {
			return leaves, fmt.Errorf("seal the ledger of %s: %w", tenant, err)
		}
	}
	return leaves, nil
}

// unsealed names the tenants whose queue is not empty.
func (s *Store) unsealed(ctx context.Context) (tenants []id.Tenant, err error) {
	err = s.db.WithContext(ctx).Raw("SELECT DISTINCT tenant_id FROM ledger_queue ORDER BY 1").Scan(&tenants).Error
	return tenants, err
}

// seal appends blocks until a tenant's queue is empty.
func (s *Store) seal(ctx context.Context, tenant id.Tenant) (leaves int, err error) {
	key, err := s.ledgerKey(ctx)
	if err != nil {
		return 0, err
	}
	for {
		n := 0
		if err := s.tx(ctx, func(tx *gorm.DB) error {
			n, err = sealBlock(tx, tenant, key, s.now())
			return err
		}); err != nil {
			return leaves, err
		}
		crash.Point("seal.committed")
		if leaves += n; n < maxLeaves {
			return leaves, nil
		}
	}
}

// LedgerHead seals what waits and returns the signed head of a tenant's ledger: all that was committed before is under it.
func (s *Store) LedgerHead(ctx context.Context, tenant id.Tenant) (meter.LedgerHead, error) {
	if _, err := s.seal(ctx, tenant); err != nil {
		return meter.LedgerHead{}, err
	}
	return lastHead(s.db.WithContext(ctx), tenant)
}

// sealBlock takes the head of the queue and appends it as one block. The tenant's row is the lock: the next sealer waits.
func sealBlock(tx *gorm.DB, tenant id.Tenant, key ed25519.PrivateKey, now time.Time) (int, error) {
	crash.Point("seal.begin")
	if err := steady(tx); err != nil {
		return 0, err
	}
	if err := tx.Exec("SELECT id FROM tenants WHERE id = ? FOR NO KEY UPDATE", tenant).Error; err != nil {
		return 0, err
	}
	var names []leafName
	if err := tx.Raw(`WITH taken AS (DELETE FROM ledger_queue WHERE tenant_id = @tenant AND id IN
			(SELECT id FROM ledger_queue WHERE tenant_id = @tenant ORDER BY id LIMIT @limit) RETURNING id, kind, ref)
		SELECT kind, ref FROM taken ORDER BY id`, map[string]any{"tenant": tenant, "limit": maxLeaves}).Scan(&names).Error; err != nil || len(names) == 0 {
		return 0, err
	}
	rows, err := readFacts(tx, tenant, names)
	if err != nil {
		return 0, err
	}
	keys, err := personKeys(tx, tenant, rows, true)
	if err != nil {
		return 0, err
	}
	previous, err := lastHead(tx, tenant)
	if err != nil {
		return 0, err
	}
	b := block{leaves: make([]meter.Digest, 0, len(names))}
	for _, name := range names {
		row, there := rows[name]
		if !there { // queued and gone again: sealed as gone, so that the verifier names it
			row = factsRow{Ref: name.Ref, Facts: "gone"}
		}
		b.leaves = append(b.leaves, row.leaf(name.Kind, keys))
		b.kinds, b.refs = append(b.kinds, name.Kind), append(b.refs, name.Ref)
	}
	crash.Point("seal.block")
	b.LedgerHead = previous.Next(b.leaves, now, key)
	return len(names), b.insert(tx)
}

// steady makes the text of a row the same whatever the server's settings are.
func steady(tx *gorm.DB) error {
	return tx.Exec("SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'; SET LOCAL bytea_output = 'hex'").Error
}

// block is one row of ledger_blocks.
type block struct {
	meter.LedgerHead
	kinds, refs []string
	leaves      []meter.Digest
}

func (b block) insert(tx *gorm.DB) error {
	hashes := make([]byte, 0, len(b.leaves)*len(meter.Digest{}))
	for _, leaf := range b.leaves {
		hashes = append(hashes, leaf[:]...)
	}
	var digests [3][]byte
	for i, text := range []string{b.Root, b.Previous, b.Head} {
		d, err := meter.ParseDigest(text)
		if err != nil {
			return err
		}
		digests[i] = d[:]
	}
	signature, err := base64.RawURLEncoding.DecodeString(b.Signature)
	if err != nil {
		return err
	}
	kinds, err := jsonText(b.kinds)
	if err != nil {
		return err
	}
	refs, err := jsonText(b.refs)
	if err != nil {
		return err
	}
	return tx.Exec(`INSERT INTO ledger_blocks (tenant_id, number, version, first, leaves, kinds, refs, hashes, root, previous, head, key_id, signature, sealed_at)
		VALUES (?, ?, ?, ?, ?, ARRAY(SELECT jsonb_array_elements_text(?::jsonb)), ARRAY(SELECT jsonb_array_elements_text(?::jsonb)), ?, ?, ?, ?, ?, ?, ?)`,
		b.TenantID, b.Number, factsVersion, b.Size-int64(b.Leaves)+1, b.Leaves, kinds, refs, hashes, digests[0], digests[1], digests[2], b.KeyID, signature, b.SealedAt).Error
}

// blockRow reads a block back; lists come as JSON.
type blockRow struct {
	Number, First                int64
	Version, Leaves              int
	Kinds, Refs                  []byte
	Hashes, Root, Previous, Head []byte
	KeyID                        string
	Signature                    []byte
	SealedAt                     time.Time
}

const blockColumns = `number, first, version, leaves, array_to_json(kinds)::text AS kinds, array_to_json(refs)::text AS refs, hashes, root, previous, head, key_id, signature, sealed_at`

func (r blockRow) signed(tenant id.Tenant) meter.LedgerHead {
	return meter.LedgerHead{TenantID: tenant, Number: r.Number, Size: r.First + int64(r.Leaves) - 1, Leaves: r.Leaves, Root: fmt.Sprintf("%x", r.Root),
		Previous: fmt.Sprintf("%x", r.Previous), Head: fmt.Sprintf("%x", r.Head), SealedAt: r.SealedAt.UTC(), KeyID: r.KeyID,
		Signature: base64.RawURLEncoding.EncodeToString(r.Signature)}
}

// lastHead is the newest head, or the empty one.
func lastHead(tx *gorm.DB, tenant id.Tenant) (meter.LedgerHead, error) {
	var r blockRow
	res := tx.Raw("SELECT "+blockColumns+" FROM ledger_blocks WHERE tenant_id = ? ORDER BY number DESC LIMIT 1", tenant).Scan(&r)
	if res.Error != nil || res.RowsAffected == 0 {
		return meter.EmptyHead(tenant), res.Error
	}
	return r.signed(tenant), nil
}

var errUnsealed = fault.New(fault.KindConflict, "LEDGER_NOT_SEALED", "the event is not under a head yet: it is still open, or was closed a moment ago")

// LedgerProof shows that an event is under a signed head; event is its evt_ id. errUnsealed while it is not.
func (s *Store) LedgerProof(ctx context.Context, tenant id.Tenant, event id.Event) (meter.LedgerProof, error) {
	var closed *time.Time
	res := s.db.WithContext(ctx).Raw("SELECT finalized_at FROM events WHERE tenant_id = ? AND id = ?", tenant, event).Scan(&closed)
	switch {
	case res.Error != nil:
		return meter.LedgerProof{}, res.Error
	case res.RowsAffected == 0:
		return meter.LedgerProof{}, errNotFound
	case closed == nil:
		return meter.LedgerProof{}, errUnsealed
	}
	if _, err := s.seal(ctx, tenant); err != nil {
		return meter.LedgerProof{}, err
	}
	var r blockRow
	res = s.db.WithContext(ctx).Raw("SELECT "+blockColumns+` FROM ledger_blocks WHERE tenant_id = ? AND sealed_at >= ? AND ? = ANY (refs)
		ORDER BY sealed_at LIMIT 1`, tenant, closed.Add(-clockSpread), event).Scan(&r)
	if res.Error != nil {
		return meter.LedgerProof{}, res.Error
	}
	if res.RowsAffected == 0 {
		return meter.LedgerProof{}, errUnsealed
	}
	return r.proof(tenant, leafName{leafEvent, string(event)})
}

// clockSpread is how far the clock of the node that sealed may stand behind that of the node that closed.
const clockSpread = time.Hour

func jsonText(v any) (string, error) {
	raw, err := json.Marshal(v)
	return string(raw), err
}

// TenantInfo names a tenant.
type TenantInfo struct {
	ID   id.Tenant
	Slug string
}

// Tenants lists every tenant, for the command line.
func (s *Store) Tenants(ctx context.Context) (list []TenantInfo, err error) {
	err = s.db.WithContext(ctx).Raw("SELECT id, slug FROM tenants ORDER BY slug").Scan(&list).Error
	return list, err
}
