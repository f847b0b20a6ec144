package store

import (
	"context"
	"fmt"

	"notesd/notes"
	"notesd/store/engine"
)

// An Account is a user with what an operator may know of it.
type Account struct {
	User
	Counters
	TOTP bool // a sign-in needs a one-time code
}

// An AccountQuery says which accounts to return. An empty field does not matter.
type AccountQuery struct {
	ID    string
	Email string // in whatever case
	After string // only accounts with later e-mail addresses than this one
	Limit int    // 0: as many as there are
}

// Accounts returns accounts in the order of their e-mail addresses, without those that are being
// deleted.
func (s *Store) Accounts(ctx context.Context, q AccountQuery) ([]Account, error) {
	query := s.db.Reader(ctx).Table("users").Joins("JOIN user_counters c ON c.user_id = users.id").
		Select(`users.*, c.*, EXISTS (
			SELECT 1 FROM totp WHERE totp.user_id = users.id AND confirmed_at IS NOT NULL) AS totp`).
		Where("users.deleted_at IS NULL").Order("users.email_folded")
	if q.ID != "" {
		query = query.Where("users.id = ?", q.ID)
	}
	if q.Email != "" {
		query = query.Where("users.email_folded = ?", notes.Fold(q.Email))
	}
	if q.After != "" {
		query = query.Where("users.email_folded > ?", notes.Fold(q.After))
	}
	if q.Limit > 0 {
		query = query.Limit(q.Limit)
	}
	var rows []struct {
		User     userRow     `gorm:"embedded"`
		Counters countersRow `gorm:"embedded"`
		TOTP     bool        `gorm:"column:totp"`
	}
	if err := query.Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("list accounts: %w", engine.Translate(err))
	}
	accounts := make([]Account, len(rows))
	for i, row := range rows {
		accounts[i] = Account{row.User.user(), row.Counters.counters(), row.TOTP}
	}
	return accounts, nil
}
