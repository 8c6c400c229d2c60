package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"p402.io/p402/internal/pgembed"
)

// prefix starts the name of every database we make: p402_test_<run>_<number>.
const prefix = "p402_test_"

// folderPrefix starts the name of every folder we make: p402-pgtest-<pid>-<random>.
const folderPrefix = "p402-pgtest-"

func newRun() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

// makeFolder makes the private server's folder, after deleting those of test processes that are gone.
func makeFolder(ctx context.Context) (string, error) {
	removeStale(ctx, os.TempDir())
	dir, err := os.MkdirTemp(os.TempDir(), folderPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return "", fmt.Errorf("make a folder for the test server: %w", err)
	}
	// As root the server runs as somebody else, who must be able to pass. The name is random and just made.
	if err := os.Chmod(dir, 0o711); err != nil {
		return "", fmt.Errorf("open the test server's folder: %w", err)
	}
	return dir, nil
}

// removeStale deletes what dead test processes left. Errors do not matter: another process may be
// at the same folder, and whoever comes next tries again.
func removeStale(ctx context.Context, base string) {
	names, err := filepath.Glob(filepath.Join(base, folderPrefix+"*"))
	if err != nil {
		return // base is an odd pattern; nothing can be found
	}
	for _, name := range names {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(name), folderPrefix), "-")
		n, err := strconv.Atoi(pid)
		if err != nil || alive(n) {
			continue
		}
		_ = pgembed.Remove(ctx, name) // see above; it refuses a folder that is in use
	}
}

// alive reports whether a process of this number exists, whoever owns it.
func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	err = p.Signal(syscall.Signal(0))
	return err == nil || os.IsPermission(err)
}

// useServer takes a given server. Each run holds an advisory lock on its own name for as long as it lives;
// databases of a run whose lock is free are dropped.
func useServer(ctx context.Context, given string) (*server, error) {
	s, err := newServer(given)
	if err != nil {
		return nil, err
	}
	if s.hold, err = pgx.Connect(ctx, given); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", ServerURL, err)
	}
	if _, err := s.hold.Exec(ctx, `SELECT pg_advisory_lock(hashtext($1))`, prefix+s.run); err != nil {
		return nil, fmt.Errorf("mark this run as alive: %w", err)
	}
	return s, s.dropStale(ctx)
}

// dropStale drops the databases of runs that are gone.
func (s *server) dropStale(ctx context.Context) error {
	rows, err := s.hold.Query(ctx, `SELECT datname FROM pg_database WHERE starts_with(datname, $1)`, prefix)
	if err != nil {
		return fmt.Errorf("list test databases: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list test databases: %w", err)
	}
	for _, name := range names {
		run, _, ok := strings.Cut(strings.TrimPrefix(name, prefix), "_")
		if !ok || run == s.run {
			continue
		}
		if err := s.dropIfDead(ctx, prefix+run, name); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) dropIfDead(ctx context.Context, run, name string) error {
	var dead bool
	if err := s.hold.QueryRow(ctx, `SELECT pg_try_advisory_lock(hashtext($1))`, run).Scan(&dead); err != nil || !dead {
		return err
	}
	// Another run may be dropping it as well: IF EXISTS, and the lock is given back in any case.
	_, errDrop := s.hold.Exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
	if _, err := s.hold.Exec(ctx, `SELECT pg_advisory_unlock(hashtext($1))`, run); err != nil {
		return fmt.Errorf("give back the lock of a dead run: %w", err)
	}
	if errDrop != nil {
		return fmt.Errorf("drop %s of a dead run: %w", name, errDrop)
	}
	return nil
}
