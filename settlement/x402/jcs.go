package x402

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// ErrNotCanonical marks JSON that has no canonical form here.
var ErrNotCanonical = errors.New("json has no canonical form")

// maxSafeInteger is 2^53-1, the largest whole number that every JSON reader keeps exact (RFC 8785 §3.2.2.3, RFC 7493).
const maxSafeInteger = 1<<53 - 1

// Canonical writes one JSON value in the form that offers and receipts are signed in: RFC 8785 with keys in UTF-16 order, no
// blanks, and two departures. Control characters are escaped as \u00xx in every case, as the protocol's own packages do, where
// RFC 8785 has \n, \t and so on; SignJWS refuses them, so that signed bytes are the same by both. Numbers must be whole, plain
// and at most 2^53-1 either way: amounts are strings, and a float has no place here. Duplicate keys and broken text are refused. Errors wrap
// ErrNotCanonical.
func Canonical(raw []byte) ([]byte, error) {
	if err := checkJSON(raw, false); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotCanonical, err)
	}
	v, err := readValue(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotCanonical, err)
	}
	var b bytes.Buffer
	if err := writeCanonical(&b, v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// CanonicalOf is Canonical of v's JSON.
func CanonicalOf(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write canonical json: %w", err)
	}
	return Canonical(raw)
}

func writeCanonical(b *bytes.Buffer, v any) error {
	switch x := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(x))
	case string:
		writeString(b, x)
	case json.Number:
		return writeInteger(b, string(x))
	case []any:
		b.WriteByte('[')
		for i, item := range x {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeCanonical(b, item); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	case map[string]any:
		return writeMembers(b, x)
	}
	return nil
}

func writeMembers(b *bytes.Buffer, members map[string]any) error {
	keys := make([]string, 0, len(members))
	for key := range members {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(x, y string) int { return slices.Compare(utf16.Encode([]rune(x)), utf16.Encode([]rune(y))) })
	b.WriteByte('{')
	for i, key := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		writeString(b, key)
		b.WriteByte(':')
		if err := writeCanonical(b, members[key]); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

func writeInteger(b *bytes.Buffer, text string) error {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > maxSafeInteger || n < -maxSafeInteger || strconv.FormatInt(n, 10) != text {
		return fmt.Errorf("%w: a number is not whole, not plain or beyond 2^53-1", ErrNotCanonical)
	}
	b.WriteString(text)
	return nil
}

func writeString(b *bytes.Buffer, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

// hasControl reports whether canonical JSON holds an escaped control character, in which the two forms differ.
func hasControl(canonical []byte) bool {
	return strings.Contains(strings.ReplaceAll(string(canonical), `\\`, ""), `\u00`)
}
