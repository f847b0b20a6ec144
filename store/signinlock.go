package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"notesd/store/engine"
)

const (
	// maxUnknownLocks bounds the number of addresses without an account whose wrong passwords are
	// counted.
	maxUnknownLocks = 10_000

	// maxDeviceLocks bounds the number of an account's devices whose wrong passwords are counted. A
	// user with so many devices knows the password: each device got its cookie by a sign-in.
	maxDeviceLocks = 100

	keepSignInLocks = 30 * 24 * time.Hour
)

// SignInLock returns the time until which sign-ins under the key are locked. It is zero if they
// aren't.
func (s *Store) SignInLock(ctx context.Context, key string) (until time.Time, err error) {
	var row signInLockRow
	err = s.db.Reader(ctx).Where("key = ?", key).Limit(1).Find(&row).Error
	if err != nil {
		return time.Time{}, fmt.Errorf("sign-in lock: %w", engine.Translate(err))
	}
	return timeOrZero(row.LockedUntil), nil
}

// CountFailure counts a wrong password under the key, as CountFailedSignIn does for an account. If
// userID is not empty, the key is that of one of the user's devices. If it is empty, the key is
// that of an address without an account. The oldest keys of such addresses, and of an account's
// devices, are removed when there are very many.
func (s *Store) CountFailure(ctx context.Context, key, userID string) (until time.Time, err error) {
	now := s.now()
	user, keep := &userID, maxDeviceLocks
	if userID == "" {
		user, keep = nil, maxUnknownLocks
	}
	var row signInLockRow
	err = s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Raw(`INSERT INTO sign_in_locks AS l (key, user_id, failures, updated_at) VALUES (@key, @user, 1, @now)
			ON CONFLICT (key) DO UPDATE SET
				failures     = CASE WHEN l.locked_until > @now THEN l.failures
				                    WHEN l.locked_until IS NULL THEN l.failures + 1
				                    ELSE 1 END,
				locked_until = CASE WHEN l.locked_until > @now THEN l.locked_until
				                    WHEN l.locked_until IS NULL AND l.failures + 1 >= @limit THEN @until END,
				updated_at   = @now
			RETURNING key, failures, locked_until`,
			map[string]any{"key": key, "user": user, "now": now, "limit": lockAfter,
				"until": now + lockTime.Milliseconds()}).
			Take(&row).Error
	})
	if err == nil && row.Failures == 1 {
		err = s.boundLocks(ctx, user, keep)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("count sign-in failure: %w", err)
	}
	return timeOrZero(row.LockedUntil), nil
}

// boundLocks deletes all but the newest keep sign-in locks: those of the user's devices or, if user
// is nil, those of addresses without an account.
func (s *Store) boundLocks(ctx context.Context, user *string, keep int) error {
	whose := "user_id = @user"
	if user == nil {
		whose = "user_id IS NULL"
	}
	return s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Exec(`DELETE FROM sign_in_locks WHERE `+whose+` AND updated_at <= (
			SELECT updated_at FROM sign_in_locks WHERE `+whose+` ORDER BY updated_at DESC LIMIT 1 OFFSET @most)`,
			map[string]any{"user": user, "most": keep}).Error
	})
}

// ClearFailures resets the count under the key. While a lock is in force it returns ErrLocked and
// changes nothing.
func (s *Store) ClearFailures(ctx context.Context, key string) error {
	err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Exec("DELETE FROM sign_in_locks WHERE key = ? AND (locked_until IS NULL OR locked_until <= ?)",
			key, s.now()).Error
	})
	if err != nil {
		return fmt.Errorf("clear sign-in failures: %w", err)
	}
	until, err := s.SignInLock(ctx, key)
	if err == nil && until.UnixMilli() > s.now() {
		err = ErrLocked
	}
	return err
}

// Unlock removes the account's lock and the locks of its devices, or returns ErrNotFound.
func (s *Store) Unlock(ctx context.Context, id string) error {
	err := s.db.Write(ctx, func(tx *gorm.DB) error {
		done := tx.Exec("UPDATE users SET failed_logins = 0, locked_until = NULL WHERE id = ?", id)
		if done.Error == nil && done.RowsAffected == 0 {
			return ErrNotFound
		}
		return errors.Join(done.Error, tx.Exec("DELETE FROM sign_in_locks WHERE user_id = ?", id).Error)
	})
	if err != nil {
		return fmt.Errorf("unlock user %s: %w", id, err)
	}
	return nil
}

// signInLockRow is a row of the table.
type signInLockRow struct {
	Key         string `gorm:"primaryKey"`
	Failures    int
	LockedUntil *int64
}

func (signInLockRow) TableName() string { return "sign_in_locks" }
