// Command p402-sandbox is the whole house on one machine: a private PostgreSQL, a development chain and a mock vendor,
// with two tenants, keys, wallets and a priced workflow. Nothing in it is real money, and it says so.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:8402", "address to serve on")
	flag.StringVar(&o.metrics, "metrics-listen", "127.0.0.1:0", "address to serve /metrics on; empty is off")
	flag.StringVar(&o.data, "data", ".sandbox", "folder that keeps database, chain and keys; a second start continues with it")
	flag.StringVar(&o.database, "database", "", "PostgreSQL URL to use in place of the private server")
	flag.StringVar(&o.upstream, "upstream", "", "OpenAI-compatible base URL to call in place of the mock vendor")
	flag.StringVar(&o.ready, "ready-file", "", "file to write the sandbox's addresses and keys to, as JSON, once it serves")
	flag.StringVar(&o.logFile, "log-file", "", "file for the structured log (default: sandbox.log in the data folder; - for stderr)")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "p402-sandbox runs p402 with everything it needs on this machine. All of it is simulated: no account, no wallet, no real money.\n\nFlags:")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "p402-sandbox: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "p402-sandbox:", err)
		os.Exit(1)
	}
}

type options struct{ listen, metrics, data, database, upstream, ready, logFile string }

// openLog keeps the log out of the way of the summary that a person reads.
func openLog(o options) (*slog.Logger, func() error, error) {
	if o.logFile == "-" {
		return slog.New(slog.NewJSONHandler(os.Stderr, nil)), func() error { return nil }, nil
	}
	if o.logFile == "" {
		o.logFile = filepath.Join(o.data, "sandbox.log")
	}
	f, err := os.OpenFile(o.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	return slog.New(slog.NewJSONHandler(f, nil)), f.Close, nil
}

func run(ctx context.Context, o options) (err error) {
	if o.data, err = filepath.Abs(o.data); err != nil {
		return err
	}
	if err := os.MkdirAll(o.data, 0o755); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	log, closeLog, err := openLog(o)
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	s := &sandbox{options: o, log: log}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	return s.serve(ctx)
}

// writeReady writes the file in one move, so that nobody reads half of it.
func writeReady(path string, r ready) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".part", append(raw, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}
