package meter

import (
	"encoding/json"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// forbiddenKeys is what may never be a key of an economic fact, without separators (PRODUCT §3).
var forbiddenKeys = []string{"prompt", "prompts", "response", "responses", "completion", "completions", "message", "messages", "content", "text",
	"input", "output", "file", "files", "document", "documents", "chat", "chathistory", "transcript", "requestbody", "responsebody", "rawtrace",
	"storedcontent", "sourcecode", "secret", "secrets", "phi", "pii", "messagecontent"}

// ForbiddenPath is the path of the first key that names content, at any depth and in any spelling, or "". A body that is
// not JSON has none: it is refused elsewhere.
func ForbiddenPath(raw []byte) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return ""
	}
	return forbidden(v, "")
}

func forbidden(v any, at string) string {
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		for _, key := range keys {
			path := strings.TrimPrefix(at+"."+clipKey(key), ".")
			if isForbidden(key) {
				return path
			}
			if found := forbidden(v[key], path); found != "" {
				return found
			}
		}
	case []any:
		for i, item := range v {
			if found := forbidden(item, at+"["+strconv.Itoa(i)+"]"); found != "" {
				return found
			}
		}
	}
	return ""
}

func separator(r rune) bool { return r == '_' || r == '-' || r == '.' || r == ' ' }

func isForbidden(key string) bool {
	words := strings.FieldsFunc(strings.ToLower(key), separator)
	plain := strings.Join(words, "")
	switch {
	case slices.Contains([]string{"prompttokens", "completiontokens", "prompttokensdetails", "completiontokensdetails"}, plain):
		return false
	case slices.Contains(forbiddenKeys, plain):
		return true
	case len(words) < 2:
		return false
	}
	first, last := words[0], words[len(words)-1]
	return slices.Contains([]string{"prompt", "response", "completion", "raw"}, first) || last == "prompt" || last == "response"
}
