package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"notesd/server/listener"
)

const (
	// acceptGrace is how long requests are still admitted after the listener has closed. A request
	// that had been read by then reaches the pool within that time.
	acceptGrace = 100 * time.Millisecond

	// headerGrace is how long shutdown then waits for a connection without a request. On a busy
	// machine its request may have arrived and not been read.
	headerGrace = time.Second
)

// shutdown shuts the server down in stages. Readiness fails at once. All requests are served for
// another SHUTDOWN_DELAY, and each response closes its connection. Then the listener closes.
// Requests that were read by then are still handled, and later ones get a 503. Running requests
// have SHUTDOWN_TIMEOUT to end.
func (s *Server) shutdown(ln *listener.Listener) error {
	before := s.countAnswers()
	s.router.CloseConnections(true)
	s.deps.Log.Info("shutdown: unready, still serving", "delay_ms", float64(s.cfg.ShutdownDelay.Microseconds())/1000)
	time.Sleep(s.cfg.ShutdownDelay)

	ln.Drain()
	s.router.EndStreams()
	s.deps.Log.Info("shutdown: listener closed", "running", s.router.Counts().Running.Load())
	time.Sleep(acceptGrace)
	s.deps.Pool.Refuse()

	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.ShutdownTimeout)
	defer cancel()
	err := s.deps.Pool.Drain(ctx)
	s.conns.ClosePending(ctx, headerGrace)
	err = errors.Join(err, s.router.WaitAnswers(ctx), s.http.Shutdown(ctx), s.router.WaitStreams(ctx))
	return s.finish(err, before)
}

// finish cuts the running requests if err says that the drain did not complete. It logs the
// shutdown, which began with the counts before.
func (s *Server) finish(err error, before answerCounts) error {
	cut := int64(0)
	if err != nil {
		cut = s.router.Counts().Running.Load()
		err = errors.Join(fmt.Errorf("requests cut after %v: %d", s.cfg.ShutdownTimeout, cut), s.http.Close())
	}
	s.router.LogRejections()
	after := s.countAnswers()
	s.deps.Log.Info("shutdown: done", "answered", after.answered-before.answered-(after.shed-before.shed),
		"shed", after.shed-before.shed, "cut", cut)
	return err
}

// answerCounts has the counts for the last log line: responses, and those of them that were
// rejections by the pool.
type answerCounts struct{ answered, shed int64 }

func (s *Server) countAnswers() answerCounts {
	var shed uint64
	for _, n := range s.deps.Pool.Stats().Rejected {
		shed += n
	}
	return answerCounts{answered: s.router.Counts().Answered.Load(), shed: int64(shed)}
}
