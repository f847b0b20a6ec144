package store

import (
	"fmt"
	"slices"
	"strings"

	"notesd/store/schema"
)

// A rowColumn is a column of a table, with access to the field of a row R that holds its value.
type rowColumn[R any] struct {
	schema.Column
	target func(row *R) any    // the scan target of a value
	value  func(row *R) any    // the value to write
	values func(rows []*R) any // the values of several rows, for unnest
}

type noteColumn = rowColumn[noteRow]

func columnOf[R, T any](at func(row *R) *T) rowColumn[R] {
	return rowColumn[R]{
		target: func(row *R) any { return at(row) },
		value:  func(row *R) any { return *at(row) },
		values: func(rows []*R) any { return column(rows, func(row *R) T { return *at(row) }) },
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

		"author":          columnOf(func(row *noteRow) *string { return &row.Author }),
		"author_revision": columnOf(func(row *noteRow) *int64 { return &row.AuthorRevision }),
	}

	// fixedColumns never change. noteTexts are stored again only if they have changed.
	fixedColumns = []string{"key", "id", "user_id", "created_at"}
	noteTexts    = []struct {
		name    string
		changed func(*noteState) *string // a nil result: the text stays
	}{
		{"title", (*noteState).newTitle}, {"title_folded", (*noteState).newTitleFolded},
		{"content", (*noteState).newContent},
	}

	foldedTitle = schema.Column{Name: "title_folded", Kind: schema.Text}

	readColumns    = columnsOf(noteFields, schema.Notes)
	storedColumns  = columnsOf(noteFields, append(slices.Clone(schema.Notes), foldedTitle))
	changedColumns = slices.DeleteFunc(slices.Clone(readColumns), func(c noteColumn) bool {
		return slices.Contains(fixedColumns, c.Name) || c.Name == "title" || c.Name == "content"
	})
)

// columnsOf returns the columns with their fields, which it finds by name.
func columnsOf[R any](fields map[string]rowColumn[R], columns []schema.Column) []rowColumn[R] {
	all := make([]rowColumn[R], len(columns))
	for i, c := range columns {
		all[i] = fields[c.Name]
		all[i].Column = c
	}
	return all
}

// joined returns a list with one text for each column. The text function gets the column's number,
// from 1 on, and the column.
func joined[R any](columns []rowColumn[R], text func(i int, c rowColumn[R]) string) string {
	parts := make([]string, len(columns))
	for i, c := range columns {
		parts[i] = text(i+1, c)
	}
	return strings.Join(parts, ", ")
}

func columnName[R any](_ int, c rowColumn[R]) string { return c.Name }

// These statements store notes: several rows at a time on PostgreSQL, one row on SQLite.
var (
	insertNotesPostgres = insertPostgres("notes", storedColumns)
	insertNoteSQLite    = insertSQLite("notes", storedColumns)
	updateNotesPostgres = updatePostgres()
	updateNoteSQLite    = updateSQLite()
)

// insertPostgres returns a statement whose arguments are the values of each column.
func insertPostgres[R any](table string, columns []rowColumn[R]) string {
	rows := make([]string, len(columns))
	for i, c := range columns {
		rows[i] = c.Name + " " + c.Kind.Type()
	}
	return `INSERT INTO ` + table + ` (` + joined(columns, columnName[R]) + `) ` + unnest(rows...)
}

// insertSQLite returns a statement whose arguments are the values of one row.
func insertSQLite[R any](table string, columns []rowColumn[R]) string {
	return `INSERT INTO ` + table + ` (` + joined(columns, columnName[R]) + `)
		VALUES (` + joined(columns, func(int, rowColumn[R]) string { return "?" }) + `)`
}

// arrays returns the arguments of insertPostgres.
func arrays[R any](columns []rowColumn[R], rows []*R) []any {
	args := make([]any, len(columns))
	for i, c := range columns {
		args[i] = c.values(rows)
	}
	return args
}

// values returns the arguments of insertSQLite.
func values[R any](columns []rowColumn[R], row *R) []any {
	args := make([]any, len(columns))
	for i, c := range columns {
		args[i] = c.value(row)
	}
	return args
}

// updatePostgres returns a statement whose arguments are the keys, the changed columns, the texts,
// and the number of rows.
func updatePostgres() string {
	set := []string{joined(changedColumns, func(_ int, c noteColumn) string { return c.Name + " = becomes." + c.Name })}
	row := []string{"key bigint"}
	for _, c := range changedColumns {
		row = append(row, c.Name+" "+c.Kind.Type())
	}
	for _, text := range noteTexts {
		set = append(set, fmt.Sprintf("%[1]s = coalesce(becomes.%[1]s, notes.%[1]s)", text.name))
		row = append(row, text.name+" text")
	}
	return fmt.Sprintf(`UPDATE notes SET %s FROM (%s LIMIT $%d) AS becomes WHERE notes.key = becomes.key`,
		strings.Join(set, ", "), unnest(row...), len(row)+1)
}

// updateSQLite returns a statement whose arguments are the changed columns, the texts, and the key.
func updateSQLite() string {
	set := []string{joined(changedColumns, func(_ int, c noteColumn) string { return c.Name + " = ?" })}
	for _, text := range noteTexts {
		set = append(set, fmt.Sprintf("%[1]s = coalesce(?, %[1]s)", text.name))
	}
	return `UPDATE notes SET ` + strings.Join(set, ", ") + ` WHERE key = ?`
}
