package store

import (
	"bytes"
	"context"
	"fmt"

	"notesd/notes"
)

// An edit is what one caller wants changed of one person's notes, and, once it
// is done, what came of it.
type edit struct {
	ctx   context.Context // of the caller, who may have left when it has ended
	owner string
	id    string // of the note it is about, or is to make
	bytes int64  // of the texts it brings
	alone bool   // it gets a transaction to itself
	again bool   // it is to be tried anew, in another transaction

	fresh    *noteRow // of a create: the note to make
	imported bool     // it is made only if it is not there, which other creates know
	key      string   // of a create: its idempotency key, or ""
	hash     []byte   // and the hash of the request that came with it
	content  bool     // it needs the note's content, not only the rest
	trims    bool     // it removes the owner's oldest tombstones or keys, if there are too many

	preconditions []Precondition // of what is no create: they hold of the note, or nothing is changed

	// change decides what becomes of the note, under the lock of the owner's
	// counters. It may be asked again, in another transaction.
	change func(b *batch, counters *countersRow) (noteRow, error)

	note     noteRow // as it is after the edit
	replayed string  // the id of the note that the idempotency key made before
	err      error
	panicked *panicked
	done     chan struct{} // closed when the caller may read what came of it
}

// largeEdit is the size, in bytes of text, from which on an edit is alone:
// those who bring little don't wait for it.
const largeEdit = 64 << 10

func newEdit(ctx context.Context, owner, id string, bytes int64) *edit {
	return &edit{ctx: ctx, owner: owner, id: id, bytes: bytes, alone: bytes > largeEdit, done: make(chan struct{})}
}

// createEdit makes row. With an idempotency key that in has brought before it
// makes nothing and says in replayed what note there is.
func (s *Store) createEdit(ctx context.Context, row noteRow, in notes.NewNote) *edit {
	e := newEdit(ctx, row.UserID, row.ID, row.Bytes)
	e.fresh, e.key, e.hash = &row, in.IdempotencyKey, append([]byte{}, in.BodyHash...) // nil would be NULL
	e.trims = e.key != "" && s.trims()
	e.change = func(b *batch, counters *countersRow) (noteRow, error) {
		used, found := b.keys[keyRef{e.owner, e.key}]
		if found && used.createdAt > row.CreatedAt-keepIdempotencyKeys.Milliseconds() {
			return b.replay(e, used) // before the quota: a repeated request asks for no more room
		}
		if err := counters.add(1, row.Bytes); err != nil {
			return noteRow{}, err
		}
		made := b.create(e, counters.ChangeSeq)
		if e.key != "" {
			used := usedKey{keyRef{e.owner, e.key}, e.hash, e.id, row.CreatedAt}
			b.keys[used.keyRef], b.claimed = used, append(b.claimed, used)
			b.trim(e, trimKeys)
		}
		return made, nil
	}
	return e
}

// create puts the note that e is to make in its place.
func (b *batch) create(e *edit, changeSeq int64) noteRow {
	made := *e.fresh
	made.Key, made.ChangeSeq = b.nextKey(), changeSeq
	b.notes[noteRef{e.owner, e.id}] = b.touch(&noteState{row: &made})
	return made
}

// replay answers a create whose idempotency key was used before.
func (b *batch) replay(e *edit, used usedKey) (noteRow, error) {
	if !bytes.Equal(used.hash, e.hash) {
		return noteRow{}, ErrIdempotency
	}
	state, found := b.notes[noteRef{e.owner, used.note}]
	switch {
	case !found || state.partial:
		e.replayed = used.note // to be read when this is over
		return noteRow{}, nil
	case state.row == nil:
		return noteRow{}, ErrNotFound
	default:
		return *state.row, nil
	}
}

// patchEdit changes a note by p. Long texts take a while to fold, so it is done
// here, not while others wait.
func (s *Store) patchEdit(ctx context.Context, owner, id string, p notes.Patch) (*edit, error) {
	var titleFolded, contentFolded string
	var size int
	if p.Title != nil {
		titleFolded = notes.Fold(*p.Title)
		size += len(*p.Title)
	}
	if p.Content != nil {
		var err error
		if contentFolded, err = notes.FoldContext(ctx, *p.Content, room(ctx)); err != nil {
			return nil, err
		}
		size += len(*p.Content)
	}
	e := newEdit(ctx, owner, id, int64(size))
	e.content = true
	e.change = func(b *batch, counters *countersRow) (noteRow, error) {
		state, err := b.find(e)
		if err != nil {
			return noteRow{}, err
		}
		if err := b.checkPreconditions(e, state); err != nil {
			return noteRow{}, err
		}
		row := *state.row
		when := max(s.now(), row.UpdatedAt+1)
		row.apply(p, when)
		if row.Title != state.row.Title {
			row.TitleFolded = titleFolded
		}
		if row.Content != state.row.Content {
			row.ContentFolded = contentFolded
		}
		return state.become(row, when, counters)
	}
	return e, nil
}

// flipEdit turns a flag over.
func (s *Store) flipEdit(ctx context.Context, owner, id string, flag notes.Flag) *edit {
	e := newEdit(ctx, owner, id, 0)
	e.content = true
	e.change = func(b *batch, counters *countersRow) (noteRow, error) {
		state, err := b.find(e)
		if err != nil {
			return noteRow{}, err
		}
		if err := b.checkPreconditions(e, state); err != nil {
			return noteRow{}, err
		}
		row := *state.row
		field := [...]*bool{notes.FlagPinned: &row.IsPinned, notes.FlagFavorite: &row.IsFavorite, notes.FlagArchived: &row.IsArchived}[flag]
		*field = !*field
		return state.become(row, max(s.now(), row.UpdatedAt+1), counters)
	}
	return e
}

// deleteEdit deletes a note if it is as it should be; any other is ErrNotFound.
func (s *Store) deleteEdit(ctx context.Context, owner, id string, should func(*noteRow) bool) *edit {
	e := newEdit(ctx, owner, id, 0)
	e.trims = s.trims()
	e.change = func(b *batch, counters *countersRow) (noteRow, error) {
		state, err := b.find(e)
		if err != nil {
			return noteRow{}, err
		}
		if !should(state.row) {
			return noteRow{}, ErrNotFound
		}
		if err := b.checkPreconditions(e, state); err != nil {
			return noteRow{}, err
		}
		if err := counters.add(-1, -state.row.Bytes); err != nil {
			return noteRow{}, err
		}
		b.tombstones = append(b.tombstones, tombstoneRow{e.owner, counters.ChangeSeq, e.id, s.now()})
		b.trim(e, trimTombstones)
		state.row = nil
		return noteRow{}, nil
	}
	return e
}

// submit has e committed, in one transaction with others that come at the same
// time, and returns its error. When ctx ends first that is ctx's error: what was
// in no transaction yet has changed nothing and won't; else nobody knows.
func (s *Store) submit(e *edit) error {
	if err := e.ctx.Err(); err != nil {
		return err
	}
	if err := s.db.Usable(); err != nil {
		return err
	}
	s.committer.add(e)
	return e.outcome()
}

// outcome waits until e is done, or its context has ended.
func (e *edit) outcome() error {
	select {
	case <-e.done:
	case <-e.ctx.Done():
		return e.ctx.Err()
	}
	if e.panicked != nil {
		panic(e.panicked)
	}
	return e.err
}

// panicked is a panic on its way from the goroutine of a batch to that of the
// caller, with the stack that it left.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("%v\n\nin a batch:\n%s", p.value, p.stack) }

// Unwrap returns the panic's value when that is an error.
func (p *panicked) Unwrap() error {
	err, _ := p.value.(error)
	return err
}
