package x402

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ErrJWS marks a compact JWS that is refused: its form, its header, its key or its signature.
var ErrJWS = errors.New("jws refused")

// Algorithms of the offer-receipt extension. SignJWS and VerifyEdDSA do EdDSA; the bytes for ES256K go through JWS.SigningInput to
// whoever knows the curve.
const (
	AlgEdDSA  = "EdDSA"
	AlgES256K = "ES256K"
	AlgES256  = "ES256"
)

// maxJWS bounds a compact JWS in bytes: receipts are under 1 KiB.
const maxJWS = 16 << 10

// JWS is a compact JWS taken apart; nothing about its signature is proved by that.
type JWS struct {
	Alg          string // one of AlgEdDSA, AlgES256K, AlgES256
	KeyID        string // a DID URL; who may speak for a resource is for the verifier to know
	Payload      []byte // canonical JSON
	SigningInput []byte // what the signature covers
	Signature    []byte
}

type jwsHeader struct {
	Alg string `json:"alg"`
	Kid string `json:"kid"`
}

// SigningInput is the part of a compact JWS that is signed, for payload as canonical JSON. It refuses control characters (see
// Canonical).
func SigningInput(alg, keyID string, payload any) (string, error) {
	canonical, err := CanonicalOf(payload)
	if err != nil {
		return "", err
	}
	if hasControl(canonical) {
		return "", fmt.Errorf("%w: control character in signed text", ErrNotCanonical)
	}
	header, err := json.Marshal(jwsHeader{Alg: alg, Kid: keyID})
	if err != nil {
		return "", fmt.Errorf("write jws header: %w", err)
	}
	return segment(header) + "." + segment(canonical), nil
}

// SignJWS is the compact JWS of payload by an Ed25519 key.
func SignJWS(key ed25519.PrivateKey, keyID string, payload any) (string, error) {
	input, err := SigningInput(AlgEdDSA, keyID, payload)
	if err != nil {
		return "", err
	}
	return AttachSignature(input, ed25519.Sign(key, []byte(input))), nil
}

// AttachSignature completes a compact JWS.
func AttachSignature(signingInput string, signature []byte) string {
	return signingInput + "." + segment(signature)
}

// ParseJWS takes a compact JWS apart. Only the protocol's algorithms pass; a header with anything beside alg, kid and typ
// (crit, jwk, jku, x5c, ...) does not, so that a token cannot bring its own key. The payload must be canonical JSON, and no two texts are
// one token. Errors wrap ErrJWS.
func ParseJWS(compact string) (JWS, error) {
	parts := strings.Split(compact, ".")
	if len(compact) > maxJWS || len(parts) != 3 {
		return JWS{}, fmt.Errorf("%w: not three parts of together at most 16 KiB", ErrJWS)
	}
	var decoded [3][]byte
	for i, part := range parts {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || strings.ContainsAny(part, "\r\n") {
			return JWS{}, fmt.Errorf("%w: not base64url", ErrJWS)
		}
		decoded[i] = raw
	}
	out := JWS{Payload: decoded[1], Signature: decoded[2], SigningInput: []byte(parts[0] + "." + parts[1])}
	var err error
	if out.Alg, out.KeyID, err = readJWSHeader(decoded[0]); err != nil {
		return JWS{}, err
	}
	canonical, err := Canonical(out.Payload)
	if err != nil || !bytes.Equal(canonical, out.Payload) {
		return JWS{}, fmt.Errorf("%w: payload is not canonical json", ErrJWS)
	}
	return out, nil
}

func readJWSHeader(raw []byte) (alg, keyID string, err error) {
	if checkJSON(raw, true) != nil {
		return "", "", fmt.Errorf("%w: header is not json", ErrJWS)
	}
	o, err := readObject(raw, "")
	if err != nil {
		return "", "", fmt.Errorf("%w: header is not an object", ErrJWS)
	}
	for key := range o.members {
		if key != "alg" && key != "kid" && key != "typ" {
			return "", "", fmt.Errorf("%w: header has a member that is not alg, kid or typ", ErrJWS)
		}
	}
	if o.texts(member{"alg", &alg}, member{"kid", &keyID}) != nil || keyID == "" {
		return "", "", fmt.Errorf("%w: header needs alg and kid", ErrJWS)
	}
	if alg != AlgEdDSA && alg != AlgES256K && alg != AlgES256 {
		return "", "", fmt.Errorf("%w: algorithm is not one of the protocol", ErrJWS)
	}
	return alg, keyID, nil
}

// VerifyEdDSA checks a compact JWS against one key, which the caller trusts under keyID, and gives the payload. Algorithm
// and key id are the verifier's choice, never the token's. Errors wrap ErrJWS.
func VerifyEdDSA(compact, keyID string, key ed25519.PublicKey) ([]byte, error) {
	token, err := ParseJWS(compact)
	if err != nil {
		return nil, err
	}
	if token.Alg != AlgEdDSA || token.KeyID != keyID || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%w: not signed by the expected key and algorithm", ErrJWS)
	}
	if !ed25519.Verify(key, token.SigningInput, token.Signature) {
		return nil, fmt.Errorf("%w: signature does not fit", ErrJWS)
	}
	return token.Payload, nil
}

// DIDJWK is the key id of an Ed25519 key that names the key itself (did:jwk). It proves possession, not the right to speak
// for a domain.
func DIDJWK(key ed25519.PublicKey) string {
	jwk := `{"kty":"OKP","crv":"Ed25519","x":"` + segment(key) + `"}`
	return "did:jwk:" + segment([]byte(jwk)) + "#0"
}

func segment(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }
