package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"notesd/store/engine"
)

// A Session is one signed-in browser. The store never sees its token, only the
// key that the server derives from it.
type Session struct {
	Key       string
	UserID    string
	Epoch     int64 // User.SessionEpoch when the user signed in
	Data      []byte
	UserAgent string
	Address   string
	CreatedAt time.Time // SaveSession sets it if it is zero
	ExpiresAt time.Time
	// LastSeenAt is the hour in which the session was last used; zero: not since the hour in which
	// it began. SaveSession ignores it.
	LastSeenAt time.Time
}

// ofEpoch is the condition that the account's sessions have not all been ended since the session
// began. A session without an epoch was begun by a binary from before migration 3.
const ofEpoch = `EXISTS (SELECT 1 FROM users WHERE users.id = sessions.user_id
	AND (users.session_epoch = sessions.epoch OR sessions.epoch IS NULL
		AND users.session_epoch <= sessions.created_at))`

// FindSession returns the session with the key. ErrNotFound: there is none, it has expired, or all
// sessions of its account were ended since it began.
func (s *Store) FindSession(ctx context.Context, key string) (Session, error) {
	var row sessionRow
	err := s.db.Reader(ctx).Where("token_hash = ? AND expires_at > ? AND "+ofEpoch, key, s.now()).Take(&row).Error
	if err != nil {
		return Session{}, fmt.Errorf("find session: %w", engine.Translate(err))
	}
	return row.session(), nil
}

// SaveSession stores a session, or replaces its earlier state. ErrEpoch: all sessions of the
// account were ended since the user signed in, or the account is gone. The check and the write are
// one statement.
func (s *Store) SaveSession(ctx context.Context, session Session) error {
	err := s.db.WriteOne(ctx, func(db *gorm.DB) error { return s.saveSession(db, session) })
	if errors.Is(err, ErrOwnerGone) { // the account was deleted at this moment
		err = ErrEpoch
	}
	if err != nil {
		return fmt.Errorf("save session: %w", err)
	}
	return nil
}

func (s *Store) saveSession(db *gorm.DB, session Session) error {
	created := s.now()
	if !session.CreatedAt.IsZero() {
		created = session.CreatedAt.UnixMilli()
	}
	done := db.Exec(`INSERT INTO sessions
			(token_hash, user_id, epoch, data, user_agent, address, created_at, expires_at)
			SELECT @key, id, session_epoch, @data, @agent, @address, @created, @expires FROM users
			WHERE id = @user AND session_epoch = @epoch
			ON CONFLICT (token_hash) DO UPDATE SET user_id = excluded.user_id, epoch = excluded.epoch,
				data = excluded.data,
				user_agent = excluded.user_agent, address = excluded.address, expires_at = excluded.expires_at`,
		map[string]any{"key": session.Key, "user": session.UserID, "epoch": session.Epoch,
			"data":  append([]byte{}, session.Data...),
			"agent": session.UserAgent, "address": session.Address, "created": created,
			"expires": session.ExpiresAt.UnixMilli()})
	if done.Error == nil && done.RowsAffected == 0 {
		return ErrEpoch
	}
	return done.Error
}

// DeleteSession ends the session with the key. A missing session is no error.
func (s *Store) DeleteSession(ctx context.Context, key string) error {
	return s.deleteSessions(ctx, "token_hash = ?", key)
}

// DeleteSessions ends all sessions of a user except the one whose key is except. With "" it ends
// all of them.
func (s *Store) DeleteSessions(ctx context.Context, userID, except string) error {
	return s.deleteSessions(ctx, "user_id = ? AND token_hash <> ?", userID, except)
}

func (s *Store) deleteSessions(ctx context.Context, condition string, values ...any) error {
	err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Where(condition, values...).Delete(&sessionRow{}).Error
	})
	if err != nil {
		return fmt.Errorf("delete sessions: %w", err)
	}
	return nil
}

// A Use is the use of something that expires.
type Use struct {
	Key     string // of a session, or the id of an app token
	Expires time.Time
}

// SeeSessions notes that sessions were used in the hour. It begins none anew that has ended.
func (s *Store) SeeSessions(ctx context.Context, used []Use, hour time.Time) error {
	err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Exec(`UPDATE sessions SET last_seen_at = @hour
			WHERE token_hash IN @keys AND (last_seen_at IS NULL OR last_seen_at < @hour)`,
			map[string]any{"keys": useKeys(used), "hour": hour.UnixMilli()}).Error
	})
	if err != nil {
		return fmt.Errorf("see sessions: %w", err)
	}
	return nil
}

func useKeys(used []Use) []string {
	keys := make([]string, len(used))
	for i, use := range used {
		keys[i] = use.Key
	}
	return keys
}

// Sessions returns a user's sessions that have not expired, the newest first.
func (s *Store) Sessions(ctx context.Context, userID string) ([]Session, error) {
	var rows []sessionRow
	err := s.db.Reader(ctx).Where("user_id = ? AND expires_at > ? AND "+ofEpoch, userID, s.now()).
		Order("created_at DESC, token_hash").Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", engine.Translate(err))
	}
	sessions := make([]Session, len(rows))
	for i, row := range rows {
		sessions[i] = row.session()
	}
	return sessions, nil
}

// sessionRow is a session as its table stores it.
type sessionRow struct {
	TokenHash string `gorm:"primaryKey"`
	UserID    string
	Epoch     *int64
	Data      []byte
	UserAgent string
	Address   string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
	ExpiresAt int64

	LastSeenAt *int64
}

func (sessionRow) TableName() string { return "sessions" }

func (row sessionRow) session() Session {
	session := Session{
		Key: row.TokenHash, UserID: row.UserID, Data: row.Data, UserAgent: row.UserAgent, Address: row.Address,
		CreatedAt: fromMillis(row.CreatedAt), ExpiresAt: fromMillis(row.ExpiresAt),
		LastSeenAt: timeOrZero(row.LastSeenAt),
	}
	if row.Epoch != nil {
		session.Epoch = *row.Epoch
	}
	return session
}
