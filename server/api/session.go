package api

import (
	"errors"
	"net/http"

	"notesd/server/router"
	"notesd/store"
)

var errSessionGone = router.NewError(http.StatusNotFound, "Session not found")

// A Session is a session as the API shows one.
type Session struct {
	ID        string      `json:"id"`
	Device    string      `json:"device"`
	Address   string      `json:"address"`
	FirstSeen router.Time `json:"firstSeen"`
	LastSeen  router.Time `json:"lastSeen"`
	Current   bool        `json:"current"`
}

// listSessions handles GET /api/auth/sessions.
func (a *API) listSessions(c *router.Context) error {
	list, err := a.accounts.ListSessions(c.Context(), c.Request(), c.UserID())
	if err != nil {
		return err
	}
	out := make([]Session, len(list))
	for i, s := range list {
		out[i] = Session{ID: s.ID, Device: s.Device, Address: s.Address, FirstSeen: router.Time(s.FirstSeen),
			LastSeen: router.Time(s.LastSeen), Current: s.Current}
	}
	return c.Data(http.StatusOK, out)
}

// endSession handles DELETE /api/auth/sessions/:id.
func (a *API) endSession(c *router.Context) error {
	err := a.accounts.EndSession(c.Context(), c.Writer(), client(c), c.UserID(), c.Param("id"))
	if errors.Is(err, store.ErrNotFound) {
		return errSessionGone
	}
	if err != nil {
		return err
	}
	return c.Message("Session ended")
}

// endOtherSessions handles DELETE /api/auth/sessions.
func (a *API) endOtherSessions(c *router.Context) error {
	if err := a.accounts.EndOtherSessions(c.Context(), client(c), c.UserID()); err != nil {
		return err
	}
	return c.Message("Other sessions ended")
}
