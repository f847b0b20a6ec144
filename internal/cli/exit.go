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
	closeTime   = time.Second            // for closing, after SHUTDOWN_DELAY and SHUTDOWN_TIMEOUT
	lastWords   = 100 * time.Millisecond // for printing why the process ends; the output itself may block
	stacksBytes = 64 << 10               // bytes of goroutines' stacks, at most
)

// An exitGuard ends a process that is still running when its time to shut down is over. The process
// is then waiting for something that is stuck, such as a commit to a disk that does not respond, or
// a log that no process reads. Every acknowledged write is on disk by then.
type exitGuard struct {
	limit time.Duration
	err   io.Writer
	exit  func(code int) // nil: the process must not end

	mu    sync.Mutex // guards what follows
	timer *time.Timer
	over  bool
}

func newExitGuard(cfg config.Config, p Process) *exitGuard {
	return &exitGuard{limit: cfg.ShutdownDelay + cfg.ShutdownTimeout + closeTime, err: p.Err, exit: p.Exit}
}

// begin is called when the process begins to shut down. Only the first call counts.
func (g *exitGuard) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timer == nil && !g.over && g.exit != nil {
		g.timer = time.AfterFunc(g.limit-lastWords, g.end)
	}
}

// stop is called when the process waits for nothing more.
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
