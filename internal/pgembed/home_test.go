//go:build unix

package pgembed

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root drops to another user")
	}
}

func TestA209_RootRunsTheServerAsAnotherUser(t *testing.T) {
	t.Parallel()
	needRoot(t)
	s := begin(t, Config{Dir: folder(t), Relaxed: true})
	if s.running.process.cmd.SysProcAttr.Credential.Uid == 0 {
		t.Error("the server was started as root")
	}
	st, err := statOf(filepath.Join(s.Folder, "data"))
	if err != nil || st.Uid == 0 {
		t.Errorf("data belongs to root: %v", err)
	}
}

func TestDataOfAFolderNobodyCanReachLiesElsewhere(t *testing.T) {
	t.Parallel()
	needRoot(t)
	parent := t.TempDir()
	if err := os.Chmod(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(parent, "sandbox")
	removeAtEnd(t, dir)
	s := begin(t, Config{Dir: dir})
	if s.Folder == dir {
		t.Fatal("data lies where its user cannot reach it")
	}
	exec1(t, s.URL(""), keep)
	stop(t, s)
	next := begin(t, Config{Dir: dir})
	if next.Folder != s.Folder {
		t.Errorf("second start uses %s, the first %s", next.Folder, s.Folder)
	}
	kept(t, next)
	stop(t, next)
	if err := Remove(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.Folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder elsewhere is left: %v", err)
	}
}

func TestPointerToAFolderOfOthersIsRefused(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"/etc", "/", "relative", filepath.Join(os.TempDir(), "p402-not-there")} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, pointerFile), []byte(target), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Start(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), target) {
			t.Errorf("pointer to %s: %v, want a refusal", target, err)
		}
	}
}

func TestInterruptedFirstStartIsCompleted(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	if err := os.MkdirAll(filepath.Join(dir, "data.new", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	interrupted := Config{Dir: dir, Relaxed: true, Progress: func(text string) {
		if strings.HasPrefix(text, "creating") {
			cancel()
		}
	}}
	if _, err := Start(ctx, interrupted); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want the context's end", err)
	}
	exec1(t, begin(t, Config{Dir: dir, Relaxed: true}).URL(""), keep)
}

func TestLostPasswordIsToldAndDataLeftAlone(t *testing.T) {
	t.Parallel()
	s := begin(t, Config{Dir: folder(t), Relaxed: true})
	stop(t, s)
	if err := os.Remove(filepath.Join(s.Folder, "password")); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Config{Dir: s.Folder}); err == nil || !strings.Contains(err.Error(), "password") {
		t.Errorf("got %v, want a word on the password", err)
	}
}

func TestRemoveLeavesWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mine := filepath.Join(dir, "holiday.jpg")
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Remove(t.Context(), dir); err == nil {
		t.Error("a folder with other things in it was removed")
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}

func TestRemoveRefusesAFolderInUse(t *testing.T) {
	t.Parallel()
	s := begin(t, Config{Dir: folder(t), Relaxed: true})
	if err := Remove(t.Context(), s.Folder); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	exec1(t, s.URL(""), keep)
}

func TestReach(t *testing.T) {
	t.Parallel()
	needRoot(t)
	stranger := account{name: "stranger", drop: true, uid: 4020, gid: 4021}
	rows := []struct {
		name     string
		mode     os.FileMode
		uid, gid int
		want     bool
	}{
		{"open to others", 0o711, 0, 0, true},
		{"closed to others", 0o710, 0, 0, false},
		{"open to its group", 0o710, 0, 4021, true},
		{"its owner alone", 0o700, 4020, 0, true},
		{"closed to its owner: the owner's bits alone count", 0o077, 4020, 0, false},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("", "p402-reach-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			if err := errors.Join(os.Chown(dir, r.uid, r.gid), os.Chmod(dir, r.mode)); err != nil {
				t.Fatal(err)
			}
			if got := stranger.reaches(dir); got != r.want {
				t.Errorf("reaches: %t, want %t", got, r.want)
			}
		})
	}
}
