package lab

import (
	"slices"
	"strings"
	"testing"
	"time"

	"notesd/bench"
)

// A population has the notes that were asked for, a twentieth of them with each heavy user, and is
// the same each time it is asked for.
func TestPopulation(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p, again := newPopulation(30, 2000, now, newCorpus()), newPopulation(30, 2000, now, newCorpus())
	if !slices.Equal(p.ids, again.ids) || !slices.Equal(p.owners, again.owners) {
		t.Error("the same population has other people")
	}
	owned := make([]int, 30)
	changes := make([]int64, 30)
	n, last := int64(0), int64(0)
	for note := range p.all() {
		n++
		owned[note.who]++
		if note.key != n || note.created <= last || note.change <= changes[note.who] || note.updated > now.UnixMilli() {
			t.Fatalf("note %d: %+v", n, note)
		}
		last, changes[note.who] = note.created, note.change
	}
	if n != 2000 {
		t.Errorf("%d notes, want 2000", n)
	}
	for who, count := range owned {
		if who < heavyUsers && count != 100 || who >= heavyUsers && (count == 0 || count > 200) {
			t.Errorf("person %d has %d notes", who, count)
		}
	}
	if owned[heavyUsers] < 2*owned[29] {
		t.Errorf("the first of the others has %d notes and the last %d", owned[heavyUsers], owned[29])
	}
	first := func(p *population) (n seedNote) {
		for n = range p.all() {
			break
		}
		return n
	}
	if one, other := first(p), first(again); one.id != other.id || one.content != other.content {
		t.Errorf("the first note is %+v, and then %+v", one, other)
	}
}

// Common needles are in much of all text, rare ones in one word, and absent ones nowhere.
func TestNeedles(t *testing.T) {
	l := newCorpus()
	n := l.needles()
	w := l.writer(1)
	var texts []string
	for range 200 {
		texts = append(texts, strings.ToLower(w.text(noteBytes)))
	}
	for _, needle := range slices.Concat(n.common, n.rare, n.absent) {
		if len(needle) < 3 {
			t.Errorf("%q is too short", needle)
		}
	}
	for _, needle := range n.common {
		in := 0
		for _, text := range texts {
			if strings.Contains(text, needle) {
				in++
			}
		}
		if in < 40 {
			t.Errorf("%q is in %d of 200 texts", needle, in)
		}
	}
	for _, needle := range n.rare {
		if strings.Count(l.all, needle) != 1 {
			t.Errorf("%q is in %d words", needle, strings.Count(l.all, needle))
		}
	}
	for _, needle := range n.absent {
		if strings.Contains(l.all, needle) {
			t.Errorf("%q is there", needle)
		}
	}
}

// Goals are met at their bounds, and missed beyond.
func TestGrowthGoals(t *testing.T) {
	for _, row := range []struct {
		name                 string
		large, search        float64 // p99 in ms, among few notes it is 1
		failed, goals, wrong int
	}{
		{"at the bounds", 1.2, 50, 0, 7, 0},
		{"slower", 1.21, 50, 0, 7, 4},
		{"slower searches", 1.2, 50.1, 0, 7, 2},
		{"one failed", 1.2, 50, 1, 7, 1},
		{"nothing measured", 0, 0, 0, 7, 6},
	} {
		t.Run(row.name, func(t *testing.T) {
			medians := map[string][]bench.Measurement{}
			for _, work := range growthWorks {
				large := bench.Measurement{All: bench.Stats{Sent: 10, P99Ms: row.large}}
				if work == workSearch || work == workHeavySearch {
					large.All.P99Ms = row.search
				}
				medians[work] = []bench.Measurement{{All: bench.Stats{Sent: 10, P99Ms: 1}}, large}
			}
			medians[workGet][1].All.Failed = row.failed
			r := &bench.Report{}
			few, many := &grownDatabase{population: &population{notes: 10}}, &grownDatabase{population: &population{notes: 1000}}
			growthGoals(r, []*grownDatabase{few, many}, medians)
			wrong := 0
			for _, g := range r.Goals {
				if g.Verdict == "missed" {
					wrong++
				}
			}
			if len(r.Goals) != row.goals || wrong != row.wrong {
				t.Errorf("%d goals, %d of them missed, want %d and %d: %+v", len(r.Goals), wrong, row.goals,
					row.wrong, r.Goals)
			}
		})
	}
}
