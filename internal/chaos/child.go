package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"p402.io/p402/internal/app"
)

// gateway is what is killed: the app as p402 serves it, but for short deadlines.
func gateway(ctx context.Context, o options) error {
	a, err := app.New(ctx, app.Config{Listen: o.listen, DatabaseURL: o.database, SpoolDir: o.spool, Alone: true, CallTimeout: 5 * time.Second,
		Vendor: app.Vendor{Name: "mock", BaseURL: o.vendor, AllowPrivate: true, Simulated: true, TestKeys: true, Prices: "*"}},
		slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	addr, err := a.Listen()
	if err != nil {
		return err
	}
	fmt.Println(addr)
	return a.Run(ctx)
}

// child is a running gateway.
type child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended, however
}

// start starts a gateway that dies at a point ("" at none), and waits until it serves. A gateway that dies while it starts is nil.
func (w *world) start(ctx context.Context, point string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-role", "gateway", "-database", w.wire.url, "-vendor", w.vendor.url, "-listen", w.listen, "-spool", w.spoolDir)
	cmd.Env = append(os.Environ(), "P402_TEST_CRASH="+point)
	cmd.Stderr = w.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, readErr := bufio.NewReader(out).ReadString('\n')
	c := &child{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is what the caller provoked
		close(c.done)
	}()
	if readErr != nil {
		<-c.done
		if point != "" {
			return nil, nil
		}
		return nil, fmt.Errorf("the gateway does not start: see %s", w.log.Name())
	}
	w.base = "http://" + strings.TrimSpace(line)
	return c, c.serves(ctx, w.base)
}

// serves waits until the gateway answers or has died.
func (c *child) serves(ctx context.Context, base string) error {
	for {
		select {
		case <-c.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
		res, err := http.Get(base + "/healthz")
		if err == nil {
			return res.Body.Close()
		}
	}
}

func (c *child) kill() error {
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-c.done
	return nil
}
