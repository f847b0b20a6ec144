package notes

// A Patch describes a change of a note. A nil field stays as it is. Color is used only if SetColor
// is set.
type Patch struct {
	Title, Content *string
	Tags           *[]string
	SetColor       bool
	Color          *string
	Pinned         *bool
	Favorite       *bool
	Archived       *bool
	Markdown       *bool
	Trashed        *bool // sets or clears TrashedAt, too; the first date stays
}

// A Base is the state of a note that a Patch was made on.
type Base struct {
	Revision int64 // at least 1
	// MaxContent is the length of the longest content, in bytes, that a merge may make; 0: any.
	MaxContent int64
	// Title, Content and Tags are the client's copy of the base, for when the store has the revision
	// no more. A nil field is not in that copy.
	Title, Content *string
	Tags           *[]string
}
