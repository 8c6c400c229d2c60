package meter

import (
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
)

// Route is the kind of work asked for, by its OpenAI name.
type Route string

// The routes that make an event.
const (
	RouteChat       Route = "chat.completions"
	RouteWorkflow   Route = "workflow" // a sold workflow whose target is plain HTTP
	RouteResponses  Route = "responses"
	RouteCompletion Route = "completions"
	RouteEmbeddings Route = "embeddings"
	RouteMessages   Route = "messages"
)

// Request is one call as asked: economics only. The body itself never enters this room.
type Request struct {
	RequestID       id.Request
	Route           Route
	Model           string // as asked for, after the workflow's target was applied
	Stream          bool
	BodyBytes       int64 // an upper bound of input tokens: no tokenizer makes more tokens than bytes
	MaxOutputTokens int64 // the caller's bound over all choices; 0 = none stated
	Choices         int64 // n; at least 1
	Attribution     Attribution
	RetryOf         string // X-P402-Retry-Of
	RetryCount      int    // X-Stainless-Retry-Count
	IdempotencyKey  string
	MaxCost         *money.USD // X-P402-Max-Cost-USD
	DryRun          bool
	// Digest binds a quote to the request (SHA-256 of route and body). It is never stored in metadata_only.
	Digest [32]byte
}

// defaultMaxOutputTokens is the output bound reserved when the caller states none. Most chat models stop at or below
// it; a larger answer still costs what it costs, and only the reservation was too small.
const defaultMaxOutputTokens = 16_384

// Bounds is the worst case in tokens that is reserved before the call.
func (r Request) Bounds() (input, output int64) {
	output = r.MaxOutputTokens
	if output == 0 && r.Route != RouteEmbeddings { // an embedding writes no tokens
		output = defaultMaxOutputTokens * max(r.Choices, 1)
	}
	return r.BodyBytes, output
}
