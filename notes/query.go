package notes

// A Sort is what orders notes that are equally favourite and pinned.
type Sort uint8

const (
	ByUpdated Sort = iota
	ByCreated
	ByTitle // without regard to case, else by code point
)

// A Query says which of a person's notes to list, and in which order:
// favourites first, pinned ones next (but not in the trash), then by Sort,
// newest or last title first unless Ascending, then by id in the same direction.
type Query struct {
	Search    string   // only notes with this text in title or content, without regard to case; "": all
	Tags      []string // only notes with one of these tags, exactly; none: all
	Archived  bool     // these notes, or those that are not archived; ignored in the trash
	Trashed   bool     // the trash, or what is not in it
	Sort      Sort
	Ascending bool
	Limit     int       // notes at most; 0: all
	After     *Position // only what follows this place; nil: from the first
}

// A Position is a note's place in the order of a Query: a page ended there.
type Position struct {
	Favorite, Pinned bool   // not in the trash
	Time             int64  // what ByUpdated or ByCreated compared: Unix milliseconds
	Title            string // what ByTitle compared: the folded title
	ID               string
}
