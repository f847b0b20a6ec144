package auth

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"notesd/store"
)

const (
	maxDevice  = 64 // bytes of a device's name in an account's log
	logTimeout = 5 * time.Second
	// maxLateEntries is how many entries of wrong passwords and codes may wait to be written. What
	// is more is in the server's log only.
	maxLateEntries = 64
)

// Record writes an event of the account into its log and into the server's. c is the client that
// caused the event; the zero Client is an operator. An event is never undone because the log cannot
// be written: that is a warning.
func (a *Accounts) Record(ctx context.Context, c Client, userID string, event store.AccountEvent) {
	e := store.LogEntry{Event: event, Address: c.Address, Device: deviceName(c)}
	a.log.LogAttrs(ctx, slog.LevelInfo, "account", slog.String("event", string(event)), slog.String("user", userID),
		slog.String("addr", e.Address), slog.String("device", e.Device))
	write := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logTimeout)
		defer cancel()
		if err := a.store.LogAccount(ctx, userID, e); err != nil && !errors.Is(err, store.ErrOwnerGone) {
			a.log.Warn("an account's log was not written", "user", userID, "error", err)
		}
	}
	switch event {
	case store.EventDeletion:
	case store.EventWrongPassword, store.EventWrongCode, store.EventLocked:
		// The response does not wait for these. Otherwise its duration would reveal that the account
		// exists.
		select {
		case a.lateEntries <- struct{}{}:
			go func() {
				defer func() { <-a.lateEntries }()
				write()
			}()
		default:
		}
	default:
		write()
	}
}

// deviceName returns the name of the client's program, such as "Firefox on Linux".
func deviceName(c Client) string {
	if c.Request == nil {
		return "operator"
	}
	name := shortText(programName(c.Request.UserAgent()), maxDevice)
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, name)
}

// Log returns the account's log, the newest entry first.
func (a *Accounts) Log(ctx context.Context, userID string) ([]store.LogEntry, error) {
	return a.store.AccountLog(ctx, userID)
}
