//go:build chaos

// Package crash names the moments at which a process may die and the books must still balance. In the program that is shipped a
// point is nothing at all; in the one that is built for `make chaos-meter` it kills the process when its name is called.
package crash

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Variable says where to die: "NAME" at the first pass, "NAME:7" at the seventh.
const Variable = "P402_TEST_CRASH"

// passes counts how often the chosen point was passed; there is one choice a process.
var passes = new(atomic.Int64)

// Point kills the process, as a power cut would, if this is the chosen place and pass.
func Point(name string) {
	chosen, nth, _ := strings.Cut(os.Getenv(Variable), ":")
	if chosen != name {
		return
	}
	n, err := strconv.ParseInt(nth, 10, 64)
	if err != nil {
		n = 1
	}
	if passes.Add(1) == n {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // nothing runs after it
		select {}
	}
}
