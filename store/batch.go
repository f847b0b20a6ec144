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

// A batch is the set of edits that one transaction commits (group commit), together with the rows
// that they concern. It reads and locks the rows first. Then one edit after another changes them in
// memory, and the result is written at the end. So an edit that can't be done fails alone and
// leaves nothing to roll back.
type batch struct {
	s     *Store
	edits []*edit
	waits bool // waits for locked counters; otherwise skips the edits of their owners

	counters map[string]*countersRow // by owner; their rows are locked
	notes    map[noteRef]*noteState
	keys     map[keyRef]usedKey
	newKeys  []int64 // keys for the notes that the edits create

	// readContent reads the content of a note whose noteState lacks it.
	readContent func(key int64) (string, error)

	deciding   *edit
	touched    []*noteState // in the order of each one's first edit
	tombstones []tombstoneRow
	claimed    []usedKey // keys that are used for the first time, or again after they expired
	trims      []trim    // run after these are stored

	uncertain bool // the outcome of the commit is unknown
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

func newBatch(s *Store, edits []*edit, waits bool) *batch {
	return &batch{s: s, edits: edits, waits: waits}
}

// begin discards the results of an earlier attempt.
func (b *batch) begin() {
	b.counters = make(map[string]*countersRow)
	b.notes = make(map[noteRef]*noteState)
	b.keys = make(map[keyRef]usedKey)
	for _, e := range b.edits {
		e.note, e.replayed, e.err, e.again = noteRow{}, "", nil, false
	}
	b.uncertain = false
	b.newKeys, b.deciding, b.touched, b.tombstones, b.claimed, b.trims = nil, nil, nil, nil, nil, nil
}

// owners returns the owners whose counters are needed, in the order in which every transaction
// locks them.
func (b *batch) owners() []string {
	owners := make([]string, len(b.edits))
	for i, e := range b.edits {
		owners[i] = e.owner
	}
	slices.Sort(owners)
	return slices.Compact(owners)
}

// wanted returns the notes that the edits concern and that exist or may exist.
func (b *batch) wanted() (owners, ids []string) {
	asked := make(map[noteRef]bool, len(b.edits))
	for _, e := range b.edits {
		if ref := (noteRef{e.owner, e.id}); (e.fresh == nil || e.imported) && !asked[ref] {
			asked[ref] = true
			owners, ids = append(owners, e.owner), append(ids, e.id)
		}
	}
	return owners, ids
}

// wantedKeys returns the idempotency keys of the creates.
func (b *batch) wantedKeys() (owners, keys []string) {
	asked := make(map[keyRef]bool, len(b.edits))
	for _, e := range b.edits {
		if ref := (keyRef{e.owner, e.key}); e.key != "" && !asked[ref] {
			asked[ref] = true
			owners, keys = append(owners, e.owner), append(keys, e.key)
		}
	}
	return owners, keys
}

// creates returns how many edits create a note.
func (b *batch) creates() (n int) {
	for _, e := range b.edits {
		if e.fresh != nil {
			n++
		}
	}
	return n
}

// found records a note that was read with smallColumns.
func (b *batch) found(row noteRow) {
	now := row
	b.notes[noteRef{row.UserID, row.ID}] = &noteState{old: &row, row: &now, partial: row.Bytes > largeNote}
}

// decide lets the edits change what was read, one after another.
func (b *batch) decide() error {
	for _, e := range b.edits {
		b.deciding = e
		if err := e.ctx.Err(); err != nil {
			e.err = err
			continue
		}
		counters, found := b.counters[e.owner]
		switch {
		case found:
			e.note, e.err = e.change(b, counters)
		case b.waits:
			e.err = ErrOwnerGone
		default:
			e.again = true // another transaction has the counters locked, or they are gone
		}
		if failed, ok := errors.AsType[readError](e.err); ok {
			return failed.error // the transaction is aborted
		}
		if errors.Is(e.err, errLarge) {
			e.again, e.alone = true, true
		}
	}
	b.deciding = nil
	return nil
}

var errLarge = errors.New("the note is large")

// readError is a database error during decide.
type readError struct{ error }

// find returns the note that e concerns, with its content if e needs that.
func (b *batch) find(e *edit) (*noteState, error) {
	state, found := b.notes[noteRef{e.owner, e.id}]
	if !found || state.row == nil {
		return nil, ErrNotFound
	}
	if state.partial && e.content {
		if !e.alone {
			return nil, errLarge
		}
		if err := b.complete(e, state); err != nil {
			return nil, err
		}
	}
	return b.touch(state), nil
}

// checkPreconditions returns a ChangedError if the note does not meet a precondition of e. The note
// stays as it is until e has changed it, because its owner's counters are locked.
func (b *batch) checkPreconditions(e *edit, state *noteState) error {
	for _, holds := range e.preconditions {
		if holds(state.row.Revision, time.UnixMilli(state.row.UpdatedAt)) {
			continue
		}
		e.content = true // the error brings the whole note
		if _, err := b.find(e); err != nil {
			return err
		}
		return &ChangedError{Current: state.row.note()}
	}
	return nil
}

// complete reads the content of a large note, if room grants the memory.
func (b *batch) complete(e *edit, state *noteState) error {
	if err := room(e.ctx)(state.row.Bytes); err != nil {
		return err
	}
	content, err := b.readContent(state.row.Key)
	if err != nil {
		return readError{err}
	}
	state.old.Content, state.row.Content, state.partial = content, content, false
	return nil
}

// touch records that an edit concerns the note.
func (b *batch) touch(state *noteState) *noteState {
	if !state.touched {
		state.touched = true
		b.touched = append(b.touched, state)
	}
	return state
}

// trim schedules the trim of the owner's rows, if e is an edit that trims. A second trim in the
// same batch would find nothing.
func (b *batch) trim(e *edit, of func(owner string) trim) {
	if t := of(e.owner); e.trims && !slices.Contains(b.trims, t) {
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
	counters      []*countersRow
	keys          []usedKey
	tombstones    []tombstoneRow
	trims         []trim
	changes       []Change
}

// writes collects the results of the edits. If no counters have changed there is nothing to store.
func (b *batch) writes() writes {
	w := writes{keys: b.claimed, tombstones: b.tombstones, trims: b.trims}
	for _, state := range b.touched {
		if !state.changed() {
			continue
		}
		is := state.row
		switch {
		case state.old == nil:
			w.made = append(w.made, state)
		case state.row == nil:
			w.deleted = append(w.deleted, state)
			is = state.old
		default:
			w.updated = append(w.updated, state)
		}
		w.changes = append(w.changes, Change{Owner: is.UserID, Note: is.ID})
	}
	for _, owner := range b.owners() {
		if counters := b.counters[owner]; counters != nil && counters.changed {
			w.counters = append(w.counters, counters)
		}
	}
	return w
}

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
// b.uncertain is set: then the outcome is unknown.
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
	if len(b.edits) == 1 {
		return context.WithCancel(b.edits[0].ctx)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var left atomic.Int64
	left.Store(int64(len(b.edits)))
	stops := make([]func() bool, len(b.edits))
	for i, e := range b.edits {
		stops[i] = context.AfterFunc(e.ctx, func() {
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

// settle reports the result of a batch that ended with err to the callers. It returns the edits
// that are to be retried alone or later, so that an edit that can't be stored does not fail the
// others.
func (b *batch) settle(err error, caught *panicked) (anew []*edit) {
	for _, e := range b.edits {
		switch {
		case caught != nil && (b.deciding == nil || b.deciding == e):
			e.panicked = caught
		case caught != nil || err != nil && b.mayDivide(err):
			e.alone = true
			anew = append(anew, e)
			continue
		case err != nil:
			e.err = err
		case e.again:
			anew = append(anew, e)
			continue
		}
		close(e.done)
	}
	return anew
}

// mayDivide reports whether one edit among others may have caused err. It returns false unless it
// is certain that nothing was stored.
func (b *batch) mayDivide(err error) bool {
	if len(b.edits) == 1 || b.uncertain {
		return false
	}
	return engine.IsRetryable(err) || !errors.Is(err, ErrUnavailable) &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}
