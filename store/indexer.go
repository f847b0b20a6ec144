package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"gorm.io/gorm"

	"notesd/store/trigram"
)

// A write indexes nothing. A person's notes are indexed in the background, once
// there are many of them and that person searches, and some notes at a time: a
// segment. Since every change of a note has a number, and the numbers of one person
// become visible in their order, a segment is of those notes whose last change was
// after that of the segment before, and up to its own. Notes that changed since are
// in a later one, or above all of them, and a search reads these always. That holds
// whichever process wrote them, an older binary too; what a segment has of notes
// that changed or went is a wrong hint at most.

// maxIndexRequests is how many people's requests wait for the indexer.
const maxIndexRequests = 64

// An indexRequest asks the indexer to bring a person's index up to date.
type indexRequest struct {
	owner string
	anew  bool // the one that is there is damaged
}

// requestIndex asks the indexer, unless it has too much to do already: the next
// search asks again.
func (s *Store) requestIndex(r indexRequest) {
	select {
	case s.indexRequests <- r:
	default:
	}
}

// runIndexer does what is requested until ctx ends.
func (s *Store) runIndexer(ctx context.Context) {
	for {
		select {
		case r := <-s.indexRequests:
			err := s.index(ctx, r)
			if err != nil && ctx.Err() == nil && !errors.Is(err, ErrUnavailable) { // of which others tell
				s.log.Warn("no lists of trigrams, searches in many notes are slow", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (s *Store) index(ctx context.Context, r indexRequest) error {
	if r.anew {
		err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
			return db.Exec(`DELETE FROM search_lists WHERE user_id = ?`, r.owner).Error
		})
		if err != nil {
			return err
		}
		s.log.Warn("lists of trigrams were damaged and are made anew")
	}
	return s.indexUser(ctx, r.owner, maxUnindexed, trigram.MaxNotes)
}

// indexUser makes owner's segments, of most notes each, until fewer than least are
// in none, one after another: others write in between.
func (s *Store) indexUser(ctx context.Context, owner string, least, most int64) error {
	for {
		ranges, err := changeRanges(s.db.Reader(ctx), owner)
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
		err = s.saveSegment(ctx, owner, ranges, r, upto, g.Parts())
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
	err = db.Raw(`SELECT since, upto,
			(SELECT count(*) FROM notes WHERE user_id = ? AND change_seq > since AND change_seq <= upto) AS notes
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
func (s *Store) readSegment(
	ctx context.Context, owner string, r changeRange, most int64,
) (g *trigram.Segment, upto int64, err error) {
	rows, err := s.db.Reader(ctx).Raw(`SELECT key, change_seq, bytes > ?, title_folded, CASE WHEN bytes <= ? THEN
			(SELECT content_folded FROM note_search WHERE note_key = n.key) ELSE '' END
		FROM (SELECT key, change_seq, bytes, title_folded FROM notes
			WHERE user_id = ? AND change_seq > ? AND change_seq <= ? ORDER BY change_seq LIMIT ?) AS n ORDER BY key`,
		largeNote, largeNote, owner, r.Since, r.Upto, most).Rows()
	if err != nil {
		return g, 0, err
	}
	defer rows.Close()
	g = trigram.NewSegment()
	for rows.Next() {
		var key, change int64
		var large bool
		var title, content string
		if err := rows.Scan(&key, &change, &large, &title, &content); err != nil {
			return g, 0, err
		}
		g.Add(key, large, title, content)
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
func (s *Store) saveSegment(
	ctx context.Context, owner string, seen []changeRange, r changeRange, upto int64, parts [][]byte,
) error {
	return s.db.Write(ctx, func(tx *gorm.DB) error {
		if err := lockCounters(tx, owner); err != nil {
			return err
		}
		var ends []int64
		err := tx.Raw(`SELECT segment FROM search_lists WHERE user_id = ? AND part = 0 ORDER BY segment`, owner).
			Scan(&ends).Error
		if err != nil {
			return err
		}
		if !slices.EqualFunc(ends, seen[:len(seen)-1], func(end int64, r changeRange) bool { return end == r.Upto }) {
			return errOvertaken
		}
		err = tx.Exec(`DELETE FROM search_lists WHERE user_id = ? AND segment > ? AND segment <= ?`,
			owner, r.Since, r.Upto).Error
		if err != nil {
			return err
		}
		return insertSegment(tx, owner, upto, parts)
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
