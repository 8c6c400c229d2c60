package provider

import (
	"bytes"

	"github.com/tidwall/gjson"
)

// TopLevelID is the id a vendor gave its answer or chunk, or "". The first event of a Responses or Messages stream has
// it one level down, in the answer that it begins.
func TopLevelID(data []byte) string {
	if len(data) == 0 || data[0] != '{' {
		return ""
	}
	ids := gjson.GetManyBytes(data, "id", "response.id", "message.id")
	for _, id := range ids {
		if id.Type == gjson.String {
			return id.Str
		}
	}
	return ""
}

// EndsStream reports whether a frame is the last of its stream: [DONE] in the chat form, the event that holds the whole
// answer in the Responses form, message_stop in the Messages form. Events are known by name, or by type where a vendor
// names none.
func EndsStream(f Frame) bool {
	if bytes.Equal(f.Data, []byte("[DONE]")) {
		return true
	}
	name := f.Event
	if name == "" && len(f.Data) > 0 && f.Data[0] == '{' && mentionsEnd(f.Data) {
		name = gjson.GetBytes(f.Data, "type").Str
	}
	switch name {
	case "message_stop", "response.completed", "response.incomplete", "response.failed":
		return true
	}
	return false
}

// mentionsEnd spares most frames a reading of their type.
func mentionsEnd(data []byte) bool {
	return bytes.Contains(data, []byte(`"message_stop"`)) || bytes.Contains(data, []byte(`"response.`))
}

// HasMember reports whether a body has a top-level member of that name.
func HasMember(body []byte, name string) bool { return gjson.GetBytes(body, name).Exists() }

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
