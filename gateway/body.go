package gateway

import (
	"mime"
	"net/http"
	"strings"

	"p402.io/p402/internal/fault"
)

// CheckJSONType refuses a body that is packed or does not say that it is JSON in UTF-8, before a byte of it is read: a form
// or a text is what a foreign page could send unasked, and a packed body's size is not known. 415.
func CheckJSONType(h http.Header) error {
	if enc := h.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return fault.Field(fault.KindMediaType, "UNSUPPORTED_ENCODING", "Content-Encoding", "send the body uncompressed")
	}
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset := params["charset"]
	if err != nil || kind != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return fault.Field(fault.KindMediaType, "UNSUPPORTED_MEDIA_TYPE", "Content-Type", "must be application/json in UTF-8")
	}
	return nil
}
