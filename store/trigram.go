package store

import (
	"database/sql"
	"errors"
	"slices"
	"strings"
	"unicode"

	"gorm.io/gorm"
)

// A trigram is three letters or digits in a row, of folded text, as one of two
// million numbers. What is no letter and no digit is in all notes, and left out.
//
// In a person's many notes a search is a look into lists: of each trigram, in
// which notes it is. What it looks for can only be in notes that have all of its
// trigrams, so that few are read. Lists are only ever a hint: the notes that they
// leave are read and compared like every note.
//
// Nobody who writes a note makes a list. They are made in the background, for
// people with many notes who search, and for some notes at a time: a segment, as
// full-text indexes call it. Since every change of a note has a number, and the
// numbers of one person become visible in their order, a segment is of those
// notes whose last change was after that of the segment before, and up to its
// own. Notes that changed since are in a later one, or above all of them, and a
// search reads these always. That holds whoever wrote them, an older binary too;
// what a segment has of notes that changed or went is a wrong hint at most.
type trigram uint32

const (
	tagBits      = 12  // of a trigram: what tells those of a part apart
	segmentParts = 512 // 9 bits: of these a search reads its own alone
	segmentNotes = 2048
	mostTrigrams = 4096 // of a note: with more it may hold anything, as may a large one
	needleParts  = 6    // of what is searched for: enough, and always as many, so that it is one statement
	manyNotes    = 1000 // of a person; to read fewer takes no time
	mostUnlisted = 256  // changed notes which a search reads before they are listed
	mostWaiting  = 64   // people whose lists are wanted
)

// trigrams are those of a folded text, in its order.
func trigrams(text string) func(yield func(trigram) bool) {
	return func(yield func(trigram) bool) {
		var last [3]uint64
		row := 0
		for _, r := range text {
			if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
				row = 0
				continue
			}
			last[0], last[1], last[2] = last[1], last[2], uint64(r)
			if row++; row < 3 {
				continue
			}
			// Each letter has 21 bits. The product's upper bits depend on all of them.
			hash := (last[0]<<42 | last[1]<<21 | last[2]) * 0x9e3779b97f4a7c15
			if !yield(trigram(hash >> 32 % (segmentParts << tagBits))) {
				return
			}
		}
	}
}

// part is the part of a segment that has t's list, from 1 on.
func (t trigram) part() int { return 1 + int(t>>tagBits) }

// tag is what t is called there.
func (t trigram) tag() uint64 { return uint64(t % (1 << tagBits)) }

// needleTrigrams are those that a note has which holds a folded text: needleParts
// of them, the same one again if it is short. There are none for a text without
// three letters in a row.
func needleTrigrams(text string) (some []trigram) {
	all := slices.Collect(trigrams(text))
	if len(all) == 0 {
		return nil
	}
	for part := range needleParts {
		some = append(some, all[part*(len(all)-1)/(needleParts-1)])
	}
	return some
}

// candidates are the keys of the notes that may hold what is searched for. Nil:
// any may, as far as lists tell, or so many that a page will be full before the
// walk through the list has come far.
func (s *Store) candidates(db *gorm.DB, owner string, n needle) ([]int64, error) {
	wanted := needleTrigrams(n.text)
	if len(wanted) == 0 || n.midRun { // lists have the trigrams with a joiner in them
		return nil, nil
	}
	var notes int64
	err := db.Raw(`SELECT note_count FROM user_counters WHERE user_id = ?`, owner).Scan(&notes).Error
	if err != nil || notes < manyNotes {
		return nil, err
	}
	keys, mark, err := listed(db, owner, wanted)
	if errors.Is(err, errDamaged) || err == nil && mark == 0 {
		s.wantLists(wish{owner, err != nil})
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	most := int(notes / 4)
	var changed []int64
	err = db.Raw(`SELECT key FROM notes WHERE user_id = ? AND change_seq > ? LIMIT ?`, owner, mark, most+1).Scan(&changed).Error
	if len(changed) > mostUnlisted {
		s.wantLists(wish{owner, false})
	}
	if err != nil || len(keys)+len(changed) > most {
		return nil, err
	}
	return append(keys, changed...), nil
}

// listed are the keys of the notes that have all the wanted trigrams, says the
// person's lists, which know of the changes up to mark; 0: there are no lists.
func listed(db *gorm.DB, owner string, wanted []trigram) (keys []int64, mark int64, err error) {
	args := []any{owner, 0}
	for _, t := range wanted {
		args = append(args, t.part())
	}
	rows, err := db.Raw(`SELECT part, segment, lists FROM search_lists WHERE user_id = ? AND part IN (?`+
		strings.Repeat(", ?", len(wanted))+`)`, args...).Rows()
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	found := map[int64]*match{}
	for rows.Next() {
		var part int
		var segment int64
		var lists sql.RawBytes
		if err := rows.Scan(&part, &segment, &lists); err != nil {
			return nil, 0, err
		}
		if found[segment] == nil {
			found[segment] = newMatch(wanted)
		}
		if !found[segment].read(part, lists) {
			return nil, 0, errDamaged
		}
		mark = max(mark, segment)
	}
	keys = []int64{}
	for _, m := range found {
		some, ok := m.keys()
		if !ok {
			return nil, 0, errDamaged
		}
		keys = append(keys, some...)
	}
	return keys, mark, rows.Err()
}

// errDamaged is the error of lists that are not as they were made.
var errDamaged = errors.New("the lists for searches are damaged")
