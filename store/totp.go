package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"notesd/store/engine"
)

// A TOTP is the secret of an account's time-based one-time codes (RFC 6238). The store sees it only
// encrypted.
type TOTP struct {
	UserID      string
	Secret      []byte    // encrypted
	KeyID       string    // names the key that encrypts it
	ConfirmedAt time.Time // zero: no code is asked for yet
	LastStep    int64     // no code of this step or an earlier one passes again
}

// ErrTOTPOn says that the account has a confirmed secret.
var ErrTOTPOn = errors.New("one-time codes are on")

// ErrCodeUsed says that a code of this step or a later one has passed before, or that the account's
// codes were turned off meanwhile.
var ErrCodeUsed = errors.New("the code was used before")

// TOTP returns the account's secret, confirmed or not, or ErrNotFound.
func (s *Store) TOTP(ctx context.Context, userID string) (TOTP, error) {
	var row totpRow
	if err := s.db.Reader(ctx).Where("user_id = ?", userID).Take(&row).Error; err != nil {
		return TOTP{}, fmt.Errorf("TOTP of user %s: %w", userID, engine.Translate(err))
	}
	return row.totp(), nil
}

// BeginTOTP stores a secret that is yet to be confirmed, in place of another that was not confirmed.
// ErrTOTPOn: the account has a confirmed secret. ErrOwnerGone: there is no such account.
func (s *Store) BeginTOTP(ctx context.Context, t TOTP) error {
	err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
		done := db.Exec(`INSERT INTO totp (user_id, secret, key_id, created_at) VALUES (?, ?, ?, ?)
			ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, key_id = excluded.key_id,
				created_at = excluded.created_at WHERE totp.confirmed_at IS NULL`, t.UserID, t.Secret, t.KeyID, s.now())
		if done.Error == nil && done.RowsAffected == 0 {
			return ErrTOTPOn
		}
		return done.Error
	})
	if err != nil {
		return fmt.Errorf("begin TOTP of user %s: %w", t.UserID, err)
	}
	return nil
}

// ConfirmTOTP turns one-time codes on with t's secret, of which a code of the step was right. The
// hashes are those of the account's recovery codes. ErrCodeUsed: another secret has replaced t's, or
// it is confirmed already.
func (s *Store) ConfirmTOTP(ctx context.Context, t TOTP, step int64, hashes [][]byte) error {
	err := s.db.Write(ctx, func(tx *gorm.DB) error {
		done := tx.Exec(`UPDATE totp SET confirmed_at = ?, last_step = ?
			WHERE user_id = ? AND secret = ? AND confirmed_at IS NULL`, s.now(), step, t.UserID, t.Secret)
		if done.Error == nil && done.RowsAffected == 0 {
			return ErrCodeUsed
		}
		return errors.Join(done.Error, replaceRecoveryCodes(tx, t.UserID, hashes))
	})
	if err != nil {
		return fmt.Errorf("confirm TOTP of user %s: %w", t.UserID, err)
	}
	return nil
}

// UseTOTPStep marks a step as used. ErrCodeUsed: this step or a later one was used before. Of several
// calls with one step, on one store or several, one succeeds.
func (s *Store) UseTOTPStep(ctx context.Context, userID string, step int64) error {
	return s.useCode(ctx, userID, "UPDATE totp SET last_step = @step WHERE user_id = @user AND last_step < @step AND "+
		"confirmed_at IS NOT NULL", map[string]any{"step": step})
}

// UseRecoveryCode removes the recovery code with the hash. ErrCodeUsed: the account has no such code
// (any more). Of several calls with one hash, on one store or several, one succeeds.
func (s *Store) UseRecoveryCode(ctx context.Context, userID string, hash []byte) error {
	return s.useCode(ctx, userID, "DELETE FROM recovery_codes WHERE user_id = @user AND code_hash = @hash",
		map[string]any{"hash": hash})
}

// useCode runs a statement that changes one row, or none if the code was used.
func (s *Store) useCode(ctx context.Context, userID, statement string, values map[string]any) error {
	values["user"] = userID
	err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
		done := db.Exec(statement, values)
		if done.Error == nil && done.RowsAffected == 0 {
			return ErrCodeUsed
		}
		return done.Error
	})
	if err != nil {
		return fmt.Errorf("code of user %s: %w", userID, err)
	}
	return nil
}

// ReplaceRecoveryCodes replaces the account's recovery codes by those with the hashes. ErrCodeUsed:
// one-time codes are off.
func (s *Store) ReplaceRecoveryCodes(ctx context.Context, userID string, hashes [][]byte) error {
	err := s.db.Write(ctx, func(tx *gorm.DB) error {
		// The update waits for a removal of the secret, and a removal for it.
		on := tx.Exec("UPDATE totp SET confirmed_at = confirmed_at WHERE user_id = ? AND confirmed_at IS NOT NULL",
			userID)
		if on.Error == nil && on.RowsAffected == 0 {
			return ErrCodeUsed
		}
		return errors.Join(on.Error, replaceRecoveryCodes(tx, userID, hashes))
	})
	if err != nil {
		return fmt.Errorf("recovery codes of user %s: %w", userID, err)
	}
	return nil
}

func replaceRecoveryCodes(tx *gorm.DB, userID string, hashes [][]byte) error {
	err := deleteRecoveryCodes(tx, userID)
	for _, hash := range hashes {
		err = errors.Join(err, tx.Exec("INSERT INTO recovery_codes (user_id, code_hash) VALUES (?, ?)", userID,
			hash).Error)
	}
	return err
}

// RecoveryCodes returns how many recovery codes the account has left.
func (s *Store) RecoveryCodes(ctx context.Context, userID string) (n int, err error) {
	err = s.db.Reader(ctx).Raw("SELECT count(*) FROM recovery_codes WHERE user_id = ?", userID).Scan(&n).Error
	if err != nil {
		return 0, fmt.Errorf("recovery codes of user %s: %w", userID, engine.Translate(err))
	}
	return n, nil
}

// RemoveTOTP deletes the account's secret and its recovery codes, if it has any.
func (s *Store) RemoveTOTP(ctx context.Context, userID string) error {
	err := s.db.Write(ctx, func(tx *gorm.DB) error {
		return errors.Join(tx.Exec("DELETE FROM totp WHERE user_id = ?", userID).Error, deleteRecoveryCodes(tx, userID))
	})
	if err != nil {
		return fmt.Errorf("remove TOTP of user %s: %w", userID, err)
	}
	return nil
}

func deleteRecoveryCodes(tx *gorm.DB, userID string) error {
	return tx.Exec("DELETE FROM recovery_codes WHERE user_id = ?", userID).Error
}

// OlderTOTPs returns up to limit secrets that another key than keyID encrypts, in the order of their
// users' ids, from the one after the user after.
func (s *Store) OlderTOTPs(ctx context.Context, keyID, after string, limit int) ([]TOTP, error) {
	var rows []totpRow
	err := s.db.Reader(ctx).Where("key_id <> ? AND user_id > ?", keyID, after).Order("user_id").
		Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("older TOTP secrets: %w", engine.Translate(err))
	}
	list := make([]TOTP, len(rows))
	for i, row := range rows {
		list[i] = row.totp()
	}
	return list, nil
}

// ReplaceTOTPSecret replaces t's secret by the same secret under another key. It does nothing if the
// secret has been replaced or removed meanwhile.
func (s *Store) ReplaceTOTPSecret(ctx context.Context, t TOTP, secret []byte, keyID string) error {
	err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Exec("UPDATE totp SET secret = ?, key_id = ? WHERE user_id = ? AND secret = ?",
			secret, keyID, t.UserID, t.Secret).Error
	})
	if err != nil {
		return fmt.Errorf("TOTP secret of user %s: %w", t.UserID, err)
	}
	return nil
}

// totpRow is a secret as its table stores it.
type totpRow struct {
	UserID      string
	Secret      []byte
	KeyID       string
	ConfirmedAt *int64
	LastStep    int64
}

func (totpRow) TableName() string { return "totp" }

func (row totpRow) totp() TOTP {
	return TOTP{UserID: row.UserID, Secret: row.Secret, KeyID: row.KeyID, ConfirmedAt: timeOrZero(row.ConfirmedAt),
		LastStep: row.LastStep}
}
