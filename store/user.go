package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
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
	LockedUntil  time.Time // zero: never locked since the last sign-in
	LastLoginAt  time.Time // zero: never signed in
	SessionEpoch int64     // a session that began under another has ended
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// CreateUser makes an account. ErrDuplicate: the e-mail address has one, in
// whatever case it is written.
func (s *Store) CreateUser(ctx context.Context, email, name, passwordHash string) (User, error) {
	return s.SignUp(ctx, User{ID: NewID(), Email: email, Name: name, PasswordHash: passwordHash}, nil)
}

// SignUp makes an account with u's id, address, name and hash, and the first session of
// it: both or neither. first is nil where sessions are not kept here. ErrDuplicate: as for CreateUser.
func (s *Store) SignUp(ctx context.Context, u User, first *Session) (User, error) {
	now := s.now()
	row := userRow{
		ID: u.ID, Email: u.Email, EmailFolded: notes.Fold(u.Email), Name: u.Name, PasswordHash: u.PasswordHash,
		CreatedAt: now, UpdatedAt: now,
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

// User returns the user with the id, or ErrNotFound.
func (s *Store) User(ctx context.Context, id string) (User, error) {
	return s.findUser(ctx, "id = ?", id)
}

// UserByEmail returns the user with the e-mail address in whatever case, or
// ErrNotFound.
func (s *Store) UserByEmail(ctx context.Context, email string) (User, error) {
	return s.findUser(ctx, "email_folded = ?", notes.Fold(email))
}

// MaxBcryptCost returns the highest cost of a bcrypt hash; 0: there is none. It reads all users.
func (s *Store) MaxBcryptCost(ctx context.Context) (cost int, err error) {
	var digits *string
	err = s.db.Reader(ctx).Raw("SELECT max(substr(password_hash, 5, 2)) FROM users WHERE password_hash LIKE '$2_$__$%'").Scan(&digits).Error
	if err != nil {
		return 0, fmt.Errorf("bcrypt cost: %w", engine.Translate(err))
	}
	if digits != nil {
		cost, _ = strconv.Atoi(*digits) // else no bcrypt
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
	if err := s.db.Reader(ctx).Where(condition, value).Take(&row).Error; err != nil {
		return User{}, fmt.Errorf("find user: %w", engine.Translate(err))
	}
	return row.user(), nil
}

// Users returns everybody in the order of their e-mail addresses. It holds no
// connection while the caller looks at one, so who comes or goes meanwhile may
// or may not be among them. An error is the last pair.
func (s *Store) Users(ctx context.Context) iter.Seq2[User, error] {
	const page = 500
	return func(yield func(User, error) bool) {
		last := ""
		for {
			var rows []userRow
			err := s.db.Reader(ctx).Where("email_folded > ?", last).Order("email_folded").Limit(page).Find(&rows).Error
			if err != nil {
				yield(User{}, fmt.Errorf("list users: %w", engine.Translate(err)))
				return
			}
			for _, row := range rows {
				if !yield(row.user(), nil) {
					return
				}
				last = row.EmailFolded
			}
			if len(rows) < page {
				return
			}
		}
	}
}

// DeleteUser removes an account and all that belongs to it, or returns
// ErrNotFound.
func (s *Store) DeleteUser(ctx context.Context, id string) error {
	err := s.db.Write(ctx, func(tx *gorm.DB) error {
		// In the order of every write of notes, or the two would wait for each other.
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

// CountFailedSignIn counts a wrong password and returns when the account's lock
// ends; zero if it isn't locked. The fifth in a row locks it for 15 minutes. A
// lock in force neither grows nor counts; one that has run out has reset the
// count. However many come at once, each is counted once.
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

// CountSignIn notes a right password: the count of wrong ones starts over. It
// returns ErrLocked, and changes nothing, while a lock is in force: who guesses
// right beyond the fifth try must not come in. ErrEpoch: the password has been
// reset, or the account deleted, since u was read, so u's hash proves nothing.
func (s *Store) CountSignIn(ctx context.Context, u User) error {
	until, err := s.changeUser(ctx, u.ID, `
		failed_logins = CASE WHEN locked_until > @now THEN failed_logins ELSE 0 END,
		last_login_at = CASE WHEN locked_until > @now THEN last_login_at ELSE @now END,
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

// CountDeviceSignIn is CountSignIn for a client that the account has signed in from before. It leaves
// the count of wrong passwords and the lock, which are those of all others.
func (s *Store) CountDeviceSignIn(ctx context.Context, u User) error {
	_, err := s.changeUser(ctx, u.ID, "last_login_at = @now WHERE session_epoch = @epoch AND",
		map[string]any{"now": s.now(), "epoch": u.SessionEpoch})
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("user %s: %w", u.ID, ErrEpoch)
	}
	return err
}

// SetPassword gives the account another password hash, takes its lock and ends its sessions wherever
// they are kept, or returns ErrNotFound. DeleteSessions tidies up after it.
func (s *Store) SetPassword(ctx context.Context, id, hash string) error {
	// An epoch is a time, so that it says something about sessions that have none, and always a later one.
	_, err := s.changeUser(ctx, id, `password_hash = @hash, updated_at = @now, failed_logins = 0, locked_until = NULL,
		session_epoch = CASE WHEN session_epoch < @now THEN @now ELSE session_epoch + 1 END WHERE`,
		map[string]any{"hash": hash, "now": s.now()})
	return err
}

// changeUser sets columns in one atomic statement and returns until when the
// account is locked then; zero if it isn't. set ends with WHERE, or with more
// conditions and AND. ErrNotFound: no such user.
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

// ReplaceHash exchanges the hash of a password for another hash of the same
// one. It does nothing if the password has been changed meanwhile.
func (s *Store) ReplaceHash(ctx context.Context, id, oldHash, newHash string) error {
	err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Exec("UPDATE users SET password_hash = ? WHERE id = ? AND password_hash = ?", newHash, id, oldHash).Error
	})
	if err != nil {
		return fmt.Errorf("replace password hash of user %s: %w", id, err)
	}
	return nil
}

// userRow is a user as the table holds one.
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
	CreatedAt    int64 `gorm:"autoCreateTime:false"`
	UpdatedAt    int64 `gorm:"autoUpdateTime:false"`
}

func (userRow) TableName() string { return "users" }

func (row userRow) user() User {
	return User{
		ID: row.ID, Email: row.Email, Name: row.Name, PasswordHash: row.PasswordHash,
		FailedLogins: row.FailedLogins, LockedUntil: timeOrZero(row.LockedUntil), LastLoginAt: timeOrZero(row.LastLoginAt),
		SessionEpoch: row.SessionEpoch,
		CreatedAt:    fromMillis(row.CreatedAt), UpdatedAt: fromMillis(row.UpdatedAt),
	}
}

// timeOrZero is a table's time that may be missing.
func timeOrZero(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return fromMillis(*ms)
}
