package settlement

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/settlement/x402"
)

// Receipt is our signed statement that links an event to its payment and the transaction that paid it. It never
// changes; whether its block is final is read from the payment.
type Receipt struct {
	ReceiptID    id.Receipt `json:"receipt_id"`
	Version      int        `json:"version"`
	EventID      id.Event   `json:"event_id"`
	PaymentID    id.Payment `json:"payment_id"`
	Seller       id.Tenant  `json:"seller"`
	WorkflowID   string     `json:"workflow_id"`
	PriceVersion int        `json:"price_version"`
	Payer        string     `json:"payer"`
	PayTo        string     `json:"payTo"`
	Network      string     `json:"network"`
	Asset        string     `json:"asset"`
	AmountAtomic string     `json:"amount_atomic"`
	AmountUSD    string     `json:"amount_usd"`
	Scheme       string     `json:"scheme"`
	Nonce        string     `json:"nonce"`
	Transaction  string     `json:"transaction"`
	BlockNumber  uint64     `json:"block_number"`
	BlockHash    string     `json:"block_hash"`
	LogIndex     uint       `json:"log_index"`
	Status       string     `json:"status"` // "settled"
	QuotedAt     time.Time  `json:"quoted_at"`
	SettledAt    time.Time  `json:"settled_at"`
	Issuer       string     `json:"issuer"`
	KeyID        string     `json:"key_id"`
	Signature    string     `json:"signature,omitempty"` // Ed25519 over the canonical JSON (RFC 8785) without this field
}

// receiptVersion is the version of the receipt's fields.
const receiptVersion = 1

// Issuer signs receipts.
type Issuer struct {
	Name  string
	KeyID string
	Key   ed25519.PrivateKey
}

// NewIssuer names the key by its hash, so that a receipt tells which published key checks it.
func NewIssuer(name string, key ed25519.PrivateKey) *Issuer {
	sum := sha256.Sum256(key.Public().(ed25519.PublicKey))
	return &Issuer{Name: name, KeyID: "ed25519:" + hex.EncodeToString(sum[:8]), Key: key}
}

// SignJWS is the compact JWS of a payload under a key id that names the published key itself (did:jwk).
func (i *Issuer) SignJWS(payload any) (string, error) {
	return x402.SignJWS(i.Key, x402.DIDJWK(i.Key.Public().(ed25519.PublicKey)), payload)
}

// NewReceipt states what an included payment paid for, signed.
func (i *Issuer) NewReceipt(receiptID id.Receipt, p Payment) (Receipt, error) {
	r := Receipt{ReceiptID: receiptID, Version: receiptVersion, EventID: p.EventID, PaymentID: p.ID, Seller: p.TenantID, WorkflowID: p.Terms.WorkflowID,
		PriceVersion: p.Terms.PriceVersion, Payer: p.Authorization.Payer, PayTo: p.Authorization.PayTo, Network: p.Authorization.Network,
		Asset: p.Authorization.Asset, AmountAtomic: p.Amount.String(), AmountUSD: p.Amount.USD().String(), Scheme: p.Terms.Scheme,
		Nonce: p.Authorization.Nonce, Transaction: p.Evidence.TxHash, BlockNumber: p.Evidence.BlockNumber, BlockHash: p.Evidence.BlockHash,
		LogIndex: p.Evidence.LogIndex, Status: "settled", QuotedAt: p.Terms.QuotedAt.UTC(), SettledAt: p.MovedAt.UTC(), Issuer: i.Name, KeyID: i.KeyID}
	body, err := r.signed()
	if err != nil {
		return Receipt{}, err
	}
	r.Signature = base64.RawURLEncoding.EncodeToString(ed25519.Sign(i.Key, body))
	return r, nil
}

// signed is the canonical JSON (RFC 8785) of everything but the signature. Every value is a string or a small whole
// number and every key is ASCII, so sorted keys without blanks are the canonical form.
func (r Receipt) signed() ([]byte, error) {
	r.Signature = ""
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return canonical(raw)
}

func canonical(raw []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var fields map[string]any
	if err := dec.Decode(&fields); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(fields); err != nil { // encoding/json sorts the keys of a map
		return nil, err
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

// ErrReceipt is every reason for which a receipt does not verify.
var ErrReceipt = fault.New(fault.KindInvalid, "RECEIPT_INVALID", "the receipt does not verify")

// KeySet is the published keys: /.well-known/p402-keys.json.
type KeySet struct {
	Keys []PublicKey `json:"keys"`
}

// PublicKey is one Ed25519 key as a JSON Web Key (RFC 8037).
type PublicKey struct {
	KeyType string `json:"kty"` // OKP
	Curve   string `json:"crv"` // Ed25519
	KeyID   string `json:"kid"`
	X       string `json:"x"` // base64url
}

// KeySet is the issuer's own key, to be published.
func (i *Issuer) KeySet() KeySet {
	return KeySet{Keys: []PublicKey{{KeyType: "OKP", Curve: "Ed25519", KeyID: i.KeyID, X: base64.RawURLEncoding.EncodeToString(i.Key.Public().(ed25519.PublicKey))}}}
}

// VerifyReceipt checks a receipt as it was received against published keys, with no network. Every byte of every field
// counts: the bytes are canonicalised as they came, so an unknown or changed field fails too.
func VerifyReceipt(raw []byte, keys KeySet) (Receipt, error) {
	var r Receipt
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return r, ErrReceipt.Because(err)
	}
	body, err := r.signed()
	if err != nil {
		return r, ErrReceipt.Because(err)
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(r.Signature)
	if err != nil {
		return r, ErrReceipt.Because(err)
	}
	for _, k := range keys.Keys {
		x, err := base64.RawURLEncoding.DecodeString(k.X)
		if k.KeyID == r.KeyID && err == nil && len(x) == ed25519.PublicKeySize && ed25519.Verify(x, body, signature) {
			return r, nil
		}
	}
	return r, ErrReceipt
}
