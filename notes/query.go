package notes

// A Sort is the order of notes that are equally favourite and pinned.
type Sort uint8

const (
	ByUpdated Sort = iota
	ByCreated
	ByTitle // without regard to case, then by code point
	ByRank  // how well a note matches Words: see package query
)

// A Query says which notes of a user are listed, and in which order. Favourites come first, and
// pinned notes come next (but not in the trash). Then Sort decides: the newest note or the last
// title comes first unless Ascending is set. Equal notes are ordered by id in the same direction.
// ByRank ignores all of this but the id: the best note comes first.
type Query struct {
	Search    string   // only notes with this text in title or content, without regard to case; "": all
	Words     string   // only notes that these words and conditions ask for: see package query; "": all
	Tags      []string // only notes with one of these tags, exactly; none: all
	Archived  bool     // true: only archived notes; false: only others; ignored in the trash
	Trashed   bool     // true: only notes in the trash; false: only others
	Sort      Sort
	Ascending bool
	Limit     int       // notes at most; 0: all
	After     *Position // only notes after this position; nil: from the first
}

// A Position is the position of a note in the order of a Query, where a page ended.
type Position struct {
	Favorite, Pinned bool   // both are false in the trash
	Time             int64  // the time that the Sort compared, in Unix milliseconds
	Title            string // the folded title that ByTitle compared
	ID               string
	// InTitle and Whole are how many words ByRank found in the title, and how many as a whole.
	InTitle, Whole int
}
