package api_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"p402.io/p402/gateway"
	"p402.io/p402/gateway/api"
	"p402.io/p402/gateway/call"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/journal"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/pgtest"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/reconcile"
)

const (
	network = "eip155:84532"
	token   = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
	purse   = "0x1111111111111111111111111111111111111111"
)

var march = time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)

// office is a server with one tenant, a clock that the test moves, and a node that a test fills.
type office struct {
	*testing.T
	*store.Store
	url, key, db string
	ids          *id.Source
	tenant       id.Tenant
	clock        *clock
	node         *node
	signer       ed25519.PrivateKey
	sales        int
}

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

// node has a block every hour from 2027-01-01 on, and one wallet.
type node struct {
	mu        sync.Mutex
	clock     *clock
	transfers []reconcile.Transfer
	steal     int64 // what the balance lacks, with no transfer to show for it
	pruned    bool
}

var genesis = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

func (n *node) Block(_ context.Context, number uint64) (reconcile.Block, error) {
	return reconcile.Block{Number: number, Hash: fmt.Sprintf("0x%064x", number+1), Time: genesis.Add(time.Duration(number) * time.Hour)}, nil
}

func (n *node) Head(ctx context.Context) (reconcile.Block, error) {
	return n.Block(ctx, uint64(n.clock.now().Sub(genesis)/time.Hour))
}

func (n *node) Finalized(ctx context.Context) (reconcile.Block, error) { return n.Head(ctx) }

func (n *node) Transfers(_ context.Context, r reconcile.Range) (out []reconcile.Transfer, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range n.transfers {
		if t.BlockNumber >= r.From && t.BlockNumber <= r.To {
			out = append(out, t)
		}
	}
	return out, nil
}

func (n *node) Balance(_ context.Context, _, address string, block uint64) (money.USDC, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pruned {
		return money.USDC{}, errors.New("missing trie node")
	}
	sum := int64(0)
	for _, t := range n.transfers {
		switch {
		case t.BlockNumber > block:
		case t.To == address:
			sum += t.Amount.Big().Int64()
		case t.From == address:
			sum -= t.Amount.Big().Int64()
		}
	}
	return money.Atomic(sum - n.steal), nil
}

func newOffice(t *testing.T) *office {
	t.Helper()
	c := &clock{at: time.Date(2027, 4, 2, 9, 0, 0, 0, time.UTC)}
	url := pgtest.New(t, store.Migrate)
	ids := id.NewSource(c.now)
	db, err := store.New(t.Context(), url, store.Options{Now: c.now, IDs: ids})
	must(t, err)
	t.Cleanup(func() { _ = db.Shutdown() })
	tenant, err := db.EnsureTenant(t.Context(), "acme", "Acme")
	must(t, err)
	key, _, err := db.CreateKey(t.Context(), store.NewKey{TenantID: tenant, Name: "finance", Scopes: meter.AllScopes()})
	must(t, err)
	o := &office{T: t, Store: db, key: key, db: url, ids: ids, tenant: tenant, clock: c, node: &node{clock: c}, signer: ed25519.NewKeyFromSeed(make([]byte, 32))}
	log := slog.New(slog.DiscardHandler)
	surface := &api.Surface{Auth: gateway.NewAuth(db, c.now), Store: db, Now: c.now, Log: log, CursorKey: make([]byte, 32),
		Finance: api.Finance{Signer: reconcile.Signer{Name: "p402", KeyID: "k", Key: o.signer}, Nodes: map[string]reconcile.Node{network: o.node}}}
	server := httptest.NewServer(gateway.NewRouter(gateway.Config{Log: log, IDs: ids, Now: c.now}, surface))
	t.Cleanup(server.Close)
	o.url = server.URL
	return o
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ask calls the API and decodes its answer.
func (o *office) ask(method, path string, body any, into any) int {
	o.Helper()
	var raw []byte
	switch b := body.(type) {
	case nil:
	case string:
		raw = []byte(b)
	default:
		var err error
		raw, err = json.Marshal(body)
		must(o.T, err)
	}
	req, err := http.NewRequestWithContext(o.Context(), method, o.url+"/api/v2"+path, bytes.NewReader(raw))
	must(o.T, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+o.key)
	resp, err := http.DefaultClient.Do(req)
	must(o.T, err)
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	must(o.T, err)
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			o.Fatalf("%s %s answered %d: %s", method, path, resp.StatusCode, answer)
		}
	}
	return resp.StatusCode
}

type dict = map[string]any

// metered records one call that cost money, when it happened.
func (o *office) metered(at time.Time, cost string) meter.Event {
	o.Helper()
	back := o.clock.now()
	o.clock.set(at)
	defer o.clock.set(back)
	return o.late(at, cost)
}

// late records a call that happened at a time only now.
func (o *office) late(at time.Time, cost string) meter.Event {
	o.Helper()
	usd, done := money.MustUSD(cost), o.clock.now()
	e := meter.Event{ID: o.ids.Event(), TenantID: o.tenant, RequestID: o.ids.Request(), State: meter.EventFinal, Source: "hosted", Route: meter.RouteChat, ModelRequested: "m", ModelUsed: "m", Provider: "openai",
		CostUSD: &usd, CostState: meter.CostPriced, Decision: "approved", ReceiptStatus: "none", EventTime: at, ReceivedAt: at, Deadline: at.Add(time.Minute), FinalizedAt: &done,
		Attribution: meter.Attribution{Dimensions: map[string]string{meter.DimWorkflow: "w", meter.DimDepartment: "ops"}}}
	must(o.T, o.Store.Close(o.Context(), call.Closing{Fresh: true, Event: e, Entries: journal.Move(journal.AccountCostOfCalls, journal.AccountProviderOwed, usd, "call")}))
	return e
}

// sale records one paid call to its end, and puts its transfer on the chain.
func (o *office) sale(at time.Time, atomic int64) settlement.Payment {
	o.Helper()
	o.sales++
	n := o.sales
	e := meter.Event{ID: o.ids.Event(), TenantID: o.tenant, RequestID: o.ids.Request(), State: meter.EventIntent, Source: "sold", Route: meter.RouteChat, ModelRequested: "m", CostState: meter.CostUnpriced,
		Decision: "approved", ReceiptStatus: "required", EventTime: at, ReceivedAt: at, Deadline: at.Add(time.Minute), Attribution: meter.Attribution{Dimensions: map[string]string{meter.DimWorkflow: "shop"}}}
	price := money.Atomic(atomic).USD()
	zero := money.Zero
	e.RevenueUSD, e.CostUSD, e.CostState = &price, &zero, meter.CostPriced
	a := settlement.Authorization{Network: network, Asset: token, Payer: "0x2222222222222222222222222222222222222222", PayTo: purse, Value: money.Atomic(atomic), Nonce: fmt.Sprintf("0x%064x", n), Signature: []byte{1}}
	p := settlement.Claim(o.ids.Payment(), settlement.Terms{TenantID: o.tenant, WorkflowID: "shop", Network: network, Asset: token, PayTo: purse, Amount: a.Value, Scheme: "exact"}, a, e.ID, at, at.Add(time.Minute))
	must(o.T, o.Open(o.Context(), call.Opening{Event: e, Payment: &p, Funds: call.Funds{Balance: money.Atomic(1_000_000_000), At: at}}))
	captured, move, err := p.Advance(settlement.Evidence{Kind: settlement.EvidenceCapture}, at)
	must(o.T, err)
	e.State, e.FinalizedAt = meter.EventFinal, &at
	must(o.T, o.Store.Close(o.Context(), call.Closing{Event: e, PaymentMove: &move}))
	block := uint64(at.Sub(genesis) / time.Hour)
	x := reconcile.Transfer{Network: network, Asset: token, From: a.Payer, To: purse, Amount: a.Value, Nonce: a.Nonce, TxHash: fmt.Sprintf("0x%064x", 500+n), LogIndex: 1, BlockNumber: block,
		BlockHash: fmt.Sprintf("0x%064x", block+1), BlockTime: genesis.Add(time.Duration(block) * time.Hour)}
	o.node.transfers = append(o.node.transfers, x)
	included, move, err := captured.Advance(settlement.Evidence{Kind: settlement.EvidenceSeen, TxHash: x.TxHash, BlockNumber: block, BlockHash: x.BlockHash, LogIndex: 1}, at)
	must(o.T, err)
	r, err := settlement.NewIssuer("p402", o.signer).NewReceipt(o.ids.Receipt(), included)
	must(o.T, err)
	included.ReceiptID = r.ReceiptID
	must(o.T, o.Record(o.Context(), included, move, &r))
	must(o.T, o.Deliver(o.Context(), call.Delivery{Tenant: o.tenant, EventID: e.ID, At: at, Bytes: 1, Whole: true, Earned: true}))
	return included
}

// index reads the chain to its head.
func (o *office) index() {
	o.Helper()
	x := &reconcile.Indexer{Network: network, Node: o.node, Index: o.Store, Now: o.clock.now, Log: slog.New(slog.DiscardHandler)}
	for range 1000 {
		moved, err := x.Step(o.Context())
		must(o.T, err)
		if !moved {
			return
		}
	}
}

func (o *office) bill(day time.Time, cost string) {
	o.Helper()
	var out dict
	if status := o.ask(http.MethodPost, "/reconciliation/imports?format=generic&provider=openai&name=bill.csv", "model,day,cost\nm,"+day.Format(time.DateOnly)+","+cost+"\n", &out); status != http.StatusCreated {
		o.Fatalf("import answered %d: %v", status, out)
	}
}

// export makes an export and downloads it, checking rows and digest against the trailers.
func (o *office) export(kind, format, period string) string {
	o.Helper()
	var e dict
	if status := o.ask(http.MethodPost, "/exports", dict{"kind": kind, "format": format, "period": period}, &e); status != http.StatusCreated {
		o.Fatalf("%s as %s: %d %v", kind, format, status, e)
	}
	text, _ := o.fetch(e["download"].(string))
	return text
}

func (o *office) fetch(path string) (text string, trailer http.Header) {
	o.Helper()
	req, err := http.NewRequestWithContext(o.Context(), http.MethodGet, o.url+path, nil)
	must(o.T, err)
	req.Header.Set("Authorization", "Bearer "+o.key)
	resp, err := http.DefaultClient.Do(req)
	must(o.T, err)
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	must(o.T, err)
	if resp.StatusCode != http.StatusOK {
		o.Fatalf("%s answered %d: %s", path, resp.StatusCode, raw)
	}
	if got := resp.Trailer.Get("P402-SHA256"); got != digestOf(raw) {
		o.Fatalf("%s: digest %s of bytes %s", path, got, digestOf(raw))
	}
	return string(raw), resp.Trailer
}

func (o *office) code(method, path string, body any) string {
	o.Helper()
	var out struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	o.ask(method, path, body, &out)
	return out.Error.Code
}

func lines(text string) int { return strings.Count(text, "\n") }

// count reads a download without keeping it.
func (o *office) count(path string) (rows int, sum string) {
	o.Helper()
	req, err := http.NewRequestWithContext(o.Context(), http.MethodGet, o.url+path, nil)
	must(o.T, err)
	req.Header.Set("Authorization", "Bearer "+o.key)
	resp, err := http.DefaultClient.Do(req)
	must(o.T, err)
	defer func() { _ = resp.Body.Close() }()
	hash, part := sha256.New(), make([]byte, 32<<10)
	for {
		n, err := resp.Body.Read(part)
		rows += bytes.Count(part[:n], []byte("\n"))
		hash.Write(part[:n])
		if err == io.EOF {
			break
		}
		must(o.T, err)
	}
	if sum = resp.Trailer.Get("P402-SHA256"); sum != hex.EncodeToString(hash.Sum(nil)) || resp.Trailer.Get("P402-Rows") != fmt.Sprint(rows) {
		o.Fatalf("%d rows, trailer %v", rows, resp.Trailer)
	}
	return rows, sum
}
