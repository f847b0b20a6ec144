package store

import "time"

// These are the rules by which histories are thinned. A version's age is the time since it was
// replaced, because until then it was the note.
//
//   - Every version stays for baseTime, as a base for merges.
//   - After that, only the last version of a burst is kept. A burst is versions of one author that
//     follow each other within burstGap, and lie within burstTime of the first.
//   - Of these, the last version of every hour is kept, and from hourlyTime on the last of every day.
//   - Pinned versions are kept as well, and count as the version of their hour and day.
//   - Versions older than the configured history are deleted, even if they are pinned.
//
// What is kept does not depend on how often a history was thinned before. So a version whose burst was
// decided is settled, and belongs to no other burst. See TestThinningOften.
const (
	baseTime   = 24 * time.Hour
	burstGap   = time.Minute
	burstTime  = 10 * time.Minute
	hourlyTime = 7 * 24 * time.Hour
)

// A thinnable is what the decision needs to know of a version.
type thinnable struct {
	at     int64 // when it was made
	author string
	keep   keep
}

// A thinning says what becomes of a version.
type thinning struct {
	goes bool
	keep keep
	due  int64 // hour from which the decision may be another
}

// thin decides what becomes of the versions of one note, in the order of their revisions. present
// is when the note's present revision was made. history is how long versions are kept; below
// baseTime it is baseTime.
func thin(versions []thinnable, present, now int64, history time.Duration) []thinning {
	history = max(history, baseTime)
	decided := make([]thinning, len(versions))
	replaced := func(i int) int64 {
		if i+1 < len(versions) {
			return versions[i+1].at
		}
		return present
	}
	aged := func(i int, age time.Duration) bool { return now-replaced(i) >= age.Milliseconds() }
	due := func(i int, age time.Duration) int64 { return hourAfter(replaced(i) + age.Milliseconds()) }
	lasts := lastOfBursts(versions)
	const none = -1 << 62
	nextHour, nextDay := int64(none), int64(none) // of the next version that is pinned or the last of its burst
	for i := len(versions) - 1; i >= 0; i-- {
		v, d, last := versions[i], &decided[i], lasts[i]
		hour, day := v.at/time.Hour.Milliseconds(), v.at/(24*time.Hour).Milliseconds()
		d.keep = v.keep
		switch {
		case !aged(i, baseTime):
			d.due = due(i, baseTime)
		case aged(i, history):
			d.goes = true
		case v.keep == keepPinned:
			d.due = due(i, history)
		case !aged(last, baseTime): // the burst is folded as a whole
			d.due = due(last, baseTime)
		case last != i:
			d.goes = true
		case !aged(i, hourlyTime):
			d.goes, d.keep, d.due = hour == nextHour, keepSettled, min(due(i, hourlyTime), due(i, history))
		default:
			d.goes, d.keep, d.due = day == nextDay, keepSettled, due(i, history)
		}
		if last == i || v.keep == keepPinned {
			nextHour, nextDay = hour, day
		}
	}
	return decided
}

// lastOfBursts returns the index of the last version of each version's burst.
func lastOfBursts(versions []thinnable) []int {
	lasts := make([]int, len(versions))
	for first := 0; first < len(versions); {
		last := first
		for last+1 < len(versions) && continues(versions[first], versions[last], versions[last+1]) {
			last++
		}
		for i := first; i <= last; i++ {
			lasts[i] = last
		}
		first = last + 1
	}
	return lasts
}

// continues reports whether next belongs to the burst from first to last.
func continues(first, last, next thinnable) bool {
	return last.keep == keepAsOthers && next.keep != keepSettled && next.author == last.author &&
		next.at-last.at <= burstGap.Milliseconds() && next.at-first.at <= burstTime.Milliseconds()
}
