package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// shape is one kind of call.
type shape struct {
	name string
	body []byte
}

func shapes() []shape {
	ask := func(stream bool, size int) []byte {
		return []byte(fmt.Sprintf(`{"model":"mock-small","stream":%t,"metadata":{"workflow_id":"bench","customer_id":"c1"},"messages":[{"role":"user","content":"%s"}]}`,
			stream, strings.Repeat("lorem ipsum ", size/12)))
	}
	return []shape{{"plain, 1 KB request", ask(false, 1<<10)}, {"plain, 200 KB request", ask(false, 200<<10)}, {"streamed, 200 frames", ask(true, 1<<10)}}
}

// caller sends calls to one place.
type caller struct {
	client *http.Client
	url    string
	key    string
	// lenient leaves failed calls out instead of ending the run: the bare hop now and then cuts a stream under load.
	lenient bool
}

func newCaller(url, key string) *caller {
	return &caller{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 512}}, url: url + "/v1/chat/completions", key: key}
}

func (c *caller) call(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.key)
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d", resp.StatusCode)
	case n == 0:
		return errors.New("empty answer")
	}
	return nil
}

// saturate keeps callers busy for a span; it returns how many calls were answered and in what time. One failure fails it.
func (c *caller) saturate(ctx context.Context, body []byte, callers int, span time.Duration) (int64, time.Duration, error) {
	var done atomic.Int64
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	start := time.Now()
	for range callers {
		group.Go(func() {
			for time.Since(start) < span && failed.Load() == nil {
				switch err := c.call(ctx, body); {
				case err == nil:
					done.Add(1)
				case !c.lenient:
					failed.Store(&err)
					return
				}
			}
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return 0, 0, *err
	}
	return done.Load(), time.Since(start), nil
}

// pace sends calls at a fixed rate whatever the answers do, and measures each from when it was due: a stall counts
// against every call that it delays.
func (c *caller) pace(ctx context.Context, body []byte, rate float64, span time.Duration) (p50, p99 time.Duration, err error) {
	total := int(rate * span.Seconds())
	took := make([]time.Duration, total)
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	start := time.Now()
	for i := range total {
		due := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		group.Go(func() {
			if err := c.call(ctx, body); err != nil {
				failed.Store(&err)
			}
			took[i] = time.Since(due)
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return 0, 0, *err
	}
	slices.Sort(took)
	return took[total/2], took[total*99/100], nil
}
