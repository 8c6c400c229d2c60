package api

import (
	"bytes"
	"encoding"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/fault"
	"p402.io/p402/meter"
)

const (
	// maxDepth bounds the nesting of a body (PRODUCT §1).
	maxDepth = 64
	// lenient is the query parameter that lets unknown fields pass; they are named in the answer.
	lenient    = "lenient"
	ignoredKey = "p402.ignored"
)

// decode reads a small JSON body strictly: one object, every field known by its exact name, none twice.
func decode(c *gin.Context, into any) error {
	raw, err := body(c)
	if err != nil {
		return err
	}
	return strict(c, raw, into)
}

// decodeClean is decode for bodies that must hold no content of calls: a forbidden key at any depth is refused by its
// path, before anything else is looked at.
func decodeClean(c *gin.Context, into any) error {
	raw, err := body(c)
	if err != nil {
		return err
	}
	if path := meter.ForbiddenPath(raw); path != "" {
		return fault.Field(fault.KindInvalid, "FORBIDDEN_CONTENT_KEY", path, "content does not belong in the ledger").With("path", path)
	}
	return strict(c, raw, into)
}

// body reads the request's JSON.
func body(c *gin.Context) ([]byte, error) {
	if err := gateway.CheckJSONType(c.Request.Header); err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, gateway.MaxAPIBody))
	if err != nil {
		return nil, err
	}
	switch trimmed := bytes.TrimSpace(raw); {
	case tooDeep(raw):
		return nil, fault.New(fault.KindTooLarge, "BODY_TOO_DEEP", "the body is nested more than 64 deep")
	case !utf8.Valid(raw):
		return nil, fault.New(fault.KindInvalid, "INVALID_JSON", "the body is not UTF-8")
	case len(trimmed) == 0 || trimmed[0] != '{' || !json.Valid(trimmed):
		return nil, fault.New(fault.KindInvalid, "INVALID_JSON", "the body is not one JSON object")
	}
	return raw, nil
}

func strict(c *gin.Context, raw []byte, into any) error {
	w := walker{tolerant: c.Query(lenient) == "1"}
	if err := w.walk(raw, reflect.TypeOf(into).Elem(), ""); err != nil {
		return err
	}
	c.Set(ignoredKey, w.unknown)
	if err := json.Unmarshal(raw, into); err != nil {
		return fault.New(fault.KindInvalid, "INVALID_JSON", "the body is not the JSON object this route reads").Because(err)
	}
	return nil
}

// walker goes through a body beside the Go type that will take it, and finds what encoding/json lets pass: names that come
// twice, names in another case, unknown names, text that no column can hold. Refusals name the path and repeat no value.
type walker struct {
	tolerant bool // unknown names are noted, not refused
	unknown  []string
}

// tooDeep counts brackets outside texts, in one pass, before anything recursive meets the body.
func tooDeep(raw []byte) bool {
	depth, inText := 0, false
	for i := 0; i < len(raw); i++ {
		switch b := raw[i]; {
		case inText && b == '\\':
			i++
		case b == '"':
			inText = !inText
		case inText:
		case b == '{' || b == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case b == '}' || b == ']':
			depth--
		}
	}
	return false
}

// walk checks one value. t is nil below an unknown field and in free objects.
func (w *walker) walk(raw json.RawMessage, t reflect.Type, path string) error {
	raw = bytes.TrimSpace(raw)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if raw[0] == '"' && !storable(raw) {
		return invalid(path, "holds characters that cannot be kept (NUL or broken Unicode)")
	}
	if t != nil && string(raw) != "null" {
		if err := fits(raw, t, path); err != nil {
			return err
		}
	}
	switch raw[0] {
	case '{':
		return w.object(raw, t, path)
	case '[':
		return w.list(raw, t, path)
	}
	return nil
}

func (w *walker) object(raw json.RawMessage, t reflect.Type, path string) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string) // in an object every other token is a name
		here := strings.TrimPrefix(path+"."+clip(name), ".")
		if seen[name] {
			return fault.Field(fault.KindInvalid, "DUPLICATE_FIELD", here, "is given twice")
		}
		seen[name] = true
		if !printable(name) {
			return invalid(path, "has a name with control characters or broken Unicode")
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		below, err := w.field(t, name, here)
		if err != nil {
			return err
		}
		if err := w.walk(value, below, here); err != nil {
			return err
		}
	}
	return nil
}

// field is the type of a named field; nil where anything may stand.
func (w *walker) field(t reflect.Type, name, path string) (reflect.Type, error) {
	switch {
	case t == nil || reads(t):
		return nil, nil
	case t.Kind() == reflect.Map:
		return t.Elem(), nil
	case t.Kind() != reflect.Struct:
		return nil, nil
	}
	for i := range t.NumField() {
		tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		switch {
		case tag == name:
			return t.Field(i).Type, nil
		case strings.EqualFold(tag, name):
			return nil, fault.Field(fault.KindInvalid, "UNKNOWN_FIELD", path, "is written "+tag)
		}
	}
	if !w.tolerant {
		return nil, fault.Field(fault.KindInvalid, "UNKNOWN_FIELD", path, "is not a field of this request")
	}
	w.unknown = append(w.unknown, path)
	return nil, nil
}

func (w *walker) list(raw json.RawMessage, t reflect.Type, path string) error {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return err
	}
	var below reflect.Type
	if t != nil && t.Kind() == reflect.Slice {
		below = t.Elem()
	}
	for i, item := range items {
		if err := w.walk(item, below, index(path, i)); err != nil {
			return err
		}
	}
	return nil
}

// fits checks a value against the kind of its field.
func fits(raw json.RawMessage, t reflect.Type, path string) error {
	if reads(t) {
		if json.Unmarshal(raw, reflect.New(t).Interface()) != nil {
			return invalid(path, mustBe(t))
		}
		return nil
	}
	ok := true
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		ok = raw[0] == '{'
	case reflect.Slice:
		ok = raw[0] == '['
	default:
		ok = json.Unmarshal(raw, reflect.New(t).Interface()) == nil
	}
	if !ok {
		return invalid(path, mustBe(t))
	}
	return nil
}

// reads reports a type that reads JSON itself: money, times.
func reads(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func mustBe(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "must be a text"
	case reflect.Bool:
		return "must be true or false"
	case reflect.Int, reflect.Int64:
		return "must be a whole number"
	case reflect.Slice:
		return "must be a list"
	case reflect.Map:
		return "must be an object"
	}
	switch t.Name() {
	case "Time":
		return "must be an RFC 3339 time with its offset"
	case "USD":
		return "must be a decimal number, best as a text"
	}
	return "must be an object"
}

// storable reports that a JSON string has neither NUL nor a lone surrogate, which Go would silently replace.
func storable(raw json.RawMessage) bool {
	var text string
	return json.Unmarshal(raw, &text) == nil && !strings.ContainsRune(text, 0) && !strings.ContainsRune(text, utf8.RuneError)
}

// printable reports text that may stand in an id, a name or a filter: valid UTF-8 without control characters.
func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError })
}

// parseQuery refuses what net/url would silently drop.
func parseQuery(c *gin.Context) (url.Values, error) {
	query, err := url.ParseQuery(c.Request.URL.RawQuery)
	if err != nil {
		return nil, fault.New(fault.KindInvalid, "INVALID_QUERY", "the query string is malformed")
	}
	return query, nil
}
