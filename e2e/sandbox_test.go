package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// startTimeout allows for a first start: a new database, a new chain, its contracts.
	startTimeout = 90 * time.Second
	// stopTimeout is what a clean stop may take before it counts as a hang.
	stopTimeout = 30 * time.Second
	logTail     = 12_000 // bytes of the sandbox's log that a failure shows
)

// ready is the part of the ready file that the Go side reads; the scripts read the file itself.
type ready struct {
	BaseURL string `json:"base_url"`
	APIKey  string `json:"api_key"`
	PID     int    `json:"pid"`
}

// sandbox is one running p402-sandbox on its own folder.
type sandbox struct {
	binary    string
	dir       string // holds data/, ready.json and printed.log
	listen    string
	extra     []string
	cmd       *exec.Cmd
	exited    chan error
	ready     ready
	readyPath string
}

// newSandbox makes the folder and picks a free port, which a second start of the same sandbox uses again.
func newSandbox(binary, dir string, extra ...string) (*sandbox, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil { // the database's own user passes through
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return &sandbox{binary: binary, dir: dir, listen: l.Addr().String(), extra: extra, readyPath: filepath.Join(dir, "ready.json")}, nil
}

func (s *sandbox) dataDir() string { return filepath.Join(s.dir, "data") }

// logPath is the structured log; printedPath what a person would have read in the terminal.
func (s *sandbox) logPath() string     { return filepath.Join(s.dataDir(), "sandbox.log") }
func (s *sandbox) printedPath() string { return filepath.Join(s.dir, "printed.log") }

// start runs the sandbox and returns once its ready file is there. The log of earlier starts is kept.
func (s *sandbox) start() error {
	if err := os.Remove(s.readyPath); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	log, err := os.OpenFile(s.printedPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own handle
	s.cmd = exec.Command(s.binary, append([]string{"--listen", s.listen, "--data", s.dataDir(), "--ready-file", s.readyPath}, s.extra...)...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.exited = make(chan error, 1)
	go func() { s.exited <- s.cmd.Wait() }()
	if err := s.awaitReady(); err != nil {
		s.kill()
		return fmt.Errorf("%w\n%s", err, s.tail())
	}
	return nil
}

func (s *sandbox) awaitReady() error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(startTimeout)
	for {
		select {
		case err := <-s.exited:
			s.exited <- err
			return fmt.Errorf("p402-sandbox ended before it was ready: %v", err)
		case <-late:
			return fmt.Errorf("p402-sandbox is not ready after %s", startTimeout)
		case <-tick.C:
			raw, err := os.ReadFile(s.readyPath)
			if err != nil {
				continue
			}
			if err := json.Unmarshal(raw, &s.ready); err != nil {
				return fmt.Errorf("the ready file must appear whole: %w: %q", err, raw)
			}
			return nil
		}
	}
}

// stop asks for a clean end, which must come with exit code 0.
func (s *sandbox) stop() error {
	if s == nil || s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-s.exited:
		s.exited <- err
		if err != nil {
			return fmt.Errorf("p402-sandbox did not stop cleanly: %w\n%s", err, s.tail())
		}
		return nil
	case <-time.After(stopTimeout):
		s.kill()
		return fmt.Errorf("p402-sandbox did not stop within %s\n%s", stopTimeout, s.tail())
	}
}

// kill ends the sandbox at once, as a power cut would, and waits until it is gone. Its database is left to itself.
func (s *sandbox) kill() {
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return
	}
	err := <-s.exited
	s.exited <- err
}

// tail is the end of the log, for a failure's message.
func (s *sandbox) tail() string {
	if s == nil {
		return ""
	}
	out := ""
	for _, path := range []string{s.printedPath(), s.logPath()} {
		raw, err := os.ReadFile(path)
		if err != nil {
			raw = []byte(err.Error())
		}
		out += "--- " + filepath.Base(path) + " ends so:\n" + strings.TrimSpace(string(raw[max(len(raw)-logTail, 0):])) + "\n"
	}
	return out
}
