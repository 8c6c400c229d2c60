package provider

import (
	"bytes"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// walkObject visits the members of the object that value is, in order, without allocating: the keys and values are parts
// of value. Anything else is visited not at all, broken JSON as far as it makes sense.
func walkObject(value []byte, visit func(key, value []byte)) {
	eachMember(value, skipSpace(value, 0), func(m member) bool {
		key := value[m.keyStart+1 : m.keyEnd-1]
		if bytes.IndexByte(key, '\\') >= 0 {
			key = []byte(unquote(value[m.keyStart:m.keyEnd]))
		}
		visit(key, m.value(value))
		return true
	})
}

// walkArray visits the elements of the array that value is.
func walkArray(value []byte, visit func(element []byte)) {
	at := skipSpace(value, 0)
	if at >= len(value) || value[at] != '[' {
		return
	}
	for at = skipSpace(value, at+1); at < len(value) && value[at] != ']'; at = skipSpace(value, at) {
		end, ok := skipValue(value, at)
		if !ok {
			return
		}
		visit(value[at:end])
		if at = skipSpace(value, end); at >= len(value) || value[at] != ',' {
			return
		}
		at++
	}
}

// text is the value as a string, "" if it is none.
func text(value []byte) string {
	if len(value) < 2 || value[0] != '"' {
		return ""
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1])
	}
	return unquote(value)
}

func isNull(value []byte) bool   { return string(value) == "null" }
func isObject(value []byte) bool { return len(value) > 0 && value[0] == '{' }
func isArray(value []byte) bool  { return len(value) > 0 && value[0] == '[' }

// emptyArray reports whether value is an array with nothing in it.
func emptyArray(value []byte) bool {
	return isArray(value) && skipSpace(value, 1) == len(value)-1
}

// textLen is how many UTF-8 bytes a JSON string stands for; 0 for any other value. Nothing is copied.
func textLen(value []byte) int64 {
	if len(value) < 2 || value[0] != '"' {
		return 0
	}
	body := value[1 : len(value)-1]
	if bytes.IndexByte(body, '\\') < 0 {
		return int64(len(body))
	}
	var n int64
	for at := 0; at < len(body); {
		if body[at] != '\\' {
			n, at = n+1, at+1
			continue
		}
		if at+1 < len(body) && body[at+1] == 'u' {
			size, used := unicodeEscape(body[at:])
			n, at = n+size, at+used
			continue
		}
		n, at = n+1, at+2
	}
	return n
}

// unicodeEscape is how many UTF-8 bytes the \u escape at the start of body stands for, and how long it is written; a
// pair of surrogates is one character, a lone one the replacement character.
func unicodeEscape(body []byte) (size int64, used int) {
	first, ok := hex4(body)
	if !ok {
		return 1, 2
	}
	if first >= 0xd800 && first < 0xdc00 {
		if second, ok := hex4(body[6:]); ok && second >= 0xdc00 && second < 0xe000 {
			return 4, 12
		}
	}
	if !utf8.ValidRune(first) {
		first = utf8.RuneError
	}
	return int64(utf8.RuneLen(first)), 6
}

func hex4(body []byte) (rune, bool) {
	if len(body) < 6 || body[0] != '\\' || body[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range body[2:6] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// contentDepth bounds how deep parts are looked into: a tool result's content is a part within a part.
const contentDepth = 3

// contentLen is the text of a message's content: a string, one part, or parts with a "text".
func contentLen(value []byte) int64 { return partLen(value, contentDepth) }

func partLen(value []byte, depth int) int64 {
	var n int64
	switch {
	case depth == 0:
	case isArray(value):
		walkArray(value, func(part []byte) { n += partLen(part, depth-1) })
	case isObject(value):
		walkObject(value, func(key, v []byte) {
			switch string(key) {
			case "text", "refusal", "thinking":
				n += textLen(v)
			case "content":
				n += partLen(v, depth-1)
			}
		})
	default:
		n = textLen(value)
	}
	return n
}

// requestLen is the UTF-8 length of the text that a request puts before the model: messages or input, nothing else.
func requestLen(body []byte) int64 {
	var n int64
	walkObject(body, func(key, value []byte) {
		switch string(key) {
		case "messages", "contents", "input":
			n += promptLen(value)
		case "prompt", "texts":
			n += contentLen(value)
		}
	})
	return n
}

// promptLen counts a list of messages (OpenAI, Anthropic, Cohere, Bedrock, Ollama), of contents (Gemini), of input items
// (Responses), or of plain texts (embeddings).
func promptLen(value []byte) int64 {
	if !isArray(value) {
		return contentLen(value)
	}
	var n int64
	walkArray(value, func(item []byte) {
		if !isObject(item) {
			n += contentLen(item)
			return
		}
		walkObject(item, func(key, v []byte) {
			switch string(key) {
			case "content", "parts":
				n += contentLen(v)
			case "text":
				n += textLen(v)
			}
		})
	})
	return n
}

// quarter is the agreed estimate: four bytes of text a token, rounded up.
func quarter(bytes int64) int64 { return (bytes + 3) / 4 }

// characters is how many Unicode code points a request's input has: what speech is billed by.
func characters(request []byte) int64 {
	return int64(utf8.RuneCountInString(gjson.GetBytes(request, "input").Str))
}
