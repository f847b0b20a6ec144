package store

import (
	"context"
	"fmt"
	"time"

	"notesd/notes"
	"notesd/store/engine"
)

// CreateNote creates a note of owner's. The idempotency key is stored with the note or not at all.
// If the key is used again within a day with the same hash, CreateNote returns the note as it is by
// then, or ErrNotFound if it was deleted. With another hash the error is ErrIdempotency. Other
// errors: *notes.InvalidError if the note breaks a rule, ErrQuota if the owner's quota has no room
// for it, ErrOwnerGone if the owner does not exist any more.
//
// If in.ID is set the note gets that id. ErrExists: the owner has a note with it, which is
// returned. ErrDeleted: the owner has deleted that note. ErrDuplicate: another user has the id.
func (s *Store) CreateNote(ctx context.Context, owner string, in notes.NewNote) (notes.Note, error) {
	if err := in.Check(); err != nil {
		return notes.Note{}, err
	}
	row, err := newRow(ctx, owner, in, s.now())
	if err != nil {
		return notes.Note{}, fmt.Errorf("create note: %w", err)
	}
	m := s.createMutation(ctx, row, in)
	n, err := s.result(m)
	if err != nil {
		return notes.Note{}, fmt.Errorf("create note: %w", err)
	}
	if m.existed {
		return n, ErrExists
	}
	return n, nil
}

// Note returns owner's note. The error is ErrNotFound both for a note of another user and for a
// note that does not exist.
func (s *Store) Note(ctx context.Context, owner, id string) (notes.Note, error) {
	row, err := s.takeNote(s.db.Reader(ctx), owner, id)
	if err != nil {
		return notes.Note{}, fmt.Errorf("note %s: %w", id, engine.Translate(err))
	}
	return row.note(), nil
}

// A Precondition decides, in the transaction of a write, whether the write may change the note as
// it is. If it may not, the write returns ErrChanged and changes nothing.
type Precondition struct {
	Holds func(revision int64, updatedAt time.Time) bool
	// NamesRevision says that it holds only for revisions that the client has named. So the client
	// knows what the write replaces.
	NamesRevision bool
}

// A ChangedError is an ErrChanged that carries the note that did not meet a precondition.
type ChangedError struct{ Current notes.Note }

func (e *ChangedError) Error() string { return ErrChanged.Error() }
func (e *ChangedError) Unwrap() error { return ErrChanged }

// idempotency is what WithIdempotencyKey puts into a context.
type idempotency struct {
	key  string
	hash []byte
}

type idempotencyKey struct{}

// WithIdempotencyKey returns a context for a request that changes a note and may be repeated. If a
// change with the key has succeeded within a day, the methods that change a note change nothing and
// return the note as it is by then, or ErrNotFound if it was deleted. If hash is another than that
// of the earlier request, they return ErrIdempotency. The key is stored with the change or not at
// all. CreateNote takes the key from its NewNote, and deletions, which can be repeated, ignore it.
func WithIdempotencyKey(ctx context.Context, key string, hash []byte) context.Context {
	return context.WithValue(ctx, idempotencyKey{}, idempotency{key, hash})
}

// setKeyOf gives m the idempotency key that ctx has.
func (s *Store) setKeyOf(ctx context.Context, m *mutation) {
	if of, ok := ctx.Value(idempotencyKey{}).(idempotency); ok {
		s.setKey(m, of.key, of.hash)
	}
}

// PatchNote changes owner's note and returns the result. What p points to must not be modified
// later, even if PatchNote returned early because ctx ended. A patch that changes nothing leaves
// the revision, the dates and the change number as they are. Errors: *notes.InvalidError,
// ErrNotFound, ErrChanged, ErrQuota, ErrOwnerGone, ErrIdempotency.
func (s *Store) PatchNote(
	ctx context.Context, owner, id string, p notes.Patch, preconditions ...Precondition,
) (notes.Note, error) {
	return s.patchNote(ctx, owner, id, p, false, preconditions)
}

// patchNote is PatchNote. If pins, what it replaces is kept as long as any history.
func (s *Store) patchNote(
	ctx context.Context, owner, id string, p notes.Patch, pins bool, preconditions []Precondition,
) (notes.Note, error) {
	if err := p.Check(); err != nil {
		return notes.Note{}, err
	}
	m, err := s.patchMutation(ctx, owner, id, p)
	if err != nil {
		return notes.Note{}, fmt.Errorf("patch note %s: %w", id, err)
	}
	m.preconditions, m.pins = preconditions, pins
	n, err := s.result(m)
	if err != nil {
		return notes.Note{}, fmt.Errorf("patch note %s: %w", id, err)
	}
	return n, nil
}

// TrashNote moves owner's note to the trash. A note that is already there stays as it is, with its
// first date.
func (s *Store) TrashNote(ctx context.Context, owner, id string, preconditions ...Precondition) (notes.Note, error) {
	return s.PatchNote(ctx, owner, id, notes.Patch{Trashed: new(true)}, preconditions...)
}

// RestoreNote takes owner's note out of the trash. A note that is not there stays as it is.
func (s *Store) RestoreNote(ctx context.Context, owner, id string, preconditions ...Precondition) (notes.Note, error) {
	return s.PatchNote(ctx, owner, id, notes.Patch{Trashed: new(false)}, preconditions...)
}

// ToggleNote inverts a flag of owner's note. Two concurrent calls invert it twice. Errors:
// ErrNotFound, ErrChanged, ErrOwnerGone.
func (s *Store) ToggleNote(
	ctx context.Context, owner, id string, flag notes.Flag, preconditions ...Precondition,
) (notes.Note, error) {
	m := s.toggleMutation(ctx, owner, id, flag)
	m.preconditions = preconditions
	n, err := s.result(m)
	if err != nil {
		return notes.Note{}, fmt.Errorf("toggle a flag of note %s: %w", id, err)
	}
	return n, nil
}

// DeleteNote deletes owner's note for good and leaves a tombstone with a change
// number of its own. Errors: ErrNotFound, ErrChanged, ErrOwnerGone.
func (s *Store) DeleteNote(ctx context.Context, owner, id string, preconditions ...Precondition) error {
	return s.deleteNote(ctx, owner, id, func(*noteRow) bool { return true }, preconditions)
}

// DeleteTrashedNote is DeleteNote for a note in the trash. For any other note the error is
// ErrNotFound.
func (s *Store) DeleteTrashedNote(ctx context.Context, owner, id string, preconditions ...Precondition) error {
	return s.deleteNote(ctx, owner, id, func(row *noteRow) bool { return row.IsTrashed }, preconditions)
}

func (s *Store) deleteNote(
	ctx context.Context, owner, id string, should func(*noteRow) bool, preconditions []Precondition,
) error {
	m := s.deleteMutation(ctx, owner, id, should)
	m.preconditions = preconditions
	if err := s.submit(m); err != nil {
		return fmt.Errorf("delete note %s: %w", id, err)
	}
	return nil
}
