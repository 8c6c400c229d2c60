package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"p402.io/p402/internal/pgembed"
)

const (
	callers = 16
	warmUp  = time.Second
)

type plan struct {
	binary string
	only   string // part of a shape's name; the others are left out
	rounds int
	span   time.Duration
}

// rig is everything that runs while it is measured.
type rig struct {
	hop, p402 *caller
	hopPids   []int
	p402Pids  []int // the gateway and its database
	stop      []func()
}

func (r *rig) close() {
	for _, stop := range slices.Backward(r.stop) {
		stop()
	}
}

func measure(ctx context.Context, p plan) error {
	r := &rig{}
	defer r.close()
	if err := r.start(ctx, p.binary); err != nil {
		return err
	}
	fmt.Printf("p402 against a bare Gin + ReverseProxy hop, same upstream, same run. %d CPUs, %d rounds of %v, %d callers.\n", runtime.NumCPU(), p.rounds, p.span, callers)
	fmt.Print("p402: durable commits (fsync on), one tenant budget on, PostgreSQL's CPU counted.\n\n")
	fmt.Printf("%-24s %14s %14s %7s   %9s %9s %7s\n", "CPU per call", "hop", "p402", "ratio", "hop/s", "p402/s", "ratio")
	for _, s := range shapes() {
		if !strings.Contains(s.name, p.only) {
			continue
		}
		if err := r.compare(ctx, s, p); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return r.latency(ctx, p)
}

// start brings everything up: database, upstream, hop, gateway, key and budget.
func (r *rig) start(ctx context.Context, binary string) error {
	dir, err := os.MkdirTemp("", "p402-bench-")
	if err != nil {
		return err
	}
	db, err := pgembed.Start(ctx, pgembed.Config{Dir: dir, Progress: func(s string) { fmt.Fprintln(os.Stderr, s) }})
	if err != nil {
		return err
	}
	r.stop = append(r.stop, func() {
		_ = db.Stop(context.Background())
		_ = pgembed.Remove(context.Background(), dir)
		_ = os.RemoveAll(dir)
	})
	upstream, err := startRole(ctx, "upstream", "")
	if err != nil {
		return err
	}
	r.stop = append(r.stop, upstream.stop)
	hop, err := startRole(ctx, "hop", upstream.url)
	if err != nil {
		return err
	}
	r.stop = append(r.stop, hop.stop)
	r.hop, r.hopPids = newCaller(hop.url, "none"), []int{hop.cmd.Process.Pid}
	r.hop.lenient = true
	pid, err := os.ReadFile(filepath.Join(db.Folder, "data", "postmaster.pid"))
	if err != nil {
		return err
	}
	first, _, _ := bytes.Cut(pid, []byte("\n"))
	postmaster, err := strconv.Atoi(string(first))
	if err != nil {
		return err
	}
	r.p402Pids = []int{postmaster}
	return r.startGateway(ctx, binary, db.URL("p402"), upstream.url)
}

func (r *rig) startGateway(ctx context.Context, binary, database, upstream string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	_ = l.Close() // only its number was wanted
	env := append(os.Environ(), "P402_DATABASE_URL="+database, "P402_LISTEN="+addr, "P402_VENDOR_NAME=bench", "P402_VENDOR_BASE_URL="+upstream+"/v1", "P402_CONFIG=")
	config := filepath.Join(os.TempDir(), "p402-bench-"+strconv.Itoa(os.Getpid())+".yaml")
	if err := os.WriteFile(config, []byte("vendor:\n  allow_private: true\n"), 0o600); err != nil {
		return err
	}
	r.stop = append(r.stop, func() { _ = os.Remove(config) })
	run := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, binary, args...)
		cmd.Env = env
		return cmd
	}
	if out, err := run("migrate", "-config", config).CombinedOutput(); err != nil {
		return fmt.Errorf("p402 migrate: %w: %s", err, out)
	}
	out, err := run("keys", "create", "-config", config, "-live", "-name", "bench").CombinedOutput()
	if err != nil {
		return fmt.Errorf("p402 keys create: %w: %s", err, out)
	}
	key := regexp.MustCompile(`p402_[A-Za-z0-9_]+`).FindString(string(out))
	if key == "" {
		return errors.New("p402 keys create printed no key")
	}
	gateway := run("serve", "-config", config)
	gateway.Stderr = nil // its log is not part of what is measured
	if err := gateway.Start(); err != nil {
		return err
	}
	s := &server{cmd: gateway, url: "http://" + addr}
	r.stop = append(r.stop, s.stop)
	r.p402, r.p402Pids = newCaller(s.url, key), append(r.p402Pids, gateway.Process.Pid)
	if err := awaitReady(ctx, s.url); err != nil {
		return err
	}
	return putBudget(ctx, s.url, key)
}

func awaitReady(ctx context.Context, url string) error {
	for range 200 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("the gateway did not become ready within 10 s")
}

func putBudget(ctx context.Context, url, key string) error {
	body := `{"name":"bench","scope":{"type":"tenant"},"window":"month","limit_usd":"1000000"}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/v2/budgets", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return fmt.Errorf("create the budget: status %d", resp.StatusCode)
	}
	return nil
}

// compare runs hop and gateway in turn, so that what else the machine does falls on both.
func (r *rig) compare(ctx context.Context, s shape, p plan) error {
	var hopCPU, p402CPU, cpu, hopRate, p402Rate, rate []float64
	for _, c := range []*caller{r.hop, r.p402} {
		if _, _, err := c.saturate(ctx, s.body, callers, warmUp); err != nil {
			return fmt.Errorf("warm up %s: %w", c.url, err)
		}
	}
	for range p.rounds {
		hc, hr, err := used(ctx, r.hop, s, p.span, r.hopPids)
		if err != nil {
			return fmt.Errorf("hop: %w", err)
		}
		pc, pr, err := used(ctx, r.p402, s, p.span, r.p402Pids)
		if err != nil {
			return fmt.Errorf("p402: %w", err)
		}
		hopCPU, p402CPU, cpu = append(hopCPU, hc), append(p402CPU, pc), append(cpu, pc/hc)
		hopRate, p402Rate, rate = append(hopRate, hr), append(p402Rate, pr), append(rate, pr/hr)
	}
	fmt.Printf("%-24s %11.0f µs %11.0f µs %6.2fx   %9.0f %9.0f %6.2fx\n", s.name, median(hopCPU), median(p402CPU), median(cpu), median(hopRate), median(p402Rate), median(rate))
	return nil
}

// used is the CPU time per call in µs, and calls per second.
func used(ctx context.Context, c *caller, s shape, span time.Duration, pids []int) (cpu, rate float64, err error) {
	before, err := cpuOf(pids...)
	if err != nil {
		return 0, 0, err
	}
	n, took, err := c.saturate(ctx, s.body, callers, span)
	if err != nil {
		return 0, 0, err
	}
	after, err := cpuOf(pids...)
	if err != nil {
		return 0, 0, err
	}
	return float64((after - before).Microseconds()) / float64(n), float64(n) / took.Seconds(), nil
}

// latency is what p402 adds at half of its saturation.
func (r *rig) latency(ctx context.Context, p plan) error {
	body := shapes()[0].body
	n, took, err := r.p402.saturate(ctx, body, callers, p.span)
	if err != nil {
		return err
	}
	rate := float64(n) / took.Seconds() / 2
	var h50, h99, p50, p99 []float64
	for range p.rounds {
		a, b, err := r.hop.pace(ctx, body, rate, p.span)
		if err != nil {
			return err
		}
		c, d, err := r.p402.pace(ctx, body, rate, p.span)
		if err != nil {
			return err
		}
		h50, h99, p50, p99 = append(h50, ms(a)), append(h99, ms(b)), append(p50, ms(c)), append(p99, ms(d))
	}
	fmt.Printf("\nadded latency, plain 1 KB calls at a fixed %.0f/s (half of saturation), from when each call was due\n", rate)
	fmt.Printf("%-6s hop %7.2f ms   p402 %7.2f ms   added %7.2f ms\n", "p50", median(h50), median(p50), median(p50)-median(h50))
	fmt.Printf("%-6s hop %7.2f ms   p402 %7.2f ms   added %7.2f ms\n", "p99", median(h99), median(p99), median(p99)-median(h99))
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}
