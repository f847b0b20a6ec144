package store

import (
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"notesd/notes"
	"notesd/store/pgnotify"
)

// A Change says what a write alters: one note of an owner's.
type Change = pgnotify.Change

// A Witness hears of every change of notes in time to keep copies of what it
// has read that are never stale in this process, and elsewhere for no longer
// than others can be heard. Its methods don't block and may be called from several
// goroutines.
type Witness interface {
	// Writing says that the changes are about to be committed: from now on, and
	// not before, somebody may see them. done is called once, when they are
	// committed or have failed and before whoever asked for them is told; now are
	// the notes as they have become, without those that are gone. It is called
	// also when nobody knows whether the changes were committed, with none.
	Writing(changes []Change) (done func(now []notes.Note))

	pgnotify.Listener // to what other processes change
}

// lateCommit is how long after its connection broke a COMMIT may still be done.
const lateCommit = 10 * time.Second

// witnessed runs commit, which is about to commit the changes, in the presence of
// the Witness; notes are those that the changes leave.
func (s *Store) witnessed(changes []Change, notes func() []notes.Note, commit func() error) error {
	done := s.witness.Writing(changes)
	err := errors.New("panicked")
	defer func() {
		switch {
		case err == nil:
			done(notes())
		case s.uncertain(err):
			s.uncertainties.add(func() { done(nil) })
		default:
			done(nil)
		}
	}()
	err = commit()
	return err
}

// uncertain reports whether a COMMIT that ended with err may have been done all
// the same: only PostgreSQL, while it is well, says that it was not.
func (s *Store) uncertain(err error) bool {
	if err == nil || !s.postgres {
		return false
	}
	const intervention = "57" // may also end the wait of a COMMIT that is done
	e, ok := errors.AsType[*pgconn.PgError](err)
	return !ok || e.Code[:min(2, len(e.Code))] == intervention
}

// uncertainties are the ends of writes of which nobody knows whether they were committed.
type uncertainties struct {
	mu   sync.Mutex
	ends map[*time.Timer]func()
}

// add has end called when the write must have been committed, if it ever is.
func (u *uncertainties) add(end func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ends == nil {
		u.ends = make(map[*time.Timer]func())
	}
	var timer *time.Timer
	timer = time.AfterFunc(lateCommit, func() { u.end(timer) })
	u.ends[timer] = end
}

// end calls a timer's func unless it was called.
func (u *uncertainties) end(timer *time.Timer) {
	u.mu.Lock()
	end, found := u.ends[timer]
	delete(u.ends, timer)
	u.mu.Unlock()
	if found {
		end()
	}
}

// endAll calls what is left.
func (u *uncertainties) endAll() {
	u.mu.Lock()
	ends := u.ends
	u.ends = nil
	u.mu.Unlock()
	for timer, end := range ends {
		timer.Stop()
		end()
	}
}

// nobody is the Witness of a store that has none.
type nobody struct{}

func (nobody) Writing([]Change) func([]notes.Note) { return func([]notes.Note) {} }
func (nobody) Changed([]Change)                    {}
func (nobody) Revoked(string, string)              {}
func (nobody) Trust(time.Time)                     {}
func (nobody) Forget()                             {}
