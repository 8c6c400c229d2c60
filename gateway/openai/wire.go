// Package openai is the /v1 surface in OpenAI's own form. It reads of a body only what metering needs, passes the rest on
// untouched, and answers errors as OpenAI does.
package openai

import (
	"crypto/sha256"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
	"github.com/tidwall/gjson"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
)

const (
	// maxDepth bounds the nesting of a body (PRODUCT §1).
	maxDepth = 64
	// maxModelLen bounds a model's name; the longest published ones have about 100 characters.
	maxModelLen = 256
	// maxTokens bounds what a caller may ask for: far above every model's context.
	maxTokens = 100_000_000
	maxN      = 128
)

func invalid(param, why string) *fault.Error {
	return fault.Field(fault.KindInvalid, "INVALID_INPUT", param, why)
}

// ReadBody reads at most MaxInferBody bytes and refuses what is not one JSON object.
func ReadBody(c *gin.Context) ([]byte, error) {
	if err := gateway.CheckJSONType(c.Request.Header); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, gateway.MaxInferBody))
	if err != nil {
		if gateway.Refusal(err).Kind == fault.KindTooLarge {
			return nil, err
		}
		return nil, invalid("", "the body ended early")
	}
	if tooDeep(body) {
		return nil, fault.New(fault.KindTooLarge, "BODY_TOO_DEEP", "the body is nested more than 64 deep")
	}
	if !gjson.ValidBytes(body) || !gjson.ParseBytes(body).IsObject() {
		return nil, fault.New(fault.KindInvalid, "INVALID_JSON", "the body is not a JSON object")
	}
	return body, nil
}

// tooDeep counts brackets outside strings, so that no recursive reader meets a body deeper than maxDepth.
func tooDeep(body []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(body); i++ {
		switch b := body[i]; {
		case inString && b == '\\':
			i++
		case b == '"':
			inString = !inString
		case inString:
		case b == '{' || b == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case b == '}' || b == ']':
			depth--
		}
	}
	return false
}

// Fields is what one pass over the body's first level finds. A name that comes twice keeps its last value, as every
// JSON reader behind us does.
type Fields map[string]gjson.Result

func fields(body []byte) Fields {
	out := Fields{}
	gjson.ParseBytes(body).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "model", "stream", "messages", "metadata", "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of", "stream_options",
			"input", "prompt", "previous_response_id", "background", "conversation":
			out[key.Str] = value
		}
		return true
	})
	return out
}

// Form is what distinguishes one inference route from another: the meter's and the parser's names for it, and how its
// body is read. Check refuses a body that no vendor could take; Bounds reads how much may be written.
type Form struct {
	Route meter.Route
	API   string
	// IDPrefix begins the id the caller gets; "" keeps the vendor's, where clients chain on it.
	IDPrefix string
	// KeptMetadata are keys of body metadata that are the vendor's and neither owners nor tags.
	KeptMetadata []string
	Check        func(f Fields) error
	Bounds       func(r *meter.Request, f Fields) error
}

// Request makes the meter's request of a body. sold is nil for the caller's own call; a sold workflow names the model
// itself and owns the call.
func (form Form) Request(c *gin.Context, caller meter.Caller, body []byte, sold *meter.Workflow) (meter.Request, error) {
	f := fields(body)
	r := meter.Request{RequestID: id.Request(gateway.RequestID(c)), Route: form.Route, BodyBytes: int64(len(body)), Choices: 1}
	for _, read := range []func() error{
		func() error { return readModel(&r, f, sold) },
		func() error { return form.Check(f) },
		func() error { return readStream(&r, f) },
		func() error { return form.Bounds(&r, f) },
		func() error { return readOwners(c, caller, &r, f, sold, form.KeptMetadata) },
		func() error { return readHeaders(c, &r) },
	} {
		if err := read(); err != nil {
			return meter.Request{}, err
		}
	}
	r.Digest = digest(r.Route, sold, body)
	return r, nil
}

func digest(route meter.Route, sold *meter.Workflow, body []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte(route))
	if sold != nil {
		h.Write([]byte("\n" + string(sold.TenantID) + "\n" + sold.WorkflowID))
	}
	h.Write([]byte("\n"))
	h.Write(body)
	return [32]byte(h.Sum(nil))
}

func readModel(r *meter.Request, f Fields, sold *meter.Workflow) error {
	model, present := f["model"]
	if present && model.Type != gjson.String {
		return invalid("model", "must be a string")
	}
	if sold != nil {
		r.Model = sold.Target.Model
		return nil
	}
	if model.Str == "" {
		return invalid("model", "is required: name the model to call")
	}
	if len(model.Str) > maxModelLen || strings.ContainsFunc(model.Str, func(x rune) bool { return x < 0x21 || x == 0x7f || x == utf8.RuneError }) {
		return invalid("model", "must be at most 256 visible characters")
	}
	r.Model = model.Str
	return nil
}

// NeedMessages refuses a body without messages, which chat and Anthropic's form share.
func NeedMessages(f Fields) error {
	messages, present := f["messages"]
	if !present || !messages.IsArray() {
		return invalid("messages", "is required and must be an array")
	}
	return nil
}

func readStream(r *meter.Request, f Fields) error {
	if s, ok := f["stream"]; ok && s.Type != gjson.Null {
		if s.Type != gjson.True && s.Type != gjson.False {
			return invalid("stream", "must be true or false")
		}
		r.Stream = s.Bool()
	}
	return nil
}

// MaxTokens reads the caller's bound on what is written, by the names a route has for it, over all choices.
func MaxTokens(r *meter.Request, f Fields, names ...string) error {
	for _, name := range names {
		limit, err := whole(f, name, 1, maxTokens)
		if err != nil {
			return err
		}
		if limit > 0 {
			r.MaxOutputTokens = limit * r.Choices
		}
	}
	return nil
}

// whole reads an optional whole number; absent and null are 0.
func whole(f Fields, name string, least, most int64) (int64, error) {
	v, ok := f[name]
	if !ok || v.Type == gjson.Null {
		return 0, nil
	}
	n, err := strconv.ParseInt(v.Raw, 10, 64)
	if v.Type != gjson.Number || err != nil || n < least || n > most {
		return 0, invalid(name, "must be a whole number from "+strconv.FormatInt(least, 10)+" to "+strconv.FormatInt(most, 10))
	}
	return n, nil
}

// readOwners merges body metadata, headers and key defaults. A stranger owns nothing here: the sold workflow does.
func readOwners(c *gin.Context, caller meter.Caller, r *meter.Request, f Fields, sold *meter.Workflow, kept []string) error {
	pairs := map[string]string{}
	if m, ok := f["metadata"]; ok && m.Type != gjson.Null {
		if !m.IsObject() {
			return fault.Field(fault.KindInvalid, meter.ErrMetadata, "metadata", "must be an object of strings")
		}
		bad, count := "", 0
		m.ForEach(func(key, value gjson.Result) bool {
			if slices.Contains(kept, key.Str) {
				return true // the vendor's to judge
			}
			count++
			if value.Type != gjson.String {
				bad = key.Str
				return false
			}
			pairs[key.Str] = value.Str
			return true
		})
		if bad != "" || (count > 0 && len(pairs) == 0) {
			return fault.Field(fault.KindInvalid, meter.ErrMetadata, "metadata."+clip(bad), "must be a string")
		}
		if count != len(pairs) {
			return fault.Field(fault.KindInvalid, meter.ErrMetadata, "metadata", "names a key twice")
		}
	}
	fromBody, err := meter.ParseMetadata(pairs)
	if err != nil {
		return err
	}
	if sold != nil && caller.KeyID == "" {
		r.Attribution = meter.Attribution{Dimensions: map[string]string{meter.DimWorkflow: sold.WorkflowID}, Tags: map[string]string{}}
		return nil
	}
	headers := map[string]string{}
	for _, dim := range meter.Dimensions() {
		if name := gateway.DimensionHeader(dim); name != "" && c.GetHeader(name) != "" {
			headers[dim] = c.GetHeader(name)
		}
	}
	fromHeader, err := meter.ParseDimensions(headers, gateway.DimensionHeader)
	if err != nil {
		return err
	}
	if fromHeader.Tags, err = meter.ParseTags(c.GetHeader(gateway.HeaderTags), gateway.HeaderTags); err != nil {
		return err
	}
	r.Attribution, err = meter.Attribute(caller, fromBody, fromHeader)
	if err == nil && sold != nil {
		r.Attribution.Dimensions[meter.DimWorkflow] = sold.WorkflowID
	}
	return err
}

func readHeaders(c *gin.Context, r *meter.Request) error {
	r.RetryOf = c.GetHeader(gateway.HeaderRetryOf)
	if len(r.RetryOf) > 128 {
		return invalid(gateway.HeaderRetryOf, "must be the id of an earlier event")
	}
	if text := c.GetHeader(gateway.HeaderRetryCount); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 100 {
			return invalid(gateway.HeaderRetryCount, "must be a whole number from 0 to 100")
		}
		r.RetryCount = n
	}
	if text := c.GetHeader(gateway.HeaderMaxCost); text != "" {
		limit, err := money.ParseUSD(text)
		if err != nil || limit.Sign() < 0 {
			return invalid(gateway.HeaderMaxCost, "must be a decimal amount of US dollars, 0 or more")
		}
		r.MaxCost = &limit
	}
	r.IdempotencyKey = c.GetHeader(gateway.HeaderIdempotencyKey)
	if len(r.IdempotencyKey) > 128 || strings.ContainsFunc(r.IdempotencyKey, func(x rune) bool { return x < 0x21 || x > 0x7e }) {
		return invalid(gateway.HeaderIdempotencyKey, "must be at most 128 visible ASCII characters")
	}
	switch c.GetHeader(gateway.HeaderDryRun) {
	case "", "0":
	case "1":
		r.DryRun = true
	default:
		return invalid(gateway.HeaderDryRun, "must be 0 or 1")
	}
	if mode := c.GetHeader(gateway.HeaderPrivacyMode); mode != "" && mode != "metadata_only" {
		switch mode {
		case "fingerprint_only", "redacted_trace", "full_trace", "private_gateway":
			return fault.Field(fault.KindDenied, "PRIVACY_WIDENING_DENIED", gateway.HeaderPrivacyMode, "a request may only tighten; this tenant stores metadata only")
		}
		return invalid(gateway.HeaderPrivacyMode, "is not a privacy mode")
	}
	return nil
}

func clip(key string) string {
	if r := []rune(key); len(r) > 64 {
		return string(r[:64]) + "…"
	}
	return key
}
