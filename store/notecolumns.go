package store

import (
	"fmt"
	"slices"
	"strings"

	"notesd/store/schema"
)

// A noteColumn is a column of notes, with access to the field of a noteRow that holds its value.
type noteColumn struct {
	schema.Column
	target func(row *noteRow) any    // the scan target of a value
	value  func(row *noteRow) any    // the value to write
	values func(rows []*noteRow) any // the values of several rows, for unnest
}

func columnOf[T any](at func(row *noteRow) *T) noteColumn {
	return noteColumn{
		target: func(row *noteRow) any { return at(row) },
		value:  func(row *noteRow) any { return *at(row) },
		values: func(rows []*noteRow) any { return column(rows, func(row *noteRow) T { return *at(row) }) },
	}
}

var (
	// noteFields has the field of each column. The statements that read and write notes are derived
	// from schema.Notes and from this table.
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

	// fixedColumns never change. noteTexts are stored again only if they have changed.
	fixedColumns = []string{"key", "id", "user_id", "created_at"}
	noteTexts    = []struct {
		name   string
		become func(*noteState) *string // a nil result: the text stays
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

// joined returns a list with one text for each column. The text function gets the column's number,
// from 1 on, and the column.
func joined(columns []noteColumn, text func(i int, c noteColumn) string) string {
	parts := make([]string, len(columns))
	for i, c := range columns {
		parts[i] = text(i+1, c)
	}
	return strings.Join(parts, ", ")
}

func columnName(_ int, c noteColumn) string { return c.Name }

// These statements store notes: several rows at a time on PostgreSQL, one row on SQLite.
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

// updatePostgres returns a statement whose arguments are the keys, the changed columns, the texts,
// and the number of rows.
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

// updateSQLite returns a statement whose arguments are the changed columns, the texts, and the key.
func updateSQLite() string {
	set := []string{joined(changedColumns, func(_ int, c noteColumn) string { return c.Name + " = ?" })}
	for _, text := range noteTexts {
		set = append(set, fmt.Sprintf("%[1]s = coalesce(?, %[1]s)", text.name))
	}
	return `UPDATE notes SET ` + strings.Join(set, ", ") + ` WHERE key = ?`
}
