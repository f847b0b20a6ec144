package store

import (
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"notesd/notes"
	"notesd/store/pgnotify"
)

// A Change names what a write alters: one note of one owner.
type Change = pgnotify.Change

// An Invalidator is told of every change of notes, for cache invalidation, in time to keep copies
// of what it has read. Copies in the process that makes a change are never stale. Copies in other
// processes are stale only until those processes receive the change, or until they stop trusting
// their copies because they receive nothing (see pgnotify.Notifier). Its methods don't block and
// may be called from several goroutines.
type Invalidator interface {
	// BeginWrite announces that the changes are about to be committed. From now on, and not before,
	// a reader may see them. done is called once, after the commit or its failure, and before the
	// writer gets its result. now has the notes as the commit has left them, without the deleted
	// ones. If the outcome of the commit is unknown, done is called with no notes.
	BeginWrite(changes []Change) (done func(now []notes.Note))

	pgnotify.Listener // reports the changes of other processes
}

// Changes is told of every change of notes once it is committed, and of sessions that end in other
// processes. Event streams wait for both. What it is told comes after the Invalidator was told. Its
// methods don't block and may be called from several goroutines.
type Changes interface {
	// Committed says that changes were committed, by this process or by another one. Changes of
	// one owner may come in another order than that of their numbers. A change whose Seq is 0 may
	// not have been committed at all.
	Committed(changes []Change)

	// Missed says that changes and revocations of other processes may have been missed.
	Missed()

	// SessionRevoked is that of pgnotify.Listener.
	SessionRevoked(key, user string)
}

// observers is an Invalidator that passes on to Changes what other processes announce.
type observers struct {
	Invalidator
	changes Changes
}

func (o observers) Invalidate(changes []Change) {
	o.Invalidator.Invalidate(changes)
	o.changes.Committed(changes)
}

func (o observers) SessionRevoked(key, user string) {
	o.Invalidator.SessionRevoked(key, user)
	o.changes.SessionRevoked(key, user)
}

func (o observers) InvalidateAll() {
	o.Invalidator.InvalidateAll()
	o.changes.Missed()
}

// unknownOutcomeWindow is how long a COMMIT may still take effect after its connection broke.
const unknownOutcomeWindow = 10 * time.Second

// commitInvalidating runs commit, which is about to commit the changes, between the Invalidator's
// BeginWrite and its done, and then tells Changes. notes returns the notes that the changes leave.
// A commit that finds that it has nothing to commit leaves the Seq of its changes 0.
func (s *Store) commitInvalidating(changes []Change, notes func() []notes.Note, commit func() error) error {
	done := s.invalidator.BeginWrite(changes)
	err := errors.New("panicked")
	defer func() {
		switch {
		case err == nil:
			done(notes())
			s.indexChanges(changes)
			if len(changes) > 0 && changes[0].Seq != 0 {
				s.changes.Committed(changes)
			}
		case s.outcomeUnknown(err):
			s.unknownOutcomes.add(func() {
				done(nil)
				s.changes.Committed(withoutNumbers(changes))
			})
		default:
			done(nil)
		}
	}()
	err = commit()
	return err
}

// withoutNumbers returns changes of which it is unknown whether they were committed.
func withoutNumbers(changes []Change) []Change {
	unknown := make([]Change, len(changes))
	for i, c := range changes {
		unknown[i] = Change{Owner: c.Owner, Note: c.Note}
	}
	return unknown
}

// outcomeUnknown reports whether a COMMIT that returned err may have taken effect all the same.
// Only an answer of PostgreSQL, while it is not being stopped, rules that out.
func (s *Store) outcomeUnknown(err error) bool {
	if err == nil || !s.postgres {
		return false
	}
	const intervention = "57" // class 57 may also end the wait of a COMMIT that succeeded
	e, ok := errors.AsType[*pgconn.PgError](err)
	return !ok || e.Code[:min(2, len(e.Code))] == intervention
}

// unknownOutcomes has the pending done calls of commits whose outcome is unknown.
type unknownOutcomes struct {
	mu   sync.Mutex
	ends map[*time.Timer]func()
}

// add schedules end for the time by which the write has been committed, if it ever is.
func (u *unknownOutcomes) add(end func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ends == nil {
		u.ends = make(map[*time.Timer]func())
	}
	var timer *time.Timer
	timer = time.AfterFunc(unknownOutcomeWindow, func() { u.end(timer) })
	u.ends[timer] = end
}

// end calls the timer's function unless it was called already.
func (u *unknownOutcomes) end(timer *time.Timer) {
	u.mu.Lock()
	end, found := u.ends[timer]
	delete(u.ends, timer)
	u.mu.Unlock()
	if found {
		end()
	}
}

// endAll calls the functions that are left.
func (u *unknownOutcomes) endAll() {
	u.mu.Lock()
	ends := u.ends
	u.ends = nil
	u.mu.Unlock()
	for timer, end := range ends {
		timer.Stop()
		end()
	}
}

// noInvalidator is the no-op Invalidator of a store that was opened without one.
type noInvalidator struct{}

func (noInvalidator) BeginWrite([]Change) func([]notes.Note) { return func([]notes.Note) {} }
func (noInvalidator) Invalidate([]Change)                    {}
func (noInvalidator) SessionRevoked(string, string)          {}
func (noInvalidator) LeaseUntil(time.Time)                   {}
func (noInvalidator) InvalidateAll()                         {}

// noChanges is the no-op Changes of a store that was opened without one.
type noChanges struct{}

func (noChanges) Committed([]Change)            {}
func (noChanges) Missed()                       {}
func (noChanges) SessionRevoked(string, string) {}
