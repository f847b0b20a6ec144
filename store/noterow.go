package store

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm"

	"notesd/internal/heavy"
	"notesd/notes"
)

// noteRow is a note as its table stores it.
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

	Author         string // in the form of notes.Author.Stored
	AuthorRevision int64  // the revision that Author made; of any other the author is not known

	// Tags comes from note_tags: noteColumns reads it. ContentFolded belongs to note_search, and is
	// only written.
	Tags          []string `gorm:"->;serializer:json"`
	ContentFolded string   `gorm:"-"`
}

func (noteRow) TableName() string { return "notes" }

// largeNote is the size, in bytes, above which a note is read only if reserve grants the memory.
const largeNote = 64 << 10

type reserveKey struct{}

// WithReserve returns a context for a request that must reserve memory before it reads a large
// note. reserve is called with the note's size. If it returns an error, the request fails with that
// error and has changed nothing.
func WithReserve(ctx context.Context, reserve func(bytes int64) error) context.Context {
	return context.WithValue(ctx, reserveKey{}, reserve)
}

// reserve returns the function that WithReserve has put into ctx. Without one it returns a function
// that grants everything.
func reserve(ctx context.Context) func(bytes int64) error {
	if reserve, ok := ctx.Value(reserveKey{}).(func(int64) error); ok {
		return reserve
	}
	return func(int64) error { return nil }
}

// noteColumns returns the columns from which a noteRow is read: all columns except the folded
// texts, plus the tags. So one query reads a note.
func (s *Store) noteColumns() string { return s.columnsWith("content") }

// smallColumns returns noteColumns without the content of a large note.
func (s *Store) smallColumns() string {
	return s.columnsWith("CASE WHEN bytes <= " + strconv.Itoa(largeNote) + " THEN content ELSE '' END AS content")
}

func (s *Store) columnsWith(content string) string {
	return noteColumnNames + content + ", " + s.tagList()
}

// tagList returns the column tags of a note, a JSON array.
func (s *Store) tagList() string {
	tags := "json_group_array(tag ORDER BY position)"
	if s.postgres {
		tags = "json_agg(tag ORDER BY position)"
	}
	return `(SELECT ` + tags + ` FROM note_tags WHERE note_key = notes.key) AS tags`
}

// noteColumnNames has the names of readColumns, except the last one, the content, which columnsWith
// adds.
var noteColumnNames = strings.TrimSuffix(joined(readColumns, columnName[noteRow]), "content")

// fields returns the scan targets for noteColumns or smallColumns, in their order.
func (row *noteRow) fields(tags any) []any {
	fields := make([]any, 0, len(readColumns)+1)
	for _, c := range readColumns {
		fields = append(fields, c.target(row))
	}
	return append(fields, tags)
}

// takeNote reads owner's note.
func (s *Store) takeNote(db *gorm.DB, owner, id string) (noteRow, error) {
	row, err := s.readNote(db, s.smallColumns(), owner, id)
	if err != nil || row.Bytes <= largeNote {
		return row, err
	}
	return s.takeLarge(db, row)
}

// takeLarge reads all of a note whose smallColumns were read, if reserve grants the memory. Outside
// a transaction the note may have grown in the meantime. The growth is then read without asking for
// more.
func (s *Store) takeLarge(db *gorm.DB, row noteRow) (noteRow, error) {
	if err := reserve(db.Statement.Context)(row.Bytes); err != nil {
		return noteRow{}, err
	}
	return s.readNote(db, s.noteColumns(), row.UserID, row.ID)
}

func (s *Store) readNote(db *gorm.DB, columns, owner, id string) (row noteRow, err error) {
	err = db.Raw(`SELECT `+columns+` FROM notes WHERE id = ? AND user_id = ?`, id, owner).Take(&row).Error
	return row, err
}

// newRow returns the row of a new note. Its change number and key are assigned later.
func newRow(ctx context.Context, owner string, in notes.NewNote, now int64) (noteRow, error) {
	folded, err := notes.FoldContext(ctx, in.Content, reserve(ctx), heavy.Do)
	if err != nil {
		return noteRow{}, err
	}
	row := noteRow{
		ID:            cmp.Or(in.ID, NewID()),
		UserID:        owner,
		IsPinned:      in.Pinned,
		IsFavorite:    in.Favorite,
		IsArchived:    in.Archived,
		IsMarkdown:    in.Markdown,
		CreatedAt:     now,
		UpdatedAt:     now,
		Revision:      1,
		Color:         in.Color,
		Title:         in.Title,
		TitleFolded:   notes.Fold(in.Title),
		Content:       in.Content,
		ContentFolded: folded,
		Tags:          append([]string{}, in.Tags...), // it must not be nil, for toJSON
	}
	row.Bytes = row.size() + growth(row.Title, row.TitleFolded) + growth(row.Content, row.ContentFolded)
	return row, nil
}

// apply applies the patch p, with the time when where it needs a date.
func (row *noteRow) apply(p notes.Patch, when int64) {
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

// sameAs reports whether row and old are equal in all that users can change.
func (row *noteRow) sameAs(old *noteRow) bool {
	flags := func(r *noteRow) [5]bool {
		return [...]bool{r.IsPinned, r.IsFavorite, r.IsArchived, r.IsMarkdown, r.IsTrashed}
	}
	return flags(row) == flags(old) && row.Title == old.Title && row.Content == old.Content &&
		equal(row.Color, old.Color) && slices.Equal(row.Tags, old.Tags)
}

// equal reports whether a and b are both nil or point to equal values.
func equal[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// growth returns by how much a text's folded copy is longer than the text. A note is charged for
// that too. So twice a user's bytes bound the size of both copies of all the user's texts.
func growth(text, folded string) int64 { return int64(max(0, len(folded)-len(text))) }

// size returns the length of a note's title, content and tags, plus the size of the tags' rows.
func (row *noteRow) size() int64 {
	size := len(row.Title) + len(row.Content)
	for _, tag := range row.Tags {
		size += len(tag) + tagCost
	}
	return int64(size)
}

func (row *noteRow) note() notes.Note {
	note := notes.Note{
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
