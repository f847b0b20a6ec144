package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"notesd/notes"
	"notesd/store/engine"
)

// An Import is an account with its notes, read from another database.
type Import struct {
	User   User
	Notes  iter.Seq2[notes.Note, error] // the user's notes; an error is the last pair
	DryRun bool                         // only report, and change nothing
}

// ImportResult says what an import has done, or what a dry run would do.
type ImportResult struct {
	Created bool     // the account was created; otherwise it existed
	Notes   int64    // notes created
	Bytes   int64    // bytes that the created notes count for in Counters
	Present int64    // notes that existed
	Deleted int64    // notes that their owner has deleted in this store
	Foreign []string // ids of notes that belong to another user
	Unsure  []string // ids of notes that may have been deleted in this store: see Import
}

// Import copies an account and its notes into this store. They keep their ids and dates. The Key,
// UserID, Revision and ChangeSeq of a note are assigned here. What exists already stays as it is. A
// note that its owner has deleted here is not created again while its tombstone exists. So an
// import may be repeated, also after an interruption, and several may run at once.
//
// An owner with maxKept tombstones may have had more. A note that does not exist here and is older
// than all of them may have been deleted. Import does not create it.
//
// Import takes steps of a batch's size, and others read and write in between. Quotas don't apply.
// After an error the result says what is known to be done, and more may be done. An error of
// in.Notes is returned as it is. ErrDuplicate: another account has the e-mail address; in.Notes was
// not read.
func (s *Store) Import(ctx context.Context, in Import) (done ImportResult, err error) {
	done.Created, err = s.importUser(ctx, in)
	if err != nil {
		return done, fmt.Errorf("import user %s: %w", in.User.ID, err)
	}
	var step []noteRow
	var bytes int64
	for note, err := range in.Notes {
		if err != nil {
			return done, err
		}
		row := importedRow(in.User.ID, note)
		step, bytes = append(step, row), bytes+row.Bytes
		if len(step) < maxBatchMutations && bytes < maxBatchBytes {
			continue
		}
		if err := s.importStep(ctx, in.User.ID, step, in.DryRun, &done); err != nil {
			return done, err
		}
		step, bytes = nil, 0
	}
	err = s.importStep(ctx, in.User.ID, step, in.DryRun, &done)
	if err == nil && done.Notes >= maxUnindexed && !in.DryRun {
		s.logIndexError(ctx, s.indexMany(ctx, in.User.ID)) // the notes are there even if that fails
	}
	return done, err
}

// importUser creates the account unless it exists.
func (s *Store) importUser(ctx context.Context, in Import) (created bool, err error) {
	row := importedUser(in.User)
	there, err := findImported(s.db.Reader(ctx), row)
	if err != nil || there || in.DryRun {
		return err == nil && !there, engine.Translate(err)
	}
	err = s.db.Write(ctx, func(tx *gorm.DB) error {
		made := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&row)
		if made.Error != nil {
			return made.Error
		}
		if created = made.RowsAffected == 1; created {
			return tx.Create(&countersRow{UserID: row.ID}).Error
		}
		_, err := findImported(tx, row) // another import was quicker
		return err
	})
	return created, err
}

// findImported reports whether the account exists. ErrDuplicate: its e-mail address exists with
// another id.
func findImported(db *gorm.DB, row userRow) (there bool, err error) {
	var ids []string // one query, since another import could create the account between two
	err = db.Raw(`SELECT id FROM users WHERE id = ? OR email_folded = ?`, row.ID, row.EmailFolded).Scan(&ids).Error
	if there = slices.Contains(ids, row.ID); err == nil && !there && len(ids) > 0 {
		err = ErrDuplicate
	}
	return there, err
}

func importedUser(u User) userRow {
	return userRow{
		ID: u.ID, Email: u.Email, EmailFolded: notes.Fold(u.Email), Name: u.Name, PasswordHash: u.PasswordHash,
		FailedLogins: u.FailedLogins, LockedUntil: millisOrNil(u.LockedUntil), LastLoginAt: millisOrNil(u.LastLoginAt),
		CreatedAt: u.CreatedAt.UnixMilli(), UpdatedAt: u.UpdatedAt.UnixMilli(),
	}
}

// millisOrNil is the inverse of timeOrZero.
func millisOrNil(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return new(t.UnixMilli())
}

// importedRow returns the row of an imported note. It folds the text, which takes a while, before
// any transaction begins.
func importedRow(owner string, note notes.Note) noteRow {
	row := noteRow{
		ID: note.ID, UserID: owner, Revision: 1,
		IsPinned: note.Pinned, IsFavorite: note.Favorite, IsArchived: note.Archived, IsMarkdown: note.Markdown,
		IsTrashed: note.Trashed, CreatedAt: note.CreatedAt.UnixMilli(), UpdatedAt: note.UpdatedAt.UnixMilli(),
		Color: note.Color, Title: note.Title, TitleFolded: notes.Fold(note.Title),
		Content: note.Content, ContentFolded: notes.Fold(note.Content), Tags: append([]string{}, note.Tags...),
	}
	if note.Trashed {
		row.TrashedAt = new(note.TrashedAt.UnixMilli())
	}
	row.Bytes = row.size() + growth(row.Title, row.TitleFolded) + growth(row.Content, row.ContentFolded)
	return row
}

// importStep imports some notes of the owner's, and counts all of them in done. If the database is
// unavailable for a moment, it retries the notes that were not stored.
func (s *Store) importStep(ctx context.Context, owner string, rows []noteRow, dry bool, done *ImportResult) error {
	const attempts, rest = 5, time.Second
	for n := 1; len(rows) > 0; n++ {
		fresh, err := s.classify(ctx, owner, rows, done)
		if err == nil && dry {
			done.addCreated(fresh...)
			return nil
		}
		if err == nil {
			rows, err = s.importNotes(ctx, fresh, done)
		}
		if err != nil && (n == attempts || !errors.Is(err, ErrUnavailable) || engine.Pause(ctx, rest) != nil) {
			return fmt.Errorf("import notes of %s: %w", owner, err)
		}
	}
	return nil
}

// importNotes creates notes, and returns those that it could not create.
func (s *Store) importNotes(ctx context.Context, rows []noteRow, done *ImportResult) (left []noteRow, failed error) {
	mutations := make([]*mutation, len(rows))
	for i, row := range rows {
		mutations[i] = importMutation(ctx, row)
	}
	for _, m := range mutations {
		s.committerOf(m.owner).add(m)
	}
	for i, m := range mutations {
		switch err := m.outcome(); {
		case err == nil:
			done.addCreated(rows[i])
		case errors.Is(err, ErrExists):
			done.Present++
		case errors.Is(err, ErrDeleted):
			done.Deleted++
		case errors.Is(err, ErrDuplicate):
			done.Foreign = append(done.Foreign, m.id)
		default:
			left, failed = append(left, rows[i]), err
		}
	}
	return left, failed
}

func (done *ImportResult) addCreated(rows ...noteRow) {
	for _, row := range rows {
		done.Notes++
		done.Bytes += row.Bytes
	}
}

// classify returns the notes that are to be created, and counts the others. It looks for the notes
// before the tombstones: a note that is deleted between the two queries has a tombstone.
func (s *Store) classify(
	ctx context.Context, owner string, rows []noteRow, done *ImportResult,
) (fresh []noteRow, err error) {
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	list := toJSON(ids)
	var there []noteRow
	err = s.db.Reader(ctx).Raw(s.notesWithIDs(), list).Scan(&there).Error
	if err != nil {
		return nil, engine.Translate(err)
	}
	var gone []string
	err = s.db.Reader(ctx).Raw(`SELECT note_id FROM tombstones WHERE user_id = ? AND note_id `+s.oneOf("text"), owner,
		list).
		Scan(&gone).Error
	if err != nil {
		return nil, engine.Translate(err)
	}
	trimmedUntil, err := s.trimmedUntil(ctx, owner) // last, to see trims made meanwhile
	if err != nil {
		return nil, engine.Translate(err)
	}
	owners, deleted := make(map[string]string), make(map[string]bool)
	for _, row := range there {
		owners[row.ID] = row.UserID
	}
	for _, id := range gone {
		deleted[id] = true
	}
	for _, row := range rows {
		whose, known := owners[row.ID]
		switch {
		case whose == owner:
			done.Present++
		case known:
			done.Foreign = append(done.Foreign, row.ID)
		case deleted[row.ID]:
			done.Deleted++
		case trimmedUntil != nil && row.CreatedAt <= *trimmedUntil:
			done.Unsure = append(done.Unsure, row.ID)
		default:
			fresh = append(fresh, row)
		}
	}
	return fresh, nil
}

// trimmedUntil returns the time until which owner may have deleted notes whose tombstones were
// trimmed, because there were too many. It returns nil if there is no such time.
func (s *Store) trimmedUntil(ctx context.Context, owner string) (until *int64, err error) {
	err = s.db.Reader(ctx).Raw(`SELECT CASE WHEN count(*) >= ? THEN min(deleted_at) END
		FROM tombstones WHERE user_id = ?`, maxKept, owner).Scan(&until).Error
	return until, err
}

// notesWithIDs returns the query that finds notes by a JSON array of ids. OFFSET 0 makes PostgreSQL
// look each one up, though its statistics may date from the start of the import, when the table was
// small.
func (s *Store) notesWithIDs() string {
	if s.postgres {
		return `SELECT note.* FROM json_array_elements_text(?::json) AS wanted (id)
			CROSS JOIN LATERAL (SELECT id, user_id FROM notes WHERE id = wanted.id OFFSET 0) AS note`
	}
	return `SELECT id, user_id FROM notes WHERE id IN (SELECT value FROM json_each(?))`
}

// importMutation returns the mutation that creates row, whatever the quota, unless checkID
// refuses its id.
func importMutation(ctx context.Context, row noteRow) *mutation {
	m := newMutation(ctx, row.UserID, row.ID, row.Bytes)
	m.fresh, m.mayExist = &row, true
	m.change = func(b *batch, counters *countersRow) (noteRow, error) {
		if err := b.checkID(m); err != nil {
			return noteRow{}, err
		}
		counters.grow(1, row.Bytes)
		return b.create(m, counters.ChangeSeq), nil
	}
	return m
}
