package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"notesd/merge"
	"notesd/notes"
	"notesd/store/engine"
)

const (
	// keepRenames is how long a rename of tags can be undone.
	keepRenames = 24 * time.Hour
	// resumeRename is how long after its beginning a rename that came to no end is resumed. What it
	// has stored of its notes is kept that much longer.
	resumeRename = time.Hour
	// maxRenames is how many renames of one user can be undone.
	maxRenames = 20
	// renamedAtOnce is how many notes a step of a rename changes: two batches, so that other writes wait
	// for no more.
	renamedAtOnce = 2 * maxBatchMutations
)

// ErrRenameGone: there is no such rename of tags, or it is too long ago to be undone.
var ErrRenameGone = errors.New("rename of tags is not known, or not any more")

// A TagRename is a rename of tags that has come to its end.
type TagRename struct {
	ID      string // for UndoRename
	Changed int64  // notes
}

// RenameTags replaces the tags from by the tag to in all of owner's notes, also in the archive and
// in the trash. A note that gets the tag twice has it once, in the first place. Each note's change
// is one like any other. They are made in steps, so other writes come in between, and after an
// error some notes are changed and some are not: the same call within an hour, or with the same
// idempotency key (see WithIdempotencyKey), goes on with the others, as the same rename. Errors:
// those of CheckRename, ErrQuota, ErrIdempotency, ErrOwnerGone, ErrRenameGone.
func (s *Store) RenameTags(ctx context.Context, owner string, from []string, to string) (TagRename, error) {
	if err := CheckRename(from, to); err != nil {
		return TagRename{}, err
	}
	r, err := s.beginRename(ctx, owner, from, to)
	if err == nil && r.Changed == nil && r.UndoneAt == nil {
		err = s.rename(ctx, &r)
	}
	if err != nil {
		return TagRename{}, fmt.Errorf("rename tags: %w", err)
	}
	result := TagRename{ID: r.ID}
	if r.Changed != nil {
		result.Changed = *r.Changed
	}
	return result, nil
}

// MaxRenamed is how many tags one rename may replace.
const MaxRenamed = 100

// CheckRename returns an *notes.InvalidError if the tags of a rename break a rule, or nil.
func CheckRename(from []string, to string) error {
	var invalid notes.InvalidError
	switch {
	case len(from) == 0:
		invalid.Set("from", "must not be empty")
	case len(from) > MaxRenamed:
		invalid.Set("from", fmt.Sprintf("must be at most %d, are %d", MaxRenamed, len(from)))
	}
	for _, tag := range from {
		if wrong := notes.TagFault(tag); wrong != "" {
			invalid.Set("from", wrong)
		}
	}
	if wrong := notes.TagFault(to); wrong != "" {
		invalid.Set("to", wrong)
	} else if to == "" {
		invalid.Set("to", "must not be empty")
	}
	if invalid.Fields == nil {
		return nil
	}
	return &invalid
}

// UndoRename gives the notes of a rename their tags back, and returns how many notes that changed.
// A note whose tags have changed since keeps these changes, and one that has lost the new tag since
// stays as it is. A rename is undone once: another call returns the same number. Errors:
// ErrRenameGone, ErrQuota, ErrIdempotency, ErrOwnerGone.
func (s *Store) UndoRename(ctx context.Context, owner, id string) (changed int64, err error) {
	r, err := s.beginUndo(ctx, owner, id)
	if err == nil && r.UndoneAt == nil {
		err = s.undo(ctx, &r)
	}
	if err != nil {
		return 0, fmt.Errorf("undo a rename of tags: %w", err)
	}
	return r.Restored, nil
}

// renameRow is a rename as its table stores it.
type renameRow struct {
	ID        string
	UserID    string
	OldTags   []string `gorm:"serializer:json"`
	NewTag    string
	CreatedAt int64 `gorm:"autoCreateTime:false"`
	Changed   *int64
	Restored  int64
	UndoneAt  *int64
}

func (renameRow) TableName() string { return "tag_renames" }

// renamedRow is a note of a rename with the tags that it had before.
type renamedRow struct {
	RenameID  string
	NoteID    string
	Tags      []string `gorm:"serializer:json"`
	CreatedAt int64    `gorm:"autoCreateTime:false"`
}

func (renamedRow) TableName() string { return "renamed_notes" }

// renames reports whether the rename changes these tags.
func (r *renameRow) renames(tags []string) bool {
	return slices.ContainsFunc(tags, func(tag string) bool {
		return tag != r.NewTag && slices.Contains(r.OldTags, tag)
	})
}

// after returns the tags that a note with these tags has after the rename.
func (r *renameRow) after(tags []string) []string {
	if !r.renames(tags) {
		return tags
	}
	renamed, placed := make([]string, 0, len(tags)), false
	for _, tag := range tags {
		if tag != r.NewTag && !slices.Contains(r.OldTags, tag) {
			renamed = append(renamed, tag)
		} else if !placed {
			renamed, placed = append(renamed, r.NewTag), true
		}
	}
	return renamed
}

// restored returns the tags of a note that had the tags before when it was renamed. Changes that
// were made since are kept.
func (r *renameRow) restored(current, before []string) []string {
	after := r.after(before)
	switch {
	case slices.Equal(current, after):
		return before
	case !slices.Contains(current, r.NewTag):
		return current
	}
	tags := merge.Tags(after, current, before)
	if len(tags) > notes.MaxTags {
		return current
	}
	return tags
}

// beginRename stores a new rename, or returns that of an earlier request with the same key, or an
// equal one that has come to no end.
func (s *Store) beginRename(ctx context.Context, owner string, from []string, to string) (r renameRow, err error) {
	fresh := renameRow{ID: NewID(), UserID: owner, OldTags: from, NewTag: to, CreatedAt: s.now()}
	err = s.db.Write(ctx, func(tx *gorm.DB) error {
		if err := lockCounters(tx, owner); err != nil {
			return err
		}
		recent := fresh.CreatedAt - resumeRename.Milliseconds()
		// GORM encodes the tags in the condition as it does in the column.
		var open []renameRow
		err := tx.Where(&renameRow{UserID: owner, OldTags: from, NewTag: to}).
			Where("changed IS NULL AND undone_at IS NULL AND created_at > ?", recent).
			Order("created_at DESC").Limit(1).Find(&open).Error
		if err != nil {
			return err
		}
		wanted := fresh.ID
		if len(open) > 0 {
			wanted = open[0].ID
		}
		id, err := s.claimKey(ctx, tx, owner, wanted)
		if err != nil {
			return err
		}
		if id != fresh.ID {
			if r, err = s.takeRename(tx, owner, id); err != nil || r.Changed != nil {
				return err
			}
			// The time to undo it begins with its end.
			return tx.Exec(`UPDATE tag_renames SET created_at = ?
				WHERE id = ? AND undone_at IS NULL AND created_at > ?`, fresh.CreatedAt, id, recent).Error
		}
		r = fresh
		return tx.Create(&fresh).Error
	})
	if err == nil {
		err = s.trimRenames(ctx, owner)
	}
	return r, err
}

// trimRenames deletes the owner's renames in excess of maxRenames, the oldest. It does so in small
// steps, and other writes run in between. One that still runs ends with ErrRenameGone.
func (s *Store) trimRenames(ctx context.Context, owner string) error {
	var excess []string
	err := s.db.Reader(ctx).Raw(`SELECT id FROM tag_renames WHERE user_id = ? ORDER BY created_at DESC, id DESC
		LIMIT ? OFFSET ?`, owner, sweepBatch, maxRenames).Scan(&excess).Error
	if err != nil {
		return engine.Translate(err)
	}
	for _, id := range excess {
		// No undo may begin that would find only a part of the notes.
		if err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
			return db.Exec("UPDATE tag_renames SET created_at = 0 WHERE id = ?", id).Error
		}); err != nil {
			return err
		}
		for full := true; full; {
			if err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
				done := db.Exec(`DELETE FROM renamed_notes WHERE rename_id = ? AND note_id IN (
					SELECT note_id FROM renamed_notes WHERE rename_id = ? LIMIT ?)`, id, id, sweepBatch)
				full = done.RowsAffected == sweepBatch
				return done.Error
			}); err != nil {
				return err
			}
		}
		if err := s.db.WriteOne(ctx, func(db *gorm.DB) error {
			return db.Exec("DELETE FROM tag_renames WHERE id = ?", id).Error
		}); err != nil {
			return err
		}
	}
	return nil
}

// beginUndo returns the rename to undo.
func (s *Store) beginUndo(ctx context.Context, owner, id string) (r renameRow, err error) {
	err = s.db.Write(ctx, func(tx *gorm.DB) error {
		if err := lockCounters(tx, owner); err != nil {
			return err
		}
		if r, err = s.takeRename(tx, owner, id); err != nil {
			return err
		}
		claimed, err := s.claimKey(ctx, tx, owner, id)
		if err == nil && claimed != id {
			err = ErrIdempotency
		}
		return err
	})
	return r, err
}

func (s *Store) takeRename(tx *gorm.DB, owner, id string) (r renameRow, err error) {
	err = tx.Where("id = ? AND user_id = ? AND created_at > ?", id, owner, s.now()-keepRenames.Milliseconds()).
		Take(&r).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return r, ErrRenameGone
	}
	return r, err
}

// claimKey uses the idempotency key of ctx, if it has one, for the request whose result has the id.
// If the key was used before, it returns the id of that request's result. The owner's counters are
// locked.
func (s *Store) claimKey(ctx context.Context, tx *gorm.DB, owner, id string) (string, error) {
	of, ok := ctx.Value(idempotencyKey{}).(idempotency)
	if !ok || of.key == "" {
		return id, nil
	}
	var used []struct {
		BodyHash  []byte
		NoteID    string
		CreatedAt int64
	}
	err := tx.Raw(`SELECT body_hash, note_id, created_at FROM idempotency_keys
		WHERE user_id = ? AND key = ?`, owner, of.key).Scan(&used).Error
	if err != nil {
		return "", err
	}
	now := s.now()
	if len(used) > 0 && used[0].CreatedAt > now-keepIdempotencyKeys.Milliseconds() {
		if !bytes.Equal(used[0].BodyHash, of.hash) {
			return "", ErrIdempotency
		}
		return used[0].NoteID, nil
	}
	err = tx.Exec(`INSERT INTO idempotency_keys (user_id, key, body_hash, note_id, created_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (user_id, key) DO UPDATE SET body_hash = excluded.body_hash, note_id = excluded.note_id,
			created_at = excluded.created_at`, owner, of.key, append([]byte{}, of.hash...), id, now).Error
	if err != nil || !s.trims() {
		return id, err
	}
	trim := trimKeys(owner).statement("@owner", "@most")
	return id, tx.Exec(trim, map[string]any{"owner": owner, "most": maxKept}).Error
}

// rename changes the notes, and stores how many.
func (s *Store) rename(ctx context.Context, r *renameRow) error {
	var keys []int64
	err := s.db.Reader(ctx).Raw(`SELECT key FROM notes WHERE user_id = ? AND EXISTS (
		SELECT 1 FROM note_tags WHERE note_key = key AND tag IN ? AND tag <> ?) ORDER BY key`,
		r.UserID, r.OldTags, r.NewTag).Scan(&keys).Error
	if err != nil {
		return engine.Translate(err)
	}
	ctx = oneAtATime(ctx)
	for page := range slices.Chunk(keys, renamedAtOnce) {
		for len(page) > 0 {
			if page, err = s.renameSome(ctx, r, page); err != nil {
				return err
			}
		}
	}
	return s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Raw(`UPDATE tag_renames SET changed = (SELECT count(*) FROM renamed_notes WHERE rename_id = id)
			WHERE id = ? RETURNING changed`, r.ID).Scan(&r.Changed).Error
	})
}

// taggedNote is what a rename reads of a note.
type taggedNote struct {
	Key      int64
	ID       string
	Revision int64
	Tags     []string `gorm:"serializer:json"`
}

func (s *Store) taggedNotes(ctx context.Context, owner, condition string, in any) (found []taggedNote, err error) {
	err = s.db.Reader(ctx).Raw(`SELECT key, id, revision, `+s.tagList()+` FROM notes WHERE user_id = ? AND `+condition,
		owner, in).Scan(&found).Error
	return found, engine.Translate(err)
}

// renameSome changes the notes with the keys. It returns the keys of those that others have changed
// meanwhile. What a note had before is stored first, so that it is known however this ends.
func (s *Store) renameSome(ctx context.Context, r *renameRow, keys []int64) (again []int64, err error) {
	found, err := s.taggedNotes(ctx, r.UserID, "key IN ?", keys)
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(n taggedNote) bool { return !r.renames(n.Tags) })
	if len(found) == 0 {
		return nil, nil
	}
	before := make([]renamedRow, len(found))
	for i, n := range found {
		before[i] = renamedRow{r.ID, n.ID, n.Tags, r.CreatedAt}
	}
	err = s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "rename_id"}, {Name: "note_id"}},
			DoUpdates: clause.AssignmentColumns([]string{"tags"})}).Create(&before).Error
	})
	if errors.Is(err, ErrOwnerGone) { // of the rows: newer renames have pushed this one out
		err = ErrRenameGone
	}
	if err != nil {
		return nil, err
	}
	outcomes := s.setTags(ctx, r.UserID, found, func(n taggedNote) []string { return r.after(n.Tags) })
	var untouched []string
	for i, n := range found {
		switch failed := outcomes[i]; {
		case failed == nil:
			continue
		case errors.Is(failed, ErrChanged):
			// Its row stays: the same rename, sent twice, may have changed the note in its other run.
			again = append(again, n.Key)
			continue
		case errors.Is(failed, ErrQuota):
			err = failed
		case !errors.Is(failed, ErrNotFound): // the note may be changed all the same
			err = failed
			continue
		}
		untouched = append(untouched, n.ID)
	}
	if len(untouched) > 0 {
		err = errors.Join(err, s.db.WriteOne(ctx, func(db *gorm.DB) error {
			return db.Where("rename_id = ? AND note_id IN ?", r.ID, untouched).Delete(&renamedRow{}).Error
		}))
	}
	return again, err
}

// setTags gives each note the tags that tagsOf returns, unless it has changed since it was read. It
// returns the notes' errors.
func (s *Store) setTags(
	ctx context.Context, owner string, found []taggedNote, tagsOf func(taggedNote) []string,
) []error {
	mutations, outcomes := make([]*mutation, len(found)), make([]error, len(found))
	for i, n := range found {
		tags := tagsOf(n)
		m := s.editMutation(ctx, owner, n.ID, 0, func(row *noteRow, _ int64) { row.Tags = tags })
		m.preconditions = []Precondition{{NamesRevision: true,
			Holds: func(revision int64, _ time.Time) bool { return revision == n.Revision }}}
		mutations[i] = m
	}
	if err := errors.Join(ctx.Err(), s.db.Usable()); err != nil {
		for i := range outcomes {
			outcomes[i] = err
		}
		return outcomes
	}
	s.committerOf(owner).add(mutations...)
	for i, m := range mutations {
		outcomes[i] = m.outcome()
	}
	return outcomes
}

// undo changes the notes back, and stores how many.
func (s *Store) undo(ctx context.Context, r *renameRow) error {
	ctx = oneAtATime(ctx)
	for after := ""; ; {
		var page []renamedRow
		err := s.db.Reader(ctx).Where("rename_id = ? AND note_id > ?", r.ID, after).Order("note_id").
			Limit(renamedAtOnce).Find(&page).Error
		if err != nil {
			return engine.Translate(err)
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1].NoteID
		before := make(map[string][]string, len(page))
		for _, row := range page {
			before[row.NoteID] = row.Tags
		}
		for len(before) > 0 {
			if err := s.undoSome(ctx, r, before); err != nil {
				return err
			}
		}
	}
	return s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Raw("UPDATE tag_renames SET undone_at = ? WHERE id = ? RETURNING restored", s.now(), r.ID).
			Scan(&r.Restored).Error
	})
}

// undoSome changes back the notes of before, which has the tags by the notes' ids. It removes the
// notes from before, except those that others have changed meanwhile.
func (s *Store) undoSome(ctx context.Context, r *renameRow, before map[string][]string) error {
	ids := make([]string, 0, len(before))
	for id := range before {
		ids = append(ids, id)
	}
	found, err := s.taggedNotes(ctx, r.UserID, "id IN ?", ids)
	if err != nil {
		return err
	}
	left := make(map[string]bool)
	found = slices.DeleteFunc(found, func(n taggedNote) bool {
		return slices.Equal(n.Tags, r.restored(n.Tags, before[n.ID]))
	})
	outcomes := s.setTags(ctx, r.UserID, found, func(n taggedNote) []string { return r.restored(n.Tags, before[n.ID]) })
	restored := 0
	for i, n := range found {
		switch failed := outcomes[i]; {
		case failed == nil:
			restored++
		case errors.Is(failed, ErrChanged):
			left[n.ID] = true
		case !errors.Is(failed, ErrNotFound):
			err = failed
		}
	}
	for _, id := range ids {
		if !left[id] {
			delete(before, id)
		}
	}
	if restored == 0 {
		return err
	}
	return errors.Join(err, s.db.WriteOne(ctx, func(db *gorm.DB) error {
		return db.Exec("UPDATE tag_renames SET restored = restored + ? WHERE id = ?", restored, r.ID).Error
	}))
}

// oneAtATime returns a context for changes of many notes: without the idempotency key of the
// request, which is not that of each change, and with memory for one large note, because an owner's
// large notes are changed one after another.
func oneAtATime(ctx context.Context) context.Context {
	var mu sync.Mutex // guards granted
	granted, more := int64(0), reserve(ctx)
	ctx = context.WithValue(ctx, idempotencyKey{}, nil)
	return WithReserve(ctx, func(bytes int64) error {
		mu.Lock()
		defer mu.Unlock()
		if bytes <= granted {
			return nil
		}
		growth := max(bytes-granted, largeNote+1) // what is smaller would not be counted
		if err := more(growth); err != nil {
			return err
		}
		granted += growth
		return nil
	})
}
