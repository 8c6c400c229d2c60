package app

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"p402.io/p402/internal/pgtest"
	"p402.io/p402/internal/store"
)

// line is a wire to the database that can be cut, and hung up silently, and mended.
type line struct {
	network, to string
	l           net.Listener

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

// newLine listens before the database of a URL and returns the URL that goes through it.
func newLine(t *testing.T, database string) (*line, string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	w := &line{network: "tcp", to: u.Host, conns: map[net.Conn]bool{}}
	if q := u.Query(); q.Get("host") != "" { // a socket in the file system
		w.network, w.to = "unix", filepath.Join(q.Get("host"), ".s.PGSQL.5432")
		q.Del("host")
		u.RawQuery = q.Encode()
	}
	if w.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := w.l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { w.carry(c) })
		}
	})
	t.Cleanup(func() {
		_ = w.l.Close() // the end of the test
		w.set(true)
		serving.Wait()
	})
	u.Host = w.l.Addr().String()
	return w, u.String()
}

// carry copies both ways until either ends.
func (w *line) carry(c net.Conn) {
	defer func() { _ = c.Close() }()
	w.mu.Lock()
	cut := w.cut
	w.mu.Unlock()
	if cut {
		return
	}
	d, err := net.Dial(w.network, w.to)
	if err != nil {
		return
	}
	defer func() { _ = d.Close() }()
	w.mu.Lock()
	w.conns[c], w.conns[d] = true, true
	w.mu.Unlock()
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{c, d}, {d, c}} {
		go func() { _, _ = io.Copy(pair[0], pair[1]); done <- struct{}{} }()
	}
	<-done
	_, _ = c.Close(), d.Close()
	<-done
}

// set cuts the line, with all that runs through it, or mends it.
func (w *line) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	if cut {
		for c := range w.conns {
			_ = c.Close()
		}
		w.conns = map[net.Conn]bool{}
	}
}

// waitingVendor answers when it is told to, and counts what it was asked.
func waitingVendor(t *testing.T) (base string, asked chan struct{}, answer func()) {
	t.Helper()
	asked = make(chan struct{}, 100)
	let := make(chan struct{})
	answer = sync.OnceFunc(func() { close(let) })
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked <- struct{}{}
		<-let
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"x","object":"chat.completion","model":"mock-small","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":10,"total_tokens":1010}}`)
	}))
	t.Cleanup(s.Close)
	t.Cleanup(answer)
	return s.URL, asked, answer
}

// The store goes away while a call runs: its answer still arrives, new calls are shed before anything is sent, and once the store
// is back, also after a restart, the ledger has the call at its true cost, once, with nothing reserved.
func TestR5_TestA92_TestA93_TestO24_StoreAwayLosesNoAnswerAndNoCost(t *testing.T) {
	t.Parallel()
	database := pgtest.New(t, store.Migrate)
	wire, through := newLine(t, database)
	base, asked, answer := waitingVendor(t)
	dir := filepath.Join(t.TempDir(), "spool")
	cfg := Config{Listen: "127.0.0.1:0", DatabaseURL: through, SpoolDir: dir, Alone: true, CallTimeout: time.Minute,
		Vendor: Vendor{Name: "mock", BaseURL: base + "/v1", AllowPrivate: true, Simulated: true, TestKeys: true, Prices: "*"}}
	h, stop := startOwn(t, cfg)
	u := h.user(t)
	u.must(201, "POST", "/api/v2/budgets", `{"scope":{"type":"tenant"},"window":"total","limit_usd":"1"}`)
	type got struct {
		status int
		body   string
	}
	replies := make(chan got, 2)
	ask := func() {
		r := u.do("POST", "/v1/chat/completions", `{"model":"mock-small","max_tokens":20,"messages":[{"role":"user","content":"hello"}]}`)
		replies <- got{r.status, string(r.body)}
	}
	go ask()
	<-asked
	wire.set(true)
	go ask() // shed: the vendor is not asked
	if r := <-replies; r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, "CONTROL_UNAVAILABLE") {
		t.Fatalf("a new call while the store is away: %d %s", r.status, r.body)
	}
	answer()
	if r := <-replies; r.status != http.StatusOK || !strings.Contains(r.body, `"hi"`) {
		t.Fatalf("the running call's answer: %d %s", r.status, r.body)
	}
	if len(asked) != 0 {
		t.Error("the vendor was asked while nothing could be recorded")
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) == 0 {
		t.Fatalf("nothing is spooled: %v", err)
	}
	stop()
	wire.set(false)
	h, stop = startOwn(t, cfg)
	defer stop()
	u.h = h
	events := u.must(200, "GET", "/api/v2/meter/events", nil)["data"].([]any)
	if len(events) != 1 {
		t.Fatalf("%d events", len(events))
	}
	e := events[0].(map[string]any)
	if e["state"] != "final" || e["success"] != true || e["cost_state"] != "priced" || e["cost_usd"] == nil {
		t.Errorf("the event after the drain: %v", e)
	}
	b := u.must(200, "GET", "/api/v2/budgets", nil)["data"].([]any)[0].(map[string]any)
	if strings.Trim(b["reserved_usd"].(string), "0.") != "" || b["spent_usd"] != e["cost_usd"] {
		t.Errorf("budget: reserved %v, spent %v, cost %v", b["reserved_usd"], b["spent_usd"], e["cost_usd"])
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("the spool still holds %d files, %v", len(files), err)
	}
}

// startOwn runs an app of its own; stop ends it and waits.
func startOwn(t *testing.T, cfg Config) (h *house, stop func()) {
	t.Helper()
	logs := &syncBuffer{}
	a, err := New(t.Context(), cfg, slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	addr, err := a.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return &house{app: a, base: "http://" + addr.String(), logs: logs, database: cfg.DatabaseURL}, stop
}
