package trigram

import (
	encoding "encoding/binary"
	"maps"
	"math"
	"slices"
)

// A Segment gathers the postings of some notes.
type Segment struct {
	keys      []int64               // keys of the notes, ascending
	unindexed []uint16              // notes that may contain any trigram, as positions in keys
	postings  map[Trigram]*[]uint16 // notes that have the trigram, as positions in keys
}

// NewSegment begins a segment of up to MaxNotes notes.
func NewSegment() *Segment { return &Segment{postings: make(map[Trigram]*[]uint16)} }

// Add adds a note and its folded texts. Its key must be above those of the notes before. Of a large
// note the segment has the key only.
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

// Parts returns the parts of the segment as they are stored. The first part has the notes. Each
// other part has the postings of the trigrams whose Part it is.
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

// A Match is the result of looking up a query's trigrams in one segment.
type Match struct {
	missing   map[int][]Trigram // the query's trigrams by part; only parts not read yet
	has       bitmap            // notes that have all the query's trigrams of the parts read
	unindexed bitmap            // notes that may contain any trigram
	notes     []byte            // the encoded list of the segment's keys
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

// NewMatch begins the match of a query in one segment. Part 0 and the parts of the query's trigrams
// must be read after that.
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

// Read reads one part of the segment, and reports whether it is as it was stored.
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
	var sets [querySize]bitmap // one for each of wanted; empty for a trigram in no note
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

// Keys returns the keys of the notes that have, or may have, the trigrams. ok is false if a part is
// missing or is not as it was stored.
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
