package api

import (
	"net/http"

	"notesd/merge"
	"notesd/notes"
	"notesd/server/router"
	"notesd/store"
)

// patchOn decodes the body of PATCH /api/notes/:id: the patch, and the base that it was made on, or
// nil if it names none.
func patchOn(o router.Object) (notes.Patch, *notes.Base, error) {
	in := noteInput{Object: o}
	p, base := in.patch(), in.base()
	return p, base, in.fault(p)
}

// base reads baseRevision, and base, which is the client's copy of that revision.
func (in *noteInput) base() *notes.Base {
	var base notes.Base
	_, named := in.Object["baseRevision"]
	if named {
		base.Revision = in.revision("baseRevision", in.Object)
	}
	if _, sent := in.Object["base"]; !sent {
		if !named {
			return nil
		}
		return &base
	}
	from, ok := in.Object.Object("base")
	if !ok {
		in.unreadable.Set("base", "must be an object")
		return nil
	}
	copied := noteInput{Object: from}
	revision := copied.revision("revision", from)
	if named && base.Revision != revision {
		copied.unreadable.Set("revision", "must be baseRevision")
	}
	base = notes.Base{Revision: revision, Title: copied.optionalText("title"),
		Content: copied.optionalText("content"), Tags: copied.optionalTags()}
	for field, wrong := range copied.unreadable.Fields {
		in.unreadable.Set("base."+field, wrong)
	}
	return &base
}

func (in *noteInput) revision(name string, o router.Object) int64 {
	n, ok := o.Whole(name)
	if !ok || n < 1 {
		in.unreadable.Set(name, "must be a whole number of at least 1")
	}
	return n
}

// writeMerged responds with n, which a patch that was made on revision base was merged into.
func (a *API) writeMerged(c *router.Context, n notes.Note, base, onto int64) error {
	type merged struct {
		Base  int64 `json:"base"`
		Onto  int64 `json:"onto"`
		Clean bool  `json:"clean"`
	}
	_ = c.ReserveJSON(n.Content) // without memory as well: see writeNote
	c.SetHeader("Etag", etag(n))
	return c.JSON(http.StatusOK, struct {
		Success bool   `json:"success"`
		Data    Note   `json:"data"`
		Merge   merged `json:"merge"`
	}{true, noteOutput(n), merged{base, onto, true}})
}

// conflict returns the response to a patch that can't be merged: the current note, and the parts of
// the text so that the client can show and mend them, or null (see store.ConflictError).
func conflict(c *router.Context, e *store.ConflictError) error {
	texts := []string{e.Current.Content}
	for _, p := range e.Parts {
		texts = append(texts, p.Text, p.Base, p.Ours, p.Theirs)
	}
	if err := c.ReserveJSON(texts...); err != nil {
		return err
	}
	response := &router.Error{Status: http.StatusConflict, Message: "Note has changed", Data: noteOutput(e.Current),
		Merge: router.Null, Header: http.Header{"Etag": {etag(e.Current)}}}
	if e.Parts != nil {
		response.Merge = partsOutput(e.Parts)
	}
	return response
}

// partsOutput returns the parts as {text} and {base,theirs,yours}. Theirs is what the server has.
func partsOutput(parts []merge.Part) []any {
	type text struct {
		Text string `json:"text"`
	}
	type clash struct {
		Base   string `json:"base"`
		Theirs string `json:"theirs"`
		Yours  string `json:"yours"`
	}
	list := make([]any, len(parts))
	for i, p := range parts {
		if p.Clash {
			list[i] = clash{p.Base, p.Ours, p.Theirs}
		} else {
			list[i] = text{p.Text}
		}
	}
	return list
}
