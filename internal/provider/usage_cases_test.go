package provider_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"p402.io/p402/internal/money"
	"p402.io/p402/internal/provider"
	"p402.io/p402/meter"
)

type usageCase struct {
	ID       string `json:"id"`
	Provider string `json:"provider"`
	API      string `json:"api"`
	Model    string `json:"model"`
	Request  struct {
		Stream      bool            `json:"stream"`
		StartedAt   time.Time       `json:"started_at"`
		ServiceTier string          `json:"service_tier"`
		Batch       bool            `json:"batch"`
		Region      string          `json:"region"`
		Body        json.RawMessage `json:"body"`
	} `json:"request"`
	CompletedAt time.Time `json:"completed_at"`
	Response    struct {
		Transport string `json:"transport"`
		Status    int    `json:"http_status"`
		Body      string `json:"body"`
		Events    []struct {
			Event   *string `json:"event"`
			Data    string  `json:"data"`
			Comment *string `json:"comment"`
		} `json:"events"`
		Lines   []string `json:"lines"`
		EndedBy string   `json:"ended_by"`
	} `json:"response"`
	Prices   json.RawMessage `json:"prices"`
	Expected struct {
		Usage           map[string]any `json:"usage"`
		Source          string         `json:"usage_source"`
		Complete        bool           `json:"complete"`
		EstimatedFields []string       `json:"estimated_fields"`
		Warnings        []string       `json:"warnings"`
		Cost            struct {
			Status         string  `json:"status"`
			Cost           *string `json:"cost_usd"`
			Source         string  `json:"source"`
			Computed       *string `json:"computed_usd"`
			Reported       *string `json:"reported_usd"`
			Difference     *string `json:"difference_usd"`
			Reason         string  `json:"reason"`
			ComputedReason string  `json:"computed_reason"`
			ServiceTier    string  `json:"service_tier"`
			TierSource     string  `json:"tier_source"`
			ContextTier    string  `json:"context_tier"`
			Row            string  `json:"price_row"`
			Estimated      bool    `json:"estimated"`
			Components     []struct {
				Component string `json:"component"`
				Quantity  string `json:"quantity"`
				Cost      string `json:"cost"`
			} `json:"components"`
		} `json:"cost"`
	} `json:"expected"`
}

// Every golden case goes through the parser that serves the wire: streams as bytes through the SSE reader, frame by frame.
// P402_USAGE_CASES names another file of the same form.
func TestUsageCases(t *testing.T) {
	t.Parallel()
	path := os.Getenv("P402_USAGE_CASES")
	if path == "" {
		path = "testdata/usage_cases.json"
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []usageCase `json:"cases"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) == 0 {
		t.Fatal("the file holds no case")
	}
	for _, c := range file.Cases {
		t.Run(c.ID, func(t *testing.T) {
			t.Parallel()
			c.check(t)
		})
	}
}

// feed gives the answer to the parser as the wire brings it.
func (c usageCase) feed(t *testing.T, p *provider.UsageParser) {
	t.Helper()
	switch c.Response.Transport {
	case "sse":
		var wire bytes.Buffer
		for _, e := range c.Response.Events {
			if e.Comment != nil {
				wire.WriteString(": " + *e.Comment + "\n\n")
				continue
			}
			if e.Event != nil && *e.Event != "" {
				wire.WriteString("event: " + *e.Event + "\n")
			}
			wire.WriteString("data: " + strings.ReplaceAll(e.Data, "\n", "\ndata: ") + "\n\n")
		}
		reader := provider.NewSSEReader(&wire, 32<<20)
		for {
			f, err := reader.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			p.Frame(f.Event, f.Data)
		}
	case "aws_eventstream":
		for _, e := range c.Response.Events {
			name := ""
			if e.Event != nil {
				name = *e.Event
			}
			p.Frame(name, []byte(e.Data))
		}
	case "ndjson":
		for _, line := range c.Response.Lines {
			p.Frame("", []byte(line))
		}
	default:
		p.Frame("", []byte(c.Response.Body))
	}
}

func (c usageCase) check(t *testing.T) {
	rows, err := meter.ParseRateRows(c.Prices)
	if err != nil {
		t.Fatal(err)
	}
	card, err := meter.NewRateCard("case", rows)
	if err != nil {
		t.Fatal(err)
	}
	parser := provider.NewUsageParser(c.API, c.Provider)
	c.feed(t, parser)
	endedBy := c.Response.EndedBy
	if endedBy == "" {
		endedBy = "eof"
	}
	m := parser.Finish(endedBy, c.Response.Status, c.Request.Body)
	cost := card.Price(m, meter.PricedCall{Provider: c.Provider, Model: c.Model, Tier: c.Request.ServiceTier, At: c.CompletedAt,
		Started: c.Request.StartedAt, Region: c.Request.Region, Batch: c.Request.Batch})
	c.checkUsage(t, m, append(slices.Clone(m.Warnings), cost.Warnings...))
	c.checkCost(t, cost)
}

func (c usageCase) checkUsage(t *testing.T, m meter.Measured, warnings []string) {
	want := c.Expected
	if string(m.Source) != want.Source || m.Complete != want.Complete {
		t.Errorf("source %s complete %t, want %s %t", m.Source, m.Complete, want.Source, want.Complete)
	}
	if !slices.Equal(slices.Sorted(slices.Values(m.EstimatedFields)), slices.Sorted(slices.Values(want.EstimatedFields))) {
		t.Errorf("estimated %v, want %v", m.EstimatedFields, want.EstimatedFields)
	}
	for _, w := range want.Warnings {
		if !slices.Contains(warnings, w) {
			t.Errorf("warnings %v lack %s", warnings, w)
		}
	}
	got := flat(m.Usage)
	expected := map[string]string{}
	for name, value := range want.Usage {
		flatten(expected, name, value)
	}
	for name := range maps.Keys(expected) {
		if expected[name] == "0" {
			delete(expected, name)
		}
	}
	if !maps.EqualFunc(got, expected, func(a, b string) bool { return equalUSD(&a, &b) }) {
		t.Errorf("usage\n got %v\nwant %v", got, expected)
	}
}

func flatten(into map[string]string, name string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			flatten(into, name+"."+key, inner)
		}
	case float64:
		text, _ := json.Marshal(v) // a test's own number, far below 2^53
		into[name] = string(text)
	case string:
		into[name] = v
	}
}

// flat is a usage in the words of the cases; what is nought is left out.
func flat(u meter.Usage) map[string]string {
	numbers := map[string]int64{"input_tokens": u.InputTokens, "cached_input_tokens": u.CachedInputTokens, "cache_write_tokens": u.CacheWriteTokens,
		"cache_write_by_ttl.5m": u.CacheWrite5mTokens, "cache_write_by_ttl.1h": u.CacheWrite1hTokens,
		"cache_write_by_ttl.default": u.CacheWriteTokens - u.CacheWrite5mTokens - u.CacheWrite1hTokens, "input_audio_tokens": u.InputAudioTokens,
		"input_image_tokens": u.InputImageTokens, "input_video_tokens": u.InputVideoTokens, "cached_input_audio_tokens": u.CachedInputAudioTokens,
		"cached_input_image_tokens": u.CachedInputImageTokens, "tool_input_tokens": u.ToolInputTokens, "output_tokens": u.OutputTokens,
		"reasoning_tokens": u.ReasoningTokens, "output_audio_tokens": u.OutputAudioTokens, "output_image_tokens": u.OutputImageTokens,
		"citation_tokens": u.CitationTokens, "total_tokens": u.TotalTokens()}
	out := map[string]string{}
	for name, n := range numbers {
		if n != 0 {
			text, _ := json.Marshal(n) // an integer always marshals
			out[name] = string(text)
		}
	}
	for name, text := range u.Counts {
		out["counts."+name] = text
	}
	return out
}

func (c usageCase) checkCost(t *testing.T, got meter.Cost) {
	want := c.Expected.Cost
	if string(got.Status) != want.Status || got.Reason != want.Reason || got.Source != want.Source || got.ComputedReason != want.ComputedReason {
		t.Errorf("status %s reason %q source %s computed_reason %q, want %s %q %s %q", got.Status, got.Reason, got.Source, got.ComputedReason,
			want.Status, want.Reason, want.Source, want.ComputedReason)
	}
	for name, pair := range map[string][2]*string{"cost": {text(got.USD), want.Cost}, "computed": {text(got.Computed), want.Computed},
		"reported": {text(got.Reported), want.Reported}, "difference": {text(got.Difference), want.Difference}} {
		if !equalUSD(pair[0], pair[1]) {
			t.Errorf("%s %s, want %s", name, show(pair[0]), show(pair[1]))
		}
	}
	if got.ServiceTier != want.ServiceTier || got.TierSource != want.TierSource || got.ContextTier != want.ContextTier || got.RowID != want.Row || got.Estimated != want.Estimated {
		t.Errorf("tier %s by %s, context %q, row %q, estimated %t; want %s by %s, %q, %q, %t", got.ServiceTier, got.TierSource, got.ContextTier, got.RowID, got.Estimated,
			want.ServiceTier, want.TierSource, want.ContextTier, want.Row, want.Estimated)
	}
	lines := map[string]string{}
	for _, line := range got.Components {
		cost := line.Cost
		lines[line.Component] = line.Quantity + " = " + cost.String()
	}
	expected := map[string]string{}
	for _, line := range want.Components {
		expected[line.Component] = line.Quantity + " = " + money.MustUSD(line.Cost).String()
	}
	if !maps.Equal(lines, expected) {
		t.Errorf("components\n got %v\nwant %v", lines, expected)
	}
}

func text(u *money.USD) *string {
	if u == nil {
		return nil
	}
	s := u.String()
	return &s
}

func show(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

func equalUSD(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	if *a == *b {
		return true
	}
	x, err := money.ParseUSD(strings.TrimPrefix(*a, "-"))
	y, errB := money.ParseUSD(strings.TrimPrefix(*b, "-"))
	return err == nil && errB == nil && x.Cmp(y) == 0 && strings.HasPrefix(*a, "-") == strings.HasPrefix(*b, "-")
}
