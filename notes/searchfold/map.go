package searchfold

import "sort"

// A Map says where in a text, in code points, the characters of its folded form come from. The zero
// Map is empty, and a nil Map records nothing.
type Map struct {
	// Between two places the folded text is ASCII and has a byte for each code point of the text.
	places []place
	shift  int // what Forget has taken off the front of the folded text, in bytes
}

// A place is the beginning of a folded character.
type place struct{ folded, text int }

// add records that the folded character at a byte comes from a code point of the text. Places are
// added in order.
func (m *Map) add(folded, text int) {
	if m == nil {
		return
	}
	folded += m.shift
	if n := len(m.places); n > 0 {
		if last := m.places[n-1]; folded-last.folded == text-last.text {
			return
		}
	}
	m.places = append(m.places, place{folded, text})
}

// Text returns the code point of the text that the folded character at a byte comes from. The byte
// must be the first of its character.
func (m *Map) Text(folded int) int {
	folded += m.shift
	i := sort.Search(len(m.places), func(i int) bool { return m.places[i].folded > folded }) - 1
	if i < 0 {
		return 0
	}
	return m.places[i].text + folded - m.places[i].folded
}

// Forget takes bytes off the front of the folded text. Positions count from the rest on.
func (m *Map) Forget(bytes int) {
	if m == nil {
		return
	}
	m.shift += bytes
	i := sort.Search(len(m.places), func(i int) bool { return m.places[i].folded > m.shift }) - 1
	if i > 0 {
		m.places = append(m.places[:0], m.places[i:]...)
	}
}
