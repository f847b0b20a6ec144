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
	keepIdempotencyKeys = 24 * time.Hour
	keepTombstones      = 180 * 24 * time.Hour

	// sweepBatch is the number of rows that one statement of the sweep removes at most. It bounds
	// how long that statement blocks other writes.
	sweepBatch = 200

	// sweptNotes is sweepBatch for notes, which take longer.
	sweptNotes = 50
)

// SweepConfig says how long a sweep keeps what a user may want again.
type SweepConfig struct {
	TrashRetention time.Duration // how long a note stays in the trash
	History        time.Duration // how long versions stay, at least a day
}

// SweepResult counts what a sweep removed.
type SweepResult struct {
	Accounts, Notes, Sessions, SignInFailures, SignInLocks, IdempotencyKeys, Tombstones, Versions int64

	TagRenames int64 // the rows that undo them
}

// Sweep finishes the deletion of accounts, and removes expired data. That is sessions and sign-in
// windows whose time is over, sign-in locks, idempotency keys and renames of tags past their
// retention, and old tombstones. It also deletes notes that
// have been in the trash beyond its retention, as if their owner had deleted them, and thins the
// histories of the others. It works in small steps, and other writes run in between. Several
// processes may sweep at once. After an error the result says what was removed until then.
func (s *Store) Sweep(ctx context.Context, cfg SweepConfig) (SweepResult, error) {
	accounts, failed := s.finishDeletions(ctx)
	if failed != nil { // an account that can't be deleted keeps nothing else from being swept
		failed = fmt.Errorf("sweep accounts: %w", failed)
	}
	swept, err := s.sweepExpired(ctx, cfg)
	swept.Accounts = accounts
	return swept, errors.Join(failed, err)
}

// sweepExpired is Sweep without the deletion of accounts.
func (s *Store) sweepExpired(ctx context.Context, cfg SweepConfig) (swept SweepResult, err error) {
	now := s.now()
	for _, rest := range []struct {
		count              *int64
		table, key, column string
		before             int64
	}{
		{&swept.Sessions, "sessions", "token_hash", "expires_at", now},
		{&swept.SignInFailures, "sign_in_failures", "key", "window_ends", now},
		{&swept.SignInLocks, "sign_in_locks", "key", "updated_at", now - keepSignInLocks.Milliseconds()},
		{&swept.IdempotencyKeys, "idempotency_keys", "user_id, key", "created_at",
			now - keepIdempotencyKeys.Milliseconds()},
		{&swept.TagRenames, "renamed_notes", "rename_id, note_id", "created_at",
			now - (keepRenames + resumeRename).Milliseconds()},
		{&swept.TagRenames, "tag_renames", "id", "created_at", now - (keepRenames + resumeRename).Milliseconds()},
	} {
		for full := true; full; {
			n, err := s.sweepRows(ctx, rest.table, rest.key, rest.column, rest.before)
			if err != nil {
				return swept, fmt.Errorf("sweep %s: %w", rest.table, err)
			}
			*rest.count += n
			full = n == sweepBatch
		}
	}
	if swept.Tombstones, err = s.sweepTombstones(ctx, now-keepTombstones.Milliseconds()); err != nil {
		return swept, fmt.Errorf("sweep tombstones: %w", err)
	}
	swept.Notes, err = s.sweepTrash(ctx, now-cfg.TrashRetention.Milliseconds())
	if err != nil {
		return swept, fmt.Errorf("sweep trash: %w", err)
	}
	swept.Versions, err = s.thinHistories(ctx, cfg.History)
	if err != nil {
		return swept, fmt.Errorf("sweep versions: %w", err)
	}
	if err := s.countSizes(ctx); err != nil {
		return swept, fmt.Errorf("count sizes: %w", err)
	}
	return swept, nil
}

// Sizes are how much all users store, as Counters counts it.
type Sizes struct {
	Notes        int64
	NoteBytes    int64
	HistoryBytes int64
}

// countSizes sets what Sizes returns.
func (s *Store) countSizes(ctx context.Context) error {
	var sizes Sizes
	err := s.db.Reader(ctx).Raw(`SELECT coalesce(sum(note_count), 0) AS notes,
		coalesce(sum(note_bytes), 0) AS note_bytes, coalesce(sum(history_bytes), 0) AS history_bytes
		FROM user_counters`).Scan(&sizes).Error
	if err == nil {
		s.sizes.Store(&sizes)
	}
	return engine.Translate(err)
}

// Sizes returns what all users stored at the end of the last Sweep, or nil before the first one.
func (s *Store) Sizes() *Sizes { return s.sizes.Load() }

// sweepRows removes up to sweepBatch rows of table whose column is at or before the time before. It
// skips rows that another process is removing.
func (s *Store) sweepRows(ctx context.Context, table, key, column string, before int64) (n int64, err error) {
	oldest := fmt.Sprintf("SELECT %s FROM %s WHERE %s <= ? ORDER BY %s LIMIT ?", key, table, column, column)
	if s.postgres {
		oldest += " FOR UPDATE SKIP LOCKED"
	}
	err = s.db.WriteOne(ctx, func(db *gorm.DB) error {
		deleted := db.Exec(fmt.Sprintf("DELETE FROM %s WHERE (%s) IN (%s)", table, key, oldest), before, sweepBatch)
		n = deleted.RowsAffected
		return deleted.Error
	})
	return n, err
}

// sweepTombstones removes the tombstones whose notes were deleted at before or earlier, one owner's
// in each transaction. Their removal changes the owner's counters (see the trigger), so that like
// every write it locks these first.
func (s *Store) sweepTombstones(ctx context.Context, before int64) (total int64, err error) {
	for {
		var owners []string
		err := s.db.Reader(ctx).Raw(`SELECT user_id FROM tombstones WHERE deleted_at <= ? ORDER BY deleted_at LIMIT 1`,
			before).
			Scan(&owners).Error
		if err != nil || len(owners) == 0 {
			return total, engine.Translate(err)
		}
		var n int64
		err = s.db.Write(ctx, func(tx *gorm.DB) error {
			if err := lockCounters(tx, owners[0]); err != nil {
				return err
			}
			removed := tx.Exec(`DELETE FROM tombstones WHERE user_id = ? AND change_seq IN (
				SELECT change_seq FROM tombstones WHERE user_id = ? AND deleted_at <= ?
				ORDER BY change_seq LIMIT ?)`, owners[0], owners[0], before, sweepBatch)
			n = removed.RowsAffected
			return removed.Error
		})
		if errors.Is(err, ErrOwnerGone) { // the account takes its tombstones with it
			return total, nil
		}
		if err != nil {
			return total, err
		}
		total += n
	}
}

// sweepTrash deletes the notes that were trashed at before or earlier.
func (s *Store) sweepTrash(ctx context.Context, before int64) (total int64, err error) {
	for {
		var oldest []noteRow
		err := s.db.Reader(ctx).Select("user_id", "id").Where("is_trashed AND trashed_at <= ?", before).
			Order("trashed_at").Limit(sweptNotes).Find(&oldest).Error
		if err != nil || len(oldest) == 0 {
			return total, engine.Translate(err)
		}
		n, err := s.emptyTrash(ctx, oldest, before)
		total += n
		if err != nil {
			return total, err
		}
	}
}

// emptyTrash deletes those of the notes that were trashed at before or earlier. It skips a note
// that was deleted or restored in the meantime.
func (s *Store) emptyTrash(ctx context.Context, notes []noteRow, before int64) (deleted int64, err error) {
	mutations := make([]*mutation, len(notes))
	for i, note := range notes {
		mutations[i] = s.deleteMutation(ctx, note.UserID, note.ID, func(row *noteRow) bool {
			return row.IsTrashed && *row.TrashedAt <= before
		})
	}
	for _, m := range mutations {
		s.committerOf(m.owner).add(m)
	}
	for _, m := range mutations {
		switch failed := m.outcome(); {
		case failed == nil:
			deleted++
		case !errors.Is(failed, ErrNotFound) && !errors.Is(failed, ErrOwnerGone):
			err = failed
		}
	}
	return deleted, err
}
