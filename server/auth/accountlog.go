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
// caused the event. An event is never undone because the log cannot be written: that is a warning.
func (a *Accounts) Record(ctx context.Context, c Client, userID string, event store.AccountEvent) {
	e := store.LogEntry{Event: event, Address: c.Address, Device: deviceName(c)}
	write := logAccount(ctx, a.store, a.log, userID, e)
	switch event {
	case store.EventWrongPassword, store.EventWrongCode, store.EventLocked:
		// The response does not wait for these. Otherwise its duration would reveal that the
		// account exists.
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

// RecordOperator is Accounts.Record for an event that an operator has caused. address is where the
// operator's request came from; "": from a command.
func RecordOperator(ctx context.Context, db *store.Store, log *slog.Logger, address, userID string,
	event store.AccountEvent) {
	logAccount(ctx, db, log, userID, store.LogEntry{Event: event, Address: address, Device: "operator"})()
}

// logAccount writes an entry of the account's log into the server's log. The function that it
// returns writes it into the account's, unless the account ends with the event.
func logAccount(ctx context.Context, db *store.Store, log *slog.Logger, userID string, e store.LogEntry) func() {
	log.LogAttrs(ctx, slog.LevelInfo, "account", slog.String("event", string(e.Event)), slog.String("user", userID),
		slog.String("addr", e.Address), slog.String("device", e.Device))
	return func() {
		if e.Event == store.EventDeletion {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logTimeout)
		defer cancel()
		if err := db.LogAccount(ctx, userID, e); err != nil && !errors.Is(err, store.ErrOwnerGone) {
			log.Warn("an account's log was not written", "user", userID, "error", err)
		}
	}
}

// deviceName returns the name of the client's program, such as "Firefox on Linux".
func deviceName(c Client) string {
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
