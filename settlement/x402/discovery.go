package x402

import "encoding/json"

// DiscoveryResources is the answer of GET /discovery/resources.
type DiscoveryResources struct {
	X402Version int              `json:"x402Version"`
	Items       []DiscoveryItem  `json:"items"`
	Pagination  DiscoveryPageRef `json:"pagination"`
}

// DiscoveryItem is one paid resource. Type is "http" or "mcp"; LastUpdated is RFC 3339 in UTC; Accepts is of X402Version.
type DiscoveryItem struct {
	Resource    string                     `json:"resource"`
	Type        string                     `json:"type"`
	X402Version int                        `json:"x402Version"`
	Accepts     []PaymentRequirements      `json:"accepts"`
	LastUpdated string                     `json:"lastUpdated"`
	Description string                     `json:"description,omitempty"`
	MimeType    string                     `json:"mimeType,omitempty"`
	ServiceName string                     `json:"serviceName,omitempty"`
	Tags        []string                   `json:"tags,omitempty"`
	IconURL     string                     `json:"iconUrl,omitempty"`
	Extensions  map[string]json.RawMessage `json:"extensions,omitempty"`
}

// DiscoveryPageRef says which part of the list an answer is.
type DiscoveryPageRef struct {
	Limit  int `json:"limit"`
	Offset int `json:"offset"`
	Total  int `json:"total"`
}
