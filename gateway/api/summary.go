package api

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

func (s *Surface) summary(c *gin.Context, caller meter.Caller) (int, any, error) {
	f, err := filter(c, caller, "group_by")
	if err != nil {
		return 0, nil, err
	}
	by := c.Query("group_by")
	if by != "" && store.GroupColumns()[by] == "" {
		return 0, nil, invalid("group_by", "must be one of the dimensions, model, provider, outcome, decision, hour, day, month")
	}
	rows, total, err := s.Store.Summary(c.Request.Context(), f, by)
	if err != nil {
		return 0, nil, err
	}
	data := make([]gin.H, 0, len(rows)+1)
	totals := groupJSON("", total)
	delete(totals, "group")
	delete(totals, "key")
	delete(totals, "label")
	unattributed := by == "" || !slices.Contains(meter.Dimensions(), by)
	for _, g := range rows {
		unattributed = unattributed || g.Key == nil
		data = append(data, groupJSON(by, g))
	}
	if !unattributed {
		data = append(data, groupJSON(by, store.Group{}))
	}
	return http.StatusOK, gin.H{"object": "summary", "group_by": orNull(by), "rows": data, "totals": totals}, nil
}

func groupJSON(by string, g store.Group) gin.H {
	label := "Unattributed"
	if g.Key != nil {
		label = *g.Key
	}
	var each any
	if g.Accepted > 0 {
		each = money.FromDecimal(g.CostUSD.Decimal().DivRound(money.MustUSD(strconv.FormatInt(g.Accepted, 10)).Decimal(), 18))
	}
	return gin.H{"key": g.Key, "group": gin.H{by: g.Key}, "label": label, "count": g.Count, "input_tokens": g.InputTokens, "cached_input_tokens": g.CachedTokens,
		"output_tokens": g.OutputTokens, "reasoning_tokens": g.ReasoningTokens, "cost_usd": g.CostUSD, "unpriced": g.Unpriced, "retry_cost_usd": g.RetryCostUSD,
		"revenue_usd": g.RevenueUSD, "margin_usd": g.MarginUSD, "accepted": g.Accepted, "with_outcome": g.WithOutcome, "cost_per_accepted": each}
}
