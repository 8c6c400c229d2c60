package call

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"p402.io/p402/settlement"
)

// errSeal is every reason for which a seal is not ours: altered, cut, of another key.
var errSeal = errors.New("the offer's seal is broken")

// sealer seals terms so that nothing has to be stored for a 402 (law 1): the client brings the terms back.
type sealer struct{ key []byte }

// Seal is the terms as base64url JSON, a dot, and their HMAC-SHA-256.
func (s sealer) Seal(t settlement.Terms) (string, error) {
	raw, err := json.Marshal(t)
	if err != nil {
		return "", err
	}
	body := base64.RawURLEncoding.EncodeToString(raw)
	return body + "." + base64.RawURLEncoding.EncodeToString(s.mac(body)), nil
}

// Open is the reverse; it fails with errSeal unless every byte is as it was sealed.
func (s sealer) Open(text string) (settlement.Terms, error) {
	body, tag, ok := strings.Cut(text, ".")
	given, err := base64.RawURLEncoding.Strict().DecodeString(tag)
	if !ok || err != nil || !hmac.Equal(given, s.mac(body)) {
		return settlement.Terms{}, errSeal
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil {
		return settlement.Terms{}, errSeal
	}
	var t settlement.Terms
	if err := json.Unmarshal(raw, &t); err != nil {
		return settlement.Terms{}, errSeal
	}
	return t, nil
}

func (s sealer) mac(body string) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte("p402 offer v1\n"))
	h.Write([]byte(body))
	return h.Sum(nil)
}
