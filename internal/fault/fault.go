// Package fault is how a domain refuses: a kind that decides the status, a code that a program can match and a
// message for a person. It knows no HTTP; gateway/problem.go is the one table from Kind to status.
package fault

import "errors"

// Kind says who has to act and thereby which status a caller sees.
type Kind uint8

// The kinds, in the order of HOUSE's error table. The zero value is Internal: an error nobody classified.
const (
	KindInternal        Kind = iota // our defect: 500, text stays in the log
	KindInvalid                     // malformed input: 400
	KindImpossible                  // understood, but cannot be done: 422
	KindTooLarge                    // over a stated limit: 413
	KindUnauthenticated             // no, unknown or revoked key: 401
	KindDenied                      // policy, budget, role, plan: 403
	KindPaymentRequired             // an x402 offer: 402
	KindPaymentFailed               // an x402 payment that was refused: 402
	KindNotFound                    // absent, or another tenant's: 404
	KindConflict                    // contradicts what is stored: 409
	KindRateLimited                 // too many: 429
	KindUpstream                    // the vendor failed: 502
	KindUpstreamTimeout             // the vendor was too slow: 504
	KindUnavailable                 // we cannot do it now: 503
	KindMediaType                   // not JSON, or packed: 415
	KindTooSlow                     // the client did not send its body in time: 408
)

// Code names a refusal for programs, in upper snake case: "INVALID_METADATA".
type Code string

// Error is a refusal. Message is safe to show to the caller; Param names the field at fault, if one is.
// Details holds further facts for the caller and never content. Cause is for the log only.
type Error struct {
	Kind    Kind
	Code    Code
	Message string
	Param   string
	Details map[string]any
	Cause   error
}

// New is a refusal without a field.
func New(kind Kind, code Code, message string) *Error {
	return &Error{Kind: kind, Code: code, Message: message}
}

// Field is an invalid or impossible input, naming the field.
func Field(kind Kind, code Code, param, message string) *Error {
	return &Error{Kind: kind, Code: code, Param: param, Message: message}
}

// Error is the text for logs.
func (e *Error) Error() string {
	text := string(e.Code) + ": " + e.Message
	if e.Param != "" {
		text += " (" + e.Param + ")"
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap gives the cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Cause }

// Is matches another *Error with the same code, so that sentinels can be compared after With or Because.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code
}

// Because is a copy that carries a cause for the log.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.Cause = cause
	return &c
}

// With is a copy that carries one more detail for the caller.
func (e *Error) With(key string, value any) *Error {
	c := *e
	c.Details = make(map[string]any, len(e.Details)+1)
	for k, v := range e.Details {
		c.Details[k] = v
	}
	c.Details[key] = value
	return &c
}

// As finds the refusal in an error chain, or reports that there is none.
func As(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// KindOf is the kind of the refusal in an error chain; KindInternal when there is none.
func KindOf(err error) Kind {
	if e, ok := As(err); ok {
		return e.Kind
	}
	return KindInternal
}
