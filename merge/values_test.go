package merge_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"notesd/merge"
)

func TestValue(t *testing.T) {
	for _, c := range []struct{ base, ours, theirs, want string }{
		{"a", "a", "a", "a"}, {"a", "b", "a", "b"}, {"a", "a", "b", "b"}, {"a", "b", "b", "b"}, {"a", "b", "c", "c"},
	} {
		if got := merge.Value(c.base, c.ours, c.theirs); got != c.want {
			t.Errorf("Value(%q, %q, %q) = %q, want %q", c.base, c.ours, c.theirs, got, c.want)
		}
	}
}

func TestTags(t *testing.T) {
	for _, c := range []struct {
		name                     string
		base, ours, theirs, want []string
	}{
		{"nothing", nil, nil, nil, []string{}},
		{"both add", []string{"a"}, []string{"a", "o"}, []string{"t", "a"}, []string{"a", "o", "t"}},
		{"both add the same", nil, []string{"x"}, []string{"x"}, []string{"x"}},
		{"both remove", []string{"a", "b", "c"}, []string{"b", "c"}, []string{"a", "b"}, []string{"b"}},
		{"ours removes, theirs adds", []string{"a", "b"}, []string{"b"}, []string{"a", "b", "c"}, []string{"b", "c"}},
		{"ours sorts", []string{"b", "a"}, []string{"a", "b"}, []string{"b", "a", "c"}, []string{"a", "b", "c"}},
		{"twice", []string{"a"}, []string{"a", "b", "b"}, []string{"a"}, []string{"a", "b"}},
	} {
		if got := merge.Tags(c.base, c.ours, c.theirs); !slices.Equal(got, c.want) {
			t.Errorf("%s: Tags = %v, want %v", c.name, got, c.want)
		}
	}
}

// A tag is there if a side added it, or if it was there and no side removed it.
func TestTagsAreASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(what string) []string {
			return rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}), 0, 5, rapid.ID[string]).Draw(t, what)
		}
		base, ours, theirs := draw("base"), draw("ours"), draw("theirs")
		merged := merge.Tags(base, ours, theirs)
		for _, tag := range []string{"a", "b", "c", "d", "e"} {
			in := func(tags []string) bool { return slices.Contains(tags, tag) }
			want := in(ours) && in(theirs) || !in(base) && (in(ours) || in(theirs))
			if in(merged) != want {
				t.Fatalf("%s in %v: %v, want %v", tag, merged, in(merged), want)
			}
		}
		if slices.Sort(merged); len(slices.Compact(merged)) != len(merged) {
			t.Fatalf("%v repeats a tag", merged)
		}
	})
}
