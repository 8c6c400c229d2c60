// Package x402 is the protocol on the wire: types of versions 1 and 2, header codec, network names, reasons, extension
// envelopes, canonical JSON and compact JWS. It imports nothing of ours, knows no chain, checks no secp256k1 signature and decides nothing
// about money. Source: the x402 specification v1 and v2, transport "http", and what its released clients do.
package x402

import "encoding/json"

// The protocol's versions.
const (
	Version1 = 1
	Version2 = 2
)

// Schemes of the protocol. Payments of any but SchemeExact are refused here.
const (
	SchemeExact = "exact"            // moves exactly the amount asked for
	SchemeUpto  = "upto"             // moves at most the amount asked for
	SchemeBatch = "batch-settlement" // vouchers over a channel
)

// ErrorPaymentRequired is the error text of a first 402.
const ErrorPaymentRequired = "Payment required"

// Resource is what is sold. URL is required; ServiceName and each of at most five Tags are 1 to 32 printable ASCII
// characters, IconURL at most 2048.
type Resource struct {
	URL         string   `json:"url"`
	Description string   `json:"description,omitempty"`
	MimeType    string   `json:"mimeType,omitempty"`
	ServiceName string   `json:"serviceName,omitempty"`
	Tags        []string `json:"tags,omitempty"`
	IconURL     string   `json:"iconUrl,omitempty"`
}

// PaymentRequired is the v2 object of a 402, for HeaderPaymentRequired. Accepts holds at least one entry.
type PaymentRequired struct {
	X402Version int                        `json:"x402Version"`
	Error       string                     `json:"error,omitempty"`
	Resource    Resource                   `json:"resource"`
	Accepts     []PaymentRequirements      `json:"accepts"`
	Extensions  map[string]json.RawMessage `json:"extensions,omitempty"`
}

// PaymentRequirements is one way to pay (v2). Amount is decimal digits of the asset's atomic units.
type PaymentRequirements struct {
	Scheme  string `json:"scheme"`
	Network string `json:"network"` // CAIP-2
	Amount  string `json:"amount"`
	Asset   string `json:"asset"`
	PayTo   string `json:"payTo"`
	// MaxTimeoutSeconds is a JSON number, kept as written so that no float stands between offer and echo.
	MaxTimeoutSeconds json.Number     `json:"maxTimeoutSeconds"`
	Extra             json.RawMessage `json:"extra,omitempty"` // an object
}

// PaymentPayload is the v2 payment as a client writes it, for HeaderPaymentSignature. Servers read with ParsePayment.
type PaymentPayload struct {
	X402Version int                        `json:"x402Version"`
	Payload     json.RawMessage            `json:"payload"`
	Extensions  map[string]json.RawMessage `json:"extensions,omitempty"`
	Resource    *Resource                  `json:"resource,omitempty"`
	Accepted    PaymentRequirements        `json:"accepted"`
}

// ExactPayloadWire is scheme exact's payload over EIP-3009 as written; Signature is 0x and hex.
type ExactPayloadWire struct {
	Authorization AuthorizationWire `json:"authorization"`
	Signature     string            `json:"signature"`
}

// AuthorizationWire is TransferWithAuthorization's message as written: numbers are decimal strings.
type AuthorizationWire struct {
	From        string `json:"from"`
	To          string `json:"to"`
	Value       string `json:"value"`
	ValidAfter  string `json:"validAfter"`
	ValidBefore string `json:"validBefore"`
	Nonce       string `json:"nonce"`
}

// SettlementResponse is what a settle attempt came to: HeaderPaymentResponse, and the answer of /settle. Network is CAIP-2
// in v2 and a name in v1. Transaction is "" when nothing was sent; Amount is what was moved.
type SettlementResponse struct {
	Success      bool                       `json:"success"`
	ErrorReason  string                     `json:"errorReason,omitempty"`
	ErrorMessage string                     `json:"errorMessage,omitempty"`
	Transaction  string                     `json:"transaction"`
	Network      string                     `json:"network"`
	Payer        string                     `json:"payer,omitempty"`
	Amount       string                     `json:"amount,omitempty"`
	Extensions   map[string]json.RawMessage `json:"extensions,omitempty"`
	Extra        json.RawMessage            `json:"extra,omitempty"`
}
