package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// ErrNotAnswer means a vendor's successful status came with a body that is not an answer.
var ErrNotAnswer = errors.New("body is not an answer")

// ReplaceID changes the value of the top-level "id" in an answer or chunk, if it is a string, and no other byte. Data
// without one, and data that is not an object, comes back as it was.
func ReplaceID(data []byte, id string) []byte {
	var edits []edit
	_, ok := eachMember(data, skipSpace(data, 0), func(m member) bool {
		if m.is(data, "id") && data[m.valueStart] == '"' {
			edits = append(edits, edit{m.valueStart, m.valueEnd, quote(id)})
		}
		return true
	})
	if !ok {
		return data
	}
	return apply(data, edits)
}

// IsUsageOnlyChunk reports whether a chunk is the one OpenAI adds for include_usage: choices empty, usage an object. A
// chunk with empty choices and no usage (Azure's first) is not one.
func IsUsageOnlyChunk(data []byte) bool {
	emptyChoices, usage := false, false
	_, ok := eachMember(data, skipSpace(data, 0), func(m member) bool {
		v := m.value(data)
		switch {
		case m.is(data, "choices"):
			emptyChoices = v[0] == '[' && skipSpace(v, 1) == len(v)-1
		case m.is(data, "usage"):
			usage = v[0] == '{'
		}
		return true
	})
	return ok && emptyChoices && usage
}

// IsErrorFrame reports whether a frame says that the work failed: an error event, data with a top-level error, or a
// Responses answer that ends as failed.
func IsErrorFrame(f Frame) bool {
	return f.Event == "error" || f.Event == "response.failed" || hasError(f.Data)
}

// hasError reports whether an object has a top-level "error" that is not null, or the type "error". A Responses answer
// is one also when its work failed: it has an id, a status and an error, and is what the caller asked for.
func hasError(data []byte) bool {
	failed, answer := false, false
	eachMember(data, skipSpace(data, 0), func(m member) bool {
		switch {
		case m.is(data, "error"):
			failed = failed || string(m.value(data)) != "null"
		case m.is(data, "type"):
			failed = failed || string(m.value(data)) == `"error"` || string(m.value(data)) == `"response.failed"`
		case m.is(data, "object"):
			answer = answer || string(m.value(data)) == `"response"`
		}
		return true
	})
	return failed && !answer
}

// CheckAnswer refuses the plain body of a 2xx answer that is no answer: not JSON, cut short, not an object, or an
// error in disguise. Its errors match ErrNotAnswer and quote nothing of the body.
func CheckAnswer(body []byte) error {
	at := skipSpace(body, 0)
	switch {
	case at == len(body):
		return fmt.Errorf("empty: %w", ErrNotAnswer)
	case !json.Valid(body):
		return fmt.Errorf("not JSON: %w", ErrNotAnswer)
	case body[at] != '{':
		return fmt.Errorf("not an object: %w", ErrNotAnswer)
	case hasError(body):
		return fmt.Errorf("an error: %w", ErrNotAnswer)
	}
	return nil
}

// RewriteFrame is the frame with the top-level id of its data replaced, in Data and in Raw. Every other byte of Raw,
// its line ends, comments and other fields among them, is as it was. A frame without an id comes back unchanged.
func RewriteFrame(f Frame, id string) Frame {
	data := ReplaceID(f.Data, id)
	if len(f.Data) == 0 || &data[0] == &f.Data[0] {
		return f
	}
	out := f
	out.Data = data
	if len(f.Raw) == len(f.Data) { // a plain body: an event has at least "data:" besides
		out.Raw = data
		return out
	}
	// A stream's first line may follow a byte order mark; anywhere else the mark hides the line. Only one reading has
	// as many data lines as the frame.
	for _, mark := range [][]byte{nil, bom} {
		if raw, ok := replaceDataLines(f.Raw, data, mark); ok {
			out.Raw = raw
			return out
		}
	}
	return f
}

// replaceDataLines puts the lines of data in place of the values of raw's data lines; their numbers must agree.
// mark is what may stand before the first line.
func replaceDataLines(raw, data, mark []byte) (out []byte, ok bool) {
	text, marked := bytes.CutPrefix(raw, mark)
	out = make([]byte, 0, len(raw)+len(data))
	if marked {
		out = append(out, mark...)
	}
	more := true
	for len(text) > 0 {
		var line, terminator []byte
		line, terminator, text = cutLine(text)
		name, value := field(line)
		if string(name) != "data" {
			out = append(append(out, line...), terminator...)
			continue
		}
		if !more {
			return nil, false
		}
		var next []byte
		next, data, more = bytes.Cut(data, []byte("\n"))
		out = append(out, line[:len(line)-len(value)]...)
		out = append(append(out, next...), terminator...)
	}
	return out, !more
}
