package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"p402.io/p402/internal/money"
)

const retryBody = `{"model":%q,"messages":[{"role":"user","content":%q}],"metadata":{"workflow_id":%q}}`

func (h fallbackHouse) tries(t *testing.T, model, text, workflow string, header map[string]string) seen {
	t.Helper()
	resp, _ := h.send(t, "/v1/chat/completions", fmt.Sprintf(retryBody, model, text, workflow), header)
	if resp.Header.Get("X-P402-Event-ID") == "" {
		t.Fatalf("no event: %d", resp.StatusCode)
	}
	e := h.event(t, resp)
	e.id = resp.Header.Get("X-P402-Event-ID")
	return e
}

const failing, working = "vendor-1/mock/status-500", "vendor-2/mock-small"

func TestD12_RetriesLinkToTheFirstTry(t *testing.T) {
	t.Parallel()
	h := newFallbackHouse(t, map[string]string{}, nil)
	count := func(n string) map[string]string { return map[string]string{"X-Stainless-Retry-Count": n} }

	t.Run("an SDK counts its retries", func(t *testing.T) {
		first := h.tries(t, failing, "a", "w", count("0"))
		second := h.tries(t, failing, "a", "w", count("1"))
		third := h.tries(t, failing, "a", "w", count("2"))
		if first.RetryOf != "" || first.RetryCount != 0 || second.RetryOf != first.id || third.RetryOf != first.id || third.RetryCount != 2 {
			t.Errorf("%+v\n%+v\n%+v", first, second, third)
		}
	})
	t.Run("also after an answer that was lost on the way", func(t *testing.T) {
		first := h.tries(t, working, "b", "w", count("0"))
		if again := h.tries(t, working, "b", "w", count("1")); again.RetryOf != first.id {
			t.Errorf("%+v", again)
		}
	})
	t.Run("a failed request that comes again", func(t *testing.T) {
		first := h.tries(t, failing, "c", "w", nil)
		if again := h.tries(t, failing, "c", "w", nil); again.RetryOf != first.id || again.RetryCount != 1 {
			t.Errorf("%+v", again)
		}
	})
	t.Run("an answered request that comes again is new work", func(t *testing.T) {
		h.tries(t, working, "d", "w", nil)
		if again := h.tries(t, working, "d", "w", nil); again.RetryOf != "" || again.RetryCount != 0 {
			t.Errorf("%+v", again)
		}
	})
	t.Run("another request is no retry", func(t *testing.T) {
		h.tries(t, failing, "e", "w", nil)
		if other := h.tries(t, failing, "f", "w", nil); other.RetryOf != "" {
			t.Errorf("%+v", other)
		}
	})
	t.Run("the caller names it, by a retry of it", func(t *testing.T) {
		first := h.tries(t, failing, "g", "w", nil)
		second := h.tries(t, working, "other words", "w", map[string]string{"X-P402-Retry-Of": first.id})
		third := h.tries(t, working, "yet others", "w", map[string]string{"X-P402-Retry-Of": second.id})
		if second.RetryOf != first.id || third.RetryOf != first.id || third.RetryCount != 1 {
			t.Errorf("%+v\n%+v", second, third)
		}
	})
	t.Run("nothing of that name", func(t *testing.T) {
		resp, raw := h.send(t, "/v1/chat/completions", fmt.Sprintf(retryBody, working, "h", "w"), map[string]string{"X-P402-Retry-Of": "evt_unknown"})
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%d %s", resp.StatusCode, raw)
		}
	})
}

func TestWhatRetriesCostByWorkflow(t *testing.T) {
	t.Parallel()
	h := newFallbackHouse(t, map[string]string{}, nil)
	cost := map[string]money.USD{}
	for _, workflow := range []string{"one", "two", "two"} {
		first := h.tries(t, working, "x"+workflow, workflow, nil)
		again := h.tries(t, working, "x"+workflow, workflow, map[string]string{"X-P402-Retry-Of": first.id})
		cost[workflow] = cost[workflow].Add(money.MustUSD(again.CostUSD))
	}
	_, raw := h.send(t, "/api/v2/meter/summary?retry=true&group_by=workflow_id", "", nil)
	var got struct {
		Rows []struct {
			Key     *string   `json:"key"`
			Count   int64     `json:"count"`
			CostUSD money.USD `json:"cost_usd"`
			Retry   money.USD `json:"retry_cost_usd"`
		} `json:"rows"`
	}
	if err := json.Unmarshal(raw, &got); err != nil || len(got.Rows) == 0 {
		t.Fatalf("%v: %s", err, raw)
	}
	found := 0
	for _, row := range got.Rows {
		if row.Key == nil {
			continue
		}
		found++
		if want := cost[*row.Key]; row.CostUSD.Cmp(want) != 0 || row.Retry.Cmp(want) != 0 || want.Sign() <= 0 {
			t.Errorf("%s: cost %s, retries %s, want %s", *row.Key, row.CostUSD, row.Retry, want)
		}
	}
	if found != 2 {
		t.Errorf("rows for %d workflows: %s", found, raw)
	}
	if resp, _ := h.send(t, "/api/v2/meter/summary?retry=perhaps", "", nil); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a bad filter got %d", resp.StatusCode)
	}
}
