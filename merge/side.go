package merge

import (
	"encoding/binary"
	"maps"
	"slices"
	"sort"
)

// What a side did to a line of the base.
type change int8

const (
	kept     change = iota
	replaced        // by one other line
	deleted         // as one of a run
	blocked         // as one of several lines that were replaced by another number of lines
)

// A span is lines of the base from begin up to end, with what a side has in their place.
type span struct {
	begin, end int
	lines      []line
}

func (s span) same(other span) bool {
	return s.begin == other.begin && s.end == other.end && equal(s.lines, other.lines)
}

// A side is what one side did to the base, as changes of single lines, deletions, insertions and
// blocks.
type side struct {
	base, text *text
	match      []int32        // of each line of the base: its line in text, or -1
	did        []change       // to each line of the base
	becomes    []int32        // of each line that was replaced: its line in text
	hunks      []span         // runs that were deleted, and blocks
	hunk       []int32        // of each line that was deleted or blocked: which of them
	inserted   map[int][]line // in front of a line of the base, or behind the last
	moves      []move
}

// A move is a run of lines that the side deleted and inserted again elsewhere.
type move struct {
	from, to int // the run's lines in the base, without blank ones at its ends
	gap, at  int // where the first of them is now: in inserted[gap]
}

// align finds out what the side did. There are so many different lines in all texts as ids says.
func (s *side) align(base, side *text, ids int) {
	s.base, s.text = base, side
	n := len(base.lines)
	s.did, s.becomes, s.hunk, s.inserted = make([]change, n), make([]int32, n), make([]int32, n), map[int][]line{}
	weights := make([]int32, ids)
	for _, lines := range [][]line{base.lines, side.lines} {
		for _, l := range lines {
			if weights[l.id] == 0 {
				weights[l.id] = weightOf(l.text)
			}
		}
	}
	s.match = diff(idsOf(base.lines), idsOf(side.lines), func(id int32) int32 { return weights[id] }, new(maxWork))
	s.slide()
	s.classify()
	s.findMoves()
}

func weightOf(s string) int32 {
	switch {
	case hasWord(s):
		return wordWeight
	case isBlank(s):
		return blankWeight
	}
	return signWeight
}

func idsOf(lines []line) []int32 {
	ids := make([]int32, len(lines))
	for i, l := range lines {
		ids[i] = l.id
	}
	return ids
}

// slide moves each pure insertion and each pure deletion down to its lowest place, so that both
// sides mean the same line where several are alike. It goes from the end to the beginning, as what
// is below must lie still.
func (s *side) slide() {
	for i := len(s.match) - 1; i >= 0; i-- { // deletions: base lines [i0,i] without a partner
		if s.match[i] >= 0 {
			continue
		}
		end := i + 1
		for i > 0 && s.match[i-1] < 0 {
			i--
		}
		begin := i
		before, after := int32(-1), int32(len(s.text.lines))
		if begin > 0 {
			before = s.match[begin-1]
		}
		if end < len(s.match) {
			after = s.match[end]
		}
		if after != before+1 {
			continue // something else stands there
		}
		for end < len(s.match) && s.match[end] >= 0 && s.base.lines[begin].id == s.base.lines[end].id && s.alone(end) {
			s.match[begin], s.match[end] = s.match[end], -1
			begin, end = begin+1, end+1
		}
	}
	for i := len(s.match) - 1; i >= 0; i-- { // insertions: in front of base line i
		if s.match[i] < 0 || i > 0 && s.match[i-1] < 0 {
			continue
		}
		begin := int32(0)
		if i > 0 {
			begin = s.match[i-1] + 1
		}
		for at := i; at < len(s.match) && begin < s.match[at] && s.text.lines[begin].id == s.base.lines[at].id &&
			s.alone(at); at++ {
			s.match[at], begin = begin, begin+1
		}
	}
}

// alone reports whether nothing was done right below line i of the base, which the side kept: what
// slides down must not meet another change.
func (s *side) alone(i int) bool {
	if i+1 == len(s.match) {
		return int(s.match[i])+1 == len(s.text.lines)
	}
	return s.match[i+1] == s.match[i]+1
}

// classify tells changes of single lines, deletions, insertions and blocks apart.
func (s *side) classify() {
	n := len(s.match)
	i, j := 0, 0
	for i < n || j < len(s.text.lines) {
		if i < n && int(s.match[i]) == j {
			i, j = i+1, j+1
			continue
		}
		end := i
		for end < n && s.match[end] < 0 {
			end++
		}
		next := len(s.text.lines)
		if end < n {
			next = int(s.match[end])
		}
		switch was, is := end-i, next-j; {
		case was == 0:
			s.inserted[i] = s.text.lines[j:next]
		case was == is:
			for x := range was {
				s.did[i+x], s.becomes[i+x] = replaced, int32(j+x)
			}
		case is == 0:
			s.mark(span{begin: i, end: end}, deleted)
		default:
			s.mark(span{i, end, s.text.lines[j:next]}, blocked)
		}
		i, j = end, next
	}
}

func (s *side) mark(hunk span, c change) {
	for x := hunk.begin; x < hunk.end; x++ {
		s.did[x], s.hunk[x] = c, int32(len(s.hunks))
	}
	s.hunks = append(s.hunks, hunk)
}

// became returns the line that replaced line i of the base.
func (s *side) became(i int) line { return s.text.lines[s.becomes[i]] }

// hunkAt returns the run or the block that line i of the base is in.
func (s *side) hunkAt(i int) span { return s.hunks[s.hunk[i]] }

// findMoves finds runs that were deleted in one place and inserted in another, without regard to
// blank lines at their ends.
func (s *side) findMoves() {
	if len(s.hunks) == 0 || len(s.inserted) == 0 {
		return
	}
	type place struct{ gap, at int }
	places := map[string][]place{} // of insertions, by their lines
	for _, gap := range slices.Sorted(maps.Keys(s.inserted)) {
		if at, run := firstText(s.inserted[gap]); len(run) > 0 {
			key := keyOf(run)
			places[key] = append(places[key], place{gap, at})
		}
	}
	for _, hunk := range s.hunks {
		if s.did[hunk.begin] != deleted {
			continue
		}
		at, run := firstText(s.base.lines[hunk.begin:hunk.end])
		key := keyOf(run)
		if at, from := hunk.begin+at, places[key]; len(run) > 0 && len(from) > 0 {
			s.moves = append(s.moves, move{at, at + len(run), from[0].gap, from[0].at})
			places[key] = from[1:]
		}
	}
}

// firstText returns lines without blank ones at both ends, and where the first of them is.
func firstText(lines []line) (at int, run []line) {
	run = trim(lines)
	if len(run) > 0 {
		at = slices.IndexFunc(lines, func(l line) bool { return !isBlank(l.text) })
	}
	return at, run
}

// keyOf is equal for equal lines.
func keyOf(lines []line) string {
	key := make([]byte, 0, 4*len(lines))
	for _, l := range lines {
		key = binary.NativeEndian.AppendUint32(key, uint32(l.id))
	}
	return string(key)
}

// moveOf returns the side's move that takes all the base's lines from i to j along, or nil. Moves
// are in the order of the base.
func (s *side) moveOf(i, j int) *move {
	n := sort.Search(len(s.moves), func(n int) bool { return s.moves[n].to >= j })
	if n < len(s.moves) && s.moves[n].from <= i {
		return &s.moves[n]
	}
	return nil
}
