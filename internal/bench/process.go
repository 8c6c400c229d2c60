package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is a unit of /proc's CPU times: USER_HZ, which is 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// cpuOf is the CPU time that processes and all their descendants have used, the ended ones too.
func cpuOf(roots ...int) (time.Duration, error) {
	children, ticks, err := processes()
	if err != nil {
		return 0, err
	}
	var total int64
	for queue := roots; len(queue) > 0; queue = queue[1:] {
		t, alive := ticks[queue[0]]
		if !alive && len(queue) == len(roots) {
			return 0, fmt.Errorf("process %d has ended", queue[0])
		}
		total += t
		queue = append(queue, children[queue[0]]...)
	}
	return time.Duration(total) * clockTick, nil
}

// processes reads /proc: the children of each process, and its ticks with those of children it has waited for.
func processes() (children map[int][]int, ticks map[int]int64, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		return nil, nil, errors.Join(errors.New("no /proc here: the benchmark needs Linux"), err)
	}
	children, ticks = map[int][]int{}, map[int]int64{}
	for _, path := range stats {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile
		}
		text := string(raw)
		pid, _ := strconv.Atoi(text[:strings.IndexByte(text, ' ')])
		field := strings.Fields(text[strings.LastIndexByte(text, ')')+1:]) // the name may hold spaces; what follows may not
		parent, _ := strconv.Atoi(field[1])
		children[parent] = append(children[parent], pid)
		for _, f := range field[11:15] { // utime stime cutime cstime, proc(5)
			n, _ := strconv.ParseInt(f, 10, 64)
			ticks[pid] += n
		}
	}
	return children, ticks, nil
}

// server is a process that serves until it is stopped.
type server struct {
	cmd *exec.Cmd
	url string
}

// startRole starts this program in another role and reads its address.
func startRole(ctx context.Context, role, target string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-role", role, "-target", target)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("start the %s: %w", role, err)
	}
	return &server{cmd: cmd, url: "http://" + strings.TrimSpace(line)}, nil
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait() // it was told to end: how is of no interest
}
