package meter

import (
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"p402.io/p402/internal/money"
)

// Rates are US dollars per million tokens by class, as decimal text. Absent classes fall back along classFallback;
// an explicit "0" is a price.
type Rates map[string]money.USD

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

// Fee is the price of a quantity that is not tokens: quantity x price / per.
type Fee struct {
	Price money.USD `json:"price"`
	Per   money.USD `json:"per"`
	// Min is a floor on the quantity, such as ten seconds of audio; absent: none.
	Min *money.USD `json:"min,omitempty"`
	// Select names what chooses the price among Options: image_kind or search_context_size.
	Select  string               `json:"select,omitempty"`
	Options map[string]money.USD `json:"options,omitempty"`
}

// TimeWindow replaces the base rates at some hours of the day, UTC: [From, To), "15:04"; it may wrap midnight.
type TimeWindow struct {
	From         string        `json:"from"`
	To           string        `json:"to"`
	Rates        Rates         `json:"rates"`
	ContextTiers []ContextTier `json:"context_tiers,omitempty"`
}

// Multiplier is a factor on token rates that holds when every condition does. A condition is one value or a list.
type Multiplier struct {
	When   map[string]OneOf `json:"when"`
	Factor money.USD        `json:"factor"`
}

// OneOf is a list of values of which one has to match; in JSON also a single value.
type OneOf []string

// UnmarshalJSON reads "eu" as well as ["eu", "us"].
func (o *OneOf) UnmarshalJSON(raw []byte) error {
	var list []string
	if len(raw) > 0 && raw[0] == '[' {
		if err := json.Unmarshal(raw, &list); err != nil {
			return err
		}
		*o = list
		return nil
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return err
	}
	*o = OneOf{fmt.Sprint(value)}
	return nil
}

// RateRow is one dated row of the price book. Rows are never edited: a new price is a new row.
type RateRow struct {
	ID            string                 `json:"id"`
	Models        []string               `json:"models"`
	EffectiveFrom time.Time              `json:"effective_from"`
	EffectiveTo   *time.Time             `json:"effective_to"`
	Rates         Rates                  `json:"rates"`
	ContextTiers  []ContextTier          `json:"context_tiers,omitempty"`
	ServiceTiers  map[string]ServiceTier `json:"service_tiers,omitempty"`
	Fees          map[string]Fee         `json:"fees,omitempty"`
	TimeWindows   []TimeWindow           `json:"time_windows,omitempty"`
	PricedBy      string                 `json:"priced_by,omitempty"` // started_at or completed_at: which time a window is tested against
	Multipliers   []Multiplier           `json:"multipliers,omitempty"`
	Source        string                 `json:"source,omitempty"`
}

// RateCard is one immutable version of the price book.
type RateCard struct {
	Version string
	rows    map[string][]RateRow // by model name
}

// NewRateCard indexes rows under a version.
func NewRateCard(version string, rows []RateRow) (RateCard, error) {
	card := RateCard{Version: version, rows: map[string][]RateRow{}}
	for _, row := range rows {
		if row.ID == "" || len(row.Models) == 0 || row.EffectiveFrom.IsZero() {
			return RateCard{}, fmt.Errorf("rate row %q: needs id, models and effective_from", row.ID)
		}
		for class, rate := range row.Rates {
			if rate.Sign() < 0 {
				return RateCard{}, fmt.Errorf("rate row %s: rate %s is negative", row.ID, class)
			}
		}
		for _, model := range row.Models {
			card.rows[model] = append(card.rows[model], row)
		}
	}
	return card, nil
}

// ParseRateRows reads rows from JSON; amounts keep their decimal text.
func ParseRateRows(raw []byte) ([]RateRow, error) {
	var rows []RateRow
	if err := json.Unmarshal(raw, &rows); err != nil {
		return nil, fmt.Errorf("rate rows: %w", err)
	}
	return rows, nil
}

// Lookup is the row in force for the first of the names that has one. Names are exact: unknown stays unknown.
func (c RateCard) Lookup(at time.Time, names ...string) (RateRow, bool) {
	for _, name := range names {
		for _, row := range c.rows[name] {
			if !at.Before(row.EffectiveFrom) && (row.EffectiveTo == nil || at.Before(*row.EffectiveTo)) {
				return row, true
			}
		}
	}
	return RateRow{}, false
}

// Models is every model the card knows a price for at a time, with its base rates.
func (c RateCard) Models(at time.Time) map[string]Rates {
	out := map[string]Rates{}
	for name := range c.rows {
		if row, ok := c.Lookup(at, name); ok {
			out[name] = row.Rates
		}
	}
	return out
}

// WorstCase bounds what a call may cost: every input token at the dearest input class of any tier, every output token at
// the dearest output class. false: no price is known.
func (c RateCard) WorstCase(model string, input, output int64, at time.Time) (money.USD, bool) {
	row, ok := c.Lookup(at, model)
	if !ok {
		return money.Zero, false
	}
	in, out := money.Zero, money.Zero
	for _, rates := range row.allRates() {
		for class, rate := range rates {
			switch class {
			case "output", "reasoning", "output_audio", "output_image":
				out = dearer(out, rate)
			default:
				in = dearer(in, rate)
			}
		}
	}
	return in.MulInt(input).Add(out.MulInt(output)).DivPow10(6), true
}

func (r RateRow) allRates() []Rates {
	all := []Rates{r.Rates}
	for _, tier := range r.ContextTiers {
		all = append(all, tier.Rates)
	}
	for _, w := range r.TimeWindows {
		all = append(all, w.Rates)
	}
	for _, tier := range r.ServiceTiers {
		all = append(all, tier.Rates)
		for _, size := range tier.ContextTiers {
			all = append(all, size.Rates)
		}
	}
	return all
}

func dearer(a, b money.USD) money.USD {
	if a.Cmp(b) >= 0 {
		return a
	}
	return b
}

func ratio(n *big.Rat, d *big.Rat) *big.Rat { return new(big.Rat).Quo(n, d) }
