package store

import (
	"database/sql"
	"errors"
	"math"

	"gorm.io/gorm"

	"notesd/notes"
	"notesd/notes/query"
	"notesd/store/trigram"
)

const (
	// manyNotes is the number of a user's notes from which searches use an index. Reading fewer
	// takes no time.
	manyNotes = 1000
	// maxUnindexed is how many changed notes a search reads before it requests their indexing.
	maxUnindexed = 256
)

// candidates returns the keys of the notes that may contain the needle. It returns nil in two
// cases. In the first, no index narrows the search, so any note may contain it. In the second, the
// candidates are so many that a walk through the list fills a page soon.
func (s *Store) candidates(db *gorm.DB, owner string, n needle) ([]int64, error) {
	maxCandidates := func(notes int64) int { return int(notes / 4) }
	q := trigram.NewQuery([]string{n.text}, nil)
	if q.Empty() {
		return nil, nil
	}
	found, err := s.lookup(db, owner, q, maxCandidates)
	if err != nil || found == nil {
		return nil, err
	}
	keys := make([]int64, len(found))
	for i, n := range found {
		keys[i] = n.Key
	}
	return keys, nil
}

// wordCandidates returns the notes that may match words, and that what the index has of each note
// does not exclude. It returns nil if there is no index.
func (s *Store) wordCandidates(db *gorm.DB, owner string, words *query.Query) (candidates, error) {
	any := func(int64) int { return math.MaxInt32 }
	contained, exact := words.Contained()
	found, err := s.lookup(db, owner, trigram.NewQuery(contained, exact), any)
	kept := found[:0]
	var note notes.Note
	for _, n := range found {
		note.UpdatedAt = fromMillis(n.Updated)
		setFlags(&note, n.Flags)
		if words.MayInclude(&note) {
			// A note that is not in the index may have all the words in its title, and no more.
			n.InTitle = min(n.InTitle, len(contained))
			kept = append(kept, n)
		}
	}
	return kept, err
}

// These bits of a note's flags in the index follow those of the five flags. Older segments don't have
// them.
const (
	colorKnown = 1 << (5 + iota)
	colored
)

// flagsOf returns the flags of a note as the index has them.
func flagsOf(row *noteRow) (flags uint8) {
	for i, set := range []bool{row.IsPinned, row.IsFavorite, row.IsArchived, row.IsMarkdown, row.IsTrashed} {
		if set {
			flags |= 1 << i
		}
	}
	if row.Color != nil {
		flags |= colored
	}
	return flags | colorKnown
}

// anyColor stands for a color that is not known.
var anyColor = new("")

// setFlags is the inverse of flagsOf. The color of a note that has one, or may have one, is anyColor.
func setFlags(n *notes.Note, flags uint8) {
	n.Pinned, n.Favorite, n.Archived = flags&1 != 0, flags&2 != 0, flags&4 != 0
	n.Markdown, n.Trashed = flags&8 != 0, flags&16 != 0
	n.Color = anyColor
	if flags&(colorKnown|colored) == colorKnown {
		n.Color = nil
	}
}

// lookup returns the notes that may contain what the query looks for: those that the user's index
// has, and those that have changed since. A note may be among them several times: as it is, and as it was
// before. lookup returns nil if there is no index, and if there are more notes than mostOf says for
// the number of the user's notes.
func (s *Store) lookup(
	db *gorm.DB, owner string, q trigram.Query, mostOf func(notes int64) int,
) ([]trigram.Note, error) {
	var count int64
	err := db.Raw(`SELECT note_count FROM user_counters WHERE user_id = ?`, owner).Scan(&count).Error
	if err != nil || count < manyNotes {
		return nil, err
	}
	found, mark, err := s.readIndex(db, owner, q)
	if errors.Is(err, errDamaged) || err == nil && mark == 0 {
		s.requestIndex(indexRequest{owner, err != nil})
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	most := mostOf(count)
	changed, err := s.changedSince(db, owner, mark, most+1)
	if len(changed) > maxUnindexed {
		s.requestIndex(indexRequest{owner, false})
	}
	if err != nil || len(found)+len(changed) > most {
		return nil, err
	}
	return append(found, changed...), nil
}

// changedSince returns some of the notes whose last change comes after mark. All of a query's words
// may be in their titles.
func (s *Store) changedSince(db *gorm.DB, owner string, mark int64, limit int) (changed []trigram.Note, err error) {
	var rows []noteRow
	err = db.Raw(`SELECT key, updated_at, bytes, is_pinned, is_favorite, is_archived, is_markdown, is_trashed,
		color FROM notes WHERE user_id = ? AND change_seq > ? LIMIT ?`, owner, mark, limit).Scan(&rows).Error
	for _, row := range rows {
		n := indexedNote(&row)
		n.InTitle = query.MaxWords
		changed = append(changed, n)
	}
	return changed, err
}

// indexedNote returns what the index has of a note.
func indexedNote(row *noteRow) trigram.Note {
	return trigram.Note{Key: row.Key, Updated: row.UpdatedAt, Bytes: row.Bytes, Flags: flagsOf(row)}
}

// readIndex returns the notes that have all the trigrams according to the user's index. The index
// covers the changes up to mark; 0: there is no index.
func (s *Store) readIndex(
	db *gorm.DB, owner string, q trigram.Query,
) (found []trigram.Note, mark int64, err error) {
	rows, err := db.Raw(`SELECT part, segment, lists FROM search_index WHERE user_id = ? AND part `+s.oneOf("integer"),
		owner, toJSON(q.Parts())).Rows()
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	segments := map[int64]*trigram.Match{}
	for rows.Next() {
		var part int
		var segment int64
		var lists sql.RawBytes
		if err := rows.Scan(&part, &segment, &lists); err != nil {
			return nil, 0, err
		}
		if segments[segment] == nil {
			segments[segment] = trigram.NewMatch(q)
		}
		if !segments[segment].Read(part, lists) {
			return nil, 0, errDamaged
		}
		mark = max(mark, segment)
	}
	if err := rows.Err(); err != nil { // an index of which a part was not read is not damaged
		return nil, 0, err
	}
	count := 0
	for _, m := range segments {
		count += m.Count()
	}
	found = make([]trigram.Note, 0, count)
	for _, m := range segments {
		var ok bool
		if found, ok = m.AppendNotes(found); !ok {
			return nil, 0, errDamaged
		}
	}
	return found, mark, nil
}

// errDamaged is the error for an index that is not as it was stored, or was stored by a binary whose
// index is another.
var errDamaged = errors.New("the search index is damaged")
