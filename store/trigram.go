package store

import (
	"context"
	"database/sql"
	encoding "encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
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
func (s *Store) candidates(ctx context.Context, owner, search string) ([]int64, error) {
	wanted := needleTrigrams(Fold(search))
	if len(wanted) == 0 {
		return nil, nil
	}
	var notes int64
	err := s.reader(ctx).Raw(`SELECT note_count FROM user_counters WHERE user_id = ?`, owner).Scan(&notes).Error
	if err != nil || notes < manyNotes {
		return nil, err
	}
	keys, mark, err := s.listed(ctx, owner, wanted)
	if errors.Is(err, errDamaged) || err == nil && mark == 0 {
		s.wantLists(wish{owner, err != nil})
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	most := int(notes / 4)
	var changed []int64
	err = s.reader(ctx).Raw(`SELECT key FROM notes WHERE user_id = ? AND change_seq > ? LIMIT ?`, owner, mark, most+1).Scan(&changed).Error
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
func (s *Store) listed(ctx context.Context, owner string, wanted []trigram) (keys []int64, mark int64, err error) {
	args := []any{owner, 0}
	for _, t := range wanted {
		args = append(args, t.part())
	}
	rows, err := s.reader(ctx).Raw(`SELECT part, segment, lists FROM search_lists WHERE user_id = ? AND part IN (?`+
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

// A match is what a segment says of the trigrams that are searched for.
type match struct {
	missing map[int][]trigram // by the part that is yet to be read
	has     noteSet           // notes that have all those of the parts that were read
	any     noteSet           // notes that may have any
	notes   []byte            // the list of the segment's keys
}

// A noteSet is some of a segment's notes, a bit for each.
type noteSet [segmentNotes / 64]uint64

// add adds what a list names, and reports whether it is one.
func (n *noteSet) add(list []byte) bool {
	return numbers(list, func(note uint64) bool {
		if note >= segmentNotes {
			return false
		}
		n[note>>6] |= 1 << (note & 63)
		return true
	})
}

func newMatch(wanted []trigram) *match {
	m := &match{missing: map[int][]trigram{0: nil}}
	for i := range m.has {
		m.has[i] = math.MaxUint64
	}
	for _, t := range wanted {
		m.missing[t.part()] = append(m.missing[t.part()], t)
	}
	return m
}

// read takes in one part of a segment, and reports whether it is as it was made.
func (m *match) read(part int, sealed []byte) bool {
	lists, ok := unseal(sealed)
	wanted, asked := m.missing[part]
	delete(m.missing, part)
	if !ok || !asked {
		return false
	}
	if part == 0 {
		return m.readKeys(lists)
	}
	var sets [needleParts]noteSet // of wanted; of a trigram in no note: empty
	for len(lists) > 0 {
		tag, n := encoding.Uvarint(lists)
		list, rest, ok := readList(lists[max(n, 0):])
		if n <= 0 || !ok {
			return false
		}
		lists = rest
		for i, t := range wanted {
			if t.tag() == tag && !sets[i].add(list) {
				return false
			}
		}
	}
	for _, set := range sets[:len(wanted)] {
		for i := range m.has {
			m.has[i] &= set[i]
		}
	}
	return true
}

func (m *match) readKeys(lists []byte) bool {
	keys, rest, ok := readList(lists)
	whole, rest, alsoOK := readList(rest)
	m.notes = slices.Clone(keys)
	return ok && alsoOK && len(rest) == 0 && m.any.add(whole)
}

// keys are those of the notes that have the trigrams, or may; not ok: a part is
// missing, or not as it was made.
func (m *match) keys() (keys []int64, ok bool) {
	if len(m.missing) > 0 {
		return nil, false
	}
	note := 0
	ok = numbers(m.notes, func(key uint64) bool {
		if note == segmentNotes {
			return false
		}
		if (m.has[note>>6]|m.any[note>>6])>>(note&63)&1 == 1 {
			keys = append(keys, int64(key))
		}
		note++
		return true
	})
	return keys, ok
}

// A segment is the lists of some notes while they are made.
type segment struct {
	keys  []int64               // of the notes, ascending
	any   []uint16              // those that may hold anything, as places in keys
	lists map[trigram]*[]uint16 // the same of those that have a trigram
}

// add adds a note, of which nothing but its key is known if it is large.
func (g *segment) add(key int64, large bool, texts ...string) {
	note := uint16(len(g.keys))
	g.keys = append(g.keys, key)
	count := 0
	for _, text := range texts {
		for t := range trigrams(text) {
			list := g.lists[t]
			if list == nil {
				list = new([]uint16)
				g.lists[t] = list
			}
			if n := len(*list); n > 0 && (*list)[n-1] == note {
				continue
			}
			*list = append(*list, note)
			if count++; count > mostTrigrams {
				large = true
				break
			}
		}
	}
	if large {
		g.any = append(g.any, note)
	}
}

// rows are the parts of the segment as the table holds them.
func (g *segment) rows() [][]byte {
	rows := make([][]byte, 1+segmentParts)
	rows[0] = appendList(appendList(nil, g.keys), g.any)
	for _, t := range slices.Sorted(maps.Keys(g.lists)) {
		row := &rows[t.part()]
		*row = appendList(encoding.AppendUvarint(*row, t.tag()), *g.lists[t])
	}
	for i := range rows {
		rows[i] = seal(rows[i])
	}
	return rows
}

// appendList writes ascending numbers: how many bytes follow, and what each
// number has more than the one before, which in most lists is a byte.
func appendList[T int64 | uint16](b []byte, list []T) []byte {
	var text []byte
	last := T(0)
	for _, n := range list {
		text = encoding.AppendUvarint(text, uint64(n-last))
		last = n
	}
	return append(encoding.AppendUvarint(b, uint64(len(text))), text...)
}

// readList cuts off the first list of b; not ok: there is none.
func readList(b []byte) (list, rest []byte, ok bool) {
	length, n := encoding.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return nil, nil, false
	}
	return b[n : n+int(length)], b[n+int(length):], true
}

// numbers calls each with the numbers of a list until it returns false, and
// reports whether that was all.
func numbers(list []byte, each func(uint64) bool) bool {
	for last := uint64(0); len(list) > 0; {
		more, n := encoding.Uvarint(list)
		if n <= 0 || !each(last+more) {
			return false
		}
		last, list = last+more, list[n:]
	}
	return true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal appends a checksum.
func seal(b []byte) []byte {
	return encoding.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// unseal takes it off again; not ok: it is another's.
func unseal(b []byte) (_ []byte, ok bool) {
	end := len(b) - crc32.Size
	if end < 0 {
		return nil, false
	}
	return b[:end], encoding.LittleEndian.Uint32(b[end:]) == crc32.Checksum(b[:end], castagnoli)
}

// A wish is for somebody's lists.
type wish struct {
	owner string
	anew  bool // those that are there are damaged
}

// wantLists has somebody's lists made, unless there is too much to do already:
// the next search asks again.
func (s *Store) wantLists(w wish) {
	select {
	case s.wishes <- w:
	default:
	}
}

// makeLists makes the lists that are wanted until ctx ends.
func (s *Store) makeLists(ctx context.Context) {
	for {
		select {
		case w := <-s.wishes:
			err := s.grant(ctx, w)
			if err != nil && ctx.Err() == nil && !errors.Is(err, ErrUnavailable) { // of which others tell
				s.log.Warn("no lists of trigrams, searches in many notes are slow", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (s *Store) grant(ctx context.Context, w wish) error {
	if w.anew {
		err := s.writeOne(ctx, func(db *gorm.DB) error {
			return db.Exec(`DELETE FROM search_lists WHERE user_id = ?`, w.owner).Error
		})
		if err != nil {
			return err
		}
		s.log.Warn("lists of trigrams were damaged and are made anew")
	}
	return s.listAll(ctx, w.owner, mostUnlisted, segmentNotes)
}

// listAll makes owner's segments, of most notes each, until fewer than least are
// in none, one after another: others write in between.
func (s *Store) listAll(ctx context.Context, owner string, least, most int64) error {
	for {
		ranges, err := changeRanges(s.reader(ctx), owner)
		if err != nil {
			return err
		}
		r, found := nextRange(ranges, least, most)
		if !found {
			return nil
		}
		g, upto, err := s.readSegment(ctx, owner, r, most)
		if err != nil {
			return err
		}
		err = s.saveSegment(ctx, owner, ranges, r, upto, g.rows())
		if errors.Is(err, ErrOwnerGone) || errors.Is(err, errOvertaken) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// A changeRange is a person's changes that a segment is of, or may be, and how
// many notes have their last change there.
type changeRange struct{ Since, Upto, Notes int64 }

// noEnd is where the last range ends, which is in no segment yet.
const noEnd = math.MaxInt64

// changeRanges are those of owner's segments, and what follows them.
func changeRanges(db *gorm.DB, owner string) (ranges []changeRange, err error) {
	err = db.Raw(`SELECT since, upto, (SELECT count(*) FROM notes WHERE user_id = ? AND change_seq > since AND change_seq <= upto) AS notes
		FROM (SELECT COALESCE(lag(upto) OVER (ORDER BY upto), 0) AS since, upto FROM (
			SELECT segment AS upto FROM search_lists WHERE user_id = ? AND part = 0
			UNION ALL SELECT `+fmt.Sprint(noEnd)+`) AS ends) AS ranges
		ORDER BY upto`, owner, owner).Scan(&ranges).Error
	return ranges, err
}

// nextRange is the range to make a segment of: two of them that fit into one of
// most notes, the later perhaps in no segment yet, or else what is in none, if it
// is least notes or more.
func nextRange(ranges []changeRange, least, most int64) (r changeRange, found bool) {
	last := ranges[len(ranges)-1]
	if last.Notes < least {
		ranges = ranges[:len(ranges)-1]
	}
	for i := range len(ranges) - 1 {
		if one, next := ranges[i], ranges[i+1]; one.Notes+next.Notes <= most {
			return changeRange{one.Since, next.Upto, one.Notes + next.Notes}, true
		}
	}
	return last, last.Notes >= least
}

// readSegment makes a segment of the first most notes of a range, and says with which
// change it ends. No write waits for that: what changes meanwhile comes later.
func (s *Store) readSegment(ctx context.Context, owner string, r changeRange, most int64) (g segment, upto int64, err error) {
	rows, err := s.reader(ctx).Raw(`SELECT key, change_seq, bytes > ?, title_folded, CASE WHEN bytes <= ? THEN
			(SELECT content_folded FROM note_search WHERE note_key = n.key) ELSE '' END
		FROM (SELECT key, change_seq, bytes, title_folded FROM notes
			WHERE user_id = ? AND change_seq > ? AND change_seq <= ? ORDER BY change_seq LIMIT ?) AS n ORDER BY key`,
		largeNote, largeNote, owner, r.Since, r.Upto, most).Rows()
	if err != nil {
		return g, 0, err
	}
	defer rows.Close()
	g.lists = make(map[trigram]*[]uint16)
	for rows.Next() {
		var key, change int64
		var large bool
		var title, content string
		if err := rows.Scan(&key, &change, &large, &title, &content); err != nil {
			return g, 0, err
		}
		g.add(key, large, title, content)
		upto = max(upto, change)
	}
	if r.Upto < noEnd {
		upto = r.Upto
	}
	return g, upto, rows.Err()
}

// errOvertaken: another process has made segments meanwhile.
var errOvertaken = errors.New("overtaken")

// saveSegment puts a segment in the place of those of its range. Like every write
// it holds the owner's counters, so that of two processes one comes after the
// other, and finds ranges that are no longer as it saw them.
func (s *Store) saveSegment(ctx context.Context, owner string, seen []changeRange, r changeRange, upto int64, rows [][]byte) error {
	return s.write(ctx, func(tx *gorm.DB) error {
		if err := lockCounters(tx, owner); err != nil {
			return err
		}
		var ends []int64
		err := tx.Raw(`SELECT segment FROM search_lists WHERE user_id = ? AND part = 0 ORDER BY segment`, owner).Scan(&ends).Error
		if err != nil {
			return err
		}
		if !slices.EqualFunc(ends, seen[:len(seen)-1], func(end int64, r changeRange) bool { return end == r.Upto }) {
			return errOvertaken
		}
		err = tx.Exec(`DELETE FROM search_lists WHERE user_id = ? AND segment > ? AND segment <= ?`, owner, r.Since, r.Upto).Error
		if err != nil {
			return err
		}
		return insertSegment(tx, owner, upto, rows)
	})
}

func insertSegment(tx *gorm.DB, owner string, upto int64, rows [][]byte) error {
	const together = 171 // which makes three statements of all the rows, always the same
	part := 0
	for some := range slices.Chunk(rows, together) {
		var args []any
		for _, lists := range some {
			args = append(args, owner, part, upto, lists)
			part++
		}
		err := tx.Exec(`INSERT INTO search_lists (user_id, part, segment, lists) VALUES (?, ?, ?, ?)`+
			strings.Repeat(", (?, ?, ?, ?)", len(some)-1), args...).Error
		if err != nil {
			return err
		}
	}
	return nil
}
