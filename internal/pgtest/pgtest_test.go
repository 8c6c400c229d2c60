package pgtest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestEachTestHasItsOwnCloneOfATemplateMigratedOnce(t *testing.T) {
	t.Parallel()
	var migrations atomic.Int32
	migrate := func(ctx context.Context, url string) error {
		migrations.Add(1)
		conn, err := pgx.Connect(ctx, url) // left open on purpose: a pool nobody closed must not block clones
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, `CREATE TABLE fruit (name text PRIMARY KEY)`)
		return err
	}
	for range 8 {
		t.Run("clone", func(t *testing.T) {
			t.Parallel()
			conn := connect(t, New(t, migrate))
			if _, err := conn.Exec(t.Context(), `INSERT INTO fruit VALUES ('fig')`); err != nil {
				t.Fatal("a clone is not fresh:", err)
			}
			if n := migrations.Load(); n != 1 {
				t.Errorf("migrated %d times, want once", n)
			}
		})
	}
}

func TestDatabaseIsDroppedAtCleanupWithSessionsOpen(t *testing.T) {
	t.Parallel()
	var url string
	t.Run("inner", func(t *testing.T) {
		url = New(t, nil)
		if _, err := pgx.Connect(t.Context(), url); err != nil { // never closed
			t.Fatal(err)
		}
	})
	if _, err := pgx.Connect(t.Context(), url); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("connect after cleanup: %v, want a database that does not exist", err)
	}
}

func TestDatabaseIsUTF8WithPlainOrderAndUTC(t *testing.T) {
	t.Parallel()
	conn := connect(t, New(t, nil))
	var encoding, collate, zone string
	const q = `SELECT pg_encoding_to_char(encoding), datcollate, current_setting('timezone') FROM pg_database WHERE datname = current_database()`
	if err := conn.QueryRow(t.Context(), q).Scan(&encoding, &collate, &zone); err != nil {
		t.Fatal(err)
	}
	if os.Getenv(ServerURL) == "" && (encoding != "UTF8" || collate != "C" || zone != "UTC") {
		t.Errorf("%s %s %s, want UTF8 C UTC", encoding, collate, zone)
	}
}

func TestDatabasesOfDeadRunsAreDroppedFromAGivenServer(t *testing.T) {
	t.Parallel()
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	base := s.url("p402")
	if given := os.Getenv(ServerURL); given != "" {
		base = given
	}
	dead, err := useServer(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	living, err := useServer(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = living.hold.Close(context.Background()) })
	left, kept := dead.nextName(), living.nextName()
	if err := errors.Join(dead.exec("CREATE DATABASE "+left), living.exec("CREATE DATABASE "+kept), dead.hold.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	gone := false
	for began := time.Now(); !gone && time.Since(began) < 30*time.Second; { // the server hears of a closed connection when it comes to it
		next, err := useServer(t.Context(), base)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = next.hold.Close(context.Background()) })
		db, err := pgx.Connect(t.Context(), s.url(left))
		if gone = err != nil; !gone {
			_ = db.Close(t.Context()) // looked at, nothing pending
		}
	}
	if !gone {
		t.Error("the dead run's database is still there")
	}
	connect(t, s.url(kept))
	t.Cleanup(func() { _ = living.exec("DROP DATABASE " + kept + " WITH (FORCE)") })
}

func TestServerURLMustBeAURL(t *testing.T) {
	t.Parallel()
	_, err := newServer("host=db password=hunter2")
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, want a refusal that does not repeat the password", err)
	}
}

func TestFoldersOfDeadProcessesAreRemoved(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	stale := folder(t, base, gone.Process.Pid)
	mine := folder(t, base, os.Getpid())
	removeStale(t.Context(), base)
	if _, err := os.Stat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stale folder: %v, want it gone", err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Errorf("folder of a living process: %v", err)
	}
}

func folder(t *testing.T, base string, pid int) string {
	t.Helper()
	dir := base + "/" + folderPrefix + strconv.Itoa(pid) + "-1"
	if err := os.MkdirAll(dir+"/data", 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}
