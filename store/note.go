package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"
)

// A Note is one person's text with what they said about it.
//
// Title, Content and Tags come back byte for byte as they were stored. They, and
// every other text that the methods take (ids, keys, what to search for), are
// valid UTF-8 without NUL: PostgreSQL takes nothing else, so a caller checks what
// comes from outside.
type Note struct {
	Key       int64 // the note's row, for a Ref; never shown to anybody
	ID        string
	UserID    string
	Title     string
	Content   string
	Tags      []string // in their order, never nil
	Color     *string
	Pinned    bool
	Favorite  bool
	Archived  bool
	Markdown  bool
	Trashed   bool
	TrashedAt *time.Time // when Trashed, else nil
	CreatedAt time.Time
	UpdatedAt time.Time // grows with every change, if only by a millisecond
	Revision  int64     // 1 at first, one more with every change
	ChangeSeq int64     // the number of the owner's change that made the note what it is
}

// NewNote is what a note begins as. With an IdempotencyKey, BodyHash tells
// whether a later request under the same key asks for the same note.
type NewNote struct {
	Title, Content string
	Tags           []string
	Color          *string
	Pinned         bool
	Favorite       bool
	Archived       bool
	Markdown       bool
	IdempotencyKey string // at most some hundred bytes: it is indexed
	BodyHash       []byte
}

// CreateNote makes a note of owner's. The idempotency key is stored with the
// note or not at all; used again within a day with the same hash it returns
// the note as it is by then (ErrNotFound once it was deleted), with another
// hash ErrIdempotency. A note that the owner's quota has no room for is
// ErrQuota; ErrOwnerGone: there is no such owner any more.
func (s *Store) CreateNote(ctx context.Context, owner string, in NewNote) (Note, error) {
	row := newRow(owner, in, s.now())
	in.BodyHash = append([]byte{}, in.BodyHash...) // nil would be NULL
	if s.postgres {
		err := s.insert(ctx, &row, in)
		switch {
		case err == nil:
			return row.note(), nil
		case !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrDuplicate):
			return Note{}, fmt.Errorf("create note: %w", err)
		} // else something is in the way, and the long way tells what
	}
	err := s.write(ctx, func(tx *gorm.DB) error {
		counters, err := count(tx, owner, 1, row.Bytes)
		if err != nil {
			return err
		}
		if err := claimKey(tx, row, in); err != nil {
			return err // before the quota: a repeated request asks for no more room
		}
		if err := counters.checkQuota(1, row.Bytes); err != nil {
			return err
		}
		row.ChangeSeq = counters.ChangeSeq
		if err := insertNote(tx, &row); err != nil {
			return err
		}
		return s.announce(tx, Change{owner, row.ID})
	})
	switch {
	case errors.Is(err, errKeyTaken):
		return s.replay(ctx, owner, in)
	case err != nil:
		return Note{}, fmt.Errorf("create note: %w", err)
	}
	return row.note(), nil
}

// insert makes a note in one statement, and in a transaction if others are to be told.
func (s *Store) insert(ctx context.Context, row *noteRow, in NewNote) error {
	if s.channel.roster.alone(time.Now()) {
		return s.writeOne(ctx, func(db *gorm.DB) error { return insertAtOnce(db, row, in) })
	}
	return s.write(ctx, func(tx *gorm.DB) error {
		if err := insertAtOnce(tx, row, in); err != nil {
			return err
		}
		return s.announce(tx, Change{row.UserID, row.ID})
	})
}

// errKeyTaken takes a create back whose idempotency key made a note already.
var errKeyTaken = errors.New("idempotency key taken")

// claimKey stores in's idempotency key, if it has one, for the note in row.
func claimKey(tx *gorm.DB, row noteRow, in NewNote) error {
	if in.IdempotencyKey == "" {
		return nil
	}
	claim := tx.Exec(`INSERT INTO idempotency_keys (user_id, key, body_hash, note_id, created_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (user_id, key) DO UPDATE
		SET body_hash = excluded.body_hash, note_id = excluded.note_id, created_at = excluded.created_at
		WHERE idempotency_keys.created_at <= ?`,
		row.UserID, in.IdempotencyKey, in.BodyHash, row.ID, row.CreatedAt,
		row.CreatedAt-keepIdempotencyKeys.Milliseconds())
	if claim.Error == nil && claim.RowsAffected == 0 {
		return errKeyTaken
	}
	return claim.Error
}

// replay answers a request whose idempotency key is taken.
func (s *Store) replay(ctx context.Context, owner string, in NewNote) (Note, error) {
	var first struct {
		BodyHash []byte
		NoteID   string
	}
	err := s.reader(ctx).Raw(`SELECT body_hash, note_id FROM idempotency_keys WHERE user_id = ? AND key = ?`,
		owner, in.IdempotencyKey).Take(&first).Error
	if err != nil {
		return Note{}, fmt.Errorf("idempotency key: %w", translate(err))
	}
	if !bytes.Equal(first.BodyHash, in.BodyHash) {
		return Note{}, ErrIdempotency
	}
	return s.Note(ctx, owner, first.NoteID)
}

// Note returns owner's note. Another's note and no note look alike: ErrNotFound.
func (s *Store) Note(ctx context.Context, owner, id string) (Note, error) {
	row, err := s.takeNote(s.reader(ctx), owner, id)
	if err != nil {
		return Note{}, fmt.Errorf("note %s: %w", id, translate(err))
	}
	return row.note(), nil
}

// A Patch says what to change; what is nil stays. Color counts if SetColor does.
type Patch struct {
	Title, Content *string
	Tags           *[]string
	SetColor       bool
	Color          *string
	Pinned         *bool
	Favorite       *bool
	Archived       *bool
	Markdown       *bool
	Trashed        *bool   // keeps TrashedAt in step; the first date stays
	IfRevision     []int64 // only if the note's revision is one of these; none: any will do
}

// PatchNote changes owner's note and returns it as it is then. A patch that
// changes nothing moves nothing: not the revision, the dates, the change number.
// With ErrChanged (the revision is none of p.IfRevision) it returns the note as
// it stands. Other errors: ErrNotFound, ErrQuota, ErrOwnerGone.
func (s *Store) PatchNote(ctx context.Context, owner, id string, p Patch) (Note, error) {
	var folded string
	if p.Content != nil {
		folded = Fold(*p.Content) // long texts take a while, so not while others wait to write
	}
	var row noteRow
	err := s.write(ctx, func(tx *gorm.DB) error {
		if err := lockCounters(tx, owner); err != nil {
			return err
		}
		old, err := s.takeNote(tx, owner, id)
		if err != nil {
			return err
		}
		row = old
		if len(p.IfRevision) > 0 && !slices.Contains(p.IfRevision, old.Revision) {
			return ErrChanged
		}
		when := max(s.now(), old.UpdatedAt+1)
		p.apply(&row, when)
		row.ContentFolded = folded
		if err := updateNote(tx, old, &row, when); err != nil || row.Revision == old.Revision {
			return err
		}
		return s.announce(tx, Change{owner, id})
	})
	switch {
	case errors.Is(err, ErrChanged):
		return row.note(), fmt.Errorf("patch note %s: %w", id, err)
	case err != nil:
		return Note{}, fmt.Errorf("patch note %s: %w", id, err)
	}
	return row.note(), nil
}

// TrashNote moves owner's note to the trash. One that is there already stays
// as it is, with its first date.
func (s *Store) TrashNote(ctx context.Context, owner, id string) (Note, error) {
	return s.PatchNote(ctx, owner, id, Patch{Trashed: new(true)})
}

// RestoreNote takes owner's note out of the trash; one that isn't in it stays as it is.
func (s *Store) RestoreNote(ctx context.Context, owner, id string) (Note, error) {
	return s.PatchNote(ctx, owner, id, Patch{Trashed: new(false)})
}

// A Flag is one that FlipNote turns over.
type Flag uint8

const (
	FlagPinned Flag = iota
	FlagFavorite
	FlagArchived
)

// column is where a Flag is stored.
func (f Flag) column() string {
	return [...]string{FlagPinned: "is_pinned", FlagFavorite: "is_favorite", FlagArchived: "is_archived"}[f]
}

// FlipNote turns a flag of owner's note over, in the statement that reads it:
// two flips at once are two flips. Errors: ErrNotFound, ErrOwnerGone.
func (s *Store) FlipNote(ctx context.Context, owner, id string, flag Flag) (Note, error) {
	var row noteRow
	column := flag.column()
	err := s.write(ctx, func(tx *gorm.DB) error {
		counters, err := count(tx, owner, 0, 0)
		if err != nil {
			return err
		}
		now := s.now()
		err = tx.Raw(`UPDATE notes SET `+column+` = NOT `+column+`, revision = revision + 1, change_seq = ?,
			updated_at = CASE WHEN updated_at < ? THEN ? ELSE updated_at + 1 END
			WHERE id = ? AND user_id = ? RETURNING `+s.smallColumns(),
			counters.ChangeSeq, now, now, id, owner).Take(&row).Error
		if err == nil && row.Bytes > largeNote {
			row, err = s.takeLarge(tx, row)
		}
		if err != nil {
			return err
		}
		return s.announce(tx, Change{owner, id})
	})
	if err != nil {
		return Note{}, fmt.Errorf("flip %s of note %s: %w", column, id, err)
	}
	return row.note(), nil
}

// DeleteNote deletes owner's note for good and leaves a tombstone with a change
// number of its own. Errors: ErrNotFound, ErrOwnerGone.
func (s *Store) DeleteNote(ctx context.Context, owner, id string) error {
	return s.deleteNote(ctx, owner, id, "")
}

// DeleteTrashedNote is DeleteNote for a note in the trash; any other is ErrNotFound.
func (s *Store) DeleteTrashedNote(ctx context.Context, owner, id string) error {
	return s.deleteNote(ctx, owner, id, " AND is_trashed")
}

func (s *Store) deleteNote(ctx context.Context, owner, id, condition string) error {
	err := s.write(ctx, func(tx *gorm.DB) error {
		if err := lockCounters(tx, owner); err != nil {
			return err
		}
		var gone noteRow
		err := tx.Raw(`DELETE FROM notes WHERE id = ? AND user_id = ?`+condition+` RETURNING id, bytes`, id, owner).
			Take(&gone).Error
		if err != nil {
			return err
		}
		if err := bury(tx, owner, gone, s.now()); err != nil {
			return err
		}
		return s.announce(tx, Change{owner, id})
	})
	if err != nil {
		return fmt.Errorf("delete note %s: %w", id, err)
	}
	return nil
}
