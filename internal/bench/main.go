// Command bench measures what p402 costs: CPU time and added latency of a metered call against a bare Gin + ReverseProxy
// hop to the same upstream, in the same run. It prints ratios, so that a slower machine tells the same story.
//
// It starts everything itself: a private PostgreSQL, the real p402 binary (given with -p402), the bare hop and an
// upstream, each a process of its own, as CPU time is read by process. It needs Linux (/proc).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	binary := flag.String("p402", "bin/p402", "the p402 binary to measure")
	rounds := flag.Int("rounds", 5, "rounds of each measure; the median is printed")
	span := flag.Duration("span", 3*time.Second, "how long each round lasts")
	only := flag.String("only", "", "measure only the calls whose name holds this: plain, 200 KB, streamed")
	role := flag.String("role", "", "internal: run as the upstream or the hop")
	target := flag.String("target", "", "internal: where the hop sends calls")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch *role {
	case "upstream":
		err = serveUpstream()
	case "hop":
		err = serveHop(*target)
	case "":
		err = measure(ctx, plan{binary: *binary, only: *only, rounds: *rounds, span: *span})
	default:
		err = fmt.Errorf("role %q is not upstream or hop", *role)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
