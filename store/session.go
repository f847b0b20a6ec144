package store

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// A Session is one signed-in browser. The store never sees its token, only the
// key that the server derives from it.
type Session struct {
	Key       string
	UserID    string
	Data      []byte
	UserAgent string
	Address   string
	CreatedAt time.Time // set by SaveSession unless given
	ExpiresAt time.Time
}

// FindSession returns the session with the key. ErrNotFound: there is none, or
// its time is over.
func (s *Store) FindSession(ctx context.Context, key string) (Session, error) {
	var row sessionRow
	err := s.reader(ctx).Where("token_hash = ? AND expires_at > ?", key, s.now()).Take(&row).Error
	if err != nil {
		return Session{}, fmt.Errorf("find session: %w", translate(err))
	}
	return row.session(), nil
}

// SaveSession stores a session, in place of an older state of it.
// ErrOwnerGone: its user has been deleted.
func (s *Store) SaveSession(ctx context.Context, session Session) error {
	row := sessionRow{
		TokenHash: session.Key, UserID: session.UserID, Data: append([]byte{}, session.Data...),
		UserAgent: session.UserAgent, Address: session.Address,
		CreatedAt: s.now(), ExpiresAt: session.ExpiresAt.UnixMilli(),
	}
	if !session.CreatedAt.IsZero() {
		row.CreatedAt = session.CreatedAt.UnixMilli()
	}
	newer := clause.OnConflict{
		Columns:   []clause.Column{{Name: "token_hash"}},
		DoUpdates: clause.AssignmentColumns([]string{"user_id", "data", "user_agent", "address", "expires_at"}),
	}
	err := s.writeOne(ctx, func(db *gorm.DB) error { return db.Clauses(newer).Create(&row).Error })
	if err != nil {
		return fmt.Errorf("save session: %w", err)
	}
	return nil
}

// DeleteSession ends the session with the key. It is no error if there is none.
func (s *Store) DeleteSession(ctx context.Context, key string) error {
	return s.deleteSessions(ctx, "token_hash = ?", key)
}

// DeleteSessions ends all sessions of a user but the one with the key except;
// with "" all of them.
func (s *Store) DeleteSessions(ctx context.Context, userID, except string) error {
	return s.deleteSessions(ctx, "user_id = ? AND token_hash <> ?", userID, except)
}

func (s *Store) deleteSessions(ctx context.Context, condition string, values ...any) error {
	err := s.writeOne(ctx, func(db *gorm.DB) error {
		return db.Where(condition, values...).Delete(&sessionRow{}).Error
	})
	if err != nil {
		return fmt.Errorf("delete sessions: %w", err)
	}
	return nil
}

// Sessions returns a user's sessions whose time is not over, the newest first.
func (s *Store) Sessions(ctx context.Context, userID string) ([]Session, error) {
	var rows []sessionRow
	err := s.reader(ctx).Where("user_id = ? AND expires_at > ?", userID, s.now()).
		Order("created_at DESC, token_hash").Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", translate(err))
	}
	sessions := make([]Session, len(rows))
	for i, row := range rows {
		sessions[i] = row.session()
	}
	return sessions, nil
}

// sessionRow is a session as the table holds one.
type sessionRow struct {
	TokenHash string `gorm:"primaryKey"`
	UserID    string
	Data      []byte
	UserAgent string
	Address   string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
	ExpiresAt int64
}

func (sessionRow) TableName() string { return "sessions" }

func (row sessionRow) session() Session {
	return Session{
		Key: row.TokenHash, UserID: row.UserID, Data: row.Data, UserAgent: row.UserAgent, Address: row.Address,
		CreatedAt: fromMillis(row.CreatedAt), ExpiresAt: fromMillis(row.ExpiresAt),
	}
}
