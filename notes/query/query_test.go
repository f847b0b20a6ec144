package query

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"notesd/notes"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       string // the terms, in quotes, with their signs
		conditions int
	}{
		{"nothing", "", "", 0},
		{"blanks", " \t\u3000\n", "", 0},
		{"words", "Straße  Café", `"strasse" "cafe"`, 0},
		{"a phrase", `"a  Phrase" b`, `"a phrase" "b"`, 0},
		{"a phrase without its end", `x "a phrase`, `"x" "a phrase"`, 0},
		{"a phrase of nothing", `"" x`, `"\"\"" "x"`, 0},
		{"a quote", `"`, `"\""`, 0},
		{"a quote within a word", `5"2 a"b c"`, `"5\"2" "a\"b" "c\""`, 0},
		{"without", `-draft -"a phrase"`, `-"draft" -"a phrase"`, 0},
		{"words twice", `a A -a "a" á -A b`, `"a" -"a" "b"`, 0},
		{"a hyphen", "- -- a-b", `"-" -"-" "a-b"`, 0},
		{"conditions", `tag:Work TAG:"two words" -tag:x is:pinned Is:Trashed color:red before:2026 after:2026-01 created:2026-01-31 updated:2026`, "", 10},
		{"mistakes", "is:nonsense tag: before:yesterday created:2026-13 updated:2026-02-30 after:26 foo:bar :",
			`"is:nonsense" "tag:" "before:yesterday" "created:2026-13" "updated:2026-02-30" "after:26" "foo:bar" ":"`, 0},
		{"a mistake with a sign", "-is:x", `-"is:x"`, 0},
		{"an address", "https://example.org/", `"https://example.org/"`, 0},
		{"folded to nothing", "\u00ad x", `"x"`, 0},
		{"a quoted value where none may be", `is:"pinned or not"`, `"is:\"pinned" "or" "not\""`, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			q := Parse(test.text)
			var terms []string
			for _, term := range q.Terms {
				terms = append(terms, strings.Repeat("-", map[bool]int{true: 1}[term.Not])+fmt.Sprintf("%q", term.Text))
			}
			if got := strings.Join(terms, " "); got != test.want || len(q.conditions) != test.conditions || q.Ignored != nil {
				t.Errorf("Parse(%q) has %s and %d conditions, ignores %q, want %s and %d", test.text, got, len(q.conditions), q.Ignored,
					test.want, test.conditions)
			}
		})
	}
}

func TestParseTooMany(t *testing.T) {
	q := Parse(strings.Repeat("tag:a ", MaxWords-1) + `last "too many" -is:pinned`)
	if want := []string{`"too many"`, "-is:pinned"}; !slices.Equal(q.Ignored, want) || len(q.Terms) != 1 || len(q.conditions) != MaxWords-1 {
		t.Errorf("Parse ignores %q, has %d terms and %d conditions, want %q, 1 and %d", q.Ignored, len(q.Terms), len(q.conditions), want, MaxWords-1)
	}
}

func at(date string) time.Time {
	t, err := time.Parse(time.DateTime, date)
	if err != nil {
		panic(err)
	}
	return t
}

func TestMatch(t *testing.T) {
	note := notes.Note{
		Title: "Café Łódź", Content: "The Straße to the\nstation, first-class. 東京都庁にて C++", Tags: []string{"Reise", "zwei Worte"},
		Color: new("Red"), Pinned: true, Markdown: true,
		CreatedAt: at("2026-01-31 23:59:59"), UpdatedAt: at("2026-02-28 12:00:00"),
	}
	for _, test := range []struct {
		query        string
		found        bool
		title, whole int
	}{
		{"", true, 0, 0},
		{"cafe", true, 1, 1},
		{"caf", true, 1, 0},
		{"lodz cafe strasse", true, 2, 3},
		{"afe tras", true, 1, 0},
		{"missing cafe", false, 0, 0},
		{`"the station"`, true, 0, 1},
		{`"station the"`, false, 0, 0},
		{"reise", true, 0, 1},
		{"worte", true, 0, 1},
		{"京都", true, 0, 1},
		{"c++", true, 0, 1},
		{"first class", true, 0, 2},
		{"cafe -tea", true, 1, 1},
		{"cafe -strasse", false, 0, 0},
		{"-reise", false, 0, 0},
		{`-"the station"`, false, 0, 0},
		{"tag:REISE", true, 0, 0},
		{`tag:"zwei worte"`, true, 0, 0},
		{"tag:zwei", false, 0, 0},
		{"-tag:reise", false, 0, 0},
		{"color:red", true, 0, 0},
		{"-color:blue color:RED", true, 0, 0},
		{"is:pinned is:markdown", true, 0, 0},
		{"is:favorite", false, 0, 0},
		{"-is:favorite", true, 0, 0},
		{"is:archived", false, 0, 0},
		{"before:2026-02-28", false, 0, 0},
		{"before:2026-03", true, 0, 0},
		{"after:2026-02-28", true, 0, 0},
		{"after:2026-03-01", false, 0, 0},
		{"created:2026-01 updated:2026-02", true, 0, 0},
		{"created:2026-01-31", true, 0, 0},
		{"created:2026-02", false, 0, 0},
		{"-created:2026-02", true, 0, 0},
		{"updated:2025", false, 0, 0},
	} {
		q := Parse(test.query)
		r, found := q.Match(&note)
		if found != test.found || found && (r.InTitle != test.title || r.Whole != test.whole) {
			t.Errorf("Match(%s) = %d in the title, %d whole, %v, want %d, %d, %v", test.query, r.InTitle, r.Whole, found, test.title, test.whole, test.found)
		}
	}
}

// TestFlags: the trash and the archive are out unless they are named.
func TestFlags(t *testing.T) {
	for _, test := range []struct {
		query                        string
		plain, archived, trash, both bool
	}{
		{"", true, false, false, false},
		{"-is:trashed", true, false, false, false},
		{"-is:archived", true, false, false, false},
		{"is:archived", false, true, false, false},
		{"is:trashed", false, false, true, true},
		{"is:trashed -is:archived", false, false, true, false},
		{"is:trashed is:archived", false, false, false, true},
		{"is:trashed -is:trashed", false, false, false, false},
	} {
		q := Parse(test.query)
		for _, row := range []struct{ archived, trashed, want bool }{
			{false, false, test.plain}, {true, false, test.archived}, {false, true, test.trash}, {true, true, test.both},
		} {
			if _, found := q.Match(&notes.Note{Archived: row.archived, Trashed: row.trashed}); found != row.want {
				t.Errorf("%q finds a note with archived %v, trashed %v: %v, want %v", test.query, row.archived, row.trashed, found, row.want)
			}
		}
	}
}

// TestMayInclude: what is known of a note before it is read excludes it only if it can't match.
func TestMayInclude(t *testing.T) {
	colored := notes.Note{Color: new(""), Pinned: true, UpdatedAt: at("2026-01-02 00:00:00")}
	plain := colored
	plain.Color = nil
	for _, test := range []struct {
		query          string
		colored, plain bool
	}{
		{"word", true, true},
		{"color:red", true, false},
		{"-color:red", true, true},
		{"is:pinned tag:x", true, true},
		{"-is:pinned", false, false},
		{"before:2026-01-02", false, false},
		{"created:2020", true, true},
	} {
		q := Parse(test.query)
		if got := q.MayInclude(&colored); got != test.colored {
			t.Errorf("MayInclude(%s) = %v of a note with a color", test.query, got)
		}
		if got := q.MayInclude(&plain); got != test.plain {
			t.Errorf("MayInclude(%s) = %v of a note without a color", test.query, got)
		}
	}
}

// TestOrder: the title before the content, whole words before parts, then the newest; no pins.
func TestOrder(t *testing.T) {
	q := Parse("red fox")
	inOrder := []notes.Note{
		{ID: "a", Title: "red fox"},
		{ID: "b", Title: "foxes, redder", UpdatedAt: at("2026-01-02 00:00:00")},
		{ID: "c", Title: "foxes, redder", UpdatedAt: at("2026-01-01 00:00:00"), Pinned: true, Favorite: true},
		{ID: "d", Title: "red", Content: "a fox"},
		{ID: "e", Title: "red", Content: "foxes"},
		{ID: "g", Content: "fox red"},
		{ID: "f", Content: "fox red"},
		{ID: "h", Content: "foxes are red"},
	}
	for i := range inOrder[1:] {
		one, found := q.Match(&inOrder[i])
		next, nextFound := q.Match(&inOrder[i+1])
		if !found || !nextFound || one.Compare(next) >= 0 || next.Compare(one) <= 0 || one.Compare(one) != 0 {
			t.Errorf("note %s is not before note %s", inOrder[i].ID, inOrder[i+1].ID)
		}
	}
}

func TestHits(t *testing.T) {
	long := strings.Repeat("lorem ipsum ", 20)
	for _, test := range []struct {
		query string
		note  notes.Note
		want  string
	}{
		{"cafe", notes.Note{Title: "Café cafe\u0301s", Content: "ein Cafe"}, `[{0 4} {5 10}] [{4 8}] [] {ein Cafe 0}`},
		{"strasse ss", notes.Note{Content: "Straße ss"}, `[] [{0 6} {7 9}] [] {Straße ss 0}`},
		{"s", notes.Note{Content: "ß"}, `[] [{0 1}] [] {ß 0}`},
		{`"a b"`, notes.Note{Content: "a\n\n b", Tags: []string{"x", "A B"}}, "[] [{0 5}] [[] [{0 3}]] {a\n\n b 0}"},
		{"x -y", notes.Note{Title: "x", Content: ""}, `[{0 1}] [] [] { 0}`},
		{"fox", notes.Note{Content: long + "fox " + long}, `[] [{240 243}] [] {` + long[204:240] + "fox " + strings.TrimSpace(long[:156]) + ` 204}`},
		{"no", notes.Note{Title: "no", Content: long}, `[{0 2}] [] [] {` + long[:197] + ` 0}`},
	} {
		q := Parse(test.query)
		h, err := q.Hits(t.Context(), &test.note, func(step func()) { step() })
		if got := fmt.Sprint(h.Title, h.Content, h.Tags, h.Excerpt); err != nil || got != test.want {
			t.Errorf("Hits(%s) = %s, %v, want %s", test.query, got, err, test.want)
		}
	}
}

// FuzzParse: no query is an error, and none is kept that is too long to look for.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`a "b c" -d tag:"e f" is:pinned before:2026-01-31`, `"`, `-"`, `tag:"`, "is:", "\u00ad\u0301"} {
		f.Add(s, "a Café b c")
	}
	f.Fuzz(func(t *testing.T, text, content string) {
		q := Parse(text)
		if len(q.Terms)+len(q.conditions) > MaxWords {
			t.Fatalf("Parse(%q) has %d parts", text, len(q.Terms)+len(q.conditions))
		}
		note := notes.Note{Title: text, Content: content, Tags: []string{text}}
		if _, found := q.Match(&note); found != naive(q, &note) {
			t.Fatalf("Match(%q, %q) = %v", text, content, found)
		}
		checkHits(t, q, &note)
	})
}

// naive reports whether a note matches by the shortest way there is.
func naive(q Query, n *notes.Note) bool {
	for _, term := range q.Terms {
		there := false
		for _, text := range append([]string{n.Title, n.Content}, n.Tags...) {
			there = there || strings.Contains(foldWhole(text), term.Text)
		}
		if there == term.Not {
			return false
		}
	}
	return q.Includes(n)
}

func foldWhole(text string) string {
	s := (&Query{}).newSearch()
	s.next(text, true)
	return string(s.buffer)
}

// checkHits: each hit is in its text, and what it marks holds a term.
func checkHits(t interface{ Fatalf(string, ...any) }, q Query, n *notes.Note) {
	h, err := q.Hits(context.Background(), n, func(step func()) { step() })
	if err != nil {
		t.Fatalf("Hits: %v", err)
	}
	if utf8.ValidString(n.Content) && !strings.HasPrefix(string([]rune(n.Content)[h.Excerpt.Start:]), h.Excerpt.Text) {
		t.Fatalf("the excerpt %+v is not in %q", h.Excerpt, n.Content)
	}
	check := func(text string, hits []Hit) {
		runes, last := []rune(text), 0
		for _, hit := range hits {
			if hit.Start < last || hit.End <= hit.Start || hit.End > len(runes) {
				t.Fatalf("hits %v of %q", hits, text)
			}
			last = hit.End
			marked := foldWhole(string(runes[hit.Start:hit.End]))
			if !slices.ContainsFunc(q.Terms, func(term Term) bool { return strings.Contains(marked, term.Text) }) &&
				!startsWithMark(q) {
				t.Fatalf("hit %v marks %q of %q, which has no term", hit, marked, text)
			}
		}
	}
	check(n.Title, h.Title)
	check(n.Content, h.Content)
	for i, tag := range n.Tags {
		check(tag, h.Tags[i])
	}
}

// startsWithMark: what such a term marks, by itself, may fold otherwise than after its base.
func startsWithMark(q Query) bool {
	return slices.ContainsFunc(q.Terms, func(term Term) bool { return foldWhole("a"+term.Text) != "a"+term.Text })
}

// TestLong: a long content is searched in pieces as if at once.
func TestLong(t *testing.T) {
	part := rapid.StringOfN(rapid.SampledFrom([]rune("abcé ß\n\u0301ガｶﾞ각가\u11a8й")), 0, 8, -1)
	rapid.Check(t, func(t *rapid.T) {
		unit, needle := part.Draw(t, "unit"), part.Draw(t, "needle")
		tail := part.Draw(t, "tail")
		if unit == "" {
			t.Skip("no text")
		}
		pad := rapid.IntRange(-40, 40).Draw(t, "pad")
		content := strings.Repeat(unit, (piece+pad)/len(unit)) + tail + "x" + tail
		q := Parse(`"` + needle + `"`)
		note := notes.Note{Content: content}
		if _, found := q.Match(&note); found != naive(q, &note) {
			t.Fatalf("Match(%q) in %d bytes of %q and %q = %v", needle, len(content), unit, tail, found)
		}
		at := strings.Index(foldWhole(content), q.Terms[0].Text)
		h, _ := q.Hits(context.Background(), &note, func(step func()) { step() })
		if (at >= 0) != (len(h.Content) > 0) {
			t.Fatalf("Hits(%q) = %v", needle, h.Content)
		}
	})
}

// TestMatchEnds: a long content is not searched once nobody waits.
func TestMatchEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrClosedPipe)
	q := Parse("x")
	if _, _, err := q.MatchText(ctx, &notes.Note{Content: strings.Repeat("a", piece+1)}, func(step func()) { step() }); err != io.ErrClosedPipe {
		t.Errorf("MatchText = %v, want the cause", err)
	}
}

func BenchmarkMatch(b *testing.B) {
	note := notes.Note{Title: "Notes of a day", Content: strings.Repeat("the quick brown fox jumps over the lazy dog. ", 22) + "quetzal"}
	q := Parse("quetzal lazy")
	b.SetBytes(int64(len(note.Content)))
	for b.Loop() {
		q.Match(&note)
	}
}
