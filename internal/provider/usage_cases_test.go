package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
)

// usageCase is one case of the usage files: what was sent, what came back, what it cost and why.
type usageCase struct {
	ID, Kind, Provider, API, Model, Trap string

	Request struct {
		Stream      bool            `json:"stream"`
		StartedAt   time.Time       `json:"started_at"`
		ServiceTier string          `json:"service_tier"`
		Batch       bool            `json:"batch"`
		Region      string          `json:"region"`
		Body        json.RawMessage `json:"body"`
	} `json:"request"`
	CompletedAt time.Time `json:"completed_at"`
	Response    struct {
		Transport  string            `json:"transport"`
		HTTPStatus int               `json:"http_status"`
		Headers    map[string]string `json:"headers"`
		Body       string            `json:"body"`
		Events     []struct {
			Event   string `json:"event"`
			Data    string `json:"data"`
			Comment string `json:"comment"`
		} `json:"events"`
		Lines   []string `json:"lines"`
		EndedBy string   `json:"ended_by"`
	} `json:"response"`
	Prices   json.RawMessage `json:"prices"`
	Expected struct {
		Usage           map[string]json.RawMessage `json:"usage"`
		UsageSource     string                     `json:"usage_source"`
		Complete        bool                       `json:"complete"`
		EstimatedFields []string                   `json:"estimated_fields"`
		Warnings        []string                   `json:"warnings"`
		Cost            struct {
			Status         string  `json:"status"`
			CostUSD        *string `json:"cost_usd"`
			Source         string  `json:"source"`
			ComputedUSD    *string `json:"computed_usd"`
			ReportedUSD    *string `json:"reported_usd"`
			DifferenceUSD  *string `json:"difference_usd"`
			Reason         string  `json:"reason"`
			ComputedReason string  `json:"computed_reason"`
			Components     []struct {
				Component string `json:"component"`
				Quantity  string `json:"quantity"`
				Cost      string `json:"cost"`
			} `json:"components"`
			PriceRow    *string `json:"price_row"`
			ServiceTier *string `json:"service_tier"`
			ContextTier *string `json:"context_tier"`
			Estimated   bool    `json:"estimated"`
		} `json:"cost"`
	} `json:"expected"`
}

// TestUsageCases runs every case through the parser that serves the wire and through the pricer. The conventions and
// the golden values are those of the shared usage folder; P402_USAGE_CASES names another file of the same form.
func TestUsageCases(t *testing.T) {
	t.Parallel()
	files := []string{"testdata/usage_cases.json", "testdata/usage_cases_more.json"}
	if other := os.Getenv("P402_USAGE_CASES"); other != "" {
		files = []string{other}
	}
	seen := map[string]bool{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var cases struct{ Cases []usageCase }
		if err := json.Unmarshal(raw, &cases); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if len(cases.Cases) == 0 {
			t.Fatalf("%s holds no cases", file)
		}
		for _, c := range cases.Cases {
			if seen[c.ID] {
				t.Errorf("case %s is there twice", c.ID)
			}
			seen[c.ID] = true
			t.Run(c.ID, func(t *testing.T) {
				t.Parallel()
				m, cost := c.run(t)
				c.compare(t, m, cost)
			})
		}
	}
}

// run plays the answer to the parser frame by frame as the wire would, and prices it.
func (c usageCase) run(t *testing.T) (meter.Measured, meter.Cost) {
	t.Helper()
	p := NewUsageParser(c.API, c.Provider)
	header := http.Header{}
	for name, value := range c.Response.Headers {
		header.Set(name, value)
	}
	p.Header(header)
	for _, f := range c.frames(t) {
		p.Frame(f.Event, f.Data)
	}
	ended := c.Response.EndedBy
	if ended == "" {
		ended = "eof"
	}
	m := p.Finish(ended, c.Response.HTTPStatus, c.Request.Body)
	rows, err := meter.ParseRateRows(c.Prices)
	if err != nil {
		t.Fatal(err)
	}
	card, err := meter.NewRateCard("case", rows)
	if err != nil {
		t.Fatal(err)
	}
	return m, card.Price(m, meter.PricedCall{Provider: c.Provider, Model: c.Model, Tier: c.Request.ServiceTier, Batch: c.Request.Batch,
		Region: c.Request.Region, StartedAt: c.Request.StartedAt, At: c.CompletedAt})
}

// frames is what the gateway would read off the wire. Server-sent events go through the reader itself, in pieces.
func (c usageCase) frames(t *testing.T) []Frame {
	t.Helper()
	var out []Frame
	switch c.Response.Transport {
	case "sse":
		var wire strings.Builder
		for _, e := range c.Response.Events {
			if e.Comment != "" {
				fmt.Fprintf(&wire, ": %s\n\n", e.Comment)
				continue
			}
			if e.Event != "" {
				fmt.Fprintf(&wire, "event: %s\n", e.Event)
			}
			for _, line := range strings.Split(e.Data, "\n") {
				fmt.Fprintf(&wire, "data: %s\n", line)
			}
			wire.WriteString("\n")
		}
		r := NewSSEReader(iotest.OneByteReader(strings.NewReader(wire.String())), 1<<20)
		for {
			f, err := r.Next()
			if errors.Is(err, io.EOF) {
				return out
			}
			if err != nil {
				t.Fatal(err)
			}
			if f.Data != nil {
				out = append(out, f)
			}
		}
	case "aws_eventstream":
		for _, e := range c.Response.Events {
			out = append(out, Frame{Event: e.Event, Data: []byte(e.Data)})
		}
	case "ndjson":
		for _, line := range c.Response.Lines {
			out = append(out, Frame{Data: []byte(line)})
		}
	case "json":
		out = append(out, Frame{Data: []byte(c.Response.Body)})
	default:
		t.Fatalf("transport %q", c.Response.Transport)
	}
	return out
}

func (c usageCase) compare(t *testing.T, m meter.Measured, cost meter.Cost) {
	t.Helper()
	want := c.Expected
	c.compareUsage(t, m)
	same(t, "usage_source", string(m.Source), want.UsageSource)
	same(t, "complete", m.Complete, want.Complete)
	if !slices.Equal(m.EstimatedFields, want.EstimatedFields) && len(m.EstimatedFields)+len(want.EstimatedFields) > 0 {
		t.Errorf("estimated_fields = %q, want %q", m.EstimatedFields, want.EstimatedFields)
	}
	for _, w := range want.Warnings {
		if !slices.Contains(m.Warnings, w) {
			t.Errorf("warnings = %q, want %q among them", m.Warnings, w)
		}
	}
	same(t, "status", string(cost.Status), want.Cost.Status)
	same(t, "source", cost.Source, want.Cost.Source)
	same(t, "reason", cost.Reason, want.Cost.Reason)
	same(t, "computed_reason", cost.ComputedReason, want.Cost.ComputedReason)
	same(t, "estimated", cost.Estimated, want.Cost.Estimated)
	amount(t, "cost_usd", cost.USD, want.Cost.CostUSD)
	amount(t, "computed_usd", cost.Computed, want.Cost.ComputedUSD)
	amount(t, "reported_usd", cost.Reported, want.Cost.ReportedUSD)
	if want.Cost.Source != meter.CostSourceBoth { // the two are then no figures for the same thing
		amount(t, "difference_usd", cost.Difference, want.Cost.DifferenceUSD)
	}
	priced := want.Cost.Status == string(meter.CostStatusPriced) // what was not priced had no tier to be priced by
	if want.Cost.ServiceTier != nil && priced {
		same(t, "service_tier", cost.ServiceTier, *want.Cost.ServiceTier)
	}
	if want.Cost.ContextTier != nil && priced {
		same(t, "context_tier", cost.ContextTier, *want.Cost.ContextTier)
	}
	if want.Cost.PriceRow != nil {
		same(t, "price_row", cost.RowID, *want.Cost.PriceRow)
	}
	c.compareComponents(t, cost)
}

func (c usageCase) compareComponents(t *testing.T, cost meter.Cost) {
	t.Helper()
	line := func(name, quantity, cost string) string {
		return name + " " + decimal(t, quantity).RatString() + " " + decimal(t, cost).RatString()
	}
	var got, want []string
	for _, l := range cost.Components {
		got = append(got, line(l.Component, l.Quantity, l.Cost.String()))
	}
	for _, l := range c.Expected.Cost.Components {
		want = append(want, line(l.Component, l.Quantity, l.Cost))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("components = %+v, want %+v", cost.Components, c.Expected.Cost.Components)
	}
}

// compareUsage holds every field against the case, both ways: what the case does not name is nought.
func (c usageCase) compareUsage(t *testing.T, m meter.Measured) {
	t.Helper()
	u := m.Usage
	got := map[string]string{}
	for name, n := range map[string]int64{"input_tokens": u.InputTokens, "cached_input_tokens": u.CachedInputTokens, "cache_write_tokens": u.CacheWriteTokens,
		"input_audio_tokens": u.InputAudioTokens, "input_image_tokens": u.InputImageTokens, "input_video_tokens": u.InputVideoTokens,
		"cached_input_audio_tokens": u.CachedInputAudioTokens, "cached_input_image_tokens": u.CachedInputImageTokens,
		"tool_input_tokens": u.ToolInputTokens, "output_tokens": u.OutputTokens, "reasoning_tokens": u.ReasoningTokens,
		"output_audio_tokens": u.OutputAudioTokens, "output_image_tokens": u.OutputImageTokens, "citation_tokens": u.CitationTokens,
		"total_tokens": u.TotalTokens(), "cache_write_by_ttl.5m": u.CacheWrite5mTokens, "cache_write_by_ttl.1h": u.CacheWrite1hTokens,
		"cache_write_by_ttl.default": u.CacheWriteTokens - u.CacheWrite5mTokens - u.CacheWrite1hTokens} {
		got[name] = fmt.Sprint(n)
	}
	for name, quantity := range u.Counts {
		got["counts."+name] = quantity
	}
	want := map[string]string{}
	for name, raw := range c.Expected.Usage {
		var parts map[string]json.RawMessage
		if name == "cache_write_by_ttl" || name == "counts" {
			if err := json.Unmarshal(raw, &parts); err != nil {
				t.Fatal(err)
			}
			for part, n := range parts {
				want[name+"."+part] = strings.Trim(string(n), `"`)
			}
			continue
		}
		want[name] = strings.Trim(string(raw), `"`)
	}
	for name := range want {
		if _, known := got[name]; !known && decimal(t, want[name]).Sign() != 0 {
			t.Errorf("usage.%s is missing, want %s", name, want[name])
		}
	}
	for name, n := range got {
		w := want[name]
		if w == "" {
			w = "0"
		}
		if decimal(t, n).Cmp(decimal(t, w)) != 0 {
			t.Errorf("usage.%s = %s, want %s", name, n, w)
		}
	}
}

func same[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

// amount compares dollars as numbers; null is not nought.
func amount(t *testing.T, what string, got *money.USD, want *string) {
	t.Helper()
	switch {
	case got == nil && want == nil:
	case got == nil:
		t.Errorf("%s = null, want %s", what, *want)
	case want == nil:
		t.Errorf("%s = %s, want null", what, got)
	case got.Cmp(money.MustUSD(*want)) != 0:
		t.Errorf("%s = %s, want %s", what, got, *want)
	}
}

func decimal(t *testing.T, text string) *big.Rat {
	t.Helper()
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		t.Fatalf("%q is no decimal", text)
	}
	return r
}
