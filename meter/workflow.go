package meter

import (
	"time"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
)

// WorkflowState is whether a workflow is sold.
type WorkflowState string

// The states of a workflow.
const (
	WorkflowDraft   WorkflowState = "draft"
	WorkflowLive    WorkflowState = "live"
	WorkflowPaused  WorkflowState = "paused"
	WorkflowRetired WorkflowState = "retired"
)

// Target is what a workflow runs. Kind is "model" or "http"; only model targets run today.
type Target struct {
	Kind  string `json:"kind" yaml:"kind"`
	Model string `json:"model,omitempty" yaml:"model,omitempty"`
}

// Price is one version of what a payer owes for one run, and where it is paid. Versions are never edited.
type Price struct {
	Version       int
	Model         string      // PricePerCall | PricePerToken
	AmountUSD     money.USD   // of a run; of a variable price the most
	PerToken      *TokenPrice `json:",omitempty"` // of PricePerToken
	PayTo         string      // checksummed address of the seller
	Network       string      // CAIP-2
	Asset         string
	Scheme        string  // "exact" | "upto"
	WaitFor       string  // "included" | "final" | "authorized"
	Credit        *Credit `json:",omitempty"` // set if and only if WaitFor is authorized
	EffectiveFrom time.Time
}

// Credit is what a seller risks: answers may leave before their payments are collected while the sums of such payments on
// their way, and of those lost so, stay within both limits.
type Credit struct {
	PerPayerUSD money.USD `json:"per_payer_usd" yaml:"per_payer_usd"`
	TotalUSD    money.USD `json:"total_usd" yaml:"total_usd"`
}

// Workflow is work that a seller offers.
type Workflow struct {
	TenantID    id.Tenant
	Seller      string // the seller's public slug in /x/{seller}/{workflow_id}
	WorkflowID  string
	Name        string
	Description string
	Target      Target
	State       WorkflowState
	Price       *Price // nil = metered, not sold
}

// Sold reports whether a call of the workflow has to be paid.
func (w *Workflow) Sold() bool { return w != nil && w.State == WorkflowLive && w.Price != nil }
