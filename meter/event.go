package meter

import (
	"time"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
)

// EventState is where an event stands in its life (HOUSE, "States of an event").
type EventState string

// The states of an event. On the wire intent is "open" and the other three are "final".
const (
	EventIntent  EventState = "intent"
	EventFinal   EventState = "final"
	EventFailed  EventState = "failed"
	EventExpired EventState = "expired"
)

// Wire is the state's name in the API.
func (s EventState) Wire() string {
	if s == EventIntent {
		return "open"
	}
	return "final"
}

// CostState says how a cost is known (PRODUCT §3).
type CostState string

// The cost states.
const (
	CostPriced    CostState = "priced"    // our rates on the vendor's counts
	CostReported  CostState = "reported"  // the vendor's own figure
	CostEstimated CostState = "estimated" // counted in part or in whole by us
	CostUnpriced  CostState = "unpriced"  // no price known: cost is null
)

// Cause says why a call failed or was cut.
type Cause string

// The causes.
const (
	CauseNone           Cause = ""
	CauseDenied         Cause = "denied"
	CauseVendorStatus   Cause = "vendor_status"
	CauseVendorFailed   Cause = "vendor_failed"  // never reached it, reset, garbage
	CauseVendorTimeout  Cause = "vendor_timeout" //
	CauseVendorCut      Cause = "vendor_cut"     // stream ended before its end
	CauseClientGone     Cause = "client_gone"
	CauseCrashed        Cause = "crashed"    // found open after its deadline
	CauseStoreAway      Cause = "store_away" // the ledger could not be reached: nothing was sent
	CausePaymentRefused Cause = "payment_refused"
)

// Attempt is one try at a vendor inside an event.
type Attempt struct {
	Number     int
	Provider   string
	Model      string // as sent
	Status     int    // vendor's HTTP status; 0 = no answer
	Cause      Cause
	StartedAt  time.Time
	FinishedAt time.Time
	UpstreamID string
	Measured   Measured
	Cost       Cost
	Simulated  bool
}

// Event is one ledger line: economics, never content.
type Event struct {
	ID           id.Event
	TenantID     id.Tenant
	KeyID        id.Key
	Livemode     bool
	Simulated    bool
	RequestID    id.Request
	CompletionID string // the id the caller got, e.g. chatcmpl-…
	UpstreamID   string
	Route        Route
	Stream       bool
	State        EventState
	Cause        Cause
	Success      bool
	StatusCode   int
	Source       string // "hosted" | "sold"
	Payer        string // the wallet, when the call was paid

	Attribution    Attribution
	RetryOf        string
	RetryCount     int
	Provider       string
	ModelRequested string
	ModelUsed      string

	Usage           Usage
	UsageSource     UsageSource
	UsageComplete   bool
	CostUSD         *money.USD // nil = unknown, never 0 for unknown
	CostState       CostState
	ReportedUSD     *money.USD
	EstimateUSD     *money.USD // kept beside a zero cost when a vendor failed without usage
	CostLines       []Component
	PriceVersion    string // rate card version and row
	ReservedUSD     money.USD
	RevenueUSD      *money.USD // of a settled sale
	WorkflowPrice   int        // version of the workflow's price, 0 = not sold
	Decision        string     // governance_decision
	DenyCode        string
	Hits            []Hit
	BudgetID        id.Budget
	PolicyID        id.Policy
	PolicyVersion   int
	PrivacyMode     string
	ReceiptStatus   string // none|required|pending|settled|failed
	IdempotencyKey  string
	IdempotencyTurn int `json:",omitempty"` // 1, 2, … once the key has been used and has expired so often

	EventTime   time.Time
	ReceivedAt  time.Time
	Deadline    time.Time // after it the sweeper owns an open event
	FinalizedAt *time.Time
	DeliveredAt *time.Time
	Delivered   string // "" | "whole" | "cut"
	LatencyMS   int64
	OverheadUS  int64 // our own share, µs
	FirstByteMS *int64
	Attempts    []Attempt
}

// Outcome is one revision of what an event's work was worth.
type Outcome struct {
	EventID      id.Event
	Revision     int
	Outcome      string
	OutcomeType  string
	Source       string
	QualityScore *money.USD // 0 to 1, six digits: a decimal, not dollars
	ReasonCode   string
	LegacyStatus string
	Metadata     map[string]string
	OccurredAt   time.Time
	RecordedAt   time.Time
}
