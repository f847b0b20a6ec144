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
	// maxUnknownLocks bounds the addresses without account whose wrong passwords are counted.
	maxUnknownLocks = 10_000

	// maxDeviceLocks bounds the devices of an account whose wrong passwords are counted. Whoever has so many
	// knows the password: each got its cookie by a sign-in.
	maxDeviceLocks = 100

	keepSignInLocks = 30 * 24 * time.Hour
)

// SignInLock returns until when sign-ins under the key are locked; zero if they aren't.
func (s *Store) SignInLock(ctx context.Context, key string) (until time.Time, err error) {
	var row signInLockRow
	err = s.db.Reader(ctx).Where("key = ?", key).Limit(1).Find(&row).Error
	if err != nil {
		return time.Time{}, fmt.Errorf("sign-in lock: %w", engine.Translate(err))
	}
	return timeOrZero(row.LockedUntil), nil
}

// CountFailure counts a wrong password under the key, as CountFailedSignIn does for an account. The key is a
// device's of the user with the id, or, with "", that of an address without account. The oldest of these, and of an
// account's devices, are forgotten when there are very many.
func (s *Store) CountFailure(ctx context.Context, key, userID string) (until time.Time, err error) {
	now := s.now()
	user, most := &userID, maxDeviceLocks
	if userID == "" {
		user, most = nil, maxUnknownLocks
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
			map[string]any{"key": key, "user": user, "now": now, "limit": lockAfter, "until": now + lockTime.Milliseconds()}).
			Take(&row).Error
	})
	if err == nil && row.Failures == 1 {
		err = s.boundLocks(ctx, user, most)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("count sign-in failure: %w", err)
	}
	return timeOrZero(row.LockedUntil), nil
}

// boundLocks forgets the oldest of the user's devices, or of the addresses without account, but for so many.
func (s *Store) boundLocks(ctx context.Context, user *string, most int) error {
	whose := "user_id = @user"
	if user == nil {
		whose = "user_id IS NULL"
	}
	return s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Exec(`DELETE FROM sign_in_locks WHERE `+whose+` AND updated_at <= (
			SELECT updated_at FROM sign_in_locks WHERE `+whose+` ORDER BY updated_at DESC LIMIT 1 OFFSET @most)`,
			map[string]any{"user": user, "most": most}).Error
	})
}

// ClearFailures begins the count under the key anew, or returns ErrLocked, and changes nothing, while a lock is in force.
func (s *Store) ClearFailures(ctx context.Context, key string) error {
	err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Exec("DELETE FROM sign_in_locks WHERE key = ? AND (locked_until IS NULL OR locked_until <= ?)", key, s.now()).Error
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

// Unlock takes the account's lock and those of its devices, or returns ErrNotFound.
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
