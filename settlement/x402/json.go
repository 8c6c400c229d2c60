package x402

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deep JSON may nest. The deepest object of the protocol is an extension's JSON Schema, about ten
// levels; 32 is ours.
const maxDepth = 32

// opaque names the members whose insides are handed on as they came and never read into our own structs, so that keys
// there may differ by letter case alone.
var opaque = map[string]bool{"extensions": true, "extra": true, "schema": true, "outputSchema": true}

// Decode reads exactly one JSON value into v. Unknown members are allowed. Refused are: text that is not UTF-8, half
// surrogates, nesting past 32 levels, anything after the value, a key that comes twice in one object, and keys that differ by
// letter case alone (encoding/json would take either). The error is an *Error and does not repeat the input.
// The caller bounds the size.
func Decode(raw []byte, v any) error {
	if err := checkJSON(raw, true); err != nil {
		return err
	}
	if json.Unmarshal(raw, v) != nil {
		return Refuse(ReasonInvalidPayload, "", "is not JSON of the expected shape")
	}
	return nil
}

// checkJSON reports whether every reader would see the same value in raw.
func checkJSON(raw []byte, foldKeys bool) error {
	if !utf8.Valid(raw) || !json.Valid(raw) || halfSurrogate(raw) {
		return Refuse(ReasonInvalidPayload, "", "is not one JSON value in UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	return checkValue(dec, "", maxDepth, foldKeys)
}

func checkValue(dec *json.Decoder, at string, depth int, foldKeys bool) error {
	token, err := dec.Token()
	if err != nil {
		return Refuse(ReasonInvalidPayload, at, "is not JSON")
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth == 0 {
		return Refuse(ReasonInvalidPayload, "", "nests too deep") // the path would be as long as the attack
	}
	seen := map[string]bool{}
	for dec.More() {
		inside, folded := at, foldKeys
		if delim == '{' {
			key, err := checkKey(dec, at, seen, foldKeys)
			if err != nil {
				return err
			}
			inside, folded = join(at, key), foldKeys && !opaque[key]
		}
		if err := checkValue(dec, inside, depth-1, folded); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return Refuse(ReasonInvalidPayload, at, "is not JSON")
	}
	return nil
}

func checkKey(dec *json.Decoder, at string, seen map[string]bool, foldKeys bool) (string, error) {
	token, err := dec.Token()
	key, ok := token.(string)
	if err != nil || !ok {
		return "", Refuse(ReasonInvalidPayload, at, "is not JSON")
	}
	name := key
	if foldKeys {
		name = strings.ToLower(strings.ToUpper(key)) // as encoding/json folds: also the long s and the Kelvin sign
	}
	if seen[name] {
		return "", Refuse(ReasonInvalidPayload, at, "has the same key twice")
	}
	seen[name] = true
	return key, nil
}

// maxPath bounds a field's path in an Error.
const maxPath = 80

var keyForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,40}$`)

// join is the path of a member. Keys are the sender's: one that is not a plain word is not repeated.
func join(at, key string) string {
	if !keyForm.MatchString(key) {
		key = "?"
	}
	switch {
	case at == "":
		return key
	case len(at)+1+len(key) > maxPath:
		return at
	}
	return at + "." + key
}

// halfSurrogate finds a \uD800..\uDFFF escape without its other half: encoding/json would turn different ones into the same
// replacement character. raw is valid JSON, so a backslash stands only in a string and four digits follow a \u.
func halfSurrogate(raw []byte) bool {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		i++ // the escaped character
		if raw[i] != 'u' {
			continue
		}
		first := unit(raw[i+1:])
		i += 4
		if !utf16.IsSurrogate(first) {
			continue
		}
		if len(raw) < i+7 || raw[i+1] != '\\' || raw[i+2] != 'u' || utf16.DecodeRune(first, unit(raw[i+3:])) == utf8.RuneError {
			return true
		}
		i += 6
	}
	return false
}

func unit(digits []byte) rune {
	n, err := strconv.ParseUint(string(digits[:4]), 16, 16)
	if err != nil {
		return utf8.RuneError
	}
	return rune(n)
}

// object is a JSON object by exact key, with its path for errors. encoding/json's structs match keys in any letter case;
// a payment is read through this instead.
type object struct {
	at      string
	members map[string]json.RawMessage
}

func readObject(raw json.RawMessage, at string) (object, error) {
	o := object{at: at}
	if json.Unmarshal(raw, &o.members) != nil || o.members == nil {
		return o, Refuse(ReasonInvalidPayload, at, "must be an object")
	}
	return o, nil
}

// has reports whether a member is there; null counts as absent.
func (o object) has(key string) bool {
	raw, ok := o.members[key]
	return ok && string(raw) != "null"
}

func (o object) object(key string) (object, error) {
	if !o.has(key) {
		return object{}, Refuse(ReasonInvalidPayload, join(o.at, key), "is missing")
	}
	return readObject(o.members[key], join(o.at, key))
}

func (o object) text(key string) (string, error) {
	if !o.has(key) {
		return "", Refuse(ReasonInvalidPayload, join(o.at, key), "is missing")
	}
	var s string
	if json.Unmarshal(o.members[key], &s) != nil {
		return "", Refuse(ReasonInvalidPayload, join(o.at, key), "must be a string")
	}
	return s, nil
}

// texts reads required strings, in the order given.
func (o object) texts(want ...member) error {
	for _, m := range want {
		s, err := o.text(m.key)
		if err != nil {
			return err
		}
		*m.into = s
	}
	return nil
}

type member struct {
	key  string
	into *string
}

// number is a required JSON number as it is written; a string of digits is not one.
func (o object) number(key string) (json.Number, error) {
	raw := o.members[key]
	if len(raw) == 0 || (raw[0] != '-' && (raw[0] < '0' || raw[0] > '9')) {
		return "", Refuse(ReasonInvalidPayload, join(o.at, key), "must be a number")
	}
	return json.Number(raw), nil
}
