package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"notesd/internal/heavy"
	"notesd/notes"
)

// A mutation is one caller's change of one owner's note, and, once it is done, its result.
type mutation struct {
	ctx   context.Context // the caller's context; when it has ended the caller may no longer wait
	owner string
	id    string // of the note that it changes or creates
	bytes int64  // bytes of its texts
	alone bool   // it needs a transaction of its own
	retry bool   // it must be retried in another transaction

	fresh    *noteRow // of a create: the note to create
	mayExist bool     // of a create: the owner may have a note with the id already
	key      string   // its idempotency key, or ""
	hash     []byte   // the hash of the request that brought key
	content  bool     // it needs the note's content too
	trims    bool     // it removes the owner's oldest tombstones or keys, if too many

	author string // in the form of notes.Author.Stored
	pins   bool   // of a change: the version that it replaces is kept as long as any history

	preconditions []Precondition // of a change: all must hold, or nothing is changed

	// change computes the new state of the note, while the owner's counters are locked. It may be
	// called again in another transaction.
	change func(b *batch, counters *countersRow) (noteRow, error)

	note     noteRow // the note after the mutation
	replayed string  // id of the note that is the result, to be read after the transaction
	existed  bool    // of a create: the owner had a note with the id already, which is the result
	err      error
	panicked *panicked
	done     chan struct{} // closed when the caller may read the result
}

// largeMutation is the size, in bytes of text, above which a mutation gets a transaction of its
// own. So small mutations don't wait for it.
const largeMutation = 64 << 10

func newMutation(ctx context.Context, owner, id string, bytes int64) *mutation {
	return &mutation{ctx: ctx, owner: owner, id: id, bytes: bytes, alone: bytes > largeMutation, author: authorOf(ctx),
		done: make(chan struct{})}
}

// createMutation returns the mutation that creates row, unless a note with its id may exist and
// does. ErrDeleted and ErrDuplicate: see CreateNote.
func (s *Store) createMutation(ctx context.Context, row noteRow, in notes.NewNote) *mutation {
	m := newMutation(ctx, row.UserID, row.ID, row.Bytes)
	m.fresh, m.mayExist = &row, in.ID != ""
	s.setKey(m, in.IdempotencyKey, in.BodyHash)
	m.change = func(b *batch, counters *countersRow) (noteRow, error) {
		if err := b.checkID(m); errors.Is(err, ErrExists) {
			m.existed = true
			return b.present(m, b.notes[noteRef{m.owner, m.id}])
		} else if err != nil {
			return noteRow{}, err
		}
		// A repeated request needs no more space.
		if err := counters.add(1, row.Bytes); err != nil {
			return noteRow{}, err
		}
		return b.create(m, counters.ChangeSeq), nil
	}
	return m
}

// setKey gives m an idempotency key, unless key is "".
func (s *Store) setKey(m *mutation, key string, hash []byte) {
	// hash is copied into a slice that is not nil, because nil would be NULL.
	m.key, m.hash = key, append([]byte{}, hash...)
	m.trims = key != "" && s.trims()
}

// do changes the note, unless the idempotency key of m was used before. Then the result is the note
// of the earlier mutation, as it is by now. Otherwise the key counts as used if m succeeds.
func (m *mutation) do(b *batch, counters *countersRow) (noteRow, error) {
	if m.key == "" {
		return m.change(b, counters)
	}
	ref, now := keyRef{m.owner, m.key}, b.s.now()
	if used, found := b.keys[ref]; found && used.createdAt > now-keepIdempotencyKeys.Milliseconds() {
		return b.replay(m, used)
	}
	row, err := m.change(b, counters)
	if err != nil {
		return row, err
	}
	used := usedKey{ref, m.hash, m.id, now}
	b.keys[ref], b.claimed = used, append(b.claimed, used)
	b.trim(m, trimKeys)
	return row, nil
}

// checkID returns an error if a note can't be created with the id that m gives it: ErrExists if its
// owner has a note with it, ErrDeleted if its owner has deleted that note, ErrDuplicate if another
// user has it. The index of the ids still refuses one that another user takes meanwhile.
func (b *batch) checkID(m *mutation) error {
	if !m.mayExist {
		return nil
	}
	ref := noteRef{m.owner, m.id}
	state, known := b.notes[ref]
	owner, taken := b.takenIDs[m.id]
	switch {
	case known && state.row != nil:
		return ErrExists
	case known || b.deleted[ref]: // in this batch, or before
		return ErrDeleted
	case taken && owner != m.owner:
		return ErrDuplicate
	default:
		return nil
	}
}

// create adds the note that m creates to the batch.
func (b *batch) create(m *mutation, changeSeq int64) noteRow {
	made := *m.fresh
	made.Key, made.ChangeSeq = b.nextKey(), changeSeq
	made.Author, made.AuthorRevision = m.author, made.Revision
	b.notes[noteRef{m.owner, m.id}] = b.touch(&noteState{row: &made})
	b.takenIDs[m.id] = m.owner
	return made
}

// replay returns the result of a mutation whose idempotency key was used before.
func (b *batch) replay(m *mutation, used usedKey) (noteRow, error) {
	if !bytes.Equal(used.hash, m.hash) {
		return noteRow{}, ErrIdempotency
	}
	state, found := b.notes[noteRef{m.owner, used.note}]
	if !found {
		m.replayed = used.note
		return noteRow{}, nil
	}
	return b.present(m, state)
}

// present makes a note as it is the result of m.
func (b *batch) present(m *mutation, state *noteState) (noteRow, error) {
	switch {
	case state.row == nil:
		return noteRow{}, ErrNotFound
	case state.partial:
		m.replayed = state.row.ID
		return noteRow{}, nil
	default:
		return *state.row, nil
	}
}

// patchMutation returns the mutation that changes a note by p. It folds the texts here, because
// long ones take a while and no transaction should wait for that.
func (s *Store) patchMutation(ctx context.Context, owner, id string, p notes.Patch) (*mutation, error) {
	var titleFolded, contentFolded string
	var size int
	if p.Title != nil {
		titleFolded = notes.Fold(*p.Title)
		size += len(*p.Title)
	}
	if p.Content != nil {
		var err error
		if contentFolded, err = notes.FoldContext(ctx, *p.Content, reserve(ctx), heavy.Do); err != nil {
			return nil, err
		}
		size += len(*p.Content)
	}
	return s.editMutation(ctx, owner, id, int64(size), func(row *noteRow, when int64) {
		old := *row
		row.apply(p, when)
		if row.Title != old.Title {
			row.TitleFolded = titleFolded
		}
		if row.Content != old.Content {
			row.ContentFolded = contentFolded
		}
	}), nil
}

// editMutation returns the mutation that changes a note by edit, which gets the note and the time of
// the change. bytes are those of the new texts.
func (s *Store) editMutation(
	ctx context.Context, owner, id string, bytes int64, edit func(row *noteRow, when int64),
) *mutation {
	m := newMutation(ctx, owner, id, bytes)
	s.setKeyOf(ctx, m)
	m.content = true
	m.change = func(b *batch, counters *countersRow) (noteRow, error) {
		state, err := b.find(m)
		if err != nil {
			return noteRow{}, err
		}
		if err := b.checkPreconditions(m, state); err != nil {
			return noteRow{}, err
		}
		row := *state.row
		when := max(s.now(), row.UpdatedAt+1)
		edit(&row, when)
		return state.apply(m, row, when, counters)
	}
	return m
}

// keeps says how long the version is kept that m replaces by now. A version is kept as long as any
// history before the note goes to the trash, and before a write that names no revision if another
// author has made the version: that author may not know that it was replaced.
func (m *mutation) keeps(old, now *noteRow) keep {
	trashes := now.IsTrashed && !old.IsTrashed
	knows := slices.ContainsFunc(m.preconditions, func(p Precondition) bool { return p.NamesRevision })
	overwrites := !knows && old.author() != m.author
	if m.pins || trashes || overwrites {
		return keepPinned
	}
	return keepAsOthers
}

// toggleMutation returns the mutation that inverts a flag.
func (s *Store) toggleMutation(ctx context.Context, owner, id string, flag notes.Flag) *mutation {
	return s.editMutation(ctx, owner, id, 0, func(row *noteRow, _ int64) {
		field := [...]*bool{notes.FlagPinned: &row.IsPinned, notes.FlagFavorite: &row.IsFavorite,
			notes.FlagArchived: &row.IsArchived}[flag]
		*field = !*field
	})
}

// deleteMutation returns the mutation that deletes a note if should accepts it. For any other note
// the error is ErrNotFound.
func (s *Store) deleteMutation(ctx context.Context, owner, id string, should func(*noteRow) bool) *mutation {
	m := newMutation(ctx, owner, id, 0)
	m.trims = s.trims()
	m.change = func(b *batch, counters *countersRow) (noteRow, error) {
		state, err := b.find(m)
		if err != nil {
			return noteRow{}, err
		}
		if !should(state.row) {
			return noteRow{}, ErrNotFound
		}
		if err := b.checkPreconditions(m, state); err != nil {
			return noteRow{}, err
		}
		if err := counters.add(-1, -state.row.Bytes); err != nil {
			return noteRow{}, err
		}
		b.tombstones = append(b.tombstones, tombstoneRow{m.owner, counters.ChangeSeq, m.id, s.now()})
		b.trim(m, trimTombstones)
		for _, version := range state.replaced { // the batch does not store them
			counters.growHistory(-version.cost())
		}
		state.row, state.replaced, state.deletion = nil, nil, counters.ChangeSeq
		return noteRow{}, nil
	}
	return m
}

// result submits m and returns the note after it.
func (s *Store) result(m *mutation) (notes.Note, error) {
	if err := s.submit(m); err != nil {
		return notes.Note{}, err
	}
	if m.replayed != "" {
		return s.Note(m.ctx, m.owner, m.replayed)
	}
	return m.note.note(), nil
}

// submit commits m, in one transaction with other mutations that come at the same time, and returns
// its error. If ctx ends first, submit returns ctx's error. A mutation that was in no transaction
// by then has changed nothing and never will. For any other mutation the outcome is unknown.
func (s *Store) submit(m *mutation) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	if err := s.db.Usable(); err != nil {
		return err
	}
	s.committerOf(m.owner).add(m)
	return m.outcome()
}

// outcome waits until m is done or its context has ended.
func (m *mutation) outcome() error {
	select {
	case <-m.done:
	case <-m.ctx.Done():
		return m.ctx.Err()
	}
	if m.panicked != nil {
		panic(m.panicked)
	}
	return m.err
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
