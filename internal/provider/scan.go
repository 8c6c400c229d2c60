package provider

import (
	"bytes"
	"encoding/json"
)

// member is one key and its value inside a JSON object: offsets into the text that was scanned. A string's offsets
// include its quotes.
type member struct {
	keyStart, keyEnd     int
	valueStart, valueEnd int
}

// is reports whether the member's key reads as name, escapes undone. Case counts.
func (m member) is(text []byte, name string) bool {
	raw := text[m.keyStart+1 : m.keyEnd-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw) == name
	}
	return unquote(text[m.keyStart:m.keyEnd]) == name
}

// value is the member's value as written.
func (m member) value(text []byte) []byte { return text[m.valueStart:m.valueEnd] }

// unquote is the string a JSON string literal stands for; empty if it is none.
func unquote(literal []byte) string {
	var s string
	if json.Unmarshal(literal, &s) != nil {
		return ""
	}
	return s
}

// quote is s as a JSON string literal, without the escapes that only HTML needs.
func quote(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// eachMember calls visit for the members of the object that opens at offset at, in order, without recursion: depth
// costs nothing. It returns the offset just past the object. On text that is not JSON it stops and reports false, having
// visited what came before; on valid JSON it never does. visit returns false to stop early, which also reports true.
func eachMember(text []byte, at int, visit func(member) bool) (end int, ok bool) {
	if at >= len(text) || text[at] != '{' {
		return at, false
	}
	at = skipSpace(text, at+1)
	if at < len(text) && text[at] == '}' {
		return at + 1, true
	}
	for {
		var m member
		m.keyStart = at
		if m.keyEnd, ok = skipString(text, at); !ok {
			return at, false
		}
		at = skipSpace(text, m.keyEnd)
		if at >= len(text) || text[at] != ':' {
			return at, false
		}
		m.valueStart = skipSpace(text, at+1)
		if m.valueEnd, ok = skipValue(text, m.valueStart); !ok {
			return m.valueStart, false
		}
		if !visit(m) {
			return m.valueEnd, true
		}
		at = skipSpace(text, m.valueEnd)
		if at >= len(text) {
			return at, false
		}
		if text[at] == '}' {
			return at + 1, true
		}
		if text[at] != ',' {
			return at, false
		}
		at = skipSpace(text, at+1)
	}
}

// skipSpace is the offset of the first byte from at on that is not JSON white space.
func skipSpace(text []byte, at int) int {
	for at < len(text) && (text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r') {
		at++
	}
	return at
}

// skipString is the offset past the string that opens at at.
func skipString(text []byte, at int) (end int, ok bool) {
	if at >= len(text) || text[at] != '"' {
		return at, false
	}
	for at++; at < len(text); at++ {
		switch text[at] {
		case '"':
			return at + 1, true
		case '\\':
			at++
		}
	}
	return len(text), false
}

// skipValue is the offset past the value that begins at at.
func skipValue(text []byte, at int) (end int, ok bool) {
	if at >= len(text) {
		return at, false
	}
	switch text[at] {
	case '"':
		return skipString(text, at)
	case '{', '[':
		return skipNested(text, at)
	}
	end = at
	for end < len(text) && bytes.IndexByte([]byte(" \t\r\n,:]}[{\""), text[end]) < 0 {
		end++
	}
	return end, end > at
}

// skipNested is the offset past the object or array that opens at at, whatever brackets close it: the text is either
// known to be valid or only read as far as makes sense.
func skipNested(text []byte, at int) (end int, ok bool) {
	depth := 0
	for at < len(text) {
		switch text[at] {
		case '"':
			if at, ok = skipString(text, at); !ok {
				return at, false
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			if depth == 0 {
				return at + 1, true
			}
		}
		at++
	}
	return at, false
}
