package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"gorm.io/gorm"
)

// A sketch says which words a note can't hold: for every three letters in a row
// of its title and content, folded, two bits of it are set. What a search looks
// for can only be in notes whose sketches have all of its bits, so that of many
// notes few have to be read. Sketches are only ever a hint: what they leave is
// read and compared like every note.
//
// Nobody who writes a note makes a sketch. They are made in the background, for
// people with many notes who search, and a mark says up to which of a person's
// changes. Since every change of a note has a number, the notes without a sketch,
// or with one of an earlier text, are those with a number above the mark; a
// search reads them all. That holds whoever wrote them, an older binary too.
type sketch []byte

const (
	sketchBytes    = 512  // 1 KB of text sets a fifth of the bits
	sketchFrom     = 1000 // notes of a person; to read fewer takes no time
	sketchBatch    = 200  // notes: who writes waits for so many at most, some milliseconds
	mostUnsketched = 64   // people who wait for theirs
	sketchParts    = 6    // of what is searched for: enough, and always as many, so that it is one statement
)

// newSketch is the sketch of folded texts.
func newSketch(texts ...string) sketch {
	k := make(sketch, sketchBytes)
	for _, text := range texts {
		for bits := range triples(text) {
			for _, bit := range bits {
				k[bit>>3] |= 1 << (bit & 7)
			}
		}
	}
	return k
}

// fullSketch is that of a note which may hold anything.
func fullSketch() sketch { return bytes.Repeat([]byte{0xff}, sketchBytes) }

// triples are the two bits of every three letters in a row. What is no letter and
// no digit is left out: it is in all notes, and would only fill their sketches.
func triples(text string) func(yield func([2]int64) bool) {
	return func(yield func([2]int64) bool) {
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
			const bits = sketchBytes * 8
			if !yield([2]int64{int64(hash >> 52 % bits), int64(hash >> 40 % bits)}) {
				return
			}
		}
	}
}

// needleBits are the bits that the sketch of a note has which holds a folded
// text: of three parts of it, the same one again if it is short. There are none
// for a text without three letters in a row.
func needleBits(text string) (bits []any) {
	var all [][2]int64
	for pair := range triples(text) {
		all = append(all, pair)
	}
	if len(all) == 0 {
		return nil
	}
	for part := range sketchParts {
		pair := all[part*(len(all)-1)/(sketchParts-1)]
		bits = append(bits, pair[0], pair[1])
	}
	return bits
}

// candidates are the keys of the notes that may hold what is searched for. Nil:
// any may, as far as sketches tell, or so many that a page will be full before the
// walk through the list has come far.
func (s *Store) candidates(db *gorm.DB, owner, search string) ([]int64, error) {
	bits := needleBits(Fold(search))
	if len(bits) == 0 {
		return nil, nil
	}
	var known struct{ NoteCount, ChangeSeq, Mark int64 }
	err := db.Raw(`SELECT note_count, change_seq,
			COALESCE((SELECT change_seq FROM sketch_marks WHERE user_id = user_counters.user_id), 0) AS mark
		FROM user_counters WHERE user_id = ?`, owner).Scan(&known).Error
	if err != nil || known.NoteCount < sketchFrom {
		return nil, err
	}
	if known.ChangeSeq-known.Mark > sketchBatch {
		s.wantSketches(owner)
	}
	most := int(known.NoteCount / 32)
	keys := make([]int64, 0, most+1)
	sql := `SELECT key FROM notes WHERE user_id = ? AND change_seq > ?
		UNION ALL
		SELECT note_key FROM note_sketches WHERE user_id = ?` + strings.Repeat(" AND get_bit(sketch, ?) = 1", len(bits)) + ` LIMIT ?`
	args := append([]any{owner, known.Mark, owner}, bits...)
	err = db.Raw(sql, append(args, most+1)...).Scan(&keys).Error
	if err != nil || len(keys) > most {
		return nil, err
	}
	return keys, nil
}

// wantSketches has owner's sketches made, unless there is too much to do
// already: the next search asks again.
func (s *Store) wantSketches(owner string) {
	select {
	case s.unsketched <- owner:
	default:
	}
}

// drawSketches makes the sketches that are wanted until ctx ends.
func (s *Store) drawSketches(ctx context.Context) {
	for {
		select {
		case owner := <-s.unsketched:
			err := s.drawAll(ctx, owner)
			if err != nil && ctx.Err() == nil && !errors.Is(err, ErrUnavailable) { // of which others tell
				s.log.Warn("no sketches, searches in many notes are slow", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// drawAll brings owner's sketches up to date, in small steps: others write in between.
func (s *Store) drawAll(ctx context.Context, owner string) error {
	for {
		n, err := s.drawSome(ctx, owner)
		switch {
		case err != nil && !errors.Is(err, ErrOwnerGone):
			return fmt.Errorf("sketches: %w", err)
		case n < sketchBatch:
			return nil
		}
	}
}

// sketchRow is a note's sketch as the table holds it.
type sketchRow struct {
	UserID  string
	NoteKey int64
	Sketch  []byte
}

// drawSome makes the next of owner's sketches, and moves the mark. Like every
// write it holds the owner's counters, so no note changes or goes meanwhile, and
// of two processes that draw one comes after the other.
func (s *Store) drawSome(ctx context.Context, owner string) (n int, err error) {
	err = s.write(ctx, func(tx *gorm.DB) error {
		if err := lockCounters(tx, owner); err != nil {
			return err
		}
		var mark int64
		err := tx.Raw(`SELECT change_seq FROM sketch_marks WHERE user_id = ?`, owner).Scan(&mark).Error
		if err != nil {
			return err
		}
		rows, mark, err := readForSketches(tx, owner, mark)
		if n = len(rows); err != nil || n == 0 {
			return err
		}
		if err := saveSketches(tx, rows); err != nil {
			return err
		}
		return tx.Exec(`INSERT INTO sketch_marks (user_id, change_seq) VALUES (?, ?)
			ON CONFLICT (user_id) DO UPDATE SET change_seq = excluded.change_seq`, owner, mark).Error
	})
	return n, err
}

// readForSketches sketches the notes that changed after mark, the first of them,
// and returns the new mark. A large note is not read: its sketch would be full.
func readForSketches(tx *gorm.DB, owner string, mark int64) (sketches []sketchRow, _ int64, err error) {
	rows, err := tx.Raw(`SELECT key, change_seq, bytes, title_folded, CASE WHEN bytes <= ? THEN
			(SELECT content_folded FROM note_search WHERE note_key = notes.key) ELSE '' END
		FROM notes WHERE user_id = ? AND change_seq > ? ORDER BY change_seq LIMIT ?`,
		largeNote, owner, mark, sketchBatch).Rows()
	if err != nil {
		return nil, mark, err
	}
	defer rows.Close()
	for rows.Next() {
		row, size, title, content := sketchRow{UserID: owner}, int64(0), "", ""
		if err := rows.Scan(&row.NoteKey, &mark, &size, &title, &content); err != nil {
			return nil, mark, err
		}
		row.Sketch = newSketch(title, content)
		if size > largeNote {
			row.Sketch = fullSketch()
		}
		sketches = append(sketches, row)
	}
	return sketches, mark, rows.Err()
}

func saveSketches(tx *gorm.DB, rows []sketchRow) error {
	var args []any
	for _, row := range rows {
		args = append(args, row.UserID, row.NoteKey, row.Sketch)
	}
	return tx.Exec(`INSERT INTO note_sketches (user_id, note_key, sketch) VALUES (?, ?, ?)`+
		strings.Repeat(", (?, ?, ?)", len(rows)-1)+
		` ON CONFLICT (user_id, note_key) DO UPDATE SET sketch = excluded.sketch`, args...).Error
}
