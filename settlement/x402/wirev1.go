package x402

import (
	"encoding/json"
	"strconv"
)

// PaymentRequiredV1 is the JSON body of a 402 for v1 clients. It goes with the v2 header in one answer: v2 clients read
// the header and ignore the body. Other members may stand beside these, and the released clients take an object for error.
type PaymentRequiredV1 struct {
	X402Version int                     `json:"x402Version"`
	Error       string                  `json:"error"`
	Accepts     []PaymentRequirementsV1 `json:"accepts"`
	Payer       string                  `json:"payer,omitempty"`
}

// PaymentRequirementsV1 is one way to pay (v1); Network is a name, and empty texts are written out because the legacy client
// requires them. OutputSchema is an object or left out: that client refuses null.
type PaymentRequirementsV1 struct {
	Scheme            string            `json:"scheme"`
	Network           string            `json:"network"`
	MaxAmountRequired string            `json:"maxAmountRequired"`
	Resource          string            `json:"resource"` // a URL
	Description       string            `json:"description"`
	MimeType          string            `json:"mimeType"`
	OutputSchema      json.RawMessage   `json:"outputSchema,omitempty"`
	PayTo             string            `json:"payTo"`
	MaxTimeoutSeconds int64             `json:"maxTimeoutSeconds"`
	Asset             string            `json:"asset"`
	Extra             map[string]string `json:"extra,omitempty"` // name and version of the token's EIP-712 domain
}

// PaymentPayloadV1 is the v1 payment as a client writes it, for HeaderXPayment.
type PaymentPayloadV1 struct {
	X402Version int             `json:"x402Version"`
	Scheme      string          `json:"scheme"`
	Network     string          `json:"network"`
	Payload     json.RawMessage `json:"payload"`
}

// V1 is the offer for v1 clients, or false when none of it can be said in v1. Only scheme exact over EIP-3009 on networks
// that the legacy client knows is kept: it parses every entry, and one that it does not know breaks the whole call.
func (r PaymentRequired) V1() (PaymentRequiredV1, bool) {
	out := PaymentRequiredV1{X402Version: Version1, Error: r.Error}
	for _, offer := range r.Accepts {
		if v1, ok := offer.v1(r.Resource); ok {
			out.Accepts = append(out.Accepts, v1)
		}
	}
	return out, len(out.Accepts) > 0
}

func (r PaymentRequirements) v1(resource Resource) (PaymentRequirementsV1, bool) {
	network, known := V1LegacyName(r.Network)
	seconds, err := strconv.ParseInt(string(r.MaxTimeoutSeconds), 10, 64)
	extra := struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		Method  string `json:"assetTransferMethod"`
		Flow    string `json:"paymentFlow"`
	}{}
	if !known || err != nil || r.Scheme != SchemeExact || resource.URL == "" || json.Unmarshal(r.Extra, &extra) != nil {
		return PaymentRequirementsV1{}, false
	}
	if extra.Name == "" || extra.Version == "" || (extra.Method != "" && extra.Method != TransferEIP3009) || (extra.Flow != "" && extra.Flow != FlowAuthorization) {
		return PaymentRequirementsV1{}, false
	}
	return PaymentRequirementsV1{Scheme: r.Scheme, Network: network, MaxAmountRequired: r.Amount, Resource: resource.URL,
		Description: resource.Description, MimeType: resource.MimeType, PayTo: r.PayTo, MaxTimeoutSeconds: seconds, Asset: r.Asset,
		Extra: map[string]string{"name": extra.Name, "version": extra.Version}}, true
}

// Values of extra.assetTransferMethod and extra.paymentFlow; absent means the first of each.
const (
	TransferEIP3009   = "eip3009"
	TransferPermit2   = "permit2"
	FlowAuthorization = "authorization" // verify, work, settle
	FlowUpfront       = "upfront"       // settle, work
)
