package reconcile

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
	"p402.io/p402/internal/money"
)

// Period is one day or month of a tenant's books.
type Period struct {
	ID         id.Period
	TenantID   id.Tenant
	Livemode   bool
	Span       Span
	State      string     // open | closed
	RecordedTo *time.Time // closed: what was recorded before this moment counts in it
	Revision   int        // of its last statement; 0 = never closed
}

// Statement is a closed period, frozen and signed. Every amount is text; the numbers are small and whole.
type Statement struct {
	Version    int           `json:"version"`
	PeriodID   id.Period     `json:"period_id"`
	Revision   int           `json:"revision"`
	Tenant     id.Tenant     `json:"tenant"`
	Livemode   bool          `json:"livemode"`
	Period     string        `json:"period"`
	Zone       string        `json:"zone"`
	StartsAt   time.Time     `json:"starts_at"`
	EndsAt     time.Time     `json:"ends_at"`
	RecordedTo time.Time     `json:"recorded_to"` // later records of this time count in a later period
	LateFrom   *time.Time    `json:"late_from"`   // earlier facts recorded from here on count in this one
	ClosedAt   time.Time     `json:"closed_at"`
	ClosedBy   string        `json:"closed_by"`
	CutOffs    []CutOff      `json:"cut_offs"`
	Totals     Totals        `json:"totals"`
	Late       Totals        `json:"late"` // of Totals: what belongs to earlier, closed periods by its time
	Wallets    []RollForward `json:"wallets"`
	Accounts   []Account     `json:"accounts"`
	Exceptions []Settled     `json:"exceptions"` // what people decided
	Checklist  []Check       `json:"checklist"`
	Files      []FileDigest  `json:"files"` // exports of the period: anyone can make them again and compare
	RunID      id.Run        `json:"run_id"`
	Previous   string        `json:"previous"` // digest of the statement before, or ""
	Issuer     string        `json:"issuer"`
	KeyID      string        `json:"key_id"`
	Signature  string        `json:"signature,omitempty"` // Ed25519 over the canonical JSON (RFC 8785) without this field
}

// CutOff is the last final block of a network that is older than the period's end.
type CutOff struct {
	Network string    `json:"network"`
	Number  uint64    `json:"number"`
	Hash    string    `json:"hash"`
	Time    time.Time `json:"time"`
}

// Totals is a period's sums.
type Totals struct {
	Events       int64     `json:"events"`
	Unpriced     int64     `json:"unpriced"`
	InputTokens  int64     `json:"input_tokens"`
	OutputTokens int64     `json:"output_tokens"`
	CostUSD      money.USD `json:"cost_usd"`
	Sales        int64     `json:"sales"`
	RevenueUSD   money.USD `json:"revenue_usd"` // receipts' payments
}

// RollForward is a wallet from one cut-off to the next, in atomic units: Opening + In - Out = Closing. Balance is what the
// chain says at the cut-off; Source tells who was asked: node, or index when the node keeps no state that old and the index
// was verified at a later block.
type RollForward struct {
	Network    string     `json:"network"`
	Asset      string     `json:"asset"`
	Wallet     string     `json:"wallet"`
	FromBlock  uint64     `json:"from_block"`
	ToBlock    uint64     `json:"to_block"`
	Opening    money.USDC `json:"opening"`
	In         money.USDC `json:"in"`
	OfSales    money.USDC `json:"of_sales"` // of In: what a payment of ours explains
	Out        money.USDC `json:"out"`
	Closing    money.USDC `json:"closing"`
	Balance    money.USDC `json:"balance"`
	Source     string     `json:"source"`
	Reconciled bool       `json:"reconciled"`
}

// Account is one account of the journal from the period's start to its end.
type Account struct {
	Account  string    `json:"account"`
	Opening  money.USD `json:"opening"`
	Movement money.USD `json:"movement"`
	Closing  money.USD `json:"closing"`
}

// Settled is an exception with what was decided, as the statement keeps it.
type Settled struct {
	ID        id.Exception `json:"exception_id"`
	Kind      Kind         `json:"kind"`
	Reason    Reason       `json:"reason"`
	AmountUSD money.USD    `json:"amount_usd"`
	State     string       `json:"state"`
	DecidedBy string       `json:"decided_by"`
	Note      string       `json:"note"`
}

// Check is one line of the closing checklist. A blocking line that does not hold keeps the period open.
type Check struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Blocking bool   `json:"blocking"`
	Detail   string `json:"detail"`
}

// FileDigest is one export of the period.
type FileDigest struct {
	Kind   string `json:"kind"`
	Format string `json:"format"`
	Rows   int64  `json:"rows"`
	SHA256 string `json:"sha256"`
}

// statementVersion is the version of a statement's fields.
const statementVersion = 1

// Signer signs statements with the key that signs receipts.
type Signer struct {
	Name  string
	KeyID string
	Key   ed25519.PrivateKey
}

// Sign freezes a statement: its canonical JSON with the signature, and the digest that the next one names.
func (s Signer) Sign(st Statement) (doc []byte, digest string, err error) {
	st.Version, st.Issuer, st.KeyID, st.Signature = statementVersion, s.Name, s.KeyID, ""
	body, err := canonical(st)
	if err != nil {
		return nil, "", err
	}
	st.Signature = base64.RawURLEncoding.EncodeToString(ed25519.Sign(s.Key, body))
	if doc, err = canonical(st); err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(doc)
	return doc, hex.EncodeToString(sum[:]), nil
}

// canonical is sorted keys without blanks: the canonical form, as every value is text, true, false, null or a small number.
func canonical(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var fields map[string]any
	if err := dec.Decode(&fields); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(fields); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

// ErrStatement is every reason for which a statement does not verify.
var ErrStatement = fault.New(fault.KindInvalid, "STATEMENT_INVALID", "the statement does not verify")

// VerifyStatement checks a statement offline: the signature over every field, and that its own sums add up.
func VerifyStatement(raw []byte, key ed25519.PublicKey) (Statement, error) {
	var st Statement
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&st); err != nil {
		return st, ErrStatement.Because(err)
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(st.Signature)
	if err != nil {
		return st, ErrStatement.Because(err)
	}
	body := st
	body.Signature = ""
	signed, err := canonical(body)
	if err != nil || len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, signed, signature) {
		return st, ErrStatement
	}
	sum := money.Zero
	for _, a := range st.Accounts {
		if a.Opening.Add(a.Movement).Cmp(a.Closing) != 0 {
			return st, ErrStatement.With("account", a.Account)
		}
		sum = sum.Add(a.Closing)
	}
	for _, w := range st.Wallets {
		if w.Opening.Add(w.In).Cmp(w.Closing.Add(w.Out)) != 0 {
			return st, ErrStatement.With("wallet", w.Wallet)
		}
	}
	if !sum.IsZero() {
		return st, ErrStatement.With("accounts", "do not balance")
	}
	return st, nil
}
