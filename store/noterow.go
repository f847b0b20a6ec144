package store

import (
	"context"
	"database/sql"
	"slices"
	"strconv"

	"gorm.io/gorm"
)

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
	// Of note_tags, as noteColumns reads them, and of note_search, only to be written.
	Tags          []string `gorm:"->;serializer:json"`
	ContentFolded string   `gorm:"-"`
}

func (noteRow) TableName() string { return "notes" }

// largeNote is the size, in bytes, above which a note is read only when there is room for it.
const largeNote = 64 << 10

type roomKey struct{}

// WithRoom returns a context for requests that must ask before they read a
// large note: room is told its size, and its error is the request's, which has
// then changed nothing.
func WithRoom(ctx context.Context, room func(bytes int64) error) context.Context {
	return context.WithValue(ctx, roomKey{}, room)
}

// noteColumns is what a noteRow is read from: everything but what is folded,
// and the tags, which makes a note one query.
func (s *Store) noteColumns() string { return s.columnsWith("content") }

// smallColumns are noteColumns without the content of a large note.
func (s *Store) smallColumns() string {
	return s.columnsWith("CASE WHEN bytes <= " + strconv.Itoa(largeNote) + " THEN content ELSE '' END AS content")
}

func (s *Store) columnsWith(content string) string {
	tags := "json_group_array(tag ORDER BY position)"
	if s.postgres {
		tags = "json_agg(tag ORDER BY position)"
	}
	return `key, id, user_id, is_pinned, is_favorite, is_archived, is_markdown, is_trashed, trashed_at,
		created_at, updated_at, revision, change_seq, bytes, color, title, ` + content + `,
		(SELECT ` + tags + ` FROM note_tags WHERE note_key = notes.key) AS tags`
}

// takeNote reads owner's note.
func (s *Store) takeNote(db *gorm.DB, owner, id string) (noteRow, error) {
	row, err := s.readNote(db, s.smallColumns(), owner, id)
	if err != nil || row.Bytes <= largeNote {
		return row, err
	}
	return s.takeLarge(db, row)
}

// takeLarge reads all of a note of which smallColumns were read, if there is
// room for it. Outside a transaction it may have changed meanwhile, and grown
// by what is taken for granted then.
func (s *Store) takeLarge(db *gorm.DB, row noteRow) (noteRow, error) {
	if room, ok := db.Statement.Context.Value(roomKey{}).(func(int64) error); ok {
		if err := room(row.Bytes); err != nil {
			return noteRow{}, err
		}
	}
	return s.readNote(db, s.noteColumns(), row.UserID, row.ID)
}

func (s *Store) readNote(db *gorm.DB, columns, owner, id string) (row noteRow, err error) {
	err = db.Raw(`SELECT `+columns+` FROM notes WHERE id = ? AND user_id = ?`, id, owner).Take(&row).Error
	return row, err
}

// newRow is the row of a note that is made now. Its change number and key are
// yet to come.
func newRow(owner string, in NewNote, now int64) noteRow {
	row := noteRow{
		ID:            newID(),
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
		TitleFolded:   Fold(in.Title),
		Content:       in.Content,
		ContentFolded: Fold(in.Content),
		Tags:          append([]string{}, in.Tags...), // not nil, for toJSON
	}
	row.Bytes = row.size()
	return row
}

// insertAtOnce is a whole create as one statement, which takes PostgreSQL a third
// of the time that its steps take. ErrNotFound (the owner is gone, or the note
// is above the quota) and ErrDuplicate (the idempotency key was used before)
// say that it has done nothing. It begins with the counters, like every write.
func insertAtOnce(db *gorm.DB, row *noteRow, in NewNote) error {
	return db.Raw(`WITH counted AS (
			UPDATE user_counters
			SET change_seq = change_seq + 1, note_count = note_count + 1, note_bytes = note_bytes + @Bytes
			WHERE user_id = @UserID AND (quota_notes IS NULL OR note_count < quota_notes)
				AND (quota_bytes IS NULL OR note_bytes + @Bytes <= quota_bytes)
			RETURNING change_seq
		), claimed AS (
			INSERT INTO idempotency_keys (user_id, key, body_hash, note_id, created_at)
			SELECT @UserID, @IdempotencyKey, @BodyHash, @ID, @CreatedAt FROM counted WHERE @IdempotencyKey <> ''
		), note AS (
			INSERT INTO notes (id, user_id, is_pinned, is_favorite, is_archived, is_markdown, is_trashed,
				created_at, updated_at, revision, change_seq, bytes, color, title, title_folded, content)
			SELECT @ID, @UserID, @IsPinned, @IsFavorite, @IsArchived, @IsMarkdown, @IsTrashed,
				@CreatedAt, @UpdatedAt, @Revision, change_seq, @Bytes, @Color, @Title, @TitleFolded, @Content
			FROM counted
			RETURNING key, change_seq
		), search AS (
			INSERT INTO note_search (note_key, content_folded) SELECT key, @ContentFolded FROM note
		), tags AS (
			INSERT INTO note_tags (note_key, position, tag)
			SELECT key, position - 1, tag
			FROM note, json_array_elements_text(CAST(@TagList AS json)) WITH ORDINALITY AS list (tag, position)
		)
		SELECT key, change_seq FROM note`, in, *row, sql.Named("TagList", toJSON(row.Tags))).Take(row).Error
}

// insertNote stores a new note and fills in its key.
func insertNote(tx *gorm.DB, row *noteRow) error {
	if err := tx.Create(row).Error; err != nil {
		return err
	}
	err := tx.Exec(`INSERT INTO note_search (note_key, content_folded) VALUES (?, ?)`, row.Key, row.ContentFolded).Error
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
func updateNote(tx *gorm.DB, old noteRow, row *noteRow, when int64) error {
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
		err := tx.Exec(`UPDATE note_search SET content_folded = ? WHERE note_key = ?`, row.ContentFolded, row.Key).Error
		if err != nil {
			return err
		}
	}
	if retagged {
		return replaceTags(tx, row)
	}
	return nil
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
