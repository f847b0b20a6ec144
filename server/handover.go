package server

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"notesd/server/listener"
)

// letGo is the minimum time for which a process with an heir keeps accepting connections, while
// each response closes its connection. A client that uses a connection less often finds it closed,
// as after any idle time.
const letGo = time.Second

// ErrNoHeir is HandOver's error if the new process died and the server continues to serve.
var ErrNoHeir = errors.New("the new process ended before this one had let go")

// handover is the state of a shutdown in favor of another process, the heir. The heir shares the
// listener and has proved that it is ready. No connection is refused in this shutdown: the heir
// accepts what the old process does not.
type handover struct {
	stage atomic.Int32
	done  chan struct{} // closed when the handover cannot be undone any more
}

// These are the stages of a handover. Serve shuts down either without an heir or in favor of one.
const (
	withoutHeir int32 = iota
	toHeir
	leftWithoutHeir
)

func (h *handover) begun() bool { return h.stage.Load() == toHeir }

// HandOver makes Serve return once all requests that this process has accepted are answered. The
// listener is left to the heir. For SHUTDOWN_DELAY, and for a second at least, this process still
// accepts connections and stays ready. Until then the handover can be undone: if the heir dies,
// HandOver returns ErrNoHeir and the server continues as before. If ctx, which is Serve's, ends
// during the handover, the heir has the listener. If ctx has ended before, HandOver returns an
// error, and the heir does not have the listener.
func (s *Server) HandOver(ctx context.Context, heirDied <-chan struct{}) error {
	if ctx.Err() != nil || !s.handover.stage.CompareAndSwap(withoutHeir, toHeir) {
		return errors.New("this process is leaving already")
	}
	s.leaving.Store(true)
	select {
	case <-time.After(max(s.cfg.ShutdownDelay, letGo)):
		close(s.handover.done)
	case <-ctx.Done(): // Serve shuts down by itself
	case <-heirDied:
		s.leaving.Store(false)
		s.handover.stage.Store(withoutHeir)
		return ErrNoHeir
	}
	return nil
}

// leaveToHeir is leave for a process whose listener an heir shares. It stops accepting connections
// and answers all requests of accepted connections. It has SHUTDOWN_TIMEOUT for that.
func (s *Server) leaveToHeir(ln *listener.Listener) error {
	before := s.tallyLeaving()
	ln.SetShared()
	ln.Drain()
	s.log.Info("shutdown: listener left to the new process", "running", s.running.Load())
	time.Sleep(lastRequests)

	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.ShutdownTimeout)
	defer cancel()
	s.conns.ClosePending(ctx, lastHeaders)
	err := s.http.Shutdown(ctx)
	return s.finish(errors.Join(err, s.pool.Drain(ctx)), before)
}
