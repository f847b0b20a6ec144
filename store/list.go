package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"gorm.io/gorm"

	"notesd/notes"
	"notesd/store/engine"
)

// sortColumn returns the column that a sort compares.
func sortColumn(s notes.Sort) string {
	return [...]string{
		notes.ByUpdated: "updated_at", notes.ByCreated: "created_at", notes.ByTitle: "title_folded",
		notes.ByRank: "updated_at",
	}[s]
}

// A Ref identifies a note in a list.
type Ref struct {
	Key      int64
	ID       string
	Bytes    int64          // size of title, content and tags: the cost of fetching the note
	Position notes.Position // set in lists with a limit
}

// NoteRefs lists owner's notes without reading their texts.
func (s *Store) NoteRefs(ctx context.Context, owner string, q notes.Query) (refs []Ref, err error) {
	if q.Words != "" {
		refs, err = s.findNotes(s.db.Reader(ctx), owner, q)
	} else {
		refs, err = s.noteRefs(s.db.Reader(ctx), owner, q)
	}
	if err != nil {
		return nil, fmt.Errorf("list notes: %w", engine.Translate(err))
	}
	return refs, nil
}

// noteRefs lists the notes of q, whatever its Words are.
func (s *Store) noteRefs(db *gorm.DB, owner string, q notes.Query) (refs []Ref, err error) {
	n := newNeedle(q.Search)
	among, err := s.candidates(db, owner, n)
	if err != nil || among != nil && len(among) == 0 {
		return nil, err
	}
	if n.fallback == nil {
		return s.refs(db, owner, q, n, among)
	}
	limit := q.Limit
	if limit > 0 {
		// The notes that hold the needle may come last among those that hold the piece.
		q.Limit = math.MaxInt32
	}
	if refs, err = s.refs(db, owner, q, n, among); err != nil {
		return nil, err
	}
	return n.filter(db, owner, refs, limit, s.oneOf("bigint"))
}

// refs lists the notes that contain the piece of the needle that the engines search for.
func (s *Store) refs(db *gorm.DB, owner string, q notes.Query, n needle, among []int64) (refs []Ref, err error) {
	sql, args := s.listSQL(owner, q, n, among)
	rows, err := db.Raw(sql, args...).Rows()
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var ref Ref
		if err := rows.Scan(ref.fields(q)...); err != nil {
			return nil, err
		}
		ref.Position.ID = ref.ID
		refs = append(refs, ref)
	}
	return refs, rows.Err()
}

// NotesByRef reads the notes that refs identify, in their order. It leaves out notes that were
// deleted in the meantime. Notes that were changed in the meantime are returned as they are now.
func (s *Store) NotesByRef(ctx context.Context, owner string, refs []Ref) ([]notes.Note, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	keys := make([]int64, len(refs))
	for i, ref := range refs {
		keys[i] = ref.Key
	}
	rows, err := s.notesByKey(s.db.Reader(ctx), s.noteColumns(), owner, keys)
	if err != nil {
		return nil, fmt.Errorf("read %d notes: %w", len(refs), engine.Translate(err))
	}
	byKey := make(map[int64]*noteRow, len(rows))
	for i := range rows {
		byKey[rows[i].Key] = &rows[i]
	}
	notes := make([]notes.Note, 0, len(rows))
	for _, key := range keys {
		if row, found := byKey[key]; found {
			notes = append(notes, row.note())
		}
	}
	return notes, nil
}

// notesByKey reads those of owner's notes that have the keys, in no particular order.
func (s *Store) notesByKey(db *gorm.DB, columns, owner string, keys []int64) (rows []noteRow, err error) {
	// user_id is compared as an expression. Otherwise SQLite, or PostgreSQL before its first
	// ANALYZE, may scan all notes of the user instead of looking the keys up.
	err = db.Raw(`SELECT `+columns+` FROM notes WHERE key `+s.oneOf("bigint")+` AND user_id || '' = ?`,
		toJSON(keys), owner).Scan(&rows).Error
	return rows, err
}

// listSQL returns the query for q's refs, with the columns that Ref.fields reads. It is restricted
// to the notes with the keys among, unless among is nil.
func (s *Store) listSQL(owner string, q notes.Query, n needle, among []int64) (string, []any) {
	columns := "key, bytes, id"
	if q.Limit > 0 {
		columns += ", " + sortColumn(q.Sort)
		if !q.Trashed {
			columns += ", is_favorite, is_pinned"
		}
	}
	conditions, args := s.conditions(owner, q, n, among)
	sql := "SELECT " + columns + " FROM notes WHERE " + strings.Join(conditions, " AND ") + " ORDER BY " + listOrder(q)
	if q.Limit > 0 {
		sql += " LIMIT ?"
		args = append(args, q.Limit)
	}
	return sql, args
}

// fields returns the scan targets for the columns of listSQL.
func (r *Ref) fields(q notes.Query) []any {
	fields := []any{&r.Key, &r.Bytes, &r.ID}
	if q.Limit == 0 {
		return fields
	}
	position := &r.Position
	if q.Sort == notes.ByTitle {
		fields = append(fields, &position.Title)
	} else {
		fields = append(fields, &position.Time)
	}
	if !q.Trashed {
		fields = append(fields, &position.Favorite, &position.Pinned)
	}
	return fields
}

// conditions returns the conditions that every note of q meets. The first of them are identical to
// those of the indexes notes_list and notes_trash, unless the query is for few keys.
func (s *Store) conditions(owner string, q notes.Query, n needle, among []int64) (conditions []string, args []any) {
	add := func(condition string, values ...any) {
		conditions = append(conditions, condition)
		args = append(args, values...)
	}
	// So few keys are looked up faster than a walk through the list finds them.
	const few = 500
	if among != nil && len(among) <= few { // see NotesByRef
		add("key "+s.oneOf("bigint")+" AND user_id || '' = ?", toJSON(among), owner)
	} else {
		add("user_id = ?", owner)
	}
	if q.Trashed {
		add("is_trashed")
	} else {
		add("NOT is_trashed")
		add("is_archived = ?", q.Archived)
	}
	if len(among) > few {
		add(s.keyAmong(), toJSON(among))
	}
	if q.After != nil {
		condition, values := listAfter(q)
		add(condition, values...)
	}
	if len(q.Tags) > 0 {
		add("EXISTS (SELECT 1 FROM note_tags WHERE note_key = notes.key AND "+s.tagAmong()+")", toJSON(q.Tags))
	}
	if n.piece != "" {
		contents := "(SELECT content_folded FROM note_search WHERE note_key = notes.key)"
		add(s.contains("title_folded", contents), n.piece, n.piece)
	}
	return conditions, args
}

// listOrder returns the columns that follow ORDER BY.
func listOrder(q notes.Query) string {
	direction := " DESC"
	if q.Ascending {
		direction = " ASC"
	}
	order := sortColumn(q.Sort) + direction + ", id" + direction
	if q.Trashed {
		return order
	}
	return "is_favorite DESC, is_pinned DESC, " + order
}

// listAfter returns the condition for notes that follow q.After in q's order. The engine answers
// one comparison of rows with one range scan of an index, so the default order is written as one.
func listAfter(q notes.Query) (condition string, values []any) {
	position := []any{q.After.Time, q.After.ID}
	if q.Sort == notes.ByTitle {
		position[0] = q.After.Title
	}
	column := sortColumn(q.Sort)
	flags := []any{q.After.Favorite, q.After.Pinned}
	switch {
	case q.Trashed && q.Ascending:
		return "(" + column + ", id) > (?, ?)", position
	case q.Trashed:
		return "(" + column + ", id) < (?, ?)", position
	case q.Ascending:
		return "((is_favorite, is_pinned) < (?, ?) OR (is_favorite, is_pinned) = (?, ?) AND (" +
				column + ", id) > (?, ?))",
			slices.Concat(flags, flags, position)
	default:
		return "(is_favorite, is_pinned, " + column + ", id) < (?, ?, ?, ?)", slices.Concat(flags, position)
	}
}

// contains returns the condition for notes that contain a text, which is an argument once for each
// column. The search is for the text's bytes, so % and _ have no special meaning. If the title
// contains the text, the content is not read.
func (s *Store) contains(columns ...string) string {
	find := "instr"
	if s.postgres {
		find = "strpos"
	}
	var found []string
	for _, column := range columns {
		found = append(found, find+"("+column+", ?) > 0")
	}
	return "(" + strings.Join(found, " OR ") + ")"
}

// oneOf returns the condition, to follow a column, that its value is an element of a JSON array.
// The array is one argument, however many elements of the type it has.
func (s *Store) oneOf(elementType string) string {
	if s.postgres {
		return "= ANY (ARRAY(SELECT json_array_elements_text(?::json)::" + elementType + "))"
	}
	return "IN (SELECT value FROM json_each(?))"
}

// tagAmong returns the condition that a tag is in a JSON array. The array is read as a table,
// because with oneOf PostgreSQL compares each tag with every element in turn, which is slow.
func (s *Store) tagAmong() string {
	if s.postgres {
		return "(tag IN (SELECT json_array_elements_text(?::json))) IS TRUE"
	}
	return "tag " + s.oneOf("text")
}

// keyAmong returns the condition for notes whose keys are in a JSON array. It filters the notes
// that an index walk finds: neither engine starts from these keys.
func (s *Store) keyAmong() string {
	if s.postgres {
		return "(key IN (SELECT json_array_elements_text(?::json)::bigint)) IS TRUE"
	}
	return "+key IN (SELECT value FROM json_each(?))"
}

// toJSON returns values as an argument for oneOf.
func toJSON[T int64 | string](values []T) string {
	text, err := json.Marshal(values)
	if err != nil {
		panic(err) // numbers and strings can always be marshalled
	}
	return string(text)
}
