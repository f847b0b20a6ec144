package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrStarting says that the first attempt to use the database is still under way: to connect, and to
// bring its schema up to date. It is an ErrUnavailable.
var ErrStarting = errors.New("not connected yet")

// state says whether the database may be used, and if not, why.
type state struct {
	started chan struct{} // closed once the database is ready or never will be
	once    sync.Once     // guards the closing of settled

	mu     sync.RWMutex
	why    error // nil: ready
	closed bool  // closed for good: why stays as it is
}

// begin makes a state that is not ready.
func (s *state) begin() {
	s.started = make(chan struct{})
	s.why = fmt.Errorf("%w: %w", ErrUnavailable, ErrStarting)
}

// err returns nil when the database is ready, and otherwise why it is not.
func (s *state) err() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.why
}

// set records why the database is not ready, unless it is closed.
func (s *state) set(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.why = why
	}
}

// endStart ends the start. With nil the database is ready, and with an error it never will be.
func (s *state) endStart(why error) {
	s.set(why)
	s.once.Do(func() { close(s.started) })
}

// hasStarted reports whether the start has ended.
func (s *state) hasStarted() bool {
	select {
	case <-s.started:
		return true
	default:
		return false
	}
}

// close ends the database's use for good.
func (s *state) close() {
	s.endStart(fmt.Errorf("%w: closed", ErrUnavailable))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// wait returns once the start has ended. If ctx ends first, the error is ctx's with the reason why
// the database is not ready.
func (s *state) wait(ctx context.Context) error {
	select {
	case <-s.started:
		return s.err()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ctx.Err(), s.err())
	}
}
