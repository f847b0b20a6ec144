package api

import (
	"net/http"

	"notesd/server/router"
	"notesd/store"
)

// A LogEntry is an entry of an account's log.
type LogEntry struct {
	At      router.Time        `json:"at"`
	Event   store.AccountEvent `json:"event"`
	Address string             `json:"address"`
	Device  string             `json:"device"`
}

// accountLog handles GET /api/auth/log.
func (a *API) accountLog(c *router.Context) error {
	entries, err := a.accounts.Log(c.Context(), c.UserID())
	if err != nil {
		return err
	}
	out := make([]LogEntry, len(entries))
	for i, e := range entries {
		out[i] = LogEntry{router.Time(e.At), e.Event, e.Address, e.Device}
	}
	return c.Data(http.StatusOK, out)
}
