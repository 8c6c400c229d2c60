package pgembed

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent makes the kernel send sig to the child when we end, kill -9 included.
func dieWithParent(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }

// serversOn lists the living server processes whose working folder is data: a postmaster goes
// there at its start and its children stay. Processes that have ended and are not yet reaped have no folder.
func serversOn(data string) ([]int, error) {
	names, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		if cwd, err := os.Readlink(name); err != nil || cwd != data {
			continue // gone, or not ours to look at and therefore not ours
		}
		proc := filepath.Dir(name)
		comm, err := os.ReadFile(filepath.Join(proc, "comm"))
		if err != nil || strings.TrimSpace(string(comm)) != "postgres" {
			continue // a shell somebody opened there, say
		}
		if pid, err := strconv.Atoi(filepath.Base(proc)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
