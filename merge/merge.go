// Package merge merges two edits of one text that began from the same base.
//
// The merge works on lines, as diff3 does (Khanna, Kunal and Pierce, "A Formal Investigation of
// Diff3", FSTTCS 2007), and within a line on words. It departs from diff3 where notes differ from
// programs: changes that touch but do not overlap are both kept, since two ticked items of a list
// are no conflict; line ends are merged apart from lines; a paragraph that one side moved takes the
// other side's corrections along; and additions at one place are both kept.
//
// Every clean result passes a last check: no line that one side wrote and the other did not remove
// is missing, and none is there twice that both sides wrote once. When that fails, and whenever the
// rules leave a doubt, the result is a clash.
//
// Work and memory are bounded: texts with too many lines or too many differences clash.
package merge

import "strings"

// MaxMemory is how many bytes a merge allocates at most at a time, beside its texts and its result.
const MaxMemory = 16 << 20

// Memory returns how many bytes a merge of these texts allocates at most at a time, beside the
// texts and the result. It is what short texts need at worst, and MaxMemory for long ones.
func Memory(base, ours, theirs string) int64 {
	n := int64(len(base) + len(ours) + len(theirs))
	if n >= maxMemoryFrom {
		return MaxMemory
	}
	// The tables have a cell for each pair of lines or words, up to bounds; the rest grows with the
	// text.
	return 64<<10 + min(n*n/4, 5<<20) + 64*n
}

// maxMemoryFrom is the length of all three texts together from which Memory is MaxMemory.
const maxMemoryFrom = (MaxMemory - 5<<20 - 64<<10) / 64

// maxLines bounds the lines of all three texts together that are not common to all of them at the
// beginning and the end. Each takes some 100 bytes.
const maxLines = 120_000

// A Result is a merged text as a list of parts, in the order of the text.
type Result struct{ Parts []Part }

// A Part is a piece of text that is merged, or a clash: the same piece in the base and in both
// sides.
type Part struct {
	Clash              bool
	Text               string // unless Clash
	Base, Ours, Theirs string // if Clash
}

// Clean reports whether nothing clashed.
func (r Result) Clean() bool {
	for _, p := range r.Parts {
		if p.Clash {
			return false
		}
	}
	return true
}

// Text returns the merged text. Of a clash it has our side.
func (r Result) Text() string {
	var b strings.Builder
	for _, p := range r.Parts {
		if p.Clash {
			b.WriteString(p.Ours)
		} else {
			b.WriteString(p.Text)
		}
	}
	return b.String()
}

func (r *Result) addText(text string) {
	last := len(r.Parts) - 1
	switch {
	case text == "":
	case last >= 0 && !r.Parts[last].Clash:
		r.Parts[last].Text += text
	default:
		r.Parts = append(r.Parts, Part{Text: text})
	}
}

// Text merges the changes that lead from base to ours with those that lead from base to theirs.
// Ours is what is stored, theirs is what arrives later: where both add text at one place, ours
// comes first. Merging is otherwise symmetric.
func Text(base, ours, theirs string) Result {
	switch {
	case ours == theirs || theirs == base:
		return clean(ours)
	case ours == base:
		return clean(theirs)
	case strings.TrimSpace(base) == "":
		return withoutBase(base, ours, theirs)
	}
	m := &merger{head: commonHead(base, ours, theirs),
		final: prefer(hasFinal(base), hasFinal(ours), hasFinal(theirs)) != no}
	cut := func(s string) string { return s[len(m.head):] }
	base, ours, theirs = cut(base), cut(ours), cut(theirs)
	if style := prefer(styleOf(m.head+base), styleOf(m.head+ours), styleOf(m.head+theirs)); style != mixed {
		m.end = style
	}
	m.tail = commonTail(base, ours, theirs)
	cut = func(s string) string { return s[:len(s)-len(m.tail)] }
	return m.merge(cut(base), cut(ours), cut(theirs))
}

func clean(text string) Result { return Result{[]Part{{Text: text}}} }

// withoutBase merges two texts that were written into an empty one. They are one text only if one
// contains the other.
func withoutBase(base, ours, theirs string) Result {
	if strings.Count(ours, "\n")+strings.Count(theirs, "\n") < maxLines {
		ids := make(map[string]int32)
		o, t := split(ours, ids).trimmed(), split(theirs, ids).trimmed()
		switch {
		case contains(o, t):
			return clean(ours)
		case contains(t, o):
			return clean(theirs)
		}
	}
	return Result{[]Part{{Clash: true, Base: base, Ours: ours, Theirs: theirs}}}
}

// commonHead returns the whole lines that all texts begin with.
func commonHead(a, b, c string) string {
	n := 0
	for n < min(len(a), len(b), len(c)) && a[n] == b[n] && a[n] == c[n] {
		n++
	}
	return a[:strings.LastIndexByte(a[:n], '\n')+1]
}

// commonTail returns the whole lines that all texts end with.
func commonTail(a, b, c string) string {
	n := 0
	for n < min(len(a), len(b), len(c)) && a[len(a)-1-n] == b[len(b)-1-n] && a[len(a)-1-n] == c[len(c)-1-n] {
		n++
	}
	tail := a[len(a)-n:]
	begins := func(s string) bool { return n == len(s) || s[len(s)-n-1] == '\n' } // a line, there
	if begins(a) && begins(b) && begins(c) {
		return tail
	}
	_, tail, _ = strings.Cut(tail, "\n")
	return tail
}

// prefer returns the value of the side that changed it, ours if both did. An empty value is none.
func prefer(base, ours, theirs string) string {
	switch {
	case ours == "" || ours == base && theirs != "":
		return theirs
	default:
		return ours
	}
}

// Values of prefer.
const (
	lf, crlf, mixed = "\n", "\r\n", "mixed" // the style of a text's line ends
	yes, no         = "yes", "no"
)

// styleOf returns the end that all lines of a text have, mixed, or "" if none has one.
func styleOf(s string) string {
	switch ends, long := strings.Count(s, lf), strings.Count(s, crlf); {
	case ends == 0:
		return ""
	case long == 0:
		return lf
	case long == ends:
		return crlf
	}
	return mixed
}

// hasFinal tells whether a text ends in a newline; "": it is empty.
func hasFinal(s string) string {
	switch {
	case s == "":
		return ""
	case strings.HasSuffix(s, lf):
		return yes
	}
	return no
}

// A merger is one merge on its way.
type merger struct {
	head, tail string // what all texts begin and end with
	end        string // of all lines; "": each line keeps its own
	final      bool   // the result ends in a newline

	base, ours, theirs text
	sides              [2]side // ours, theirs

	result  Result
	out     []line         // what was merged since the last clash
	ids     []int32        // of all lines that were merged: what guard counts
	work    int            // cells that may still be computed to compare insertions
	words   int            // the same to merge lines by words
	combed  map[int32]bool // lines that were merged by words or carried along by a move, which guard does not count
	clashed bool
}

func (m *merger) merge(base, ours, theirs string) Result {
	whole := Result{}
	whole.addText(m.head)
	whole.Parts = append(whole.Parts, Part{Clash: true, Base: base, Ours: ours, Theirs: theirs})
	whole.addText(m.tail)
	count := strings.Count(base, "\n") + strings.Count(ours, "\n") + strings.Count(theirs, "\n")
	if count > maxLines {
		return whole
	}
	ids := make(map[string]int32, count+3)
	m.base, m.ours, m.theirs, m.combed = split(base, ids), split(ours, ids), split(theirs, ids), map[int32]bool{}
	m.work, m.words = maxWork, maxWordCells
	m.sides[0].align(&m.base, &m.ours, len(ids))
	m.sides[1].align(&m.base, &m.theirs, len(ids))
	if !m.carryMoves() {
		return whole
	}
	m.result.addText(m.head)
	m.run()
	if moved := len(m.sides[0].moves)+len(m.sides[1].moves) > 0; m.clashed && moved ||
		!m.clashed && !m.guard(len(ids)) {
		return whole // a part of it would show a paragraph twice, or not at all
	}
	m.flush(m.tail == "")
	m.result.addText(m.tail)
	return m.result
}

// flush adds what was merged since the last clash to the result. The last line of the text has an
// end only if final.
func (m *merger) flush(last bool) {
	size := 0
	for _, l := range m.out {
		size += len(l.text) + len(crlf)
	}
	var b strings.Builder
	b.Grow(size)
	for i, l := range m.out {
		b.WriteString(l.text)
		switch {
		case last && i == len(m.out)-1 && !m.final:
		case m.end != "":
			b.WriteString(m.end)
		default:
			b.WriteString(l.end.text())
		}
	}
	m.result.addText(b.String())
	m.out = m.out[:0]
}
