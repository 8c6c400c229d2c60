package reconcile_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"p402.io/p402/settlement/reconcile"
)

// The shapes follow the vendors' published references: OpenAI's organization costs and completions usage, Anthropic's cost and
// messages usage reports, OpenRouter's activity. The figures are made up.
func TestVendorsFilesAreReadExactly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text                string
		format                    reconcile.Format
		model, day, cost, in, out string
	}{
		{"OpenAI costs", `{"object":"page","data":[{"object":"bucket","start_time":1740787200,"end_time":1740873600,"results":[{"object":"organization.costs.result",
			"amount":{"value":0.06000000000000001,"currency":"usd"},"line_item":"gpt-4o, input","project_id":"proj_1"}]}],"has_more":false}`,
			reconcile.FormatOpenAI, "gpt-4o", "2025-03-01", "0.06000000000000001", "", ""},
		{"OpenAI usage", `{"object":"page","data":[{"object":"bucket","start_time":1740787200,"results":[{"object":"organization.usage.completions.result","input_tokens":1000,
			"output_tokens":500,"input_cached_tokens":800,"num_model_requests":5,"project_id":null,"model":"gpt-4o-mini-2024-07-18"}]}]}`,
			reconcile.FormatOpenAI, "gpt-4o-mini-2024-07-18", "2025-03-01", "", "1000", "500"},
		{"Anthropic costs are in cents", `{"data":[{"starting_at":"2025-08-01T00:00:00Z","ending_at":"2025-08-02T00:00:00Z","results":[{"currency":"USD","amount":"123.78912",
			"workspace_id":"w","description":"Usage - Input Tokens","cost_type":"tokens","model":"claude-sonnet-4-20250514","token_type":"uncached_input_tokens"}]}],"has_more":false}`,
			reconcile.FormatAnthropic, "claude-sonnet-4-20250514", "2025-08-01", "1.2378912", "", ""},
		{"Anthropic usage counts four kinds of input", `{"data":[{"starting_at":"2025-08-01T00:00:00Z","results":[{"uncached_input_tokens":1500,"cache_creation":{"ephemeral_1h_input_tokens":1000,
			"ephemeral_5m_input_tokens":500},"cache_read_input_tokens":200,"output_tokens":500,"model":"claude-sonnet-4-20250514"}]}]}`,
			reconcile.FormatAnthropic, "claude-sonnet-4-20250514", "2025-08-01", "", "3200", "500"},
		{"OpenRouter, with an exponent", `{"data":[{"date":"2025-08-24 00:00:00","model":"openai/gpt-4.1","endpoint_id":"e","usage":6.1e-05,"requests":5,"prompt_tokens":50,"completion_tokens":125}]}`,
			reconcile.FormatOpenRouter, "openai/gpt-4.1", "2025-08-24", "0.000061", "50", "125"},
		{"a table with a byte order mark and words of its own", "\xef\xbb\xbfDate,Model,Prompt_Tokens,Completion_Tokens,Amount,Currency\r\n2025-08-24,\"m, large\",7,8,$0.5,USD\r\n",
			reconcile.FormatGeneric, "m, large", "2025-08-24", "0.5", "7", "8"},
	} {
		got, err := reconcile.ParseFile(c.format, "vendor", []byte(c.text))
		if err != nil || len(got.Lines) != 1 {
			t.Errorf("%s: %+v, %v", c.name, got, err)
			continue
		}
		l := got.Lines[0]
		cost := ""
		if l.CostUSD != nil {
			cost = l.CostUSD.String()
		}
		in, out := "", ""
		if l.InputTokens != nil {
			in, out = show(*l.InputTokens), show(*l.OutputTokens)
		}
		if l.Model != c.model || l.Day != c.day || cost != c.cost || in != c.in || out != c.out || got.From != c.day || l.Provider != "vendor" {
			t.Errorf("%s: %+v cost %s, %s in, %s out", c.name, l, cost, in, out)
		}
	}
}

func show(n int64) string { return strconv.FormatInt(n, 10) }

func TestBadRowsAreListedAndNotGuessed(t *testing.T) {
	t.Parallel()
	got, err := reconcile.ParseFile(reconcile.FormatGeneric, "v", []byte("day,model,cost,input_tokens,currency\n"+
		"2025-01-01,m,1,5,USD\n"+"yesterday,m,1,5,USD\n"+"2025-01-01,m,NaN,5,USD\n"+"2025-01-01,m,1e999,5,USD\n"+"2025-01-01,m,1,-5,USD\n"+"2025-01-01,m,1,5,EUR\n"+"2025-01-01,m\n"+"2025-01-01,m,1,5,USD\n"))
	if err != nil || len(got.Lines) != 2 || len(got.Rejected) != 6 || got.Rejected[0].Row != 3 {
		t.Fatalf("%+v %v", got, err)
	}
	if got.Lines[0].Again || !got.Lines[1].Again {
		t.Error("the second of two equal lines is not marked")
	}
	for _, r := range got.Rejected {
		if strings.Contains(r.Problem, "yesterday") {
			t.Error("the row's text is repeated")
		}
	}
	for name, text := range map[string]string{"empty": "", "other columns": "a,b\n1,2\n", "no rows": "day,model,cost\n", "JSON": `{"data":[]}`} {
		if _, err := reconcile.ParseFile(reconcile.FormatGeneric, "v", []byte(text)); !errors.Is(err, reconcile.ErrImport) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := reconcile.ParseFile(reconcile.FormatOpenAI, "v", []byte(`[1]`)); !errors.Is(err, reconcile.ErrImport) {
		t.Errorf("no page: %v", err)
	}
}

// FuzzParseFile: whatever comes, lines are sound or refused.
func FuzzParseFile(f *testing.F) {
	f.Add("generic", []byte("day,model,cost\n2025-01-01,m,1\n"))
	f.Add("openai", []byte(`{"data":[{"start_time":1740787200,"results":[{"amount":{"value":1,"currency":"usd"},"line_item":"a"}]}]}`))
	f.Add("anthropic", []byte(`{"data":[{"starting_at":"2025-08-01T00:00:00Z","results":[{"currency":"USD","amount":"1","model":"m"}]}]}`))
	f.Add("openrouter", []byte(`{"data":[{"date":"2025-08-24","model":"m","usage":1}]}`))
	f.Fuzz(func(t *testing.T, format string, raw []byte) {
		got, err := reconcile.ParseFile(reconcile.Format(format), "v", raw)
		if err != nil {
			return
		}
		for _, l := range got.Lines {
			if l.Day == "" || l.Model == "" || l.Digest == "" || l.CostUSD == nil && l.InputTokens == nil || l.InputTokens != nil && *l.InputTokens < 0 {
				t.Fatalf("%+v", l)
			}
		}
	})
}
