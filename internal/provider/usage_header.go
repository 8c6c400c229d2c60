package provider

import (
	"net/http"

	"github.com/tidwall/gjson"
)

// headerFields are the counts that some vendors put into headers as well; they stand only where the body has none.
var headerFields = []struct {
	name string
	f    countField
}{
	{"Fireworks-Prompt-Tokens", fInput},
	{"Fireworks-Cached-Prompt-Tokens", fCached},
	{"X-Amzn-Bedrock-Input-Token-Count", fInput},
	{"X-Amzn-Bedrock-Output-Token-Count", fOutput},
}

// Header reads the counts an answer's headers carry. It is called before the first frame, or not at all: what a body
// says replaces them.
func (p *UsageParser) Header(h http.Header) {
	for _, f := range headerFields {
		if text := h.Get(f.name); text != "" && jsonNumber(text) {
			p.put(f.f, gjson.Result{Type: gjson.Number, Raw: text})
		}
	}
}
