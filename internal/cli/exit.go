package cli

import (
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"notesd/config"
)

const (
	closeTime   = time.Second            // that closing may take beyond SHUTDOWN_DELAY and SHUTDOWN_TIMEOUT
	lastWords   = 100 * time.Millisecond // for writing why the process ends; the pipe may be what is stuck
	stacksBytes = 64 << 10               // of goroutines, at most
)

// An exitGuard ends the process when it is still there after it should have left:
// something is stuck that it waits for, such as a commit to a disk that does not
// answer, or a log that nobody reads. What was acknowledged is on disk by then.
type exitGuard struct {
	limit time.Duration
	err   io.Writer
	exit  func(code int) // nil: the process is somebody else's

	mu    sync.Mutex // guards what follows
	timer *time.Timer
	over  bool
}

func newExitGuard(cfg config.Config, p Process) *exitGuard {
	return &exitGuard{limit: cfg.ShutdownDelay + cfg.ShutdownTimeout + closeTime, err: p.Err, exit: p.Exit}
}

// begin is called when the process begins to leave. Only the first call counts.
func (g *exitGuard) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timer == nil && !g.over && g.exit != nil {
		g.timer = time.AfterFunc(g.limit-lastWords, g.end)
	}
}

// stop is called when nothing is left to wait for.
func (g *exitGuard) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	if g.timer != nil {
		g.timer.Stop()
	}
}

func (g *exitGuard) end() {
	g.mu.Lock()
	over := g.over
	g.mu.Unlock()
	if over {
		return
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		stacks := make([]byte, stacksBytes)
		stacks = stacks[:runtime.Stack(stacks, true)]
		fmt.Fprintf(g.err, "notesd: still not gone %v after it was told to leave: something is stuck. "+
			"The process ends now. Its goroutines are:\n%s\n", g.limit, stacks)
	}()
	select {
	case <-written:
	case <-time.After(lastWords):
	}
	g.exit(1)
}
