package store

import (
	"cmp"
	"context"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"notesd/store/engine"
)

// A quota of bytes is for one copy of each text and what its rows and their places
// in indexes take besides. All of that is there about twice: see TestDisk.
const (
	noteCost = 512
	tagCost  = 32
)

// Counters are one person's: how much there is, and the number of the last change.
type Counters struct {
	ChangeSeq  int64
	Notes      int64
	Bytes      int64  // of titles, contents and tags, or of folded copies where these are longer, and tagCost a tag
	QuotaNotes *int64 // nil: that of Config, if there is one
	QuotaBytes *int64
}

// Used is what QuotaBytes limits.
func (c Counters) Used() int64 { return c.Bytes + c.Notes*noteCost }

// Counters returns owner's counters, or ErrNotFound.
func (s *Store) Counters(ctx context.Context, owner string) (Counters, error) {
	var row countersRow
	if err := s.db.Reader(ctx).Where("user_id = ?", owner).Take(&row).Error; err != nil {
		return Counters{}, fmt.Errorf("counters of %s: %w", owner, engine.Translate(err))
	}
	return Counters{row.ChangeSeq, row.NoteCount, row.NoteBytes, row.QuotaNotes, row.QuotaBytes}, nil
}

// SetQuota limits how many notes and bytes owner may have; nil is what Config says.
// What is there already stays, but while it is too much it can only shrink.
func (s *Store) SetQuota(ctx context.Context, owner string, notes, bytes *int64) error {
	err := s.db.Write(ctx, func(tx *gorm.DB) error {
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
	changed    bool // by add
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

// applyDefaults has the quotas of the settings hold where the person has none.
func (row *countersRow) applyDefaults(s *Store) {
	row.QuotaNotes = cmp.Or(row.QuotaNotes, s.quotaNotes)
	row.QuotaBytes = cmp.Or(row.QuotaBytes, s.quotaBytes)
}

// add counts one more change, which adds so many notes and bytes, in row alone.
// Above the quota it is ErrQuota and counts nothing.
func (row *countersRow) add(notes, bytes int64) error {
	used := row.NoteBytes + bytes + (row.NoteCount+notes)*noteCost
	if exceeds(notes, row.NoteCount+notes, row.QuotaNotes) || exceeds(bytes+notes*noteCost, used, row.QuotaBytes) {
		return ErrQuota
	}
	row.grow(notes, bytes)
	return nil
}

// grow is add whatever the quota.
func (row *countersRow) grow(notes, bytes int64) {
	row.ChangeSeq++
	row.NoteCount += notes
	row.NoteBytes += bytes
	row.changed = true
}

// exceeds reports whether something grew above its limit, nil for none.
func exceeds(growth, total int64, limit *int64) bool {
	return growth > 0 && limit != nil && total > *limit
}
