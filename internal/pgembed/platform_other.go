//go:build unix && !linux

package pgembed

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent cannot be had here: a server orphaned by kill -9 is ended by the next start.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}

// serversOn lists the living servers started on data. Their children rewrite their command line and are
// not seen; PostgreSQL's own check of the shared memory they hold keeps a second server off.
func serversOn(data string) ([]int, error) {
	out, err := exec.Command("ps", "-A", "-o", "pid=,command=").Output()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for line := range strings.Lines(string(out)) {
		pid, command, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(pid)
		if err == nil && strings.Contains(command, "postgres") && strings.Contains(command, "-D "+data+" ") {
			pids = append(pids, n)
		}
	}
	return pids, nil
}
