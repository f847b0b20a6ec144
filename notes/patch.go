package notes

// A Patch says what to change; what is nil stays. Color counts if SetColor does.
type Patch struct {
	Title, Content *string
	Tags           *[]string
	SetColor       bool
	Color          *string
	Pinned         *bool
	Favorite       *bool
	Archived       *bool
	Markdown       *bool
	Trashed        *bool // keeps TrashedAt in step; the first date stays
}
