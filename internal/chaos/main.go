// Command chaos kills the gateway while calls run, takes its database away and slows it, and then holds the ledger against what the
// vendor and the callers saw. It is the caller, the vendor and the auditor; the gateway is another process that knows nothing of it.
// Build it with -tags chaos, or the named crash points are not there.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"time"
)

// options is how much to do; the defaults are what the house promises.
type options struct {
	role, database, vendor, listen, spool string

	rounds int // kills at random moments
	each   int // kills at each named point
	seed   uint64
	stop   time.Duration // the store is away for so long
	slow   time.Duration // the store answers so late
}

func main() {
	var o options
	flag.StringVar(&o.role, "role", "", "gateway: what is killed; empty: the rest")
	flag.StringVar(&o.database, "database", "", "for the gateway")
	flag.StringVar(&o.vendor, "vendor", "", "for the gateway")
	flag.StringVar(&o.listen, "listen", "", "for the gateway")
	flag.StringVar(&o.spool, "spool", "", "for the gateway")
	flag.IntVar(&o.rounds, "rounds", 100, "kills at random moments")
	flag.IntVar(&o.each, "each", 10, "kills at each named point")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "repeats the random choices")
	flag.DurationVar(&o.stop, "stop", 10*time.Second, "how long the store is away")
	flag.DurationVar(&o.slow, "slow", 500*time.Millisecond, "how late the slow store answers")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	var err error
	if o.role == "gateway" {
		err = gateway(ctx, o)
	} else {
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		cancel()
		os.Exit(1) //nolint:gocritic // cancel has run
	}
}

// run is the whole proof: provoke, let it come to rest, audit.
func run(ctx context.Context, o options) error {
	fmt.Printf("seed %d\n", o.seed)
	w, err := newWorld(ctx, o, rand.New(rand.NewPCG(o.seed, 0)))
	if err != nil {
		return err
	}
	defer w.close()
	for i := range o.rounds {
		if err := w.killAtRandom(ctx); err != nil {
			return fmt.Errorf("round %d: %w", i, err)
		}
	}
	fmt.Printf("killed at random     %d times\n", o.rounds)
	for _, point := range points() {
		reached := 0
		for i := range o.each {
			died, err := w.killAt(ctx, point, i)
			if err != nil {
				return fmt.Errorf("point %s: %w", point, err)
			}
			if died {
				reached++
			}
		}
		fmt.Printf("killed at %-18s %d of %d\n", point, reached, o.each)
		if reached == 0 && o.each > 0 {
			return fmt.Errorf("point %s was never reached: nothing is proved there", point)
		}
	}
	if err := w.storeTrouble(ctx); err != nil {
		return err
	}
	if err := w.rest(ctx); err != nil {
		return err
	}
	return w.audit(ctx)
}

// points is every named place to die (internal/crash).
func points() []string {
	return []string{"call.open", "call.opened", "call.dial", "call.dialled", "call.frame", "call.finish", "call.close", "call.closed", "call.answer", "call.delivered",
		"store.begin", "store.inserted", "store.closed", "store.budgets", "store.posted", "store.committed",
		"spool.keep", "spool.kept", "spool.drain", "spool.drained", "sweep.begin", "sweep.expire", "seal.begin", "seal.block", "seal.committed"}
}
