package provider

import (
	"bytes"
	"regexp"
)

// Error texts of vendors quote what they were sent and where they run: our key, our account's names, hosts of a network
// that is not the caller's. These are what is taken out before a caller sees one; the rest of the text is theirs to read.
var (
	credential = regexp.MustCompile(`(?i)\b(?:sk|pk|rk|gsk|xai|pplx|csk|fw|key)[-_][A-Za-z0-9_*.-]{6,}|\bBearer\s+[A-Za-z0-9._~+/=-]{8,}|\bAIza[A-Za-z0-9_-]{20,}`)
	account    = regexp.MustCompile(`\b(?:org|proj)[-_][A-Za-z0-9]{6,}`)
	innerHost  = regexp.MustCompile(`(?i)\b[a-z0-9.-]+\.(?:internal|local|localdomain|lan|corp|svc)(?::\d+)?\b|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b`)
)

var redacted = []byte("[redacted]")

// scrub takes credentials, account names and inner hosts out of a vendor's error text. secret is the key the call was made
// with; "" is none.
func scrub(text []byte, secret string) []byte {
	if secret != "" {
		text = bytes.ReplaceAll(text, []byte(secret), redacted)
	}
	for _, form := range []*regexp.Regexp{credential, account, innerHost} {
		text = form.ReplaceAll(text, redacted)
	}
	return text
}

// scrubbed is an error frame that may be shown to a caller.
func scrubbed(f Frame, secret string) Frame {
	data := scrub(f.Data, secret)
	if bytes.Equal(data, f.Data) {
		return f
	}
	if bytes.Equal(f.Raw, f.Data) {
		return Frame{Event: f.Event, Data: data, Raw: data}
	}
	return Frame{Event: f.Event, Data: data, Raw: scrub(f.Raw, secret)}
}
