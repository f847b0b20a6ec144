package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"gorm.io/gorm"

	"notesd/notes"
	"notesd/store/engine"
)

const (
	lockAfter = 5 // wrong passwords in a row
	lockTime  = 15 * time.Minute
)

// A User is a person with an account.
type User struct {
	ID           string
	Email        string // as it was given
	Name         string
	PasswordHash string
	FailedLogins int       // wrong passwords in a row
	LockedUntil  time.Time // zero: not locked since the last sign-in
	LastLoginAt  time.Time // zero: never signed in
	SessionEpoch int64     // a session that began under another epoch has ended
	DisabledAt   time.Time // zero: the account may sign in
	Preferences  string    // a JSON object that apps keep there; empty: none
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// CreateUser creates an account. ErrDuplicate: the e-mail address has an account, in whatever case
// it is written.
func (s *Store) CreateUser(ctx context.Context, email, name, passwordHash string) (User, error) {
	return s.addUser(ctx, User{ID: NewID(), Email: email, Name: name, PasswordHash: passwordHash}, nil, false)
}

// SignUp creates an account with u's id, address, name and hash, together with its first session:
// both or neither. It counts as the first sign-in. first is nil if sessions are stored elsewhere.
// ErrDuplicate: as for CreateUser.
func (s *Store) SignUp(ctx context.Context, u User, first *Session) (User, error) {
	return s.addUser(ctx, u, first, true)
}

// addUser creates an account, which is signed in or not, and its first session if there is one.
func (s *Store) addUser(ctx context.Context, u User, first *Session, signedIn bool) (User, error) {
	now := s.now()
	row := userRow{
		ID: u.ID, Email: u.Email, EmailFolded: notes.Fold(u.Email), Name: u.Name, PasswordHash: u.PasswordHash,
		CreatedAt: now, UpdatedAt: now,
	}
	if signedIn {
		row.LastLoginAt = &now
	}
	err := s.db.Write(ctx, func(tx *gorm.DB) error {
		if err := tx.Create(&row).Error; err != nil {
			return err
		}
		if err := tx.Create(&countersRow{UserID: row.ID}).Error; err != nil || first == nil {
			return err
		}
		return s.saveSession(tx, *first)
	})
	if err != nil {
		return User{}, fmt.Errorf("create user: %w", err)
	}
	return row.user(), nil
}

// User returns the user with the id, or ErrNoUser. An account whose deletion has begun is not
// found, here as elsewhere.
func (s *Store) User(ctx context.Context, id string) (User, error) {
	return s.findUser(ctx, "id = ?", id)
}

// UserByEmail returns the user with the e-mail address, in whatever case, or ErrNoUser.
func (s *Store) UserByEmail(ctx context.Context, email string) (User, error) {
	return s.findUser(ctx, "email_folded = ?", notes.Fold(email))
}

// MaxBcryptCost returns the highest cost of the stored bcrypt hashes, or 0 if there is none. It
// reads all users.
func (s *Store) MaxBcryptCost(ctx context.Context) (cost int, err error) {
	var digits *string
	const query = "SELECT max(substr(password_hash, 5, 2)) FROM users WHERE password_hash LIKE '$2_$__$%'"
	err = s.db.Reader(ctx).Raw(query).Scan(&digits).Error
	if err != nil {
		return 0, fmt.Errorf("bcrypt cost: %w", engine.Translate(err))
	}
	if digits != nil {
		cost, _ = strconv.Atoi(*digits) // 0 if it is no bcrypt hash
	}
	return cost, nil
}

// SessionEpoch returns the user's SessionEpoch, or ErrNotFound.
func (s *Store) SessionEpoch(ctx context.Context, id string) (epoch int64, err error) {
	err = s.db.Reader(ctx).Model(&userRow{}).Select("session_epoch").Where("id = ?", id).Take(&epoch).Error
	if err != nil {
		return 0, fmt.Errorf("session epoch: %w", engine.Translate(err))
	}
	return epoch, nil
}

func (s *Store) findUser(ctx context.Context, condition, value string) (User, error) {
	var row userRow
	if err := s.db.Reader(ctx).Where(condition+" AND deleted_at IS NULL", value).Take(&row).Error; err != nil {
		return User{}, fmt.Errorf("find user: %w", noUser(engine.Translate(err)))
	}
	return row.user(), nil
}

// noUser returns ErrNoUser for an ErrNotFound, and other errors as they are.
func noUser(err error) error {
	if errors.Is(err, ErrNotFound) {
		return ErrNoUser
	}
	return err
}

// DeleteUser deletes an account and all that belongs to it, or returns ErrNotFound.
func (s *Store) DeleteUser(ctx context.Context, id string) error {
	err := s.db.Write(ctx, func(tx *gorm.DB) error {
		// The counters are locked first, as in every write of notes. Otherwise the two could
		// deadlock.
		err := lockCounters(tx, id)
		if errors.Is(err, ErrOwnerGone) {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		return tx.Exec("DELETE FROM users WHERE id = ?", id).Error
	})
	if err != nil {
		return fmt.Errorf("delete user %s: %w", id, err)
	}
	return nil
}

// CountFailedSignIn counts a wrong password and returns when the account's lock ends. The time is
// zero if the account isn't locked. The fifth wrong password in a row locks the account for 15
// minutes. While a lock is in force, a wrong password neither extends it nor counts. A lock that
// has expired has reset the count. Each of several concurrent calls is counted once.
func (s *Store) CountFailedSignIn(ctx context.Context, id string) (until time.Time, err error) {
	now := s.now()
	return s.changeUser(ctx, id, `
		failed_logins = CASE WHEN locked_until > @now THEN failed_logins
		                     WHEN locked_until IS NULL THEN failed_logins + 1
		                     ELSE 1 END,
		locked_until  = CASE WHEN locked_until > @now THEN locked_until
		                     WHEN locked_until IS NULL AND failed_logins + 1 >= @limit THEN @until END WHERE`,
		map[string]any{"now": now, "limit": lockAfter, "until": now + lockTime.Milliseconds()})
}

// CountSignIn records a right password and resets the count of wrong ones. While a lock is in force
// it returns ErrLocked and changes nothing: a guess that is right after the fifth try must not
// succeed. ErrEpoch: since u was read the password has been reset, or the account disabled or
// deleted, so u's hash proves nothing. The right password of a disabled account resets the count,
// and is no sign-in.
func (s *Store) CountSignIn(ctx context.Context, u User) error {
	until, err := s.changeUser(ctx, u.ID, `
		failed_logins = CASE WHEN locked_until > @now THEN failed_logins ELSE 0 END,
		last_login_at = CASE WHEN locked_until > @now OR disabled_at IS NOT NULL THEN last_login_at ELSE @now END,
		locked_until  = CASE WHEN locked_until > @now THEN locked_until END
		WHERE session_epoch = @epoch AND`,
		map[string]any{"now": s.now(), "epoch": u.SessionEpoch})
	switch {
	case errors.Is(err, ErrNotFound):
		return fmt.Errorf("user %s: %w", u.ID, ErrEpoch)
	case err == nil && !until.IsZero():
		return fmt.Errorf("user %s: %w", u.ID, ErrLocked)
	}
	return err
}

// CountDeviceSignIn is CountSignIn for a client from which the account has signed in before. It
// leaves the account's count of wrong passwords and its lock as they are, because those belong to
// all other clients.
func (s *Store) CountDeviceSignIn(ctx context.Context, u User) error {
	_, err := s.changeUser(ctx, u.ID, `
		last_login_at = CASE WHEN disabled_at IS NULL THEN @now ELSE last_login_at END
		WHERE session_epoch = @epoch AND`,
		map[string]any{"now": s.now(), "epoch": u.SessionEpoch})
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("user %s: %w", u.ID, ErrEpoch)
	}
	return err
}

// SetPassword sets the account's password hash, removes its lock, deletes its app tokens and ends
// its sessions, wherever they are stored, or returns ErrNotFound. A later DeleteSessions removes the
// session rows.
func (s *Store) SetPassword(ctx context.Context, id, hash string) error {
	err := s.db.Write(ctx, func(tx *gorm.DB) error {
		done := tx.Exec(`UPDATE users SET password_hash = @hash, updated_at = @now, failed_logins = 0,
			locked_until = NULL, `+newEpoch+" WHERE id = @id", map[string]any{"hash": hash, "now": s.now(), "id": id})
		if done.Error == nil && done.RowsAffected == 0 {
			return ErrNotFound
		}
		return errors.Join(done.Error, endTokens(tx, id))
	})
	if err != nil {
		return fmt.Errorf("user %s: %w", id, err)
	}
	return nil
}

// newEpoch ends all sessions of an account. The epoch is a time, so that it can be compared with
// sessions that have no epoch. The new epoch is always later than the old one.
const newEpoch = "session_epoch = CASE WHEN session_epoch < @now THEN @now ELSE session_epoch + 1 END"

// Disable disables the account and ends its sessions, wherever they are stored, or returns
// ErrNotFound. A later DeleteSessions removes the session rows. An account that is disabled already
// stays as it is, except that its sessions end again.
func (s *Store) Disable(ctx context.Context, id string) error {
	_, err := s.changeUser(ctx, id, `disabled_at = coalesce(disabled_at, @now), updated_at = @now,
		`+newEpoch+" WHERE", map[string]any{"now": s.now()})
	return err
}

// Enable lets a disabled account sign in again, or returns ErrNotFound.
func (s *Store) Enable(ctx context.Context, id string) error {
	_, err := s.changeUser(ctx, id, "disabled_at = NULL, updated_at = @now WHERE", map[string]any{"now": s.now()})
	return err
}

// changeUser sets columns in one atomic statement. It returns the time until which the account is
// locked then, or zero if it isn't. set ends with WHERE, or with more conditions and AND.
// ErrNotFound: there is no such user.
func (s *Store) changeUser(ctx context.Context, id, set string, values map[string]any) (time.Time, error) {
	var row userRow
	values["id"] = id
	err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Raw("UPDATE users SET "+set+" id = @id RETURNING locked_until", values).Take(&row).Error
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("user %s: %w", id, err)
	}
	return timeOrZero(row.LockedUntil), nil
}

// ReplaceHash replaces the hash of a password by another hash of the same password. It does nothing
// if the password has been changed in the meantime.
func (s *Store) ReplaceHash(ctx context.Context, id, oldHash, newHash string) error {
	err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Exec("UPDATE users SET password_hash = ? WHERE id = ? AND password_hash = ?",
			newHash, id, oldHash).Error
	})
	if err != nil {
		return fmt.Errorf("replace password hash of user %s: %w", id, err)
	}
	return nil
}

// userRow is a user as its table stores it.
type userRow struct {
	ID           string
	Email        string
	EmailFolded  string
	Name         string
	PasswordHash string
	FailedLogins int
	LockedUntil  *int64
	LastLoginAt  *int64
	SessionEpoch int64
	DisabledAt   *int64
	Preferences  *string
	CreatedAt    int64 `gorm:"autoCreateTime:false"`
	UpdatedAt    int64 `gorm:"autoUpdateTime:false"`
}

func (userRow) TableName() string { return "users" }

func (row userRow) user() User {
	return User{
		ID: row.ID, Email: row.Email, Name: row.Name, PasswordHash: row.PasswordHash,
		FailedLogins: row.FailedLogins, LockedUntil: timeOrZero(row.LockedUntil),
		LastLoginAt:  timeOrZero(row.LastLoginAt),
		SessionEpoch: row.SessionEpoch, DisabledAt: timeOrZero(row.DisabledAt),
		Preferences: textOrEmpty(row.Preferences),
		CreatedAt:   fromMillis(row.CreatedAt), UpdatedAt: fromMillis(row.UpdatedAt),
	}
}

// textOrEmpty converts a table's text, which may be NULL. NULL becomes the empty text.
func textOrEmpty(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// timeOrZero converts a table's time, which may be NULL. NULL becomes the zero time.
func timeOrZero(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return fromMillis(*ms)
}
