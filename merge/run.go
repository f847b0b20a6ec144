package merge

import (
	"slices"
	"strings"
)

// carryMoves has each side's changes to lines that the other moved go along with them. It reports
// false for a clash: the other side moved them elsewhere, deleted them, or did more to them than
// change single lines.
func (m *merger) carryMoves() bool {
	for n := range m.sides {
		mover, other := &m.sides[n], &m.sides[1-n]
		for _, mv := range mover.moves {
			if also := other.moveOf(mv.from, mv.to); also != nil {
				if *also != mv {
					return false
				}
				continue // both did the same
			}
			lines := slices.Clone(mover.inserted[mv.gap])
			for i := mv.from; i < mv.to; i++ {
				if i > mv.from && len(other.inserted[i]) > 0 {
					return false
				}
				switch other.did[i] {
				case kept:
				case replaced:
					lines[mv.at+i-mv.from] = other.became(i)
					other.did[i] = kept // where it was, the line is deleted
					m.combed[m.base.lines[i].id], m.combed[other.became(i).id] = true, true
				default:
					return false
				}
			}
			mover.inserted[mv.gap] = lines
		}
	}
	return true
}

// run merges line by line.
func (m *merger) run() {
	o, t := &m.sides[0], &m.sides[1]
	n := len(m.base.lines)
	begin := 0         // of the chunk: what follows the last line that both sides kept
	mark := len(m.out) // of what was merged before it
	clash := false
	for i := 0; ; {
		clash = !m.insertions(i) || clash
		if i == n || o.did[i] == kept && t.did[i] == kept {
			if clash {
				m.clash(begin, i, mark)
			}
			if i == n {
				return
			}
			m.add(m.keptLine(i))
			i++
			begin, mark, clash = i, len(m.out), false
			continue
		}
		next, ok := m.changes(i)
		clash = clash || !ok
		i = next
	}
}

// clash puts a clash in place of what was merged of the base's lines from i to j.
func (m *merger) clash(i, j, mark int) {
	m.clashed = true
	m.out = m.out[:mark]
	m.flush(false)
	part := Part{Clash: true, Base: m.base.rawOf(i, j)}
	part.Ours, part.Theirs = m.sides[0].rawOf(i, j), m.sides[1].rawOf(i, j)
	m.result.Parts = append(m.result.Parts, part)
}

// rawOf returns what the side has in place of the base's lines from i to j, where both ends are
// next to kept lines.
func (s *side) rawOf(i, j int) string {
	begin, end := 0, len(s.text.lines)
	if i > 0 {
		begin = int(s.match[i-1]) + 1
	}
	if j < len(s.match) {
		end = int(s.match[j])
	}
	return s.text.rawOf(begin, end)
}

func (m *merger) add(lines ...line) {
	m.out = append(m.out, lines...)
	for _, l := range lines {
		m.ids = append(m.ids, l.id)
	}
}

// keptLine returns line i of the base with the end that the side which changed it has given it.
func (m *merger) keptLine(i int) line {
	l := m.base.lines[i]
	ours, theirs := m.ours.lines[m.sides[0].match[i]].end, m.theirs.lines[m.sides[1].match[i]].end
	l.end = preferEnd(l.end, ours, theirs)
	return l
}

func preferEnd(base, ours, theirs ending) ending {
	if ours == none || ours == base && theirs != none {
		return theirs
	}
	return ours
}

// insertions merges what both sides inserted in front of line i of the base. It reports false for a
// clash.
func (m *merger) insertions(i int) bool {
	o, t := m.sides[0].inserted[i], m.sides[1].inserted[i]
	if len(o) > 0 && m.sides[1].forbids(i) || len(t) > 0 && m.sides[0].forbids(i) {
		return false
	}
	if goesOn(o, m.sides[1].beside(i)) || goesOn(t, m.sides[0].beside(i)) {
		return false
	}
	switch {
	case contains(o, t):
		m.add(o...)
	case contains(t, o):
		m.add(t...)
	case goesOn(o, t):
		return false
	default:
		m.both(o, t)
	}
	return true
}

// forbids reports whether what the side did leaves no place for an insertion in front of line i:
// inside a run that it deleted, and inside or at the edge of a block.
func (s *side) forbids(i int) bool {
	if i > 0 && s.did[i-1] == blocked {
		return true
	}
	if i == len(s.did) {
		return false
	}
	return s.did[i] == blocked || s.did[i] == deleted && s.hunkAt(i).begin < i
}

// beside returns the lines that the side put in place of the base's lines above and below gap i.
func (s *side) beside(i int) (lines []line) {
	for x := max(0, i-1); x <= i && x < len(s.did); x++ {
		if s.did[x] == replaced {
			lines = append(lines, s.became(x))
		}
	}
	return lines
}

// goesOn reports whether a line of one side begins with another line of the other side. Then one
// may be the other, typed further, and to keep both may be to write one thing twice.
func goesOn(a, b []line) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	type one struct {
		text string
		inA  bool
	}
	all := make([]one, 0, len(a)+len(b))
	for _, l := range a {
		all = append(all, one{l.text, true})
	}
	for _, l := range b {
		all = append(all, one{l.text, false})
	}
	slices.SortFunc(all, func(x, y one) int { return strings.Compare(x.text, y.text) })
	var begun []one // the lines that the present one begins with
	for _, l := range all {
		for len(begun) > 0 && !strings.HasPrefix(l.text, begun[len(begun)-1].text) {
			begun = begun[:len(begun)-1]
		}
		for _, start := range begun {
			if start.inA != l.inA && start.text != l.text {
				return true
			}
		}
		if hasWord(l.text) && !slices.Contains(begun[max(0, len(begun)-2):], l) {
			begun = append(begun, l)
		}
	}
	return false
}

// both adds what both sides inserted at one place, ours first. Lines with words that both have are
// added once.
func (m *merger) both(o, t []line) {
	words := map[int32]bool{}
	for _, l := range o {
		words[l.id] = hasWord(l.text)
	}
	weight := func(id int32) int32 {
		if words[id] {
			return wordWeight
		}
		return 0
	}
	match := diff(idsOf(o), idsOf(t), weight, &m.work)
	at := 0
	for i, l := range o {
		if k := int(match[i]); k >= 0 && words[l.id] {
			m.add(t[at:k]...)
			at = k + 1
		}
		m.add(l)
	}
	m.add(t[at:]...)
}

// changes merges what the sides did to line i of the base, or to the block that begins there. It
// returns the next line and false for a clash.
func (m *merger) changes(i int) (next int, ok bool) {
	o, t := &m.sides[0], &m.sides[1]
	for n := range m.sides {
		s, other := &m.sides[n], &m.sides[1-n]
		if s.did[i] != blocked {
			continue
		}
		block := s.hunkAt(i)
		if block.begin != i {
			return i + 1, false
		}
		if other.did[i] == blocked && other.hunkAt(i).same(block) {
			m.add(block.lines...)
			return block.end, true
		}
		for x := i; x < block.end; x++ {
			if other.did[x] != kept || x > i && len(other.inserted[x]) > 0 {
				return i + 1, false
			}
		}
		m.add(block.lines...)
		return block.end, true
	}
	switch {
	case o.did[i] == deleted && t.did[i] == deleted, o.did[i] == deleted && t.did[i] == kept,
		o.did[i] == kept && t.did[i] == deleted:
	case o.did[i] == replaced && t.did[i] == kept:
		m.add(o.became(i))
	case o.did[i] == kept && t.did[i] == replaced:
		m.add(t.became(i))
	case o.did[i] == replaced && t.did[i] == replaced:
		if o.became(i).id == t.became(i).id {
			m.add(o.became(i))
			break
		}
		merged, ok := m.mergeWords(m.base.lines[i].text, o.became(i).text, t.became(i).text)
		if !ok {
			return i + 1, false
		}
		for _, l := range []line{m.base.lines[i], o.became(i), t.became(i)} {
			m.combed[l.id] = true
		}
		m.out = append(m.out, line{text: merged, end: preferEnd(m.base.lines[i].end, o.became(i).end, t.became(i).end)})
	default: // changed by one, deleted by the other
		return i + 1, false
	}
	return i + 1, true
}

// guard counts every line with a word. What one side wrote and the other did not remove must be
// there, and what both wrote must not be there more often than they wrote it together. It reports
// whether that holds.
func (m *merger) guard(ids int) bool {
	type counts struct {
		base, ours, theirs, result int32
		fewer                      bool // a single line of it was replaced
		word                       bool
	}
	all := make([]counts, ids)
	for _, l := range m.base.lines {
		all[l.id].base++
		all[l.id].word = hasWord(l.text)
	}
	for _, l := range m.ours.lines {
		all[l.id].ours++
		all[l.id].word = all[l.id].word || hasWord(l.text)
	}
	for _, l := range m.theirs.lines {
		all[l.id].theirs++
		all[l.id].word = all[l.id].word || hasWord(l.text)
	}
	for _, id := range m.ids {
		all[id].result++
	}
	for n := range m.sides {
		for i, did := range m.sides[n].did {
			if did == replaced {
				all[m.base.lines[i].id].fewer = true
			}
		}
	}
	for id, c := range all {
		if !c.word || m.combed[int32(id)] {
			continue
		}
		least := max(0, c.ours+c.theirs-c.base)
		most := least
		switch {
		case c.ours > c.base && c.theirs > c.base:
			least = max(c.ours, c.theirs)
			if c.ours == c.theirs {
				most = least
			}
		case c.ours < c.base && c.theirs < c.base:
			most = min(c.ours, c.theirs)
		}
		if c.fewer {
			least = 0
		}
		if c.result < least || c.result > most {
			return false
		}
	}
	return true
}
