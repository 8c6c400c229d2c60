// Package sell is the paid surface: what a stranger with a wallet and no key can buy.
package sell

import (
	"context"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/gateway/openai"
	"p402.io/p402/internal/fault"
	"p402.io/p402/meter"
)

// Workflows finds what a seller offers under a public name; a refusal of kind not found if there is no such thing.
type Workflows interface {
	SoldWorkflow(ctx context.Context, seller, workflowID string) (meter.Workflow, error)
}

// Surface is the routes under /x.
type Surface struct {
	Workflows Workflows
	OpenAI    *openai.Surface
	Log       *slog.Logger
	// Live says whether a network moves real money; a test network's sales stand in the test ledger.
	Live func(network string) bool
	// Statuses says what became of payments; Assets is the token by CAIP-2 that each network is paid in.
	Statuses Statuses
	Assets   map[string]string
}

// Register adds the routes. A workflow's id may hold slashes, so the tail decides what is meant.
func (s *Surface) Register(r *gin.Engine) {
	r.POST("/x/:seller/*path", s.post)
	r.GET("/x/:seller/*path", s.get)
	r.GET("/x402/payments", s.status)
}

// The tails under a workflow's address that make it an OpenAI base URL.
const (
	chatTail   = "/v1/chat/completions"
	modelsTail = "/v1/models"
)

var errNoWorkflow = fault.New(fault.KindNotFound, "NOT_FOUND", "nothing is sold at this address")

func (s *Surface) post(c *gin.Context) {
	openai.Priced(c)
	workflowID := strings.TrimPrefix(strings.TrimSuffix(c.Param("path"), chatTail), "/")
	w, err := s.find(c, workflowID)
	if err != nil {
		gateway.Fail(c, s.Log, err)
		return
	}
	if !w.Sold() {
		gateway.Fail(c, s.Log, fault.New(fault.KindUnavailable, "WORKFLOW_NOT_LIVE", "the seller has paused this workflow").With("state", w.State))
		return
	}
	if w.Target.Kind != "model" {
		gateway.Fail(c, s.Log, fault.New(fault.KindImpossible, "TARGET_UNSUPPORTED", "this workflow's target cannot be run here"))
		return
	}
	// The seller answers for the call; whatever Authorization the client sent (OpenAI SDKs always send one) is not a key.
	caller := meter.Caller{TenantID: w.TenantID, Livemode: s.Live(w.Price.Network), Scopes: []meter.Scope{meter.ScopeInfer}}
	s.OpenAI.Serve(c, caller, &w)
}

func (s *Surface) find(c *gin.Context, workflowID string) (meter.Workflow, error) {
	w, err := s.Workflows.SoldWorkflow(c.Request.Context(), c.Param("seller"), workflowID)
	if err != nil {
		if fault.KindOf(err) == fault.KindNotFound {
			return meter.Workflow{}, errNoWorkflow
		}
		return meter.Workflow{}, fault.New(fault.KindUnavailable, "CONTROL_UNAVAILABLE", "the workflow cannot be read now").Because(err)
	}
	if w.State == meter.WorkflowDraft || w.State == meter.WorkflowRetired {
		return meter.Workflow{}, errNoWorkflow
	}
	return w, nil
}

// public is what anybody may know of a workflow: no cost, no customer, no key (S13).
type public struct {
	WorkflowID  string `json:"workflow_id"`
	Seller      string `json:"seller"`
	Name        string `json:"name"`
	Description string `json:"description"`
	State       string `json:"state"`
	PriceUSD    string `json:"price_usd,omitempty"`
	Scheme      string `json:"scheme,omitempty"`
	Network     string `json:"network,omitempty"`
	Asset       string `json:"asset,omitempty"`
	PayTo       string `json:"payTo,omitempty"`
	PaidURL     string `json:"paid_url"`
	OpenAIURL   string `json:"openai_base_url,omitempty"`
}

func (s *Surface) get(c *gin.Context) {
	path := c.Param("path")
	w, err := s.find(c, strings.TrimPrefix(strings.TrimSuffix(path, modelsTail), "/"))
	if err != nil {
		gateway.Fail(c, s.Log, err)
		return
	}
	if strings.HasSuffix(path, modelsTail) {
		c.JSON(http.StatusOK, gin.H{"object": "list", "data": []gin.H{{"id": w.WorkflowID, "object": "model", "created": 0, "owned_by": w.Seller}}})
		return
	}
	p := s.public(c, w)
	if !strings.Contains(c.GetHeader("Accept"), "text/html") {
		c.JSON(http.StatusOK, p)
		return
	}
	h := c.Writer.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	c.Status(http.StatusOK)
	if err := page.Execute(c.Writer, p); err != nil && !errors.Is(err, http.ErrHandlerTimeout) {
		s.Log.WarnContext(c.Request.Context(), "page cut", "request_id", gateway.RequestID(c), "err", err)
	}
}

func (s *Surface) public(c *gin.Context, w meter.Workflow) public {
	scheme := "http://"
	if c.Request.TLS != nil {
		scheme = "https://"
	}
	base := scheme + c.Request.Host + "/x/" + w.Seller + "/" + w.WorkflowID
	p := public{WorkflowID: w.WorkflowID, Seller: w.Seller, Name: w.Name, Description: w.Description, State: string(w.State), PaidURL: base}
	if w.Price != nil {
		p.PriceUSD, p.Scheme, p.Network, p.Asset, p.PayTo = w.Price.AmountUSD.String(), w.Price.Scheme, w.Price.Network, w.Price.Asset, w.Price.PayTo
	}
	if w.Target.Kind == "model" {
		p.OpenAIURL = base + "/v1"
	}
	return p
}

var page = template.Must(template.New("workflow").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{{or .Name .WorkflowID}} · p402</title>
<body><main>
<h1>{{or .Name .WorkflowID}}</h1>
<p>{{.Description}}</p>
<dl>
<dt>Price</dt><dd>{{if eq .Scheme "upto"}}by use, at most {{end}}{{.PriceUSD}} USDC a call</dd>
<dt>Network</dt><dd>{{.Network}}</dd>
<dt>Paid to</dt><dd><code>{{.PayTo}}</code></dd>
<dt>Address</dt><dd><code>POST {{.PaidURL}}</code></dd>
{{with .OpenAIURL}}<dt>OpenAI base URL</dt><dd><code>{{.}}</code></dd>{{end}}
</dl>
<p>Pay with any x402 client, or with <code>p402 pay {{.PaidURL}}</code>.</p>
</main></body></html>
`))
