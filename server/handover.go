package server

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"notesd/server/listener"
)

// letGo is how long a process with an heir answers at least before it stops
// accepting, each answer closing its connection: who uses a connection more
// rarely finds it closed, as after every idle time.
const letGo = time.Second

// ErrNoHeir is HandOver's error when the heir died and the server serves on.
var ErrNoHeir = errors.New("the new process ended before this one had let go")

// handover is the way out when another process, the heir, has the listener as
// well and has proved itself fit. Nothing is refused then: what the old process
// does not accept the heir will.
type handover struct {
	stage atomic.Int32
	done  chan struct{} // closed when there is no way back
}

// The stages of a handover: Serve leaves either without an heir or to one.
const (
	withoutHeir int32 = iota
	toHeir
	leftWithoutHeir
)

func (h *handover) begun() bool { return h.stage.Load() == toHeir }

// HandOver has Serve return once all is answered that this process has
// accepted, with the listener left to an heir. For SHUTDOWN_DELAY, a second at
// least, it still accepts, and stays ready. Until then there is a way back:
// when the heir dies, HandOver returns ErrNoHeir and the server serves on as if
// nothing had been. When ctx, which is Serve's, ends meanwhile, the heir has the
// listener; when it has ended before, HandOver returns an error and it has not.
func (s *Server) HandOver(ctx context.Context, heirDied <-chan struct{}) error {
	if ctx.Err() != nil || !s.handover.stage.CompareAndSwap(withoutHeir, toHeir) {
		return errors.New("this process is leaving already")
	}
	s.leaving.Store(true)
	select {
	case <-time.After(max(s.cfg.ShutdownDelay, letGo)):
		close(s.handover.done)
	case <-ctx.Done(): // Serve leaves by itself
	case <-heirDied:
		s.leaving.Store(false)
		s.handover.stage.Store(withoutHeir)
		return ErrNoHeir
	}
	return nil
}

// leaveToHeir is leave for a process whose listener an heir has: it stops
// accepting, serves whatever was accepted, and has SHUTDOWN_TIMEOUT for that.
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
