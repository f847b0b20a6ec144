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
// Title, Content and Tags come back byte for byte as they were stored. They are
// valid UTF-8 without NUL: PostgreSQL stores nothing else, so a caller checks
// what it takes in from outside.
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
	folded := Fold(in.Content)
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
		return insertNote(tx, &row, folded)
	})
	switch {
	case errors.Is(err, errKeyTaken):
		return s.replay(ctx, owner, in)
	case err != nil:
		return Note{}, fmt.Errorf("create note: %w", err)
	}
	return row.note(), nil
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
		row.UserID, in.IdempotencyKey, append([]byte{}, in.BodyHash...), row.ID, row.CreatedAt, // never NULL
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
		if row = old; len(p.IfRevision) > 0 && !slices.Contains(p.IfRevision, old.Revision) {
			return ErrChanged
		}
		when := max(s.now(), old.UpdatedAt+1)
		p.apply(&row, when)
		return updateNote(tx, old, &row, when, folded)
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

// A Flag is one that FlipNote flips: the name of its column.
type Flag string

const (
	FlagPinned   Flag = "is_pinned"
	FlagFavorite Flag = "is_favorite"
	FlagArchived Flag = "is_archived"
)

// FlipNote turns a flag of owner's note over, in the statement that reads it:
// two flips at once are two flips. Errors: ErrNotFound, ErrOwnerGone.
func (s *Store) FlipNote(ctx context.Context, owner, id string, flag Flag) (Note, error) {
	var row noteRow
	err := s.write(ctx, func(tx *gorm.DB) error {
		counters, err := count(tx, owner, 0, 0)
		if err != nil {
			return err
		}
		column, now := string(flag), s.now()
		return tx.Raw(`UPDATE notes SET `+column+` = NOT `+column+`, revision = revision + 1, change_seq = ?,
			updated_at = CASE WHEN updated_at < ? THEN ? ELSE updated_at + 1 END
			WHERE id = ? AND user_id = ? RETURNING `+s.noteColumns(),
			counters.ChangeSeq, now, now, id, owner).Take(&row).Error
	})
	if err != nil {
		return Note{}, fmt.Errorf("flip %s of note %s: %w", flag, id, err)
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
		return bury(tx, owner, gone, s.now())
	})
	if err != nil {
		return fmt.Errorf("delete note %s: %w", id, err)
	}
	return nil
}

// noteRow is a note as its table holds it.
type noteRow struct {
	Key         int64 `gorm:"primaryKey"`
	ID          string
	UserID      string
	IsPinned    bool
	IsFavorite  bool
	IsArchived  bool
	IsMarkdown  bool
	IsTrashed   bool
	TrashedAt   *int64
	CreatedAt   int64 `gorm:"autoCreateTime:false"`
	UpdatedAt   int64 `gorm:"autoUpdateTime:false"`
	Revision    int64
	ChangeSeq   int64
	Bytes       int64
	Color       *string
	Title       string
	TitleFolded string
	Content     string
	Tags        []string `gorm:"->;serializer:json"` // of note_tags, as noteColumns reads them
}

func (noteRow) TableName() string { return "notes" }

// noteColumns is what a noteRow is read from: everything but what is folded,
// and the tags, which makes a note one query.
func (s *Store) noteColumns() string {
	tags := "json_group_array(tag ORDER BY position)"
	if s.postgres {
		tags = "json_agg(tag ORDER BY position)"
	}
	return `key, id, user_id, is_pinned, is_favorite, is_archived, is_markdown, is_trashed, trashed_at,
		created_at, updated_at, revision, change_seq, bytes, color, title, content,
		(SELECT ` + tags + ` FROM note_tags WHERE note_key = notes.key) AS tags`
}

// takeNote reads owner's note.
func (s *Store) takeNote(db *gorm.DB, owner, id string) (noteRow, error) {
	var row noteRow
	err := db.Raw(`SELECT `+s.noteColumns()+` FROM notes WHERE id = ? AND user_id = ?`, id, owner).Take(&row).Error
	return row, err
}

// newRow is the row of a note that is made now. Its change number and key are
// yet to come.
func newRow(owner string, in NewNote, now int64) noteRow {
	row := noteRow{
		ID:          newID(),
		UserID:      owner,
		IsPinned:    in.Pinned,
		IsFavorite:  in.Favorite,
		IsArchived:  in.Archived,
		IsMarkdown:  in.Markdown,
		CreatedAt:   now,
		UpdatedAt:   now,
		Revision:    1,
		Color:       in.Color,
		Title:       in.Title,
		TitleFolded: Fold(in.Title),
		Content:     in.Content,
		Tags:        in.Tags,
	}
	row.Bytes = row.size()
	return row
}

// insertNote stores a new note and fills in its key.
func insertNote(tx *gorm.DB, row *noteRow, contentFolded string) error {
	if err := tx.Create(row).Error; err != nil {
		return err
	}
	err := tx.Exec(`INSERT INTO note_search (note_key, content_folded) VALUES (?, ?)`, row.Key, contentFolded).Error
	if err != nil {
		return err
	}
	return insertTags(tx, row)
}

// noteTag is one tag of a note.
type noteTag struct {
	NoteKey  int64
	Position int
	Tag      string
}

func insertTags(tx *gorm.DB, row *noteRow) error {
	if len(row.Tags) == 0 {
		return nil
	}
	tags := make([]noteTag, len(row.Tags))
	for i, tag := range row.Tags {
		tags[i] = noteTag{row.Key, i, tag}
	}
	return tx.Create(&tags).Error
}

// apply sets what p asks for, dated when if it needs a date.
func (p Patch) apply(row *noteRow, when int64) {
	assign(&row.Title, p.Title)
	assign(&row.Content, p.Content)
	assign(&row.IsPinned, p.Pinned)
	assign(&row.IsFavorite, p.Favorite)
	assign(&row.IsArchived, p.Archived)
	assign(&row.IsMarkdown, p.Markdown)
	if p.Tags != nil {
		row.Tags = *p.Tags
	}
	if p.SetColor {
		row.Color = p.Color
	}
	if p.Trashed != nil && *p.Trashed != row.IsTrashed {
		row.IsTrashed, row.TrashedAt = *p.Trashed, nil
		if row.IsTrashed {
			row.TrashedAt = &when
		}
	}
}

func assign[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

// updateNote stores row, an altered copy of old, as the owner's next change. If
// nothing differs it does nothing. The caller holds the owner's counters.
func updateNote(tx *gorm.DB, old noteRow, row *noteRow, when int64, contentFolded string) error {
	columns := row.differences(old)
	retagged := !slices.Equal(row.Tags, old.Tags)
	if len(columns) == 0 && !retagged {
		return nil
	}
	row.Bytes = row.size()
	counters, err := count(tx, row.UserID, 0, row.Bytes-old.Bytes)
	if err != nil {
		return err
	}
	if err := counters.checkQuota(0, row.Bytes-old.Bytes); err != nil {
		return err
	}
	row.Revision, row.UpdatedAt, row.ChangeSeq = old.Revision+1, when, counters.ChangeSeq
	columns["revision"], columns["updated_at"], columns["change_seq"] = row.Revision, row.UpdatedAt, row.ChangeSeq
	columns["bytes"] = row.Bytes
	if err := tx.Model(row).UpdateColumns(columns).Error; err != nil {
		return err
	}
	if row.Content != old.Content {
		if err := updateSearch(tx, row.Key, contentFolded); err != nil {
			return err
		}
	}
	if retagged {
		return replaceTags(tx, row)
	}
	return nil
}

func updateSearch(tx *gorm.DB, key int64, contentFolded string) error {
	return tx.Exec(`UPDATE note_search SET content_folded = ? WHERE note_key = ?`, contentFolded, key).Error
}

func replaceTags(tx *gorm.DB, row *noteRow) error {
	if err := tx.Exec(`DELETE FROM note_tags WHERE note_key = ?`, row.Key).Error; err != nil {
		return err
	}
	return insertTags(tx, row)
}

// differences returns the columns of what people can change, where row's
// values are not old's.
func (row *noteRow) differences(old noteRow) map[string]any {
	columns := map[string]any{}
	if row.Title != old.Title {
		columns["title"], columns["title_folded"] = row.Title, Fold(row.Title)
	}
	if row.Content != old.Content {
		columns["content"] = row.Content
	}
	if !equal(row.Color, old.Color) {
		columns["color"] = row.Color
	}
	if row.IsTrashed != old.IsTrashed {
		columns["is_trashed"], columns["trashed_at"] = row.IsTrashed, row.TrashedAt
	}
	for column, flag := range map[string][2]bool{
		"is_pinned":   {row.IsPinned, old.IsPinned},
		"is_favorite": {row.IsFavorite, old.IsFavorite},
		"is_archived": {row.IsArchived, old.IsArchived},
		"is_markdown": {row.IsMarkdown, old.IsMarkdown},
	} {
		if flag[0] != flag[1] {
			columns[column] = flag[0]
		}
	}
	return columns
}

// equal reports whether a and b are both nil or hold the same.
func equal(a, b *string) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// size is what a note counts for in its owner's bytes.
func (row *noteRow) size() int64 {
	size := len(row.Title) + len(row.Content)
	for _, tag := range row.Tags {
		size += len(tag)
	}
	return int64(size)
}

func (row *noteRow) note() Note {
	note := Note{
		Key:       row.Key,
		ID:        row.ID,
		UserID:    row.UserID,
		Title:     row.Title,
		Content:   row.Content,
		Tags:      slices.Clone(row.Tags),
		Color:     row.Color,
		Pinned:    row.IsPinned,
		Favorite:  row.IsFavorite,
		Archived:  row.IsArchived,
		Markdown:  row.IsMarkdown,
		Trashed:   row.IsTrashed,
		CreatedAt: fromMillis(row.CreatedAt),
		UpdatedAt: fromMillis(row.UpdatedAt),
		Revision:  row.Revision,
		ChangeSeq: row.ChangeSeq,
	}
	if note.Tags == nil {
		note.Tags = []string{}
	}
	if row.TrashedAt != nil {
		note.TrashedAt = new(fromMillis(*row.TrashedAt))
	}
	return note
}
