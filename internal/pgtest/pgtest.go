// Package pgtest gives each test a PostgreSQL database of its own, on one private server a test
// process, cloned from a template that is migrated once.
//
// It never skips: a test that needs a database and cannot get one fails. It is for tests only:
// the private server does not sync to disk.
package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"p402.io/p402/internal/pgembed"
)

// ServerURL is the environment variable that names a server to use instead of a private one: a postgres:// URL whose
// role may create databases. What killed runs left there is dropped by the next run.
const ServerURL = "P402_TEST_DATABASE_URL"

const (
	// startWait covers fetching the binaries over a slow line, the first time.
	startWait = 5 * time.Minute
	// stepWait covers a migration or a clone on a loaded machine.
	stepWait = 2 * time.Minute
	// maxConnections leaves room for many parallel tests with a pool each.
	maxConnections = 300
)

// shared is the one server of this process, started on first use. It is package state because its life is the process's:
// nothing in a test binary runs after the last test, so the server ends by the parent-death signal.
var shared = sync.OnceValues(startServer)

// New returns the URL of a fresh database for this test, cloned from a template on which migrate
// has run once in this process, and drops the database at the test's cleanup, open sessions
// included. migrate may be nil for an empty database; it gets the template's URL and must not
// write what differs between calls. Templates are told apart by function: two closures of one literal share one.
// Safe for parallel tests. Any failure fails the test.
func New(t testing.TB, migrate func(ctx context.Context, url string) error) string {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatalf("test database server: %v", err)
	}
	tpl, err := s.template(migrate)
	if err != nil {
		t.Fatalf("test database template: %v", err)
	}
	name := s.nextName()
	if err := s.exec("CREATE DATABASE " + name + " TEMPLATE " + tpl); err != nil {
		t.Fatalf("test database: %v", err)
	}
	t.Cleanup(func() {
		if err := s.exec("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)"); err != nil {
			t.Errorf("drop test database: %v", err)
		}
	})
	return s.url(name)
}

// server is the server tests use; run names this process in the names of its databases.
type server struct {
	admin  url.URL
	run    string
	number atomic.Int64
	hold   *pgx.Conn // says that run lives; nil on a private server

	mu        sync.Mutex // guards templates
	templates map[uintptr]*template
}

type template struct {
	name string
	once sync.Once
	err  error
}

func startServer() (*server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	if given := os.Getenv(ServerURL); given != "" {
		return useServer(ctx, given)
	}
	dir, err := makeFolder(ctx)
	if err != nil {
		return nil, err
	}
	progress := func(text string) { fmt.Fprintln(os.Stderr, "pgtest:", text) }
	if !testing.Verbose() {
		progress = nil
	}
	private, err := pgembed.Start(ctx, pgembed.Config{Dir: dir, Relaxed: true, MaxConnections: maxConnections, Progress: progress})
	if err != nil {
		return nil, err
	}
	return useServer(ctx, private.URL(""))
}

func newServer(admin string) (*server, error) {
	u, err := url.Parse(admin)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, fmt.Errorf("%s is not a postgres:// URL", ServerURL) // not shown: it holds a password
	}
	return &server{admin: *u, run: newRun(), templates: map[uintptr]*template{}}, nil
}

// template is the name of the database to clone for migrate, made on first use.
func (s *server) template(migrate func(ctx context.Context, url string) error) (string, error) {
	if migrate == nil {
		return "template0", nil
	}
	key := reflect.ValueOf(migrate).Pointer()
	s.mu.Lock()
	tpl, ok := s.templates[key]
	if !ok {
		tpl = &template{name: s.nextName()}
		s.templates[key] = tpl
	}
	s.mu.Unlock()
	tpl.once.Do(func() { tpl.err = s.makeTemplate(tpl.name, migrate) })
	return tpl.name, tpl.err
}

// makeTemplate closes the template to sessions in the end: a clone of a database in use is refused.
func (s *server) makeTemplate(name string, migrate func(ctx context.Context, url string) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), stepWait)
	defer cancel()
	if err := s.exec("CREATE DATABASE " + name + " TEMPLATE template0"); err != nil {
		return err
	}
	if err := migrate(ctx, s.url(name)); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return s.exec(
		"ALTER DATABASE "+name+" ALLOW_CONNECTIONS false",
		"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '"+name+"'", // milliseconds
	)
}

func (s *server) url(name string) string {
	u := s.admin
	u.Path = "/" + name
	return u.String()
}

func (s *server) nextName() string {
	return fmt.Sprintf("%s%s_%d", prefix, s.run, s.number.Add(1))
}

// exec runs statements on a connection of their own: CREATE and DROP DATABASE stand outside
// transactions, and the test's context is over when its cleanup runs.
func (s *server) exec(statements ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), stepWait)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.admin.String())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }() // nothing is pending on it
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}
