package meter

import "p402.io/p402/internal/money"

// The price models that are served.
const (
	PricePerCall  = "per_call"  // AmountUSD a run, whatever it used
	PricePerToken = "per_token" // by what was read and written, at most AmountUSD
)

// TokenPrice is what a seller asks per million tokens, in US dollars.
type TokenPrice struct {
	InputUSD  money.USD `json:"input_per_mtok_usd" yaml:"input_per_mtok_usd"`
	OutputUSD money.USD `json:"output_per_mtok_usd" yaml:"output_per_mtok_usd"`
}

// Variable reports whether what a run costs is known only once it has run; then AmountUSD is the most.
func (p Price) Variable() bool { return p.Model != PricePerCall }

// Charge is what a run with this usage costs its payer: exact, never more than AmountUSD. It rounds nothing.
func (p Price) Charge(u Usage) money.USD {
	if p.Model != PricePerToken || p.PerToken == nil {
		return p.AmountUSD
	}
	owed := p.PerToken.InputUSD.MulInt(u.InputTokens).Add(p.PerToken.OutputUSD.MulInt(u.OutputTokens)).DivPow10(6)
	if owed.Cmp(p.AmountUSD) > 0 {
		return p.AmountUSD
	}
	return owed
}
