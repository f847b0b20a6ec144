package store

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Counters are one person's: how much there is, and the number of the last change.
type Counters struct {
	ChangeSeq  int64
	Notes      int64
	Bytes      int64  // of titles, contents and tags
	QuotaNotes *int64 // nil: no limit
	QuotaBytes *int64
}

// Counters returns owner's counters, or ErrNotFound.
func (s *Store) Counters(ctx context.Context, owner string) (Counters, error) {
	var row countersRow
	if err := s.reader(ctx).Where("user_id = ?", owner).Take(&row).Error; err != nil {
		return Counters{}, fmt.Errorf("counters of %s: %w", owner, translate(err))
	}
	return Counters{row.ChangeSeq, row.NoteCount, row.NoteBytes, row.QuotaNotes, row.QuotaBytes}, nil
}

// SetQuota limits how many notes and bytes owner may have; nil is no limit.
// What is there already stays, but while it is too much it can only shrink.
func (s *Store) SetQuota(ctx context.Context, owner string, notes, bytes *int64) error {
	err := s.write(ctx, func(tx *gorm.DB) error {
		set := tx.Exec(`UPDATE user_counters SET quota_notes = ?, quota_bytes = ? WHERE user_id = ?`, notes, bytes, owner)
		if set.Error == nil && set.RowsAffected == 0 {
			return ErrNotFound
		}
		return set.Error
	})
	if err != nil {
		return fmt.Errorf("quota of %s: %w", owner, err)
	}
	return nil
}

// countersRow is the row that every write of a person's notes locks before it
// touches anything else. So a person's changes happen one after another: their
// numbers have no gaps, become visible in order, and no two writes wait for
// each other.
type countersRow struct {
	UserID     string
	ChangeSeq  int64
	NoteCount  int64
	NoteBytes  int64
	QuotaNotes *int64
	QuotaBytes *int64
}

func (countersRow) TableName() string { return "user_counters" }

// lockCounters begins a write that has to look before it knows what it changes.
func lockCounters(tx *gorm.DB, owner string) error {
	found := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).
		Select("user_id").Where("user_id = ?", owner).Limit(1).Find(&countersRow{})
	if found.Error == nil && found.RowsAffected == 0 {
		return ErrOwnerGone
	}
	return found.Error
}

// count adds one change to owner's counters, and notes and bytes to what there
// is, and returns them as they are then. It locks them if lockCounters didn't.
func count(tx *gorm.DB, owner string, notes, bytes int64) (countersRow, error) {
	var row countersRow
	counted := tx.Raw(`UPDATE user_counters
		SET change_seq = change_seq + 1, note_count = note_count + ?, note_bytes = note_bytes + ?
		WHERE user_id = ? RETURNING change_seq, note_count, note_bytes, quota_notes, quota_bytes`, notes, bytes, owner).Scan(&row)
	if counted.Error == nil && counted.RowsAffected == 0 {
		return row, ErrOwnerGone
	}
	return row, counted.Error
}

// checkQuota returns ErrQuota if the notes and bytes just added were too many.
func (row countersRow) checkQuota(notes, bytes int64) error {
	if exceeds(notes, row.NoteCount, row.QuotaNotes) || exceeds(bytes, row.NoteBytes, row.QuotaBytes) {
		return ErrQuota
	}
	return nil
}

// exceeds reports whether something grew above its limit, nil for none.
func exceeds(growth, total int64, limit *int64) bool {
	return growth > 0 && limit != nil && total > *limit
}
