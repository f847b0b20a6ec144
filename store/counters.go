package store

import (
	"cmp"
	"context"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"notesd/store/engine"
)

// A quota of bytes covers one copy of each text, and the space of its rows and index entries. The
// disk holds all of that about twice: see TestDisk.
const (
	// Copies is how many copies of a note's text the store keeps: the text itself, and the folded
	// text for searching.
	Copies = 2

	noteCost = 512
	tagCost  = 32
)

// Counters are one user's totals and the number of the user's last change.
type Counters struct {
	ChangeSeq int64
	Notes     int64
	// Bytes counts titles and contents, or their folded copies where these are longer, and tags
	// with tagCost for each.
	Bytes      int64
	QuotaNotes *int64 // nil: the quota of Config, if there is one
	QuotaBytes *int64

	// HistoryBytes counts the versions of the notes: titles, contents and tags, or the deltas in place
	// of these, with versionCost for each. QuotaHistory limits it; nil: as much as the notes.
	HistoryBytes int64
	QuotaHistory *int64
}

// Used returns the bytes that QuotaBytes limits.
func (c Counters) Used() int64 { return c.Bytes + c.Notes*noteCost }

// Counters returns owner's counters, or ErrNoUser.
func (s *Store) Counters(ctx context.Context, owner string) (Counters, error) {
	var row countersRow
	if err := s.db.Reader(ctx).Where("user_id = ?", owner).Take(&row).Error; err != nil {
		return Counters{}, fmt.Errorf("counters of %s: %w", owner, noUser(engine.Translate(err)))
	}
	return row.counters(), nil
}

// Usage is Counters with the quotas that are in force for owner, those of Config among them. nil and
// math.MaxInt64 mean no limit.
func (s *Store) Usage(ctx context.Context, owner string) (Counters, error) {
	c, err := s.Counters(ctx, owner)
	row := countersRow{QuotaNotes: c.QuotaNotes, QuotaBytes: c.QuotaBytes, QuotaHistory: c.QuotaHistory}
	row.applyDefaults(s)
	c.QuotaNotes, c.QuotaBytes, c.QuotaHistory = row.QuotaNotes, row.QuotaBytes, row.QuotaHistory
	return c, err
}

func (row countersRow) counters() Counters {
	return Counters{row.ChangeSeq, row.NoteCount, row.NoteBytes, row.QuotaNotes, row.QuotaBytes,
		row.HistoryBytes, row.QuotaHistory}
}

// DefaultQuotas returns the quotas of users who have none of their own. nil means no limit.
func (s *Store) DefaultQuotas() (notes, bytes *int64) { return s.quotaNotes, s.quotaBytes }

// SetQuota limits how many notes and bytes owner may have. With nil the limit of Config holds. What
// exists already stays. While it exceeds the quota it can only shrink.
func (s *Store) SetQuota(ctx context.Context, owner string, notes, bytes *int64) error {
	return s.setCounters(ctx, owner, "quota_notes = ?, quota_bytes = ?", notes, bytes)
}

// SetHistoryQuota limits how many bytes owner's versions may have. With nil they may have as many as
// the notes. A history above its quota is cut when the next version is added.
func (s *Store) SetHistoryQuota(ctx context.Context, owner string, bytes *int64) error {
	return s.setCounters(ctx, owner, "quota_history = ?", bytes)
}

func (s *Store) setCounters(ctx context.Context, owner, set string, values ...any) error {
	err := s.db.Write(ctx, func(tx *gorm.DB) error {
		done := tx.Exec("UPDATE user_counters SET "+set+" WHERE user_id = ?", append(values, owner)...)
		if done.Error == nil && done.RowsAffected == 0 {
			return ErrNotFound
		}
		return done.Error
	})
	if err != nil {
		return fmt.Errorf("quota of %s: %w", owner, err)
	}
	return nil
}

// countersRow is a user's row of totals. Every write of the user's notes locks it before it touches
// anything else. So a user's changes happen one after another: their numbers have no gaps and
// become visible in order, and no deadlock between two writes is possible.
type countersRow struct {
	UserID     string
	ChangeSeq  int64
	NoteCount  int64
	NoteBytes  int64
	QuotaNotes *int64
	QuotaBytes *int64
	changed    bool // set by grow

	HistoryBytes int64
	QuotaHistory *int64
	historyAdded int64 // bytes that the batch has added to HistoryBytes
}

func (countersRow) TableName() string { return "user_counters" }

// lockCounters locks the owner's counters, for a write that has to read before it knows what it
// changes.
func lockCounters(tx *gorm.DB, owner string) error {
	found := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).
		Select("user_id").Where("user_id = ?", owner).Limit(1).Find(&countersRow{})
	if found.Error == nil && found.RowsAffected == 0 {
		return ErrOwnerGone
	}
	return found.Error
}

// applyDefaults sets the quotas of the settings where the user has none.
func (row *countersRow) applyDefaults(s *Store) {
	row.QuotaNotes = cmp.Or(row.QuotaNotes, s.quotaNotes)
	row.QuotaBytes = cmp.Or(row.QuotaBytes, s.quotaBytes)
	row.QuotaHistory = cmp.Or(row.QuotaHistory, row.QuotaBytes)
}

// add counts one more change, which adds so many notes and bytes. It changes the row in memory
// only. If the quota would be exceeded it returns ErrQuota and counts nothing.
func (row *countersRow) add(notes, bytes int64) error {
	used := row.NoteBytes + bytes + (row.NoteCount+notes)*noteCost
	if exceeds(notes, row.NoteCount+notes, row.QuotaNotes) || exceeds(bytes+notes*noteCost, used, row.QuotaBytes) {
		return ErrQuota
	}
	row.grow(notes, bytes)
	return nil
}

// grow is add without the quota check.
func (row *countersRow) grow(notes, bytes int64) {
	row.ChangeSeq++
	row.NoteCount += notes
	row.NoteBytes += bytes
	row.changed = true
}

// growHistory counts a version that is added. Above the quota, the oldest versions go.
func (row *countersRow) growHistory(bytes int64) { row.historyAdded += bytes }

// trimsHistory returns to how many bytes the user's history is to be cut, if it exceeds its quota. A
// tenth is made free at once, because a cut reads all of the history.
func (row *countersRow) trimsHistory() (target int64, ok bool) {
	if row.QuotaHistory == nil || row.historyAdded <= 0 || row.HistoryBytes+row.historyAdded <= *row.QuotaHistory {
		return 0, false
	}
	return *row.QuotaHistory - *row.QuotaHistory/10, true
}

// exceeds reports whether a total that has grown is above its limit. A nil limit is no limit.
func exceeds(growth, total int64, limit *int64) bool {
	return growth > 0 && limit != nil && total > *limit
}
