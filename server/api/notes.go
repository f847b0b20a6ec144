package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"notesd/notes"
	"notesd/server/auth"
	"notesd/server/router"
	"notesd/store"
)

var (
	errBadKey     = router.NewError(http.StatusBadRequest, "Invalid Idempotency-Key: 1 to 255 visible ASCII characters")
	errTaken      = router.NewError(http.StatusConflict, "Id is taken")
	errNotInTrash = router.NewError(http.StatusNotFound, "Note not found in trash")
)

// A Note is a note as the API shows it.
type Note struct {
	ID         string       `json:"id"`
	Title      string       `json:"title"`
	Content    string       `json:"content"`
	Tags       []string     `json:"tags"`
	Color      *string      `json:"color"`
	IsPinned   bool         `json:"isPinned"`
	IsFavorite bool         `json:"isFavorite"`
	IsArchived bool         `json:"isArchived"`
	IsMarkdown bool         `json:"isMarkdown"`
	IsTrashed  bool         `json:"isTrashed"`
	TrashedAt  *router.Time `json:"trashedAt"`
	UserID     string       `json:"userId"`
	CreatedAt  router.Time  `json:"createdAt"`
	UpdatedAt  router.Time  `json:"updatedAt"`
	Revision   int64        `json:"revision"`
}

func noteOutput(n notes.Note) Note {
	out := Note{ID: n.ID, Title: n.Title, Content: n.Content, Tags: n.Tags, Color: n.Color,
		IsPinned: n.Pinned, IsFavorite: n.Favorite, IsArchived: n.Archived, IsMarkdown: n.Markdown,
		IsTrashed: n.Trashed, UserID: n.UserID, CreatedAt: router.Time(n.CreatedAt),
		UpdatedAt: router.Time(n.UpdatedAt), Revision: n.Revision}
	if out.Tags == nil {
		out.Tags = []string{}
	}
	if n.TrashedAt != nil {
		out.TrashedAt = new(router.Time(*n.TrashedAt))
	}
	return out
}

// getNote handles GET /api/notes/:id. With ?at= it returns the note as it was then.
func (a *API) getNote(c *router.Context) error {
	id, err := noteID(c)
	if err != nil {
		return err
	}
	if query := c.Request().URL.Query(); query.Has("at") {
		return a.getNoteAt(c, id, query.Get("at"))
	}
	e, err := a.cache.readNote(c.Context(), c.UserID(), id, func() (notes.Note, error) {
		n, err := a.store.Note(c.Context(), c.UserID(), id)
		if err == nil {
			err = c.ReserveJSON(n.Content)
		}
		return n, err
	})
	if err != nil {
		return err
	}
	c.WriteEntry(e)
	return nil
}

// cachedNote finds the response to GET /api/notes/:id in memory.
func (a *API) cachedNote(l router.Lookup) *router.Entry {
	if l.Request.URL.RawQuery != "" {
		return nil
	}
	return a.cache.get(noteKey(l.UserID, l.Param))
}

// writeNote responds with n, the note after a write, and with its ETag.
func (a *API) writeNote(c *router.Context, status int, n notes.Note) error {
	// Without memory the response is sent all the same, because the note was written.
	_ = c.ReserveJSON(n.Content)
	e, err := a.cache.current(n)
	if err != nil {
		return err
	}
	c.SetHeader("Etag", e.ETag)
	c.SharedJSON(status, e.Body)
	return nil
}

// createNote handles POST /api/notes.
func (a *API) createNote(c *router.Context) error {
	if hasListCondition(c.Request().Header) {
		return errListCondition
	}
	o, err := c.ReadObject()
	if err != nil {
		return err
	}
	in, err := newNote(o)
	if err != nil {
		return err
	}
	if err := c.ReserveJSON(in.Content); err != nil {
		return err
	}
	if in.IdempotencyKey, err = idempotencyKey(c.Request().Header); err != nil {
		return err
	}
	if in.IdempotencyKey != "" {
		sum := sha256.Sum256(c.Body())
		in.BodyHash = sum[:]
	}
	var n notes.Note
	err = c.Commit(func() (err error) {
		n, err = a.store.CreateNote(a.authored(c), c.UserID(), in)
		return err
	})
	status := http.StatusCreated
	switch {
	case errors.Is(err, store.ErrExists):
		status = http.StatusOK
		a.cache.observed(c.UserID(), n.ID)
	case errors.Is(err, store.ErrDuplicate):
		return errTaken
	case err != nil:
		return err
	}
	c.SetHeader("Location", "/api/notes/"+n.ID)
	return a.writeNote(c, status, n)
}

// patchNote handles PATCH /api/notes/:id. It checks the input before it looks for the note.
func (a *API) patchNote(c *router.Context) error {
	o, err := c.ReadObject()
	if err != nil {
		return err
	}
	patch, base, err := patchOn(o)
	// Otherwise the response would be a 200 although nothing was saved.
	if err == nil && c.NotJSON() != "" {
		err = &notes.InvalidError{}
	}
	if err != nil {
		return err
	}
	if patch.Content != nil {
		if err := c.ReserveJSON(*patch.Content); err != nil {
			return err
		}
	}
	id, err := noteID(c)
	if err != nil {
		return err
	}
	ctx, err := a.changing(c)
	if err != nil {
		return err
	}
	var n notes.Note
	var onto int64
	when := preconditions(c.Request().Header, id)
	if base != nil {
		base.MaxContent = a.cfg.MaxContent
	}
	commit := (*router.Context).Commit
	if base != nil && !a.isCurrent(c.UserID(), id, base.Revision) {
		commit = withPermit
	}
	err = commit(c, func() (err error) {
		if base == nil {
			n, err = a.store.PatchNote(ctx, c.UserID(), id, patch, when...)
		} else {
			n, onto, err = a.store.MergeNote(ctx, c.UserID(), id, patch, *base, when...)
		}
		return err
	})
	// A patch that changes nothing, or that finds another revision, shows the writes of other
	// requests.
	a.cache.observed(c.UserID(), id)
	if e, ok := errors.AsType[*store.ConflictError](err); ok {
		return conflict(c, e)
	}
	if err != nil {
		return withCurrent(err)
	}
	if onto > 0 {
		return a.writeMerged(c, n, base.Revision, onto)
	}
	return a.writeNote(c, http.StatusOK, n)
}

// isCurrent reports whether the cache has owner's note at a revision, so that a patch which was made
// on it will hardly have to be merged.
func (a *API) isCurrent(owner, id string, revision int64) bool {
	e := a.cache.get(noteKey(owner, id))
	if e == nil {
		return false
	}
	current, ok := tagRevision(e.ETag, id)
	return ok && current == revision
}

// withPermit runs a write that also reads or computes, and so must not use Context.Commit, which
// gives back the permit.
func withPermit(_ *router.Context, write func() error) error { return write() }

// authored returns the context of a write by the session or the app token of c.
func (a *API) authored(c *router.Context) context.Context {
	return store.WithAuthor(c.Context(), authorOf(c))
}

func authorOf(c *router.Context) notes.Author {
	if t := c.Token(); t.ID != "" {
		return notes.Author{Kind: notes.KindToken, Name: t.Name, ID: t.ID}
	}
	return auth.Author(c.Request())
}

// changing returns the context of a change of a note: with its author, and with the idempotency key
// of the request if it has one.
func (a *API) changing(c *router.Context) (context.Context, error) {
	key, err := idempotencyKey(c.Request().Header)
	if err != nil || key == "" {
		return a.authored(c), err
	}
	hash := sha256.New()
	fmt.Fprintf(hash, "%s %s\n", c.Request().Method, c.Request().URL.Path)
	hash.Write(c.Body())
	return store.WithIdempotencyKey(a.authored(c), key, hash.Sum(nil)), nil
}

// modify responds with the note as do leaves it.
func (a *API) modify(
	commit func(c *router.Context, write func() error) error,
	do func(ctx context.Context, c *router.Context, id string) (notes.Note, error),
) func(*router.Context) error {
	return func(c *router.Context) error {
		id, err := noteID(c)
		if err != nil {
			return err
		}
		ctx, err := a.changing(c)
		if err != nil {
			return err
		}
		var n notes.Note
		err = commit(c, func() (err error) {
			n, err = do(ctx, c, id)
			return err
		})
		a.cache.observed(c.UserID(), id)
		if err != nil {
			return withCurrent(err)
		}
		return a.writeNote(c, http.StatusOK, n)
	}
}

// toggle returns the handler of PATCH /api/notes/:id/pin, /archive and /favorite.
func (a *API) toggle(flag notes.Flag) func(*router.Context) error {
	return a.modify((*router.Context).Commit,
		func(ctx context.Context, c *router.Context, id string) (notes.Note, error) {
			return a.store.ToggleNote(ctx, c.UserID(), id, flag, preconditions(c.Request().Header, id)...)
		})
}

// trashNote does the work of PATCH /api/notes/:id/trash.
func (a *API) trashNote(ctx context.Context, c *router.Context, id string) (notes.Note, error) {
	return a.store.TrashNote(ctx, c.UserID(), id, preconditions(c.Request().Header, id)...)
}

// restoreNote does the work of PATCH /api/notes/:id/restore.
func (a *API) restoreNote(ctx context.Context, c *router.Context, id string) (notes.Note, error) {
	return a.store.RestoreNote(ctx, c.UserID(), id, preconditions(c.Request().Header, id)...)
}

// withCurrent returns the error response for err. If a precondition of the request failed, the
// response has the current note, so that the client can merge.
func withCurrent(err error) error {
	e, ok := errors.AsType[*store.ChangedError](err)
	if !ok {
		return err
	}
	return &router.Error{Status: http.StatusPreconditionFailed, Message: "Note has changed",
		Data: noteOutput(e.Current), Header: http.Header{"Etag": {etag(e.Current)}}}
}

// deleteNote handles DELETE /api/notes/:id.
func (a *API) deleteNote(c *router.Context) error {
	id, err := noteID(c)
	if err != nil {
		return err
	}
	err = c.Commit(func() error {
		return a.store.DeleteNote(c.Context(), c.UserID(), id, preconditions(c.Request().Header, id)...)
	})
	a.cache.observed(c.UserID(), id)
	if err != nil {
		return withCurrent(err)
	}
	return c.Message("Note deleted successfully")
}

// deleteTrashedNote handles DELETE /api/notes/:id/permanent.
func (a *API) deleteTrashedNote(c *router.Context) error {
	id, err := noteID(c)
	if err == nil {
		err = c.Commit(func() error {
			return a.store.DeleteTrashedNote(c.Context(), c.UserID(), id, preconditions(c.Request().Header, id)...)
		})
		a.cache.observed(c.UserID(), id)
	}
	if errors.Is(err, store.ErrNotFound) {
		return errNotInTrash
	}
	if err != nil {
		return withCurrent(err)
	}
	return c.Message("Note permanently deleted")
}

// noteID returns the :id of the route. An id that no database engine could store is not a note's
// id.
func noteID(c *router.Context) (string, error) {
	id := c.Param("id")
	switch {
	case id == "": // as in /api/notes//pin
		return "", router.ErrUnknownRoute
	case len(id) > notes.MaxID || !notes.ValidText(id):
		return "", store.ErrNotFound
	}
	return id, nil
}

func idempotencyKey(h http.Header) (string, error) {
	key := h.Get("Idempotency-Key")
	if key == "" && len(h.Values("Idempotency-Key")) == 0 {
		return "", nil
	}
	visible := func(r rune) bool { return r > ' ' && r <= '~' }
	if key == "" || len(key) > 255 || strings.IndexFunc(key, func(r rune) bool { return !visible(r) }) >= 0 {
		return "", errBadKey
	}
	return key, nil
}

// noteInput reads members of a note, and collects the members that are invalid.
type noteInput struct {
	router.Object
	unreadable notes.InvalidError
}

// newNote decodes the body of POST /api/notes.
func newNote(o router.Object) (notes.NewNote, error) {
	for _, name := range []string{"title", "content"} {
		if _, ok := o[name]; !ok {
			o[name] = nil // a missing member is as invalid as one of another type
		}
	}
	p, err := notePatch(o)
	if err != nil {
		return notes.NewNote{}, err
	}
	var id string
	if text, ok := o.Text("id"); ok && notes.IsNewID(text) {
		id = text
	}
	n := notes.NewNote{ID: id, Title: *p.Title, Content: *p.Content, Color: p.Color, Pinned: isTrue(p.Pinned),
		Favorite: isTrue(p.Favorite), Archived: isTrue(p.Archived), Markdown: isTrue(p.Markdown)}
	if p.Tags != nil {
		n.Tags = *p.Tags
	}
	return n, nil
}

func isTrue(b *bool) bool { return b != nil && *b }

// notePatch decodes the body of PATCH /api/notes/:id. A missing member stays unchanged.
func notePatch(o router.Object) (notes.Patch, error) {
	in := noteInput{Object: o}
	p := in.patch()
	return p, in.fault(p)
}

// fault returns an error if a member could not be read. It names those of p that break a rule, too;
// otherwise the store checks them.
func (in *noteInput) fault(p notes.Patch) error {
	if in.unreadable.Fields == nil {
		return nil
	}
	p.AddFaults(&in.unreadable)
	return &in.unreadable
}

func (in *noteInput) patch() notes.Patch {
	p := notes.Patch{
		Title:    in.optionalText("title"),
		Content:  in.optionalText("content"),
		Tags:     in.optionalTags(),
		Pinned:   in.optionalFlag("isPinned"),
		Favorite: in.optionalFlag("isFavorite"),
		Archived: in.optionalFlag("isArchived"),
		Markdown: in.optionalFlag("isMarkdown"),
		Trashed:  in.optionalFlag("isTrashed"),
	}
	if raw, ok := in.Object["color"]; ok {
		p.SetColor = true
		if string(raw) != "null" {
			p.Color = in.optionalText("color")
		}
	}
	return p
}

func (in *noteInput) optionalText(name string) *string {
	if _, ok := in.Object[name]; !ok {
		return nil
	}
	s, ok := in.Text(name)
	if !ok {
		in.unreadable.Set(name, "must be a string")
		return nil
	}
	return &s
}

func (in *noteInput) optionalTags() *[]string {
	raw, ok := in.Object["tags"]
	if !ok {
		return nil
	}
	tags, ok := router.StringList(raw)
	if !ok {
		in.unreadable.Set("tags", "must be an array of strings")
		return nil
	}
	return &tags
}

func (in *noteInput) optionalFlag(name string) *bool {
	if _, ok := in.Object[name]; !ok {
		return nil
	}
	b, ok := in.Flag(name)
	if !ok || len(in.Object[name]) == 0 {
		in.unreadable.Set(name, "must be true or false")
		return nil
	}
	return &b
}
