package store

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"

	"notesd/store/engine"
)

// An AccountEvent is what happened to an account, as its log names it.
type AccountEvent string

// These are the events of accounts. Clients know them by name, so a name never changes.
const (
	EventSignedUp           AccountEvent = "signed_up"
	EventSignedIn           AccountEvent = "signed_in"
	EventWrongPassword      AccountEvent = "wrong_password"
	EventWrongCode          AccountEvent = "wrong_code" // after the right password
	EventLocked             AccountEvent = "locked"     // by too many wrong passwords or codes
	EventUnlocked           AccountEvent = "unlocked"
	EventPasswordChanged    AccountEvent = "password_changed"
	EventPasswordReset      AccountEvent = "password_reset" // by an operator
	EventEmailChanged       AccountEvent = "email_changed"
	EventTOTPOn             AccountEvent = "totp_on"
	EventTOTPOff            AccountEvent = "totp_off"
	EventRecoveryCodeUsed   AccountEvent = "recovery_code_used"
	EventRecoveryCodesMade  AccountEvent = "recovery_codes_made"
	EventSessionEnded       AccountEvent = "session_ended"
	EventOtherSessionsEnded AccountEvent = "other_sessions_ended"
	EventTokenMade          AccountEvent = "token_made"
	EventTokenRevoked       AccountEvent = "token_revoked"
	EventExported           AccountEvent = "exported"
	EventDisabled           AccountEvent = "disabled"
	EventEnabled            AccountEvent = "enabled"
	EventQuota              AccountEvent = "quota_changed"
	EventDeletion           AccountEvent = "deletion" // it goes to the server's log only: the account's ends with it
)

// strangersEvents are the events that a stranger can cause.
var strangersEvents = []AccountEvent{EventWrongPassword, EventWrongCode, EventLocked}

// An account's log keeps its newest entries. The events that a stranger can cause have a bound of
// their own: guesses must not push out what the user did.
const (
	maxLogEntries       = 80
	maxStrangersEntries = 20
)

// A LogEntry is one entry of an account's log.
type LogEntry struct {
	At      time.Time // LogAccount sets it
	Event   AccountEvent
	Address string // the client's IP address
	Device  string // the client's program, in words
}

// LogAccount adds an entry to the account's log, and removes the oldest entries in excess of its
// bound. ErrOwnerGone: there is no such account.
func (s *Store) LogAccount(ctx context.Context, userID string, e LogEntry) error {
	which, keep := "event NOT IN @strangers", maxLogEntries
	for _, event := range strangersEvents {
		if e.Event == event {
			which, keep = "event IN @strangers", maxStrangersEntries
		}
	}
	err := s.db.Write(ctx, func(tx *gorm.DB) error {
		row := logRow{UserID: userID, At: s.now(), Event: e.Event, Address: e.Address, Device: e.Device}
		if err := tx.Create(&row).Error; err != nil {
			return err
		}
		return tx.Exec(`DELETE FROM account_log WHERE user_id = @user AND `+which+` AND key <= (
			SELECT key FROM account_log WHERE user_id = @user AND `+which+` ORDER BY key DESC LIMIT 1 OFFSET @keep)`,
			map[string]any{"user": userID, "strangers": strangersEvents, "keep": keep}).Error
	})
	if err != nil {
		return fmt.Errorf("log of user %s: %w", userID, err)
	}
	return nil
}

// AccountLog returns the log of the account, the newest entry first. It has at most 100 entries.
func (s *Store) AccountLog(ctx context.Context, userID string) ([]LogEntry, error) {
	var rows []logRow
	err := s.db.Reader(ctx).Where("user_id = ?", userID).Order("key DESC").Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("log of user %s: %w", userID, engine.Translate(err))
	}
	entries := make([]LogEntry, len(rows))
	for i, row := range rows {
		entries[i] = LogEntry{At: fromMillis(row.At), Event: row.Event, Address: row.Address, Device: row.Device}
	}
	return entries, nil
}

// logRow is an entry as its table stores it.
type logRow struct {
	Key     int64 `gorm:"primaryKey;->"` // the engine counts
	UserID  string
	At      int64
	Event   AccountEvent
	Address string
	Device  string
}

func (logRow) TableName() string { return "account_log" }
