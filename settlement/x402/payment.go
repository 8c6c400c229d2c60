package x402

import (
	"bytes"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"regexp"
	"strings"
)

// Payment is a payment of either version, in one shape.
type Payment struct {
	Version    int
	Scheme     string
	Network    string               // always CAIP-2
	Accepted   *PaymentRequirements // what the client says it accepts; nil for v1
	Exact      ExactPayload
	Permit2    *Permit2Payload            // instead of Exact, for exact over Permit2 and for upto; nil otherwise
	Resource   *Resource                  // the client's copy, to be compared at most; nil if it sent none
	Extensions map[string]json.RawMessage // as the client sent them; nil if it sent none
	Raw        json.RawMessage            // the payment object as it came; it holds the signature: never log it
}

// ExactPayload is scheme exact's payload over EIP-3009. Signature may be of any length: the chain side judges it.
type ExactPayload struct {
	Signature     []byte
	Authorization Authorization
}

// Authorization is TransferWithAuthorization's message. From and To are 0x and 40 hex digits in the letter case that was
// sent; Value, ValidAfter and ValidBefore are canonical decimal uint256 (atomic units, unix seconds, unix seconds); Nonce is 0x and 64 lower-case hex
// digits.
type Authorization struct {
	From        string
	To          string
	Value       string
	ValidAfter  string
	ValidBefore string
	Nonce       string
}

// Payer is who says to have signed, as it was sent. It is unproven until the chain side has checked the signature.
func (p Payment) Payer() string {
	if p.Permit2 != nil {
		return p.Permit2.From
	}
	return p.Exact.Authorization.From
}

// Nonce is the authorization's nonce as 0x and 64 lower-case hex digits, whatever form the wire has for it.
func (p Payment) Nonce() string {
	if p.Permit2 == nil {
		return p.Exact.Authorization.Nonce
	}
	n, _ := new(big.Int).SetString(p.Permit2.Nonce, 10) // checked when it was read
	return fmt.Sprintf("0x%064x", n)
}

// SignedAs reports whether the payment carries this very signature, the parity byte of an ECDSA signature aside, which has two spellings.
func (p Payment) SignedAs(signature []byte) bool {
	own := p.Exact.Signature
	if p.Permit2 != nil {
		own = p.Permit2.Signature
	}
	if len(own) == 65 && len(signature) == 65 {
		own, signature = own[:64], signature[:64]
	}
	return len(own) > 0 && subtle.ConstantTimeCompare(own, signature) == 1
}

const redacted = "[redacted]"

// LogValue keeps signatures out of logs.
func (p Payment) LogValue() slog.Value { return slog.StringValue(redacted) }

// String keeps signatures out of messages.
func (p Payment) String() string { return redacted }

// GoString keeps signatures out of messages.
func (p Payment) GoString() string { return redacted }

// LogValue keeps signatures out of logs.
func (e ExactPayload) LogValue() slog.Value { return slog.StringValue(redacted) }

// String keeps signatures out of messages.
func (e ExactPayload) String() string { return redacted }

// GoString keeps signatures out of messages.
func (e ExactPayload) GoString() string { return redacted }

var (
	addressForm = regexp.MustCompile(`^0x[0-9a-fA-F]{40}$`)
	nonceForm   = regexp.MustCompile(`^0x[0-9a-fA-F]{64}$`)
	digitsForm  = regexp.MustCompile(`^(0|[1-9][0-9]{0,77})$`) // 2^256-1 has 78 digits
	eip155Form  = regexp.MustCompile(`^eip155:[1-9][0-9]{0,19}$`)
	versionForm = regexp.MustCompile(`^[0-9]{1,9}$`)
)

// ParsePayment reads the payment of a request: nil without an error if there is none (no header, an empty one, or JSON
// null). PAYMENT-SIGNATURE wins over X-PAYMENT, also when it is bad: a second header never repairs a first. Either of them twice is
// refused. The error is an *Error.
func ParsePayment(h http.Header) (*Payment, error) {
	for _, name := range []string{HeaderPaymentSignature, HeaderXPayment} {
		if len(h.Values(name)) > 1 {
			return nil, Refuse(ReasonInvalidPayload, name, "the header comes more than once")
		}
	}
	if text := h.Get(HeaderPaymentSignature); text != "" {
		return parseHeader(HeaderPaymentSignature, text, Version2)
	}
	if text := h.Get(HeaderXPayment); text != "" {
		return parseHeader(HeaderXPayment, text, Version1)
	}
	return nil, nil // no payment is not an error
}

func parseHeader(name, text string, version int) (*Payment, error) {
	raw, err := decodeBase64(text)
	if err != nil {
		return nil, Refuse(ReasonInvalidPayload, name, "the header is not standard base64 of at most 32 KiB")
	}
	if string(bytes.TrimSpace(raw)) == "null" {
		return nil, nil // the protocol counts null as no payment
	}
	return DecodePayment(raw, version)
}

// DecodePayment reads a payment object of the given version, 1 or 2: the whole of a header, or a facilitator request's
// paymentPayload. Keys count by exact letter case. The error is an *Error; a payment of the other version is
// ReasonNoMatch, of an unknown one UnsupportedVersion.
func DecodePayment(raw []byte, version int) (*Payment, error) {
	if err := checkJSON(raw, true); err != nil {
		return nil, err
	}
	o, err := readObject(raw, "")
	if err != nil {
		return nil, err
	}
	number, err := o.number("x402Version")
	if err != nil || !versionForm.MatchString(string(number)) {
		return nil, Refuse(ReasonInvalidVersion, "x402Version", "must be 1 or 2")
	}
	switch string(number) {
	case fmt.Sprint(version):
	case "1", "2":
		return nil, Refuse(ReasonNoMatch, "x402Version", "is not the version of this header or request")
	default:
		return nil, Refuse(UnsupportedVersion(string(number)), "x402Version", "must be 1 or 2")
	}
	p := &Payment{Version: version, Raw: bytes.Clone(raw)}
	if version == Version1 {
		err = p.readV1(o)
	} else {
		err = p.readV2(o)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case p.Scheme == SchemeExact:
		err = p.readExact(o)
	case p.Scheme == SchemeUpto && version == Version2:
		err = p.readPermit2(o)
	default:
		err = Refuse(ReasonUnsupportedScheme, "scheme", "is not offered")
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Payment) readV1(o object) error {
	var name string
	if err := o.texts(member{"scheme", &p.Scheme}, member{"network", &name}); err != nil {
		return err
	}
	network, ok := FromV1Name(name)
	if !ok {
		return Refuse(ReasonInvalidNetwork, "network", "is not a network name of x402 v1")
	}
	p.Network = network
	return nil
}

func (p *Payment) readV2(o object) error {
	if !o.has("accepted") {
		return Refuse(ReasonNoMatch, "accepted", "the payment does not say which requirements it accepts")
	}
	accepted, err := o.object("accepted")
	if err != nil {
		return err
	}
	r, err := readRequirements(accepted, "amount")
	if err != nil {
		return err
	}
	if !eip155Form.MatchString(r.Network) {
		return Refuse(ReasonInvalidNetwork, "accepted.network", "is not the CAIP-2 id of an EVM network")
	}
	p.Accepted, p.Scheme, p.Network = &r, r.Scheme, r.Network
	if o.has("extensions") {
		extensions, err := o.object("extensions")
		if err != nil {
			return err
		}
		p.Extensions = extensions.members
	}
	if o.has("resource") {
		p.Resource = new(Resource)
		if json.Unmarshal(o.members["resource"], p.Resource) != nil {
			return Refuse(ReasonInvalidPayload, "resource", "has not the form of the protocol")
		}
	}
	return nil
}

// readRequirements reads v2's requirements, or v1's with another key for the amount.
func readRequirements(o object, amountKey string) (r PaymentRequirements, err error) {
	err = o.texts(member{"scheme", &r.Scheme}, member{"network", &r.Network}, member{amountKey, &r.Amount},
		member{"asset", &r.Asset}, member{"payTo", &r.PayTo})
	if err != nil {
		return r, err
	}
	if !isUint256(r.Amount) {
		return r, Refuse(ReasonInvalidPayload, join(o.at, amountKey), "must be a whole number below 2^256 in decimal digits")
	}
	if r.MaxTimeoutSeconds, err = o.number("maxTimeoutSeconds"); err != nil {
		return r, err
	}
	if o.has("extra") {
		if _, err := o.object("extra"); err != nil {
			return r, err
		}
		r.Extra = o.members["extra"]
	}
	return r, nil
}

func (p *Payment) readExact(o object) error {
	payload, err := o.object("payload")
	if err != nil {
		return err
	}
	if !payload.has("authorization") && payload.has("permit2Authorization") {
		if p.Version == Version1 {
			return Refuse(ReasonUnsupportedPayload, "payload.permit2Authorization", "v1 knows EIP-3009 only")
		}
		return p.readPermit2(o)
	}
	auth, err := payload.object("authorization")
	if err != nil {
		return err
	}
	a := &p.Exact.Authorization
	err = auth.texts(member{"from", &a.From}, member{"to", &a.To}, member{"value", &a.Value},
		member{"validAfter", &a.ValidAfter}, member{"validBefore", &a.ValidBefore}, member{"nonce", &a.Nonce})
	if err != nil {
		return err
	}
	if key, message := a.fault(); key != "" {
		return Refuse(ReasonInvalidPayload, join(auth.at, key), message)
	}
	a.Nonce = strings.ToLower(a.Nonce)
	p.Exact.Signature, err = payload.bytes("signature")
	return err
}

// bytes is a member of 0x and pairs of hex digits.
func (o object) bytes(key string) ([]byte, error) {
	text, err := o.text(key)
	if err != nil {
		return nil, err
	}
	digits, ok := strings.CutPrefix(text, "0x")
	raw, err := hex.DecodeString(digits)
	if !ok || err != nil {
		return nil, Refuse(ReasonInvalidPayload, join(o.at, key), "must be 0x and pairs of hex digits")
	}
	return raw, nil
}

// fault names the first field that has not the protocol's form.
func (a *Authorization) fault() (key, message string) {
	const address, number = "must be 0x and 40 hex digits", "must be a whole number below 2^256 in decimal digits"
	switch {
	case !addressForm.MatchString(a.From):
		return "from", address
	case !addressForm.MatchString(a.To):
		return "to", address
	case !isUint256(a.Value):
		return "value", number
	case !isUint256(a.ValidAfter):
		return "validAfter", number
	case !isUint256(a.ValidBefore):
		return "validBefore", number
	case !nonceForm.MatchString(a.Nonce):
		return "nonce", "must be 0x and 64 hex digits"
	}
	return "", ""
}

// isUint256 takes canonical decimal digits only: two spellings of one number would be two keys for one authorization.
func isUint256(digits string) bool {
	if !digitsForm.MatchString(digits) {
		return false
	}
	n, ok := new(big.Int).SetString(digits, 10)
	return ok && n.BitLen() <= 256
}
