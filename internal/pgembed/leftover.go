//go:build unix

package pgembed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	leftoverPoll = 20 * time.Millisecond
	// leftoverPatience is how long each step may take: asked to stop, made to stop, killed.
	leftoverPatience = 10 * time.Second
)

// takeLock makes this process the only one on the folder. The kernel frees the lock when we end, however that happens.
func takeLock(folder string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder := make([]byte, 20) // the longest decimal of 64 bits
		n, _ := f.ReadAt(holder, 0)
		_ = f.Close() // nothing was written
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: process %s runs a server on %s; stop it or choose another folder",
				ErrInUse, strings.TrimSpace(string(holder[:n])), folder)
		}
		return nil, fmt.Errorf("lock data folder %s: %w", folder, err)
	}
	if err := errors.Join(f.Truncate(0), writeAt(f, strconv.Itoa(os.Getpid()))); err != nil {
		_ = f.Close() // the write has failed already
		return nil, fmt.Errorf("lock data folder %s: %w", folder, err)
	}
	return f, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// endLeftover ends servers that a dead process of ours left on data. We hold the folder's lock, so
// whoever started them is gone. Orders: fast shutdown, then immediate, then killing; each leaves a
// folder that recovers.
func endLeftover(ctx context.Context, c Config, data string) error {
	pids, err := serversOn(data)
	if err != nil {
		return err
	}
	if len(pids) > 0 {
		c.Log.WarnContext(ctx, "ending a server left by an earlier run", "folder", data)
		c.Progress("waiting for the PostgreSQL of an earlier run to end")
	}
	postmaster := postmasterPid(data)
	for _, step := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		for _, pid := range pids {
			if step == syscall.SIGINT && pid != postmaster && slices.Contains(pids, postmaster) {
				continue // the postmaster stops its children in good order
			}
			_ = syscall.Kill(pid, step) // gone is what we want
		}
		if pids, err = awaitNone(ctx, data); err != nil {
			return err
		}
		if len(pids) == 0 {
			return disownPidFile(data)
		}
	}
	return fmt.Errorf("%w: processes %v of an earlier run hold %s and cannot be ended", ErrInUse, pids, data)
}

func awaitNone(ctx context.Context, data string) ([]int, error) {
	patience := time.NewTimer(leftoverPatience)
	defer patience.Stop()
	tick := time.NewTicker(leftoverPoll)
	defer tick.Stop()
	for {
		pids, err := serversOn(data)
		if err != nil || len(pids) == 0 {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the server of an earlier run: %w", ctx.Err())
		case <-patience.C:
			return pids, nil
		case <-tick.C:
		}
	}
}

// postmasterPid is the first line of the server's pid file; 0 if there is none.
func postmasterPid(data string) int {
	b, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return 0
	}
	return pid
}

// disownPidFile copes with a stale pid file whose number now belongs to a stranger, as happens in
// containers: PostgreSQL would take the stranger for a server. The file is not deleted, as its later lines let
// PostgreSQL check for children that still hold the old shared memory. Instead it gets our own
// number, which PostgreSQL knows to ignore: a server never shares a folder with its parent (CreateLockFile in miscinit.c).
func disownPidFile(data string) error {
	path := filepath.Join(data, "postmaster.pid")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read stale pid file: %w", err)
	}
	_, rest, _ := strings.Cut(string(b), "\n")
	// In place, not by renaming: the file must keep its owner.
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"+rest), 0o600); err != nil {
		return fmt.Errorf("rewrite stale pid file: %w", err)
	}
	return nil
}
