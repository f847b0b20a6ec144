package store

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"gorm.io/gorm"

	"notesd/internal/heavy"
	"notesd/notes"
)

// enginePiece is the maximum length, in bytes, of the search text that the engines compare. Both
// engines compare the text anew at each position, so their time is the product of the two lengths.
// Neither reacts to an interrupt meanwhile: PostgreSQL obeys no cancel and no termination. The
// limit bounds the time to a fraction of a second for the longest note. If the needle is longer,
// the engines search for its beginning, the piece. The notes that contain the piece are read and
// searched here.
const enginePiece = 32

// A needle is a folded text to search for.
type needle struct {
	text  string
	piece string // its beginning, for which the engines search
	// fallback is the failure function of Knuth, Morris and Pratt: for each byte of text, the
	// length of the longest proper prefix of text that ends there. It is nil if the engines' answer
	// is final.
	fallback []int
	// midRun means that the text begins with a combining mark, so a match may begin in the middle
	// of a run of marks. Fold inserts a joiner after each 30 marks of a run (the stream-safe format
	// of Unicode's annex 15). The needle can't tell where the joiners are in a note, so the search
	// skips them.
	midRun bool
}

// joiner is U+034F COMBINING GRAPHEME JOINER.
const joiner = "\u034f"

func newNeedle(search string) needle {
	text := notes.Fold(search)
	midRun := text != "" && !norm.NFC.PropertiesString(text).BoundaryBefore()
	end := enginePiece
	if midRun {
		text = strings.ReplaceAll(text, joiner, "")
		_, end = utf8.DecodeRuneInString(text)
	}
	if len(text) <= end {
		return needle{text: text, piece: text}
	}
	for !utf8.RuneStart(text[end]) { // PostgreSQL accepts whole characters only
		end--
	}
	n := needle{text: text, piece: text[:end], fallback: make([]int, len(text)), midRun: midRun}
	matched := 0
	for i := 1; i < len(text); i++ {
		matched = n.step(matched, text[i])
		n.fallback[i] = matched
	}
	return n
}

// step returns how many bytes of the needle match up to and including b, after matched of them did
// before it. matched must be less than the needle's length.
func (n needle) step(matched int, b byte) int {
	for matched > 0 && n.text[matched] != b {
		matched = n.fallback[matched-1]
	}
	if n.text[matched] == b {
		matched++
	}
	return matched
}

// match continues a search in the next piece of a text. matched is how many bytes of the needle
// matched at the end of the piece before. in returns the new number; if it is the needle's length,
// the needle was found.
func (n needle) match(text string, matched int) int {
	for i := 0; i < len(text) && matched < len(n.text); i++ {
		if matched == 0 {
			next := strings.IndexByte(text[i:], n.text[0])
			if next < 0 {
				return 0
			}
			i += next
		}
		if n.midRun && strings.HasPrefix(text[i:], joiner) {
			i += len(joiner) - 1
			continue
		}
		matched = n.step(matched, text[i])
	}
	return matched
}

// filter returns the first limit of refs whose notes contain the needle, or all such refs if limit
// is 0. It reads texts of about a megabyte at a time.
func (n needle) filter(db *gorm.DB, owner string, refs []Ref, limit int, oneOf string) (found []Ref, err error) {
	const together, bytesTogether = 500, 1 << 20
	for len(refs) > 0 && (limit == 0 || len(found) < limit) {
		count, bytes := 0, int64(0)
		for count < min(len(refs), together) && (count == 0 || bytes+refs[count].Bytes <= bytesTogether) {
			bytes += refs[count].Bytes
			count++
		}
		// Of a single large note only one piece at a time is in memory: see matchLarge.
		if bytes > largeNote {
			if err := reserve(db.Statement.Context)(min(bytes, bytesTogether)); err != nil {
				return nil, err
			}
		}
		holds, err := n.matching(db, owner, refs[:count], oneOf)
		if err != nil {
			return nil, err
		}
		for _, ref := range refs[:count] {
			if holds[ref.Key] && (limit == 0 || len(found) < limit) {
				found = append(found, ref)
			}
		}
		refs = refs[count:]
	}
	return found, nil
}

// matching returns the keys of those notes of refs that contain the needle.
func (n needle) matching(db *gorm.DB, owner string, refs []Ref, oneOf string) (map[int64]bool, error) {
	keys := make([]int64, len(refs))
	for i, ref := range refs {
		keys[i] = ref.Key
	}
	rows, err := db.Raw(`SELECT key, bytes, title_folded, CASE WHEN bytes <= ? THEN
			(SELECT content_folded FROM note_search WHERE note_key = notes.key) ELSE '' END
		FROM notes WHERE key `+oneOf+` AND user_id || '' = ?`, largeNote, toJSON(keys), owner).Rows()
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	holds, large := map[int64]bool{}, map[int64]int64{}
	for rows.Next() {
		var key, bytes int64
		var title, content string
		if err := rows.Scan(&key, &bytes, &title, &content); err != nil {
			return nil, err
		}
		holds[key] = n.match(title, 0) == len(n.text) || n.match(content, 0) == len(n.text)
		if !holds[key] && bytes > largeNote {
			large[key] = bytes
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for key, bytes := range large {
		if holds[key], err = n.matchLarge(db, key, bytes); err != nil {
			return nil, err
		}
	}
	return holds, nil
}

// matchLarge searches a large note's content, and reads its folded text in pieces. For each piece
// an engine walks from the text's first character, so there are never more than about 16 pieces.
func (n needle) matchLarge(db *gorm.DB, key, bytes int64) (bool, error) {
	characters := max(256<<10, bytes/16)
	if err := reserve(db.Statement.Context)(min(bytes, utf8.UTFMax*characters)); err != nil {
		return false, err
	}
	inProcess := db.Name() == "sqlite" // PostgreSQL keeps a core of its own machine busy
	matched := 0
	for from := int64(1); ; from += characters {
		var piece string
		var err error
		heavy.If(inProcess, func() {
			err = db.Raw(`SELECT substr(content_folded, ?, ?) FROM note_search WHERE note_key = ?`, from,
				characters, key).
				Scan(&piece).Error
			matched = n.match(piece, matched)
		})
		if err != nil {
			return false, err
		}
		if matched == len(n.text) || piece == "" {
			return matched == len(n.text), nil
		}
	}
}
