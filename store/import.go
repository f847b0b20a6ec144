package store

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Bounds of one step of an import: how long others may have to wait for it, and
// what is held in memory at once. One note may be more than importBytes.
const (
	importNotes = 200
	importBytes = 4 << 20
)

// An Import is an account with its notes, as another database has them.
type Import struct {
	User   User
	Notes  iter.Seq2[Note, error] // of the user's; an error is the last pair
	DryRun bool                   // look, and change nothing
}

// ImportResult says what an import has done, or would do.
type ImportResult struct {
	Created bool     // the account; else it was there already
	Notes   int64    // that were made
	Bytes   int64    // of their titles, contents and tags
	Present int64    // notes that were there already
	Deleted int64    // notes that their owner has deleted here
	Foreign []string // ids under which somebody else has a note
}

// Import brings an account over under the ids and dates that it and its notes
// have; Key, UserID, Revision and ChangeSeq of a note are made here. What is
// there already stays as it is, and what its owner has deleted here stays away
// while there is a tombstone of it. So an import may be repeated, after an
// interruption too, and several may run at once.
//
// It takes bounded steps, each of which is done or not, and others read and
// write in between. Quotas don't apply. After an error the result says what was
// done until then. Errors are those of in.Notes, as they are, and ErrDuplicate:
// another account has the e-mail address, and no note was asked for.
func (s *Store) Import(ctx context.Context, in Import) (done ImportResult, err error) {
	done.Created, err = s.importUser(ctx, in)
	if err != nil {
		return done, fmt.Errorf("import user %s: %w", in.User.ID, err)
	}
	step := importStep{owner: in.User.ID, dry: in.DryRun}
	for note, err := range in.Notes {
		if err != nil {
			return done, err
		}
		if step.add(note); !step.full() {
			continue
		}
		if err := s.importNotes(ctx, &step, &done); err != nil {
			return done, err
		}
	}
	return done, s.importNotes(ctx, &step, &done)
}

// importUser makes the account unless it is there.
func (s *Store) importUser(ctx context.Context, in Import) (created bool, err error) {
	row := importedUser(in.User)
	there, err := findImported(s.reader(ctx), row)
	if err != nil || there || in.DryRun {
		return err == nil && !there, translate(err)
	}
	err = s.write(ctx, func(tx *gorm.DB) error {
		made := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&row)
		if made.Error != nil {
			return made.Error
		}
		if created = made.RowsAffected == 1; created {
			return tx.Create(&countersRow{UserID: row.ID}).Error
		}
		_, err := findImported(tx, row) // somebody was quicker
		return err
	})
	return created, err
}

// findImported reports whether the account is there. ErrDuplicate: its e-mail
// address is, with another id.
func findImported(db *gorm.DB, row userRow) (there bool, err error) {
	var ids []string // one query: between two, another import could make the account
	err = db.Raw(`SELECT id FROM users WHERE id = ? OR email_folded = ?`, row.ID, row.EmailFolded).Scan(&ids).Error
	if there = slices.Contains(ids, row.ID); err == nil && !there && len(ids) > 0 {
		err = ErrDuplicate
	}
	return there, err
}

func importedUser(u User) userRow {
	return userRow{
		ID: u.ID, Email: u.Email, EmailFolded: Fold(u.Email), Name: u.Name, PasswordHash: u.PasswordHash,
		FailedLogins: u.FailedLogins, LockedUntil: millisOrNil(u.LockedUntil), LastLoginAt: millisOrNil(u.LastLoginAt),
		CreatedAt: u.CreatedAt.UnixMilli(), UpdatedAt: u.UpdatedAt.UnixMilli(),
	}
}

// millisOrNil is the opposite of timeOrZero.
func millisOrNil(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return new(t.UnixMilli())
}

// An importStep is the notes of one transaction.
type importStep struct {
	owner string
	dry   bool
	rows  []noteRow
	bytes int64
}

func (step *importStep) full() bool {
	return len(step.rows) >= importNotes || step.bytes >= importBytes
}

// add folds the note's text, which takes a while, before anybody waits.
func (step *importStep) add(note Note) {
	row := noteRow{
		ID: note.ID, UserID: step.owner, Revision: 1,
		IsPinned: note.Pinned, IsFavorite: note.Favorite, IsArchived: note.Archived, IsMarkdown: note.Markdown,
		IsTrashed: note.Trashed, CreatedAt: note.CreatedAt.UnixMilli(), UpdatedAt: note.UpdatedAt.UnixMilli(),
		Color: note.Color, Title: note.Title, TitleFolded: Fold(note.Title),
		Content: note.Content, ContentFolded: Fold(note.Content), Tags: note.Tags,
	}
	if note.Trashed {
		row.TrashedAt = new(note.TrashedAt.UnixMilli())
	}
	row.Bytes = row.size()
	step.rows = append(step.rows, row)
	step.bytes += row.Bytes
}

// importNotes makes those of a step's notes that are to be made, counts them
// all in done, and empties the step.
func (s *Store) importNotes(ctx context.Context, step *importStep, done *ImportResult) error {
	if len(step.rows) == 0 {
		return nil
	}
	var counted ImportResult
	work := func(db *gorm.DB) (err error) {
		var fresh []noteRow
		fresh, counted, err = s.sortOut(db, step)
		if err != nil || step.dry || len(fresh) == 0 {
			return err
		}
		return s.insertImported(db, step.owner, fresh, counted.Bytes)
	}
	var err error
	if step.dry {
		err = translate(work(s.reader(ctx)))
	} else {
		err = s.write(ctx, func(tx *gorm.DB) error {
			if err := lockCounters(tx, step.owner); err != nil {
				return err
			}
			return work(tx)
		})
	}
	if err != nil {
		return fmt.Errorf("import notes of %s: %w", step.owner, err)
	}
	done.Notes += counted.Notes
	done.Bytes += counted.Bytes
	done.Present += counted.Present
	done.Deleted += counted.Deleted
	done.Foreign = append(done.Foreign, counted.Foreign...)
	clear(step.rows) // their texts
	step.rows, step.bytes = step.rows[:0], 0
	return nil
}

// sortOut returns the notes that are to be made, and counts all.
func (s *Store) sortOut(db *gorm.DB, step *importStep) (fresh []noteRow, counted ImportResult, err error) {
	ids := idsOf(step.rows)
	var there []noteRow
	if err := db.Raw(`SELECT id, user_id FROM notes WHERE id `+s.oneOf("text"), ids).Scan(&there).Error; err != nil {
		return nil, counted, err
	}
	var gone []string
	err = db.Raw(`SELECT note_id FROM tombstones WHERE user_id = ? AND note_id `+s.oneOf("text"), step.owner, ids).
		Scan(&gone).Error
	if err != nil {
		return nil, counted, err
	}
	owners, deleted := make(map[string]string), make(map[string]bool)
	for _, row := range there {
		owners[row.ID] = row.UserID
	}
	for _, id := range gone {
		deleted[id] = true
	}
	for _, row := range step.rows {
		owner, known := owners[row.ID]
		switch {
		case owner == step.owner:
			counted.Present++
		case known:
			counted.Foreign = append(counted.Foreign, row.ID)
		case deleted[row.ID]:
			counted.Deleted++
		default:
			counted.Notes++
			counted.Bytes += row.Bytes
			fresh = append(fresh, row)
		}
	}
	return fresh, counted, nil
}

// idsOf is the notes' ids as an argument for oneOf.
func idsOf(rows []noteRow) string {
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	return toJSON(ids)
}

// insertImported stores notes of owner's, whose counters are locked, with a
// change number each.
func (s *Store) insertImported(tx *gorm.DB, owner string, rows []noteRow, bytes int64) error {
	var counters countersRow
	n := int64(len(rows))
	err := tx.Raw(`UPDATE user_counters
		SET change_seq = change_seq + ?, note_count = note_count + ?, note_bytes = note_bytes + ?
		WHERE user_id = ? RETURNING change_seq`, n, n, bytes, owner).Scan(&counters).Error
	if err != nil {
		return err
	}
	for i := range rows {
		rows[i].ChangeSeq = counters.ChangeSeq - n + int64(i) + 1
	}
	if err := tx.Create(&rows).Error; err != nil {
		return err
	}
	if err := s.readKeys(tx, rows); err != nil {
		return err
	}
	texts, tags := make([]searchRow, len(rows)), []noteTag{}
	for i, row := range rows {
		texts[i] = searchRow{row.Key, row.ContentFolded}
		for position, tag := range row.Tags {
			tags = append(tags, noteTag{row.Key, position, tag})
		}
	}
	if err := tx.Create(&texts).Error; err != nil || len(tags) == 0 {
		return err
	}
	const atOnce = 5000 // of three values each: both engines take 32 766
	return tx.CreateInBatches(&tags, atOnce).Error
}

// readKeys fills in the keys of notes that were made in one statement, which
// need not return them in the order it was given.
func (s *Store) readKeys(tx *gorm.DB, rows []noteRow) error {
	var made []noteRow
	if err := tx.Raw(`SELECT key, id FROM notes WHERE id `+s.oneOf("text"), idsOf(rows)).Scan(&made).Error; err != nil {
		return err
	}
	keys := make(map[string]int64, len(made))
	for _, row := range made {
		keys[row.ID] = row.Key
	}
	for i := range rows {
		rows[i].Key = keys[rows[i].ID]
	}
	return nil
}

// searchRow is a note's content as it is searched.
type searchRow struct {
	NoteKey       int64 `gorm:"primaryKey;autoIncrement:false"`
	ContentFolded string
}

func (searchRow) TableName() string { return "note_search" }
