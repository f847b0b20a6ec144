package api

import (
	"math"
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

// deleteMe handles DELETE /api/auth/me.
func (a *API) deleteMe(c *router.Context) error {
	in, err := readConfirmation(c)
	if err != nil {
		return err
	}
	if err := a.accounts.Delete(c.Context(), c.Writer(), client(c), c.UserID(), in); err != nil {
		return err
	}
	return c.JSON(http.StatusAccepted, router.Envelope{Success: true, Message: "Account is being deleted"})
}

// Usage is what an account stores. Bytes count as the quota of bytes counts them: with both copies of
// each text.
type Usage struct {
	Notes        int64 `json:"notes"`
	Bytes        int64 `json:"bytes"`
	HistoryBytes int64 `json:"historyBytes"`
	Quota        struct {
		Notes        *int64 `json:"notes"` // nil: no limit, as for the others
		Bytes        *int64 `json:"bytes"`
		HistoryBytes *int64 `json:"historyBytes"`
	} `json:"quota"`
}

// usage handles GET /api/auth/me/usage.
func (a *API) usage(c *router.Context) error {
	used, err := a.store.Usage(c.Context(), c.UserID())
	if err != nil {
		return err
	}
	out := Usage{Notes: used.Notes, Bytes: used.Used() * store.Copies, HistoryBytes: used.HistoryBytes}
	out.Quota.Notes = limitTimes(used.QuotaNotes, 1)
	out.Quota.Bytes = limitTimes(used.QuotaBytes, store.Copies)
	out.Quota.HistoryBytes = limitTimes(used.QuotaHistory, 1)
	return c.Data(http.StatusOK, out)
}

// limitTimes returns a limit in units that are n times smaller, or nil if there is none.
func limitTimes(limit *int64, n int64) *int64 {
	if limit == nil || *limit > math.MaxInt64/n || *limit == math.MaxInt64 {
		return nil
	}
	return new(*limit * n)
}
