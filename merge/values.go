package merge

import "slices"

// Value returns the value of the side that changed it. Of two different changes theirs, the later
// one, holds.
func Value[T comparable](base, ours, theirs T) T {
	if theirs == base {
		return ours
	}
	return theirs
}

// Tags merges lists without repetition: what either side added is in it, what either removed is
// not. The order is ours, with what only they added at the end.
func Tags(base, ours, theirs []string) []string {
	merged := []string{}
	add := func(tag string) {
		if !slices.Contains(merged, tag) {
			merged = append(merged, tag)
		}
	}
	for _, tag := range ours {
		if slices.Contains(theirs, tag) || !slices.Contains(base, tag) {
			add(tag)
		}
	}
	for _, tag := range theirs {
		if !slices.Contains(base, tag) {
			add(tag)
		}
	}
	return merged
}
