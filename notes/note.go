// Package notes defines a note and the rules for it. The rules are the same for every protocol and
// for every engine that stores notes. The package knows neither HTTP nor SQL.
package notes

import "time"

// A Note is a text of one user with its title, tags and flags.
//
// Title, Content and Tags are returned byte for byte as they were stored. All text that the methods
// of package store take (also ids, keys and search terms) is valid UTF-8 without NUL, because
// PostgreSQL accepts nothing else. NewNote.Check and Patch.Check see to that for notes. A caller
// checks ids, keys and search terms that come from outside with ValidText.
type Note struct {
	Key       int64 // the row of the note, for a Ref; it is never shown to users
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
	ChangeSeq int64     // the owner's change sequence number of the last change to the note
}

// NewNote is the initial state of a note. If IdempotencyKey is set, BodyHash tells whether a later
// request with the same key asks for the same note.
type NewNote struct {
	ID             string // IsNewID; "": the store makes one
	Title, Content string
	Tags           []string
	Color          *string
	Pinned         bool
	Favorite       bool
	Archived       bool
	Markdown       bool
	IdempotencyKey string // some hundred bytes at most, because it is indexed
	BodyHash       []byte
}

// A Flag names a flag that ToggleNote toggles.
type Flag uint8

const (
	FlagPinned Flag = iota
	FlagFavorite
	FlagArchived
)
