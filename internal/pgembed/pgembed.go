// Package pgembed runs a private PostgreSQL server for the sandbox and for tests: it finds the
// binaries, makes the data folder, starts the server as a child of this process and ends it with it.
//
// The server can be reached through a Unix socket only, in a folder of its own and with a random
// password; no TCP port is opened, so none can be taken. It never runs as root. What was
// committed survives the death of this process, of the server and of the machine.
//
// It refuses to share: one process per data folder, one major version per data folder. It does
// not upgrade, back up or tune; production brings its own PostgreSQL.
package pgembed

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
)

// Errors a caller may tell apart with errors.Is; the text around them names the folder and the next step.
var (
	// ErrInUse: another living process runs a server on this folder.
	ErrInUse = errors.New("data folder is in use")
	// ErrNoBinaries: PostgreSQL was found nowhere and could not be fetched.
	ErrNoBinaries = errors.New("no PostgreSQL found")
	// ErrOtherMajor: the data folder was made by a major version of which no binaries were found.
	ErrOtherMajor = errors.New("data folder belongs to another major version of PostgreSQL")
	// ErrUnsupported: this operating system has no Unix sockets, users or locks of the kind used here.
	ErrUnsupported = errors.New("private PostgreSQL is not supported on this operating system")
)

// role is the one database role, owner of everything in the private server, and database the one made at the first start.
const (
	role     = "p402"
	database = "p402"
)

// Config says where a private server keeps its data and how it behaves.
type Config struct {
	// Dir keeps everything: data, password, log. It is created, and kept over restarts. When this
	// process is root and the server's user cannot reach Dir, Dir holds a file that says where
	// the data lies instead.
	Dir string
	// Log gets the moves of the server; nil discards them.
	Log *slog.Logger
	// Progress gets one sentence before each step a person may have to wait for; nil discards them.
	Progress func(string)
	// Relaxed gives up durability for speed, for tests only: no fsync, no full page writes, no autovacuum.
	Relaxed bool
	// MaxConnections is the server's limit; 0 means 100.
	MaxConnections int
}

// defaultMaxConnections is PostgreSQL's own default.
const defaultMaxConnections = 100

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = defaultMaxConnections
	}
	return c
}

// Server is a running private server. It ends when Stop is called and, on Linux, when this
// process ends in any way; elsewhere the next Start on the folder ends what was left.
type Server struct {
	// Folder is where data, password and log lie: Config.Dir, or the place its pointer file names.
	Folder string
	// LogFile is the server's own log. It holds no statements and no values.
	LogFile string
	// Version is the server's version as it names itself, e.g. "15.18".
	Version string

	password  string
	socketDir string
	running   *running
}

// Start finds PostgreSQL (fetching it once, if it must), creates the data folder if it is new,
// ends what an earlier process of ours left running on it and starts the server. It returns when
// the server answers and the database "p402" exists. ctx bounds the start only, not the server's life.
//
// Errors: ErrInUse, ErrNoBinaries, ErrOtherMajor, ErrUnsupported, or what the system or the
// server's log said. After an error nothing is left running. A crash in the middle leaves a folder
// that the next Start completes.
func Start(ctx context.Context, c Config) (*Server, error) {
	return start(ctx, c.withDefaults())
}

// URL is the address of a database on the server, password included, as pgx, GORM and psql take
// it; "" means "p402", the one that always exists. It stays valid over restarts as long as the
// system's temporary folder lets it.
func (s *Server) URL(name string) string {
	if name == "" {
		name = database
	}
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(role, s.password),
		Path:     "/" + name,
		RawQuery: url.Values{"host": {s.socketDir}, "sslmode": {"disable"}}.Encode(),
	}
	return u.String()
}

// Stop shuts the server down: sessions are ended, open transactions rolled back, and the call returns
// when the server is gone. When ctx ends first the server is made to end at once, which loses
// nothing committed, and the error says so. Stopping twice is fine.
func (s *Server) Stop(ctx context.Context) error {
	return s.running.stop(ctx)
}

// Remove ends whatever an earlier, dead process left running on dir and deletes dir and all its
// data. ErrInUse if a living process runs a server there. A folder that does not exist is no error.
func Remove(ctx context.Context, dir string) error {
	return remove(ctx, dir)
}
