package store

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"gorm.io/gorm"

	"notesd/notes"
	"notesd/store/engine"
)

// A NoteChange is the latest change of one note.
type NoteChange struct {
	ID   string
	Seq  int64
	Note *notes.Note // as the change left it; nil: it was deleted
}

// A ChangePage is a part of an owner's changes, in the order of their numbers.
type ChangePage struct {
	Changes []NoteChange
	Next    int64 // what Changes is called with to read on
	More    bool  // there is more to read now
}

// changePageBytes is the size of texts at which a ChangePage ends. A larger note is a page by
// itself.
const changePageBytes = 1 << 20

// Changes returns what has changed in owner's notes after the change since, up to limit changes. A
// note that was changed several times is returned once, with its latest change. With since = 0 it
// returns all living notes and no deletions. Without content, the notes have no content.
//
// Pages are complete while others write: a note that is changed between two pages is on a later
// one. ErrGone: the caller has to start over with since = 0, because deletions after since are not
// known any more, or there has been no change since yet. ErrOwnerGone: there is no such owner.
func (s *Store) Changes(ctx context.Context, owner string, since int64, limit int, content bool) (ChangePage, error) {
	page, err := s.changePage(s.db.Reader(ctx), owner, since, limit, content)
	if err != nil {
		return ChangePage{}, fmt.Errorf("changes of %s since %d: %w", owner, since, engine.Translate(err))
	}
	return page, nil
}

func (s *Store) changePage(
	db *gorm.DB, owner string, since int64, limit int, content bool,
) (page ChangePage, err error) {
	from := readPoint(since)
	found, err := s.changeRefs(db, owner, from, limit+1, content)
	if err != nil {
		return page, err
	}
	if since == 0 {
		from.start = found.newest
	}
	if !from.covers(found) {
		return page, ErrGone
	}
	refs := found.refs[:fitting(found.refs, limit)]
	page.More = len(refs) < len(found.refs)
	read, err := s.readChanged(db, owner, refs, content)
	if err != nil {
		return page, err
	}
	for _, ref := range refs {
		change := NoteChange{ID: ref.ID, Seq: ref.Seq}
		if ref.Key != 0 {
			note, ok := read[ref.Key]
			if !ok || note.ChangeSeq != ref.Seq { // it has a later change by now
				page.More = true
				continue
			}
			change.Note = &note
		}
		page.Changes = append(page.Changes, change)
	}
	from.position = found.newest
	if page.More {
		from.position = refs[len(refs)-1].Seq
	}
	page.Next = from.next(found.forgotten)
	return page, nil
}

// NewestChanges returns the number of the newest change of each of the owners. It leaves out those
// that do not exist.
func (s *Store) NewestChanges(ctx context.Context, owners []string) (map[string]int64, error) {
	var rows []countersRow
	err := s.db.Reader(ctx).Raw(`SELECT user_id, change_seq FROM user_counters WHERE user_id `+s.oneOf("text"),
		toJSON(owners)).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("newest changes of %d owners: %w", len(owners), engine.Translate(err))
	}
	newest := make(map[string]int64, len(rows))
	for _, row := range rows {
		newest[row.UserID] = row.ChangeSeq
	}
	return newest, nil
}

// A point is how far a caller has read an owner's changes: up to the change position. If the caller
// is reading all notes, start is the newest change at the time when it began; deletions before
// that don't concern it. Otherwise start is the position.
type point struct{ position, start int64 }

// The number of a point that is not just a position. JSON numbers are exact up to 2^53.
const (
	startBits = 26
	fullRead  = 1 << (2 * startBits)
)

// readPoint returns the point that next has returned as a number.
func readPoint(since int64) point {
	if since < fullRead {
		return point{since, since}
	}
	p := point{since & (1<<startBits - 1), (since - fullRead) >> startBits}
	if p.position == 0 { // not one of ours: it covers nothing
		p.start = -1
	}
	return p
}

// next returns the number of the point. That is its position, unless the caller is reading all
// notes and has not reached the change forgotten. Then the position alone would look like that of a
// caller that has not heard of the deletions before forgotten. An owner with so many changes that
// the number would exceed JSON's cannot be read from the start any more, which takes 67 million.
func (p point) next(forgotten int64) int64 {
	if p.position >= forgotten || p.start >= 1<<startBits {
		return p.position
	}
	return fullRead + p.start<<startBits + p.position
}

// covers reports whether all that happened after p is among what was found.
func (p point) covers(found foundChanges) bool {
	return p.position <= p.start && p.start <= found.newest && p.start >= found.forgotten
}

// foundChanges are changes without their notes, in the order of their numbers, and the owner's
// counters at that moment.
type foundChanges struct {
	newest    int64 // the number of the latest change
	forgotten int64 // the latest change whose tombstone has been removed
	refs      []changeRef
}

// changeRef is a change without its note.
type changeRef struct {
	Seq   int64
	Key   int64 // of the note; 0: it was deleted
	Bytes int64 // that the note takes on a page
	ID    string
}

// changeRefs finds up to limit changes after from. One statement finds all, because one statement
// sees one state of the database. It reads too many by up to limit, because the tables are two.
func (s *Store) changeRefs(
	db *gorm.DB, owner string, from point, limit int, content bool,
) (found foundChanges, err error) {
	bytes := "bytes"
	if !content {
		bytes = "bytes - octet_length(content)"
	}
	deletedAfter := from.start
	if from == (point{}) {
		deletedAfter = math.MaxInt64
	}
	rows, err := db.Raw(`SELECT change_seq, forgotten_seq AS key, -1 AS bytes, '' AS id
			FROM user_counters WHERE user_id = ?
		UNION ALL SELECT * FROM (SELECT change_seq, key, `+bytes+` AS bytes, id FROM notes
			WHERE user_id = ? AND change_seq > ? ORDER BY change_seq LIMIT ?) AS changed
		UNION ALL SELECT * FROM (SELECT change_seq, 0 AS key, 0 AS bytes, note_id AS id FROM tombstones
			WHERE user_id = ? AND change_seq > ? ORDER BY change_seq LIMIT ?) AS deleted`,
		owner, owner, from.position, limit, owner, deletedAfter, limit).Rows()
	if err != nil {
		return found, err
	}
	defer rows.Close()
	known := false
	for rows.Next() {
		var ref changeRef
		if err := rows.Scan(&ref.Seq, &ref.Key, &ref.Bytes, &ref.ID); err != nil {
			return found, err
		}
		if ref.Bytes < 0 {
			found.newest, found.forgotten, known = ref.Seq, ref.Key, true
			continue
		}
		found.refs = append(found.refs, ref)
	}
	if err := rows.Err(); err != nil {
		return found, err
	}
	if !known {
		return found, ErrOwnerGone
	}
	slices.SortFunc(found.refs, func(a, b changeRef) int { return cmp.Compare(a.Seq, b.Seq) })
	found.refs = found.refs[:min(limit, len(found.refs))]
	return found, nil
}

// fitting returns how many of refs make up a page of at most limit changes.
func fitting(refs []changeRef, limit int) int {
	var bytes int64
	for i, ref := range refs {
		if bytes += ref.Bytes; i == limit || i > 0 && bytes > changePageBytes {
			return i
		}
	}
	return len(refs)
}

// readChanged reads the notes of refs by their keys, as they are by now. If they are large it
// reserves the memory first.
func (s *Store) readChanged(db *gorm.DB, owner string, refs []changeRef, content bool) (map[int64]notes.Note, error) {
	var keys []int64
	var bytes int64
	for _, ref := range refs {
		if ref.Key != 0 {
			keys, bytes = append(keys, ref.Key), bytes+ref.Bytes
		}
	}
	if len(keys) == 0 {
		return nil, nil
	}
	if bytes > largeNote {
		if err := reserve(db.Statement.Context)(bytes); err != nil {
			return nil, err
		}
	}
	columns := s.noteColumns()
	if !content {
		columns = s.columnsWith("'' AS content")
	}
	rows, err := s.notesByKey(db, columns, owner, keys)
	if err != nil {
		return nil, err
	}
	read := make(map[int64]notes.Note, len(rows))
	for i := range rows {
		read[rows[i].Key] = rows[i].note()
	}
	return read, nil
}
