package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"notesd/notes"
	"notesd/store/delta"
	"notesd/store/engine"
)

// Version returns owner's note as it was at a revision, which may be its present one. Errors:
// ErrNotFound if owner has no such note, ErrVersionGone if the revision is not kept or is yet to
// come.
func (s *Store) Version(ctx context.Context, owner, id string, revision int64) (notes.Version, error) {
	version, err := s.version(ctx, owner, id, revision)
	if err != nil {
		return notes.Version{}, fmt.Errorf("revision %d of note %s: %w", revision, id, engine.Translate(err))
	}
	return version, nil
}

func (s *Store) version(ctx context.Context, owner, id string, revision int64) (notes.Version, error) {
	db := s.db.Reader(ctx)
	now, err := s.readNote(db, s.smallColumns(), owner, id)
	if err != nil {
		return notes.Version{}, err
	}
	if now.Revision == revision {
		return s.presentVersion(db, now)
	}
	was, content, err := s.readVersion(db, now.Key, revision)
	if err != nil {
		return notes.Version{}, err
	}
	return was.note(&now, content)
}

// presentVersion returns the version that a note is, whose smallColumns were read.
func (s *Store) presentVersion(db *gorm.DB, row noteRow) (notes.Version, error) {
	if row.Bytes > largeNote {
		revision := row.Revision
		var err error
		if row, err = s.takeLarge(db, row); err != nil {
			return notes.Version{}, err
		}
		if row.Revision != revision { // it has changed between the two queries
			return s.version(db.Statement.Context, row.UserID, row.ID, revision)
		}
	}
	return notes.Version{Note: row.note(), By: notes.AuthorOf(row.author())}, nil
}

// NoteAt returns owner's note as the newest version that is kept had it at a time. Errors:
// ErrNotFound if there was no such note at the time, ErrVersionGone if none of the versions from
// before the time is kept.
func (s *Store) NoteAt(ctx context.Context, owner, id string, at time.Time) (notes.Version, error) {
	version, err := s.noteAt(ctx, owner, id, at.UnixMilli())
	if err != nil {
		return notes.Version{}, fmt.Errorf("note %s at %s: %w", id, at.UTC().Format(time.RFC3339),
			engine.Translate(err))
	}
	return version, nil
}

func (s *Store) noteAt(ctx context.Context, owner, id string, at int64) (notes.Version, error) {
	db := s.db.Reader(ctx)
	now, err := s.readNote(db, s.smallColumns(), owner, id)
	switch {
	case err != nil:
		return notes.Version{}, err
	case at < now.CreatedAt:
		return notes.Version{}, ErrNotFound
	case at >= now.UpdatedAt:
		return s.presentVersion(db, now)
	}
	var revision *int64
	err = db.Raw(`SELECT max(revision) FROM note_versions WHERE note_key = ? AND at <= ?`, now.Key,
		at).Scan(&revision).Error
	if err != nil {
		return notes.Version{}, err
	}
	if revision == nil {
		return notes.Version{}, ErrVersionGone
	}
	was, content, err := s.readVersion(db, now.Key, *revision)
	if err != nil {
		return notes.Version{}, err
	}
	return was.note(&now, content)
}

// RestoreVersion changes owner's note to what it was at a revision, as its next revision, and
// returns it. What this replaces is kept as long as any history. If the note equals that revision
// already it stays as it is. Errors: as for Version and PatchNote.
func (s *Store) RestoreVersion(
	ctx context.Context, owner, id string, revision int64, preconditions ...Precondition,
) (notes.Note, error) {
	was, err := s.Version(ctx, owner, id, revision)
	if errors.Is(err, ErrVersionGone) {
		return s.replayed(ctx, owner, id, err)
	}
	if err != nil {
		return notes.Note{}, err
	}
	m, err := s.patchMutation(ctx, owner, id, notes.Patch{
		Title: &was.Title, Content: &was.Content, Tags: &was.Tags, SetColor: true, Color: was.Color,
		Pinned:   &was.Pinned,
		Favorite: &was.Favorite, Archived: &was.Archived, Markdown: &was.Markdown, Trashed: &was.Trashed,
	})
	if err != nil {
		return notes.Note{}, fmt.Errorf("restore revision %d of note %s: %w", revision, id, err)
	}
	m.preconditions, m.pins = preconditions, true
	n, err := s.result(m)
	if err != nil {
		return notes.Note{}, fmt.Errorf("restore revision %d of note %s: %w", revision, id, err)
	}
	return n, nil
}

// replayed returns the note if the idempotency key of ctx was used before, and else err.
func (s *Store) replayed(ctx context.Context, owner, id string, err error) (notes.Note, error) {
	m := newMutation(ctx, owner, id, 0)
	s.setKeyOf(ctx, m)
	m.change = func(*batch, *countersRow) (noteRow, error) { return noteRow{}, err }
	return s.result(m)
}

// DeleteVersions deletes the history of owner's note. The note stays as it is. The error is
// ErrNotFound if owner has no such note.
func (s *Store) DeleteVersions(ctx context.Context, owner, id string) error {
	err := s.db.Write(ctx, func(tx *gorm.DB) error {
		if err := lockCounters(tx, owner); errors.Is(err, ErrOwnerGone) {
			return ErrNotFound
		} else if err != nil {
			return err
		}
		var key int64
		if err := tx.Raw(`SELECT key FROM notes WHERE id = ? AND user_id = ?`, id, owner).Take(&key).Error; err != nil {
			return err
		}
		if err := tx.Exec(loseHistory, key, owner).Error; err != nil {
			return err
		}
		return tx.Exec(`DELETE FROM note_versions WHERE note_key = ?`, key).Error
	})
	if err != nil {
		return fmt.Errorf("delete the history of note %s: %w", id, err)
	}
	return nil
}

// A chainedRow is a version of a chain, in which each is a delta against the next. The last is whole.
type chainedRow struct {
	Version    versionRow `gorm:"embedded"`
	DeltaBytes int64
	Fits       bool // the chain is small, so its deltas and its content have been read
}

// readVersion returns a version with its content, or ErrVersionGone. One query reads the version
// and the versions that its delta leads to. If they are large, it reads only their sizes, and
// readLarge reads them.
func (s *Store) readVersion(db *gorm.DB, key, revision int64) (versionRow, string, error) {
	for {
		var rows []chainedRow
		err := db.Raw(`WITH RECURSIVE chain AS (
				SELECT 0 AS depth, note_key, revision, base_revision, bytes, coalesce(length(delta), 0) AS delta_bytes
				FROM note_versions WHERE note_key = ? AND revision = ?
				UNION ALL
				SELECT depth + 1, v.note_key, v.revision, v.base_revision, v.bytes, coalesce(length(v.delta), 0)
				FROM chain JOIN note_versions AS v ON v.note_key = chain.note_key AND v.revision = chain.base_revision
			), size AS (SELECT max(bytes) + sum(delta_bytes) <= ? AS fits FROM chain)
			SELECT v.note_key, v.revision, v.at, v.bytes, v.flags, v.author, v.title, v.tags, v.color, v.trashed_at,
				v.base_revision, CASE WHEN fits THEN v.delta END AS delta, CASE WHEN fits THEN v.content END AS content,
				delta_bytes, fits
			FROM chain JOIN note_versions AS v ON v.note_key = chain.note_key AND v.revision = chain.revision
			CROSS JOIN size ORDER BY depth`, key, revision, largeNote).Scan(&rows).Error
		if err != nil {
			return versionRow{}, "", err
		}
		if len(rows) == 0 {
			return versionRow{}, "", ErrVersionGone
		}
		var content string
		if rows[0].Fits {
			chain := make([]versionRow, len(rows))
			for i, row := range rows {
				chain[i] = row.Version
			}
			content, err = s.decodeChain(chain, nil)
		} else {
			content, err = s.readLarge(db, rows)
		}
		if !errors.Is(err, errHistoryChanged) {
			return rows[0].Version, content, err
		}
	}
}

// readLarge returns the content of the first version of a chain, if reserve grants the memory. At a
// time it reads deltas that are together as long as the longest text. errHistoryChanged: the chain
// is another one by now.
func (s *Store) readLarge(db *gorm.DB, chain []chainedRow) (content string, err error) {
	longest, deltas := int64(0), int64(0)
	for _, row := range chain {
		longest, deltas = max(longest, row.Version.Bytes), deltas+row.DeltaBytes
	}
	// Decoding holds two texts at once.
	if err := reserve(db.Statement.Context)(2*longest + min(longest, deltas)); err != nil {
		return "", err
	}
	var base *string
	for end := len(chain); end > 0; {
		begin, size := end, int64(0)
		var revisions []int64
		for begin > 0 && (begin == end || size+chain[begin-1].DeltaBytes <= longest) {
			begin--
			size += chain[begin].DeltaBytes
			revisions = append(revisions, chain[begin].Version.Revision)
		}
		var part []versionRow // in the order of the chain, because a base is newer
		err := db.Raw(`SELECT note_key, revision, base_revision, delta, content FROM note_versions
			WHERE note_key = ? AND revision IN ? ORDER BY revision`,
			chain[0].Version.NoteKey, revisions).Scan(&part).Error
		if err != nil {
			return "", err
		}
		if !slices.EqualFunc(chain[begin:end], part, func(a chainedRow, b versionRow) bool {
			return a.Version.Revision == b.Revision && equal(a.Version.BaseRevision, b.BaseRevision)
		}) {
			return "", errHistoryChanged
		}
		if content, err = s.decodeChain(part, base); err != nil {
			return "", err
		}
		base, end = &content, begin
	}
	return content, nil
}

// decodeChain returns the content of the first of some versions. Each is a delta against the next.
// The last is whole, or its base has the content base.
func (s *Store) decodeChain(chain []versionRow, base *string) (content string, err error) {
	for i := len(chain) - 1; i >= 0; i-- {
		if content, err = chain[i].decode(&s.deltas, base); err != nil {
			return "", err
		}
		base = &content
	}
	return content, nil
}

// decode returns the version's content. base is that of its base, or nil. A delta that
// cannot be decoded is an error of the database, and never another text.
func (row *versionRow) decode(deltas *delta.Decoder, base *string) (string, error) {
	switch {
	case row.BaseRevision == nil && row.Content != nil:
		return *row.Content, nil
	case row.BaseRevision == nil || base == nil:
		return "", fmt.Errorf("revision %d of note %d: its text is missing", row.Revision, row.NoteKey)
	}
	content, err := deltas.Decode(row.Delta, *base)
	if err != nil {
		return "", fmt.Errorf("revision %d of note %d, against %d: %w", row.Revision, row.NoteKey, *row.BaseRevision,
			err)
	}
	return content, nil
}

// Versions lists the versions of owner's note that are kept, the newest first. The first one is the
// note's present revision. more reports whether older ones follow. ErrNotFound: owner has no such
// note.
func (s *Store) Versions(ctx context.Context, owner, id string, page notes.VersionPage) (
	list []notes.VersionInfo, more bool, err error,
) {
	list, err = s.listVersions(ctx, owner, id, page)
	if err != nil {
		return nil, false, fmt.Errorf("versions of note %s: %w", id, engine.Translate(err))
	}
	if more = len(list) > page.Limit; more {
		list = list[:page.Limit]
	}
	return list, more, nil
}

// listVersions returns a version more than the page has, if there is one.
func (s *Store) listVersions(ctx context.Context, owner, id string, page notes.VersionPage) (
	[]notes.VersionInfo, error,
) {
	db := s.db.Reader(ctx)
	now, err := s.readNote(db, s.smallColumns(), owner, id)
	if err != nil {
		return nil, err
	}
	lister := versionLister{s: s, db: db}
	before := page.Before
	if before <= 0 || before > now.Revision {
		info := notes.VersionInfo{Revision: now.Revision, At: fromMillis(now.UpdatedAt), Bytes: now.octets(),
			Title: now.Title, By: notes.AuthorOf(now.author())}
		if now.Bytes <= largeNote {
			lister.add(info, &now.Content)
		} else {
			info.Bytes = now.Bytes - int64(len(now.Tags))*tagCost // the content was not read
			lister.add(info, nil)
		}
		before = now.Revision
	} else if err := lister.begin(now.Key, before); err != nil {
		return nil, err
	}
	var rows []versionRow
	err = db.Raw(`SELECT v.note_key, v.revision, v.at, v.bytes, v.author, v.title, v.base_revision,
		CASE WHEN v.bytes <= @large AND compared <= @most THEN v.delta END AS delta,
		CASE WHEN v.bytes <= @large AND compared <= @most THEN v.content END AS content
		FROM (
			SELECT note_key, revision,
				sum(CASE WHEN bytes <= @large THEN bytes ELSE 0 END) OVER (ORDER BY revision DESC) AS compared
			FROM (
				SELECT note_key, revision, bytes FROM note_versions WHERE note_key = @key AND revision < @before
				ORDER BY revision DESC LIMIT @limit
			) AS page
		) AS page JOIN note_versions AS v ON v.note_key = page.note_key AND v.revision = page.revision
		ORDER BY v.revision DESC`, map[string]any{
		"large": largeNote, "most": maxCompared, "key": now.Key, "before": before, "limit": page.Limit + 1,
	}).Scan(&rows).Error
	if err != nil {
		return nil, err
	}
	err = lister.addAll(rows)
	return lister.list, err
}

// maxCompared is how many bytes of text one page of versions reads and compares at most.
const maxCompared = 1 << 20

// A versionLister makes a list of versions, one row at a time. It holds two contents beside the rows.
type versionLister struct {
	s    *Store
	db   *gorm.DB
	list []notes.VersionInfo

	newer    *string // content of the last version of the list; nil: it was not read
	revision int64   // its revision

	first         *string // content of the first version of a later page, if that is a delta
	firstRevision int64
}

// begin reads the first content of a page that is not the first. Its base is on the page before.
func (l *versionLister) begin(key, before int64) error {
	var first []versionRow
	err := l.db.Raw(`SELECT revision, bytes, base_revision FROM note_versions WHERE note_key = ? AND revision < ?
		ORDER BY revision DESC LIMIT 1`, key, before).Scan(&first).Error
	if err != nil || len(first) == 0 || first[0].BaseRevision == nil || first[0].Bytes > largeNote {
		return err
	}
	_, content, err := l.s.readVersion(l.db, key, first[0].Revision)
	if errors.Is(err, ErrVersionGone) { // it was removed between the two queries
		return nil
	}
	l.first, l.firstRevision = &content, first[0].Revision
	return err
}

// add adds a version. It compares the one before it in the list, which is newer, with it.
func (l *versionLister) add(info notes.VersionInfo, content *string) {
	if n := len(l.list); n > 0 && l.newer != nil && content != nil {
		change := notes.CompareLines(*content, *l.newer)
		l.list[n-1].Lines = &change
	}
	if info.Revision == 1 && content != nil { // there was nothing before it
		change := notes.CompareLines("", *content)
		info.Lines = &change
	}
	l.newer, l.revision = content, info.Revision
	l.list = append(l.list, info)
}

func (l *versionLister) addAll(rows []versionRow) error {
	for i := range rows {
		content, err := l.content(&rows[i])
		if err != nil {
			return err
		}
		l.add(rows[i].info(), content)
	}
	return nil
}

// content returns the content of a row, or nil if it was not read, or that of its base was not.
func (l *versionLister) content(row *versionRow) (*string, error) {
	switch {
	case row.BaseRevision == nil || row.Delta == nil:
		return row.Content, nil
	case l.newer != nil && l.revision == *row.BaseRevision:
		content, err := row.decode(&l.s.deltas, l.newer)
		return &content, err
	case l.firstRevision == row.Revision:
		return l.first, nil
	}
	return nil, nil
}
