//go:build unix

package pgembed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user the server runs as: ourselves, unless we are root, whom PostgreSQL refuses.
type account struct {
	name string
	drop bool // we are root and become uid:gid for the child
	uid  uint32
	gid  uint32
}

// accountFor picks the user for a data folder: the owner of one that exists, so that a folder
// made under one name still starts under root, else postgres, else nobody.
func accountFor(data string) (account, error) {
	if os.Geteuid() != 0 {
		return account{name: "the current user", uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}, nil
	}
	if st, err := statOf(data); err == nil && st.Uid != 0 {
		return account{name: "uid " + strconv.Itoa(int(st.Uid)), drop: true, uid: st.Uid, gid: st.Gid}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(errUID, errGID); err != nil {
			return account{}, fmt.Errorf("ids of user %s: %w", name, err)
		}
		return account{name: name, drop: true, uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return account{}, errors.New("postgres does not run as root and there is neither a user postgres nor nobody: start as another user, or add one")
}

// prepare makes cmd run as the account, in dir, in its own process group so that a Ctrl-C meant for us does
// not stop the server under our feet, and with an environment that holds no locale, time zone or PG* of ours.
func (a account) prepare(cmd *exec.Cmd, dir string) {
	cmd.Dir = dir
	cmd.Env = []string{"LC_ALL=C", "LANG=C", "TZ=UTC", "PATH=" + os.Getenv("PATH")}
	if v, ok := os.LookupEnv("LD_LIBRARY_PATH"); ok { // self-built servers may need it
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+v)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a.drop {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
}

// own gives path to the account.
func (a account) own(path string) error {
	if !a.drop {
		return nil
	}
	if err := os.Lchown(path, int(a.uid), int(a.gid)); err != nil {
		return fmt.Errorf("give to user %s: %w", a.name, err)
	}
	return nil
}

// reaches reports whether the account may pass through dir and every folder above it.
func (a account) reaches(dir string) bool {
	if !a.drop {
		return true
	}
	for {
		st, err := statOf(dir)
		if err != nil {
			return false
		}
		search := os.FileMode(0o001)
		if st.Uid == a.uid {
			search = 0o100
		} else if st.Gid == a.gid {
			search = 0o010
		}
		if os.FileMode(st.Mode)&search == 0 {
			return false
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return true
		}
		dir = parent
	}
}

func statOf(path string) (*syscall.Stat_t, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return info.Sys().(*syscall.Stat_t), nil // what os.Stat returns on every Unix
}

// trusted makes dir with exactly perm, or checks that nobody but us could have put things there. Needed where
// the name can be guessed and the parent is everybody's, as the system's temporary folder is.
func trusted(dir string, perm os.FileMode) error {
	if parent := filepath.Dir(dir); parent != dir {
		if _, err := os.Stat(parent); errors.Is(err, fs.ErrNotExist) {
			if err := trusted(parent, perm); err != nil {
				return err
			}
		}
	}
	if err := os.Mkdir(dir, perm); err == nil {
		return os.Chmod(dir, perm) // whatever the umask took
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t) // what os.Lstat returns on every Unix
	if !info.IsDir() || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a folder that only we can write to: remove it", dir)
	}
	return nil
}
