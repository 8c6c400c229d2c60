package meter

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
)

// Digest is a SHA-256.
type Digest [sha256.Size]byte

// String is the digest in hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// ParseDigest reads what String writes.
func ParseDigest(text string) (Digest, error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != sha256.Size {
		return Digest{}, fmt.Errorf("a digest is %d hex digits", 2*sha256.Size)
	}
	return Digest(raw), nil
}

// LeafHash is the leaf of one row of the ledger: its kind, its name and its facts. The first byte keeps leaves and inner nodes
// apart, as in RFC 6962.
func LeafHash(kind, ref, facts string) Digest {
	h := sha256.New()
	fmt.Fprintf(h, "\x00%d:%s%d:%s", len(kind), kind, len(ref), ref) // lengths: no two rows share their bytes
	h.Write([]byte(facts))
	return Digest(h.Sum(nil))
}

func nodeHash(left, right Digest) Digest {
	var b [1 + 2*sha256.Size]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

// split is the largest power of two below n, for n > 1.
func split(n int) int {
	k := 1
	for 2*k < n {
		k *= 2
	}
	return k
}

// TreeRoot is the Merkle root of leaves, as RFC 6962 §2.1 defines it; there is at least one.
func TreeRoot(leaves []Digest) Digest {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := split(len(leaves))
	return nodeHash(TreeRoot(leaves[:k]), TreeRoot(leaves[k:]))
}

// TreePath is what leaf i needs beside itself for the root, from the bottom up (RFC 6962 §2.1.1).
func TreePath(leaves []Digest, i int) []Digest {
	if len(leaves) == 1 {
		return nil
	}
	k := split(len(leaves))
	if i < k {
		return append(TreePath(leaves[:k], i), TreeRoot(leaves[k:]))
	}
	return append(TreePath(leaves[k:], i-k), TreeRoot(leaves[:k]))
}

// RootOfPath is the root that leaf i of n reaches by a path; ok is false if the path has another length than such a tree's.
func RootOfPath(leaf Digest, i, n int, path []Digest) (root Digest, ok bool) {
	if i < 0 || i >= n {
		return Digest{}, false
	}
	if n == 1 {
		return leaf, len(path) == 0
	}
	if len(path) == 0 {
		return Digest{}, false
	}
	last, k := path[len(path)-1], split(n)
	if i < k {
		below, ok := RootOfPath(leaf, i, k, path[:len(path)-1])
		return nodeHash(below, last), ok
	}
	below, ok := RootOfPath(leaf, i-k, n-k, path[:len(path)-1])
	return nodeHash(last, below), ok
}

// LedgerHead is the signed end of one tenant's chain: whoever keeps one can tell later whether anything before it has changed.
type LedgerHead struct {
	TenantID  id.Tenant `json:"tenant_id"`
	Number    int64     `json:"number"` // of the block it ends, from 1; 0 for a ledger in which nothing has happened
	Size      int64     `json:"size"`   // leaves up to here
	Leaves    int       `json:"leaves"` // of this block
	Root      string    `json:"root"`
	Previous  string    `json:"previous"` // the head before
	SealedAt  time.Time `json:"sealed_at"`
	Head      string    `json:"head"`
	KeyID     string    `json:"key_id"`
	Signature string    `json:"signature"` // Ed25519 over the statement, base64url
}

// ErrHead is every reason for which a head does not verify.
var ErrHead = fault.New(fault.KindInvalid, "LEDGER_HEAD_INVALID", "the ledger head does not verify")

// Statement is the text that is hashed into the head and signed: one fact a line, so that anybody can write it again.
func (h LedgerHead) Statement() string {
	return fmt.Sprintf("p402 ledger head v1\ntenant %s\nnumber %d\nsize %d\nleaves %d\nroot %s\nprevious %s\nsealed_at %s\n",
		h.TenantID, h.Number, h.Size, h.Leaves, h.Root, h.Previous, h.SealedAt.UTC().Format(time.RFC3339Nano))
}

// Next is the head of the block that follows, signed; at least one leaf.
func (h LedgerHead) Next(leaves []Digest, at time.Time, key ed25519.PrivateKey) LedgerHead {
	next := LedgerHead{TenantID: h.TenantID, Number: h.Number + 1, Size: h.Size + int64(len(leaves)), Leaves: len(leaves), Root: TreeRoot(leaves).String(),
		Previous: h.Head, SealedAt: at.UTC().Truncate(time.Microsecond), KeyID: KeyName(key.Public().(ed25519.PublicKey))}
	statement := []byte(next.Statement())
	next.Head = Digest(sha256.Sum256(statement)).String()
	next.Signature = base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, statement))
	return next
}

// EmptyHead is before the first block.
func EmptyHead(tenant id.Tenant) LedgerHead {
	return LedgerHead{TenantID: tenant, Head: Digest{}.String(), Root: Digest{}.String(), Previous: Digest{}.String()}
}

// Check holds a head against its own facts and a public key.
func (h LedgerHead) Check(key ed25519.PublicKey) error {
	statement := []byte(h.Statement())
	signature, err := base64.RawURLEncoding.Strict().DecodeString(h.Signature)
	if err != nil || Digest(sha256.Sum256(statement)).String() != h.Head || h.KeyID != KeyName(key) || !ed25519.Verify(key, statement, signature) {
		return ErrHead
	}
	return nil
}

// KeyName names a public key by its hash, as receipts do.
func KeyName(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return "ed25519:" + hex.EncodeToString(sum[:8])
}

// LedgerProof shows that one row is under a signed head.
type LedgerProof struct {
	Kind  string     `json:"kind"`
	Ref   string     `json:"ref"`
	Seq   int64      `json:"ledger_seq"` // of the leaf in the tenant's ledger, from 1
	Leaf  string     `json:"leaf"`
	Index int        `json:"index"` // in its block
	Path  []string   `json:"path"`  // from the bottom up
	Head  LedgerHead `json:"head"`
}

// Check walks from the leaf to the signed head.
func (p LedgerProof) Check(key ed25519.PublicKey) error {
	if err := p.Head.Check(key); err != nil {
		return err
	}
	leaf, err := ParseDigest(p.Leaf)
	if err != nil {
		return ErrHead.Because(err)
	}
	path := make([]Digest, len(p.Path))
	for i, text := range p.Path {
		if path[i], err = ParseDigest(text); err != nil {
			return ErrHead.Because(err)
		}
	}
	root, ok := RootOfPath(leaf, p.Index, p.Head.Leaves, path)
	if !ok || root.String() != p.Head.Root || p.Seq != p.Head.Size-int64(p.Head.Leaves)+int64(p.Index)+1 {
		return ErrHead
	}
	return nil
}
