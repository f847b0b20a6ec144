// Package schema names the columns of tables whose rows are read and written as a
// whole: by the store, and by what saves and restores a database.
package schema

import "strings"

// A Column is a column of a table.
type Column struct {
	Name string
	Kind Kind
}

// A Kind is what the values of a column are.
type Kind uint8

// The kinds.
const (
	Text Kind = iota
	Integer
	Boolean
	Bytes
)

// Array is PostgreSQL's type for an array of values of the kind.
func (k Kind) Array() string {
	return [...]string{Text: "text[]", Integer: "bigint[]", Boolean: "boolean[]", Bytes: "bytea[]"}[k]
}

// Columns reads a list of columns: their names, each with its kind.
func Columns(list string) (columns []Column) {
	kinds := map[string]Kind{"text": Text, "integer": Integer, "boolean": Boolean, "bytes": Bytes}
	for entry := range strings.SplitSeq(list, ",") {
		words := strings.Fields(entry)
		columns = append(columns, Column{words[0], kinds[words[1]]})
	}
	return columns
}

// Names are those of columns.
func Names(columns []Column) []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	return names
}

// Notes are the columns of notes, but for the folded title, which is made of the title.
var Notes = Columns(`key integer, id text, user_id text, is_pinned boolean, is_favorite boolean,
	is_archived boolean, is_markdown boolean, is_trashed boolean, trashed_at integer, created_at integer,
	updated_at integer, revision integer, change_seq integer, bytes integer, color text, title text, content text`)
