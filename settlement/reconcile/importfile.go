package reconcile

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/money"
)

// Format is the shape of a vendor's usage or invoice file.
type Format string

// The formats.
const (
	FormatOpenAI     Format = "openai"     // organization costs or completions usage, JSON pages (Admin API)
	FormatAnthropic  Format = "anthropic"  // cost report or messages usage report, JSON (Admin API)
	FormatOpenRouter Format = "openrouter" // activity, JSON
	FormatGeneric    Format = "generic"    // CSV with a header line
)

// Replaces reports whether a newer file of the format takes the place of older ones for the days it covers. Vendors' exports
// do: they are taken again and again through a month. A generic file adds.
func (f Format) Replaces() bool { return f != FormatGeneric }

// RowError is one row that could not be read; it never repeats the row's text.
type RowError struct {
	Row     int    `json:"row"`
	Problem string `json:"problem"`
}

// Parsed is a read file.
type Parsed struct {
	Lines    []Line
	Rejected []RowError
	From, To string // first and last day
}

// maxLines bounds one file.
const maxLines = 200_000

// ErrImport refuses a file as a whole.
var ErrImport = fault.New(fault.KindInvalid, "IMPORT_UNREADABLE", "the file is not of the format that was named")

// ParseFile reads a vendor's file. provider names the vendor for lines that do not. Rows that cannot be read are listed, not
// guessed; a file without one good row is refused.
func ParseFile(f Format, provider string, raw []byte) (Parsed, error) {
	var p Parsed
	var err error
	switch f {
	case FormatOpenAI, FormatAnthropic:
		err = p.buckets(f, provider, raw)
	case FormatOpenRouter:
		err = p.activity(provider, raw)
	case FormatGeneric:
		err = p.table(provider, raw)
	default:
		return p, fault.Field(fault.KindInvalid, "INVALID_INPUT", "format", "must be openai, anthropic, openrouter or generic")
	}
	if err != nil {
		return p, ErrImport.Because(err)
	}
	if len(p.Lines) == 0 {
		return p, ErrImport.With("rows", p.Rejected)
	}
	p.finish()
	return p, nil
}

// finish gives each line its digest; of lines that are equal in everything, all but the first are marked.
func (p *Parsed) finish() {
	seen := map[string]bool{}
	for i := range p.Lines {
		l := &p.Lines[i]
		text := []string{l.Provider, ModelName(l.Provider, l.Model), l.Day, strconv.FormatInt(l.Requests, 10), number(l.InputTokens), number(l.OutputTokens), "", l.ExternalID}
		if l.CostUSD != nil {
			text[6] = l.CostUSD.String()
		}
		sum := sha256.Sum256([]byte(strings.Join(text, "\x00")))
		l.Digest = hex.EncodeToString(sum[:16])
		l.Again, seen[l.Digest] = seen[l.Digest], true
		if p.From == "" || l.Day < p.From {
			p.From = l.Day
		}
		if l.Day > p.To {
			p.To = l.Day
		}
	}
}

func number(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}

func (p *Parsed) reject(row int, problem string) {
	const listed = 100
	if len(p.Rejected) < listed {
		p.Rejected = append(p.Rejected, RowError{row, problem})
	}
}

var exactNumber = regexp.MustCompile(`^-?[0-9]{1,20}(\.[0-9]{1,40})?([eE][-+]?[0-9]{1,2})?$`)

// dollars reads a number exactly, also in the exponent form that JSON writers use for small floats.
func dollars(text string, shift int) (*money.USD, error) {
	text = strings.TrimPrefix(strings.TrimSpace(text), "$")
	r, ok := new(big.Rat).SetString(text)
	if !exactNumber.MatchString(text) || !ok {
		return nil, errors.New("the cost is not a decimal number")
	}
	u := money.FromRat(r).DivPow10(int32(shift))
	return &u, nil
}

func count(text string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < 0 {
		return 0, errors.New("a count is not a whole number of 0 or more")
	}
	return n, nil
}

// day reads a date or a time as the UTC day it lies in.
func day(text string) (string, error) {
	text = strings.TrimSpace(text)
	for _, layout := range []string{time.DateOnly, time.RFC3339, time.DateTime, "2006-01-02T15:04:05"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC().Format(time.DateOnly), nil
		}
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 1_000_000_000 && n < 10_000_000_000 {
		return time.Unix(n, 0).UTC().Format(time.DateOnly), nil
	}
	return "", errors.New("the day is not a date such as 2027-03-31")
}

// bucket is one time bucket of OpenAI's and Anthropic's reports; numbers stay text.
type bucket struct {
	StartTime  json.Number `json:"start_time"`
	StartingAt string      `json:"starting_at"`
	Results    []result    `json:"results"`
}

type result struct {
	Amount       json.RawMessage `json:"amount"` // OpenAI: {value, currency} in dollars; Anthropic: text, in cents
	Currency     string          `json:"currency"`
	LineItem     string          `json:"line_item"`
	ProjectID    string          `json:"project_id"`
	WorkspaceID  string          `json:"workspace_id"`
	APIKeyID     string          `json:"api_key_id"`
	Model        string          `json:"model"`
	Description  string          `json:"description"`
	ServiceTier  string          `json:"service_tier"`
	TokenType    string          `json:"token_type"`
	Context      string          `json:"context_window"`
	Requests     int64           `json:"num_model_requests"`
	Input        *int64          `json:"input_tokens"` // OpenAI: cached ones included
	Output       *int64          `json:"output_tokens"`
	Uncached     *int64          `json:"uncached_input_tokens"` // Anthropic: the three kinds apart
	CacheRead    int64           `json:"cache_read_input_tokens"`
	CacheCreated struct {
		OneHour int64 `json:"ephemeral_1h_input_tokens"`
		Five    int64 `json:"ephemeral_5m_input_tokens"`
	} `json:"cache_creation"`
}

func (p *Parsed) buckets(f Format, provider string, raw []byte) error {
	row := 0
	return eachPage(raw, func(data json.RawMessage) error {
		var list []bucket
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
		for _, b := range list {
			start := b.StartingAt
			if start == "" {
				start = b.StartTime.String()
			}
			for _, r := range b.Results {
				if row++; row > maxLines {
					return fmt.Errorf("more than %d rows", maxLines)
				}
				l, err := r.line(f, provider, start)
				if err != nil {
					p.reject(row, err.Error())
					continue
				}
				p.Lines = append(p.Lines, l)
			}
		}
		return nil
	})
}

// eachPage reads one page object, or several after one another or in an array.
func eachPage(raw []byte, do func(data json.RawMessage) error) error {
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("[")) {
		var pages []json.RawMessage
		if err := json.Unmarshal(raw, &pages); err != nil {
			return err
		}
		raw = bytes.Join(func() (out [][]byte) {
			for _, page := range pages {
				out = append(out, page)
			}
			return out
		}(), []byte("\n"))
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	for {
		var page struct {
			Data json.RawMessage `json:"data"`
		}
		if err := dec.Decode(&page); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if page.Data == nil {
			return errors.New("a page has no data")
		}
		if err := do(page.Data); err != nil {
			return err
		}
	}
}

func (r result) line(f Format, provider, start string) (Line, error) {
	l := Line{Provider: provider, Model: r.Model, Requests: r.Requests, InputTokens: r.Input, OutputTokens: r.Output,
		ExternalID: strings.Join([]string{r.ProjectID, r.WorkspaceID, r.APIKeyID, r.LineItem, r.Description, r.TokenType, r.ServiceTier, r.Context}, "|")}
	var err error
	if l.Day, err = day(start); err != nil {
		return l, err
	}
	if l.Model == "" {
		l.Model, _, _ = strings.Cut(r.LineItem, ",")
	}
	if r.Uncached != nil {
		in := *r.Uncached + r.CacheRead + r.CacheCreated.OneHour + r.CacheCreated.Five
		l.InputTokens = &in
	}
	for _, n := range []*int64{l.InputTokens, l.OutputTokens, &l.Requests} {
		if n != nil && *n < 0 {
			return l, errors.New("a count is negative")
		}
	}
	if len(r.Amount) > 0 && string(r.Amount) != "null" {
		if l.CostUSD, err = r.cost(f); err != nil {
			return l, err
		}
	}
	switch {
	case l.CostUSD == nil && (l.InputTokens == nil || l.OutputTokens == nil):
		return l, errors.New("the row has neither cost nor tokens")
	case l.Model == "" && l.CostUSD == nil:
		return l, errors.New("the row names no model: group the report by model")
	case l.Model == "":
		l.Model = "(not a model)" // storage, sessions, tools: billed, never metered here
	}
	return l, nil
}

func (r result) cost(f Format) (*money.USD, error) {
	text, currency, shift := strings.Trim(string(r.Amount), `"`), r.Currency, 0
	if f == FormatAnthropic {
		shift = 2 // the cost report's amounts are in cents
	} else {
		var amount struct {
			Value    json.RawMessage `json:"value"`
			Currency string          `json:"currency"`
		}
		if err := json.Unmarshal(r.Amount, &amount); err != nil {
			return nil, errors.New("the amount is not an object with value and currency")
		}
		text, currency = strings.Trim(string(amount.Value), `"`), amount.Currency
	}
	if !strings.EqualFold(currency, "usd") {
		return nil, errors.New("the currency is not USD")
	}
	return dollars(text, shift)
}

// activity reads OpenRouter's: one row a day, model and endpoint; usage is dollars.
func (p *Parsed) activity(provider string, raw []byte) error {
	row := 0
	return eachPage(raw, func(data json.RawMessage) error {
		var list []struct {
			Date       string      `json:"date"`
			Model      string      `json:"model"`
			Endpoint   string      `json:"endpoint_id"`
			Usage      json.Number `json:"usage"`
			Requests   int64       `json:"requests"`
			Prompt     *int64      `json:"prompt_tokens"`
			Completion *int64      `json:"completion_tokens"`
		}
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
		for _, r := range list {
			if row++; row > maxLines {
				return fmt.Errorf("more than %d rows", maxLines)
			}
			l := Line{Provider: provider, Model: r.Model, Requests: r.Requests, InputTokens: r.Prompt, OutputTokens: r.Completion, ExternalID: r.Endpoint}
			var err, err2 error
			l.Day, err = day(r.Date)
			l.CostUSD, err2 = dollars(r.Usage.String(), 0)
			if err = errors.Join(err, err2); err != nil || r.Model == "" {
				p.reject(row, "date, model or usage cannot be read")
				continue
			}
			p.Lines = append(p.Lines, l)
		}
		return nil
	})
}

// columns is what a generic CSV may call its columns.
var columns = map[string]string{"provider": "provider", "vendor": "provider", "model": "model", "day": "day", "date": "day", "usage_date": "day",
	"requests": "requests", "input_tokens": "input", "prompt_tokens": "input", "output_tokens": "output", "completion_tokens": "output",
	"cost_usd": "cost", "cost": "cost", "amount_usd": "cost", "amount": "cost", "currency": "currency", "external_id": "external", "line_id": "external", "id": "external"}

func (p *Parsed) table(provider string, raw []byte) error {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))))
	header, err := r.Read()
	if err != nil {
		return err
	}
	at := map[string]int{}
	for i, name := range header {
		if column := columns[strings.ToLower(strings.TrimSpace(name))]; column != "" {
			at[column] = i
		}
	}
	for _, column := range []string{"model", "day", "cost"} {
		if _, ok := at[column]; !ok {
			return fmt.Errorf("the header has no column for %s", column)
		}
	}
	for row := 2; ; row++ {
		record, err := r.Read()
		switch {
		case err == io.EOF:
			return nil
		case row > maxLines:
			return fmt.Errorf("more than %d rows", maxLines)
		case errors.Is(err, csv.ErrFieldCount):
			p.reject(row, "the row has another number of fields than the header")
			continue
		case err != nil:
			return err
		}
		l, err := tableLine(provider, record, at)
		if err != nil {
			p.reject(row, err.Error())
			continue
		}
		p.Lines = append(p.Lines, l)
	}
}

func tableLine(provider string, record []string, at map[string]int) (Line, error) {
	cell := func(column string) string {
		if i, ok := at[column]; ok {
			return strings.TrimSpace(record[i])
		}
		return ""
	}
	l := Line{Provider: provider, Model: cell("model"), ExternalID: cell("external")}
	if own := cell("provider"); own != "" {
		l.Provider = strings.ToLower(own)
	}
	if currency := cell("currency"); currency != "" && !strings.EqualFold(currency, "usd") {
		return l, errors.New("the currency is not USD")
	}
	if l.Model == "" || l.Provider == "" {
		return l, errors.New("the row names no model or no vendor")
	}
	var err error
	if l.Day, err = day(cell("day")); err != nil {
		return l, err
	}
	if l.CostUSD, err = dollars(cell("cost"), 0); err != nil {
		return l, err
	}
	for column, into := range map[string]**int64{"input": &l.InputTokens, "output": &l.OutputTokens} {
		if text := cell(column); text != "" {
			n, err := count(text)
			if err != nil {
				return l, err
			}
			*into = &n
		}
	}
	if text := cell("requests"); text != "" {
		if l.Requests, err = count(text); err != nil {
			return l, err
		}
	}
	return l, nil
}
