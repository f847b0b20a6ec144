package store

import (
	"fmt"
	"slices"
	"strings"

	"notesd/store/schema"
)

// A noteColumn is a column of notes, and what of a noteRow it holds.
type noteColumn struct {
	schema.Column
	target func(row *noteRow) any    // where a value goes that is read
	value  func(row *noteRow) any    // the one to write
	values func(rows []*noteRow) any // those of several rows, for unnest
}

func columnOf[T any](at func(row *noteRow) *T) noteColumn {
	return noteColumn{
		target: func(row *noteRow) any { return at(row) },
		value:  func(row *noteRow) any { return *at(row) },
		values: func(rows []*noteRow) any { return column(rows, func(row *noteRow) T { return *at(row) }) },
	}
}

var (
	// noteFields is where the values of each column are. What is written, and read, follows from
	// schema.Notes and from this.
	noteFields = map[string]noteColumn{
		"key":          columnOf(func(row *noteRow) *int64 { return &row.Key }),
		"id":           columnOf(func(row *noteRow) *string { return &row.ID }),
		"user_id":      columnOf(func(row *noteRow) *string { return &row.UserID }),
		"is_pinned":    columnOf(func(row *noteRow) *bool { return &row.IsPinned }),
		"is_favorite":  columnOf(func(row *noteRow) *bool { return &row.IsFavorite }),
		"is_archived":  columnOf(func(row *noteRow) *bool { return &row.IsArchived }),
		"is_markdown":  columnOf(func(row *noteRow) *bool { return &row.IsMarkdown }),
		"is_trashed":   columnOf(func(row *noteRow) *bool { return &row.IsTrashed }),
		"trashed_at":   columnOf(func(row *noteRow) **int64 { return &row.TrashedAt }),
		"created_at":   columnOf(func(row *noteRow) *int64 { return &row.CreatedAt }),
		"updated_at":   columnOf(func(row *noteRow) *int64 { return &row.UpdatedAt }),
		"revision":     columnOf(func(row *noteRow) *int64 { return &row.Revision }),
		"change_seq":   columnOf(func(row *noteRow) *int64 { return &row.ChangeSeq }),
		"bytes":        columnOf(func(row *noteRow) *int64 { return &row.Bytes }),
		"color":        columnOf(func(row *noteRow) **string { return &row.Color }),
		"title":        columnOf(func(row *noteRow) *string { return &row.Title }),
		"title_folded": columnOf(func(row *noteRow) *string { return &row.TitleFolded }),
		"content":      columnOf(func(row *noteRow) *string { return &row.Content }),
	}

	// fixedColumns never change, and noteTexts are stored anew only where they have.
	fixedColumns = []string{"key", "id", "user_id", "created_at"}
	noteTexts    = []struct {
		name   string
		become func(*noteState) *string // nil: it stays
	}{
		{"title", (*noteState).newTitle}, {"title_folded", (*noteState).newTitleFolded}, {"content", (*noteState).newContent},
	}

	foldedTitle = schema.Column{Name: "title_folded", Kind: schema.Text}

	readColumns    = noteColumnsOf(schema.Notes)
	storedColumns  = noteColumnsOf(append(slices.Clone(schema.Notes), foldedTitle))
	changedColumns = slices.DeleteFunc(slices.Clone(readColumns), func(c noteColumn) bool {
		return slices.Contains(fixedColumns, c.Name) || c.Name == "title" || c.Name == "content"
	})
)

func noteColumnsOf(columns []schema.Column) []noteColumn {
	all := make([]noteColumn, len(columns))
	for i, c := range columns {
		all[i] = noteFields[c.Name]
		all[i].Column = c
	}
	return all
}

// joined is a list with text for each column, which is given its name and its number from 1 on.
func joined(columns []noteColumn, text func(i int, c noteColumn) string) string {
	parts := make([]string, len(columns))
	for i, c := range columns {
		parts[i] = text(i+1, c)
	}
	return strings.Join(parts, ", ")
}

func columnName(_ int, c noteColumn) string { return c.Name }

// The statements that store notes: of several rows at a time on PostgreSQL, of one on
// SQLite.
var (
	insertNotesPostgres = `INSERT INTO notes (` + joined(storedColumns, columnName) + `)
		SELECT * FROM unnest(` + joined(storedColumns, func(i int, c noteColumn) string {
		return fmt.Sprintf("$%d::%s", i, c.Kind.Array())
	}) + `)`
	insertNoteSQLite = `INSERT INTO notes (` + joined(storedColumns, columnName) + `)
		VALUES (` + joined(storedColumns, func(int, noteColumn) string { return "?" }) + `)`
	updateNotesPostgres = updatePostgres()
	updateNoteSQLite    = updateSQLite()
)

// updatePostgres takes the keys, the changed columns, the texts, and how many rows there are.
func updatePostgres() string {
	set := []string{joined(changedColumns, func(_ int, c noteColumn) string { return c.Name + " = becomes." + c.Name })}
	row := []string{"key"}
	arrays := []string{"$1::bigint[]"}
	for _, c := range changedColumns {
		row = append(row, c.Name)
		arrays = append(arrays, fmt.Sprintf("$%d::%s", len(row), c.Kind.Array()))
	}
	for _, text := range noteTexts {
		set = append(set, fmt.Sprintf("%[1]s = coalesce(becomes.%[1]s, notes.%[1]s)", text.name))
		row = append(row, text.name)
		arrays = append(arrays, fmt.Sprintf("$%d::text[]", len(row)))
	}
	return fmt.Sprintf(`UPDATE notes SET %s
		FROM (SELECT * FROM unnest(%s) AS row (%s) LIMIT $%d) AS becomes
		WHERE notes.key = becomes.key`,
		strings.Join(set, ", "), strings.Join(arrays, ", "), strings.Join(row, ", "), len(row)+1)
}

// updateSQLite takes the changed columns, the texts, and the key.
func updateSQLite() string {
	set := []string{joined(changedColumns, func(_ int, c noteColumn) string { return c.Name + " = ?" })}
	for _, text := range noteTexts {
		set = append(set, fmt.Sprintf("%[1]s = coalesce(?, %[1]s)", text.name))
	}
	return `UPDATE notes SET ` + strings.Join(set, ", ") + ` WHERE key = ?`
}
