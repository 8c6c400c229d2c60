package x402

import (
	"encoding/json"
	"fmt"
	"regexp"
)

// Extensions of the protocol, by key.
const (
	ExtensionPaymentIdentifier = "payment-identifier"
	ExtensionOfferReceipt      = "offer-receipt"
	ExtensionSignInWithX       = "sign-in-with-x"
	ExtensionBazaar            = "bazaar"
	ExtensionBuilderCode       = "builder-code"
	ExtensionEIP2612Gas        = "eip2612GasSponsoring"
	ExtensionERC20ApprovalGas  = "erc20ApprovalGasSponsoring"
)

// Extension is the envelope of one extension. Info is an object; Schema is the JSON Schema (2020-12) of info, when there is one.
type Extension struct {
	Info   json.RawMessage `json:"info"`
	Schema json.RawMessage `json:"schema,omitempty"`
}

// NewExtension is the envelope around info's JSON, ready for a map of extensions. schema may be nil.
func NewExtension(info any, schema json.RawMessage) (json.RawMessage, error) {
	raw, err := json.Marshal(info)
	if err != nil {
		return nil, fmt.Errorf("write extension info: %w", err)
	}
	out, err := json.Marshal(Extension{Info: raw, Schema: schema})
	if err != nil {
		return nil, fmt.Errorf("write extension: %w", err)
	}
	return out, nil
}

// paymentIdentifierSchema is the schema that the released server package sends.
const paymentIdentifierSchema = `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{` +
	`"required":{"type":"boolean"},"id":{"type":"string","minLength":16,"maxLength":128,"pattern":"^[a-zA-Z0-9_-]+$"}},"required":["required"]}`

// OfferPaymentIdentifier is the extension by which a client may, or must, name its payment for safe repetition.
func OfferPaymentIdentifier(required bool) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"info":{"required":%t},"schema":%s}`, required, paymentIdentifierSchema))
}

// OfferEIP2612Gas is the extension by which a payer approves Permit2 with a signature, which the facilitator pays the gas for.
func OfferEIP2612Gas() json.RawMessage {
	return json.RawMessage(`{"info":{"description":"Permit2 may be approved by an EIP-2612 signature; we bring it to the chain","version":"1"},` +
		`"schema":{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"from":{"type":"string"},"asset":{"type":"string"},` +
		`"spender":{"type":"string"},"amount":{"type":"string"},"nonce":{"type":"string"},"deadline":{"type":"string"},"signature":{"type":"string"},` +
		`"version":{"type":"string"}},"required":["from","asset","spender","amount","nonce","deadline","signature","version"]}}`)
}

var paymentIDForm = regexp.MustCompile(`^[A-Za-z0-9_-]{16,128}$`)

// PaymentIdentifier is the id that a client gave its payment, "" if it gave none. It is the client's word: scope it by payer
// and route. An id of another form is an *Error.
func PaymentIdentifier(extensions map[string]json.RawMessage) (string, error) {
	raw, ok := extensions[ExtensionPaymentIdentifier]
	if !ok {
		return "", nil
	}
	envelope, err := readObject(raw, "extensions."+ExtensionPaymentIdentifier)
	if err != nil {
		return "", err
	}
	info, err := envelope.object("info")
	if err != nil || !info.has("id") {
		return "", err
	}
	text, err := info.text("id")
	if err != nil {
		return "", err
	}
	if !paymentIDForm.MatchString(text) {
		return "", Refuse(ReasonInvalidPayload, join(info.at, "id"), "must be 16 to 128 letters, digits, _ or -")
	}
	return text, nil
}

// Formats of a signed offer or receipt.
const (
	FormatJWS    = "jws"
	FormatEIP712 = "eip712"
)

// Signed is a signed offer or receipt. With FormatJWS the payload is inside the signature, a compact JWS; with FormatEIP712
// it stands beside a 65-byte signature in hex. AcceptIndex is set for offers and names the entry of accepts.
type Signed struct {
	Format      string          `json:"format"`
	AcceptIndex *int            `json:"acceptIndex,omitempty"`
	Payload     json.RawMessage `json:"payload,omitempty"`
	Signature   string          `json:"signature"`
}

// OffersInfo is offer-receipt's info in a 402.
type OffersInfo struct {
	Offers []Signed `json:"offers"`
}

// ReceiptInfo is offer-receipt's info in a PAYMENT-RESPONSE.
type ReceiptInfo struct {
	Receipt Signed `json:"receipt"`
}

// OfferPayload is what a signed offer says. Version is 1; Amount is atomic units; ValidUntil is unix seconds.
type OfferPayload struct {
	Version     int    `json:"version"`
	ResourceURL string `json:"resourceUrl"`
	Scheme      string `json:"scheme"`
	Network     string `json:"network"`
	Asset       string `json:"asset"`
	PayTo       string `json:"payTo"`
	Amount      string `json:"amount"`
	ValidUntil  int64  `json:"validUntil"`
}

// ReceiptPayload is what a signed receipt says. Version is 1; IssuedAt is unix seconds. Transaction is "" for privacy by
// default: then a JWS leaves the key out, while EIP-712 signs the empty text.
type ReceiptPayload struct {
	Version     int    `json:"version"`
	Network     string `json:"network"`
	ResourceURL string `json:"resourceUrl"`
	Payer       string `json:"payer"`
	IssuedAt    int64  `json:"issuedAt"`
	Transaction string `json:"transaction,omitempty"`
}
