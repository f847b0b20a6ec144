package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"notesd/store/engine"
)

// MaxAppTokens is how many app tokens an account may have.
const MaxAppTokens = 100

// ErrTokens: the account has as many app tokens as it may.
var ErrTokens = errors.New("too many app tokens")

// An AppToken lets a program act for a user. The store never sees the token, only its hash.
type AppToken struct {
	ID     string
	UserID string
	Name   string
	// Write: the token may change notes. Otherwise it may only read.
	Write      bool
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	LastUsedAt time.Time // the hour of its last use; zero: not used yet
	// Email is the user's e-mail address. Only FindAppToken fills it.
	Email string
}

// CreateAppToken stores a token of t.UserID with its hash, and returns it with a new id. ErrTokens.
// ErrOwnerGone: there is no such account.
func (s *Store) CreateAppToken(ctx context.Context, t AppToken, hash []byte) (AppToken, error) {
	row := appTokenRow{ID: NewID(), TokenHash: hash, UserID: t.UserID, Name: t.Name, Scope: "read", CreatedAt: s.now()}
	if t.Write {
		row.Scope = "write"
	}
	if !t.ExpiresAt.IsZero() {
		row.ExpiresAt = new(t.ExpiresAt.UnixMilli())
	}
	err := s.db.Write(ctx, func(tx *gorm.DB) error {
		// The lock makes tokens that are created at once count each other.
		if err := lockCounters(tx, t.UserID); err != nil {
			return err
		}
		var count int64
		if err := tx.Model(&appTokenRow{}).Where("user_id = ?", t.UserID).Count(&count).Error; err != nil {
			return err
		}
		if count >= MaxAppTokens {
			return ErrTokens
		}
		return tx.Create(&row).Error
	})
	if err != nil {
		return AppToken{}, fmt.Errorf("create app token: %w", err)
	}
	return row.token(), nil
}

// inForce is the condition that an app token t of the user u may be used at the time @now.
const inForce = "(t.expires_at IS NULL OR t.expires_at > @now) AND u.disabled_at IS NULL AND u.deleted_at IS NULL"

// FindAppToken returns the token with the hash. ErrNotFound: there is none, it has expired, or its
// account is disabled or about to be deleted.
func (s *Store) FindAppToken(ctx context.Context, hash []byte) (AppToken, error) {
	var row struct {
		Token appTokenRow `gorm:"embedded"`
		Email string
	}
	err := s.db.Reader(ctx).Raw(`SELECT t.*, u.email FROM app_tokens t JOIN users u ON u.id = t.user_id
		WHERE t.token_hash = @hash AND `+inForce, map[string]any{"hash": hash, "now": s.now()}).Take(&row).Error
	if err != nil {
		return AppToken{}, fmt.Errorf("find app token: %w", engine.Translate(err))
	}
	t := row.Token.token()
	t.Email = row.Email
	return t, nil
}

// AppTokenInForce reports whether FindAppToken finds the token with the id.
func (s *Store) AppTokenInForce(ctx context.Context, id string) (bool, error) {
	var ids []string
	err := s.db.Reader(ctx).Raw(`SELECT t.id FROM app_tokens t JOIN users u ON u.id = t.user_id
		WHERE t.id = @id AND `+inForce, map[string]any{"id": id, "now": s.now()}).Scan(&ids).Error
	if err != nil {
		return false, fmt.Errorf("find app token: %w", engine.Translate(err))
	}
	return len(ids) > 0, nil
}

// AppTokens returns a user's tokens, the newest first. It includes those that have expired.
func (s *Store) AppTokens(ctx context.Context, userID string) ([]AppToken, error) {
	var rows []appTokenRow
	err := s.db.Reader(ctx).Where("user_id = ?", userID).Order("created_at DESC, id DESC").Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("list app tokens: %w", engine.Translate(err))
	}
	tokens := make([]AppToken, len(rows))
	for i, row := range rows {
		tokens[i] = row.token()
	}
	return tokens, nil
}

// DeleteAppToken ends the user's token with the id, or returns ErrNotFound.
func (s *Store) DeleteAppToken(ctx context.Context, userID, id string) error {
	err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
		done := db.Where("id = ? AND user_id = ?", id, userID).Delete(&appTokenRow{})
		if done.Error == nil && done.RowsAffected == 0 {
			return ErrNotFound
		}
		return done.Error
	})
	if err != nil {
		return fmt.Errorf("delete app token: %w", err)
	}
	return nil
}

// endTokens deletes all app tokens of a user in a transaction.
func endTokens(tx *gorm.DB, userID string) error {
	return tx.Where("user_id = ?", userID).Delete(&appTokenRow{}).Error
}

// UseAppTokens notes that app tokens were used in the hour.
func (s *Store) UseAppTokens(ctx context.Context, used []Use, hour time.Time) error {
	err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Exec(`UPDATE app_tokens SET last_used_at = @hour
			WHERE id IN @ids AND (last_used_at IS NULL OR last_used_at < @hour)`,
			map[string]any{"ids": useKeys(used), "hour": hour.UnixMilli()}).Error
	})
	if err != nil {
		return fmt.Errorf("use app tokens: %w", err)
	}
	return nil
}

// appTokenRow is an app token as its table stores it.
type appTokenRow struct {
	ID         string `gorm:"primaryKey"`
	TokenHash  []byte
	UserID     string
	Name       string
	Scope      string
	CreatedAt  int64 `gorm:"autoCreateTime:false"`
	ExpiresAt  *int64
	LastUsedAt *int64
}

func (appTokenRow) TableName() string { return "app_tokens" }

func (row appTokenRow) token() AppToken {
	return AppToken{ID: row.ID, UserID: row.UserID, Name: row.Name, Write: row.Scope == "write",
		CreatedAt: fromMillis(row.CreatedAt), ExpiresAt: timeOrZero(row.ExpiresAt),
		LastUsedAt: timeOrZero(row.LastUsedAt)}
}
