package provider

import "github.com/tidwall/gjson"

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
