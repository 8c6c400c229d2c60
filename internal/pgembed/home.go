//go:build unix

package pgembed

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	// systemHome keeps what a server started by root must reach.
	systemHome = "/var/lib/p402"
	// pointerFile, in Config.Dir, names the folder that holds the data instead of it.
	pointerFile = "location"
	// socketPrefix starts the names of the folders we make for sockets; nothing else is ever removed.
	socketPrefix = "p402-pg-"
	// socketPathMost is the longest path of a socket: 104 bytes with the closing zero on macOS, 108 on Linux (unix(7)).
	socketPathMost = 103
)

// home is the folder of one server: data/, password, postgres.log, lock, socket. Only data belongs to the server's user.
type home struct {
	path  string
	user  account
	moved bool // path is not Config.Dir but where its pointer file leads
}

func (h home) data() string { return filepath.Join(h.path, "data") }

// openHome makes dir and settles where its data lies. Two processes at once come to the same answer.
func openHome(dir string) (home, error) {
	dir, err := realFolder(dir)
	if err != nil {
		return home{}, fmt.Errorf("data folder: %w", err)
	}
	h, err := locate(dir)
	if err != nil || h.user.reaches(h.path) {
		return h, err
	}
	if _, err := os.Lstat(h.data()); err == nil {
		return home{}, fmt.Errorf("%s holds data, but %s, who runs the server, may not pass through the folders above it: allow that (chmod o+x), or move the folder", h.path, h.user.name)
	}
	h.path, err = moveHome(dir, h.user)
	h.moved = true
	return h, err
}

// locate says where the data of an existing folder lies and who runs its server; it makes nothing.
func locate(dir string) (home, error) {
	path, err := followPointer(dir)
	if err != nil {
		return home{}, err
	}
	user, err := accountFor(filepath.Join(path, "data"))
	return home{path: path, user: user, moved: path != dir}, err
}

// realFolder makes dir and resolves its links: processes show their working folder without them.
func realFolder(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("no folder given")
	}
	perm := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		perm = 0o711 // the server's user passes through; what lies inside is closed by itself
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, perm); err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

// followPointer is the folder the pointer file in dir names, made again if it is gone; dir itself if there is none.
func followPointer(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, pointerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return dir, nil
	}
	if err != nil {
		return "", fmt.Errorf("read where the data lies: %w", err)
	}
	path := strings.TrimSpace(string(b))
	// Only places moveHome could have chosen: root must not be led to own folders of others.
	if filepath.Dir(path) != systemHome && !strings.HasPrefix(filepath.Base(path), "p402-") {
		return "", fmt.Errorf("%s names %q, which is no place of ours", filepath.Join(dir, pointerFile), path)
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s says the data lies in %s: %w; bring it back, or delete the file to begin anew", filepath.Join(dir, pointerFile), path, err)
	}
	if err := trusted(path, 0o711); err != nil {
		return "", err
	}
	return path, nil
}

// moveHome picks the folder for dir's data that user can reach and leaves the pointer to it in dir.
func moveHome(dir string, user account) (string, error) {
	sum := sha256.Sum256([]byte(dir))
	id := hex.EncodeToString(sum[:6])
	var tried error
	for _, path := range []string{filepath.Join(systemHome, id), filepath.Join(os.TempDir(), "p402-"+id)} {
		if err := trusted(path, 0o711); err != nil {
			tried = errors.Join(tried, err)
			continue
		}
		if !user.reaches(path) {
			tried = errors.Join(tried, fmt.Errorf("%s cannot be reached", path))
			continue
		}
		return path, writeFile(filepath.Join(dir, pointerFile), path+"\n")
	}
	return "", fmt.Errorf("find a data folder that user %s can reach: %w", user.name, tried)
}

// password reads the server's password, or makes it: before the data, so that none is ever without.
func (h home) password() (string, error) {
	path := filepath.Join(h.path, "password")
	b, err := os.ReadFile(path)
	if err == nil && len(b) > 0 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read database password: %w", err)
	}
	if _, err := os.Stat(h.data()); err == nil {
		return "", fmt.Errorf("%s holds a database but its password file is gone: bring it back, or choose another folder", h.path)
	}
	password := rand.Text()
	return password, writeFile(path, password)
}

// create makes the data folder unless it is there. It is made under another name and renamed when complete.
func (h home) create(ctx context.Context, c Config, bin binaries, password string) error {
	if _, err := os.Stat(h.data()); err == nil {
		return nil
	}
	c.Progress("creating the database in " + h.path)
	unfinished := filepath.Join(h.path, "data.new")
	passwordFile := filepath.Join(h.path, "password.new") // initdb reads it as the server's user
	defer func() { _ = os.Remove(passwordFile) }()        // gone, or overwritten by the next start
	if err := os.RemoveAll(unfinished); err != nil {
		return fmt.Errorf("clear what an interrupted start left: %w", err)
	}
	err := errors.Join(os.Mkdir(unfinished, 0o700), h.user.own(unfinished), writeFile(passwordFile, password))
	if err = errors.Join(err, h.user.own(passwordFile)); err != nil {
		return fmt.Errorf("prepare data folder: %w", err)
	}
	args := []string{"-D", unfinished, "-U", role, "--pwfile=" + passwordFile, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C", "--data-checksums", "--no-instructions"}
	if c.Relaxed {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin.dir, "initdb"), args...)
	h.user.prepare(cmd, h.path)
	// One process group, so that the servers initdb starts end with it.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	dieWithParent(cmd.SysProcAttr, syscall.SIGKILL)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("create database with %s: %w: %s", cmd.Path, err, lastLines(out))
	}
	if err := os.Rename(unfinished, h.data()); err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	return syncFolder(h.path)
}

// empty deletes what we put into the folder, and the folder if nothing else is in it: what a user keeps there stays, and is an error.
func (h home) empty() error {
	names := []string{"data", "data.new", "password", "password.new", "postgres.log", "postgres.log.old", "socket", "lock"}
	for _, name := range []string{".password", ".password.new", ".socket", "." + pointerFile} { // of writes cut short
		cut, _ := filepath.Glob(filepath.Join(h.path, name+"-*")) // the pattern is well formed but for odd folders
		for _, path := range cut {
			names = append(names, filepath.Base(path))
		}
	}
	var err error
	for _, name := range names {
		err = errors.Join(err, os.RemoveAll(filepath.Join(h.path, name)))
	}
	return errors.Join(err, os.Remove(h.path))
}

// major is the major version that made the data; 0 if there is none yet.
func (h home) major() (int, error) {
	b, err := os.ReadFile(filepath.Join(h.data(), "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read version of data folder: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("read version of data folder: %w", err)
	}
	return major, nil
}

// socketDir makes the folder for the socket: with a short path, as sockets need, and the same as last time if that can be.
func (h home) socketDir() (string, error) {
	if name, ok := h.recordedSocketDir(); ok && h.takeSocketDir(name) {
		return name, nil
	}
	var tried error
	for _, base := range []string{os.TempDir(), "/tmp", h.path} {
		name, err := os.MkdirTemp(base, socketPrefix)
		if err != nil {
			tried = errors.Join(tried, err)
			continue
		}
		if len(name)+len("/.s.PGSQL.5432") > socketPathMost || !h.user.reaches(base) {
			tried = errors.Join(tried, fmt.Errorf("%s is too long or cannot be reached", name), os.Remove(name))
			continue
		}
		return name, errors.Join(h.user.own(name), writeFile(filepath.Join(h.path, "socket"), name+"\n"))
	}
	return "", fmt.Errorf("make a folder for the socket (set TMPDIR to a short path): %w", tried)
}

func (h home) recordedSocketDir() (string, bool) {
	b, err := os.ReadFile(filepath.Join(h.path, "socket"))
	name := strings.TrimSpace(string(b))
	return name, err == nil && strings.HasPrefix(filepath.Base(name), socketPrefix)
}

// takeSocketDir makes the folder again or, if it is there, checks that it is still ours.
func (h home) takeSocketDir(name string) bool {
	if err := os.Mkdir(name, 0o700); err == nil {
		return h.user.own(name) == nil
	}
	info, err := os.Lstat(name)
	if err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
		return false
	}
	return info.Sys().(*syscall.Stat_t).Uid == h.user.uid // what os.Lstat returns on every Unix
}
