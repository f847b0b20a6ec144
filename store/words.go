package store

import (
	"encoding/json"
	"errors"
	"math"
	"slices"

	"gorm.io/gorm"

	"notesd/internal/heavy"
	"notesd/notes"
	"notesd/notes/query"
)

// Both engines only read the notes that may match. Package query compares them, so both find the
// same notes, in the same order.

// A match is a note that matches the words of a query.
type match struct {
	ref  Ref
	rank query.Rank
}

// findNotes lists the notes that q.Words asks for.
func (s *Store) findNotes(db *gorm.DB, owner string, q notes.Query) ([]Ref, error) {
	words := query.Parse(q.Words)
	if q.Archived {
		words.Is("archived")
	}
	if q.Trashed {
		words.Is("trashed")
	}
	q.Archived, q.Trashed = words.Names("archived"), words.Names("trashed")
	if q.Sort == notes.ByRank {
		return s.findBest(db, owner, q, &words)
	}
	return s.findInOrder(db, owner, q, &words)
}

// findInOrder lists the matches in the order of q.Sort. It walks through the list of all notes until
// it has enough.
func (s *Store) findInOrder(db *gorm.DB, owner string, q notes.Query, words *query.Query) (found []Ref, err error) {
	const together = 500
	limit := q.Limit
	q.Limit = together
	for {
		refs, err := s.noteRefs(db, owner, q)
		if err != nil {
			return nil, err
		}
		for rest := refs; len(rest) > 0; {
			some := rest[:batchLength(rest)]
			rest = rest[len(some):]
			matches, err := s.match(db, owner, words, some)
			if err != nil {
				return nil, err
			}
			for _, m := range matches {
				if found = append(found, m.ref); len(found) == limit {
					return found, nil
				}
			}
		}
		if len(refs) < together {
			return found, nil
		}
		q.After = &refs[together-1].Position
	}
}

// findBest lists the best matches.
func (s *Store) findBest(db *gorm.DB, owner string, q notes.Query, words *query.Query) ([]Ref, error) {
	after, limit := q.After, q.Limit
	q.Sort, q.After, q.Limit = notes.ByUpdated, nil, math.MaxInt32
	refs, err := s.noteRefs(db, owner, q)
	if err != nil {
		return nil, err
	}
	best := bestMatches{limit: limit}
	if after != nil {
		rank := rankOf(*after)
		best.after = &rank
	}
	slices.SortFunc(refs, func(a, b Ref) int { return rankOf(a.Position).Compare(rankOf(b.Position)) })
	for len(refs) > 0 && !best.full(words.Best(fromMillis(refs[0].Position.Time))) {
		some := refs[:batchLength(refs)]
		refs = refs[len(some):]
		matches, err := s.match(db, owner, words, some)
		if err != nil {
			return nil, err
		}
		best.add(matches)
	}
	return best.refs(), nil
}

func rankOf(p notes.Position) query.Rank {
	return query.Rank{InTitle: p.InTitle, Whole: p.Whole, Updated: fromMillis(p.Time), ID: p.ID}
}

// bestMatches gathers the best of the matches that come after a rank.
type bestMatches struct {
	limit int         // 0: all
	after *query.Rank // nil: from the best
	found []match     // somewhat more than limit
	last  *query.Rank // the limit-th of those found; nil: there are fewer
}

// add adds matches, and drops those that are too many.
func (b *bestMatches) add(matches []match) {
	for _, m := range matches {
		if (b.after == nil || b.after.Compare(m.rank) < 0) && (b.last == nil || m.rank.Compare(*b.last) < 0) {
			b.found = append(b.found, m)
		}
	}
	if b.limit == 0 || len(b.found) < b.limit {
		return
	}
	b.sort()
	b.found = b.found[:b.limit]
	b.last = new(b.found[b.limit-1].rank)
}

func (b *bestMatches) sort() {
	slices.SortFunc(b.found, func(a, b match) int { return a.rank.Compare(b.rank) })
}

// full reports whether no note of a rank, or of one below it, can be among the best.
func (b *bestMatches) full(rank query.Rank) bool {
	return b.last != nil && b.last.Compare(rank) < 0 && !b.last.Updated.Equal(rank.Updated)
}

// refs returns the matches in order.
func (b *bestMatches) refs() []Ref {
	b.sort()
	refs := make([]Ref, len(b.found))
	for i, m := range b.found {
		refs[i] = m.ref
		refs[i].Position = notes.Position{
			InTitle: m.rank.InTitle, Whole: m.rank.Whole, Time: m.rank.Updated.UnixMilli(), ID: m.rank.ID,
		}
	}
	return refs
}

// batchLength returns how many of refs are read at once: some hundred notes, and about a megabyte.
func batchLength(refs []Ref) int {
	const most, mostBytes = 200, 1 << 20
	bytes := int64(0)
	for i, ref := range refs[:min(len(refs), most)] {
		if bytes += min(ref.Bytes, largeNote); bytes > mostBytes {
			return max(i, 1)
		}
	}
	return min(len(refs), most)
}

// match reads notes and returns those that match, in the order of refs. The text of a large note is
// read by itself.
func (s *Store) match(db *gorm.DB, owner string, words *query.Query, refs []Ref) (found []match, err error) {
	rows, err := s.readForMatch(db, owner, refs)
	if err != nil {
		return nil, err
	}
	ctx := db.Statement.Context
	for _, ref := range refs {
		row, there := rows[ref.Key]
		if !there { // deleted since
			continue
		}
		note := row.note()
		if !words.Includes(&note) {
			continue
		}
		if row.Bytes > largeNote && len(words.Terms) > 0 {
			whole, err := s.takeLarge(db, *row)
			if errors.Is(err, gorm.ErrRecordNotFound) { // deleted since
				continue
			}
			if err != nil {
				return nil, err
			}
			note.Content = whole.Content
		}
		rank, matches, err := words.MatchText(ctx, &note, heavy.Do)
		if err != nil {
			return nil, err
		}
		if matches {
			found = append(found, match{ref, rank})
		}
	}
	return found, nil
}

// readForMatch reads the notes of refs by their keys, without the contents of large ones.
func (s *Store) readForMatch(db *gorm.DB, owner string, refs []Ref) (map[int64]*noteRow, error) {
	keys := make([]int64, len(refs))
	for i, ref := range refs {
		keys[i] = ref.Key
	}
	rows, err := db.Raw(`SELECT `+s.smallColumns()+` FROM notes WHERE key `+s.oneOf("bigint")+` AND user_id || '' = ?`,
		toJSON(keys), owner).Rows() // see notesByKey
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	byKey := make(map[int64]*noteRow, len(refs))
	for rows.Next() {
		row := new(noteRow)
		var tags []byte
		if err := rows.Scan(row.fields(&tags)...); err != nil {
			return nil, err
		}
		if tags != nil {
			if err := json.Unmarshal(tags, &row.Tags); err != nil {
				return nil, err
			}
		}
		byKey[row.Key] = row
	}
	return byKey, rows.Err()
}
