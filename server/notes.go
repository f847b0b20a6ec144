package server

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"notesd/notes"
	"notesd/store"
)

var errBadKey = errors.New("invalid idempotency key")

// noteJSON is a note as the API shows it.
type noteJSON struct {
	ID         string   `json:"id"`
	Title      string   `json:"title"`
	Content    string   `json:"content"`
	Tags       []string `json:"tags"`
	Color      *string  `json:"color"`
	IsPinned   bool     `json:"isPinned"`
	IsFavorite bool     `json:"isFavorite"`
	IsArchived bool     `json:"isArchived"`
	IsMarkdown bool     `json:"isMarkdown"`
	IsTrashed  bool     `json:"isTrashed"`
	TrashedAt  *stamp   `json:"trashedAt"`
	UserID     string   `json:"userId"`
	CreatedAt  stamp    `json:"createdAt"`
	UpdatedAt  stamp    `json:"updatedAt"`
	Revision   int64    `json:"revision"`
}

func noteOutput(n notes.Note) noteJSON {
	out := noteJSON{ID: n.ID, Title: n.Title, Content: n.Content, Tags: n.Tags, Color: n.Color,
		IsPinned: n.Pinned, IsFavorite: n.Favorite, IsArchived: n.Archived, IsMarkdown: n.Markdown, IsTrashed: n.Trashed,
		UserID: n.UserID, CreatedAt: stamp(n.CreatedAt), UpdatedAt: stamp(n.UpdatedAt), Revision: n.Revision}
	if out.Tags == nil {
		out.Tags = []string{}
	}
	if n.TrashedAt != nil {
		out.TrashedAt = new(stamp(*n.TrashedAt))
	}
	return out
}

// stamp is a time in the API's format: ISO 8601 in UTC with milliseconds.
type stamp time.Time

func (t stamp) MarshalJSON() ([]byte, error) { return t.append(nil), nil }

// append appends t to dst as JSON.
func (t stamp) append(dst []byte) []byte {
	return time.Time(t).UTC().AppendFormat(dst, `"2006-01-02T15:04:05.000Z"`)
}

// getNote handles GET /api/notes/:id.
func getNote(s *Server, x *exchange) error {
	id, err := noteID(x)
	if err != nil {
		return err
	}
	c, err := s.copies.readNote(x.ctx, x.user, id, func() (notes.Note, error) {
		n, err := s.store.Note(x.ctx, x.user, id)
		if err == nil {
			err = s.reserveJSON(x, n.Content)
		}
		return n, err
	})
	if err != nil {
		return err
	}
	x.found(c)
	return nil
}

// found responds with c, or with a 304 if the client has it already.
func (x *exchange) found(c *answerCopy) {
	h := x.out.Header()
	if asked := x.Request().Header["If-None-Match"]; asked != nil {
		if seen, ok := matchingTag(asked, c.tag); ok {
			h.Set("Etag", seen)
			x.out.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h["Etag"] = []string{c.tag}
	if c.link != "" {
		h["Link"] = []string{c.link}
	}
	x.lend(http.StatusOK, c.body)
}

// lend responds with a JSON body, which must not be changed afterwards.
func (x *exchange) lend(status int, body []byte) {
	x.out.Header()["Content-Type"] = jsonType
	x.out.lend(status, body)
}

// note responds with n, the note after a write, and with its ETag.
func (s *Server) note(x *exchange, status int, n notes.Note) error {
	// Without memory the response is sent all the same, because the note was written.
	_ = s.reserveJSON(x, n.Content)
	c, err := s.copies.after(n)
	if err != nil {
		return err
	}
	x.out.Header().Set("Etag", c.tag)
	x.lend(status, c.body)
	return nil
}

// createNote handles POST /api/notes.
func createNote(s *Server, x *exchange) error {
	if hasListCondition(x.Request().Header) {
		return errListCondition
	}
	o, err := s.readObject(x)
	if err != nil {
		return err
	}
	in, err := newNote(o)
	if err != nil {
		return err
	}
	if err := s.reserveJSON(x, in.Content); err != nil {
		return err
	}
	if in.IdempotencyKey, err = idempotencyKey(x.Request().Header); err != nil {
		return err
	}
	if in.IdempotencyKey != "" {
		sum := sha256.Sum256(x.body)
		in.BodyHash = sum[:]
	}
	var n notes.Note
	err = s.commit(x, func() (err error) {
		n, err = s.store.CreateNote(x.ctx, x.user, in)
		return err
	})
	if err != nil {
		return err
	}
	x.out.Header().Set("Location", "/api/notes/"+n.ID)
	return s.note(x, http.StatusCreated, n)
}

// patchNote handles PATCH /api/notes/:id. It checks the input before it looks for the note.
func patchNote(s *Server, x *exchange) error {
	o, err := s.readObject(x)
	if err != nil {
		return err
	}
	patch, err := notePatch(o)
	// Otherwise the response would be a 200 although nothing was saved.
	if err == nil && x.notJSON != "" {
		err = &notes.InvalidError{}
	}
	if err != nil {
		return err
	}
	if patch.Content != nil {
		if err := s.reserveJSON(x, *patch.Content); err != nil {
			return err
		}
	}
	id, err := noteID(x)
	if err != nil {
		return err
	}
	var n notes.Note
	err = s.commit(x, func() (err error) {
		n, err = s.store.PatchNote(x.ctx, x.user, id, patch, preconditions(x, id)...)
		return err
	})
	// A patch that changes nothing, or that finds another revision, shows the writes of other
	// requests.
	s.copies.saw(x.user, id)
	if err != nil {
		return err
	}
	return s.note(x, http.StatusOK, n)
}

// change returns a handler that responds with the note as do leaves it.
func change(do func(s *Server, x *exchange, id string) (notes.Note, error)) handler {
	return func(s *Server, x *exchange) error {
		id, err := noteID(x)
		if err != nil {
			return err
		}
		var n notes.Note
		err = s.commit(x, func() (err error) {
			n, err = do(s, x, id)
			return err
		})
		s.copies.saw(x.user, id)
		if err != nil {
			return err
		}
		return s.note(x, http.StatusOK, n)
	}
}

// flip returns the handler of PATCH /api/notes/:id/pin, /archive and /favorite.
func flip(flag notes.Flag) handler {
	return change(func(s *Server, x *exchange, id string) (notes.Note, error) {
		return s.store.ToggleNote(x.ctx, x.user, id, flag, preconditions(x, id)...)
	})
}

var (
	trashNote = change(func(s *Server, x *exchange, id string) (notes.Note, error) {
		return s.store.TrashNote(x.ctx, x.user, id, preconditions(x, id)...)
	})
	restoreNote = change(func(s *Server, x *exchange, id string) (notes.Note, error) {
		return s.store.RestoreNote(x.ctx, x.user, id, preconditions(x, id)...)
	})
)

// deleteNote handles DELETE /api/notes/:id.
func deleteNote(s *Server, x *exchange) error {
	id, err := noteID(x)
	if err != nil {
		return err
	}
	err = s.commit(x, func() error { return s.store.DeleteNote(x.ctx, x.user, id, preconditions(x, id)...) })
	s.copies.saw(x.user, id)
	if err != nil {
		return err
	}
	return x.message("Note deleted successfully")
}

// deleteTrashedNote handles DELETE /api/notes/:id/permanent.
func deleteTrashedNote(s *Server, x *exchange) error {
	id, err := noteID(x)
	if err == nil {
		err = s.commit(x, func() error { return s.store.DeleteTrashedNote(x.ctx, x.user, id, preconditions(x, id)...) })
		s.copies.saw(x.user, id)
	}
	if errors.Is(err, store.ErrNotFound) {
		return errNotInTrash
	}
	if err != nil {
		return err
	}
	return x.message("Note permanently deleted")
}

// noteID returns the :id of the route. An id that no database engine could store is not a note's
// id.
func noteID(x *exchange) (string, error) {
	id := x.Param("id")
	if x.Request().URL.RawPath != "" { // the router has matched RawPath then
		plain, err := url.PathUnescape(id)
		if err != nil {
			return "", store.ErrNotFound
		}
		id = plain
	}
	switch {
	case id == "": // as in /api/notes//pin
		return "", errUnknownRoute
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
	object
	unreadable notes.InvalidError
}

// newNote decodes the body of POST /api/notes.
func newNote(o object) (notes.NewNote, error) {
	for _, name := range []string{"title", "content"} {
		if _, ok := o[name]; !ok {
			o[name] = nil // a missing member is as invalid as one of another type
		}
	}
	p, err := notePatch(o)
	if err != nil {
		return notes.NewNote{}, err
	}
	n := notes.NewNote{Title: *p.Title, Content: *p.Content, Color: p.Color, Pinned: isTrue(p.Pinned),
		Favorite: isTrue(p.Favorite), Archived: isTrue(p.Archived), Markdown: isTrue(p.Markdown)}
	if p.Tags != nil {
		n.Tags = *p.Tags
	}
	return n, nil
}

func isTrue(b *bool) bool { return b != nil && *b }

// notePatch decodes the body of PATCH /api/notes/:id. A missing member stays unchanged.
func notePatch(o object) (notes.Patch, error) {
	in := noteInput{object: o}
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
	if raw, ok := o["color"]; ok {
		p.SetColor = true
		if string(raw) != "null" {
			p.Color = in.optionalText("color")
		}
	}
	if in.unreadable.Fields != nil {
		p.AddFaults(&in.unreadable)
		return p, &in.unreadable
	}
	return p, nil // the store checks the rest
}

func (in *noteInput) optionalText(name string) *string {
	if _, ok := in.object[name]; !ok {
		return nil
	}
	s, ok := in.text(name)
	if !ok {
		in.unreadable.Set(name, "must be a string")
		return nil
	}
	return &s
}

func (in *noteInput) optionalTags() *[]string {
	raw, ok := in.object["tags"]
	if !ok {
		return nil
	}
	tags, ok := stringList(raw)
	if !ok {
		in.unreadable.Set("tags", "must be an array of strings")
		return nil
	}
	return &tags
}

func (in *noteInput) optionalFlag(name string) *bool {
	if _, ok := in.object[name]; !ok {
		return nil
	}
	b, ok := in.flag(name)
	if !ok || len(in.object[name]) == 0 {
		in.unreadable.Set(name, "must be true or false")
		return nil
	}
	return &b
}
