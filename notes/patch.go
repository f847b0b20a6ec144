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
