package provider

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Edits of request and answer bodies that leave every byte they are not about as it was: numbers keep their digits, keys
// their order, text its escapes and white space. Where a key stands twice, every occurrence is edited, so that a vendor
// reading the first and one reading the last see the same. Bodies handed in are never changed; an edit that has nothing
// to do gives back the very slice. Requests must be valid JSON (the surface has checked); on other text they are refused.

// ErrNotObject means a body is not one JSON object.
var ErrNotObject = errors.New("body is not a JSON object")

// ErrNotInteger means a token limit is not a plain whole number, so that it cannot be compared.
var ErrNotInteger = errors.New("token limit is not a whole number")

// edit replaces text[start:end] by with.
type edit struct {
	start, end int
	with       []byte
}

// apply is text with the edits made; they must be in order and apart.
func apply(text []byte, edits []edit) []byte {
	if len(edits) == 0 {
		return text
	}
	size := len(text)
	for _, e := range edits {
		size += len(e.with) - (e.end - e.start)
	}
	out := make([]byte, 0, size)
	at := 0
	for _, e := range edits {
		out = append(append(out, text[at:e.start]...), e.with...)
		at = e.end
	}
	return append(out, text[at:]...)
}

// members is every member of the one object text is, and the offset of its opening brace.
func members(text []byte) (all []member, open int, err error) {
	open = skipSpace(text, 0)
	end, ok := eachMember(text, open, func(m member) bool {
		all = append(all, m)
		return true
	})
	if !ok || skipSpace(text, end) != len(text) {
		return nil, 0, ErrNotObject
	}
	return all, open, nil
}

// insertion puts one more member at the front of an object that opens at open and has others or not.
func insertion(open int, name string, value []byte, others bool) edit {
	with := append(append(quote(name), ':'), value...)
	if others {
		with = append(with, ',')
	}
	return edit{open + 1, open + 1, with}
}

// SetModel makes model the body's model, adding the member if there is none.
func SetModel(body []byte, model string) ([]byte, error) {
	all, open, err := members(body)
	if err != nil {
		return nil, fmt.Errorf("set model: %w", err)
	}
	literal := quote(model)
	var edits []edit
	found := false
	for _, m := range all {
		if !m.is(body, "model") {
			continue
		}
		found = true
		if !bytes.Equal(m.value(body), literal) {
			edits = append(edits, edit{m.valueStart, m.valueEnd, literal})
		}
	}
	if !found {
		edits = append(edits, insertion(open, "model", literal, len(all) > 0))
	}
	return apply(body, edits), nil
}

// SetIncludeUsage makes the body ask for a usage chunk at the end of its stream (stream_options.include_usage) and
// reports whether it asked already; if not, that chunk must be hidden from the client. A stream_options that is neither
// object nor null, or an include_usage that is neither boolean nor null, is left for the vendor to refuse.
func SetIncludeUsage(body []byte) (out []byte, asked bool, err error) {
	all, open, err := members(body)
	if err != nil {
		return nil, false, fmt.Errorf("set include_usage: %w", err)
	}
	var edits []edit
	found := false
	for _, m := range all {
		if !m.is(body, "stream_options") {
			continue
		}
		found = true
		var made []edit
		made, asked = includeUsage(body, m)
		edits = append(edits, made...)
	}
	if !found {
		edits = append(edits, insertion(open, "stream_options", []byte(`{"include_usage":true}`), len(all) > 0))
	}
	return apply(body, edits), asked, nil
}

// includeUsage edits one stream_options member. asked is the flag as a reader of the last occurrence has it.
func includeUsage(body []byte, options member) (edits []edit, asked bool) {
	switch body[options.valueStart] {
	case 'n':
		return []edit{{options.valueStart, options.valueEnd, []byte(`{"include_usage":true}`)}}, false
	case '{':
	default:
		return nil, false
	}
	found, others := false, false
	eachMember(body, options.valueStart, func(m member) bool {
		others = true
		if !m.is(body, "include_usage") {
			return true
		}
		found = true
		switch string(m.value(body)) {
		case "true":
			asked = true
		case "false", "null":
			asked = false
			edits = append(edits, edit{m.valueStart, m.valueEnd, []byte("true")})
		}
		return true
	})
	if !found {
		edits = append(edits, insertion(options.valueStart, "include_usage", []byte("true"), others))
	}
	return edits, asked
}

// RemoveKeys takes the named top-level members out of the body, for fields a vendor refuses.
func RemoveKeys(body []byte, keys ...string) ([]byte, error) {
	all, _, err := members(body)
	if err != nil {
		return nil, fmt.Errorf("remove keys: %w", err)
	}
	edits, _ := removals(body, all, keys)
	return apply(body, edits), nil
}

// RemoveMessageKeys takes the named members out of every message of a chat body, for vendors that refuse them there.
func RemoveMessageKeys(body []byte, keys ...string) ([]byte, error) {
	all, _, err := members(body)
	if err != nil {
		return nil, fmt.Errorf("remove message keys: %w", err)
	}
	var edits []edit
	for _, m := range all {
		if !m.is(body, "messages") || body[m.valueStart] != '[' {
			continue
		}
		for at := skipSpace(body, m.valueStart+1); at < m.valueEnd && body[at] == '{'; {
			var of []member
			end, ok := eachMember(body, at, func(k member) bool {
				of = append(of, k)
				return true
			})
			if !ok {
				break
			}
			more, _ := removals(body, of, keys)
			edits = append(edits, more...)
			if at = skipSpace(body, end); at < m.valueEnd && body[at] == ',' {
				at = skipSpace(body, at+1)
			}
		}
	}
	return apply(body, edits), nil
}

// RenameKey gives a top-level member another name, for vendors that know a field by it; where the body has that name
// already, the member is taken out instead.
func RenameKey(body []byte, from, to string) ([]byte, error) {
	all, _, err := members(body)
	if err != nil {
		return nil, fmt.Errorf("rename key: %w", err)
	}
	if slices.ContainsFunc(all, func(m member) bool { return m.is(body, to) }) {
		return RemoveKeys(body, from)
	}
	var edits []edit
	for _, m := range all {
		if m.is(body, from) {
			edits = append(edits, edit{m.keyStart, m.keyEnd, quote(to)})
		}
	}
	return apply(body, edits), nil
}

// DropMetadata takes metadata out of the body altogether.
func DropMetadata(body []byte) ([]byte, error) { return RemoveKeys(body, "metadata") }

// RemoveMetadataKeys takes the named keys out of the body's metadata, and metadata itself if that leaves nothing of it.
// A metadata that is not an object stays as it is.
func RemoveMetadataKeys(body []byte, keys []string) ([]byte, error) {
	all, _, err := members(body)
	if err != nil {
		return nil, fmt.Errorf("remove metadata keys: %w", err)
	}
	var edits []edit
	emptied := false
	for _, m := range all {
		if !m.is(body, "metadata") || body[m.valueStart] != '{' {
			continue
		}
		var inside []member
		eachMember(body, m.valueStart, func(k member) bool {
			inside = append(inside, k)
			return true
		})
		cut, left := removals(body, inside, keys)
		edits = append(edits, cut...)
		emptied = emptied || len(cut) > 0 && left == 0
	}
	out := apply(body, edits)
	if !emptied {
		return out, nil
	}
	return dropEmptyMetadata(out)
}

// KeepMetadataKeys takes every key but the named ones out of the body's metadata, and metadata itself if that leaves
// nothing of it. A metadata that is not an object stays as it is.
func KeepMetadataKeys(body []byte, keys ...string) ([]byte, error) {
	all, _, err := members(body)
	if err != nil {
		return nil, fmt.Errorf("keep metadata keys: %w", err)
	}
	var gone []string
	for _, m := range all {
		if !m.is(body, "metadata") || body[m.valueStart] != '{' {
			continue
		}
		eachMember(body, m.valueStart, func(k member) bool {
			if key := unquote(body[k.keyStart:k.keyEnd]); !slices.Contains(keys, key) {
				gone = append(gone, key)
			}
			return true
		})
	}
	if len(gone) == 0 {
		return body, nil
	}
	return RemoveMetadataKeys(body, gone)
}

// dropEmptyMetadata takes out a metadata with nothing in it.
func dropEmptyMetadata(body []byte) ([]byte, error) {
	all, _, err := members(body)
	if err != nil {
		return nil, fmt.Errorf("drop empty metadata: %w", err)
	}
	edits, _ := cutMembers(all, func(m member) bool {
		v := m.value(body)
		return m.is(body, "metadata") && v[0] == '{' && skipSpace(v, 1) == len(v)-1
	})
	return apply(body, edits), nil
}

// removals cuts the members with the given keys, each with one comma, and counts the members left.
func removals(text []byte, all []member, keys []string) (edits []edit, left int) {
	return cutMembers(all, func(m member) bool {
		for _, key := range keys {
			if m.is(text, key) {
				return true
			}
		}
		return false
	})
}

// cutMembers cuts the members that gone names. A cut one takes the comma after it along while nothing before it stays,
// and the comma before it otherwise, so that what is left is joined by exactly one comma between any two.
func cutMembers(all []member, gone func(member) bool) (edits []edit, left int) {
	for i, m := range all {
		switch {
		case !gone(m):
			left++
		case left > 0:
			edits = append(edits, edit{start: all[i-1].valueEnd, end: m.valueEnd})
		case i+1 < len(all):
			edits = append(edits, edit{start: m.keyStart, end: all[i+1].keyStart})
		default:
			edits = append(edits, edit{start: m.keyStart, end: m.valueEnd})
		}
	}
	return edits, left
}

// CapMaxTokens makes the body ask for at most limit output tokens: max_tokens, max_completion_tokens and
// max_output_tokens are lowered where they are above limit or null. If there is none of them, the member named addAs is
// added; addAs "" adds nothing. A limit that is not a plain whole number matches ErrNotInteger.
func CapMaxTokens(body []byte, limit int64, addAs string) ([]byte, error) {
	all, open, err := members(body)
	if err != nil {
		return nil, fmt.Errorf("cap max tokens: %w", err)
	}
	literal := strconv.AppendInt(nil, limit, 10)
	var edits []edit
	found := false
	for _, m := range all {
		if !m.is(body, "max_tokens") && !m.is(body, "max_completion_tokens") && !m.is(body, "max_output_tokens") {
			continue
		}
		found = true
		over, err := exceeds(string(m.value(body)), limit)
		if err != nil {
			return nil, fmt.Errorf("cap max tokens: %w", err)
		}
		if over {
			edits = append(edits, edit{m.valueStart, m.valueEnd, literal})
		}
	}
	if !found && addAs != "" {
		edits = append(edits, insertion(open, addAs, literal, len(all) > 0))
	}
	return apply(body, edits), nil
}

// exceeds reports whether a JSON number is above limit; null, no limit at all, is.
func exceeds(literal string, limit int64) (bool, error) {
	if literal == "null" {
		return true, nil
	}
	n, err := strconv.ParseInt(literal, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return !strings.HasPrefix(literal, "-"), nil
	}
	if err != nil {
		return false, ErrNotInteger
	}
	return n > limit, nil
}

// AmbiguousKey is the first top-level key that stands twice in the body, also if only case tells the two apart (a vendor
// may read keys without regard to case): what was priced would not be what is run. Empty if there is none.
func AmbiguousKey(body []byte) (string, error) {
	all, _, err := members(body)
	if err != nil {
		return "", fmt.Errorf("look for ambiguous keys: %w", err)
	}
	seen := make(map[string]bool, len(all))
	for _, m := range all {
		key := unquote(body[m.keyStart:m.keyEnd])
		folded := strings.ToLower(strings.ToUpper(key)) // both, as some letters fold only one way
		if seen[folded] {
			return key, nil
		}
		seen[folded] = true
	}
	return "", nil
}
