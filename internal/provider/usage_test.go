package provider

import (
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
	"pgregory.net/rapid"

	"p402.io/p402/meter"
)

// allCases are the cases of both committed files.
func allCases(t testing.TB) []usageCase {
	t.Helper()
	var all []usageCase
	for _, file := range []string{"testdata/usage_cases.json", "testdata/usage_cases_more.json"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var cases struct{ Cases []usageCase }
		if err := json.Unmarshal(raw, &cases); err != nil {
			t.Fatal(err)
		}
		all = append(all, cases.Cases...)
	}
	return all
}

// TestRepeatedUsageChangesNothing: every usage is a snapshot. Whatever frame of whatever case that holds one comes a
// second time at the end, or right after itself, the measure stays the same.
func TestRepeatedUsageChangesNothing(t *testing.T) {
	t.Parallel()
	for _, c := range allCases(t) {
		frames := c.frames(t)
		for i, f := range frames {
			if !strings.Contains(string(f.Data), "sage") && !strings.Contains(string(f.Data), "_count") {
				continue
			}
			once, twice := NewUsageParser(c.API, c.Provider), NewUsageParser(c.API, c.Provider)
			for j, g := range frames {
				once.Frame(g.Event, g.Data)
				twice.Frame(g.Event, g.Data)
				if i == j {
					twice.Frame(g.Event, g.Data)
				}
			}
			a, b := once.Finish("eof", 200, c.Request.Body), twice.Finish("eof", 200, c.Request.Body)
			for _, m := range []*meter.Measured{&a, &b} { // text that comes twice was written twice
				for _, guessed := range m.EstimatedFields {
					if guessed == "output_tokens" {
						m.OutputTokens = 0
					}
				}
			}
			if !reflect.DeepEqual(a, b) {
				t.Errorf("%s, frame %d twice:\n%+v\n%+v", c.ID, i, a, b)
			}
		}
	}
}

// TestA44_ContentIsNeverUsage: an answer that talks about usage, in whatever way it is written, is counted and not believed.
func TestA44_ContentIsNeverUsage(t *testing.T) {
	t.Parallel()
	for _, content := range []string{`{"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`, `","usage":{"prompt_tokens":1},"x":"`,
		"data: {\"usage\":{\"completion_tokens\":1}}\n\ndata: [DONE]", `[DONE]`, `"service_tier":"flex","model":"cheap"`} {
		quoted, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		for api, frame := range map[string]string{
			"openai.chat":        `{"model":"m","choices":[{"index":0,"delta":{"content":%s},"finish_reason":"stop"}]}`,
			"anthropic.messages": `{"type":"content_block_delta","delta":{"type":"text_delta","text":%s}}`,
			"gemini.generate":    `{"candidates":[{"content":{"parts":[{"text":%s}]},"finishReason":"STOP"}]}`,
			"openai.responses":   `{"type":"response.output_text.delta","delta":%s}`,
			"bedrock.converse":   `{"delta":{"text":%s}}`,
			"cohere.chat":        `{"type":"content-delta","delta":{"message":{"content":{"text":%s}}}}`,
			"ollama.chat":        `{"message":{"role":"assistant","content":%s},"done":false}`,
		} {
			p := NewUsageParser(api, "")
			p.Frame("", fmt.Appendf(nil, frame, quoted))
			m := p.Finish("client_cancel", 200, nil)
			if m.Source != meter.UsageEstimated || m.OutputTokens != quarter(int64(len(content))) || m.ServiceTier != "" || m.RawUsage != "" || m.Model == "cheap" {
				t.Errorf("%s: %q steered the measure: %+v", api, content, m)
			}
		}
	}
}

// TestA50_CutAnywhere: a stream that breaks off after any frame is never free, never whole, and never counts more than
// was reported or seen.
func TestA50_CutAnywhere(t *testing.T) {
	t.Parallel()
	request := []byte(`{"messages":[{"role":"user","content":"Hello there"}]}`)
	for _, c := range allCases(t) {
		frames := c.frames(t)
		if !c.Request.Stream || c.Response.HTTPStatus != 200 || c.Expected.UsageSource == "rejected" || workOf(c.API) != workText {
			continue
		}
		for n := range frames {
			p := NewUsageParser(c.API, c.Provider)
			for _, f := range frames[:n] {
				p.Frame(f.Event, f.Data)
			}
			m := p.Finish("cut", 200, request)
			if m.Complete && !p.done {
				t.Errorf("%s cut after %d frames is whole", c.ID, n)
			}
			if m.Rejected == "" && m.InputTokens == 0 || m.Source == meter.UsageNone {
				t.Errorf("%s cut after %d frames is free: %+v", c.ID, n, m)
			}
			if m.Source == meter.UsageProvider && len(m.EstimatedFields) > 0 || m.Source != meter.UsageProvider && m.Source != meter.UsageRejected && len(m.EstimatedFields) == 0 {
				t.Errorf("%s cut after %d frames: %s with %q", c.ID, n, m.Source, m.EstimatedFields)
			}
		}
	}
}

// TestRawUsageHoldsNoContent: what is kept for an audit is counts.
func TestRawUsageHoldsNoContent(t *testing.T) {
	t.Parallel()
	for _, c := range allCases(t) {
		m, _ := c.run(t)
		for _, word := range []string{"content", "OK.", "\"text\"", "delta", "message\":{"} {
			if strings.Contains(m.RawUsage, word) {
				t.Errorf("%s keeps %q: %s", c.ID, word, m.RawUsage)
			}
		}
	}
}

// TestNumbersKeepTheirText: a JSON number of any spelling is the same number as decimal text, and a count exactly when it
// is whole, not negative and not absurd.
func TestNumbersKeepTheirText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.StringMatching(`-?(0|[1-9][0-9]{0,12})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "number")
		want, ok := new(big.Rat).SetString(raw)
		if !ok || !json.Valid([]byte(raw)) {
			t.Skip("not a number")
		}
		v := gjson.Parse(raw)
		if text, ok := readDecimal(v); ok {
			if got, _ := new(big.Rat).SetString(text); got == nil || got.Cmp(want) != 0 || strings.ContainsAny(text, "eE+") {
				t.Fatalf("%s reads as %s", raw, text)
			}
		} else if e := strings.IndexAny(raw, "eE"); e < 0 {
			t.Fatalf("%s is not read", raw)
		}
		c, believed := readCount(v), want.IsInt() && want.Sign() >= 0 && want.Cmp(big.NewRat(absurdAbove, 1)) <= 0
		if (c.bad == "") != believed || believed && big.NewRat(c.n, 1).Cmp(want) != 0 {
			t.Fatalf("%s counts as %+v", raw, c)
		}
		if want.Sign() < 0 && want.IsInt() && c.bad != badNegative || !want.IsInt() && c.bad != badNotInteger {
			t.Fatalf("%s is refused as %s", raw, c.bad)
		}
	})
}

// TestTextIsMeasuredUnescaped: the length of a JSON string is that of the text it stands for.
func TestTextIsMeasuredUnescaped(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.String().Draw(t, "text")
		literal, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var decoded string
		if err := json.Unmarshal(literal, &decoded); err != nil {
			t.Fatal(err)
		}
		if got := textLen(literal); got != int64(len(decoded)) {
			t.Fatalf("%s is %d bytes, not %d", literal, len(decoded), got)
		}
	})
	for literal, want := range map[string]int64{`"\u00fc\ud83d\ude42\n\""`: 8, `"\ud83d"`: 3, `"\ud83dx"`: 4, `"\ud83d\ud83d\ude42"`: 7, `""`: 0, `12`: 0, `null`: 0, `"`: 0} {
		if got := textLen([]byte(literal)); got != want {
			t.Errorf("%s is %d bytes, not %d", literal, want, got)
		}
	}
}

// FuzzUsageParser: no bytes of a vendor make the parser fall over, or believe in what cannot be.
func FuzzUsageParser(f *testing.F) {
	for _, c := range allCases(f) {
		body := []byte(c.Response.Body)
		for _, e := range c.Response.Events {
			body = append(append(body, e.Data...), '\n')
		}
		f.Add(c.API, c.Provider, body, []byte(c.Request.Body))
	}
	f.Add("openai.chat", "", []byte(`{"choices":[{"delta":{"content":"\u`), []byte(`{"messages":[{"content":[`))
	f.Fuzz(func(t *testing.T, api, vendor string, frames, request []byte) {
		p := NewUsageParser(api, vendor)
		for _, line := range strings.SplitAfter(string(frames), "\n") {
			p.Frame("metadata", []byte(line))
			p.Frame("", []byte(line))
		}
		for _, ended := range []string{"eof", "client_cancel"} {
			m := p.Finish(ended, 200, request)
			if why := m.Usage.Check(); why != "" && len(m.EstimatedFields) == 0 {
				t.Errorf("%s: %+v", why, m.Usage)
			}
			if m.Rejected != "" && (m.Source != meter.UsageRejected || m.Usage.TotalTokens() != 0) {
				t.Errorf("refused, and counted: %+v", m)
			}
		}
	})
}

// stream200 is a stream of 200 pieces of text and the usage at its end.
func stream200() [][]byte {
	var frames [][]byte
	for i := range 200 {
		frames = append(frames, fmt.Appendf(nil, `{"id":"chatcmpl-8996e3b9","object":"chat.completion.chunk","created":1790000000,"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":" word%d"},"logprobs":null,"finish_reason":null}],"obfuscation":"aB3dE6g"}`, i))
	}
	return append(frames, []byte(`{"id":"chatcmpl-8996e3b9","object":"chat.completion.chunk","model":"gpt-4o-mini-2024-07-18","choices":[],"usage":{"prompt_tokens":25,"completion_tokens":200,"total_tokens":225}}`), []byte("[DONE]"))
}

// BenchmarkUsage200Frames is what counting costs a stream of 200 frames; the other two are what it is measured against:
// looking for one word in each frame, and decoding each.
func BenchmarkUsage200Frames(b *testing.B) {
	frames := stream200()
	b.Run("count", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p := NewUsageParser("openai.chat", "openai")
			for _, f := range frames {
				p.Frame("", f)
			}
			if m := p.Finish("eof", 200, nil); m.OutputTokens != 200 {
				b.Fatal(m)
			}
		}
	})
	b.Run("scan", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for _, f := range frames {
				n += strings.Count(string(f), `"usage"`)
			}
			if n != 1 {
				b.Fatal(n)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, f := range frames {
				var v struct {
					Model   string
					Choices []struct{ Delta struct{ Content string } }
					Usage   map[string]any
				}
				if err := json.Unmarshal(f, &v); err != nil && string(f) != "[DONE]" {
					b.Fatal(err)
				}
			}
		}
	})
}
