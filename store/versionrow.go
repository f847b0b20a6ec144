package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"notesd/notes"
	"notesd/store/schema"
)

// versionRow is a version of a note as its table stores it. A note's present revision has no row:
// the note itself is that version.
type versionRow struct {
	NoteKey      int64
	Revision     int64
	At           int64
	Bytes        int64
	Due          int64
	Keep         keep
	Flags        int64
	Author       string
	Title        string
	Tags         string // a JSON array
	Color        *string
	TrashedAt    *int64
	BaseRevision *int64
	Delta        []byte
	Content      *string
}

// keep says what thinning must know of a version beside its dates.
type keep = int64

const (
	keepAsOthers keep = iota
	keepSettled       // its burst has been folded
	keepPinned        // stays as long as any history: see pins
)

// These are the bits of versionRow.Flags.
const (
	flagPinned = 1 << iota
	flagFavorite
	flagArchived
	flagMarkdown
)

var (
	versionFields = map[string]rowColumn[versionRow]{
		"note_key":      columnOf(func(row *versionRow) *int64 { return &row.NoteKey }),
		"revision":      columnOf(func(row *versionRow) *int64 { return &row.Revision }),
		"at":            columnOf(func(row *versionRow) *int64 { return &row.At }),
		"bytes":         columnOf(func(row *versionRow) *int64 { return &row.Bytes }),
		"due":           columnOf(func(row *versionRow) *int64 { return &row.Due }),
		"keep":          columnOf(func(row *versionRow) *keep { return &row.Keep }),
		"flags":         columnOf(func(row *versionRow) *int64 { return &row.Flags }),
		"author":        columnOf(func(row *versionRow) *string { return &row.Author }),
		"title":         columnOf(func(row *versionRow) *string { return &row.Title }),
		"tags":          columnOf(func(row *versionRow) *string { return &row.Tags }),
		"color":         columnOf(func(row *versionRow) **string { return &row.Color }),
		"trashed_at":    columnOf(func(row *versionRow) **int64 { return &row.TrashedAt }),
		"base_revision": columnOf(func(row *versionRow) **int64 { return &row.BaseRevision }),
		"delta":         columnOf(func(row *versionRow) *[]byte { return &row.Delta }),
		"content":       columnOf(func(row *versionRow) **string { return &row.Content }),
	}
	// keptColumns are those of a version that a change has just replaced. The others are NULL.
	keptColumns = columnsOf(versionFields, schema.Columns(`note_key integer, revision integer, at integer,
		bytes integer, due integer, keep integer, flags integer, author text, title text, tags text, color text,
		trashed_at integer, content text`))

	insertVersionsPostgres = insertPostgres("note_versions", keptColumns)
	insertVersionSQLite    = insertSQLite("note_versions", keptColumns)
)

// versionCost is what a version counts for in the bytes of a user's history beside its text: its row
// and its index entries.
const versionCost = 150

// costSQL is the cost of a row of note_versions, which the statement names v.
const costSQL = `(150 + CASE WHEN v.base_revision IS NULL THEN v.bytes ELSE length(v.delta) END)`

// cost is costSQL.
func (row *versionRow) cost() int64 {
	if row.BaseRevision != nil {
		return versionCost + int64(len(row.Delta))
	}
	return versionCost + row.Bytes
}

type authorKey struct{}

// WithAuthor returns a context whose writes of notes are a's. A write without an author is by
// nobody known.
func WithAuthor(ctx context.Context, a notes.Author) context.Context {
	return context.WithValue(ctx, authorKey{}, a.Stored())
}

// authorOf returns the stored form of the author of ctx's writes.
func authorOf(ctx context.Context) string {
	author, _ := ctx.Value(authorKey{}).(string)
	return author
}

// author returns the stored form of what made the note's present revision, or "" if it is not known.
func (row *noteRow) author() string {
	if row.AuthorRevision != row.Revision {
		return "" // a binary that knows no authors has changed the note since
	}
	return row.Author
}

// replaced returns the version that a change at when replaces.
func (row *noteRow) replaced(when int64, k keep) *versionRow {
	version := &versionRow{
		NoteKey: row.Key, Revision: row.Revision, At: row.UpdatedAt, Bytes: row.octets(), Due: dueFirst(when), Keep: k,
		Author: row.author(), Title: row.Title, Tags: "[]", Color: row.Color, TrashedAt: row.TrashedAt,
		Content: &row.Content,
	}
	if len(row.Tags) > 0 {
		version.Tags = toJSON(row.Tags)
	}
	version.Flags = bit(row.IsPinned, flagPinned) | bit(row.IsFavorite, flagFavorite) |
		bit(row.IsArchived, flagArchived) | bit(row.IsMarkdown, flagMarkdown)
	return version
}

func bit(set bool, flag int64) int64 {
	if set {
		return flag
	}
	return 0
}

// octets returns the length of a note's title, content and tags.
func (row *noteRow) octets() int64 {
	return row.size() - int64(len(row.Tags))*tagCost
}

// note returns the note as it was, with the given content. now is the note as it is.
func (row *versionRow) note(now *noteRow, content string) (notes.Version, error) {
	was := noteRow{
		Key: now.Key, ID: now.ID, UserID: now.UserID, CreatedAt: now.CreatedAt,
		IsPinned: row.Flags&flagPinned != 0, IsFavorite: row.Flags&flagFavorite != 0,
		IsArchived: row.Flags&flagArchived != 0, IsMarkdown: row.Flags&flagMarkdown != 0,
		IsTrashed: row.TrashedAt != nil, TrashedAt: row.TrashedAt, UpdatedAt: row.At, Revision: row.Revision,
		Color: row.Color, Title: row.Title, Content: content,
	}
	if err := json.Unmarshal([]byte(row.Tags), &was.Tags); err != nil {
		return notes.Version{}, fmt.Errorf("tags of revision %d: %w", row.Revision, err)
	}
	return notes.Version{Note: was.note(), By: notes.AuthorOf(row.Author)}, nil
}

// info describes the version in a list. Lines is set later.
func (row *versionRow) info() notes.VersionInfo {
	return notes.VersionInfo{
		Revision: row.Revision, At: fromMillis(row.At), Bytes: row.Bytes, Title: row.Title,
		By: notes.AuthorOf(row.Author),
	}
}

// Thinning begins when a version was replaced so long ago. Until then its text is whole.
const thinAfter = 10 * time.Minute

// dueFirst returns the hour from which thinning looks at a version that was replaced at when.
func dueFirst(when int64) int64 { return hourAfter(when + thinAfter.Milliseconds()) }

// hourAfter returns the first hour since 1970 that begins at or after a time in milliseconds.
func hourAfter(ms int64) int64 {
	const hour = int64(time.Hour / time.Millisecond)
	return (ms + hour - 1) / hour
}
