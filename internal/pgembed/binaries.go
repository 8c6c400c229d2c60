//go:build unix

package pgembed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// leastMajor is the oldest PostgreSQL we run on: docs and migrations are written for 15 or later.
const leastMajor = 15

// binFolder is the variable that names the folder of the binaries; "npm" means the npm package, whatever else is there.
const binFolder = "P402_PG_BIN"

// systemFolders is where packages put the server when it is not in PATH.
var systemFolders = []string{
	"/usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
	"/usr/pgsql-*/bin",                                   // PostgreSQL's own packages for Red Hat
	"/usr/lib/postgresql*/bin",                           // SUSE
	"/usr/libexec/postgresql*",                           // Alpine
	"/opt/homebrew/opt/postgresql@*/bin",                 // Homebrew, Apple silicon
	"/usr/local/opt/postgresql@*/bin",                    // Homebrew, Intel
	"/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
	"/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin", // from source; PATH may lack them
	"/opt/homebrew/bin", "/home/linuxbrew/.linuxbrew/bin", // Homebrew's links
}

// binaries is a folder with postgres and initdb that run as the server's user.
type binaries struct {
	dir     string
	version string
	major   int
}

// finder is where to look; a value of its own so that a test can hide what the system has.
type finder struct {
	explicit string   // folder given by the user, or "npm"
	path     string   // as PATH
	folders  []string // patterns
	cache    string   // for the npm package; "" means the user's cache folder
	progress func(string)
}

func newFinder(c Config) finder {
	return finder{explicit: os.Getenv(binFolder), path: os.Getenv("PATH"), folders: systemFolders, progress: c.Progress}
}

// find picks binaries for the home: of the version that made its data, if there is data.
func (f finder) find(ctx context.Context, h home) (binaries, error) {
	want, err := h.major()
	if err != nil {
		return binaries{}, err
	}
	found, refused := f.search(ctx, h.user)
	for _, b := range found {
		if want == 0 || b.major == want {
			return b, nil
		}
	}
	if f.explicit != "" && f.explicit != "npm" {
		if len(found) > 0 {
			return binaries{}, otherMajor(h, want, found)
		}
		return binaries{}, fmt.Errorf("%w in %s (%s): %w", ErrNoBinaries, f.explicit, binFolder, refused)
	}
	if want != 0 && want != packageMajor {
		return binaries{}, otherMajor(h, want, found)
	}
	b, err := f.fetched(ctx, h.user)
	if err != nil {
		return binaries{}, fmt.Errorf("%w: %w; install PostgreSQL %d or later, or name the folder of its programs in %s",
			ErrNoBinaries, errors.Join(refused, err), leastMajor, binFolder)
	}
	if want != 0 && b.major != want {
		return binaries{}, otherMajor(h, want, []binaries{b})
	}
	return b, nil
}

func otherMajor(h home, want int, found []binaries) error {
	have := make([]string, 0, len(found))
	for _, b := range found {
		have = append(have, b.version+" in "+b.dir)
	}
	if len(have) == 0 {
		have = []string{"none"}
	}
	return fmt.Errorf("%w: %s was made by PostgreSQL %d, found: %s; install %d, name its folder in %s, or choose another data folder",
		ErrOtherMajor, h.data(), want, strings.Join(have, ", "), want, binFolder)
}

// search probes the given folder alone, or PATH and then the system's folders, highest version
// first. The error says what was wrong with folders that have a postgres but cannot be used.
func (f finder) search(ctx context.Context, user account) ([]binaries, error) {
	switch f.explicit {
	case "":
	case "npm":
		return nil, nil
	default:
		b, err := probe(ctx, f.explicit, user)
		if err != nil {
			return nil, err
		}
		return []binaries{b}, nil
	}
	fromPath, errPath := probeAll(ctx, filepath.SplitList(f.path), user)
	var dirs []string
	for _, pattern := range f.folders {
		names, _ := filepath.Glob(pattern) // the patterns are constants and well formed
		dirs = append(dirs, names...)
	}
	fromSystem, errSystem := probeAll(ctx, dirs, user)
	slices.SortStableFunc(fromSystem, func(a, b binaries) int { return b.major - a.major })
	return append(fromPath, fromSystem...), errors.Join(errPath, errSystem)
}

func probeAll(ctx context.Context, dirs []string, user account) ([]binaries, error) {
	var found []binaries
	var refused error
	seen := map[string]bool{}
	for _, dir := range dirs {
		real, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
		if err != nil || seen[real] {
			continue
		}
		seen[real] = true
		b, err := probe(ctx, filepath.Dir(real), user)
		if err != nil {
			refused = errors.Join(refused, err)
			continue
		}
		found = append(found, b)
	}
	return found, refused
}

// probe checks that dir has both programs and that the server runs as user and is new enough.
func probe(ctx context.Context, dir string, user account) (binaries, error) {
	real, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
	if err != nil {
		return binaries{}, err
	}
	dir = filepath.Dir(real) // initdb looks for its neighbours where the file really is
	if _, err := exec.LookPath(filepath.Join(dir, "initdb")); err != nil {
		return binaries{}, fmt.Errorf("postgres without initdb in %s: %w", dir, err)
	}
	cmd := exec.CommandContext(ctx, real, "--version")
	user.prepare(cmd, "/")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return binaries{}, fmt.Errorf("run %s as %s: %w: %s", real, user.name, err, lastLines(out))
	}
	fields := strings.Fields(string(out)) // postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
	if len(fields) < 3 {
		return binaries{}, fmt.Errorf("%s --version says %q", real, out)
	}
	version := fields[2]
	digits := len(version) - len(strings.TrimLeft(version, "0123456789")) // also 19beta1, 20devel
	major, err := strconv.Atoi(version[:digits])
	if err != nil {
		return binaries{}, fmt.Errorf("%s --version says %q: %w", real, out, err)
	}
	if major < leastMajor {
		return binaries{}, fmt.Errorf("%s is PostgreSQL %s, too old: %d or later is needed", real, version, leastMajor)
	}
	return binaries{dir: dir, version: version, major: major}, nil
}
