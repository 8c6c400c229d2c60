package meter

import (
	"math/big"
	"slices"
	"strconv"

	"p402.io/p402/internal/money"
)

// ratesFor are the rates that a call is billed by: the tier's, or the hour's, or the row's; of each those for the size of
// its input. false: the row does not know the tier.
func (r RateRow) ratesFor(tier string, input int64, call PricedCall) (Rates, string, bool) {
	rates, sizes := r.Rates, r.ContextTiers
	if tier != "default" {
		t, ok := r.ServiceTiers[tier]
		if !ok {
			return nil, "", false
		}
		rates, sizes = t.Rates, t.ContextTiers // complete: nothing of the row's own is left
	} else if w, ok := r.window(call); ok {
		rates = w.Rates
		if w.ContextTiers != nil {
			sizes = w.ContextTiers
		}
	}
	context, above := "base", int64(-1)
	for _, size := range sizes {
		if input > size.InputTokensGT && size.InputTokensGT > above {
			rates, above = size.Rates, size.InputTokensGT
			context = "gt_" + strconv.FormatInt(above, 10)
		}
	}
	return rates, context, true
}

// window is the first of the row's time windows that the call falls into.
func (r RateRow) window(call PricedCall) (TimeWindow, bool) {
	at := call.At
	if r.PricedBy == PricedByStart && !call.StartedAt.IsZero() {
		at = call.StartedAt
	}
	for _, w := range r.TimeWindows {
		if w.covers(at) {
			return w, true
		}
	}
	return TimeWindow{}, false
}

// factor is the product of the row's multipliers whose conditions all hold.
func (r RateRow) factor(facts map[string]string) *big.Rat {
	product := big.NewRat(1, 1)
	for _, m := range r.Multipliers {
		if m.holds(facts) {
			product.Mul(product, m.Factor.Rat())
		}
	}
	return product
}

func (m Multiplier) holds(facts map[string]string) bool {
	for fact, words := range m.When {
		value, known := facts[fact]
		if !known || !slices.Contains(words, value) {
			return false
		}
	}
	return true
}

// arithmetic adds up a cost line by line, exactly.
type arithmetic struct {
	factor *big.Rat // on token rates
	total  big.Rat
	lines  []Component
}

// add puts one line on the bill: quantity x rate / per.
func (a *arithmetic) add(name, quantity string, rate *big.Rat, per money.USD) {
	q, ok := new(big.Rat).SetString(quantity)
	if !ok {
		return // quantities are our own decimal text
	}
	cost := ratio(q.Mul(q, rate), per.Rat())
	a.total.Add(&a.total, cost)
	a.lines = append(a.lines, Component{name, quantity, money.FromRat(rate), per.String(), money.FromRat(cost)})
}

// tokens bills every token once, in the class whose rate it has or falls back on; it returns why it cannot.
func (a *arithmetic) tokens(u Usage, rates Rates) string {
	split, merged := classes(u), map[string]int64{}
	for _, class := range classOrder {
		if split[class] == 0 {
			continue
		}
		_, from, ok := rates.find(class)
		if !ok {
			return "no_rate_for_class:" + class
		}
		merged[from] += split[class]
	}
	million := money.MustUSD("1000000")
	for _, class := range classOrder {
		if tokens := merged[class]; tokens > 0 {
			a.add(class, strconv.FormatInt(tokens, 10), new(big.Rat).Mul(rates[class].Rat(), a.factor), million)
		}
	}
	return ""
}

// fees bills what is not tokens; it returns why it cannot. A quantity that has no fee makes the cost unknown: the rest
// would understate it.
func (a *arithmetic) fees(counts map[string]string, fees map[string]Fee, facts map[string]string) string {
	if _, ok := fees["requests"]; ok {
		if reason := a.fee("requests", "1", fees, facts); reason != "" {
			return reason
		}
	}
	for _, name := range sortedKeys(counts) {
		if name == "requests" || name == "web_fetches" || otherwiseBilled(name, counts, fees) { // fetches are free
			continue
		}
		if reason := a.fee(name, counts[name], fees, facts); reason != "" {
			return reason
		}
	}
	return ""
}

// otherwiseBilled reports whether a quantity is one of two ways to count the same searches, and the other one is billed.
func otherwiseBilled(name string, counts map[string]string, fees map[string]Fee) bool {
	prompts, queries := "grounded_prompts", "grounding_queries"
	_, byPrompt := fees[prompts]
	_, byQuery := fees[queries]
	switch name {
	case prompts:
		return !byPrompt && byQuery && counts[queries] != ""
	case queries:
		return byPrompt && counts[prompts] != "" || !byQuery && counts[prompts] != ""
	}
	return false
}

func (a *arithmetic) fee(name, quantity string, fees map[string]Fee, facts map[string]string) string {
	q, ok := new(big.Rat).SetString(quantity)
	if !ok || q.Sign() == 0 {
		return ""
	}
	fee, ok := fees[name]
	if !ok {
		return "no_rate_for_fee:" + name
	}
	price, ok := fee.price(facts)
	if !ok {
		return "no_rate_for_fee:" + name
	}
	if fee.Min != nil && q.Cmp(fee.Min.Rat()) < 0 {
		quantity = fee.Min.String()
	}
	a.add(name, quantity, price.Rat(), fee.Per)
	return ""
}

// classes splits a usage so that every token is in exactly one class. Where parts overlap in a way that the wire does not
// tell, the least overlap that is possible is taken: first tokens of a kind that came from a cache, then such that were
// written to it, which keep the rate of what was done with them.
func classes(u Usage) map[string]int64 {
	write := u.CacheWriteTokens - u.CacheWrite5mTokens - u.CacheWrite1hTokens
	cachedAudio, cachedImage := u.CachedInputAudioTokens, u.CachedInputImageTokens
	cachedText := u.CachedInputTokens - cachedAudio - cachedImage // and video, which has no cached rate of its own
	audio, image := u.InputAudioTokens-cachedAudio, u.InputImageTokens-cachedImage
	video := u.InputVideoTokens - u.CachedInputVideoTokens
	fresh := u.InputTokens - u.CachedInputTokens - u.CacheWriteTokens - audio - image - video
	take := func(from *int64, most int64) int64 {
		n := max(min(-fresh, *from, most), 0)
		*from, fresh = *from-n, fresh+n
		return n
	}
	n := take(&audio, cachedText)
	cachedAudio, cachedText = cachedAudio+n, cachedText-n
	n = take(&image, cachedText)
	cachedImage, cachedText = cachedImage+n, cachedText-n
	take(&video, cachedText-u.CachedInputVideoTokens)
	for _, kind := range []*int64{&audio, &image, &video} {
		take(kind, u.CacheWriteTokens)
	}
	return map[string]int64{"input": fresh, "cached_input": cachedText, "cached_input_audio": cachedAudio,
		"cached_input_image": cachedImage, "cache_write": write, "cache_write_5m": u.CacheWrite5mTokens,
		"cache_write_1h": u.CacheWrite1hTokens, "input_audio": audio, "input_image": image, "input_video": video,
		"output": u.OutputTokens - u.ReasoningTokens - u.OutputAudioTokens - u.OutputImageTokens, "reasoning": u.ReasoningTokens,
		"output_audio": u.OutputAudioTokens, "output_image": u.OutputImageTokens, "citation": u.CitationTokens}
}
