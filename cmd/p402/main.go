// Command p402 is the gateway and its tools.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// command is one subcommand.
type command struct {
	name, summary string
	run           func(ctx context.Context, args []string) error
}

func commands() []command {
	return []command{
		{"serve", "run the gateway", serve},
		{"migrate", "bring the database's schema up to date", migrate},
		{"keys", "create, list and revoke API keys", keys},
		{"link", "print a one-time sign-in link to the pages", link},
		{"plan", "show or change a tenant's plan", plan},
		{"apply", "create or change workflows from a YAML file", apply},
		{"pay", "pay a priced URL with a wallet key", pay},
		{"verify", "check a receipt, offline or against the chain, or the ledger", verify},
		{"tail", "follow the ledger", tail},
		{"doctor", "check configuration, database, network and wallet", doctor},
		{"version", "print the version", version},
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "p402 meters AI calls and can sell them over HTTP 402.\n\nUsage: p402 COMMAND [flags]     (p402 COMMAND --help explains one)")
	for _, c := range commands() {
		fmt.Fprintf(os.Stderr, "  %-8s  %s\n", c.name, c.summary)
	}
}

// main: 0 done, 1 failed, 2 used wrongly.
func main() {
	if len(os.Args) < 2 {
		usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, c := range commands() {
		if c.name == os.Args[1] {
			if err := c.run(ctx, os.Args[2:]); err != nil {
				fmt.Fprintf(os.Stderr, "p402 %s: %v\n", c.name, err)
				stop()
				os.Exit(1) //nolint:gocritic // stop has run
			}
			return
		}
	}
	usage()
	if os.Args[1] != "help" && os.Args[1] != "--help" && os.Args[1] != "-h" {
		os.Exit(2)
	}
}
