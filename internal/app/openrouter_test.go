package app

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/tidwall/gjson"

	"p402.io/p402/internal/money"
)

// TestD27_OpenRouterAppsKeepNamesFieldsAndCost: what an OpenRouter client sends and reads is what it was before.
func TestD27_OpenRouterAppsKeepNamesFieldsAndCost(t *testing.T) {
	t.Parallel()
	var sent []byte
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, _ = io.ReadAll(r.Body) // what is missing fails below
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"gen-1","provider":"Acme","model":"acme/large-2026-01-01","object":"chat.completion","x_new":{"a":[1.50]},`+
			`"choices":[{"index":0,"finish_reason":"stop","native_finish_reason":"end","message":{"role":"assistant","content":"hi"}}],`+
			`"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12,"cost":0.00001234}}`) // the client reads it or not
	}))
	t.Cleanup(vendor.Close)
	h := newFallbackHouse(t, map[string]string{}, func(v *Vendor) {
		*v = Vendor{Name: "openrouter", Kind: "openrouter", BaseURL: vendor.URL + "/api/v1", AllowPrivate: true, TestKeys: true}
	})
	resp, raw := h.send(t, "/v1/chat/completions", `{"model":"acme/large:nitro","messages":[{"role":"user","content":"hello"}],`+
		`"provider":{"order":["acme"],"allow_fallbacks":false},"transforms":["middle-out"],"models":["acme/large","acme/small"],"temperature":0.70}`, nil)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", resp.StatusCode, raw)
	}
	for path, want := range map[string]string{"model": `"acme/large:nitro"`, "provider": `{"order":["acme"],"allow_fallbacks":false}`,
		"transforms": `["middle-out"]`, "models": `["acme/large","acme/small"]`, "temperature": "0.70"} {
		if got := gjson.GetBytes(sent, path).Raw; got != want {
			t.Errorf("%s reached the vendor as %s, want %s", path, got, want)
		}
	}
	for path, want := range map[string]string{"provider": `"Acme"`, "x_new": `{"a":[1.50]}`, "usage.cost": "0.00001234", "choices.0.native_finish_reason": `"end"`} {
		if got := gjson.GetBytes(raw, path).Raw; got != want {
			t.Errorf("%s reached the caller as %s, want %s", path, got, want)
		}
	}
	_, doc := h.send(t, "/api/v2/meter/events/"+resp.Header.Get("X-P402-Event-ID"), "", nil)
	var e struct {
		Cost      money.USD `json:"cost_usd"`
		State     string    `json:"cost_state"`
		Requested string    `json:"model_requested"`
		Used      string    `json:"model_used"`
		Upstream  string    `json:"upstream_id"`
	}
	if err := json.Unmarshal(doc, &e); err != nil {
		t.Fatal(err)
	}
	if e.Cost.Cmp(money.MustUSD("0.00001234")) != 0 || e.State != "reported" || e.Requested != "acme/large:nitro" || e.Used != "acme/large-2026-01-01" || e.Upstream != "gen-1" {
		t.Errorf("event %s", doc)
	}
}
