// Package schema names the columns of the tables whose rows are read and written as a whole. The
// store does that, and so does the package that dumps and restores a database.
package schema

import "strings"

// A Column is a column of a table.
type Column struct {
	Name string
	Kind Kind
}

// A Kind is the type of a column's values.
type Kind uint8

// These are the kinds.
const (
	Text Kind = iota
	Integer
	Boolean
	Bytes
)

// Type returns PostgreSQL's type for values of the kind.
func (k Kind) Type() string {
	return [...]string{Text: "text", Integer: "bigint", Boolean: "boolean", Bytes: "bytea"}[k]
}

// Columns parses a list of columns: their names, each with its kind.
func Columns(list string) (columns []Column) {
	kinds := map[string]Kind{"text": Text, "integer": Integer, "boolean": Boolean, "bytes": Bytes}
	for entry := range strings.SplitSeq(list, ",") {
		words := strings.Fields(entry)
		columns = append(columns, Column{words[0], kinds[words[1]]})
	}
	return columns
}

// Names returns the names of columns.
func Names(columns []Column) []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	return names
}

// Notes has the columns of the table notes, except the folded title, which is computed from the
// title.
var Notes = Columns(`key integer, id text, user_id text, is_pinned boolean, is_favorite boolean,
	is_archived boolean, is_markdown boolean, is_trashed boolean, trashed_at integer, created_at integer,
	updated_at integer, revision integer, change_seq integer, bytes integer, color text, title text, author text,
	author_revision integer, content text`)

// Versions has the columns of the table note_versions.
var Versions = Columns(`note_key integer, revision integer, at integer, bytes integer, due integer, keep integer,
	flags integer, author text, title text, tags text, color text, trashed_at integer, base_revision integer,
	delta bytes, content text`)
