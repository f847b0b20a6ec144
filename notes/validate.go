package notes

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// These constants bound a note, in code points. The content has no bound of its own: the API limits
// the bytes of a request, and a quota limits the bytes of a user.
const (
	MaxTitle = 255
	MaxColor = 20
	MaxTags  = 50
	MaxTag   = 64

	MaxID = 255 // bytes; our ids have 36, those of the old server have 25
)

// An InvalidError says what is wrong with a note that a client writes.
type InvalidError struct {
	Fields map[string]string // the rule that is broken, as "must not be empty", by the field's name in the API
}

func (e *InvalidError) Error() string { return fmt.Sprintf("invalid note: %v", e.Fields) }

// Set records what is wrong with a field.
func (e *InvalidError) Set(field, wrong string) {
	if e.Fields == nil {
		e.Fields = make(map[string]string)
	}
	e.Fields[field] = wrong
}

// Check returns an *InvalidError that names every field which breaks a rule, or nil.
func (n NewNote) Check() error {
	return Patch{Title: &n.Title, Content: &n.Content, Tags: &n.Tags, Color: n.Color}.Check()
}

// Check returns an *InvalidError that names every field which breaks a rule, or nil.
func (p Patch) Check() error {
	var invalid InvalidError
	p.AddFaults(&invalid)
	if invalid.Fields == nil {
		return nil
	}
	return &invalid
}

// AddFaults adds the fields that break a rule to the fields that could not be read, so that one
// response tells the client about all of them.
func (p Patch) AddFaults(invalid *InvalidError) {
	checkText := func(field string, text *string, least, most int) {
		if text == nil {
			return
		}
		if wrong := textFault(*text, least, most); wrong != "" {
			invalid.Set(field, wrong)
		}
	}
	checkText("title", p.Title, 1, MaxTitle)
	checkText("content", p.Content, 0, 0)
	checkText("color", p.Color, 0, MaxColor)
	if p.Tags != nil {
		if wrong := tagsFault(*p.Tags); wrong != "" {
			invalid.Set("tags", wrong)
		}
	}
}

// textFault says what is wrong with a text that must be least to most code points long. A most of 0
// means no upper bound. It returns "" if nothing is wrong.
func textFault(s string, least, most int) string {
	switch {
	case strings.Contains(s, "\x00"):
		return "must not contain NUL"
	case !utf8.ValidString(s):
		return "must be valid UTF-8"
	case len(s) < least:
		return "must not be empty"
	}
	if most == 0 || len(s) <= most {
		return ""
	}
	if n := utf8.RuneCountInString(s); n > most {
		return fmt.Sprintf("must be at most %d characters, is %d", most, n)
	}
	return ""
}

// TagFault says what is wrong with a tag. It returns "" if nothing is.
func TagFault(tag string) string { return textFault(tag, 0, MaxTag) }

// tagsFault says what is wrong with the tags of a note. It returns "" if nothing is.
func tagsFault(tags []string) (fault string) {
	if len(tags) > MaxTags {
		fault = fmt.Sprintf("must be at most %d, are %d", MaxTags, len(tags))
	}
	for i, tag := range tags {
		if wrong := TagFault(tag); wrong != "" {
			fault = fmt.Sprintf("tag %d %s", i+1, wrong)
		}
	}
	return fault
}

// ImportFault says why a note that another server made can't be stored here. It returns "" if the
// note can be stored. It asks for less than Check does for a new note: a title may be longer, or
// empty.
func (n Note) ImportFault() string {
	switch {
	case n.ID == "" || !ValidText(n.ID):
		return "its id is empty or no text"
	case len(n.ID) > MaxID:
		return fmt.Sprintf("its id is longer than %d bytes", MaxID)
	}
	texts := append([]string{n.Title, n.Content}, n.Tags...)
	if n.Color != nil {
		texts = append(texts, *n.Color)
	}
	for _, text := range texts {
		if !ValidText(text) {
			return "it is not valid UTF-8"
		}
	}
	if wrong := tagsFault(n.Tags); wrong != "" {
		return "tags: " + wrong
	}
	return ""
}

// ValidText reports whether both engines can hold s: valid UTF-8 without NUL.
func ValidText(s string) bool {
	return utf8.ValidString(s) && !strings.Contains(s, "\x00")
}

// IsNewID reports whether a client may give a new note the id: a UUIDv7 (RFC 9562, section 5.7) in
// lower case, as the store makes them.
func IsNewID(id string) bool {
	if len(id) != 36 || id[14] != '7' || !strings.ContainsRune("89ab", rune(id[19])) {
		return false
	}
	for i, c := range []byte(id) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}
