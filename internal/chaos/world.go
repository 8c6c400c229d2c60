package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"p402.io/p402/internal/id"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/pgembed"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

const (
	callers = 12
	// tightCalls is how many calls the tight budget lets pass, ever.
	tightCalls = 400
	// wideUSD is a budget in dollars that every call is reserved in.
	wideUSD = "1000"
)

// world is everything around the gateway.
type world struct {
	opt                   options
	rnd                   *rand.Rand
	pg                    *pgembed.Server
	database              string // past the wire
	wire                  *wire
	vendor                *vendor
	load                  *load
	db                    *store.Store
	tenant                id.Tenant
	key                   string
	dir, spoolDir, listen string
	base                  string
	log                   *os.File
}

func newWorld(ctx context.Context, o options, rnd *rand.Rand) (*world, error) {
	w := &world{opt: o, rnd: rnd, load: newLoad()}
	var err error
	if w.dir, err = os.MkdirTemp("", "p402-chaos-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(w.dir, 0o711); err != nil { // the database's own user passes through
		return nil, err
	}
	w.spoolDir = filepath.Join(w.dir, "spool")
	if w.log, err = os.Create(filepath.Join(w.dir, "gateway.log")); err != nil {
		return nil, err
	}
	if w.pg, err = pgembed.Start(ctx, pgembed.Config{Dir: filepath.Join(w.dir, "postgres"), Log: slog.New(slog.DiscardHandler)}); err != nil {
		return nil, err
	}
	w.database = w.pg.URL("p402")
	if err := store.Migrate(ctx, w.database); err != nil {
		return nil, err
	}
	if w.wire, err = newWire(w.database); err != nil {
		return nil, err
	}
	if w.vendor, err = startVendor(); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port that every gateway takes in turn
	if err != nil {
		return nil, err
	}
	w.listen = l.Addr().String()
	return w, errJoin(l.Close(), w.seed(ctx))
}

// seed makes a tenant with a key, a budget that nobody exhausts and one that is soon used up.
func (w *world) seed(ctx context.Context) error {
	now := func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
	var err error
	if w.db, err = store.New(ctx, w.database, store.Options{Now: now, IDs: id.NewSource(now), MaxConns: 4}); err != nil {
		return err
	}
	if w.tenant, err = w.db.EnsureTenant(ctx, "chaos", "Chaos"); err != nil {
		return err
	}
	if w.key, _, err = w.db.CreateKey(ctx, store.NewKey{TenantID: w.tenant, Name: "chaos", Scopes: meter.AllScopes()}); err != nil {
		return err
	}
	wide, tight := money.MustUSD(wideUSD), int64(tightCalls)
	for _, b := range []meter.Budget{
		{Name: "wide", Scope: meter.BudgetScope{Type: "tenant"}, LimitUSD: &wide},
		{Name: "tight", Scope: meter.BudgetScope{Type: "customer", ID: "tight"}, LimitEvents: &tight},
	} {
		b.TenantID, b.Window = w.tenant, meter.WindowTotal
		if _, err := w.db.PutBudget(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) close() {
	_ = w.db.Shutdown() // the books are read
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = w.pg.Stop(ctx)
	_ = w.log.Close()
	_ = os.RemoveAll(w.dir)
}

// under runs callers against a gateway while do runs, and waits for both.
func (w *world) under(do func() error) error {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.load.run(ctx, w.base, w.key, callers)
	}()
	err := do()
	stop()
	<-done
	return err
}

// killAtRandom is one round: start, load, kill at some moment.
func (w *world) killAtRandom(ctx context.Context) error {
	c, err := w.start(ctx, "")
	if err != nil {
		return err
	}
	return w.under(func() error {
		time.Sleep(time.Duration(30+w.rnd.IntN(500)) * time.Millisecond)
		return c.kill()
	})
}

// atLeast is how long a gateway may take to reach its point; one that does not is killed all the same.
const atLeast = 6 * time.Second

// killAt is one round that ends at a named point; died says that it was reached.
func (w *world) killAt(ctx context.Context, point string, round int) (died bool, err error) {
	needsSpool := len(point) > 6 && point[:6] == "spool."
	drains := point == "spool.drain" || point == "spool.drained"
	if drains {
		if err := w.leaveSpool(ctx); err != nil {
			return false, err
		}
	}
	c, err := w.start(ctx, fmt.Sprintf("%s:%d", point, 1+round%7*boolInt(!needsSpool)))
	if err != nil || c == nil {
		return c == nil, err
	}
	err = w.under(func() error {
		if needsSpool && !drains {
			time.Sleep(400 * time.Millisecond) // calls have to be running when the store hangs
			w.wire.hang.Store(true)
			defer w.wire.hang.Store(false)
		}
		select {
		case <-c.done:
			died = true
			return nil
		case <-time.After(atLeast):
			return c.kill()
		}
	})
	return died, err
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// leaveSpool makes a gateway spool something and kills it, so that the next one has something to drain.
func (w *world) leaveSpool(ctx context.Context) error {
	c, err := w.start(ctx, "")
	if err != nil {
		return err
	}
	return w.under(func() error {
		time.Sleep(300 * time.Millisecond)
		w.wire.hang.Store(true)
		time.Sleep(3 * time.Second)
		err := c.kill()
		w.wire.hang.Store(false)
		return err
	})
}

// storeTrouble takes the store away under load, then slows it. No gateway is killed.
func (w *world) storeTrouble(ctx context.Context) error {
	c, err := w.start(ctx, "")
	if err != nil {
		return err
	}
	err = w.under(func() error {
		time.Sleep(time.Second)
		w.wire.hang.Store(true)
		time.Sleep(w.opt.stop)
		w.wire.hang.Store(false)
		time.Sleep(2 * time.Second)
		fmt.Printf("store stopped for %s\n", w.opt.stop)
		w.wire.delay.Store(int64(w.opt.slow))
		time.Sleep(10 * w.opt.slow)
		w.wire.delay.Store(0)
		fmt.Printf("store slowed by %s\n", w.opt.slow)
		time.Sleep(time.Second)
		return nil
	})
	return errJoin(err, c.kill())
}

// rest starts a last gateway and waits until nothing is open: the state that would be there without the kills (N10).
func (w *world) rest(ctx context.Context) error {
	c, err := w.start(ctx, "")
	if err != nil {
		return err
	}
	begun := time.Now()
	for {
		open, err := w.count(ctx, "SELECT count(*) FROM events WHERE state = 'intent'")
		if err != nil {
			return err
		}
		left, err := filepath.Glob(filepath.Join(w.spoolDir, "*.kept"))
		if err != nil {
			return err
		}
		if open == 0 && len(left) == 0 {
			break
		}
		if time.Since(begun) > 30*time.Second {
			return fmt.Errorf("after 30 s %d events are open and %d closings spooled", open, len(left))
		}
		time.Sleep(200 * time.Millisecond)
	}
	fmt.Printf("at rest after %s\n", time.Since(begun).Round(100*time.Millisecond))
	res, err := http.Get(w.base + "/readyz")
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("the last gateway is not ready: %d, %w", res.StatusCode, err)
	}
	return c.kill()
}
