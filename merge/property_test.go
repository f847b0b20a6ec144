package merge_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"notesd/merge"
)

// A writer edits texts in which every word is unique, so that what became of each can be told.
type writer struct {
	name string
	next int
}

func (w *writer) word() string {
	w.next++
	return fmt.Sprintf("%s%d", w.name, w.next)
}

// line draws a line of new words, or one without any, which may stand in a text many times.
func (w *writer) line(t *rapid.T) string {
	if rapid.IntRange(0, 4).Draw(t, "kind") == 0 {
		return rapid.SampledFrom([]string{"", "", "---", "```"}).Draw(t, "sign")
	}
	words := make([]string, rapid.IntRange(1, 6).Draw(t, "words"))
	for i := range words {
		words[i] = w.word()
	}
	return strings.Join(words, " ")
}

func (w *writer) lines(t *rapid.T, least, most int) (lines []string) {
	for range rapid.IntRange(least, most).Draw(t, "lines") {
		lines = append(lines, w.line(t))
	}
	return lines
}

// edit draws some edits: insertions, deletions, changes of a line and of a word, moves of a run.
func (w *writer) edit(t *rapid.T, lines []string, moves bool) []string {
	lines = slices.Clone(lines)
	at := func(what string, n int) int { return rapid.IntRange(0, n).Draw(t, what) }
	for range rapid.IntRange(0, 5).Draw(t, "edits") {
		kind := at("edit", 4)
		if len(lines) == 0 {
			kind = 0
		}
		switch kind {
		case 0:
			lines = slices.Insert(lines, at("to", len(lines)), w.lines(t, 1, 3)...)
		case 1:
			i := at("from", len(lines)-1)
			lines = slices.Delete(lines, i, min(len(lines), i+1+at("more", 2)))
		case 2:
			lines[at("line", len(lines)-1)] = w.line(t)
		case 3:
			i := at("line", len(lines)-1)
			words := strings.Split(lines[i], " ")
			words[at("word", len(words)-1)] = w.word()
			lines[i] = strings.Join(words, " ")
		case 4:
			if !moves {
				continue
			}
			i := at("from", len(lines)-1)
			j := min(len(lines), i+1+at("more", 2))
			run := slices.Clone(lines[i:j])
			lines = slices.Delete(lines, i, j)
			lines = slices.Insert(lines, at("to", len(lines)), run...)
		}
	}
	return lines
}

func join(t *rapid.T, lines []string) string {
	text := strings.Join(lines, "\n")
	if len(lines) > 0 && rapid.Bool().Draw(t, "final newline") {
		text += "\n"
	}
	return text
}

func draw(t *rapid.T, moves bool) (base, ours, theirs string) {
	b := (&writer{name: "b"}).lines(t, 0, 12)
	return join(t, b), join(t, (&writer{name: "o"}).edit(t, b, moves)), join(t, (&writer{name: "t"}).edit(t, b, moves))
}

func count(text string) map[string]int {
	n := map[string]int{}
	for word := range strings.FieldsSeq(text) {
		if word != "---" && word != "```" {
			n[word]++
		}
	}
	return n
}

// Every word that a side wrote and nobody removed is there once, and none that a side removed.
func TestNoWordLost(t *testing.T) {
	clean := 0
	rapid.Check(t, func(t *rapid.T) {
		base, ours, theirs := draw(t, true)
		r := merge.Text(base, ours, theirs)
		if !r.Clean() {
			return
		}
		clean++
		b, o, th, got := count(base), count(ours), count(theirs), count(r.Text())
		for _, words := range []map[string]int{b, o, th, got} {
			for word := range words {
				want := max(0, o[word]+th[word]-b[word])
				if b[word] == 1 && (rewritten(base, ours, word) || rewritten(base, theirs, word)) {
					continue // it is in a line that this side wrote, and the other removed it in another
				}
				if got[word] != want {
					t.Fatalf("%s: %d times, want %d\nbase\n%s\nours\n%s\ntheirs\n%s\nmerged\n%s", word, got[word], want, base, ours, theirs, r.Text())
				}
			}
		}
	})
	if clean == 0 {
		t.Error("every merge clashed")
	}
	t.Logf("%d merges were clean", clean)
}

// rewritten reports whether the side has the word in a line that is not in the base.
func rewritten(base, side, word string) bool {
	old := strings.Split(base, "\n")
	for line := range strings.SplitSeq(side, "\n") {
		if slices.Contains(strings.Fields(line), word) && !slices.Contains(old, line) {
			return true
		}
	}
	return false
}

func TestUnchangedSide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, ours, _ := draw(t, true)
		for _, r := range []merge.Result{merge.Text(base, ours, base), merge.Text(base, base, ours), merge.Text(base, ours, ours)} {
			if !r.Clean() || r.Text() != ours {
				t.Fatalf("%+v, want %q", r, ours)
			}
		}
	})
}

// Merging the other way round clashes alike, and has the same lines.
func TestSymmetric(t *testing.T) {
	sorted := func(s string) []string {
		lines := slices.DeleteFunc(strings.Split(s, "\n"), func(l string) bool { return l == "" })
		slices.Sort(lines)
		return lines
	}
	rapid.Check(t, func(t *rapid.T) {
		base, ours, theirs := draw(t, true)
		one, other := merge.Text(base, ours, theirs), merge.Text(base, theirs, ours)
		if one.Clean() != other.Clean() || one.Clean() && !slices.Equal(sorted(one.Text()), sorted(other.Text())) {
			t.Fatalf("base\n%s\nours\n%s\ntheirs\n%s\n%+v\n%+v", base, ours, theirs, one, other)
		}
	})
}

// The parts of a clash make up each side again, with what both have in common where nothing clashes.
func TestPartsCoverTheBase(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, ours, theirs := draw(t, false)
		r := merge.Text(base, ours, theirs)
		if r.Clean() {
			return
		}
		for word := range count(ours) {
			if count(base)[word] > 0 {
				continue
			}
			found := false
			for _, p := range r.Parts {
				found = found || count(p.Text + "\n" + p.Ours)[word] > 0
			}
			if !found {
				t.Fatalf("%s is in no part\nbase\n%s\nours\n%s\ntheirs\n%s\n%+v", word, base, ours, theirs, r)
			}
		}
	})
}

// Where git merge-file is clean, and the merge is, too, they agree, but for moves, which git knows nothing of, and for
// blank lines at the end: git takes a final newline that is missing for a blank line that is.
func TestLikeGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git")
	}
	dir := t.TempDir()
	compared := 0
	rapid.Check(t, func(t *rapid.T) {
		base, ours, theirs := draw(t, false)
		r := merge.Text(base, ours, theirs)
		if !r.Clean() {
			return
		}
		var names []string
		for name, text := range map[string]string{"1ours": ours, "2base": base, "3theirs": theirs} {
			names = append(names, filepath.Join(dir, name))
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		slices.Sort(names)
		git, err := exec.Command("git", append([]string{"merge-file", "-p", "-q"}, names...)...).Output()
		if err != nil {
			return // a conflict
		}
		compared++
		if end := "\n"; strings.TrimRight(string(git), end) != strings.TrimRight(r.Text(), end) {
			t.Fatalf("base\n%s\nours\n%s\ntheirs\n%s\nmerged\n%s\ngit\n%s", base, ours, theirs, r.Text(), git)
		}
	})
	t.Logf("%d merges were compared", compared)
}
