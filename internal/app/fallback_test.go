package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"p402.io/p402/internal/money"
	"p402.io/p402/internal/pgtest"
	"p402.io/p402/internal/provider/mock"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// fallbackHouse is the whole house over its own database, two mock vendors behind it, and a test key.
type fallbackHouse struct {
	*App
	url, key     string
	first, other *mock.Vendor
}

// newFallbackHouse asks the first vendor for what models names and the second for mock-small.
func newFallbackHouse(t *testing.T, models map[string]string, change func(*Vendor)) fallbackHouse {
	t.Helper()
	h := fallbackHouse{}
	var list []Vendor
	for i, into := range []**mock.Vendor{&h.first, &h.other} {
		v, err := mock.Start("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = v.Close() })
		*into = v
		there := models
		if i == 1 {
			there = map[string]string{}
			for name := range models {
				there[name] = "mock-small"
			}
		}
		list = append(list, Vendor{Name: fmt.Sprint("vendor-", i+1), Kind: "mock", BaseURL: v.URL(), AllowPrivate: true, Simulated: true, TestKeys: true, Priority: i, Aliases: there})
	}
	if change != nil {
		change(&list[0])
	}
	made := newHouse(t, Config{DatabaseURL: pgtest.New(t, store.Migrate), Vendors: list}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	made.first, made.other = h.first, h.other
	return made
}

// newHouse serves a configuration, with a test key that may do everything.
func newHouse(t *testing.T, cfg Config, log *slog.Logger) fallbackHouse {
	t.Helper()
	a, err := New(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Store.Shutdown() })
	tenant, err := a.Store.EnsureTenant(t.Context(), "acme", "Acme")
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := a.Store.CreateKey(t.Context(), store.NewKey{TenantID: tenant, Name: "k", Scopes: meter.AllScopes()})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(a.handler)
	t.Cleanup(server.Close)
	return fallbackHouse{App: a, url: server.URL, key: key}
}

func (h fallbackHouse) send(t *testing.T, path, body string, header map[string]string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+path, bytes.NewReader([]byte(body)))
	if body == "" {
		req, err = http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+path, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+h.key)
	req.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, raw
}

// seen is what a test reads of an event.
type seen struct {
	id             string
	Provider       string `json:"provider"`
	ModelRequested string `json:"model_requested"`
	ModelUsed      string `json:"model_used"`
	CostUSD        string `json:"cost_usd"`
	EstimateUSD    string `json:"estimate_usd"`
	Success        bool   `json:"success"`
	RetryOf        string `json:"retry_of"`
	RetryCount     int    `json:"retry_count"`
	Attempts       []struct {
		Number   int     `json:"number"`
		Provider string  `json:"provider"`
		Model    string  `json:"model"`
		Status   int     `json:"status"`
		Class    string  `json:"error_class"`
		CostUSD  *string `json:"cost_usd"`
	} `json:"attempts"`
}

func (h fallbackHouse) event(t *testing.T, resp *http.Response) seen {
	t.Helper()
	_, raw := h.send(t, "/api/v2/meter/events/"+resp.Header.Get("X-P402-Event-ID"), "", nil)
	var e seen
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return e
}

const chatBody = `{"model":%q,"messages":[{"role":"user","content":"hello"}],"stream":%t}`

func TestD12_FallbacksAreAttemptsAndTheirCostsAddUp(t *testing.T) {
	t.Parallel()
	models := map[string]string{"away": "mock/status-503", "reset": "mock/reset", "limited": "mock/status-429", "gone": "mock/status-404"}
	h := newFallbackHouse(t, models, nil)
	for asked, at := range models {
		for _, stream := range []bool{false, true} {
			resp, raw := h.send(t, "/v1/chat/completions", fmt.Sprintf(chatBody, asked, stream), nil)
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("%s: %d %s", asked, resp.StatusCode, raw)
			}
			e := h.event(t, resp)
			if e.Provider != "vendor-2" || e.ModelRequested != asked || e.ModelUsed != "mock-small" || !e.Success {
				t.Errorf("%s: event %+v", asked, e)
			}
			if len(e.Attempts) != 2 || e.Attempts[0].Provider != "vendor-1" || e.Attempts[0].Model != at || e.Attempts[1].Provider != "vendor-2" || e.Attempts[1].Number != 2 {
				t.Fatalf("%s: attempts %+v", asked, e.Attempts)
			}
			if e.Attempts[0].Class == "" || e.Attempts[1].Class != "" {
				t.Errorf("%s: attempts do not say what happened: %+v", asked, e.Attempts)
			}
			sum := money.Zero
			for _, a := range e.Attempts {
				sum = sum.Add(money.MustUSD(*a.CostUSD))
			}
			if sum.Cmp(money.MustUSD(e.CostUSD)) != 0 || sum.Sign() <= 0 {
				t.Errorf("%s: attempts cost %s, the event %s", asked, sum, e.CostUSD)
			}
		}
	}
}

func TestCallersOwnMistakeIsNotPassedOn(t *testing.T) {
	t.Parallel()
	h := newFallbackHouse(t, map[string]string{"bad": "mock/status-400", "cut": "mock/cut-after-2"}, nil)
	resp, _ := h.send(t, "/v1/chat/completions", fmt.Sprintf(chatBody, "bad", false), nil)
	if resp.StatusCode != http.StatusBadRequest || h.other.Served() != 0 {
		t.Errorf("status %d, the other vendor was asked %d times", resp.StatusCode, h.other.Served())
	}
}

func TestNoFallbackOnceAByteHasGoneOut(t *testing.T) {
	t.Parallel()
	h := newFallbackHouse(t, map[string]string{"cut": "mock/cut-after-2"}, nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/v1/chat/completions", bytes.NewReader([]byte(fmt.Sprintf(chatBody, "cut", true))))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+h.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || bytes.Contains(body, []byte("[DONE]")) || !bytes.Contains(body, []byte(`"code":"PROVIDER_ERROR"`)) {
		t.Errorf("the client saw a clean end: %v %s", err, body)
	}
	if h.other.Served() != 0 {
		t.Error("another vendor was asked after the first byte")
	}
}

func TestRetriesRepeatOnlyWhatCostsNothing(t *testing.T) {
	t.Parallel()
	h := newFallbackHouse(t, map[string]string{"away": "mock/status-503", "limited": "mock/status-429", "reset": "mock/reset"}, func(v *Vendor) { v.Retries = 2 })
	for asked, attempts := range map[string]int{"away": 4, "limited": 2, "reset": 2} {
		resp, raw := h.send(t, "/v1/chat/completions", fmt.Sprintf(chatBody, asked, false), nil)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s", asked, resp.StatusCode, raw)
		}
		if e := h.event(t, resp); len(e.Attempts) != attempts {
			t.Errorf("%s: %d attempts, want %d: %+v", asked, len(e.Attempts), attempts, e.Attempts)
		}
	}
}

func TestD28_LastVendorsRefusalReachesTheCaller(t *testing.T) {
	t.Parallel()
	h := newFallbackHouse(t, map[string]string{"m": "mock/status-503"}, nil)
	resp, raw := h.send(t, "/v1/chat/completions", fmt.Sprintf(chatBody, "vendor-2/mock/status-429", false), nil)
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "7" || !bytes.Contains(raw, []byte("simulated failure")) {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, raw)
	}
	if e := h.event(t, resp); len(e.Attempts) != 1 || money.MustUSD(e.CostUSD).Sign() != 0 || *e.Attempts[0].CostUSD != e.CostUSD {
		t.Errorf("event %+v", e)
	}
}
