package store

import (
	"database/sql"
	"errors"
	"strings"

	"gorm.io/gorm"

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
	query := trigram.Query(n.text)
	if len(query) == 0 || n.midRun { // the index has trigrams that include the joiner
		return nil, nil
	}
	var notes int64
	err := db.Raw(`SELECT note_count FROM user_counters WHERE user_id = ?`, owner).Scan(&notes).Error
	if err != nil || notes < manyNotes {
		return nil, err
	}
	keys, mark, err := lookup(db, owner, query)
	if errors.Is(err, errDamaged) || err == nil && mark == 0 {
		s.requestIndex(indexRequest{owner, err != nil})
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	maxCandidates := int(notes / 4)
	var changed []int64
	err = db.Raw(`SELECT key FROM notes WHERE user_id = ? AND change_seq > ? LIMIT ?`, owner, mark, maxCandidates+1).
		Scan(&changed).Error
	if len(changed) > maxUnindexed {
		s.requestIndex(indexRequest{owner, false})
	}
	if err != nil || len(keys)+len(changed) > maxCandidates {
		return nil, err
	}
	return append(keys, changed...), nil
}

// lookup returns the keys of the notes that have all the trigrams according to the user's index.
// The index covers the changes up to mark; 0: there is no index.
func lookup(db *gorm.DB, owner string, query []trigram.Trigram) (keys []int64, mark int64, err error) {
	args := []any{owner, 0}
	for _, t := range query {
		args = append(args, t.Part())
	}
	rows, err := db.Raw(`SELECT part, segment, lists FROM search_lists WHERE user_id = ? AND part IN (?`+
		strings.Repeat(", ?", len(query))+`)`, args...).Rows()
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	found := map[int64]*trigram.Match{}
	for rows.Next() {
		var part int
		var segment int64
		var lists sql.RawBytes
		if err := rows.Scan(&part, &segment, &lists); err != nil {
			return nil, 0, err
		}
		if found[segment] == nil {
			found[segment] = trigram.NewMatch(query)
		}
		if !found[segment].Read(part, lists) {
			return nil, 0, errDamaged
		}
		mark = max(mark, segment)
	}
	keys = []int64{}
	for _, m := range found {
		some, ok := m.Keys()
		if !ok {
			return nil, 0, errDamaged
		}
		keys = append(keys, some...)
	}
	return keys, mark, rows.Err()
}

// errDamaged is the error for an index that is not as it was stored.
var errDamaged = errors.New("the search index is damaged")
