package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// seen is one line of the callers' own log.
type seen struct {
	Status  int    // 0: no answer came
	Whole   bool   // the answer came to its end
	EventID string // as the answer named it
}

// load is callers that send each request once, whatever becomes of it.
type load struct {
	number atomic.Int64
	client *http.Client

	mu  sync.Mutex
	log map[string]seen
}

func newLoad() *load {
	return &load{log: map[string]seen{}, client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

// run sends with so many callers until ctx ends, and returns once all of them have their answer or none.
func (l *load) run(ctx context.Context, base, key string, callers int) {
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for ctx.Err() == nil {
				if l.one(base, key) == 0 {
					time.Sleep(2 * time.Millisecond) // nobody there
				}
			}
		})
	}
	group.Wait()
}

// one sends one call: plain, streamed, or streamed and left in the middle; some under a budget that is nearly used up.
func (l *load) one(base, key string) (status int) {
	n := l.number.Add(1)
	mark := fmt.Sprintf("mark-%d-%d-%d", n, 100+n%900, 1+n%50)
	customer := "wide"
	if n%5 == 0 {
		customer = "tight"
	}
	stream := n%3 != 0
	body := fmt.Sprintf(`{"model":"mock-small","max_tokens":100,"stream":%t,"messages":[{"role":"user","content":"%s %s"}],"metadata":{"session_id":"%s","customer_id":"%s"}}`,
		stream, mark, strings.Repeat("word ", 900), mark, customer)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		panic(err) // the address is ours
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	s := seen{}
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.log[mark] = s
	}()
	res, err := l.client.Do(req)
	if err != nil {
		return 0
	}
	defer func() { _ = res.Body.Close() }()
	s.Status, s.EventID = res.StatusCode, res.Header.Get("X-P402-Event-ID")
	if n%11 == 0 && stream {
		_, _ = io.CopyN(io.Discard, res.Body, 100) // and away
		return s.Status
	}
	raw, err := io.ReadAll(res.Body)
	switch {
	case err != nil || s.Status != http.StatusOK:
	case stream:
		s.Whole = strings.HasSuffix(strings.TrimSpace(string(raw)), "[DONE]")
	default:
		s.Whole = json.Valid(raw)
	}
	return s.Status
}
