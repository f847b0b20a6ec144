package store

import (
	encoding "encoding/binary"
	"hash/crc32"
	"maps"
	"math"
	"slices"
)

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
