package meter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"p402.io/p402/internal/money"
)

// Rates are US dollars per million tokens by class, as decimal text. Absent classes fall back along classFallback;
// an explicit "0" is a price.
type Rates map[string]money.USD

// classOrder is every class a token may be billed in, in the order in which lines are shown.
var classOrder = [...]string{"input", "cached_input", "cache_write", "cache_write_5m", "cache_write_1h", "input_audio", "cached_input_audio",
	"input_image", "cached_input_image", "input_video", "output", "reasoning", "output_audio", "output_image", "citation"}

// classFallback is the class whose rate stands in when a class has none of its own. No discount is ever assumed.
var classFallback = map[string]string{
	"cached_input": "input", "cache_write": "input", "cache_write_5m": "cache_write", "cache_write_1h": "cache_write",
	"input_audio": "input", "input_image": "input", "input_video": "input", "cached_input_audio": "input_audio",
	"cached_input_image": "input_image", "reasoning": "output", "output_audio": "output", "output_image": "output",
}

// find is the rate of a class and the class it came from.
func (r Rates) find(class string) (money.USD, string, bool) {
	for class != "" {
		if rate, ok := r[class]; ok {
			return rate, class, true
		}
		class = classFallback[class]
	}
	return money.Zero, "", false
}

// ContextTier replaces the rates of the whole call once its input passes a size.
type ContextTier struct {
	InputTokensGT int64 `json:"input_tokens_gt"`
	Rates         Rates `json:"rates"`
}

// ServiceTier is a complete set of rates for one tier of service.
type ServiceTier struct {
	Rates        Rates         `json:"rates"`
	ContextTiers []ContextTier `json:"context_tiers,omitempty"`
}

// TimeWindow is a complete set of rates for a part of every day, [From, To) in UTC, "15:04". One that ends before it
// begins runs over midnight.
type TimeWindow struct {
	From         string        `json:"from"`
	To           string        `json:"to"`
	Rates        Rates         `json:"rates"`
	ContextTiers []ContextTier `json:"context_tiers,omitempty"`
}

// Multiplier is a factor on every token rate, never on a fee, when all of its conditions hold.
type Multiplier struct {
	When   map[string]OneOf `json:"when"`
	Factor money.USD        `json:"factor"` // a plain factor: a decimal, not dollars
}

// OneOf is a condition: one of these words. In JSON a single word may stand alone.
type OneOf []string

// UnmarshalJSON reads a word, a list of words, or a bare value by its text.
func (o *OneOf) UnmarshalJSON(raw []byte) error {
	var one string
	switch {
	case bytes.HasPrefix(raw, []byte("[")):
		return json.Unmarshal(raw, (*[]string)(o))
	case bytes.HasPrefix(raw, []byte(`"`)):
		if err := json.Unmarshal(raw, &one); err != nil {
			return err
		}
	default:
		one = string(raw)
	}
	*o = OneOf{one}
	return nil
}

// Fee is the price of a quantity that is not tokens: max(quantity, min) x price / per. With Select, a setting of the call
// ("image_kind", "search_context_size") chooses the price among Options.
type Fee struct {
	Price   *money.USD           `json:"price,omitempty"`
	Per     money.USD            `json:"per"`           // a quantity, not dollars
	Min     *money.USD           `json:"min,omitempty"` // a quantity: the least that is billed
	Select  string               `json:"select,omitempty"`
	Options map[string]money.USD `json:"options,omitempty"`
}

// price is what the fee asks for by the call's settings; false if it does not say.
func (f Fee) price(facts map[string]string) (money.USD, bool) {
	if f.Select != "" {
		if price, ok := f.Options[facts[f.Select]]; ok {
			return price, true
		}
	}
	if f.Price == nil {
		return money.Zero, false
	}
	return *f.Price, true
}

// PricedBy names the moment a time window is compared with.
type PricedBy string

// The moments of a call.
const (
	PricedByCompletion PricedBy = "completed_at" // also when nothing is said
	PricedByStart      PricedBy = "started_at"
)

// RateRow is one dated row of the price book. Rows are never edited: a new price is a new row. It is in force from
// EffectiveFrom (inclusive; zero = since ever) to EffectiveTo (exclusive; nil = until further notice), UTC.
type RateRow struct {
	ID            string                 `json:"id"`
	Provider      string                 `json:"provider,omitempty"` // whose price; "" = whoever serves the model
	Models        []string               `json:"models"`             // exact names
	Currency      string                 `json:"currency,omitempty"` // "" or USD
	EffectiveFrom time.Time              `json:"effective_from"`
	EffectiveTo   *time.Time             `json:"effective_to"`
	Rates         Rates                  `json:"rates"`
	ContextTiers  []ContextTier          `json:"context_tiers,omitempty"`
	ServiceTiers  map[string]ServiceTier `json:"service_tiers,omitempty"`
	PricedBy      PricedBy               `json:"priced_by,omitempty"`
	TimeWindows   []TimeWindow           `json:"time_windows,omitempty"`
	Multipliers   []Multiplier           `json:"multipliers,omitempty"`
	Fees          map[string]Fee         `json:"fees,omitempty"`
	Source        Source                 `json:"source,omitzero"`
}

// Source says where a row's figures come from. In JSON it may be one line of text.
type Source struct {
	Name      string `json:"name"`
	Version   string `json:"version,omitempty"`
	Retrieved string `json:"retrieved,omitempty"` // a day, 2006-01-02
}

// UnmarshalJSON reads an object, or a text as the name.
func (s *Source) UnmarshalJSON(raw []byte) error {
	if bytes.HasPrefix(raw, []byte(`"`)) {
		return json.Unmarshal(raw, &s.Name)
	}
	type plain Source
	return json.Unmarshal(raw, (*plain)(s))
}

// ParseRateRows reads rows from JSON; amounts keep their decimal text.
func ParseRateRows(raw []byte) ([]RateRow, error) {
	var rows []RateRow
	if err := json.Unmarshal(raw, &rows); err != nil {
		return nil, fmt.Errorf("rate rows: %w", err)
	}
	return rows, nil
}

// inForce reports whether the row holds at a moment.
func (r RateRow) inForce(at time.Time) bool {
	return !at.Before(r.EffectiveFrom) && (r.EffectiveTo == nil || at.Before(*r.EffectiveTo))
}

// check refuses a row that cannot be priced by: nothing is billed at a price that is none.
func (r RateRow) check() error {
	if r.ID == "" || len(r.Models) == 0 {
		return fmt.Errorf("rate row %q: needs id and models", r.ID)
	}
	if r.Currency != "" && r.Currency != "USD" {
		return fmt.Errorf("rate row %s: prices are in USD, not in %q", r.ID, r.Currency)
	}
	for _, rates := range r.allRates() {
		for class, rate := range rates {
			if rate.Sign() < 0 {
				return fmt.Errorf("rate row %s: rate %s is negative", r.ID, class)
			}
		}
	}
	for name, fee := range r.Fees {
		if fee.Per.Sign() <= 0 || fee.Price != nil && fee.Price.Sign() < 0 {
			return fmt.Errorf("rate row %s: fee %s needs a positive per and a price", r.ID, name)
		}
		for option, price := range fee.Options {
			if price.Sign() < 0 {
				return fmt.Errorf("rate row %s: fee %s, option %s is negative", r.ID, name, option)
			}
		}
	}
	for _, m := range r.Multipliers {
		if m.Factor.Sign() < 0 {
			return fmt.Errorf("rate row %s: a factor is negative", r.ID)
		}
	}
	for _, w := range r.TimeWindows {
		for _, clock := range []string{w.From, w.To} {
			if _, err := secondOfDay(clock); err != nil {
				return fmt.Errorf("rate row %s: %w", r.ID, err)
			}
		}
	}
	if r.PricedBy != "" && r.PricedBy != PricedByStart && r.PricedBy != PricedByCompletion {
		return fmt.Errorf("rate row %s: priced_by %q is no moment of a call", r.ID, r.PricedBy)
	}
	return nil
}

// allRates is every set of rates a call may be billed by.
func (r RateRow) allRates() []Rates {
	all := []Rates{r.Rates}
	add := func(sizes []ContextTier) {
		for _, size := range sizes {
			all = append(all, size.Rates)
		}
	}
	add(r.ContextTiers)
	for _, tier := range r.ServiceTiers {
		all = append(all, tier.Rates)
		add(tier.ContextTiers)
	}
	for _, w := range r.TimeWindows {
		all = append(all, w.Rates)
		add(w.ContextTiers)
	}
	return all
}

// secondOfDay reads "15:04" or "15:04:05", and "24:00" as the end of the day.
func secondOfDay(clock string) (int, error) {
	if clock == "24:00" {
		return 24 * 60 * 60, nil
	}
	for _, layout := range []string{"15:04", time.TimeOnly} {
		if t, err := time.Parse(layout, clock); err == nil {
			return (t.Hour()*60+t.Minute())*60 + t.Second(), nil
		}
	}
	return 0, fmt.Errorf("time of day %q: want hh:mm", clock)
}

// covers reports whether a moment's UTC time of day lies in the window. A window from a time to itself is the whole day.
func (w TimeWindow) covers(at time.Time) bool {
	from, errFrom := secondOfDay(w.From)
	to, errTo := secondOfDay(w.To)
	if errFrom != nil || errTo != nil {
		return false // refused when the card was made
	}
	utc := at.UTC()
	second := (utc.Hour()*60+utc.Minute())*60 + utc.Second()
	if from < to {
		return second >= from && second < to
	}
	return second >= from || second < to
}

func ratio(n *big.Rat, d *big.Rat) *big.Rat { return new(big.Rat).Quo(n, d) }
