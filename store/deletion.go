package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"

	"notesd/store/engine"
)

// deletedVersions is sweepBatch for versions, some of which are whole texts.
const deletedVersions = 50

// BeginDeletion begins to delete u's account. When it returns, nobody can sign in, the sessions have
// ended (a later DeleteSessions removes their rows), the app tokens are gone, and the e-mail address
// is free for another account. The rest is deleted in the background in small steps, so that other
// writes run in between. Sweep resumes what a restart has interrupted. ErrEpoch: since u was read the
// password has been changed, or the account deleted, so u's hash proves nothing.
func (s *Store) BeginDeletion(ctx context.Context, u User) error {
	now := s.now()
	address := "deleted " + strings.ToLower(rand.Text()) // no account can have it, because it is none
	err := s.db.Write(ctx, func(tx *gorm.DB) error {
		done := tx.Exec(`UPDATE users SET deleted_at = @now, email = @address, email_folded = @address, name = '',
			password_hash = '', preferences = NULL, updated_at = @now, `+newEpoch+`
			WHERE id = @id AND session_epoch = @epoch AND deleted_at IS NULL`,
			map[string]any{"now": now, "address": address, "id": u.ID, "epoch": u.SessionEpoch})
		if done.Error == nil && done.RowsAffected == 0 {
			return ErrEpoch
		}
		err := done.Error
		// These are few.
		for _, table := range []string{"app_tokens", "totp", "recovery_codes", "account_log", "sign_in_locks"} {
			err = errors.Join(err, tx.Exec("DELETE FROM "+table+" WHERE user_id = ?", u.ID).Error)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete user %s: %w", u.ID, err)
	}
	select {
	case s.deletions <- struct{}{}:
	default: // runDeletions will see both
	}
	return nil
}

// runDeletions finishes deletions that this process has begun, until ctx ends. What fails is left to
// Sweep.
func (s *Store) runDeletions(ctx context.Context) {
	for {
		select {
		case <-s.deletions:
			n, err := s.finishDeletions(ctx)
			if err != nil && ctx.Err() == nil {
				s.log.Warn("an account is not deleted yet, trying again later", "error", err)
			} else if n > 0 {
				s.log.Info("deleted accounts", "count", n)
			}
		case <-ctx.Done():
			return
		}
	}
}

// finishDeletions deletes the accounts whose deletion has begun, in whatever process, and returns how
// many. Several processes may do so at once.
func (s *Store) finishDeletions(ctx context.Context) (n int64, err error) {
	var ids []string
	err = s.db.Reader(ctx).Raw("SELECT id FROM users WHERE deleted_at IS NOT NULL").Scan(&ids).Error
	if err != nil {
		return 0, engine.Translate(err)
	}
	var failed []error
	for _, id := range ids {
		// The process that began the deletion may have ended before it could tell the others.
		err := s.AnnounceRevoked(ctx, "", id)
		if err == nil {
			err = s.finishDeletion(ctx, id)
		}
		if err == nil {
			n++
			continue
		}
		failed = append(failed, fmt.Errorf("delete user %s: %w", id, err))
		if ctx.Err() != nil || errors.Is(err, ErrUnavailable) {
			break
		}
	}
	return n, errors.Join(failed...)
}

func (s *Store) finishDeletion(ctx context.Context, id string) error {
	counters, err := s.Counters(ctx, id)
	if errors.Is(err, ErrNoUser) { // another process was faster
		return nil
	}
	if err != nil {
		return err
	}
	after := int64(-1) // the change number of the last note that is deleted
	for more := true; more; {
		if after, more, err = s.deleteOldestNotes(ctx, id, after, counters.ChangeSeq); err != nil {
			return err
		}
	}
	const owned = "user_id = @user"
	for _, rest := range []struct{ table, key, owned string }{
		{"tombstones", "user_id, change_seq", owned},
		{"idempotency_keys", "user_id, key", owned},
		{"sessions", "token_hash", owned},
		{"renamed_notes", "rename_id, note_id", "rename_id IN (SELECT id FROM tag_renames WHERE user_id = @user)"},
		{"search_index", "user_id, part, segment", owned},
		{"search_lists", "user_id, part, segment", owned}, // the binary before this one may run beside it
	} {
		statement := fmt.Sprintf(
			"DELETE FROM %[1]s WHERE (%[2]s) IN (SELECT %[2]s FROM %[1]s WHERE %[3]s LIMIT @limit)",
			rest.table, rest.key, rest.owned)
		for full := true; full; {
			full = false
			err := s.ownedBy(ctx, id, func(tx *gorm.DB) error {
				done := tx.Exec(statement, map[string]any{"user": id, "limit": sweepBatch})
				full = done.RowsAffected >= sweepBatch
				return done.Error
			})
			if err != nil {
				return err
			}
		}
	}
	// What a request under way has added since goes with the account.
	return s.ownedBy(ctx, id, func(tx *gorm.DB) error {
		return tx.Exec("DELETE FROM users WHERE id = ? AND deleted_at IS NOT NULL", id).Error
	})
}

// deleteOldestNotes is one step of a deletion: it deletes the oldest versions of some notes whose
// change numbers are above after and at most upto, or, if they have none left, the notes. more says
// whether there were such notes.
func (s *Store) deleteOldestNotes(ctx context.Context, id string, after, upto int64) (
	last int64, more bool, err error,
) {
	err = s.ownedBy(ctx, id, func(tx *gorm.DB) error {
		last, more = after, false
		var notes []noteRow
		err := tx.Select("key", "change_seq", "bytes").Where("user_id = ? AND change_seq > ? AND change_seq <= ?", id,
			after, upto).
			Order("change_seq").Limit(sweptNotes).Find(&notes).Error
		if err != nil || len(notes) == 0 {
			return err
		}
		more = true
		keys := make([]int64, len(notes))
		size := int64(0)
		for i, note := range notes {
			keys[i] = note.Key
			size += note.Bytes
		}
		// A delta's base is newer than the delta, so the base of what stays stays too.
		versions := tx.Exec(`DELETE FROM note_versions WHERE (note_key, revision) IN (
			SELECT note_key, revision FROM note_versions WHERE note_key IN ? ORDER BY note_key, revision LIMIT ?)`,
			keys, deletedVersions)
		if versions.Error != nil || versions.RowsAffected == deletedVersions {
			return versions.Error
		}
		if err := tx.Exec("DELETE FROM notes WHERE key IN ?", keys).Error; err != nil {
			return err
		}
		last = notes[len(notes)-1].ChangeSeq
		// A backup that is taken meanwhile must not contradict itself.
		return tx.Exec(`UPDATE user_counters SET note_count = note_count - ?, note_bytes = note_bytes - ?
			WHERE user_id = ?`,
			len(notes), size, id).Error
	})
	return last, more, err
}

// ownedBy runs fn in a transaction in which nobody else writes notes of the user, unless the user is
// gone.
func (s *Store) ownedBy(ctx context.Context, id string, fn func(tx *gorm.DB) error) error {
	err := s.db.Write(ctx, func(tx *gorm.DB) error {
		// The counters are locked first, as in every write of notes. Otherwise the two could
		// deadlock.
		if err := lockCounters(tx, id); err != nil {
			return err
		}
		return fn(tx)
	})
	if errors.Is(err, ErrOwnerGone) { // another process was faster
		return nil
	}
	return err
}
