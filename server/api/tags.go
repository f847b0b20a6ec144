package api

import (
	"errors"
	"net/http"

	"notesd/notes"
	"notesd/server/router"
	"notesd/store"
)

var errBadUndo = &router.Error{Status: http.StatusBadRequest, Message: "Invalid undo",
	Fields: map[string]string{"undo": "must be a string"}}

// A TagCount is a tag in the list of tags.
type TagCount struct {
	Tag          string `json:"tag"`
	Count        int64  `json:"count"` // notes that are neither in the archive nor in the trash
	WithArchived int64  `json:"withArchived"`
}

// listTags handles GET /api/tags.
func (a *API) listTags(c *router.Context) error {
	counts, err := a.store.Tags(c.Context(), c.UserID())
	if err != nil {
		return err
	}
	out := make([]TagCount, len(counts))
	for i, t := range counts {
		out[i] = TagCount{t.Tag, t.Notes, t.WithArchived}
	}
	return c.Data(http.StatusOK, out)
}

// A TagRename is the response to a rename of tags and to its undo.
type TagRename struct {
	Changed int64  `json:"changed"`        // notes
	Undo    string `json:"undo,omitempty"` // what to send to /api/tags/undo
}

// renameTags handles POST /api/tags/rename.
func (a *API) renameTags(c *router.Context) error {
	o, err := c.ReadObject()
	if err != nil {
		return err
	}
	from, ok := router.StringList(o["from"])
	to, isText := o.Text("to")
	var invalid notes.InvalidError
	if !ok {
		invalid.Set("from", "must be an array of strings")
	}
	if !isText {
		invalid.Set("to", "must be a string")
	}
	err = store.CheckRename(from, to)
	if invalid.Fields != nil {
		err = &invalid
	}
	if e, ok := errors.AsType[*notes.InvalidError](err); ok {
		return &router.Error{Status: http.StatusBadRequest, Message: "Invalid tags", Fields: e.Fields}
	}
	ctx, err := a.changing(c)
	if err != nil {
		return err
	}
	r, err := a.store.RenameTags(ctx, c.UserID(), from, to)
	if err != nil {
		return err
	}
	return c.Data(http.StatusOK, TagRename{r.Changed, r.ID})
}

// undoRename handles POST /api/tags/undo.
func (a *API) undoRename(c *router.Context) error {
	o, err := c.ReadObject()
	if err != nil {
		return err
	}
	id, ok := o.Text("undo")
	if !ok {
		return errBadUndo
	}
	if len(id) > notes.MaxID || !notes.ValidText(id) {
		return store.ErrRenameGone
	}
	ctx, err := a.changing(c)
	if err != nil {
		return err
	}
	changed, err := a.store.UndoRename(ctx, c.UserID(), id)
	if err != nil {
		return err
	}
	return c.Data(http.StatusOK, TagRename{Changed: changed})
}
