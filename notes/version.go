package notes

import (
	"strings"
	"time"
	"unicode/utf8"
)

// An Author is what made a revision of a note. The zero Author is not known. Two Authors are the
// same if all their fields are.
type Author struct {
	Kind string // KindSession, KindToken or KindDoor
	Name string // for display
	ID   string // tells authors of the same kind and name apart; it is never shown, and may be ""
}

// These are the kinds of an Author.
const (
	KindSession = "session" // a signed-in user
	KindToken   = "token"   // a program with a token
	KindDoor    = "door"    // a protocol whose client is neither: a request with a session has KindSession
)

// maxAuthorName is the largest number of bytes of an author's name that is kept.
const maxAuthorName = 64

// Stored returns the author in the form that AuthorOf reads: the first letter of its kind, its id,
// and, after a blank, its name. Stored cuts a long name, and replaces what is no text.
func (a Author) Stored() string {
	if a.Kind == "" {
		return ""
	}
	return a.Kind[:1] + strings.ReplaceAll(validText(a.ID), " ", "_") + " " + validText(a.Name)
}

// validText returns the beginning of s without characters that cannot be stored.
func validText(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s[:min(len(s), maxAuthorName)], ""), "\x00", "")
	return strings.TrimSpace(s)
}

// AuthorOf returns the author that Stored has written. Of what Stored has not written it returns
// the zero Author.
func AuthorOf(stored string) Author {
	head, name, found := strings.Cut(stored, " ")
	if !found || head == "" || !utf8.ValidString(stored) {
		return Author{}
	}
	for _, kind := range []string{KindSession, KindToken, KindDoor} {
		if kind[0] == head[0] {
			return Author{Kind: kind, ID: head[1:], Name: name}
		}
	}
	return Author{}
}

// A Version is a note as it was at one revision. Its ChangeSeq is set only if the revision is the
// note's present one.
type Version struct {
	Note
	By Author
}

// VersionInfo describes a version in a list.
type VersionInfo struct {
	Revision int64
	At       time.Time // when the revision was made
	Bytes    int64     // bytes of title, content and tags
	Title    string
	By       Author
	// Lines compares the content with that of the version before it that is kept. It is nil if
	// there is none, or if one of the two is too long to be compared for a list, or follows many
	// long ones on the same page.
	Lines *LineChange
}

// A LineChange counts the lines by which two contents differ. A line that has moved counts as
// neither.
type LineChange struct{ Added, Removed int }

// CompareLines returns by how many lines text differs from the older text before it. It takes time
// in proportion to their length.
func CompareLines(before, text string) LineChange {
	count := make(map[string]int)
	for line := range strings.Lines(before) {
		count[strings.TrimRight(line, "\r\n")]--
	}
	for line := range strings.Lines(text) {
		count[strings.TrimRight(line, "\r\n")]++
	}
	var change LineChange
	for _, n := range count {
		change.Added += max(0, n)
		change.Removed += max(0, -n)
	}
	return change
}

// A VersionPage says which of a note's versions are listed.
type VersionPage struct {
	Before int64 // only versions of revisions below it; 0: from the note's present revision
	Limit  int   // versions at most, at least 1
}
