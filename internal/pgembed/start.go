//go:build unix

package pgembed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// readyWait bounds the wait for the first answer. Replaying the log after a crash is what takes
	// time: at most max_wal_size (1 GB) of it, well within this on a slow disk.
	readyWait = 5 * time.Minute
	// readyPoll is how often the socket is tried meanwhile; small, as a start takes some 100 ms.
	readyPoll = 20 * time.Millisecond
	// logKept is the size from which the log of earlier runs is put aside at a start.
	logKept = 10 << 20
)

// running is everything of a started server that must be given back.
type running struct {
	process   *process
	lock      *os.File
	socketDir string
	log       *slog.Logger
	stopping  atomic.Bool
}

func start(ctx context.Context, c Config) (*Server, error) {
	h, err := openHome(c.Dir)
	if err != nil {
		return nil, err
	}
	lock, err := takeLock(h.path)
	if err != nil {
		return nil, err
	}
	s, err := startLocked(ctx, c, h, lock)
	if err != nil {
		_ = lock.Close() // only a lock: nothing was written
		return nil, err
	}
	return s, nil
}

func startLocked(ctx context.Context, c Config, h home, lock *os.File) (*Server, error) {
	if h.moved {
		c.Log.WarnContext(ctx, "data kept elsewhere: the server's user cannot reach the folder", "folder", c.Dir, "kept_in", h.path)
	}
	if err := endLeftover(ctx, c, h.data()); err != nil {
		return nil, err
	}
	bin, err := newFinder(c).find(ctx, h)
	if err != nil {
		return nil, err
	}
	password, err := h.password()
	if err != nil {
		return nil, err
	}
	if err := h.create(ctx, c, bin, password); err != nil {
		return nil, err
	}
	socketDir, err := h.socketDir()
	if err != nil {
		return nil, err
	}
	s := &Server{
		Folder: h.path, LogFile: filepath.Join(h.path, "postgres.log"), Version: bin.version,
		password: password, socketDir: socketDir,
		running: &running{lock: lock, socketDir: socketDir, log: c.Log},
	}
	if err := s.launch(ctx, c, h, bin); err != nil {
		_ = os.Remove(socketDir) // empty, or the next start uses it again
		return nil, err
	}
	c.Log.InfoContext(ctx, "postgres started", "version", bin.version, "folder", h.path)
	return s, nil
}

// launch starts the server and waits until it answers and has its database.
func (s *Server) launch(ctx context.Context, c Config, h home, bin binaries) error {
	logFile, err := openLog(s.LogFile)
	if err != nil {
		return err
	}
	defer func() { _ = logFile.Close() }() // the server has its own copy
	logStart, err := logFile.Seek(0, 2)
	if err != nil {
		return fmt.Errorf("open postgres log: %w", err)
	}
	cmd := exec.Command(filepath.Join(bin.dir, "postgres"), settings(c, h, s.socketDir)...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	h.user.prepare(cmd, h.data())
	// Fast shutdown leaves a clean folder; a relaxed one is thrown away, so let it go at once.
	farewell := syscall.SIGINT
	if c.Relaxed {
		farewell = syscall.SIGQUIT
	}
	dieWithParent(cmd.SysProcAttr, farewell)
	if s.running.process, err = startProcess(cmd, s.running.ended); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	if err := s.ready(ctx, c); err != nil {
		s.running.stopping.Store(true)
		quit, cancel := context.WithTimeout(context.WithoutCancel(ctx), endGrace)
		defer cancel()
		_ = s.running.process.end(quit, syscall.SIGQUIT) // the start's error says more
		if said := logTail(s.LogFile, logStart); said != "" {
			return fmt.Errorf("start postgres: %w; its log %s says: %s", err, s.LogFile, said)
		}
		return fmt.Errorf("start postgres: %w; see its log %s", err, s.LogFile)
	}
	return nil
}

// settings are given on the command line so that they hold for folders of every age. Those that
// concern the log keep statements, parameters and key values out of it: it may say what went
// wrong, never with which data.
func settings(c Config, h home, socketDir string) []string {
	set := []string{
		"listen_addresses=", "unix_socket_directories=" + socketDir, "unix_socket_permissions=0700", "port=5432",
		"max_connections=" + strconv.Itoa(c.MaxConnections), "shared_buffers=128MB", "max_wal_size=1GB",
		"wal_level=replica", "jit=off", "timezone=UTC", "log_timezone=UTC",
		"logging_collector=off", "log_destination=stderr", "log_statement=none", "log_min_duration_statement=-1",
		"log_min_error_statement=panic", "log_error_verbosity=terse",
		"log_parameter_max_length=0", "log_parameter_max_length_on_error=0",
	}
	if c.Relaxed {
		set = append(set, "fsync=off", "full_page_writes=off", "synchronous_commit=off", "autovacuum=off")
	} else {
		set = append(set, "fsync=on", "full_page_writes=on", "synchronous_commit=on", "autovacuum=on")
	}
	args := []string{"-D", h.data()}
	for _, s := range set {
		args = append(args, "-c", s)
	}
	return args
}

// ready waits until the server answers and makes the default database if it is not there.
func (s *Server) ready(ctx context.Context, c Config) error {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for polls := 0; ; polls++ {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			return makeDatabase(ctx, conn)
		}
		if polls == 100 { // about two seconds
			c.Progress("waiting for PostgreSQL to recover its data")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for an answer: %w (last: %w)", ctx.Err(), err)
		case <-s.running.process.done:
			return fmt.Errorf("it ended: %w", s.running.process.err)
		case <-tick.C:
		}
	}
}

func makeDatabase(ctx context.Context, conn *pgx.Conn) error {
	defer func() { _ = conn.Close(ctx) }() // nothing is pending on it
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)`, database).Scan(&there); err != nil {
		return fmt.Errorf("look for database %s: %w", database, err)
	}
	if there {
		return nil
	}
	if _, err := conn.Exec(ctx, `CREATE DATABASE `+database); err != nil {
		return fmt.Errorf("create database %s: %w", database, err)
	}
	return nil
}

// ended is called once, when the server's process is gone.
func (r *running) ended(err error) {
	if !r.stopping.Load() {
		r.log.Error("postgres ended by itself", "err", err)
	}
}

func (r *running) stop(ctx context.Context) error {
	r.stopping.Store(true)
	err := r.process.end(ctx, syscall.SIGINT)
	_ = os.Remove(r.socketDir)                                        // empty by now, and the next start copes if not
	if e := r.lock.Close(); e != nil && !errors.Is(e, os.ErrClosed) { // closed: stopped before
		err = errors.Join(err, fmt.Errorf("release lock: %w", e))
	}
	return err
}

func remove(ctx context.Context, dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return fmt.Errorf("remove data folder: %w", err)
	}
	h, err := locate(dir)
	if err != nil {
		return err
	}
	lock, err := takeLock(h.path)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // only a lock
	if err := endLeftover(ctx, Config{}.withDefaults(), h.data()); err != nil {
		return err
	}
	if name, ok := h.recordedSocketDir(); ok {
		err = os.RemoveAll(name)
	}
	if err = errors.Join(err, h.empty()); err != nil || !h.moved {
		return err
	}
	return errors.Join(os.Remove(filepath.Join(dir, pointerFile)), os.Remove(dir))
}

// openLog opens the server's log for appending; a long one of earlier runs is put aside first.
func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > logKept {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, fmt.Errorf("put old postgres log aside: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open postgres log: %w", err)
	}
	return f, nil
}

// logTail is what the server said last since offset, in one line; "" if it said nothing.
func logTail(path string, offset int64) string {
	const most = 1 << 10
	b, err := os.ReadFile(path)
	if err != nil || int64(len(b)) <= offset {
		return ""
	}
	b = b[max(offset, int64(len(b)-most)):]
	return strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", " | ")
}
