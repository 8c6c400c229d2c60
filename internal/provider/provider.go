// Package provider speaks to the vendors that do the work. It sends a finished request, hands the answer back frame by
// frame exactly as the vendor wrote it, and says of each failure whether the vendor may have started (and may bill).
// Vendor quirks end here: prices, budgets and retries are decided elsewhere. It logs nothing of a request or an answer,
// follows no redirect, and dials no private address unless the operator allowed it.
package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
)

// Route names the vendor operation of a request.
type Route string

// The routes a vendor can be asked for.
const (
	RouteChatCompletions Route = "chat.completions"
	RouteCompletions     Route = "completions"
	RouteEmbeddings      Route = "embeddings"
	RouteResponses       Route = "responses"
	RouteMessages        Route = "messages"
	RouteCountTokens     Route = "messages.count_tokens"
)

// path is the route's path under a base URL; empty for a route that no vendor has.
func (r Route) path() string {
	switch r {
	case RouteChatCompletions:
		return "/chat/completions"
	case RouteCompletions:
		return "/completions"
	case RouteEmbeddings:
		return "/embeddings"
	case RouteResponses:
		return "/responses"
	case RouteMessages:
		return "/messages"
	case RouteCountTokens:
		return "/messages/count_tokens"
	}
	return ""
}

// Request is one attempt at one vendor. Body holds the final bytes and is not changed; it must stay untouched until
// Do has returned. Header holds the few extra headers the caller chose to let through; credentials, framing and
// connection headers in it are ignored. Stream says whether Body asks for a stream. Method is POST when empty; GET and
// DELETE go to the object that Object names under the route, with Query, and send no body.
type Request struct {
	Route          Route
	Method         string
	Object         string // an id the vendor gave, unescaped
	Query          string // encoded
	Body           []byte
	Header         http.Header
	Stream         bool
	UsageAddedByUs bool   // stream_options was put in by us: a vendor that refuses it may be asked without
	IdempotencyKey string // sent as Idempotency-Key when not empty; an attempt is never repeated here because of it
}

// LogValue keeps prompts out of every log.
func (r Request) LogValue() slog.Value {
	return slog.GroupValue(slog.String("route", string(r.Route)), slog.String("body", "[redacted]"))
}

// Frame is one server-sent event, or the whole of a plain body. It owns its bytes.
// Of an event, Data is the value of its data lines joined by "\n" (nil if it has none, as a comment has) and Raw is
// every byte up to and including its blank line. Of a plain body, Data and Raw are the same bytes.
type Frame struct {
	Event string
	Data  []byte
	Raw   []byte

	unterminated bool // the source ended before this event's blank line
}

// LogValue keeps answers out of every log.
func (f Frame) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Response is a vendor's answer of any status. Frames are read with Next by one goroutine; Close may be called by
// any, any number of times, and must be called once the answer is done with.
type Response struct {
	Status int
	Header http.Header // as the vendor sent it; what may reach a caller is the caller's decision
	Stream bool        // the body is server-sent events

	next  func() (Frame, error)
	close func() error
}

// NewResponse is a Response over a source of frames, for providers and for fakes in tests. close may be nil.
func NewResponse(status int, header http.Header, stream bool, next func() (Frame, error), close func() error) *Response {
	return &Response{Status: status, Header: header, Stream: stream, next: next, close: close}
}

// Next is the next frame as soon as its bytes have come; reading no faster than the caller asks is the back-pressure
// on the vendor. io.EOF is the clean end: a plain body was complete, a stream said that it was finished. A stream
// that merely stopped ends with an error that matches ErrCut. Every other error is an *Error; errors repeat.
func (r *Response) Next() (Frame, error) { return r.next() }

// again is the response with a frame that has been read put back before the rest.
func (r *Response) again(f Frame, err error) *Response {
	rest, given := r.next, false
	r.next = func() (Frame, error) {
		if given {
			return rest()
		}
		given = err == nil
		return f, err
	}
	return r
}

// Close ends the call. If the answer was not read to its end, the vendor's connection is torn down, which is how a
// vendor learns that nobody listens any more.
func (r *Response) Close() error {
	if r.close == nil {
		return nil
	}
	return r.close()
}

// withoutStreamOptions is the request as a vendor takes it that knows no stream_options.
func (r Request) withoutStreamOptions() Request {
	if body, err := RemoveKeys(r.Body, "stream_options"); err == nil {
		r.Body = body
	}
	return r
}

// Provider is a vendor. Do sends one attempt and returns once the vendor's status and headers are known. An answer
// of any status is a Response; failures are *Error. When ctx ends, so does the call, also while frames are read.
type Provider interface {
	Name() string
	Simulated() bool // answers are made up: only test keys may use it
	Do(ctx context.Context, r Request) (*Response, error)
}

// Kind says how an attempt failed.
type Kind uint8

// The kinds of failure. The zero value is not one.
const (
	KindConnect   Kind = iota + 1 // no connection: name, dial or TLS; never reached the vendor
	KindTimeout                   // a phase took longer than its limit
	KindReset                     // the connection broke before the answer's headers
	KindTooLarge                  // a frame, body or header over its limit
	KindCut                       // the answer broke off
	KindBlocked                   // the address is one we refuse to dial; never reached the vendor
	KindCanceled                  // the caller's context ended, or Close was called
	KindMalformed                 // an answer that cannot be read: not HTTP, unknown or broken encoding
	KindRequest                   // the request could not be formed: a route this vendor does not have
	KindOpen                      // the provider's circuit is open; never reached the vendor
)

// String is the kind's name as attempts and metrics show it.
func (k Kind) String() string {
	names := [...]string{"unknown", "connect", "timeout", "reset", "too_large", "cut", "blocked", "canceled", "malformed", "request", "open"}
	if int(k) < len(names) {
		return names[k]
	}
	return names[0]
}

// Error is a failed attempt. Sent says whether the vendor may have started work, and thus may bill: false is certain,
// true is caution. Its text names no key, no header and nothing of a request or an answer.
type Error struct {
	Kind     Kind
	Sent     bool
	Provider string
	Err      error
}

// ErrCut is matched by every error that means the answer broke off before its end.
var ErrCut = errors.New("the answer broke off")

// ErrBlocked is matched by every error that means an address was refused.
var ErrBlocked = errors.New("address is not allowed")

// Error is the text for logs.
func (e *Error) Error() string {
	return fmt.Sprintf("call %s: %s: %v", e.Provider, e.Kind, e.Err)
}

// Unwrap gives the cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }

// Is matches ErrCut and ErrBlocked by kind.
func (e *Error) Is(target error) bool {
	return target == ErrCut && e.Kind == KindCut || target == ErrBlocked && e.Kind == KindBlocked
}

// PlainFrames is the source of a body that is already in memory: one frame, then io.EOF.
func PlainFrames(body []byte) func() (Frame, error) {
	done := false
	return func() (Frame, error) {
		if done {
			return Frame{}, io.EOF
		}
		done = true
		return Frame{Data: body, Raw: body}, nil
	}
}
