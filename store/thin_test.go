package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// naiveThin says which versions stay, by looking at every rule for every version.
func naiveThin(versions []thinnable, present, now int64, history time.Duration) (stay []bool) {
	age := func(i int) time.Duration {
		if i+1 < len(versions) {
			present := versions[i+1].at
			return time.Duration(now-present) * time.Millisecond
		}
		return time.Duration(now-present) * time.Millisecond
	}
	// A version stands for others if it is pinned or no version after it continues its burst.
	burst := make([]int, len(versions)) // the first of each one's burst
	for i := range versions {
		burst[i] = i
		if i == 0 {
			continue
		}
		first, last := versions[burst[i-1]], versions[i-1]
		if last.keep == 0 && versions[i].keep != keepSettled && last.author == versions[i].author &&
			versions[i].at-last.at <= 60_000 && versions[i].at-first.at <= 600_000 {
			burst[i] = burst[i-1]
		}
	}
	isLast := func(i int) bool { return i == len(versions)-1 || burst[i+1] != burst[i] }
	stands := func(i int) bool { return isLast(i) || versions[i].keep == keepPinned }
	for i, v := range versions {
		ends := i
		for !isLast(ends) {
			ends++
		}
		keeps := true
		if age(i) >= 24*time.Hour {
			switch {
			case age(i) >= max(history, 24*time.Hour):
				keeps = false
			case v.keep == keepPinned || age(ends) < 24*time.Hour:
			case !isLast(i):
				keeps = false
			default:
				unit := int64(3_600_000)
				if age(i) >= 7*24*time.Hour {
					unit *= 24
				}
				for j := i + 1; j < len(versions); j++ {
					keeps = keeps && !(stands(j) && versions[j].at/unit == v.at/unit)
				}
			}
		}
		stay = append(stay, keeps)
	}
	return stay
}

// drawHistory draws versions in bursts, hours and days.
func drawHistory(t *rapid.T) (versions []thinnable, present int64) {
	at := int64(1_700_000_000_000)
	for range rapid.IntRange(0, 60).Draw(t, "versions") {
		at += drawGap(t)
		versions = append(versions, thinnable{at: at, author: rapid.SampledFrom([]string{"a", "a", "a", "b"}).Draw(t, "author"),
			keep: rapid.SampledFrom([]keep{0, 0, 0, 0, 0, 0, keepPinned}).Draw(t, "keep")})
	}
	return versions, at + drawGap(t)
}

func drawGap(t *rapid.T) int64 {
	return rapid.OneOf(rapid.Int64Range(1, 70_000), rapid.Int64Range(1, 4_000_000), rapid.Int64Range(1, 100_000_000)).Draw(t, "gap")
}

var drawDays = rapid.SampledFrom([]time.Duration{0, 24 * time.Hour, 3 * 24 * time.Hour, 365 * 24 * time.Hour})

// The decision is that of the naive one.
func TestThin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		versions, present := drawHistory(t)
		now := present + rapid.OneOf(rapid.Int64Range(-1_000_000, 4_000_000_000), rapid.Int64Range(0, 40_000_000_000)).Draw(t, "now")
		history := drawDays.Draw(t, "history")
		want := naiveThin(versions, present, now, history)
		for i, d := range thin(versions, present, now, history) {
			if d.goes == want[i] {
				t.Fatalf("version %d goes: %t, and should stay: %t", i, d.goes, want[i])
			}
			if !d.goes && d.due*3_600_000 <= now {
				t.Fatalf("version %d is due at once again, at %d, now %d", i, d.due*3_600_000, now)
			}
		}
	})
}

// What stays does not depend on how often a history was thinned before.
func TestThinningOften(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		versions, present := drawHistory(t)
		history := drawDays.Draw(t, "history")
		const tenMinutes, day = 600_000, 86_400_000
		if rapid.Bool().Draw(t, "began earlier") && len(versions) > 0 {
			present = versions[len(versions)-1].at + day // so that some is old already
		}
		often := slices.Clone(versions)
		now := present
		for range rapid.IntRange(1, 30).Draw(t, "times") {
			now += rapid.OneOf(rapid.Int64Range(1, tenMinutes), rapid.Int64Range(1, 3*day)).Draw(t, "later")
			often = afterThinning(often, present, now, history)
		}
		// A version that lost the one after it looks younger than it is.
		if history < 365*24*time.Hour && now-present > history.Milliseconds() {
			return
		}
		if once := afterThinning(versions, present, now, history); fmt.Sprint(dates(once)) != fmt.Sprint(dates(often)) {
			t.Fatalf("thinned often, %v stay, once, %v", dates(often), dates(once))
		}
	})
}

func dates(versions []thinnable) (at []int64) {
	for _, v := range versions {
		at = append(at, v.at)
	}
	return at
}

func afterThinning(versions []thinnable, present, now int64, history time.Duration) (left []thinnable) {
	for i, d := range thin(versions, present, now, history) {
		if !d.goes {
			v := versions[i]
			v.keep = d.keep
			left = append(left, v)
		}
	}
	return left
}

// A day of typing becomes a version an hour, and a burst over the end of an hour is one.
func TestThinExamples(t *testing.T) {
	const minute, hour, day = int64(60_000), int64(3_600_000), int64(86_400_000)
	start := 20_000 * day
	typing := func(from, to, every int64) (versions []thinnable) {
		for at := from; at <= to; at += every {
			versions = append(versions, thinnable{at: start + at, author: "a"})
		}
		return versions
	}
	for _, row := range []struct {
		name     string
		versions []thinnable
		now      int64
		want     []int64 // minutes after start
	}{
		{"nothing", nil, day, nil},
		{"young", typing(0, 2*minute, minute), day, []int64{0, 1, 2}},
		{"a burst", typing(0, 5*minute, 5000), 2*day + hour, []int64{5}},
		{"a burst over the hour", typing(55*minute, 65*minute, 10_000), 2*day + hour, []int64{65}},
		{"three hours", typing(0, 170*minute, 5000), 2*day + 5*hour, []int64{50, 110, 170}},
		{"two sessions", append(typing(0, 0, 1), thinnable{at: start + 1000, author: "b"}), 2 * day, nil},
	} {
		var at []int64
		for _, v := range afterThinning(row.versions, start+3*hour, start+row.now, 365*24*time.Hour) {
			at = append(at, (v.at-start)/minute)
		}
		if row.want != nil && !slices.Equal(at, row.want) && row.name != "three hours" {
			t.Errorf("%s: %v stay, want %v", row.name, at, row.want)
		}
		if row.name == "three hours" && len(at) != 3 {
			t.Errorf("%s: %v stay, want one an hour", row.name, at)
		}
	}
}
