package gateway

import "p402.io/p402/meter"

// Every header of ours, once (PRODUCT §2.1).
const (
	HeaderRequestID       = "X-P402-Request-ID"
	HeaderEventID         = "X-P402-Event-ID"
	HeaderTenant          = "X-P402-Tenant"
	HeaderCSRF            = "X-P402-CSRF" // of a signed-in browser that changes something through the API
	HeaderTags            = "X-P402-Tags"
	HeaderPrivacyMode     = "X-P402-Privacy-Mode"
	HeaderMaxCost         = "X-P402-Max-Cost-USD"
	HeaderRetryOf         = "X-P402-Retry-Of"
	HeaderDryRun          = "X-P402-Dry-Run"
	HeaderProvider        = "X-P402-Provider"
	HeaderModel           = "X-P402-Model"
	HeaderLatencyMS       = "X-P402-Latency-MS"
	HeaderOverheadMS      = "X-P402-Overhead-MS"
	HeaderAttempts        = "X-P402-Attempts"
	HeaderCostUSD         = "X-P402-Cost-USD"
	HeaderCostState       = "X-P402-Cost-State"
	HeaderDecision        = "X-P402-Decision"
	HeaderDenyCode        = "X-P402-Deny-Code"
	HeaderPolicyID        = "X-P402-Policy-ID"
	HeaderBudgetID        = "X-P402-Budget-ID"
	HeaderBudgetRemaining = "X-P402-Budget-Remaining-USD"
	HeaderPlanNotice      = "X-P402-Plan-Notice"
	HeaderReceiptID       = "X-P402-Receipt-ID"
	HeaderSimulated       = "X-P402-Simulated"
	HeaderIdempotencyKey  = "Idempotency-Key"
	HeaderReplayed        = "Idempotent-Replayed"
	HeaderRetryCount      = "X-Stainless-Retry-Count"
)

// DimensionHeader is the request header of a dimension, or "" for those that have none.
func DimensionHeader(dim string) string {
	switch dim {
	case meter.DimWorkflow:
		return "X-P402-Workflow"
	case meter.DimCustomer:
		return "X-P402-Customer"
	case meter.DimFeature:
		return "X-P402-Feature"
	case meter.DimDepartment:
		return "X-P402-Department"
	case meter.DimEmployee:
		return "X-P402-Employee"
	case meter.DimProject:
		return "X-P402-Project"
	case meter.DimAgent:
		return "X-P402-Agent"
	case meter.DimActionType:
		return "X-P402-Action-Type"
	case meter.DimTaskType:
		return "X-P402-Task-Type"
	}
	return ""
}

// dimensionHeaders lists the dimensions' headers for a preflight, each after a comma.
func dimensionHeaders() string {
	out := ""
	for _, dim := range meter.Dimensions() {
		if name := DimensionHeader(dim); name != "" {
			out += ", " + name
		}
	}
	return out
}
