package store

import (
	"bytes"
	"context"
	"fmt"

	"notesd/notes"
)

// An edit is one caller's mutation of one owner's note, and, once it is done, its result.
type edit struct {
	ctx   context.Context // the caller's context; when it has ended the caller may no longer wait
	owner string
	id    string // of the note that it changes or creates
	bytes int64  // bytes of its texts
	alone bool   // it needs a transaction of its own
	again bool   // it must be retried in another transaction

	fresh    *noteRow // of a create: the note to create
	imported bool     // the note is created only if it does not exist; other creates have new ids
	key      string   // of a create: its idempotency key, or ""
	hash     []byte   // of a create: the hash of the request that brought key
	content  bool     // it needs the note's content too
	trims    bool     // it removes the owner's oldest tombstones or keys, if too many

	preconditions []Precondition // of a change: all must hold, or nothing is changed

	// change computes the new state of the note, while the owner's counters are locked. It may be
	// called again in another transaction.
	change func(b *batch, counters *countersRow) (noteRow, error)

	note     noteRow // the note after the edit
	replayed string  // id of the note that the idempotency key created before
	err      error
	panicked *panicked
	done     chan struct{} // closed when the caller may read the result
}

// largeEdit is the size, in bytes of text, above which an edit gets a transaction of its own. So
// small edits don't wait for it.
const largeEdit = 64 << 10

func newEdit(ctx context.Context, owner, id string, bytes int64) *edit {
	return &edit{ctx: ctx, owner: owner, id: id, bytes: bytes, alone: bytes > largeEdit, done: make(chan struct{})}
}

// createEdit returns the edit that creates row. If the idempotency key of in was used before, the
// edit creates nothing. Then its result is the existing note, or replayed names it.
func (s *Store) createEdit(ctx context.Context, row noteRow, in notes.NewNote) *edit {
	e := newEdit(ctx, row.UserID, row.ID, row.Bytes)
	// BodyHash is copied into a slice that is not nil, because nil would be NULL.
	e.fresh, e.key, e.hash = &row, in.IdempotencyKey, append([]byte{}, in.BodyHash...)
	e.trims = e.key != "" && s.trims()
	e.change = func(b *batch, counters *countersRow) (noteRow, error) {
		used, found := b.keys[keyRef{e.owner, e.key}]
		if found && used.createdAt > row.CreatedAt-keepIdempotencyKeys.Milliseconds() {
			// This comes before the quota check, because a repeated request needs no more space.
			return b.replay(e, used)
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

// create adds the note that e creates to the batch.
func (b *batch) create(e *edit, changeSeq int64) noteRow {
	made := *e.fresh
	made.Key, made.ChangeSeq = b.nextKey(), changeSeq
	b.notes[noteRef{e.owner, e.id}] = b.touch(&noteState{row: &made})
	return made
}

// replay returns the result of a create whose idempotency key was used before.
func (b *batch) replay(e *edit, used usedKey) (noteRow, error) {
	if !bytes.Equal(used.hash, e.hash) {
		return noteRow{}, ErrIdempotency
	}
	state, found := b.notes[noteRef{e.owner, used.note}]
	switch {
	case !found || state.partial:
		e.replayed = used.note // read after the transaction
		return noteRow{}, nil
	case state.row == nil:
		return noteRow{}, ErrNotFound
	default:
		return *state.row, nil
	}
}

// patchEdit returns the edit that changes a note by p. It folds the texts here, because long ones
// take a while and no transaction should wait for that.
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

// flipEdit returns the edit that inverts a flag.
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

// deleteEdit returns the edit that deletes a note if should accepts it. For any other note the
// error is ErrNotFound.
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

// submit commits e, in one transaction with other edits that come at the same time, and returns its
// error. If ctx ends first, submit returns ctx's error. An edit that was in no transaction by then
// has changed nothing and never will. For any other edit the outcome is unknown.
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

// outcome waits until e is done or its context has ended.
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

// panicked carries a panic, with its stack, from the goroutine of a batch to that of the caller.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("%v\n\nin a batch:\n%s", p.value, p.stack) }

// Unwrap returns the panic's value if that is an error.
func (p *panicked) Unwrap() error {
	err, _ := p.value.(error)
	return err
}
