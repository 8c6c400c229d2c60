//go:build unix

package pgembed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// helperDir makes the test binary a process that starts a server on the folder it names, commits a row and waits to be killed.
const helperDir = "P402_PGEMBED_HELPER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		if err := help(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func help(dir string) error {
	ctx := context.Background()
	s, err := Start(ctx, Config{Dir: dir})
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, s.URL(""))
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, `CREATE TABLE kept (n int); INSERT INTO kept VALUES (402)`); err != nil {
		return err
	}
	fmt.Println("committed")
	select {}
}

// folder is a data folder that the server's user can reach, removed with its server in the end.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "p402-embedtest-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	removeAtEnd(t, dir)
	return dir
}

func removeAtEnd(t *testing.T, dir string) {
	t.Cleanup(func() {
		if err := Remove(context.Background(), dir); err != nil {
			t.Errorf("remove %s: %v", dir, err)
		}
	})
}

func begin(t *testing.T, c Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop(context.Background()) }) // mostly stopped already
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func exec1(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func kept(t *testing.T, s *Server) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var n int
	if err := conn.QueryRow(t.Context(), `SELECT n FROM kept`).Scan(&n); err != nil || n != 402 {
		t.Fatalf("committed row: %d, %v", n, err)
	}
}

const keep = `CREATE TABLE kept (n int); INSERT INTO kept VALUES (402)`

func TestA209_CommittedRowSurvivesKillOfTheProcess(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	helper := exec.Command(os.Args[0])
	helper.Env = append(os.Environ(), helperDir+"="+dir)
	helper.Stderr = os.Stderr
	out, err := helper.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "committed\n" {
		t.Fatalf("helper said %q, %v", line, err)
	}
	if _, err := Start(t.Context(), Config{Dir: dir}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint(helper.Process.Pid)) {
		t.Errorf("second process on the folder: %v, want ErrInUse naming the first", err)
	}
	orphan := postmasterPid(filepath.Join(dir, "data"))
	if err := helper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = helper.Wait() // "killed", as it should
	s := begin(t, Config{Dir: dir})
	kept(t, s)
	pids, err := serversOn(filepath.Join(dir, "data"))
	if err != nil || len(pids) == 0 {
		t.Fatalf("servers on the folder: %v, %v", pids, err)
	}
	for _, pid := range pids {
		if pid == orphan {
			t.Error("the killed process's server still runs")
		}
	}
	stop(t, s)
	if pids, err := serversOn(filepath.Join(dir, "data")); err != nil || len(pids) != 0 {
		t.Errorf("servers after Stop: %v, %v", pids, err)
	}
}

func TestA209_OrphanedServerIsEndedAtTheNextStart(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := begin(t, Config{Dir: dir})
	exec1(t, s.URL(""), keep)
	stop(t, s)
	h, err := openHome(dir)
	if err != nil {
		t.Fatal(err)
	}
	bin, err := newFinder(Config{}.withDefaults()).find(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	socketDir, err := h.socketDir()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin.dir, "postgres"), settings(Config{}.withDefaults(), h, socketDir)...)
	h.user.prepare(cmd, h.data())
	orphan, err := startProcess(cmd, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	alone := &Server{password: s.password, socketDir: socketDir, running: &running{process: orphan}}
	if err := alone.ready(t.Context(), Config{}.withDefaults()); err != nil {
		t.Fatal(err)
	}
	next := begin(t, Config{Dir: dir})
	select {
	case <-orphan.done:
	default:
		t.Error("two servers on one folder")
	}
	kept(t, next)
}

func TestA209_KilledServerRecovers(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := begin(t, Config{Dir: dir})
	exec1(t, s.URL(""), keep)
	s.running.stopping.Store(true) // no error in the log
	if err := s.running.process.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.running.process.done
	stop(t, s)
	kept(t, begin(t, Config{Dir: dir}))
}

func TestA209_PidFileOfAStrangerIsNoServer(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := begin(t, Config{Dir: dir, Relaxed: true})
	exec1(t, s.URL(""), keep)
	path := filepath.Join(s.Folder, "data", "postmaster.pid")
	pidFile, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	_, rest, _ := strings.Cut(string(pidFile), "\n")
	stranger := exec.Command("sleep", "600")
	h, err := openHome(dir)
	if err != nil {
		t.Fatal(err)
	}
	h.user.prepare(stranger, "/") // the same user: PostgreSQL ignores processes of others
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stranger.Process.Kill(); _ = stranger.Wait() })
	if err := os.WriteFile(path, fmt.Appendf(nil, "%d\n%s", stranger.Process.Pid, rest), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.user.own(path); err != nil {
		t.Fatal(err)
	}
	kept(t, begin(t, Config{Dir: dir, Relaxed: true}))
	if err := stranger.Process.Signal(syscall.Signal(0)); err != nil {
		t.Error("the stranger was ended:", err)
	}
}

func TestA209_FolderOfAnotherMajorVersionIsRefusedAndLeftAlone(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := begin(t, Config{Dir: dir, Relaxed: true})
	exec1(t, s.URL(""), keep)
	stop(t, s)
	path := filepath.Join(s.Folder, "data", "PG_VERSION")
	right, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("13\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), Config{Dir: dir, Relaxed: true})
	if !errors.Is(err, ErrOtherMajor) || !strings.Contains(err.Error(), binFolder) {
		t.Errorf("got %v, want ErrOtherMajor with a next step", err)
	}
	if err := os.WriteFile(path, right, 0o600); err != nil {
		t.Fatal(err)
	}
	kept(t, begin(t, Config{Dir: dir, Relaxed: true}))
}

func TestSecondStartKeepsDataAndAddress(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := begin(t, Config{Dir: dir})
	exec1(t, s.URL(""), keep)
	stop(t, s)
	stop(t, s) // twice is fine
	next := begin(t, Config{Dir: dir})
	kept(t, next)
	if s.URL("") != next.URL("") {
		t.Error("the address has changed")
	}
	info, err := os.Stat(filepath.Join(next.Folder, "password"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("password file: %v, %v, want mode 0600", info, err)
	}
}

func TestTwoServersSideBySide(t *testing.T) {
	t.Parallel()
	a := begin(t, Config{Dir: folder(t), Relaxed: true})
	b := begin(t, Config{Dir: folder(t), Relaxed: true})
	exec1(t, a.URL(""), keep)
	exec1(t, b.URL(""), keep) // would exist already, were they one
	stop(t, a)
	kept(t, b)
}

func TestNobodyGetsInWithoutThePassword(t *testing.T) {
	t.Parallel()
	s := begin(t, Config{Dir: folder(t), Relaxed: true})
	for _, wrong := range []string{"", "p402"} {
		other := &Server{password: wrong, socketDir: s.socketDir}
		if _, err := pgx.Connect(t.Context(), other.URL("")); err == nil {
			t.Errorf("password %q was taken", wrong)
		}
	}
	conn, err := pgx.Connect(t.Context(), s.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var listen, zone, encoding string
	const q = `SELECT current_setting('listen_addresses'), current_setting('timezone'), current_setting('server_encoding')`
	if err := conn.QueryRow(t.Context(), q).Scan(&listen, &zone, &encoding); err != nil || listen != "" || zone != "UTC" || encoding != "UTF8" {
		t.Errorf("listens on %q, zone %s, encoding %s, %v", listen, zone, encoding, err)
	}
}

// Part of A165: whatever a statement holds, the server's log does not get it.
func TestA165_ServerLogHoldsNoValues(t *testing.T) {
	t.Parallel()
	const canary = "canary-7c1e"
	s := begin(t, Config{Dir: folder(t), Relaxed: true})
	conn, err := pgx.Connect(t.Context(), s.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), `CREATE TABLE seen (s text PRIMARY KEY)`); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err = conn.Exec(t.Context(), `INSERT INTO seen VALUES ($1)`, canary)
	}
	if err == nil {
		t.Fatal("the second insert passed")
	}
	if _, err := conn.Exec(t.Context(), `SELECT '`+canary+`' FROM nowhere`); err == nil {
		t.Fatal("a table that is not there was read")
	}
	log, err := os.ReadFile(s.LogFile)
	if err != nil || !strings.Contains(string(log), "nowhere") {
		t.Errorf("log does not tell of the error: %v", err)
	}
	if strings.Contains(string(log), canary) {
		t.Errorf("log holds a value:\n%s", log)
	}
}

func TestStopWhoseTimeIsUpEndsTheServerAtOnce(t *testing.T) {
	t.Parallel()
	s := begin(t, Config{Dir: folder(t), Relaxed: true})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Stop(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if pids, err := serversOn(filepath.Join(s.Folder, "data")); err != nil || len(pids) != 0 {
		t.Errorf("servers after Stop: %v, %v", pids, err)
	}
}
