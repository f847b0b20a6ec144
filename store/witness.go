package store

import "time"

// A Change says what a write alters: one note of an owner's.
type Change struct{ Owner, Note string }

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
	Writing(changes []Change) (done func(now []Note))

	// Changed says that another process has committed changes.
	Changed(changes []Change)

	// Revoked says that sessions have ended in another process: the one with
	// the key, or, if it is empty, all of the user's.
	Revoked(key, user string)

	// Trust says that of what others had committed one second before until,
	// nothing is unknown here. Until the first call, and after until, copies are not to be trusted.
	Trust(until time.Time)

	// Forget says that changes of others may have been missed: no copy made up to
	// now, nor of what is being read now, is to be used again.
	Forget()
}

// nobody is the Witness of a store that has none.
type nobody struct{}

func (nobody) Writing([]Change) func([]Note) { return func([]Note) {} }
func (nobody) Changed([]Change)              {}
func (nobody) Revoked(string, string)        {}
func (nobody) Trust(time.Time)               {}
func (nobody) Forget()                       {}
