// Package e2e_test drives the real binaries, as a user gets them, with the published clients: openai, @x402/fetch with
// @x402/evm, the legacy x402-fetch, and Chromium. The scripts beside this file hold the assertions; each need has its
// Go test, so that `go test ./e2e -run TestD7` proves one. It needs node and npm, PostgreSQL's binaries, no network
// but npm's, and fakes nothing inside the product.
package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// scriptTimeout is for one script with all of its cases.
const scriptTimeout = 5 * time.Minute

// suite is what all tests share: the binaries, and sandboxes and script runs that are made when first asked for.
type suite struct {
	dir      string // temporary, removed at the end unless a test failed
	upstream *upstream
	builds   func() error
	modules  func() error
	main     func() (*sandbox, error) // the mock vendor behind it
	relay    func() (*sandbox, error) // this test's own vendor behind it
	empty    func() (*sandbox, error) // nothing in its ledger yet

	mu      sync.Mutex
	reports map[string]func() (report, error)
	started []*sandbox
}

// report is what a script said: its cases by name, and all of its output.
type report struct {
	cases  map[string]outcome
	output string
	log    string // the sandbox's
}

type outcome struct {
	ok     bool
	reason string
}

// shared is set by TestMain before any test runs; only it starts and stops what it holds.
var shared *suite

func TestMain(m *testing.M) {
	os.Exit(runSuite(m))
}

func runSuite(m *testing.M) int {
	dir, err := os.MkdirTemp("", "p402-e2e-")
	if err == nil {
		err = os.Chmod(dir, 0o711) // the database's own user passes through
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	shared = &suite{dir: dir, upstream: newUpstream(), reports: map[string]func() (report, error){}}
	shared.builds = sync.OnceValue(shared.build)
	shared.modules = sync.OnceValue(shared.install)
	shared.main = sync.OnceValues(func() (*sandbox, error) { return shared.launch("main") })
	shared.relay = sync.OnceValues(func() (*sandbox, error) {
		return shared.launch("relay", "--upstream", shared.upstream.URL+"/v1")
	})
	shared.empty = sync.OnceValues(func() (*sandbox, error) { return shared.launch("empty") })
	code := m.Run()
	for _, s := range shared.started {
		if err := s.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			code = 1
		}
	}
	shared.upstream.Close()
	if code == 0 {
		err = os.RemoveAll(dir)
	} else {
		fmt.Fprintln(os.Stderr, "e2e: logs and screenshots are kept in", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	}
	return code
}

func (s *suite) path(name string) string { return filepath.Join(s.dir, name) }

// build compiles the two binaries as a user would.
func (s *suite) build() error {
	for _, name := range []string{"p402", "p402-sandbox"} {
		out, err := exec.Command("go", "build", "-o", s.path(name), "p402.io/p402/cmd/"+name).CombinedOutput()
		if err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	return nil
}

// install puts the published clients in place as the lock file names them, and again when it names others. No package's own
// scripts are run.
func (s *suite) install() error {
	const stamp = "node_modules/.installed"
	lock, err := os.ReadFile("package-lock.json")
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(stamp); err == nil && bytes.Equal(have, lock) {
		return nil
	}
	out, err := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts").CombinedOutput()
	if err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return os.WriteFile(stamp, lock, 0o644)
}

// launch starts a sandbox that lives until the end of the run.
func (s *suite) launch(name string, extra ...string) (*sandbox, error) {
	if err := s.builds(); err != nil {
		return nil, err
	}
	box, err := newSandbox(s.path("p402-sandbox"), s.path(name), extra...)
	if err != nil {
		return nil, err
	}
	if err := box.start(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = append(s.started, box)
	return box, nil
}

// node runs a script against a sandbox and reads its cases.
func (s *suite) node(box *sandbox, script string, env ...string) (report, error) {
	if err := s.modules(); err != nil {
		return report{}, err
	}
	scratch := filepath.Join(box.dir, "scratch-"+strings.TrimSuffix(script, ".mjs"))
	shots := filepath.Join(scratch, "screenshots")
	if err := os.MkdirAll(shots, 0o700); err != nil {
		return report{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), scriptTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script)
	cmd.Env = append(os.Environ(), "READY="+box.readyPath, "P402="+s.path("p402"), "SCRATCH="+scratch, "SHOTS="+shots,
		"TMPDIR="+scratch, "UPSTREAM="+s.upstream.URL, "NO_COLOR=1")
	cmd.Env = append(cmd.Env, env...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	r := report{cases: readCases(string(out)), output: string(out), log: box.tail()}
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(r.cases) > 0 {
		return r, nil // the cases say what failed
	}
	if err != nil {
		return r, fmt.Errorf("node %s: %w", script, err)
	}
	return r, nil
}

// readCases reads the lines of lib/case.mjs.
func readCases(output string) map[string]outcome {
	cases := map[string]outcome{}
	for _, line := range strings.Split(output, "\n") {
		part := strings.SplitN(line, " ", 5)
		if len(part) < 4 || part[0] != "case" {
			continue
		}
		if _, err := strconv.Atoi(part[3]); err != nil {
			continue
		}
		o := outcome{ok: part[1] == "ok"}
		if len(part) == 5 {
			if err := json.Unmarshal([]byte(part[4]), &o.reason); err != nil {
				o.reason = part[4]
			}
		}
		cases[part[2]] = o
	}
	return cases
}

// report runs a script once, whichever test asks first.
func (s *suite) report(script string, box func() (*sandbox, error)) (report, error) {
	s.mu.Lock()
	once, ok := s.reports[script]
	if !ok {
		once = sync.OnceValues(func() (report, error) {
			b, err := box()
			if err != nil {
				return report{}, err
			}
			return s.node(b, script)
		})
		s.reports[script] = once
	}
	s.mu.Unlock()
	return once()
}

// prove fails the test unless the script's cases of these names passed.
func prove(t *testing.T, script string, names ...string) {
	t.Helper()
	box := shared.main
	switch script {
	case "passthrough.mjs":
		box = shared.relay
	case "pages.mjs":
		box = shared.empty
	}
	r, err := shared.report(script, box)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, r.output, r.log)
	}
	r.prove(t, names...)
}

func (r report) prove(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		switch o, ran := r.cases[name]; {
		case !ran:
			t.Errorf("case %s did not run\n%s\n%s", name, r.output, r.log)
		case !o.ok:
			t.Errorf("case %s:\n%s\n%s", name, o.reason, r.log)
		}
	}
}
