package web

import (
	"strings"
	"testing"
)

// The pages have nothing that their policy forbids, and use no other server.
func TestPages(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"off/front.html", "dist/index.html"} {
		text := string(file(name).Plain())
		for _, bad := range []string{"<style", " style=", " onclick=", "://"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %q", name, bad)
			}
		}
		if strings.Count(text, "<script") != strings.Count(text, `<script type="module" src="/assets/`) {
			t.Errorf("%s has a script in the page:\n%s", name, text)
		}
	}
}
