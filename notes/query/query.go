// Package query finds notes by what users type: words, phrases and conditions such as tag: or
// before:. It parses the text of a query, says whether a note matches and how well, and where in the
// note the words are. It knows no database: a store that narrows down which notes may match finds
// what Match says of every note.
package query

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"notesd/notes"
	"notesd/notes/searchfold"
)

// MaxWords is how many words, phrases and conditions a query may have.
const MaxWords = 32

// A Query is what a user asks for. All parts of it must hold. Parse makes it.
type Query struct {
	// Terms are the words and phrases, in their order.
	Terms []Term
	// Ignored has what was left out, as it was typed, because there were too many words.
	Ignored []string

	conditions []condition
	longest    int // length of the longest term, in bytes
}

// A Term is a word or phrase to look for in title, content and tags.
type Term struct {
	Text string // folded, never empty
	Not  bool   // only notes without it
}

// A condition is about a note's flags, dates, color or tags.
type condition struct {
	flag  string                   // "pinned" and so on; "": the condition is another
	tag   string                   // folded; "": the condition is another
	early bool                     // it only needs a note's flags and the date of its last change
	color bool                     // it holds of no note without a color
	holds func(n *notes.Note) bool // nil: it is about the tag
	not   bool
}

// flags are what may follow is:.
var flags = map[string]func(n *notes.Note) bool{
	"pinned":   func(n *notes.Note) bool { return n.Pinned },
	"favorite": func(n *notes.Note) bool { return n.Favorite },
	"archived": func(n *notes.Note) bool { return n.Archived },
	"trashed":  func(n *notes.Note) bool { return n.Trashed },
	"markdown": func(n *notes.Note) bool { return n.Markdown },
}

// Parse reads a query. There are no mistakes: what is no condition is text to look for.
func Parse(text string) Query {
	var q Query
	words := 0
	for text = trimSpace(text); text != ""; text = trimSpace(text) {
		token, rest := nextToken(text)
		text = rest
		if words++; words > MaxWords {
			q.Ignored = append(q.Ignored, token)
			continue
		}
		q.add(token)
	}
	return q
}

// IsZero reports whether the query asks for nothing, so that every note matches.
func (q *Query) IsZero() bool { return len(q.Terms) == 0 && len(q.conditions) == 0 }

// Is adds the condition that a note has a flag, as if is: and the flag's name were typed.
func (q *Query) Is(flag string) {
	q.conditions = append(q.conditions, condition{flag: flag, early: true, holds: flags[flag]})
}

// nextToken splits a word, a phrase in quotes, or a condition off the text, with the sign before it.
// A phrase whose second quote is missing ends with the text.
func nextToken(text string) (token, rest string) {
	end := strings.IndexFunc(text, unicode.IsSpace)
	if end < 0 {
		end = len(text)
	}
	quote := strings.IndexByte(text[:end], '"')
	if quote < 0 || !mayQuote(text[:quote]) {
		return text[:end], text[end:]
	}
	length := strings.IndexByte(text[quote+1:], '"')
	if length < 0 {
		return text, ""
	}
	end = quote + 1 + length + 1
	return text[:end], text[end:]
}

// mayQuote reports whether a quote after the beginning of a token begins a phrase. In 5"2 it does
// not.
func mayQuote(beginning string) bool {
	switch strings.ToLower(strings.TrimPrefix(beginning, "-")) {
	case "", "tag:", "color:":
		return true
	}
	return false
}

// add adds a token: a condition if it is one, otherwise text to look for.
func (q *Query) add(token string) {
	rest, not := strings.CutPrefix(token, "-")
	if name, value, found := strings.Cut(rest, ":"); found {
		if c, ok := newCondition(strings.ToLower(name), value); ok {
			c.not = not
			q.conditions = append(q.conditions, c)
			return
		}
	}
	text := fold(unquote(rest))
	if text == "" { // a sign or quotes alone
		text, not = fold(token), false
	}
	if text == "" {
		return
	}
	term := Term{Text: text, Not: not}
	if slices.Contains(q.Terms, term) { // each is looked for in all of a text
		return
	}
	q.Terms = append(q.Terms, term)
	q.longest = max(q.longest, len(text))
}

// unquote removes the quotes of a phrase.
func unquote(s string) string {
	inner, found := strings.CutPrefix(s, `"`)
	if !found {
		return s
	}
	return strings.TrimSuffix(inner, `"`)
}

// fold folds text as the notes are folded that it is compared with.
func fold(s string) string {
	f := searchfold.Folder{Blanks: true}
	return trimSpace(string(f.Finish(f.Append(nil, s))))
}

func trimSpace(s string) string { return strings.TrimFunc(s, unicode.IsSpace) }

// newCondition returns the condition that name:value stands for. ok is false if it is none.
func newCondition(name, value string) (c condition, ok bool) {
	switch name {
	case "is":
		flag := strings.ToLower(value)
		holds, ok := flags[flag]
		return condition{flag: flag, early: true, holds: holds}, ok
	case "tag":
		tag := fold(unquote(value))
		return condition{tag: tag}, tag != ""
	case "color":
		color := fold(unquote(value))
		c.holds = func(n *notes.Note) bool { return n.Color != nil && fold(*n.Color) == color }
		c.color = true
		return c, color != ""
	}
	from, end, ok := parsePeriod(value)
	in := func(t time.Time) bool { return !t.Before(from) && t.Before(end) }
	c.early = name != "created"
	switch name {
	case "before":
		c.holds = func(n *notes.Note) bool { return n.UpdatedAt.Before(from) }
	case "after":
		c.holds = func(n *notes.Note) bool { return !n.UpdatedAt.Before(from) }
	case "created":
		c.holds = func(n *notes.Note) bool { return in(n.CreatedAt) }
	case "updated":
		c.holds = func(n *notes.Note) bool { return in(n.UpdatedAt) }
	default:
		return c, false
	}
	return c, ok
}

// parsePeriod parses a year, a month or a day of UTC.
func parsePeriod(s string) (from, end time.Time, ok bool) {
	for _, period := range []struct {
		layout              string
		years, months, days int
	}{
		{"2006", 1, 0, 0}, {"2006-01", 0, 1, 0}, {"2006-01-02", 0, 0, 1},
	} {
		if t, err := time.Parse(period.layout, s); err == nil && len(s) == len(period.layout) {
			return t, t.AddDate(period.years, period.months, period.days), true
		}
	}
	return from, end, false
}

// Names reports whether the query asks for notes that have a flag.
func (q *Query) Names(flag string) bool {
	return slices.ContainsFunc(q.conditions, func(c condition) bool { return c.flag == flag && !c.not })
}

// Includes reports whether a note's flags, dates, color and tags are asked for. Notes in the trash
// and in the archive are only asked for by is:trashed and is:archived.
func (q *Query) Includes(n *notes.Note) bool {
	var tags []string // of the note, folded once there is a condition on them
	for _, c := range q.conditions {
		var holds bool
		switch {
		case c.tag == "":
			holds = c.holds(n)
		case len(n.Tags) > 0:
			for _, tag := range n.Tags[len(tags):] {
				tags = append(tags, fold(tag))
			}
			holds = slices.Contains(tags, c.tag)
		}
		if holds == c.not {
			return false
		}
	}
	return q.inView(n)
}

// inView reports whether a note is in the part of the notes that is searched: the trash, the archive
// or the others.
func (q *Query) inView(n *notes.Note) bool {
	trashed := q.Names("trashed")
	// A note goes to the trash from the archive too.
	return n.Trashed == trashed && (!n.Archived || trashed || q.Names("archived"))
}

// MayInclude reports whether Includes may be true of a note of which only the flags, the date of the
// last change, and whether it has a color are known.
func (q *Query) MayInclude(n *notes.Note) bool {
	for _, c := range q.conditions {
		if c.early && c.holds(n) == c.not || c.color && !c.not && n.Color == nil {
			return false
		}
	}
	return q.inView(n)
}

// Best returns the rank, without an id, of a note that matches as well as it can if no more than some
// of the terms are in its title, and that was last changed at a time.
func (q *Query) Best(inTitle int, updated time.Time) Rank {
	words, _ := q.Contained()
	return Rank{InTitle: min(inTitle, len(words)), Whole: len(words), Updated: updated}
}

// Contained returns folded texts that are in every note which matches: words that may be in its
// title, and others that are in its tags.
func (q *Query) Contained() (words, others []string) {
	for _, term := range q.Terms {
		if !term.Not {
			words = append(words, term.Text)
		}
	}
	for _, c := range q.conditions {
		if c.tag != "" && !c.not {
			others = append(others, c.tag)
		}
	}
	return words, others
}
