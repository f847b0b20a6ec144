package merge

import "slices"

const (
	maxCells = 2 << 20 // of one table: a byte each
	maxWork  = 8 << 20 // cells of all tables of one diff, or of all that compare insertions

	// What a common line is worth. Blank lines and rules must not hold apart what belongs together.
	wordWeight, signWeight, blankWeight = 1 << 12, 1 << 4, 1
)

// A differ finds a heaviest common subsequence of two sequences.
//
// Small ranges are compared exactly, by dynamic programming. Large ones are first cut at elements
// that occur once in each (patience diff, Bram Cohen); a large range without such an element has
// nothing in common.
type differ struct {
	a, b   []int32
	weight func(id int32) int32
	match  []int32 // of each element of a: its partner in b, or -1
	work   *int    // cells that may still be computed
	steps  []byte  // room for exact
	seen   []seen  // of each id, in the range that cut looks at
}

// seen counts an element: more than one is many.
type seen struct {
	inA, inB uint8
	at       int32 // where it is in b
}

// diff returns for each element of a its partner in b, or -1. Partners ascend. It takes from work
// the cells that it computes, and finds fewer partners when there are not enough.
func diff(a, b []int32, weight func(id int32) int32, work *int) []int32 {
	d := differ{a: a, b: b, weight: weight, match: make([]int32, len(a)), work: work}
	for i := range d.match {
		d.match[i] = -1
	}
	d.compare(0, len(a), 0, len(b))
	return d.match
}

// compare finds partners for a[i:j] in b[k:l].
func (d *differ) compare(i, j, k, l int) {
	for i < j && k < l && d.a[i] == d.b[k] {
		d.match[i] = int32(k)
		i, k = i+1, k+1
	}
	for i < j && k < l && d.a[j-1] == d.b[l-1] {
		j, l = j-1, l-1
		d.match[j] = int32(l)
	}
	switch cells := (j - i) * (l - k); {
	case cells == 0:
	case cells <= maxCells && cells <= *d.work:
		*d.work -= cells
		d.exact(i, j, k, l)
	default:
		d.cut(i, j, k, l)
	}
}

// exact computes a heaviest common subsequence of a[i:j] and b[k:l].
func (d *differ) exact(i, j, k, l int) {
	const both, down, right = 0, 1, 2 // the next step from a cell
	n, m := j-i, l-k
	if cap(d.steps) < n*m {
		d.steps = make([]byte, n*m)
	}
	steps := d.steps[:n*m]
	below, row := make([]int32, m+1), make([]int32, m+1) // best[x+1], best[x]
	for x := n - 1; x >= 0; x-- {
		id := d.a[i+x]
		w := d.weight(id)
		row[m] = 0
		for y := m - 1; y >= 0; y-- {
			best, step := below[y], byte(down)
			if row[y+1] > best {
				best, step = row[y+1], right
			}
			if d.b[k+y] == id && below[y+1]+w >= best {
				best, step = below[y+1]+w, both
			}
			row[y], steps[x*m+y] = best, step
		}
		below, row = row, below
	}
	for x, y := 0, 0; x < n && y < m; {
		switch steps[x*m+y] {
		case both:
			d.match[i+x] = int32(k + y)
			x, y = x+1, y+1
		case down:
			x++
		case right:
			y++
		}
	}
}

// cut takes the longest ascending sequence of elements that occur once in each range for partners,
// and compares what lies between them.
func (d *differ) cut(i, j, k, l int) {
	const perElement = 8 // cells that cost as much time
	if *d.work -= perElement * (j - i + l - k); *d.work < 0 {
		return
	}
	if d.seen == nil {
		d.seen = make([]seen, 1+max(slices.Max(d.a), slices.Max(d.b)))
	}
	for _, id := range d.a[i:j] {
		d.seen[id] = seen{}
	}
	for _, id := range d.b[k:l] {
		d.seen[id] = seen{}
	}
	for _, id := range d.a[i:j] {
		d.seen[id].inA = min(d.seen[id].inA+1, 2)
	}
	for y, id := range d.b[k:l] {
		d.seen[id] = seen{d.seen[id].inA, min(d.seen[id].inB+1, 2), int32(k + y)}
	}
	var pairs [][2]int32
	for x, id := range d.a[i:j] {
		if s := d.seen[id]; s.inA == 1 && s.inB == 1 && d.weight(id) == wordWeight {
			pairs = append(pairs, [2]int32{int32(i + x), s.at})
		}
	}
	for _, p := range ascending(pairs) {
		d.match[p[0]] = p[1]
		d.compare(i, int(p[0]), k, int(p[1]))
		i, k = int(p[0])+1, int(p[1])+1
	}
	if len(pairs) > 0 {
		d.compare(i, j, k, l)
	}
}

// ascending returns a longest subsequence of pairs whose second numbers ascend, as their first ones
// do (patience sorting).
func ascending(pairs [][2]int32) [][2]int32 {
	var tops []int32 // of each pile: the index of the pair with the lowest second number
	before := make([]int32, len(pairs))
	for n, p := range pairs {
		pile, _ := slices.BinarySearchFunc(tops, p[1], func(top, at int32) int { return int(pairs[top][1] - at) })
		before[n] = -1
		if pile > 0 {
			before[n] = tops[pile-1]
		}
		if pile == len(tops) {
			tops = append(tops, int32(n))
		} else {
			tops[pile] = int32(n)
		}
	}
	if len(tops) == 0 {
		return nil
	}
	longest := make([][2]int32, 0, len(tops))
	for n := tops[len(tops)-1]; n >= 0; n = before[n] {
		longest = append(longest, pairs[n])
	}
	slices.Reverse(longest)
	return longest
}
