package provider

import (
	"bytes"

	"github.com/tidwall/gjson"
)

// TopLevelID is the id a vendor gave its answer or chunk, or "".
func TopLevelID(data []byte) string {
	if len(data) == 0 || data[0] != '{' {
		return ""
	}
	return gjson.GetBytes(data, "id").Str
}

// AsksUsage reports whether a streaming body itself asks for the usage chunk.
func AsksUsage(body []byte) bool {
	_, asked, err := SetIncludeUsage(body)
	return err == nil && asked
}

// HideUsage takes the empty usage member out of a chunk: vendors write "usage":null into every chunk of a stream that
// asked for usage, and the caller did not ask.
func HideUsage(f Frame) Frame {
	if !bytes.Contains(f.Data, []byte(`"usage"`)) || gjson.GetBytes(f.Data, "usage").Type != gjson.Null {
		return f
	}
	data, err := RemoveKeys(f.Data, "usage")
	at := bytes.Index(f.Raw, f.Data)
	if err != nil || at < 0 {
		return f
	}
	raw := append(append(append([]byte(nil), f.Raw[:at]...), data...), f.Raw[at+len(f.Data):]...)
	return Frame{Event: f.Event, Data: data, Raw: raw}
}
