package server

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"notesd/server/listener"
)

// handoffGrace is the minimum time for which a process with a child keeps accepting connections, while
// each response closes its connection. A client that uses a connection less often finds it closed,
// as after any idle time.
const handoffGrace = time.Second

// ErrChildDied is HandOver's error if the new process died and the server continues to serve.
var ErrChildDied = errors.New("the new process ended before this one had let go")

// handoff is the state of a shutdown in favor of a child process. The child shares the
// listener and has proved that it is ready. No connection is refused in this shutdown: the
// child accepts what the parent does not.
type handoff struct {
	stage atomic.Int32
	done  chan struct{} // closed when the handoff cannot be undone any more
}

// These are the stages of a handoff. Serve shuts down either without a child or in favor of one.
const (
	noChild int32 = iota
	toChild
	leftWithoutChild
)

func (h *handoff) begun() bool { return h.stage.Load() == toChild }

// HandOver makes Serve return once all requests that this process has accepted are answered. The
// listener is left to the child. For SHUTDOWN_DELAY, and for a second at least, this process still
// accepts connections and stays ready. Until then the handoff can be undone: if the child dies,
// HandOver returns ErrChildDied and the server continues as before. If ctx, which is Serve's, ends
// during the handoff, the child has the listener. If ctx has ended before, HandOver returns an
// error, and the child does not have the listener.
func (s *Server) HandOver(ctx context.Context, childDied <-chan struct{}) error {
	if ctx.Err() != nil || !s.handoff.stage.CompareAndSwap(noChild, toChild) {
		return errors.New("this process is leaving already")
	}
	s.router.CloseConnections(true)
	select {
	case <-time.After(max(s.cfg.ShutdownDelay, handoffGrace)):
		close(s.handoff.done)
	case <-ctx.Done(): // Serve shuts down by itself
	case <-childDied:
		s.router.CloseConnections(false)
		s.handoff.stage.Store(noChild)
		return ErrChildDied
	}
	return nil
}

// shutdownForChild is shutdown for a process whose listener a child shares. It stops accepting connections
// and answers all requests of accepted connections. It has SHUTDOWN_TIMEOUT for that.
func (s *Server) shutdownForChild(ln *listener.Listener) error {
	before := s.countAnswers()
	ln.SetShared()
	ln.Drain()
	s.router.EndStreams()
	s.deps.Log.Info("shutdown: listener left to the new process", "running", s.router.Counts().Running.Load())
	time.Sleep(acceptGrace)

	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.ShutdownTimeout)
	defer cancel()
	s.conns.ClosePending(ctx, headerGrace)
	err := errors.Join(s.router.WaitAnswers(ctx), s.http.Shutdown(ctx), s.router.WaitStreams(ctx))
	return s.finish(errors.Join(err, s.deps.Pool.Drain(ctx)), before)
}
