package router

import (
	"strings"
	"testing"
)

// A tag of If-None-Match is found whatever else is in the header.
func FuzzMatchingTag(f *testing.F) {
	for _, header := range []string{"", "*", `"x", *`, `W/"x"`, `W/"0193.1.1-gzip"`, `"a,b`, `",,"`} {
		f.Add(header, "0193.1.1")
	}
	f.Fuzz(func(t *testing.T, header, text string) {
		if strings.ContainsAny(text, "\"") {
			t.Skip()
		}
		tag := `"` + text + `"`
		for _, sent := range []string{tag, "W/" + tag, strings.TrimSuffix(tag, `"`) + `-gzip"`} {
			if _, ok := MatchingTag([]string{sent + "," + header}, tag); !ok && plainOf(text) == text {
				t.Errorf("MatchingTag(%q before %q) found nothing", sent, header)
			}
		}
	})
}

// plainOf is text without the suffix of a content coding.
func plainOf(text string) string {
	plain, _ := PlainTag(`"` + text + `"`)
	return plain
}
