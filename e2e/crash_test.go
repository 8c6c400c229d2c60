package e2e_test

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	// crashes is how often the sandbox is killed under load.
	crashes = 3
	// loadLeast and loadMost bound the time between a start and the next kill.
	loadLeast, loadMost = 1500 * time.Millisecond, 4 * time.Second
)

// TestD9_KillUnderLoadLosesNoCallAndNoPayment kills the sandbox, starts it again on the same folder, and then holds the ledger, the
// payments and the chain against what callers and payers saw. The moments are random, the seed is printed.
func TestD9_KillUnderLoadLosesNoCallAndNoPayment(t *testing.T) {
	if err := shared.builds(); err != nil {
		t.Fatal(err)
	}
	if err := shared.modules(); err != nil {
		t.Fatal(err)
	}
	box, err := newSandbox(shared.path("p402-sandbox"), shared.path("crash"))
	if err != nil {
		t.Fatal(err)
	}
	if err := box.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.stop(); err != nil {
			t.Error(err)
		}
	})
	first := box.ready
	facts, stop := filepath.Join(box.dir, "facts.jsonl"), filepath.Join(box.dir, "stop")
	load := startLoad(t, box, facts, stop)

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range crashes {
		time.Sleep(loadLeast + time.Duration(rnd.Int64N(int64(loadMost-loadLeast))))
		box.kill()
		if err := box.start(); err != nil {
			t.Fatal(err)
		}
		if box.ready.APIKey != first.APIKey || box.ready.BaseURL != first.BaseURL {
			t.Fatalf("a second start must go on with the same key and address")
		}
	}
	awaitPaid(t, facts)
	endLoad(t, load, stop)
	// What a crash left open waits for its deadline, minutes ahead; the other tests need not wait for that.
	t.Parallel()
	r, err := shared.node(box, "books.mjs", "OUT="+facts, "CASE_MS=200000")
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, r.output, box.tail())
	}
	t.Log(r.output)
	r.prove(t, "load_was_real", "D9_every_answer_has_its_final_event", "D9_nothing_stays_open", "S6_every_payment_ends",
		"S6_chain_and_books_agree", "S6_nobody_is_asked_twice", "S6_cut_payers_get_their_answer", "S6_receipts_survive")
}

// startLoad runs load.mjs beside the test.
func startLoad(t *testing.T, box *sandbox, facts, stop string) *exec.Cmd {
	t.Helper()
	if err := os.WriteFile(facts, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ready, err := os.ReadFile(box.readyPath) // its own copy: the file is gone while the sandbox is down, and key and address stay
	if err != nil {
		t.Fatal(err)
	}
	readyPath := filepath.Join(box.dir, "load-ready.json")
	if err := os.WriteFile(readyPath, ready, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(box.dir, "load.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() }) // only a log
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "node", "load.mjs")
	cmd.Env = append(os.Environ(), "READY="+readyPath, "OUT="+facts, "STOP="+stop)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// endLoad lets the load finish what it has begun.
func endLoad(t *testing.T, load *exec.Cmd, stop string) {
	t.Helper()
	if err := os.WriteFile(stop, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- load.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("load.mjs: %v", err)
		}
	case <-time.After(60 * time.Second):
		t.Error("load.mjs does not end")
		_ = load.Process.Kill() // it is the test's own, and has failed already
		<-done
	}
}

// awaitPaid lets the load go on until it was real: a slow machine needs longer for the same number of payments.
func awaitPaid(t *testing.T, facts string) {
	t.Helper()
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(loadLeast) {
		raw, err := os.ReadFile(facts)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(raw), `"kind":"paid"`) > 6 {
			return
		}
	}
}
