package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/devchain"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/pgtest"
	"p402.io/p402/internal/provider/mock"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement/evm"
	"p402.io/p402/settlement/x402"
)

// house is the whole app behind a real listener, on its own database, development chain and mock vendor. One serves all
// tests of the package: each makes tenants of its own, so none sees another's rows.
type house struct {
	app     *App
	base    string
	logs    *syncBuffer
	metrics string // address
	// database is the URL, for tests that look behind the house's back.
	database string
}

// shared is made by the first test that asks and stopped by TestMain.
var (
	shared     = sync.OnceValues(startHouse)
	stopShared = func() error { return nil }
	tenants    atomic.Int64
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := stopShared(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the house:", err)
		code = 1
	}
	os.Exit(code)
}

// mainT carries cleanups of what outlives the first test: pgtest wants a testing.TB.
type mainT struct {
	testing.TB
	cleanups []func()
}

func (t *mainT) Helper()                   {}
func (t *mainT) Cleanup(f func())          { t.cleanups = append(t.cleanups, f) }
func (t *mainT) Errorf(f string, a ...any) { fmt.Fprintf(os.Stderr, f+"\n", a...) }
func (t *mainT) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

func startHouse() (*house, error) {
	ctx := context.Background()
	t := &mainT{}
	url := pgtest.New(t, store.Migrate)
	logs := &syncBuffer{}
	log := slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	chain, err := devchain.Start(ctx, devchain.Config{Listen: "127.0.0.1:0", Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	vendor, err := mock.Start("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a, err := New(ctx, Config{Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0", DatabaseURL: url, Alone: true, CallTimeout: time.Minute,
		Vendor:     Vendor{Name: "mock", BaseURL: vendor.URL(), AllowPrivate: true, Simulated: true, TestKeys: true, Aliases: moodyModels()},
		Settlement: &Settlement{Network: devchain.Network, RPC: chain.URL(), Key: devchain.Lookup("settler").Key, PayTo: []string{devchain.Lookup("seller").Address}}}, log)
	if err != nil {
		return nil, err
	}
	addr, err := a.Listen()
	if err != nil {
		return nil, err
	}
	metrics, err := a.ListenMetrics()
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- a.Run(running) }()
	stopShared = func() error {
		stop()
		err := errors.Join(<-done, vendor.Close(), chain.Close())
		for _, f := range t.cleanups {
			f()
		}
		return err
	}
	return &house{app: a, base: "http://" + addr.String(), logs: logs, database: url, metrics: metrics.String()}, nil
}

func theHouse(t *testing.T) *house {
	t.Helper()
	h, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) routes() gin.RoutesInfo { return h.app.handler.(*gin.Engine).Routes() }

// syncBuffer keeps what was logged, for tests that look for what must not be there.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// user is a tenant with a key that may do everything.
type user struct {
	t      *testing.T
	h      *house
	tenant id.Tenant
	slug   string
	keyID  id.Key
	key    string
}

func (h *house) user(t *testing.T) user {
	t.Helper()
	slug := fmt.Sprintf("tenant-%d", tenants.Add(1))
	tenant, err := h.app.Store.EnsureTenant(t.Context(), slug, slug)
	if err != nil {
		t.Fatal(err)
	}
	u := user{t: t, h: h, tenant: tenant, slug: slug}
	return u.with(meter.AllScopes()...)
}

// with is the same tenant under a key with these scopes.
func (u user) with(scopes ...meter.Scope) user {
	u.t.Helper()
	key, info, err := u.h.app.Store.CreateKey(u.t.Context(), store.NewKey{TenantID: u.tenant, Name: "test", Scopes: scopes})
	if err != nil {
		u.t.Fatal(err)
	}
	u.key, u.keyID = key, info.ID
	return u
}

// reply is an answer, read whole.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// json is the body's value.
func (r reply) json(t *testing.T) map[string]any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(r.body))
	dec.UseNumber()
	var out map[string]any
	if err := dec.Decode(&out); err != nil {
		t.Fatalf("status %d, not a JSON object: %v: %.300s", r.status, err, r.body)
	}
	return out
}

// fault reads an error body.
func (r reply) fault(t *testing.T) (code, param, message string) {
	t.Helper()
	var out struct {
		Error struct {
			Type, Code, Message string
			Param               *string
			RequestID           string `json:"request_id"`
		}
	}
	if err := json.Unmarshal(r.body, &out); err != nil {
		t.Fatalf("status %d, not an error object: %v: %.300s", r.status, err, r.body)
	}
	if out.Error.Type == "" || out.Error.RequestID == "" || out.Error.RequestID != r.header.Get("X-P402-Request-ID") {
		t.Errorf("the error lacks its type or request id: %s", r.body)
	}
	if out.Error.Param != nil {
		param = *out.Error.Param
	}
	return out.Error.Code, param, out.Error.Message
}

// do sends a request as the user; body nil sends none. headers are "Name: value" and win.
func (u user) do(method, path string, body any, headers ...string) reply {
	u.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			u.t.Fatal(err)
		}
		reader = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(u.t.Context(), method, u.h.base+path, reader)
	if err != nil {
		u.t.Fatal(err)
	}
	if u.key != "" {
		req.Header.Set("Authorization", "Bearer "+u.key)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		if req.Header.Del(name); value != "" {
			req.Header.Set(name, value)
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		u.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }() // read whole below
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		u.t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, raw}
}

// must is do for what has to succeed.
func (u user) must(status int, method, path string, body any, headers ...string) map[string]any {
	u.t.Helper()
	r := u.do(method, path, body, headers...)
	if r.status != status {
		u.t.Fatalf("%s %s: status %d, want %d: %.400s", method, path, r.status, status, r.body)
	}
	return r.json(u.t)
}

// call makes one metered call and returns its event's id.
func (u user) call(metadata map[string]string) string {
	u.t.Helper()
	r := u.do("POST", "/v1/chat/completions", map[string]any{"model": "mock-small", "messages": []any{map[string]string{"role": "user", "content": "hello"}}, "metadata": metadata})
	if r.status != http.StatusOK {
		u.t.Fatalf("call: status %d: %.300s", r.status, r.body)
	}
	return r.header.Get("X-P402-Event-ID")
}

// sell puts a live workflow on sale and returns its public path.
func (u user) sell(workflowID string) string {
	u.t.Helper()
	_, err := u.h.app.Store.PutWorkflow(u.t.Context(), meter.Workflow{TenantID: u.tenant, WorkflowID: workflowID, Name: "For sale",
		Target: meter.Target{Kind: "model", Model: "mock-small"}, State: meter.WorkflowLive,
		Price: &meter.Price{Model: "per_call", AmountUSD: money.MustUSD("0.01"), PayTo: devchain.Lookup("seller").Address, Network: devchain.Network,
			Asset: devchain.USDCAddress, Scheme: "exact", WaitFor: "included"}})
	if err != nil {
		u.t.Fatal(err)
	}
	return "/x/" + u.slug + "/" + workflowID
}

// buy pays for one run and returns the answer.
func (u user) buy(path string) reply {
	u.t.Helper()
	stranger := user{t: u.t, h: u.h}
	const body = `{"messages":[{"role":"user","content":"hello"}]}`
	asked := stranger.do("POST", path, body)
	var offer x402.PaymentRequired
	if err := x402.DecodeHeader(asked.header.Get(x402.HeaderPaymentRequired), &offer); err != nil || asked.status != http.StatusPaymentRequired {
		u.t.Fatalf("offer: status %d, %v: %.300s", asked.status, err, asked.body)
	}
	payment, err := evm.SignPayment(offer, 0, devchain.Lookup("payer-1").Key, time.Now())
	if err != nil {
		u.t.Fatal(err)
	}
	paid := stranger.do("POST", path, body, x402.HeaderPaymentSignature+": "+payment)
	if paid.status != http.StatusOK {
		u.t.Fatalf("paid call: status %d: %.300s", paid.status, paid.body)
	}
	return paid
}
