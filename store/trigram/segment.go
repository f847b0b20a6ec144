package trigram

import (
	encoding "encoding/binary"
	"maps"
	"math"
	"slices"
)

// A Segment is the postings of some notes while they are gathered.
type Segment struct {
	keys      []int64               // of the notes, ascending
	unindexed []uint16              // those that may hold anything, as positions in keys
	postings  map[Trigram]*[]uint16 // the same of those that have a trigram
}

// NewSegment begins a segment of up to MaxNotes notes.
func NewSegment() *Segment { return &Segment{postings: make(map[Trigram]*[]uint16)} }

// Add adds a note, whose key is above those of the notes before, and its folded
// texts. Of a large note nothing but its key is known.
func (g *Segment) Add(key int64, large bool, texts ...string) {
	note := uint16(len(g.keys))
	g.keys = append(g.keys, key)
	count := 0
	for _, text := range texts {
		for t := range all(text) {
			list := g.postings[t]
			if list == nil {
				list = new([]uint16)
				g.postings[t] = list
			}
			if n := len(*list); n > 0 && (*list)[n-1] == note {
				continue
			}
			*list = append(*list, note)
			if count++; count > maxTrigrams {
				large = true
				break
			}
		}
	}
	if large {
		g.unindexed = append(g.unindexed, note)
	}
}

// Parts are the parts of the segment as they are stored: the first has the notes,
// each other one the postings of the trigrams whose Part it is.
func (g *Segment) Parts() [][]byte {
	stored := make([][]byte, 1+parts)
	stored[0] = appendList(appendList(nil, g.keys), g.unindexed)
	for _, t := range slices.Sorted(maps.Keys(g.postings)) {
		part := &stored[t.Part()]
		*part = appendList(encoding.AppendUvarint(*part, t.tag()), *g.postings[t])
	}
	for i := range stored {
		stored[i] = seal(stored[i])
	}
	return stored
}

// A Match is what a segment says of the trigrams of a query.
type Match struct {
	missing   map[int][]Trigram // by the part that is yet to be read
	has       bitmap            // notes that have all those of the parts that were read
	unindexed bitmap            // notes that may have any
	notes     []byte            // the list of the segment's keys
}

// A bitmap is some of a segment's notes, a bit for each.
type bitmap [MaxNotes / 64]uint64

// add adds what a list names, and reports whether it is one.
func (b *bitmap) add(list []byte) bool {
	return decodeDeltas(list, func(note uint64) bool {
		if note >= MaxNotes {
			return false
		}
		b[note>>6] |= 1 << (note & 63)
		return true
	})
}

// NewMatch begins the match of a query in one segment, of which the part 0 and the
// parts of the query's trigrams are yet to be read.
func NewMatch(query []Trigram) *Match {
	m := &Match{missing: map[int][]Trigram{0: nil}}
	for i := range m.has {
		m.has[i] = math.MaxUint64
	}
	for _, t := range query {
		m.missing[t.Part()] = append(m.missing[t.Part()], t)
	}
	return m
}

// Read takes in one part of the segment, and reports whether it is as it was made.
func (m *Match) Read(part int, stored []byte) bool {
	lists, ok := unseal(stored)
	wanted, asked := m.missing[part]
	delete(m.missing, part)
	if !ok || !asked {
		return false
	}
	if part == 0 {
		return m.readKeys(lists)
	}
	var sets [querySize]bitmap // of wanted; of a trigram in no note: empty
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

func (m *Match) readKeys(lists []byte) bool {
	keys, rest, ok := readList(lists)
	unindexed, rest, alsoOK := readList(rest)
	m.notes = slices.Clone(keys)
	return ok && alsoOK && len(rest) == 0 && m.unindexed.add(unindexed)
}

// Keys are those of the notes that have the trigrams, or may; not ok: a part is
// missing, or not as it was made.
func (m *Match) Keys() (keys []int64, ok bool) {
	if len(m.missing) > 0 {
		return nil, false
	}
	note := 0
	ok = decodeDeltas(m.notes, func(key uint64) bool {
		if note == MaxNotes {
			return false
		}
		if (m.has[note>>6]|m.unindexed[note>>6])>>(note&63)&1 == 1 {
			keys = append(keys, int64(key))
		}
		note++
		return true
	})
	return keys, ok
}
