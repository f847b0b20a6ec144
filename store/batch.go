package store

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"notesd/notes"
	"notesd/store/engine"
)

// A batch is the set of mutations that one transaction commits (group commit), together with the
// rows that they concern. It reads and locks the rows first. Then one mutation after another
// changes them in memory, and the result is written at the end. So a mutation that can't be done
// fails alone and leaves nothing to roll back.
type batch struct {
	s         *Store
	mutations []*mutation
	waits     bool // waits for locked counters; otherwise skips the mutations of their owners

	counters map[string]*countersRow // by owner; their rows are locked
	notes    map[noteRef]*noteState
	keys     map[keyRef]usedKey
	takenIDs map[string]string // the owner of each id that a create may not give, since a note has it
	deleted  map[noteRef]bool  // the notes with such ids that their owners have deleted
	newKeys  []int64           // keys for the notes that the mutations create

	// readContent reads the content of a note whose noteState lacks it.
	readContent func(key int64) (string, error)

	deciding   *mutation
	touched    []*noteState // in the order of each one's first mutation
	tombstones []tombstoneRow
	claimed    []usedKey // keys that are used for the first time, or again after they expired
	trims      []trim    // run after these are stored

	outcomeUnknown bool // the outcome of the commit is unknown
}

type noteRef struct{ owner, id string }

type keyRef struct{ owner, key string }

// usedKey is an idempotency key and the note that its request created.
type usedKey struct {
	keyRef
	hash      []byte
	note      string
	createdAt int64
}

type tombstoneRow struct {
	userID    string
	changeSeq int64
	noteID    string
	deletedAt int64
}

func newBatch(s *Store, mutations []*mutation, waits bool) *batch {
	return &batch{s: s, mutations: mutations, waits: waits}
}

// begin discards the results of an earlier attempt.
func (b *batch) begin() {
	b.counters = make(map[string]*countersRow)
	b.notes = make(map[noteRef]*noteState)
	b.keys = make(map[keyRef]usedKey)
	b.takenIDs = make(map[string]string)
	b.deleted = make(map[noteRef]bool)
	for _, m := range b.mutations {
		m.note, m.replayed, m.existed, m.err, m.retry = noteRow{}, "", false, nil, false
	}
	b.outcomeUnknown = false
	b.newKeys, b.deciding, b.touched, b.tombstones, b.claimed, b.trims = nil, nil, nil, nil, nil, nil
}

// owners returns the owners whose counters are needed, in the order in which every transaction
// locks them.
func (b *batch) owners() []string {
	owners := make([]string, len(b.mutations))
	for i, m := range b.mutations {
		owners[i] = m.owner
	}
	slices.Sort(owners)
	return slices.Compact(owners)
}

// wantedNotes returns the notes that the mutations concern and that exist or may exist.
func (b *batch) wantedNotes() (owners, ids []string) {
	asked := make(map[noteRef]bool, len(b.mutations))
	for _, m := range b.mutations {
		if ref := (noteRef{m.owner, m.id}); (m.fresh == nil || m.mayExist) && !asked[ref] {
			asked[ref] = true
			owners, ids = append(owners, m.owner), append(ids, m.id)
		}
	}
	return owners, ids
}

// wantedKeys returns the idempotency keys of the mutations.
func (b *batch) wantedKeys() (owners, keys []string) {
	asked := make(map[keyRef]bool, len(b.mutations))
	for _, m := range b.mutations {
		if ref := (keyRef{m.owner, m.key}); m.key != "" && !asked[ref] {
			asked[ref] = true
			owners, keys = append(owners, m.owner), append(keys, m.key)
		}
	}
	return owners, keys
}

// givenIDs returns the ids that creates give their notes, and the owners of those notes.
func (b *batch) givenIDs() (owners, ids []string) {
	for _, m := range b.mutations {
		if m.mayExist {
			owners, ids = append(owners, m.owner), append(ids, m.id)
		}
	}
	slices.Sort(owners)
	return slices.Compact(owners), ids
}

// usedID is an id that a create may not give: a note has it, or had it.
type usedID struct {
	Owner, ID string
	Deleted   bool
}

func (b *batch) addUsedID(used usedID) {
	if used.Deleted {
		b.deleted[noteRef{used.Owner, used.ID}] = true
	} else {
		b.takenIDs[used.ID] = used.Owner
	}
}

// creates returns how many mutations create a note.
func (b *batch) creates() (n int) {
	for _, m := range b.mutations {
		if m.fresh != nil {
			n++
		}
	}
	return n
}

// addNote records a note that was read with smallColumns.
func (b *batch) addNote(row noteRow) {
	now := row
	b.notes[noteRef{row.UserID, row.ID}] = &noteState{old: &row, row: &now, partial: row.Bytes > largeNote}
}

// decide lets the mutations change what was read, one after another.
func (b *batch) decide() error {
	for _, m := range b.mutations {
		b.deciding = m
		if err := m.ctx.Err(); err != nil {
			m.err = err
			continue
		}
		counters, found := b.counters[m.owner]
		switch {
		case found:
			m.note, m.err = m.do(b, counters)
		case b.waits:
			m.err = ErrOwnerGone
		default:
			m.retry = true // another transaction has the counters locked, or they are gone
		}
		if failed, ok := errors.AsType[readError](m.err); ok {
			return failed.error // the transaction is aborted
		}
		if errors.Is(m.err, errLarge) {
			m.retry, m.alone = true, true
		}
	}
	b.deciding = nil
	return nil
}

var errLarge = errors.New("the note is large")

// readError is a database error during decide.
type readError struct{ error }

// find returns the note that m concerns, with its content if m needs that.
func (b *batch) find(m *mutation) (*noteState, error) {
	state, found := b.notes[noteRef{m.owner, m.id}]
	if !found || state.row == nil {
		return nil, ErrNotFound
	}
	if state.partial && m.content {
		if !m.alone {
			return nil, errLarge
		}
		if err := b.loadContent(m, state); err != nil {
			return nil, err
		}
	}
	return b.touch(state), nil
}

// checkPreconditions returns a ChangedError if the note does not meet a precondition of m. The note
// stays as it is until m has changed it, because its owner's counters are locked.
func (b *batch) checkPreconditions(m *mutation, state *noteState) error {
	for _, p := range m.preconditions {
		if p.Holds(state.row.Revision, time.UnixMilli(state.row.UpdatedAt)) {
			continue
		}
		m.content = true // the error brings the whole note
		if _, err := b.find(m); err != nil {
			return err
		}
		return &ChangedError{Current: state.row.note()}
	}
	return nil
}

// loadContent reads the content of a large note, if reserve grants the memory.
func (b *batch) loadContent(m *mutation, state *noteState) error {
	if err := reserve(m.ctx)(state.row.Bytes); err != nil {
		return err
	}
	content, err := b.readContent(state.row.Key)
	if err != nil {
		return readError{err}
	}
	state.old.Content, state.row.Content, state.partial = content, content, false
	return nil
}

// touch records that a mutation concerns the note.
func (b *batch) touch(state *noteState) *noteState {
	if !state.touched {
		state.touched = true
		b.touched = append(b.touched, state)
	}
	return state
}

// trim schedules the trim of the owner's rows, if m is a mutation that trims. A second trim in the
// same batch would find nothing.
func (b *batch) trim(m *mutation, of func(owner string) trim) {
	if t := of(m.owner); m.trims && !slices.Contains(b.trims, t) {
		b.trims = append(b.trims, t)
	}
}

func (b *batch) nextKey() int64 {
	key := b.newKeys[0]
	b.newKeys = b.newKeys[1:]
	return key
}

// writes is what the batch has to store.
type writes struct {
	made, updated []*noteState
	deleted       []*noteState
	versions      []*versionRow // that were replaced
	counters      []*countersRow
	keys          []usedKey
	tombstones    []tombstoneRow
	trims         []trim
	changes       []Change
}

// writes collects the results of the mutations.
func (b *batch) writes() writes {
	w := writes{keys: b.claimed, tombstones: b.tombstones, trims: b.trims}
	for _, state := range b.touched {
		if !state.changed() {
			continue
		}
		switch {
		case state.old == nil:
			w.made = append(w.made, state)
		case state.row == nil:
			w.deleted = append(w.deleted, state)
			w.changes = append(w.changes, Change{Owner: state.old.UserID, Note: state.old.ID, Seq: state.deletion})
			continue
		default:
			w.updated = append(w.updated, state)
		}
		row := state.row
		w.changes = append(w.changes,
			Change{Owner: row.UserID, Note: row.ID, Seq: row.ChangeSeq, Revision: row.Revision})
		w.versions = append(w.versions, state.replaced...)
	}
	for _, owner := range b.owners() {
		if counters := b.counters[owner]; counters != nil && counters.changed {
			w.counters = append(w.counters, counters)
		}
	}
	return w
}

// empty reports that there is nothing to store.
func (w writes) empty() bool { return len(w.counters) == 0 && len(w.keys) == 0 }

// notes returns the notes that the batch created or updated, as it leaves them.
func (w writes) notes() []notes.Note {
	notes := make([]notes.Note, 0, len(w.made)+len(w.updated))
	for _, states := range [][]*noteState{w.made, w.updated} {
		for _, state := range states {
			notes = append(notes, state.row.note())
		}
	}
	return notes
}

// commit runs the batch's transaction. If it returns an error nothing was stored, unless
// b.outcomeUnknown is set: then the outcome is unknown.
func (b *batch) commit() error {
	ctx, cancel := b.context()
	defer cancel()
	if b.s.postgres {
		return b.s.db.WriteOne(ctx, b.commitPostgres)
	}
	return b.s.db.WriteOne(ctx, b.commitSQLite)
}

// context returns a context that ends when the contexts of all the batch's callers have ended. Then
// no caller waits for the batch any more.
func (b *batch) context() (context.Context, context.CancelFunc) {
	if len(b.mutations) == 1 {
		return context.WithCancel(b.mutations[0].ctx)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var left atomic.Int64
	left.Store(int64(len(b.mutations)))
	stops := make([]func() bool, len(b.mutations))
	for i, m := range b.mutations {
		stops[i] = context.AfterFunc(m.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}

// complete reports the result of a batch that ended with err to the callers. It returns the
// mutations that are to be retried alone or later, so that a mutation that can't be stored does not
// fail the others.
func (b *batch) complete(err error, caught *panicked) (retry []*mutation) {
	for _, m := range b.mutations {
		switch {
		case caught != nil && (b.deciding == nil || b.deciding == m):
			m.panicked = caught
		case caught != nil || err != nil && b.mayDivide(err):
			m.alone = true
			retry = append(retry, m)
			continue
		case err != nil:
			m.err = err
		case m.retry:
			retry = append(retry, m)
			continue
		}
		close(m.done)
	}
	return retry
}

// mayDivide reports whether one mutation among others may have caused err. It returns false unless
// it is certain that nothing was stored.
func (b *batch) mayDivide(err error) bool {
	if len(b.mutations) == 1 || b.outcomeUnknown {
		return false
	}
	return engine.IsRetryable(err) || !errors.Is(err, ErrUnavailable) &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}
