package api

import (
	"net/http"
	"strconv"

	"notesd/server/router"
	"notesd/store"
)

// defaultChanges is how many changes a page has without a limit; maxPage is the most.
const defaultChanges = 100

var (
	errBadSince  = router.NewError(http.StatusBadRequest, "Invalid since: a whole number from 0 on")
	errBadFields = router.NewError(http.StatusBadRequest, "Invalid fields: meta, or none")
)

// A Change is the latest change of one note, as the API shows it.
type Change struct {
	ID        string `json:"id"`
	ChangeSeq int64  `json:"changeSeq"`
	Revision  int64  `json:"revision,omitempty"`
	Note      any    `json:"note,omitempty"` // as the change left it
	Deleted   bool   `json:"deleted,omitempty"`
}

// noteMeta is a Note without its content.
type noteMeta struct {
	Note
	Content *struct{} `json:"content,omitempty"` // hides that of Note
}

// changesPage is the response to GET /api/changes.
type changesPage struct {
	Success bool     `json:"success"`
	Data    []Change `json:"data"`
	Next    int64    `json:"next"`
	More    bool     `json:"more"`
}

// changes handles GET /api/changes: what has changed in the user's notes after the change since.
func (a *API) changes(c *router.Context) error {
	q, err := readChangesQuery(c)
	if err != nil {
		return err
	}
	if !q.hasSince {
		counters, err := a.store.Counters(c.Context(), c.UserID())
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, changesPage{Success: true, Data: []Change{}, Next: counters.ChangeSeq})
	}
	page, err := a.store.Changes(c.Context(), c.UserID(), q.since, q.limit, !q.meta)
	if err != nil {
		return err
	}
	out := changesPage{Success: true, Data: make([]Change, len(page.Changes)), Next: page.Next, More: page.More}
	var texts []string
	for i, change := range page.Changes {
		// The client sees the note as it is now, which the cache may not have heard of yet.
		a.cache.observed(c.UserID(), change.ID)
		out.Data[i] = changeOutput(change, q.meta)
		if change.Note != nil {
			texts = append(texts, change.Note.Content)
		}
	}
	if err := c.ReserveJSON(texts...); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, out)
}

func changeOutput(change store.NoteChange, meta bool) Change {
	out := Change{ID: change.ID, ChangeSeq: change.Seq}
	switch {
	case change.Note == nil:
		out.Deleted = true
	case meta:
		out.Revision, out.Note = change.Note.Revision, noteMeta{Note: noteOutput(*change.Note)}
	default:
		out.Revision, out.Note = change.Note.Revision, noteOutput(*change.Note)
	}
	return out
}

// changesQuery is the query of GET /api/changes.
type changesQuery struct {
	since    int64
	hasSince bool
	limit    int
	meta     bool // without the content of notes
}

func readChangesQuery(c *router.Context) (q changesQuery, err error) {
	values := parseQuery(c.Request().URL.RawQuery)
	q.limit = defaultChanges
	if values.Has("limit") {
		q.limit, err = strconv.Atoi(values.Get("limit"))
		if err != nil || q.limit < 1 || q.limit > maxPage {
			return q, errBadLimit
		}
	}
	switch fields := values.Get("fields"); {
	case fields == "meta":
		q.meta = true
	case values.Has("fields"):
		return q, errBadFields
	}
	if q.hasSince = values.Has("since"); q.hasSince {
		q.since, err = changeNumber(values.Get("since"))
	}
	return q, err
}

// changeNumber parses the number of a change. A number that is too large for the database is that
// of no change.
func changeNumber(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil && len(text) > 0 && isDigits(text) {
		return 0, store.ErrGone
	}
	if err != nil {
		return 0, errBadSince
	}
	return int64(n), nil
}

func isDigits(text string) bool {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return true
}
