package store

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"p402.io/p402/internal/id"
	"p402.io/p402/meter"
)

// Tampering is one way in which the ledger is not what it was.
type Tampering struct {
	What  string `json:"what"`  // altered | removed | inserted | reordered | broken
	Block int64  `json:"block"` // 0: none
	Seq   int64  `json:"seq"`   // of the leaf; 0: none
	Kind  string `json:"kind"`
	Ref   string `json:"ref"`
	Says  string `json:"says"`
}

// Verified is what a verification went through.
type Verified struct {
	Head     meter.LedgerHead `json:"head"`
	Blocks   int64            `json:"blocks"`
	Rows     int64            `json:"rows"`
	Waiting  int64            `json:"waiting"`  // committed, not under a head yet
	Findings []Tampering      `json:"findings"` // at most maxFindings
}

// maxFindings bounds a report; the first one is what matters.
const maxFindings = 100

var errEnough = errors.New("enough findings")

// VerifyLedger reads a tenant's whole ledger in one snapshot and holds every row against the chain. known is a head kept from
// elsewhere (an export, a closing), or nil: with it a chain that was written anew is found too.
func (s *Store) VerifyLedger(ctx context.Context, tenant id.Tenant, known *meter.LedgerHead) (Verified, error) {
	key, err := s.LedgerKey(ctx)
	if err != nil {
		return Verified{}, err
	}
	v := &verification{tenant: tenant, key: key, known: known}
	err = s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := steady(tx); err != nil {
			return err
		}
		if err := v.chain(tx); err != nil {
			return err
		}
		return v.strangers(tx)
	}, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return v.Verified, err
}

type verification struct {
	Verified
	tenant id.Tenant
	key    ed25519.PublicKey
	known  *meter.LedgerHead
}

func (v *verification) found(t Tampering) error {
	if v.Findings = append(v.Findings, t); len(v.Findings) >= maxFindings {
		return errEnough
	}
	return nil
}

// chain walks the blocks from the first.
func (v *verification) chain(tx *gorm.DB) error {
	v.Head = meter.EmptyHead(v.tenant)
	knownSeen := v.known == nil || v.known.Number == 0
	for {
		var rows []blockRow
		if err := tx.Raw("SELECT "+blockColumns+" FROM ledger_blocks WHERE tenant_id = ? AND number > ? ORDER BY number LIMIT 32", v.tenant, v.Head.Number).Scan(&rows).Error; err != nil {
			return err
		}
		for _, r := range rows {
			head := r.signed(v.tenant)
			if !knownSeen && head.Number >= v.known.Number {
				knownSeen = true
				if head.Head != v.known.Head {
					if err := v.found(Tampering{What: "broken", Block: r.Number, Says: "the chain is not the one whose head you keep: it was written anew"}); err != nil {
						return err
					}
				}
			}
			if err := v.block(tx, r, head); err != nil {
				return err
			}
			v.Head = head
			v.Blocks++
		}
		if len(rows) == 0 {
			break
		}
	}
	if !knownSeen {
		return v.found(Tampering{What: "removed", Block: v.known.Number, Says: "the chain ends before the head you keep"})
	}
	return nil
}

// block holds one block against the head before it, its signature, its own leaves, and the rows they stand for.
func (v *verification) block(tx *gorm.DB, r blockRow, head meter.LedgerHead) error {
	names, leaves, err := r.content()
	if err != nil {
		return v.found(Tampering{What: "broken", Block: r.Number, Says: "the block cannot be read: " + err.Error()})
	}
	switch {
	case head.Number != v.Head.Number+1:
		err = v.found(Tampering{What: "removed", Block: v.Head.Number + 1, Says: fmt.Sprintf("blocks %d to %d are missing", v.Head.Number+1, head.Number-1)})
	case head.Previous != v.Head.Head || r.First != v.Head.Size+1:
		err = v.found(Tampering{What: "broken", Block: r.Number, Says: "the block does not follow the one before it"})
	case head.Check(v.key) != nil:
		err = v.found(Tampering{What: "broken", Block: r.Number, Says: "the head's signature does not match its facts"})
	case meter.TreeRoot(leaves).String() != head.Root:
		err = v.found(Tampering{What: "broken", Block: r.Number, Says: "the leaves do not add up to the signed root"})
	}
	if err != nil {
		return err
	}
	rows, err := readFacts(tx, v.tenant, names)
	if err != nil {
		return err
	}
	keys, err := personKeys(tx, v.tenant, rows, false)
	if err != nil {
		return err
	}
	at := map[meter.Digest]int{}
	for i, leaf := range leaves {
		at[leaf] = i
	}
	for i, name := range names {
		v.Rows++
		row, there := rows[name]
		says := Tampering{Block: r.Number, Seq: r.First + int64(i), Kind: name.Kind, Ref: name.Ref}
		leaf := row.leaf(name.Kind, keys)
		switch other, elsewhere := at[leaf]; {
		case !there:
			says.What, says.Says = "removed", "the row is gone"
		case leaf == leaves[i]:
			continue
		case elsewhere && other != i:
			says.What, says.Says = "reordered", fmt.Sprintf("the row stood at %d", r.First+int64(other))
		default:
			says.What, says.Says = "altered", "the row is not what was sealed"
		}
		if err := v.found(says); err != nil {
			return err
		}
	}
	return nil
}

// content is the block's names and leaves.
func (r blockRow) content() ([]leafName, []meter.Digest, error) {
	var kinds, refs []string
	if err := errors.Join(json.Unmarshal(r.Kinds, &kinds), json.Unmarshal(r.Refs, &refs)); err != nil {
		return nil, nil, err
	}
	size := len(meter.Digest{})
	if r.Leaves < 1 || len(kinds) != r.Leaves || len(refs) != r.Leaves || len(r.Hashes) != size*r.Leaves {
		return nil, nil, errors.New("its lists have different lengths")
	}
	if r.Version != factsVersion {
		return nil, nil, fmt.Errorf("it was sealed under version %d of the facts, which this program does not know", r.Version)
	}
	names, leaves := make([]leafName, r.Leaves), make([]meter.Digest, r.Leaves)
	for i := range names {
		names[i] = leafName{kinds[i], refs[i]}
		leaves[i] = meter.Digest(r.Hashes[i*size : (i+1)*size])
	}
	return names, leaves, nil
}

// proof is the path from one of the block's leaves to its head.
func (r blockRow) proof(tenant id.Tenant, name leafName) (meter.LedgerProof, error) {
	names, leaves, err := r.content()
	if err != nil {
		return meter.LedgerProof{}, fmt.Errorf("block %d: %w", r.Number, err)
	}
	for i, n := range names {
		if n != name {
			continue
		}
		p := meter.LedgerProof{Kind: n.Kind, Ref: n.Ref, Seq: r.First + int64(i), Leaf: leaves[i].String(), Index: i, Path: []string{}, Head: r.signed(tenant)}
		for _, d := range meter.TreePath(leaves, i) {
			p.Path = append(p.Path, d.String())
		}
		return p, nil
	}
	return meter.LedgerProof{}, errUnsealed
}

// strangers finds rows that no leaf stands for and nothing has queued, and leaves that stand twice.
func (v *verification) strangers(tx *gorm.DB) error {
	if err := tx.Raw("SELECT count(*) FROM ledger_queue WHERE tenant_id = ?", v.tenant).Scan(&v.Waiting).Error; err != nil {
		return err
	}
	for kind, rows := range map[string]string{
		leafEvent:   "SELECT id AS ref FROM events WHERE tenant_id = @tenant AND state <> 'intent'",
		leafReceipt: "SELECT id AS ref FROM receipts WHERE tenant_id = @tenant",
		leafOutcome: "SELECT event_id || ' ' || outcome_type || ' ' || revision AS ref FROM outcomes WHERE tenant_id = @tenant",
	} {
		if err := v.report(tx, kind, "the row was never sealed", `SELECT ref FROM (`+rows+`) r WHERE NOT EXISTS (SELECT FROM leaves l WHERE l.kind = @kind AND l.ref = r.ref)
			ORDER BY ref LIMIT @limit`); err != nil {
			return err
		}
		if err := v.report(tx, kind, "the row is sealed twice", `SELECT ref FROM leaves WHERE kind = @kind GROUP BY ref HAVING count(*) > 1 ORDER BY ref LIMIT @limit`); err != nil {
			return err
		}
	}
	return v.report(tx, leafJournal, "the entry was never sealed", `SELECT j.id || ' ' || j.posting AS ref FROM journal_entries j WHERE j.tenant_id = @tenant AND NOT EXISTS
		(SELECT FROM leaves l WHERE l.kind = @kind AND l.posting = j.posting AND j.id BETWEEN l.lo AND l.hi) ORDER BY j.id LIMIT @limit`)
}

// leavesOf is every name that is sealed or queued; entries of the journal with their range.
const leavesOf = `WITH leaves AS MATERIALIZED (SELECT kind, ref, CASE WHEN kind = 'journal' THEN substr(ref, strpos(ref, ' ') + 1) END AS posting,
		CASE WHEN kind = 'journal' THEN split_part(ref, '-', 1)::bigint END AS lo, CASE WHEN kind = 'journal' THEN split_part(split_part(ref, ' ', 1), '-', 2)::bigint END AS hi
	FROM (SELECT unnest(kinds) AS kind, unnest(refs) AS ref FROM ledger_blocks WHERE tenant_id = @tenant
		UNION ALL SELECT kind, ref FROM ledger_queue WHERE tenant_id = @tenant) every) `

func (v *verification) report(tx *gorm.DB, kind, says, query string) error {
	var refs []string
	if err := tx.Raw(leavesOf+query, map[string]any{"tenant": v.tenant, "kind": kind, "limit": maxFindings}).Scan(&refs).Error; err != nil {
		return fmt.Errorf("look for %s rows without a leaf: %w", kind, err)
	}
	for _, ref := range refs {
		if err := v.found(Tampering{What: "inserted", Kind: kind, Ref: ref, Says: says}); err != nil {
			return err
		}
	}
	return nil
}
