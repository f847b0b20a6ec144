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

// sortColumn is what a sort compares.
func sortColumn(s notes.Sort) string {
	return [...]string{notes.ByUpdated: "updated_at", notes.ByCreated: "created_at", notes.ByTitle: "title_folded"}[s]
}

// A Ref points to a note in a list.
type Ref struct {
	Key      int64
	ID       string
	Bytes    int64          // of title, content and tags: what fetching it will cost
	Position notes.Position // in lists with a limit
}

// NoteRefs lists owner's notes without reading them.
func (s *Store) NoteRefs(ctx context.Context, owner string, q notes.Query) (refs []Ref, err error) {
	refs, err = s.noteRefs(s.db.Reader(ctx), owner, q)
	if err != nil {
		return nil, fmt.Errorf("list notes: %w", engine.Translate(err))
	}
	return refs, nil
}

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
		q.Limit = math.MaxInt32 // of those that hold the piece it may be the last that hold the needle
	}
	if refs, err = s.refs(db, owner, q, n, among); err != nil {
		return nil, err
	}
	return n.holding(db, owner, refs, limit, s.oneOf("bigint"))
}

// refs lists the notes that hold the piece of the needle that the engines search for.
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

// NotesByRef reads the notes that refs point to, in their order. Those deleted
// meanwhile are left out; those changed meanwhile are as they are now.
func (s *Store) NotesByRef(ctx context.Context, owner string, refs []Ref) ([]notes.Note, error) {
	if len(refs) == 0 {
		return nil, nil
	}
	keys := make([]int64, len(refs))
	for i, ref := range refs {
		keys[i] = ref.Key
	}
	var rows []noteRow
	// An expression instead of user_id: else SQLite, or PostgreSQL before its
	// first ANALYZE, may go through all of a person's notes instead of the keys.
	err := s.db.Reader(ctx).Raw(`SELECT `+s.noteColumns()+` FROM notes WHERE key `+s.oneOf("bigint")+` AND user_id || '' = ?`,
		toJSON(keys), owner).Scan(&rows).Error
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

// listSQL is the query for q's refs, with what Ref.fields reads: of the notes
// with the keys among, or of all if that is nil.
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

// fields are the places for the columns of listSQL.
func (r *Ref) fields(q notes.Query) []any {
	fields := []any{&r.Key, &r.Bytes, &r.ID}
	if q.Limit == 0 {
		return fields
	}
	place := &r.Position
	if q.Sort == notes.ByTitle {
		fields = append(fields, &place.Title)
	} else {
		fields = append(fields, &place.Time)
	}
	if !q.Trashed {
		fields = append(fields, &place.Favorite, &place.Pinned)
	}
	return fields
}

// conditions are what every note of q fulfils. The first of them are words for
// word those of the indexes notes_list and notes_trash, unless it is some keys
// that are asked for.
func (s *Store) conditions(owner string, q notes.Query, n needle, among []int64) (conditions []string, args []any) {
	add := func(condition string, values ...any) {
		conditions = append(conditions, condition)
		args = append(args, values...)
	}
	const few = 500                        // which are looked up sooner than a walk through the list comes by them
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
		add(s.contains("title_folded", "(SELECT content_folded FROM note_search WHERE note_key = notes.key)"), n.piece, n.piece)
	}
	return conditions, args
}

// listOrder is what follows ORDER BY.
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

// listAfter is true of the notes that follow q.After in q's order. One comparison of
// rows is one walk of an index, so the default order, which has one, makes one.
func listAfter(q notes.Query) (condition string, values []any) {
	place := []any{q.After.Time, q.After.ID}
	if q.Sort == notes.ByTitle {
		place[0] = q.After.Title
	}
	column := sortColumn(q.Sort)
	flags := []any{q.After.Favorite, q.After.Pinned}
	switch {
	case q.Trashed && q.Ascending:
		return "(" + column + ", id) > (?, ?)", place
	case q.Trashed:
		return "(" + column + ", id) < (?, ?)", place
	case q.Ascending:
		return "((is_favorite, is_pinned) < (?, ?) OR (is_favorite, is_pinned) = (?, ?) AND (" + column + ", id) > (?, ?))",
			slices.Concat(flags, flags, place)
	default:
		return "(is_favorite, is_pinned, " + column + ", id) < (?, ?, ?, ?)", slices.Concat(flags, place)
	}
}

// contains is true of notes that hold a text, given once for each place: a
// search for its bytes, so that % and _ are letters like others. Where the
// title has it the content is not read.
func (s *Store) contains(places ...string) string {
	find := "instr"
	if s.postgres {
		find = "strpos"
	}
	var found []string
	for _, place := range places {
		found = append(found, find+"("+place+", ?) > 0")
	}
	return "(" + strings.Join(found, " OR ") + ")"
}

// oneOf follows a column: it is one of the elements, of a type, of a JSON array
// that is one argument, however many they are.
func (s *Store) oneOf(elementType string) string {
	if s.postgres {
		return "= ANY (ARRAY(SELECT json_array_elements_text(?::json)::" + elementType + "))"
	}
	return "IN (SELECT value FROM json_each(?))"
}

// tagAmong is true of tags that are in a JSON array, which the engines make a
// table of: with oneOf, PostgreSQL would compare each tag with one after another.
func (s *Store) tagAmong() string {
	if s.postgres {
		return "(tag IN (SELECT json_array_elements_text(?::json))) IS TRUE"
	}
	return "tag " + s.oneOf("text")
}

// keyAmong is true of notes whose keys are in a JSON array, and is asked of those
// that a walk comes by: neither engine begins with these keys.
func (s *Store) keyAmong() string {
	if s.postgres {
		return "(key IN (SELECT json_array_elements_text(?::json)::bigint)) IS TRUE"
	}
	return "+key IN (SELECT value FROM json_each(?))"
}

// toJSON is values as an argument for oneOf.
func toJSON[T int64 | string](values []T) string {
	text, err := json.Marshal(values)
	if err != nil {
		panic(err) // numbers and strings can always be written
	}
	return string(text)
}
