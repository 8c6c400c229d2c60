package provider_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"p402.io/p402/internal/provider"
)

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// guarded is a vendor that answers with status, behind a circuit.
func guarded(t *testing.T) (g provider.Guarded, status, calls *atomic.Int64, now *clock) {
	t.Helper()
	status, calls = &atomic.Int64{}, &atomic.Int64{}
	status.Store(http.StatusOK)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.WriteHeader(int(status.Load()))
		_, _ = io.WriteString(w, "{}") // the client reads it or not
	}))
	t.Cleanup(server.Close)
	p, err := provider.New(provider.Config{Name: "v", BaseURL: server.URL, AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	now = &clock{at: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
	return provider.Guarded{Provider: p, Breaker: provider.NewBreaker(now.now)}, status, calls, now
}

func try(t *testing.T, g provider.Guarded) error {
	t.Helper()
	resp, err := g.Do(t.Context(), provider.Request{Route: provider.RouteChatCompletions, Body: []byte("{}")})
	if err != nil {
		return err
	}
	return resp.Close()
}

func TestCircuitOpensAndCloses(t *testing.T) {
	t.Parallel()
	g, status, calls, now := guarded(t)
	status.Store(http.StatusServiceUnavailable)
	for range 5 {
		if err := try(t, g); err != nil {
			t.Fatal(err)
		}
	}
	var pe *provider.Error
	if err := try(t, g); !errors.As(err, &pe) || pe.Kind != provider.KindOpen || pe.Sent {
		t.Fatalf("the circuit is not open: %v", err)
	}
	if calls.Load() != 5 || g.Breaker.Ready() {
		t.Fatalf("%d calls reached the vendor, ready %t", calls.Load(), g.Breaker.Ready())
	}
	now.add(10 * time.Second)
	if err := try(t, g); err != nil || calls.Load() != 6 { // the one that tries: still ill
		t.Fatal(err, calls.Load())
	}
	if err := try(t, g); err == nil {
		t.Fatal("one failed probe must open it again")
	}
	now.add(10 * time.Second)
	status.Store(http.StatusOK)
	for range 3 {
		if err := try(t, g); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefusalsOfTheCallersOwnMakingDoNotOpenTheCircuit(t *testing.T) {
	t.Parallel()
	g, status, _, _ := guarded(t)
	for _, code := range []int{400, 401, 404, 429} {
		status.Store(int64(code))
		for range 10 {
			if err := try(t, g); err != nil {
				t.Fatal(err)
			}
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 {
		if _, err := g.Do(gone, provider.Request{Route: provider.RouteChatCompletions, Body: []byte("{}")}); err == nil {
			t.Fatal("a canceled call was answered")
		}
	}
	if !g.Breaker.Ready() {
		t.Error("the circuit is open")
	}
}

func TestOnlyOneCallTriesAnOpenCircuit(t *testing.T) {
	t.Parallel()
	now := &clock{at: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	var ill atomic.Bool
	ill.Store(true)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if ill.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		arrived <- struct{}{}
		<-release
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	p, err := provider.New(provider.Config{Name: "v", BaseURL: "http://" + l.Addr().String(), AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	g := provider.Guarded{Provider: p, Breaker: provider.NewBreaker(now.now)}
	for range 5 {
		_ = try(t, g)
	}
	ill.Store(false)
	now.add(time.Minute)
	probe := make(chan error, 1)
	go func() { probe <- try(t, g) }()
	<-arrived
	for range 20 {
		if err := try(t, g); err == nil {
			t.Fatal("a second call went along with the one that tries")
		}
	}
	close(release)
	if err := <-probe; err != nil {
		t.Fatal(err)
	}
	if err := try(t, g); err != nil {
		t.Fatal("the circuit must be closed again:", err)
	}
}

func TestRetryBudgetIsATenthOfTheTraffic(t *testing.T) {
	t.Parallel()
	g, _, _, _ := guarded(t)
	spent := 0
	for g.Breaker.Retry() {
		spent++
	}
	if spent != 10 {
		t.Fatalf("%d retries were saved up, want 10", spent)
	}
	for i := range 20 {
		if err := try(t, g); err != nil {
			t.Fatal(err)
		}
		if got := g.Breaker.Retry(); got != (i%10 == 9) {
			t.Fatalf("after %d calls a retry is %t", i+1, got)
		}
	}
}

func TestPhasesHaveTheirOwnTimeouts(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/chat/completions" {
			<-hold
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"type\":\"response.created\"}\n\n")
		w.(http.Flusher).Flush()
		<-hold
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hold) })
	p, err := provider.New(provider.Config{Name: "v", BaseURL: server.URL + "/v1", AllowPrivate: true, FirstByte: 50 * time.Millisecond, Idle: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var pe *provider.Error
	if _, err := p.Do(t.Context(), provider.Request{Route: provider.RouteChatCompletions, Body: []byte("{}")}); !errors.As(err, &pe) || pe.Kind != provider.KindTimeout || !pe.Sent {
		t.Errorf("no first byte: %v", err)
	}
	resp, err := p.Do(t.Context(), provider.Request{Route: provider.RouteResponses, Body: []byte("{}"), Stream: true})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Close()
	if f, err := resp.Next(); err != nil || len(f.Data) == 0 {
		t.Fatal(f, err)
	}
	if _, err := resp.Next(); !errors.As(err, &pe) || pe.Kind != provider.KindTimeout {
		t.Errorf("a stalled stream: %v", err)
	}
}
