package provider

import (
	"strconv"

	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
)

// n is a field's number, 0 if it was never reported.
func (p *UsageParser) n(f countField) int64 { return p.last[f].n }

// has reports whether any of the fields was reported.
func (p *UsageParser) has(fields ...countField) bool {
	for _, f := range fields {
		if p.last[f].set {
			return true
		}
	}
	return false
}

// usage puts a vendor's counts into our vocabulary, and says why they cannot be believed.
func (p *UsageParser) usage() (meter.Usage, string) {
	var u meter.Usage
	rejected := ""
	switch p.wire {
	case formAnthropic, formBedrock:
		u, rejected = p.exclusiveUsage()
	case formGemini:
		u = p.geminiUsage()
	case formOpenAI, formCohere, formOllama:
		u = p.inclusiveUsage()
	}
	if rejected == "" {
		rejected = u.Check()
	}
	return u, rejected
}

// sums warns of a total that is none of the sums a vendor may mean by it. The counts stand: totals are never used.
func (p *UsageParser) sums(known ...int64) {
	if !p.has(fTotal) || !p.has(fInput) {
		return
	}
	for _, sum := range known {
		if p.n(fTotal) == sum {
			return
		}
	}
	p.warn("total_mismatch")
}

// quantities puts what is not tokens on the measure. What we counted ourselves of images, sound and speech only stands
// where the vendor gave no usage for it.
func (p *UsageParser) quantities(m *meter.Measured, request []byte) {
	counts := map[string]string{}
	for name, quantity := range p.counts {
		counts[name] = quantity
	}
	reported := p.has(fInput, fOutput) || len(counts) > 0
	for name, quantity := range p.ours {
		_, known := counts[name]
		if unit := name == "images" || name == "audio_seconds"; known || unit && reported {
			continue
		}
		counts[name] = quantity
	}
	if p.work == workSpeech && !reported {
		counts["characters"] = strconv.FormatInt(characters(request), 10)
	}
	for name, quantity := range counts {
		if quantity == "0" {
			delete(counts, name)
		}
	}
	if len(counts) > 0 {
		m.Counts = counts
	}
	if p.work != workText && p.work != workEmbed {
		switch {
		case reported:
			m.Source = meter.UsageProvider
		case len(counts) > 0:
			m.Source = meter.UsageCounted
		}
	}
}

// estimate fills the side of a text answer that the vendor did not count to its end. An estimate is never below what was
// reported, and never passes for it.
func (p *UsageParser) estimate(m *meter.Measured, request []byte, endedBy string) {
	if p.work != workText && p.work != workEmbed {
		return
	}
	anything := p.has(fInput, fOutput, fTotal, fReasoning, fTimedInput, fTimedOutput)
	input := p.has(fInput, fTimedInput) || p.has(fMissed) && p.has(fCached) || p.wire == formGemini && anything
	output := p.work == workEmbed || p.settled(m.Complete, endedBy) &&
		(p.has(fOutput, fTimedOutput) || anything && (p.textBytes == 0 || p.has(fTotal) && p.has(fInput)))
	if !input {
		m.InputTokens = max(m.InputTokens, quarter(requestLen(request)))
		m.EstimatedFields = append(m.EstimatedFields, "input_tokens")
	}
	if !output {
		m.OutputTokens = max(m.OutputTokens, quarter(p.textBytes))
		m.EstimatedFields = append(m.EstimatedFields, "output_tokens")
	}
	switch {
	case len(m.EstimatedFields) == 0:
		m.Source = meter.UsageProvider
	case anything:
		m.Source = meter.UsagePartial
	default:
		m.Source = meter.UsageEstimated
	}
}

// settled reports whether the output as last reported is all there was: a running total of a stream that was left is not.
func (p *UsageParser) settled(complete bool, endedBy string) bool {
	broken := endedBy == "client_cancel" || endedBy == "cut"
	switch {
	case p.plain:
		return true
	case p.wire == formAnthropic:
		return p.final
	case p.wire == formGemini && broken: // every chunk has a total, and none says that it is the last
		return false
	}
	return p.final || complete
}

// charge puts the vendor's own figure on the measure. A call with the caller's own key at the vendor behind a router is
// charged twice: the router's fee, and what that vendor takes.
func (p *UsageParser) charge(m *meter.Measured) {
	if p.badCost || p.badUp {
		p.warn("reported_cost_invalid")
	}
	if p.reported == "" || p.badCost {
		return
	}
	fee, err := money.ParseUSD(p.reported)
	if err != nil {
		p.warn("reported_cost_invalid")
		return
	}
	m.ReportedCost = p.reported
	if !p.ownKey {
		return
	}
	upstream, err := money.ParseUSD(p.upstream)
	if err != nil {
		m.ReportedPartly = true
		p.warn("byok_upstream_unknown")
		return
	}
	m.ReportedCost = fee.Add(upstream).String()
}
