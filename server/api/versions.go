package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"notesd/notes"
	"notesd/server/router"
	"notesd/store"
)

var (
	errBadTime   = router.NewError(http.StatusBadRequest, "Invalid time: as in 2026-01-02T03:04:05Z")
	errBadBefore = router.NewError(http.StatusBadRequest,
		"Invalid before: a revision, which is a whole number of at least 1")
)

// A Version describes a version of a note in a list.
type Version struct {
	Revision int64       `json:"revision"`
	At       router.Time `json:"at"`
	Bytes    int64       `json:"bytes"`
	Title    string      `json:"title"`
	By       *author     `json:"by"`
	Lines    *lines      `json:"lines"`
}

type author struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

type lines struct {
	Added   int `json:"added"`
	Removed int `json:"removed"`
}

func versionOutput(v notes.VersionInfo) Version {
	out := Version{Revision: v.Revision, At: router.Time(v.At), Bytes: v.Bytes, Title: v.Title}
	if v.By.Kind != "" {
		out.By = &author{v.By.Kind, v.By.Name}
	}
	if v.Lines != nil {
		out.Lines = &lines{v.Lines.Added, v.Lines.Removed}
	}
	return out
}

// listVersions handles GET /api/notes/:id/versions.
func (a *API) listVersions(c *router.Context) error {
	id, err := noteID(c)
	if err != nil {
		return err
	}
	page := notes.VersionPage{Limit: defaultPage}
	query := c.Request().URL.Query()
	if query.Has("limit") {
		if page.Limit, err = strconv.Atoi(query.Get("limit")); err != nil || page.Limit < 1 || page.Limit > maxPage {
			return errBadLimit
		}
	}
	if query.Has("before") {
		if page.Before, err = strconv.ParseInt(query.Get("before"), 10, 64); err != nil || page.Before < 1 {
			return errBadBefore
		}
	}
	list, more, err := a.store.Versions(c.Context(), c.UserID(), id, page)
	a.cache.observed(c.UserID(), id)
	if err != nil {
		return err
	}
	out := struct {
		Success bool      `json:"success"`
		Data    []Version `json:"data"`
		Before  int64     `json:"before,omitempty"` // of the next page
	}{true, make([]Version, len(list)), 0}
	for i, v := range list {
		out.Data[i] = versionOutput(v)
	}
	if more {
		out.Before = list[len(list)-1].Revision
	}
	return c.JSON(http.StatusOK, out)
}

// getVersion handles GET /api/notes/:id/versions/:revision.
func (a *API) getVersion(c *router.Context) error {
	id, revision, err := versionOf(c)
	if err != nil {
		return err
	}
	v, err := a.store.Version(c.Context(), c.UserID(), id, revision)
	return a.writeVersion(c, id, v, err)
}

// getNoteAt responds with the note as it was at a time.
func (a *API) getNoteAt(c *router.Context, id, at string) error {
	when, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return errBadTime
	}
	v, err := a.store.NoteAt(c.Context(), c.UserID(), id, when)
	return a.writeVersion(c, id, v, err)
}

// writeVersion responds with a version of note id, or with the error of its reading. No cache may
// keep a version, because a history can be deleted.
func (a *API) writeVersion(c *router.Context, id string, v notes.Version, err error) error {
	a.cache.observed(c.UserID(), id)
	if err == nil {
		err = c.ReserveJSON(v.Content)
	}
	if err != nil {
		return err
	}
	e, err := newNoteEntry(v.Note)
	if err != nil {
		return err
	}
	c.SetHeader("Cache-Control", "private, no-cache")
	c.WriteEntry(e)
	return nil
}

// restoreVersion handles POST /api/notes/:id/versions/:revision/restore.
func (a *API) restoreVersion(c *router.Context) error {
	_, revision, err := versionOf(c)
	if err != nil {
		return err
	}
	return a.modify(withPermit, func(ctx context.Context, c *router.Context, id string) (notes.Note, error) {
		return a.store.RestoreVersion(ctx, c.UserID(), id, revision, preconditions(c.Request().Header, id)...)
	})(c)
}

// deleteVersions handles DELETE /api/notes/:id/versions.
func (a *API) deleteVersions(c *router.Context) error {
	id, err := noteID(c)
	if err != nil {
		return err
	}
	err = a.store.DeleteVersions(c.Context(), c.UserID(), id)
	a.cache.observed(c.UserID(), id)
	if err != nil {
		return err
	}
	return c.Message("History deleted")
}

// versionOf returns the :id and the :revision of the route.
func versionOf(c *router.Context) (id string, revision int64, err error) {
	if id, err = noteID(c); err != nil {
		return "", 0, err
	}
	text := c.Param("revision")
	revision, err = strconv.ParseInt(text, 10, 64)
	if err != nil || strconv.FormatInt(revision, 10) != text {
		return "", 0, store.ErrVersionGone
	}
	return id, revision, nil
}
