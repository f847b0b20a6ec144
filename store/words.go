package store

import (
	"container/heap"
	"database/sql"
	"encoding/json"
	"errors"
	"math"
	"slices"

	"gorm.io/gorm"

	"notesd/internal/heavy"
	"notesd/notes"
	"notesd/notes/query"
	"notesd/store/trigram"
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
	among, err := s.amongWords(db, owner, q, words)
	if err != nil || among != nil && len(among) == 0 {
		return nil, err
	}
	for {
		var refs []Ref
		if among != nil {
			refs, err = s.refs(db, owner, q, needle{}, among)
		} else {
			refs, err = s.noteRefs(db, owner, q)
		}
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

// amongWords returns the keys of the few notes that may match words. It returns nil if they may be
// many, or if q has another search, which narrows the list by itself.
func (s *Store) amongWords(db *gorm.DB, owner string, q notes.Query, words *query.Query) (keys []int64, err error) {
	const few = 5000
	if q.Search != "" {
		return nil, nil
	}
	found, err := s.wordCandidates(db, owner, words)
	if err != nil || found == nil || len(found) > few {
		return nil, err
	}
	keys = make([]int64, len(found))
	for i, n := range found {
		keys[i] = n.Key
	}
	return keys, nil
}

// findBest lists the best matches. It reads the notes in the order of the best ranks that they may
// have, until no other note can be among the best.
func (s *Store) findBest(db *gorm.DB, owner string, q notes.Query, words *query.Query) ([]Ref, error) {
	candidates, err := s.rankCandidates(db, owner, q, words)
	if err != nil {
		return nil, err
	}
	heap.Init(&candidates)
	best := bestMatches{limit: q.Limit}
	if q.After != nil {
		rank := rankOf(*q.After)
		best.after = &rank
	}
	read := make(map[int64]bool)
	for len(candidates) > 0 && !best.full(words.Best(candidates[0].InTitle, fromMillis(candidates[0].Updated))) {
		matches, err := s.match(db, owner, words, candidates.next(read))
		if err != nil {
			return nil, err
		}
		best.add(matches)
	}
	return best.refs(), nil
}

// rankCandidates returns the notes that may match. A note may be among them more than once.
func (s *Store) rankCandidates(
	db *gorm.DB, owner string, q notes.Query, words *query.Query,
) (candidates, error) {
	if q.Search == "" && len(q.Tags) == 0 {
		if found, err := s.wordCandidates(db, owner, words); err != nil || found != nil {
			return found, err
		}
	}
	q.Sort, q.After, q.Limit = notes.ByUpdated, nil, math.MaxInt32
	refs, err := s.noteRefs(db, owner, q)
	found := make(candidates, len(refs))
	for i, ref := range refs {
		found[i] = trigram.Note{Key: ref.Key, Updated: ref.Position.Time, Bytes: ref.Bytes, InTitle: query.MaxWords}
	}
	return found, err
}

// candidates are notes that may match, as a heap: the note that may be the best comes first.
type candidates []trigram.Note

func (c candidates) Len() int      { return len(c) }
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c candidates) Less(i, j int) bool {
	if c[i].InTitle != c[j].InTitle {
		return c[i].InTitle > c[j].InTitle
	}
	return c[i].Updated > c[j].Updated
}
func (c *candidates) Push(any) { panic("no candidate is added") }
func (c *candidates) Pop() any {
	last := len(*c) - 1
	*c = (*c)[:last]
	return nil
}

// next takes the notes that are read at once off the heap: a hundred, and about a megabyte. It leaves
// out those that were read, and adds the others to them.
func (c *candidates) next(read map[int64]bool) (refs []Ref) {
	const most, mostBytes = 100, 1 << 20
	for bytes := int64(0); len(*c) > 0 && len(refs) < most && bytes < mostBytes; {
		n := (*c)[0]
		heap.Pop(c)
		if !read[n.Key] {
			read[n.Key] = true
			refs = append(refs, Ref{Key: n.Key, Bytes: n.Bytes})
			bytes += min(n.Bytes, largeNote)
		}
	}
	return refs
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

// full reports whether no note of a rank without an id, or of a later one, can be among the best.
func (b *bestMatches) full(rank query.Rank) bool {
	if b.last == nil {
		return false
	}
	rank.ID = b.last.ID // equal ones need to be read
	return b.last.Compare(rank) < 0
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
	columns := s.smallColumns()
	if len(words.Terms) == 0 {
		columns = s.columnsWith("'' AS content")
	}
	rows, err := s.readForMatch(db, owner, refs, columns)
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
			found = append(found, match{Ref{Key: row.Key, ID: row.ID, Bytes: row.Bytes, Position: ref.Position}, rank})
		}
	}
	return found, nil
}

// readForMatch reads columns of the notes of refs by their keys.
func (s *Store) readForMatch(db *gorm.DB, owner string, refs []Ref, columns string) (map[int64]*noteRow, error) {
	keys := make([]int64, len(refs))
	for i, ref := range refs {
		keys[i] = ref.Key
	}
	rows, err := db.Raw(`SELECT `+columns+` FROM notes WHERE key `+s.oneOf("bigint")+` AND user_id || '' = ?`,
		toJSON(keys), owner).Rows() // see notesByKey
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	byKey := make(map[int64]*noteRow, len(refs))
	for rows.Next() {
		row, err := scanNote(rows)
		if err != nil {
			return nil, err
		}
		byKey[row.Key] = row
	}
	return byKey, rows.Err()
}

// scanNote scans the columns of noteColumns or smallColumns.
func scanNote(rows *sql.Rows) (*noteRow, error) {
	row := new(noteRow)
	var tags []byte
	if err := rows.Scan(row.fields(&tags)...); err != nil {
		return nil, err
	}
	if len(tags) <= len("[]") {
		return row, nil
	}
	return row, json.Unmarshal(tags, &row.Tags)
}
