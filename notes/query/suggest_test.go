package query

import (
	"slices"
	"strings"
	"testing"
)

func TestComplete(t *testing.T) {
	for _, test := range []struct {
		typed, text string
		want        []string
	}{
		{"fo", "Foxes, foo-food afoot\nfó", []string{"Foxes", "foo", "food", "fó"}},
		{"red STRASS", "Die Straße. Hauptstraße", []string{"Straße"}},
		{`-"ca`, "Café", []string{"Café"}},
		{"e\u0301t", "été ete\u0301", []string{"été", "ete\u0301"}},
		{"東", "東京都", nil},
		{"a", strings.Repeat("a", maxWord+1) + " ab", []string{"ab"}},
		{"first-cl", "first-class", nil},
		{"x", "", nil},
	} {
		p, ok := LastWord(test.typed)
		if got := p.Complete(test.text); !ok || !slices.Equal(got, test.want) {
			t.Errorf("%q completes to %q of %q, want %q", test.typed, got, test.text, test.want)
		}
	}
	for _, text := range []string{"", "fox ", "tag:", "tag:wo", "-", `"`, "\u00ad"} {
		if _, ok := LastWord(text); ok {
			t.Errorf("%q ends with a word", text)
		}
	}
}
