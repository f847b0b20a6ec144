package query

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"notesd/notes"
	"notesd/notes/searchfold"
)

// A Rank says how well a note matches. The notes with the most words in their title are the best.
// Of those, the notes with the most whole words are, and then those changed last.
type Rank struct {
	InTitle, Whole int       // how many of the query's terms are in the title, and are whole words somewhere
	Updated        time.Time // of the note
	ID             string    // of the note: the last one comes first
}

// Compare returns a negative number if a note of rank r comes before one of rank other.
func (r Rank) Compare(other Rank) int {
	return cmp.Or(cmp.Compare(other.InTitle, r.InTitle), cmp.Compare(other.Whole, r.Whole),
		other.Updated.Compare(r.Updated), cmp.Compare(other.ID, r.ID))
}

// Match reports whether the query asks for a note, and its rank.
func (q *Query) Match(n *notes.Note) (r Rank, ok bool) {
	if !q.Includes(n) {
		return r, false
	}
	// The background context never ends.
	r, ok, _ = q.MatchText(context.Background(), n, func(step func()) { step() })
	return r, ok
}

// MatchText is Match for a note that the query Includes. It gives up when ctx ends, and returns the
// cause. A content of more than 64 KiB is searched in steps of some milliseconds. MatchText passes
// each step to do, which calls it.
func (q *Query) MatchText(ctx context.Context, n *notes.Note, do func(step func())) (r Rank, ok bool, err error) {
	r = Rank{Updated: n.UpdatedAt, ID: n.ID}
	s := q.newSearch()
	s.text(n.Title)
	for i := range s.found {
		if s.found[i].there && !q.Terms[i].Not {
			r.InTitle++
		}
	}
	for _, tag := range n.Tags {
		s.text(tag)
	}
	if err := s.content(ctx, n.Content, do); err != nil {
		return r, false, err
	}
	for i, found := range s.found {
		if found.there == q.Terms[i].Not {
			return r, false, nil
		}
		if found.whole {
			r.Whole++
		}
	}
	return r, true, nil
}

// A Hit is where a term is in a text, in code points.
type Hit struct{ Start, End int }

// Hits says where in a note the terms are. Hits that overlap are one.
type Hits struct {
	Title, Content []Hit
	Tags           [][]Hit // for each tag
	Excerpt        Excerpt
}

// An Excerpt is the part of the content around its first hit.
type Excerpt struct {
	Text  string
	Start int // the position of Text in the content, in code points
}

const (
	// maxHits is how many hits in one text are returned.
	maxHits = 50
	// An excerpt has excerptBefore code points before the first hit, and excerptLength altogether.
	// It is somewhat shorter if it would begin or end within a word.
	excerptBefore = 40
	excerptLength = 200
)

// Hits returns the hits in a note that matches. Like MatchText it searches a long content in steps.
func (q *Query) Hits(ctx context.Context, n *notes.Note, do func(step func())) (h Hits, err error) {
	h.Title = q.newHitSearch().textHits(n.Title)
	h.Tags = make([][]Hit, len(n.Tags))
	for i, tag := range n.Tags {
		h.Tags[i] = q.newHitSearch().textHits(tag)
	}
	s := q.newHitSearch()
	if err := s.content(ctx, n.Content, do); err != nil {
		return h, err
	}
	h.Content = s.merged()
	heavyIf(len(n.Content) > piece, do, func() { h.Excerpt = excerpt(n.Content, h.Content) })
	return h, nil
}

// heavyIf calls step, through do if it may take long.
func heavyIf(heavy bool, do func(step func()), step func()) {
	if heavy {
		do(step)
	} else {
		step()
	}
}

// piece is how much of a content is searched in one step, in bytes.
const piece = 64 << 10

// A search looks for the terms of a query in some texts. It folds each text piece by piece, and
// keeps only the end of the piece before, which may be the beginning of a term.
type search struct {
	q      *Query
	folder searchfold.Folder
	buffer []byte // folded text
	begin  int    // where in buffer the next hit may begin; what is before it has been searched
	resume []int  // for each term, where in buffer the search for it goes on
	found  []finding
	hits   []Hit // nil: they are not collected
}

// A finding says what is known of one term.
type finding struct{ there, whole bool }

func (q *Query) newSearch() *search {
	s := &search{q: q, resume: make([]int, len(q.Terms)), found: make([]finding, len(q.Terms))}
	s.folder.Blanks = true
	return s
}

// newHitSearch returns a search that collects hits.
func (q *Query) newHitSearch() *search {
	s := q.newSearch()
	s.folder.Map = new(searchfold.Map)
	s.hits = []Hit{}
	return s
}

// text searches a short text.
func (s *search) text(text string) {
	s.reset()
	s.next(text, true)
}

func (s *search) textHits(text string) []Hit {
	s.text(text)
	return s.merged()
}

// content searches a text that may be long.
func (s *search) content(ctx context.Context, text string, do func(step func())) error {
	if s.done() {
		return nil
	}
	if len(text) <= piece {
		s.text(text)
		return nil
	}
	s.reset()
	for more := true; more && !s.done(); {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		do(func() {
			end := min(piece, len(text))
			for end < len(text) && !utf8.RuneStart(text[end]) {
				end--
			}
			more = end < len(text)
			s.next(text[:end], !more)
			text = text[end:]
		})
	}
	return nil
}

// reset begins another text.
func (s *search) reset() {
	s.buffer, s.begin = s.buffer[:0], 0
	clear(s.resume)
	s.folder.Finish(nil)
}

// done reports whether the rest of the text can change nothing.
func (s *search) done() bool {
	if s.hits != nil {
		return len(s.hits) >= maxHits
	}
	for i, term := range s.q.Terms {
		if f := s.found[i]; term.Not && f.there {
			return true
		} else if term.Not || !f.whole {
			return false
		}
	}
	return true
}

// lookahead is how much of the folded text after a hit must be known, in bytes: the next character,
// for whether the hit is a whole word, and all that one character of the text can become.
const lookahead = 128

// next searches the next piece of a text.
func (s *search) next(text string, last bool) {
	s.buffer = s.folder.Append(s.buffer, text)
	limit := len(s.buffer) - s.q.longest - lookahead // hits that begin later are found with the next piece
	length := s.folder.Read()
	if last {
		s.buffer = s.folder.Finish(s.buffer)
		limit = len(s.buffer)
	}
	if limit <= s.begin {
		return
	}
	for !last && !utf8.RuneStart(s.buffer[limit]) {
		limit--
	}
	for i := range s.q.Terms {
		s.find(i, limit, length)
	}
	if last {
		return
	}
	_, s.begin = utf8.DecodeLastRune(s.buffer[:limit])
	cut := limit - s.begin
	s.buffer = append(s.buffer[:0], s.buffer[cut:]...)
	for i := range s.resume {
		s.resume[i] = max(s.resume[i]-cut, s.begin)
	}
	s.folder.Map.Forget(cut)
}

// find looks for the i-th term where it begins before limit. length is the number of code points
// that the text has up to the end of the buffer.
func (s *search) find(i, limit, length int) {
	term := s.q.Terms[i]
	for hits := 0; s.resume[i] < limit; hits++ {
		if s.enough(i, hits) {
			return
		}
		window := s.buffer[s.resume[i]:min(len(s.buffer), limit+len(term.Text)-1)]
		at := bytes.Index(window, []byte(term.Text))
		if at < 0 {
			s.resume[i] = limit
			return
		}
		start := s.resume[i] + at
		end := start + len(term.Text)
		s.resume[i] = end
		s.found[i].there = true
		s.found[i].whole = s.found[i].whole || isBound(s.buffer, start) && isBound(s.buffer, end)
		if s.hits != nil {
			s.hits = append(s.hits, Hit{s.folder.Map.Text(start), s.textEnd(end, length)})
		}
	}
}

// enough reports whether no further hit of the i-th term counts, after some in this piece.
func (s *search) enough(i, hits int) bool {
	not := s.q.Terms[i].Not
	if s.hits != nil {
		return not || hits == maxHits
	}
	return s.found[i].whole || not && s.found[i].there
}

// textEnd returns the code point of the text that follows all characters which the folded text
// before a byte comes from.
func (s *search) textEnd(end, length int) int {
	_, size := utf8.DecodeLastRune(s.buffer[:end])
	last := s.folder.Map.Text(end - size)
	for at := end; at < len(s.buffer); at += size {
		if next := s.folder.Map.Text(at); next > last {
			return next
		}
		_, size = utf8.DecodeRune(s.buffer[at:])
	}
	return length
}

// merged returns the first maxHits hits in order. Of hits that overlap it makes one.
func (s *search) merged() []Hit {
	slices.SortFunc(s.hits, func(a, b Hit) int { return cmp.Or(a.Start-b.Start, a.End-b.End) })
	merged := s.hits[:0]
	for _, hit := range s.hits {
		if last := len(merged) - 1; last >= 0 && hit.Start < merged[last].End {
			merged[last].End = max(merged[last].End, hit.End)
			continue
		}
		if len(merged) == maxHits {
			break
		}
		merged = append(merged, hit)
	}
	return merged
}

// isBound reports whether a word can begin or end at a byte of the text.
func isBound(text []byte, at int) bool {
	if at == 0 || at == len(text) {
		return true
	}
	before, _ := utf8.DecodeLastRune(text[:at])
	after, _ := utf8.DecodeRune(text[at:])
	return !inWord(before) || !inWord(after) || isWithoutBounds(before) || isWithoutBounds(after)
}

func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) }

// isWithoutBounds reports whether r is of one of the scripts withoutBounds. It is called for each hit
// in a text, so it looks into no table for the characters before these scripts.
func isWithoutBounds(r rune) bool { return r >= 0x0E00 && unicode.In(r, withoutBounds...) }

// withoutBounds are the scripts that write words one after another without a blank. Any part of
// such a text counts as a whole word.
var withoutBounds = []*unicode.RangeTable{
	unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar,
}

// excerpt returns the part of a content around the first of its hits, or its beginning if it has
// none.
func excerpt(content string, hits []Hit) Excerpt {
	var hit Hit
	if len(hits) > 0 {
		hit = hits[0]
	}
	start := max(0, hit.Start-excerptBefore)
	rest := content[byteOf(content, start):]
	text := rest[:byteOf(rest, excerptLength)]
	if start > 0 { // begin with a word, if one begins before the hit
		if blank := strings.IndexFunc(text[:byteOf(text, hit.Start-start)], unicode.IsSpace); blank >= 0 {
			_, size := utf8.DecodeRuneInString(text[blank:])
			start += utf8.RuneCountInString(text[:blank+size])
			text = text[blank+size:]
		}
	}
	if len(text) < len(rest) { // end with a word, if one ends after the hit
		after := byteOf(text, max(hit.End-start, excerptLength/2))
		if blank := strings.LastIndexFunc(text[after:], unicode.IsSpace); blank >= 0 {
			text = text[:after+blank]
		}
	}
	return Excerpt{Text: text, Start: start}
}

// byteOf returns the byte at which the n-th code point of a text begins, or the text's length.
func byteOf(text string, n int) int {
	for i := range text {
		if n--; n < 0 {
			return i
		}
	}
	return len(text)
}
