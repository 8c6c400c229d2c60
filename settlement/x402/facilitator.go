package x402

import (
	"encoding/json"
	"errors"
)

// FacilitatorRequest is the body of /verify and /settle. Payload and requirements are of the version that it names.
type FacilitatorRequest struct {
	X402Version         int             `json:"x402Version"`
	PaymentPayload      json.RawMessage `json:"paymentPayload"`
	PaymentRequirements json.RawMessage `json:"paymentRequirements"`
}

// VerifyResponse is a facilitator's verdict; a negative one is HTTP 200 as well.
type VerifyResponse struct {
	IsValid        bool                       `json:"isValid"`
	InvalidReason  string                     `json:"invalidReason,omitempty"`
	InvalidMessage string                     `json:"invalidMessage,omitempty"`
	Payer          string                     `json:"payer,omitempty"`
	Extensions     map[string]json.RawMessage `json:"extensions,omitempty"`
	Extra          json.RawMessage            `json:"extra,omitempty"`
}

// SupportedKind is one thing a facilitator can settle. Network is CAIP-2 for version 2 and a name for version 1.
type SupportedKind struct {
	X402Version int             `json:"x402Version"`
	Scheme      string          `json:"scheme"`
	Network     string          `json:"network"`
	Extra       json.RawMessage `json:"extra,omitempty"` // an object
}

// Supported is a facilitator's GET /supported. Signers is by CAIP-2 pattern, such as "eip155:*".
type Supported struct {
	Kinds      []SupportedKind     `json:"kinds"`
	Extensions []string            `json:"extensions"`
	Signers    map[string][]string `json:"signers"`
}

// DecodeRequirements reads a facilitator request's requirements of either version as v2's, Network as CAIP-2. The error is
// an *Error with ReasonInvalidRequirement, or ReasonInvalidNetwork.
func DecodeRequirements(raw []byte, version int) (PaymentRequirements, error) {
	if err := checkJSON(raw, false); err != nil {
		return PaymentRequirements{}, asRequirement(err)
	}
	o, err := readObject(raw, "paymentRequirements")
	if err != nil {
		return PaymentRequirements{}, asRequirement(err)
	}
	amount := "amount"
	if version == Version1 {
		amount = "maxAmountRequired"
	}
	r, err := readRequirements(o, amount)
	if err != nil {
		return PaymentRequirements{}, asRequirement(err)
	}
	if version != Version1 {
		return r, nil
	}
	network, ok := FromV1Name(r.Network)
	if !ok {
		return PaymentRequirements{}, Refuse(ReasonInvalidNetwork, join(o.at, "network"), "is not a network name of x402 v1")
	}
	r.Network = network
	return r, nil
}

// asRequirement says that the resource server, not the payer, sent what cannot be read.
func asRequirement(err error) error {
	var refusal *Error
	if errors.As(err, &refusal) {
		return Refuse(ReasonInvalidRequirement, refusal.Field, refusal.Message)
	}
	return err
}
