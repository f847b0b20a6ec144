package store

import (
	"context"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"gorm.io/gorm"

	"notesd/store/engine"
	"notesd/store/pgnotify"
	"notesd/store/trigram"
)

// Query is one statement that a method sent to the database.
type Query struct {
	SQL  string
	Args []any
}

// A Tape holds the statements of a store since it was last rewound.
type Tape struct {
	mu      sync.Mutex
	queries []Query
}

// Record begins to record what s sends, apart from BEGIN and COMMIT and what it
// tells other processes.
func Record(s *Store) *Tape {
	s.trimEvery = math.MaxInt // whose statements would come by chance
	tape := new(Tape)
	all := []*gorm.DB{s.DB()}
	if !s.postgres { // which writes with another
		all = append(all, s.WriterDB())
	}
	for _, db := range all {
		calls := db.Callback()
		for _, register := range []func(string, func(*gorm.DB)) error{
			calls.Create().Register, calls.Query().Register, calls.Update().Register,
			calls.Delete().Register, calls.Row().Register, calls.Raw().Register,
		} {
			if err := register("tape", tape.add); err != nil {
				panic(err)
			}
		}
	}
	s.sqlTrace = func(sql string, args []any) {
		if sql != "commit" && !strings.HasPrefix(sql, "begin") {
			tape.note(Query{sql, args})
		}
	}
	return tape
}

func (t *Tape) add(db *gorm.DB) {
	t.note(Query{db.Statement.SQL.String(), slices.Clone(db.Statement.Vars)})
}

func (t *Tape) note(query Query) {
	if query.SQL == pgnotify.Notify {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queries = append(t.queries, query)
}

// Rewind returns what was recorded and begins anew.
func (t *Tape) Rewind() []Query {
	t.mu.Lock()
	defer t.mu.Unlock()
	queries := t.queries
	t.queries = nil
	return queries
}

// DB is the pool that s reads from.
func (s *Store) DB() *gorm.DB { return s.db.Reader(context.Background()) }

// LookAtFilesEvery is for fake time, in which half a year of looks at real files would take minutes.
func (s *Store) LookAtFilesEvery(d time.Duration) {
	if s.lookAtFiles != nil {
		s.lookAtFiles.Reset(d)
	}
}

// WriterDB is the pool that s writes to.
func (s *Store) WriterDB() (writer *gorm.DB) {
	err := s.db.WriteOne(context.Background(), func(db *gorm.DB) error { writer = db; return nil })
	if err != nil {
		panic(err)
	}
	return writer
}

// NoInvalidator is an Invalidator that keeps nothing.
type NoInvalidator = noInvalidator

// MakeLists lists all of owner's notes, in segments of most.
func (s *Store) MakeLists(ctx context.Context, owner string, most int64) error {
	return s.indexUser(ctx, owner, 1, most)
}

// MostKept is how many tombstones and idempotency keys are kept of a person.
const MostKept = maxKept

// What a quota of bytes counts for a note and for a tag, besides their texts.
const (
	NoteCost = noteCost
	TagCost  = tagCost
)

// TrimAlways has every mutation trim that may.
func (s *Store) TrimAlways() { s.trimEvery = 1 }

// SegmentNotes is how many notes a segment has.
const SegmentNotes = trigram.MaxNotes

// A ChangeRange is one of a person's changes.
type ChangeRange = changeRange

// NextRange is the one to make a segment of.
var NextRange = nextRange

// Candidates is what lists leave of owner's notes; nil: they don't tell.
func (s *Store) Candidates(ctx context.Context, owner, search string) ([]int64, error) {
	return s.candidates(s.db.Reader(ctx), owner, newNeedle(search))
}

// LogBytes is what SQLite's log is cut down to.
const LogBytes = engine.LogBytes

// PauseCheckpoints has nothing copied from SQLite's log, and nothing written, until it is told to resume.
func PauseCheckpoints(s *Store) (resume func()) {
	paused, resumed, over := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		over <- s.db.WriteOne(context.Background(), func(*gorm.DB) error { close(paused); <-resumed; return nil })
	}()
	<-paused
	return func() {
		close(resumed)
		if err := <-over; err != nil {
			panic(err)
		}
	}
}

// MaxDeviceLocks is how many devices of an account are counted.
const MaxDeviceLocks = maxDeviceLocks

// BoundUnknownLocks is boundLocks, with a bound that a test reaches.
func (s *Store) BoundUnknownLocks(ctx context.Context, most int) error {
	return s.boundLocks(ctx, nil, most)
}

// Thinnable is what the decision of thinning needs to know of a version.
type Thinnable struct {
	At     int64
	Author string
	Keep   int64 // 2: pinned
}

// Thin removes from versions what thinning removes. It returns the indexes of those that stay, and
// sets their Keep.
func Thin(versions []Thinnable, present, now int64, history time.Duration) (stay []int) {
	all := make([]thinnable, len(versions))
	for i, v := range versions {
		all[i] = thinnable{v.At, v.Author, v.Keep}
	}
	for i, d := range thin(all, present, now, history) {
		if !d.goes {
			versions[i].Keep = d.keep
			stay = append(stay, i)
		}
	}
	return stay
}

// DeleteOldestNotes is one step of a deletion.
func (s *Store) DeleteOldestNotes(ctx context.Context, id string) error {
	_, _, err := s.deleteOldestNotes(ctx, id, -1, math.MaxInt64)
	return err
}

// RenamedTags returns the tags of a note after a rename, and what an undo makes of later tags.
func RenamedTags(before, from []string, to string) (after []string, restored func(current []string) []string) {
	r := renameRow{OldTags: from, NewTag: to}
	return r.after(before), func(current []string) []string { return r.restored(current, before) }
}
