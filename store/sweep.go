package store

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
)

const (
	keepIdempotencyKeys = 24 * time.Hour
	keepTombstones      = 180 * 24 * time.Hour

	// sweepBatch bounds how long one statement of the sweep keeps others from
	// writing.
	sweepBatch = 200
)

// SweepConfig says how long what may be wanted again is kept.
type SweepConfig struct {
	TrashRetention time.Duration // of a note since it was trashed
}

// SweepResult counts what a sweep removed.
type SweepResult struct {
	Notes, Sessions, SignInFailures, IdempotencyKeys, Tombstones int64
}

// Sweep removes what nobody needs any more: sessions and sign-in windows whose
// time is over, idempotency keys of yesterday, old tombstones, and trash beyond
// its retention, as if its owner had deleted it. It works in small steps, others
// write in between, and several processes may sweep at once. After an error the
// result says what was removed until then.
func (s *Store) Sweep(ctx context.Context, cfg SweepConfig) (SweepResult, error) {
	var swept SweepResult
	now := s.now()
	for _, rest := range []struct {
		count              *int64
		table, key, column string
		before             int64
	}{
		{&swept.Sessions, "sessions", "token_hash", "expires_at", now},
		{&swept.SignInFailures, "sign_in_failures", "key", "window_ends", now},
		{&swept.IdempotencyKeys, "idempotency_keys", "user_id, key", "created_at", now - keepIdempotencyKeys.Milliseconds()},
		{&swept.Tombstones, "tombstones", "user_id, change_seq", "deleted_at", now - keepTombstones.Milliseconds()},
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
	var err error
	swept.Notes, err = s.sweepTrash(ctx, now-cfg.TrashRetention.Milliseconds())
	if err != nil {
		return swept, fmt.Errorf("sweep trash: %w", err)
	}
	return swept, nil
}

// sweepRows removes up to sweepBatch rows of table whose column is not after
// before, and passes over those that another process is removing.
func (s *Store) sweepRows(ctx context.Context, table, key, column string, before int64) (n int64, err error) {
	oldest := fmt.Sprintf("SELECT %s FROM %s WHERE %s <= ? ORDER BY %s LIMIT ?", key, table, column, column)
	if s.postgres {
		oldest += " FOR UPDATE SKIP LOCKED"
	}
	err = s.writeOne(ctx, func(db *gorm.DB) error {
		deleted := db.Exec(fmt.Sprintf("DELETE FROM %s WHERE (%s) IN (%s)", table, key, oldest), before, sweepBatch)
		n = deleted.RowsAffected
		return deleted.Error
	})
	return n, err
}

// sweepTrash deletes the notes that were trashed at before or earlier, one
// person after another.
func (s *Store) sweepTrash(ctx context.Context, before int64) (total int64, err error) {
	for {
		var oldest noteRow
		err := s.reader(ctx).Select("user_id").Where("is_trashed AND trashed_at <= ?", before).
			Order("trashed_at").Limit(1).Find(&oldest).Error
		if err != nil || oldest.UserID == "" {
			return total, translate(err)
		}
		n, err := s.emptyTrash(ctx, oldest.UserID, before)
		if err != nil {
			return total, err
		}
		total += n
	}
}

// emptyTrash deletes up to sweepBatch notes that owner trashed at before or
// earlier, each with a tombstone and a change number of its own.
func (s *Store) emptyTrash(ctx context.Context, owner string, before int64) (n int64, err error) {
	err = s.write(ctx, func(tx *gorm.DB) error {
		if err := lockCounters(tx, owner); err != nil {
			return err
		}
		var gone []noteRow
		err := tx.Raw(`DELETE FROM notes WHERE key IN (
				SELECT key FROM notes WHERE user_id = ? AND is_trashed AND trashed_at <= ? ORDER BY trashed_at LIMIT ?
			) RETURNING id, bytes`, owner, before, sweepBatch).Scan(&gone).Error
		if err != nil {
			return err
		}
		now := s.now()
		changes := make([]Change, len(gone))
		for i, note := range gone {
			if err := bury(tx, owner, note, now); err != nil {
				return err
			}
			changes[i] = Change{owner, note.ID}
		}
		n = int64(len(gone))
		return s.announce(tx, changes...)
	})
	return n, err
}

// bury counts a deleted note out of its owner's counters and leaves a tombstone.
func bury(tx *gorm.DB, owner string, gone noteRow, now int64) error {
	counters, err := count(tx, owner, -1, -gone.Bytes)
	if err != nil {
		return err
	}
	return tx.Exec(`INSERT INTO tombstones (user_id, change_seq, note_id, deleted_at) VALUES (?, ?, ?, ?)`,
		owner, counters.ChangeSeq, gone.ID, now).Error
}
