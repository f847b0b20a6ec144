package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"

	"notesd/notes"
)

// MaxPreferences is the maximum length of User.Preferences, in bytes.
const MaxPreferences = 16 << 10

// A ProfilePatch says what to change of an account. A nil field stays as it is.
type ProfilePatch struct {
	Name, Email *string
	Preferences *string // as User.Preferences
}

// PatchProfile changes the account u and returns it. ErrDuplicate: another account has the e-mail
// address. ErrEpoch: since u was read all sessions of the account were ended, or it was deleted.
func (s *Store) PatchProfile(ctx context.Context, u User, p ProfilePatch) (User, error) {
	set := []string{"updated_at = @now"}
	values := map[string]any{"now": s.now(), "id": u.ID, "epoch": u.SessionEpoch}
	change := func(column string, value any) {
		set = append(set, column+" = @"+column)
		values[column] = value
	}
	if p.Name != nil {
		change("name", *p.Name)
	}
	if p.Email != nil {
		change("email", *p.Email)
		change("email_folded", notes.Fold(*p.Email))
	}
	if p.Preferences != nil {
		change("preferences", nullIfEmpty(*p.Preferences))
	}
	var row userRow
	err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Raw("UPDATE users SET "+strings.Join(set, ", ")+
			" WHERE id = @id AND session_epoch = @epoch RETURNING *", values).Take(&row).Error
	})
	if errors.Is(err, ErrNotFound) {
		err = ErrEpoch
	}
	if err != nil {
		return User{}, fmt.Errorf("change user %s: %w", u.ID, err)
	}
	return row.user(), nil
}

func nullIfEmpty(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// A PasswordChange is a new password of an account.
type PasswordChange struct {
	Hash  string
	Epoch int64    // of the account's sessions from now on; above User.SessionEpoch
	First *Session // the first session of this epoch; nil: sessions are stored elsewhere
	// EndTokens deletes the account's app tokens.
	EndTokens bool
}

// ChangePassword sets a new password of the account u, and ends its sessions, wherever they are
// stored. It does all that c says or nothing. A later DeleteSessions removes the session rows.
// ErrEpoch: as for PatchProfile.
func (s *Store) ChangePassword(ctx context.Context, u User, c PasswordChange) error {
	err := s.db.Write(ctx, func(tx *gorm.DB) error {
		done := tx.Exec(`UPDATE users SET password_hash = @hash, session_epoch = @next, updated_at = @now
			WHERE id = @id AND session_epoch = @epoch`,
			map[string]any{"hash": c.Hash, "next": c.Epoch, "now": s.now(), "id": u.ID, "epoch": u.SessionEpoch})
		if done.Error != nil {
			return done.Error
		}
		if done.RowsAffected == 0 {
			return ErrEpoch
		}
		if c.EndTokens {
			if err := endTokens(tx, u.ID); err != nil {
				return err
			}
		}
		if c.First == nil {
			return nil
		}
		return s.saveSession(tx, *c.First)
	})
	if err != nil {
		return fmt.Errorf("change the password of user %s: %w", u.ID, err)
	}
	return nil
}
