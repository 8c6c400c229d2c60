//go:build unix

package pgembed

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// process is a started child. err may be read once done is closed.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// startProcess starts cmd from a goroutine that keeps its thread until the child is gone: the kernel
// sends the parent-death signal when the *thread* that started the child ends, not the process
// (prctl(2), PR_SET_PDEATHSIG). ended is called once, before done is closed.
func startProcess(cmd *exec.Cmd, ended func(error)) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		ended(p.err)
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// endGrace is how long a server may take over an immediate shutdown: it gives its own children
// 5 s (SIGKILL_CHILDREN_AFTER_SECS in PostgreSQL's postmaster.c) before it kills them.
const endGrace = 10 * time.Second

// end sends how (SIGINT: fast shutdown, SIGQUIT: immediate) and waits for the child. When ctx
// ends first it goes on to immediate shutdown, then to killing, and reports ctx's error.
func (p *process) end(ctx context.Context, how syscall.Signal) error {
	p.signal(how)
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	}
	p.signal(syscall.SIGQUIT)
	grace := time.NewTimer(endGrace)
	defer grace.Stop()
	select {
	case <-p.done:
	case <-grace.C:
		p.signal(syscall.SIGKILL)
		<-p.done
	}
	return fmt.Errorf("stop postgres: made to end at once, nothing committed is lost: %w", ctx.Err())
}

func (p *process) signal(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s) // an error means it is gone already, which done tells
}
