package trigram

import (
	encoding "encoding/binary"
	"math"
	"math/bits"
	"slices"

	"notesd/notes/searchfold"
)

// A Note is what a segment has of a note besides its trigrams.
type Note struct {
	Key     int64
	Updated int64 // when it was last changed, in Unix milliseconds
	Bytes   int64 // its size
	Flags   uint8 // bits of the caller's
	InTitle int   // how many words of a query may be in its title
}

// A Segment gathers the postings of some notes.
type Segment struct {
	notes     []Note
	unindexed []uint16  // notes that may contain any trigram, as positions in notes
	heads     []uint32  // for each trigram one more than the position of its posting; 0: there is none
	postings  []posting // of the trigrams

	letters []rune // buffers of Add
	found   []Trigram
}

// A posting has the notes that have a trigram, as positions in a segment's notes.
type posting struct{ notes, titles []uint16 }

// NewSegment begins a segment of up to MaxNotes notes.
func NewSegment() *Segment { return &Segment{heads: make([]uint32, trigrams)} }

// Add adds a note with its title and its other texts. A large note has its trigrams left out: it may
// contain any.
func (g *Segment) Add(n Note, large bool, title string, texts ...string) {
	at := uint16(len(g.notes))
	g.notes = append(g.notes, n)
	count := 0
	for _, t := range g.trigramsOf(title) {
		p := g.posting(t)
		count += appendNew(&p.notes, at)
		appendNew(&p.titles, at)
	}
	for _, text := range texts {
		if large {
			break
		}
		for _, t := range g.trigramsOf(text) {
			count += appendNew(&g.posting(t).notes, at)
		}
	}
	if large || count > maxTrigrams {
		g.unindexed = append(g.unindexed, at)
	}
}

func (g *Segment) trigramsOf(text string) []Trigram {
	g.letters = searchfold.AppendLetters(g.letters[:0], text)
	g.found = appendTrigrams(g.found[:0], g.letters)
	return g.found
}

func (g *Segment) posting(t Trigram) *posting {
	if g.heads[t] == 0 {
		g.postings = append(g.postings, posting{})
		g.heads[t] = uint32(len(g.postings))
	}
	return &g.postings[g.heads[t]-1]
}

// appendNew appends n to a list unless it is the last of it, and returns how many it has appended.
func appendNew(list *[]uint16, n uint16) int {
	if last := len(*list) - 1; last >= 0 && (*list)[last] == n {
		return 0
	}
	*list = append(*list, n)
	return 1
}

// Parts returns the parts of the segment as they are stored. The first part has the notes. Each
// other part has the postings of the trigrams whose part it is.
func (g *Segment) Parts() [][]byte {
	stored := make([][]byte, 1+parts)
	stored[0] = g.appendNotes([]byte{version})
	for t, head := range g.heads {
		if head == 0 {
			continue
		}
		p := g.postings[head-1]
		part := &stored[Trigram(t).part()]
		tag := Trigram(t).tag() << 1
		if p.titles == nil {
			*part = appendList(encoding.AppendUvarint(*part, tag), p.notes)
		} else {
			*part = appendList(appendList(encoding.AppendUvarint(*part, tag|1), p.notes), p.titles)
		}
	}
	for i := range stored {
		stored[i] = seal(stored[i])
	}
	return stored
}

func (g *Segment) appendNotes(b []byte) []byte {
	b = appendList(b, g.unindexed)
	var last Note
	for _, n := range g.notes {
		b = encoding.AppendVarint(b, n.Key-last.Key)
		b = encoding.AppendVarint(b, n.Updated-last.Updated)
		b = append(encoding.AppendUvarint(b, uint64(n.Bytes)), n.Flags)
		last = n
	}
	return b
}

// A Match is the result of looking up a query in one segment.
type Match struct {
	query     Query
	missing   map[int]bool // the parts that are not read yet
	has       bitmap       // notes that have all the query's trigrams of the parts read
	titles    []bitmap     // for each trigram of the query, the notes that have it in their title
	unindexed bitmap       // notes that may contain any trigram
	notes     []byte       // the encoded notes
}

// A bitmap is a set of a segment's notes, one bit for each note.
type bitmap [MaxNotes / 64]uint64

// add adds the notes of a list, and reports whether the list is valid.
func (b *bitmap) add(list []byte) bool {
	return decodeDeltas(list, func(note uint64) bool {
		if note >= MaxNotes {
			return false
		}
		b[note>>6] |= 1 << (note & 63)
		return true
	})
}

func (b *bitmap) has(note int) bool { return b[note>>6]>>(note&63)&1 == 1 }

// NewMatch begins the match of a query in one segment. The query's Parts must be read after that.
func NewMatch(q Query) *Match {
	m := &Match{query: q, missing: make(map[int]bool), titles: make([]bitmap, len(q.trigrams))}
	for i := range m.has {
		m.has[i] = math.MaxUint64
	}
	for _, part := range q.Parts() {
		m.missing[int(part)] = true
	}
	return m
}

// Read reads one part of the segment, and reports whether it is as it was stored.
func (m *Match) Read(part int, stored []byte) bool {
	lists, ok := unseal(stored)
	asked := m.missing[part]
	delete(m.missing, part)
	if !ok || !asked {
		return false
	}
	if part == 0 {
		return m.readNotes(lists)
	}
	sets := make([]bitmap, len(m.query.trigrams)) // empty for a trigram in no note
	for len(lists) > 0 {
		tag, n := encoding.Uvarint(lists)
		list, rest, ok := readList(lists[max(n, 0):])
		if n <= 0 || !ok {
			return false
		}
		var titles []byte
		if tag&1 == 1 {
			if titles, rest, ok = readList(rest); !ok {
				return false
			}
		}
		lists = rest
		for i, t := range m.query.trigrams {
			if t.part() == part && t.tag() == tag>>1 && !(sets[i].add(list) && m.titles[i].add(titles)) {
				return false
			}
		}
	}
	for i, t := range m.query.trigrams {
		if t.part() == part {
			for k := range m.has {
				m.has[k] &= sets[i][k]
			}
		}
	}
	return true
}

func (m *Match) readNotes(lists []byte) bool {
	if len(lists) == 0 || lists[0] != version {
		return false
	}
	unindexed, rest, ok := readList(lists[1:])
	m.notes = slices.Clone(rest)
	return ok && m.unindexed.add(unindexed)
}

// Count returns how many notes AppendNotes appends at most.
func (m *Match) Count() (count int) {
	for i := range m.has {
		count += bits.OnesCount64(m.has[i] | m.unindexed[i])
	}
	return count
}

// AppendNotes appends the notes that have, or may have, the trigrams. ok is false if a part is missing
// or is not as it was stored.
func (m *Match) AppendNotes(found []Note) (_ []Note, ok bool) {
	if len(m.missing) > 0 {
		return nil, false
	}
	var n Note
	rest := m.notes
	for at := 0; len(rest) > 0; at++ {
		key, k := encoding.Varint(rest)
		updated, u := encoding.Varint(rest[max(k, 0):])
		bytes, b := encoding.Uvarint(rest[max(k, 0)+max(u, 0):])
		if at == MaxNotes || k <= 0 || u <= 0 || b <= 0 || len(rest) == k+u+b {
			return nil, false
		}
		n.Key, n.Updated, n.Bytes, n.Flags = n.Key+key, n.Updated+updated, int64(bytes), rest[k+u+b]
		rest = rest[k+u+b+1:]
		if m.has.has(at) || m.unindexed.has(at) {
			n.InTitle = m.inTitle(at)
			found = append(found, n)
		}
	}
	return found, true
}

// inTitle returns how many of the query's words may be in a note's title.
func (m *Match) inTitle(note int) (count int) {
	for _, own := range m.query.words {
		if !slices.ContainsFunc(own, func(i int) bool { return !m.titles[i].has(note) }) {
			count++
		}
	}
	return count
}
