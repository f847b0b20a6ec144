package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"gorm.io/gorm"

	"notesd/store/delta"
	"notesd/store/engine"
)

// trimHistory returns the statement that removes a user's oldest versions, so that those which stay
// count for at most as many bytes as asked. A delta's base is newer than the delta, so the base of
// what stays stays too. owner and target are the engine's placeholders.
func trimHistory(owner, target string) string {
	return fmt.Sprintf(`DELETE FROM note_versions WHERE (note_key, revision) IN (
		SELECT note_key, revision FROM (
			SELECT v.note_key, v.revision,
				sum(%[1]s) OVER (ORDER BY v.at DESC, v.note_key DESC, v.revision DESC) AS newer
			FROM notes AS n JOIN note_versions AS v ON v.note_key = n.key WHERE n.user_id = %[2]s
		) AS v WHERE newer > CAST(%[3]s AS bigint))`, costSQL, owner, target)
}

// countHistory returns the statement that counts a user's history. SQLite needs the owner twice.
func countHistory(owner string) string {
	return fmt.Sprintf(`UPDATE user_counters SET history_bytes = (
		SELECT coalesce(sum(%[1]s), 0) FROM notes AS n JOIN note_versions AS v ON v.note_key = n.key
		WHERE n.user_id = %[2]s) WHERE user_id = %[2]s`, costSQL, owner)
}

// These statements take the history of deleted notes off their owner's count, and come before the
// deletion. A binary that knows no versions deletes without them: then the count is too high until
// the next trim.
var (
	loseHistoryPostgres = fmt.Sprintf(loseHistoryFormat, "ANY ($1::bigint[])", "$2")
	loseHistory         = fmt.Sprintf(loseHistoryFormat, "?", "?")
)

const loseHistoryFormat = `UPDATE user_counters SET history_bytes = history_bytes - (
	SELECT coalesce(sum(` + costSQL + `), 0) FROM note_versions AS v WHERE v.note_key = %s) WHERE user_id = %s`

// losesHistory returns the keys of the deleted notes of an owner who has versions.
func (w writes) losesHistory(c *countersRow) (keys []int64) {
	if c.HistoryBytes == 0 {
		return nil
	}
	for _, state := range w.deleted {
		if state.old.UserID == c.UserID {
			keys = append(keys, state.old.Key)
		}
	}
	return keys
}

// A thinner thins histories.
type thinner struct {
	s       *Store
	now     int64
	history time.Duration
	encoder *delta.Encoder // made when it is needed first
	removed int64          // versions

	incompressible map[int64]bool // revisions of the note whose deltas were no shorter than their texts
}

const (
	// thinnedNotes is how many notes one query finds that are due.
	thinnedNotes = 1000

	// thinnedRows and thinnedBytes bound one transaction of the thinner.
	thinnedRows  = 64
	thinnedBytes = 4 << 20

	// maxDeltas is how many deltas stand between two whole texts at most.
	maxDeltas = 63

	// maxThinningWait is the longest time until thinning looks at a version again. So a shorter history
	// takes effect by then.
	maxThinningWait = 7 * 24 * time.Hour
)

// thinHistories thins all histories that are due, and returns how many versions it removed. A
// history that cannot be thinned stays as it is, and the others are thinned all the same.
func (s *Store) thinHistories(ctx context.Context, history time.Duration) (removed int64, err error) {
	t := thinner{s: s, now: s.now(), history: history}
	tried := make(map[int64]bool)
	var errs []error
	for fresh := true; fresh && ctx.Err() == nil; {
		var due []noteRow
		err := s.db.Reader(ctx).Raw(`SELECT n.key, n.user_id FROM (
				SELECT note_key FROM note_versions WHERE due <= ? GROUP BY note_key ORDER BY min(due) LIMIT ?
			) AS v JOIN notes AS n ON n.key = v.note_key`, hourBefore(t.now), thinnedNotes).Scan(&due).Error
		if err != nil {
			return t.removed, engine.Translate(err)
		}
		fresh = false
		for _, note := range due {
			if tried[note.Key] || ctx.Err() != nil {
				continue
			}
			tried[note.Key], fresh = true, true
			if err := t.thin(ctx, note.UserID, note.Key); err != nil {
				errs = append(errs, fmt.Errorf("note %d: %w", note.Key, engine.Translate(err)))
			}
			if len(errs) == maxThinningErrors {
				return t.removed, errors.Join(errs...)
			}
		}
	}
	return t.removed, errors.Join(append(errs, ctx.Err())...)
}

// maxThinningErrors is how many histories may fail before the rest waits for the next sweep.
const maxThinningErrors = 10

// hourBefore returns the hour since 1970 that a time in milliseconds is in.
func hourBefore(ms int64) int64 { return ms / time.Hour.Milliseconds() }

// thin thins the history of one note, in steps of a transaction each. If something else changes the
// history meanwhile, the rest is left for the next sweep.
func (t *thinner) thin(ctx context.Context, owner string, key int64) error {
	t.incompressible = make(map[int64]bool)
	for {
		step, err := t.plan(ctx, key)
		if err != nil || len(step.rows) == 0 {
			return err
		}
		if err = t.encode(ctx, &step); err == nil {
			err = t.apply(ctx, owner, &step)
		}
		if errors.Is(err, errHistoryChanged) || errors.Is(err, ErrOwnerGone) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

var errHistoryChanged = errors.New("the history has changed meanwhile")

// A historyRow is a version without its text.
type historyRow struct {
	Revision     int64
	At           int64
	Bytes        int64
	Due          int64
	Keep         keep
	Author       string
	BaseRevision *int64
	DeltaBytes   int64
}

// cost is what the row counts for if its delta has so many bytes, or, if it has no base, its text.
func (row *historyRow) cost() int64 {
	if row.BaseRevision != nil {
		return versionCost + row.DeltaBytes
	}
	return versionCost + row.Bytes
}

// A thinStep is what one transaction does to the oldest versions of a note that need it.
type thinStep struct {
	key     int64
	rows    []historyRow // all versions up to the last one of the step, the oldest first
	changes []thinChange // by row
}

// A thinChange is what becomes of a row.
type thinChange struct {
	thinning
	encode bool   // it is stored as a delta against base, or whole if base is 0
	base   int64  // the revision of a version that stays
	delta  []byte // of a row to encode; nil: its text is stored whole
	text   string // of such a row
}

// touches reports whether the change of a row does anything.
func (c *thinChange) touches(row *historyRow) bool {
	return c.goes || c.encode || c.keep != row.Keep || c.due != row.Due
}

// plan decides about a note's history, and returns the next step. If nothing is left to do the step
// has no rows.
func (t *thinner) plan(ctx context.Context, key int64) (thinStep, error) {
	db := t.s.db.Reader(ctx)
	rows, err := readHistory(db, key, math.MaxInt64)
	if err != nil {
		return thinStep{}, err
	}
	// The note comes after its versions: if it changes in between, the last of these is taken to be
	// younger than it is, and stays.
	var present []int64
	if err := db.Raw(`SELECT updated_at FROM notes WHERE key = ?`, key).Scan(&present).Error; err != nil ||
		len(present) == 0 {
		return thinStep{}, err
	}
	versions := make([]thinnable, len(rows))
	for i, row := range rows {
		versions[i] = thinnable{row.At, row.Author, row.Keep}
	}
	decided := thin(versions, present[0], t.now, t.history)
	changes := make([]thinChange, len(rows))
	for i, d := range decided {
		changes[i].thinning = d
		if rows[i].Due > hourBefore(t.now) {
			changes[i].due = rows[i].Due // it is not due yet
		} else {
			changes[i].due = min(d.due, hourAfter(t.now+maxThinningWait.Milliseconds()))
		}
	}
	t.planDeltas(rows, changes)
	return firstStep(key, rows, changes), nil
}

// readHistory reads the versions of a note up to a revision.
func readHistory(db *gorm.DB, key, last int64) (rows []historyRow, err error) {
	err = db.Raw(`SELECT revision, at, bytes, due, keep, author, base_revision,
		coalesce(length(delta), 0) AS delta_bytes FROM note_versions WHERE note_key = ? AND revision <= ?
		ORDER BY revision`, key, last).Scan(&rows).Error
	return rows, err
}

// planDeltas decides how the versions that stay are stored: as deltas against the next one that
// stays, with a whole text after maxDeltas of them. The newest one stays whole.
func (t *thinner) planDeltas(rows []historyRow, changes []thinChange) {
	var stay []int
	for i := range changes {
		if !changes[i].goes {
			stay = append(stay, i)
		}
	}
	// A whole text between two runs of deltas stays whole if the two would make a run too long.
	newer := make([]int, len(stay)) // deltas that follow each one without a whole text between
	for j := len(stay) - 2; j >= 0; j-- {
		if rows[stay[j+1]].BaseRevision != nil {
			newer[j] = newer[j+1] + 1
		}
	}
	older := 0
	for j, i := range stay {
		base := rows[i].BaseRevision
		wants := j < len(stay)-1 && older < maxDeltas && (base != nil || older+1+newer[j] <= maxDeltas) &&
			!t.incompressible[rows[i].Revision]
		if wants {
			older++
			next := rows[stay[j+1]].Revision
			changes[i].encode, changes[i].base = base == nil || *base != next, next
		} else {
			older = 0
			changes[i].encode = base != nil
		}
	}
}

// firstStep returns the step that begins with the oldest version for which there is something to do.
// A version that goes is the base only of older versions, which are stored against others in the
// same step or in one before.
func firstStep(key int64, rows []historyRow, changes []thinChange) thinStep {
	end, touched, bytes := 0, 0, int64(0)
	for i := range rows {
		if !changes[i].touches(&rows[i]) {
			continue
		}
		if changes[i].encode {
			bytes += rows[i].Bytes
		}
		if touched == thinnedRows || touched > 0 && bytes > thinnedBytes {
			break
		}
		touched++
		end = i + 1
	}
	return thinStep{key, rows[:end], changes[:end]}
}

// encode reads the texts of a step and makes its deltas, before the transaction begins. It goes from
// the newest to the oldest, so that a text that was read is the base of the next.
func (t *thinner) encode(ctx context.Context, step *thinStep) error {
	if t.encoder == nil {
		var err error
		if t.encoder, err = delta.NewEncoder(); err != nil {
			return err
		}
	}
	db := t.s.db.Reader(ctx)
	texts := make(map[int64]string, 2) // by revision
	read := func(revision int64) (string, error) {
		if text, found := texts[revision]; found {
			return text, nil
		}
		_, text, err := t.s.readVersion(db, step.key, revision)
		if errors.Is(err, ErrVersionGone) {
			err = errHistoryChanged
		}
		return text, err
	}
	for i := len(step.rows) - 1; i >= 0; i-- {
		row, change := &step.rows[i], &step.changes[i]
		if !change.encode {
			continue
		}
		text, err := read(row.Revision)
		if err != nil {
			return err
		}
		if change.base != 0 {
			base, err := read(change.base)
			if err != nil {
				return err
			}
			if change.delta, err = t.encoder.Encode(text, base); err != nil {
				return err
			}
		}
		if change.base == 0 || len(change.delta) >= len(text) {
			t.incompressible[row.Revision] = true
			change.base, change.delta, change.text = 0, nil, text
			change.encode = row.BaseRevision != nil // otherwise it is stored whole already
		}
		clear(texts)
		texts[row.Revision] = text
	}
	return nil
}

// apply stores a step in one transaction. errHistoryChanged: something else has changed the versions
// since the step was planned, and nothing was stored.
func (t *thinner) apply(ctx context.Context, owner string, step *thinStep) error {
	var removed int64
	err := t.s.db.Write(ctx, func(tx *gorm.DB) error {
		removed = 0
		if err := lockCounters(tx, owner); err != nil {
			return err
		}
		now, err := readHistory(tx, step.key, step.rows[len(step.rows)-1].Revision)
		if err != nil {
			return err
		}
		if !slices.EqualFunc(step.rows, now, sameRow) {
			return errHistoryChanged
		}
		if err := step.requireBases(tx); err != nil {
			return err
		}
		var gone []int64
		var bytes int64
		marks := make(map[thinning][]int64)
		for i := range step.rows {
			row, change := &step.rows[i], &step.changes[i]
			switch {
			case change.goes:
				gone = append(gone, row.Revision)
				bytes -= row.cost()
			case change.encode:
				grown, err := storeEncoded(tx, step.key, row, change)
				if err != nil {
					return err
				}
				bytes += grown
			case change.touches(row):
				marks[change.thinning] = append(marks[change.thinning], row.Revision)
			}
		}
		for mark, revisions := range marks {
			err := tx.Exec(`UPDATE note_versions SET keep = ?, due = ? WHERE note_key = ? AND revision IN ?`,
				mark.keep, mark.due, step.key, revisions).Error
			if err != nil {
				return err
			}
		}
		if len(gone) > 0 {
			err := tx.Exec(`DELETE FROM note_versions WHERE note_key = ? AND revision IN ?`, step.key, gone).Error
			if err != nil {
				return err
			}
		}
		removed = int64(len(gone))
		return tx.Exec(`UPDATE user_counters SET history_bytes = history_bytes + ? WHERE user_id = ?`, bytes,
			owner).Error
	})
	if err == nil {
		t.removed += removed
	}
	return err
}

// requireBases returns errHistoryChanged if a version that is the base of a new delta is not kept any
// more. It may be younger than all versions of the step.
func (step *thinStep) requireBases(tx *gorm.DB) error {
	var bases []int64
	for _, change := range step.changes {
		if change.encode && change.base != 0 {
			bases = append(bases, change.base) // each is the base of one version
		}
	}
	if len(bases) == 0 {
		return nil
	}
	var kept int
	err := tx.Raw(`SELECT count(*) FROM note_versions WHERE note_key = ? AND revision IN ?`, step.key,
		bases).Scan(&kept).Error
	if err == nil && kept < len(bases) {
		err = errHistoryChanged
	}
	return err
}

// sameRow reports whether two rows are the same version in the same form.
func sameRow(a, b historyRow) bool {
	return a.Revision == b.Revision && equal(a.BaseRevision, b.BaseRevision)
}

// storeEncoded stores a version in its new form, and returns by how much that counts for more.
func storeEncoded(tx *gorm.DB, key int64, row *historyRow, change *thinChange) (grown int64, err error) {
	becomes := historyRow{Bytes: row.Bytes, DeltaBytes: int64(len(change.delta))}
	var content, packed any = change.text, nil
	if change.base != 0 {
		becomes.BaseRevision = &change.base
		content, packed = nil, change.delta
	}
	err = tx.Exec(`UPDATE note_versions SET base_revision = ?, delta = ?, content = ?, keep = ?, due = ?
		WHERE note_key = ? AND revision = ?`,
		becomes.BaseRevision, packed, content, change.keep, change.due, key, row.Revision).Error
	return becomes.cost() - row.cost(), err
}
