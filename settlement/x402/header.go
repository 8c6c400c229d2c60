package x402

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// Header names of the HTTP transport. Names are compared without regard to letter case.
const (
	HeaderPaymentRequired     = "PAYMENT-REQUIRED"     // v2, with a 402 (412 for a missing Permit2 allowance)
	HeaderPaymentSignature    = "PAYMENT-SIGNATURE"    // v2, request; its value can be spent until it is settled: never log it
	HeaderPaymentResponse     = "PAYMENT-RESPONSE"     // v2, after a settle attempt, good or bad
	HeaderXPayment            = "X-PAYMENT"            // v1, request; never log it
	HeaderXPaymentResponse    = "X-PAYMENT-RESPONSE"   // v1, after a settle attempt
	HeaderExtensionResponses  = "EXTENSION-RESPONSES"  // facilitator to server only, never handed on to buyers
	HeaderSettlementOverrides = "SETTLEMENT-OVERRIDES" // handler to its own middleware, removed before sending
	HeaderSignInWithX         = "SIGN-IN-WITH-X"       // request, extension sign-in-with-x
)

// MaxHeader bounds a payment header in bytes; the longest honest ones carry wallet deployment data (ERC-6492).
const MaxHeader = 32 << 10

var base64Form = regexp.MustCompile(`^[A-Za-z0-9+/]*={0,2}$`)

// EncodeHeader writes a value as compact JSON in padded standard base64.
func EncodeHeader(v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode x402 header: %w", err)
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}

// DecodeHeader reads a header into v: at most MaxHeader bytes of standard base64 around one JSON value, to the rules of
// Decode. The error is an *Error and never repeats the input, which may hold a signature.
func DecodeHeader(text string, v any) error {
	raw, err := decodeBase64(text)
	if err != nil {
		return err
	}
	return Decode(raw, v)
}

// decodeBase64 takes the standard alphabet with the right padding or none. Blanks, the URL alphabet, a comma (two headers
// that a proxy has joined) and left-over bits in the last digit are refused.
func decodeBase64(text string) ([]byte, error) {
	if len(text) > MaxHeader {
		return nil, Refuse(ReasonInvalidPayload, "", "the header is longer than 32 KiB")
	}
	bare := strings.TrimRight(text, "=")
	padded := len(bare) != len(text)
	if !base64Form.MatchString(text) || (padded && len(text)%4 != 0) {
		return nil, Refuse(ReasonInvalidPayload, "", "the header is not standard base64")
	}
	raw, err := base64.RawStdEncoding.Strict().DecodeString(bare)
	if err != nil {
		return nil, Refuse(ReasonInvalidPayload, "", "the header is not standard base64")
	}
	return raw, nil
}
