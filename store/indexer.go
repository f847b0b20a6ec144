package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"notesd/internal/heavy"
	"notesd/store/trigram"
)

// Notes are indexed in the background, not by the writes. A user's notes are indexed once there are
// many of them. Each run indexes some of the notes, which form a segment. Every change of a note has
// a number, and the numbers of one user become visible in order. So a segment covers a range of
// numbers: it has the notes whose last change comes after the end of the segment before, up to its
// own end. A note that changed later is in a later segment or after all of them. A search always
// reads the notes after all segments. This holds whichever process wrote the notes, an older binary
// included. What a segment has of notes that changed or were deleted is at most a wrong hint.
//
// A search that finds many notes after all segments has them indexed at once. Before that, the notes
// are indexed while others write: slowly, so that the writes have nearly all of the machine.

const (
	// maxIndexRequests is the capacity of each of the indexer's queues.
	maxIndexRequests = 64
	// indexEvery is after how many changes of a user's notes they are indexed.
	indexEvery = 1024
	// indexRest is how many times longer than its work the indexer rests if no search waits for it.
	indexRest = 30
)

// An indexRequest asks the indexer to bring a user's index up to date.
type indexRequest struct {
	owner   string
	rebuild bool // the stored index is damaged, so rebuild it
}

// requestIndex queues a request of a search, unless the queue is full. The next search asks again.
func (s *Store) requestIndex(r indexRequest) {
	select {
	case s.indexRequests <- r:
	default:
	}
}

// indexChanges queues the indexing of users with as many changes as are worth it.
func (s *Store) indexChanges(changes []Change) {
	for _, c := range changes {
		if c.Seq%indexEvery != 0 || c.Seq == 0 {
			continue
		}
		select {
		case s.indexLater <- c.Owner:
		default: // a search will ask
		}
	}
}

// runIndexer serves the requests until ctx ends. At first it indexes what is not indexed yet.
func (s *Store) runIndexer(ctx context.Context) {
	if s.WaitReady(ctx) != nil {
		return
	}
	owners, err := s.unindexedOwners(ctx)
	close(s.started)
	s.logIndexError(ctx, err)
	for _, owner := range owners {
		s.indexSlowly(ctx, owner)
	}
	for ctx.Err() == nil {
		select {
		case r := <-s.indexRequests:
			s.logIndexError(ctx, s.index(ctx, r))
		case owner := <-s.indexLater:
			s.indexSlowly(ctx, owner)
		case <-ctx.Done():
		}
	}
}

func (s *Store) logIndexError(ctx context.Context, err error) {
	// ErrUnavailable is logged elsewhere.
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrUnavailable) {
		s.log.Warn("no search index, so searches in many notes are slow", "error", err)
	}
}

// indexMany brings owner's index up to date if owner has many notes.
func (s *Store) indexMany(ctx context.Context, owner string) error {
	counters, err := s.Counters(ctx, owner)
	if err != nil || counters.Notes < manyNotes {
		return err
	}
	return s.index(ctx, indexRequest{owner, false})
}

// indexSlowly brings owner's index up to date if owner has many notes. After each segment it rests,
// and serves the requests of searches meanwhile.
func (s *Store) indexSlowly(ctx context.Context, owner string) {
	counters, err := s.Counters(ctx, owner)
	if err != nil {
		if !errors.Is(err, ErrNotFound) { // the account was deleted
			s.logIndexError(ctx, err)
		}
		return
	}
	for more := counters.Notes >= manyNotes; more; {
		began := time.Now()
		more, err = s.indexSegment(ctx, owner, maxUnindexed, trigram.MaxNotes)
		s.logIndexError(ctx, err)
		rest := time.NewTimer(indexRest * time.Since(began))
		for resting := true; resting; {
			select {
			case r := <-s.indexRequests:
				s.logIndexError(ctx, s.index(ctx, r))
			case <-rest.C:
				resting = false
			case <-ctx.Done():
				resting, more = false, false
			}
		}
		rest.Stop()
	}
}

// IndexAll brings the search indexes of all users up to date.
func (s *Store) IndexAll(ctx context.Context) error {
	owners, err := s.unindexedOwners(ctx)
	for _, owner := range owners {
		if err == nil {
			err = s.index(ctx, indexRequest{owner, false})
		}
	}
	return err
}

// unindexedOwners returns the users with many notes whose index is worth bringing up to date.
func (s *Store) unindexedOwners(ctx context.Context) (owners []string, err error) {
	err = s.db.Reader(ctx).Raw(`SELECT user_id FROM user_counters WHERE note_count >= ? AND change_seq >= ? +
			COALESCE((SELECT max(segment) FROM search_index WHERE user_id = user_counters.user_id AND part = 0), 0)`,
		manyNotes, maxUnindexed).Scan(&owners).Error
	return owners, err
}

func (s *Store) index(ctx context.Context, r indexRequest) error {
	if r.rebuild {
		err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
			return db.Exec(`DELETE FROM search_index WHERE user_id = ?`, r.owner).Error
		})
		if err != nil {
			return err
		}
		s.log.Warn("search index was damaged or of another version and is rebuilt")
	}
	return s.indexUser(ctx, r.owner, maxUnindexed, trigram.MaxNotes)
}

// indexUser makes owner's segments, one after another. A segment has maxNotes notes at most.
// indexUser stops when fewer than minNotes notes are in no segment. Other writes run between the
// segments.
func (s *Store) indexUser(ctx context.Context, owner string, minNotes, maxNotes int64) error {
	for {
		more, err := s.indexSegment(ctx, owner, minNotes, maxNotes)
		if err != nil || !more {
			return err
		}
	}
}

// indexSegment makes one segment. It returns false if there is none to make.
func (s *Store) indexSegment(ctx context.Context, owner string, minNotes, maxNotes int64) (made bool, err error) {
	ranges, err := changeRanges(s.db.Reader(ctx), owner)
	if err != nil {
		return false, err
	}
	r, found := nextRange(ranges, minNotes, maxNotes)
	if !found {
		return false, nil
	}
	g, upto, err := s.readSegment(ctx, owner, r, maxNotes)
	if err != nil {
		return false, err
	}
	if upto == 0 { // its notes have been deleted meanwhile
		return false, nil
	}
	var parts [][]byte
	heavy.Do(func() { parts = g.Parts() })
	err = s.saveSegment(ctx, owner, ranges, r, upto, parts)
	switch {
	case errors.Is(err, ErrOwnerGone):
		return false, nil
	case errors.Is(err, errOvertaken): // another has made it, and the next one may be left to make
		return true, nil
	}
	return err == nil, err
}

// A changeRange is a range of a user's change numbers that a segment covers or may cover. Notes
// counts the notes whose last change is in the range.
type changeRange struct{ Since, Upto, Notes int64 }

// noEnd is the end of the last range, which no segment covers yet.
const noEnd = math.MaxInt64

// changeRanges returns the ranges of owner's segments, and the range after them.
func changeRanges(db *gorm.DB, owner string) (ranges []changeRange, err error) {
	err = db.Raw(`SELECT since, upto,
			(SELECT count(*) FROM notes WHERE user_id = ? AND change_seq > since AND change_seq <= upto) AS notes
		FROM (SELECT COALESCE(lag(upto) OVER (ORDER BY upto), 0) AS since, upto FROM (
			SELECT segment AS upto FROM search_index WHERE user_id = ? AND part = 0
			UNION ALL SELECT `+fmt.Sprint(noEnd)+`) AS ends) AS ranges
		ORDER BY upto`, owner, owner).Scan(&ranges).Error
	return ranges, err
}

// nextRange chooses the range of the next segment. It prefers two adjacent ranges that together fit
// into a segment of maxNotes notes; perhaps no segment covers the later of them yet. Otherwise it
// is the range that no segment covers, if that has minNotes notes or more.
func nextRange(ranges []changeRange, minNotes, maxNotes int64) (r changeRange, found bool) {
	last := ranges[len(ranges)-1]
	if last.Notes < minNotes {
		ranges = ranges[:len(ranges)-1]
	}
	for i := range len(ranges) - 1 {
		if one, next := ranges[i], ranges[i+1]; one.Notes+next.Notes <= maxNotes {
			return changeRange{one.Since, next.Upto, one.Notes + next.Notes}, true
		}
	}
	return last, last.Notes >= minNotes
}

// readSegment makes a segment of the first maxNotes notes of a range, and returns the number of the
// change with which it ends. No write waits for it: changes made meanwhile belong to a later
// segment.
func (s *Store) readSegment(
	ctx context.Context, owner string, r changeRange, maxNotes int64,
) (g *trigram.Segment, upto int64, err error) {
	rows, err := s.db.Reader(ctx).Raw(`SELECT `+s.smallColumns()+` FROM notes
		WHERE user_id = ? AND change_seq > ? AND change_seq <= ? ORDER BY change_seq LIMIT ?`,
		owner, r.Since, r.Upto, maxNotes).Rows()
	if err != nil {
		return g, 0, err
	}
	defer rows.Close()
	g = trigram.NewSegment()
	for rows.Next() {
		row, err := scanNote(rows)
		if err != nil {
			return g, 0, err
		}
		const heavyNote = 8 << 10
		heavy.If(heavyNote < row.Bytes && row.Bytes <= largeNote, func() {
			g.Add(indexedNote(row), row.Bytes > largeNote, row.Title, append(row.Tags, row.Content)...)
		})
		upto = row.ChangeSeq
	}
	if r.Upto < noEnd {
		upto = r.Upto
	}
	return g, upto, rows.Err()
}

// errOvertaken: another process has made segments in the meantime.
var errOvertaken = errors.New("overtaken")

// saveSegment replaces the segments of a range by a new one. Like every write it locks the owner's
// counters. So of two processes one comes after the other, and notices that the ranges have changed
// since it read them.
func (s *Store) saveSegment(
	ctx context.Context, owner string, seen []changeRange, r changeRange, upto int64, parts [][]byte,
) error {
	return s.db.Write(ctx, func(tx *gorm.DB) error {
		if err := lockCounters(tx, owner); err != nil {
			return err
		}
		var ends []int64
		err := tx.Raw(`SELECT segment FROM search_index WHERE user_id = ? AND part = 0 ORDER BY segment`, owner).
			Scan(&ends).Error
		if err != nil {
			return err
		}
		if !slices.EqualFunc(ends, seen[:len(seen)-1], func(end int64, r changeRange) bool { return end == r.Upto }) {
			return errOvertaken
		}
		err = tx.Exec(`DELETE FROM search_index WHERE user_id = ? AND segment > ? AND segment <= ?`,
			owner, r.Since, r.Upto).Error
		if err != nil {
			return err
		}
		return insertSegment(tx, owner, upto, parts)
	})
}

func insertSegment(tx *gorm.DB, owner string, upto int64, rows [][]byte) error {
	// With 171 rows a statement, a segment takes three statements, always the same ones.
	const together = 171
	part := 0
	for some := range slices.Chunk(rows, together) {
		var args []any
		for _, lists := range some {
			args = append(args, owner, part, upto, lists)
			part++
		}
		err := tx.Exec(`INSERT INTO search_index (user_id, part, segment, lists) VALUES (?, ?, ?, ?)`+
			strings.Repeat(", (?, ?, ?, ?)", len(some)-1), args...).Error
		if err != nil {
			return err
		}
	}
	return nil
}
