package x402

import (
	"bytes"
	"encoding/json"
	"sort"
	"strconv"
	"strings"
)

// Accepts reports whether what a client accepted is what was offered; see Mismatch.
func Accepts(offered, accepted PaymentRequirements) bool { return Mismatch(offered, accepted) == "" }

// Match is the place of the first offer that was accepted, or false.
func Match(offers []PaymentRequirements, accepted PaymentRequirements) (int, bool) {
	for i, offered := range offers {
		if Accepts(offered, accepted) {
			return i, true
		}
	}
	return 0, false
}

// Mismatch names the first field in which accepted departs from offered, "" if none does. Texts are compared byte by byte,
// addresses too; numbers by value; and each key of the offer's extra must be in the client's extra with an equal value, while the client may
// add keys. The order of keys does not matter. Extra that is not an object is a mismatch.
func Mismatch(offered, accepted PaymentRequirements) string {
	switch {
	case offered.Scheme != accepted.Scheme:
		return "scheme"
	case offered.Network != accepted.Network:
		return "network"
	case offered.Amount != accepted.Amount:
		return "amount"
	case offered.Asset != accepted.Asset:
		return "asset"
	case offered.PayTo != accepted.PayTo:
		return "payTo"
	case !sameNumber(offered.MaxTimeoutSeconds, accepted.MaxTimeoutSeconds):
		return "maxTimeoutSeconds"
	}
	if key, ok := subset(offered.Extra, accepted.Extra, nil); !ok {
		return join("extra", key)
	}
	return ""
}

// dynamic lists the members of an extension's info that may change between the offer and the echo.
var dynamic = map[string][]string{
	ExtensionOfferReceipt: {"offers"},
	ExtensionSignInWithX:  {"nonce", "issuedAt", "expirationTime"},
}

// MismatchExtensions names the first extension, in order of name, that the client echoed with another info than the
// server advertised, "" if none: the answer then is 402 with ReasonExtensionEcho. Extensions that only one side sent do not count.
func MismatchExtensions(advertised, echoed map[string]json.RawMessage) string {
	keys := make([]string, 0, len(advertised))
	for key := range advertised {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		sent, ok := echoed[key]
		if !ok {
			continue
		}
		var ours, theirs map[string]json.RawMessage // a struct would take "Info" for "info"
		if json.Unmarshal(advertised[key], &ours) != nil || json.Unmarshal(sent, &theirs) != nil {
			return key
		}
		if _, ok := subset(ours["info"], theirs["info"], dynamic[key]); !ok {
			return key
		}
	}
	return ""
}

// subset reports whether each member of want, but for those in except, is equal in have; otherwise the key at fault.
func subset(want, have json.RawMessage, except []string) (key string, ok bool) {
	var wanted, got map[string]json.RawMessage
	if json.Unmarshal(orEmpty(want), &wanted) != nil || json.Unmarshal(orEmpty(have), &got) != nil {
		return "", false
	}
	for _, name := range except {
		delete(wanted, name)
	}
	for name, value := range wanted {
		there, ok := got[name]
		if !ok || !sameJSON(value, there) {
			return name, false
		}
	}
	return "", true
}

func orEmpty(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("{}")
	}
	return raw
}

// sameJSON compares two JSON values, without regard to blanks, the order of keys and the spelling of numbers and strings.
func sameJSON(a, b json.RawMessage) bool {
	x, errX := readValue(a)
	y, errY := readValue(b)
	return errX == nil && errY == nil && sameValue(x, y)
}

func readValue(raw []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	err = dec.Decode(&v)
	return v, err
}

func sameValue(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for key, value := range x {
			if other, ok := y[key]; !ok || !sameValue(value, other) {
				return false
			}
		}
		return true
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !sameValue(x[i], y[i]) {
				return false
			}
		}
		return true
	case json.Number:
		y, ok := b.(json.Number)
		return ok && sameNumber(x, y)
	}
	return a == b // string, bool, nil
}

// sameNumber compares by value, exactly: 300, 300.0 and 3e2 are one number.
func sameNumber(a, b json.Number) bool { return a == b || plainNumber(a) == plainNumber(b) }

// plainNumber spells a JSON number as digits without outer zeros and a power of ten.
func plainNumber(n json.Number) string {
	text, exponent, _ := strings.Cut(strings.ToLower(string(n)), "e")
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "-", text[1:]
	}
	whole, fraction, _ := strings.Cut(text, ".")
	power := int64(0)
	if exponent != "" {
		var err error
		if power, err = strconv.ParseInt(exponent, 10, 32); err != nil {
			return string(n) // beyond any number of the protocol: equal only as text
		}
	}
	digits := strings.TrimLeft(whole+fraction, "0")
	short := strings.TrimRight(digits, "0")
	if short == "" {
		return "0"
	}
	power += int64(len(digits)-len(short)) - int64(len(fraction))
	return sign + short + "e" + strconv.FormatInt(power, 10)
}
