// Package notes has what a note is and the rules for it, whichever door it comes
// through and wherever it is kept: it knows neither HTTP nor SQL.
package notes

import "time"

// A Note is one person's text with what they said about it.
//
// Title, Content and Tags come back byte for byte as they were stored. They, and
// every other text that the methods take (ids, keys, what to search for), are
// valid UTF-8 without NUL: PostgreSQL takes nothing else, so a caller checks what
// comes from outside.
type Note struct {
	Key       int64 // the note's row, for a Ref; never shown to anybody
	ID        string
	UserID    string
	Title     string
	Content   string
	Tags      []string // in their order, never nil
	Color     *string
	Pinned    bool
	Favorite  bool
	Archived  bool
	Markdown  bool
	Trashed   bool
	TrashedAt *time.Time // when Trashed, else nil
	CreatedAt time.Time
	UpdatedAt time.Time // grows with every change, if only by a millisecond
	Revision  int64     // 1 at first, one more with every change
	ChangeSeq int64     // the number of the owner's change that made the note what it is
}

// NewNote is what a note begins as. With an IdempotencyKey, BodyHash tells
// whether a later request under the same key asks for the same note.
type NewNote struct {
	Title, Content string
	Tags           []string
	Color          *string
	Pinned         bool
	Favorite       bool
	Archived       bool
	Markdown       bool
	IdempotencyKey string // at most some hundred bytes: it is indexed
	BodyHash       []byte
}

// A Flag is one that FlipNote turns over.
type Flag uint8

const (
	FlagPinned Flag = iota
	FlagFavorite
	FlagArchived
)
