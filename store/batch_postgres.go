package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"

	"notesd/notes"
	"notesd/store/engine"
)

// commitPostgres commits a batch in two round trips. The first one locks and reads the rows, and
// the second one writes them.
func (b *batch) commitPostgres(db *gorm.DB) error {
	ctx := db.Statement.Context
	conn, err := engine.Pool(db).Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var outcome error
	err = conn.Raw(func(driverConn any) error {
		wire := engine.PgxConn(driverConn)
		defer engine.RollBack(wire)
		outcome = b.commitOn(ctx, wire)
		return nil
	})
	return cmp.Or(outcome, err)
}

func (b *batch) commitOn(ctx context.Context, conn *pgx.Conn) error {
	b.begin()
	if made, err := b.createAtOnce(ctx, conn); made || err != nil {
		return err
	}
	if err := b.readPostgres(ctx, conn); err != nil {
		return err
	}
	b.readContent = func(key int64) (content string, err error) {
		err = conn.QueryRow(ctx, `SELECT content FROM notes WHERE key = $1`, key).Scan(&content)
		return content, err
	}
	if err := b.decide(); err != nil {
		return err
	}
	w := b.writes()
	if w.empty() {
		return nil // the transaction is rolled back
	}
	err := b.s.commitInvalidating(w.changes, w.notes, func() error { return b.send(ctx, conn, b.writePostgres(w)) })
	b.outcomeUnknown = b.s.outcomeUnknown(err)
	return err
}

// createAtOnce commits a batch that is a single create and waits for no lock. It uses one
// statement, which takes half the time. It reports whether the note was created. If it was not, and
// there is no error, something prevents it, and the usual two round trips find out what.
func (b *batch) createAtOnce(ctx context.Context, conn *pgx.Conn) (made bool, err error) {
	m := b.mutations[0]
	if len(b.mutations) > 1 || m.fresh == nil || m.mayExist || m.trims || b.waits {
		return false, nil
	}
	row := *m.fresh
	changes := []Change{{Owner: m.owner, Note: m.id, Revision: row.Revision}}
	before, after := b.s.createAnnouncement(changes[0])
	statements := &pgx.Batch{}
	statements.Queue(createStatement, row.UserID, row.Bytes, m.key, m.hash, row.ID, row.CreatedAt,
		row.IsPinned, row.IsFavorite, row.IsArchived, row.IsMarkdown, row.Revision, row.Color,
		row.Title, row.TitleFolded,
		row.Content, row.ContentFolded, row.Tags, b.s.quotaNotes, b.s.quotaBytes, noteCost, before, after,
		m.author).QueryRow(
		func(found pgx.Row) error {
			err := found.Scan(&row.Key, &row.ChangeSeq, nil)
			made, changes[0].Seq = err == nil, row.ChangeSeq
			if errors.Is(err, pgx.ErrNoRows) {
				return nil
			}
			return err
		})
	notes := func() []notes.Note {
		if !made {
			return nil
		}
		return []notes.Note{row.note()}
	}
	err = b.s.commitInvalidating(changes, notes, func() error { return b.send(ctx, conn, statements) })
	b.outcomeUnknown = b.s.outcomeUnknown(err)
	if errors.Is(engine.Translate(err), ErrDuplicate) { // the idempotency key was used before
		return false, nil
	}
	m.note = row
	return made, err
}

// createStatement does a whole create. It does nothing if another transaction holds the owner's
// counters, if the owner is gone, or if the quota has no room. It fails if the idempotency key was
// used before. Like every write it begins with the counters. It announces the note if it makes it.
const createStatement = `WITH counted AS (
		UPDATE user_counters
		SET change_seq = change_seq + 1, note_count = note_count + 1, note_bytes = note_bytes + $2::bigint
		WHERE user_id = (SELECT user_id FROM user_counters WHERE user_id = $1 FOR UPDATE SKIP LOCKED)
			AND note_count < COALESCE(quota_notes, $18::bigint, note_count + 1)
			AND note_bytes + $2::bigint + (note_count + 1) * $20::bigint
				<= COALESCE(quota_bytes, $19::bigint, 9223372036854775807)
		RETURNING user_id, change_seq
	), claimed AS (
		INSERT INTO idempotency_keys (user_id, key, body_hash, note_id, created_at)
		SELECT user_id, $3::text, $4::bytea, $5::text, $6::bigint FROM counted WHERE $3::text <> ''
	), note AS (
		INSERT INTO notes (id, user_id, is_pinned, is_favorite, is_archived, is_markdown, is_trashed,
			created_at, updated_at, revision, change_seq, bytes, color, title, title_folded, content,
			author, author_revision)
		SELECT $5::text, user_id, $7::boolean, $8::boolean, $9::boolean, $10::boolean, false,
			$6::bigint, $6::bigint, $11::bigint, change_seq, $2::bigint, $12::text, $13::text, $14::text, $15::text,
			$23::text, $11::bigint
		FROM counted
		RETURNING key, change_seq
	), search AS (
		INSERT INTO note_search (note_key, content_folded) SELECT key, $16::text FROM note
	), tags AS (
		INSERT INTO note_tags (note_key, position, tag)
		SELECT key, position - 1, tag FROM note, unnest($17::text[]) WITH ORDINALITY AS list (tag, position)
	)
	SELECT key, change_seq, CASE WHEN $21::text IS NOT NULL
		THEN pg_notify('notesd', $21::text || change_seq || $22::text) END FROM note`

// maxArguments is the largest number of arguments of a batch's statements: createStatement and
// insertNotesPostgres have the most.
const maxArguments = 24

// overwriteArguments ends a batch whose statements carry large texts: new ones, or those of the
// versions that it replaces. A connection of pgx (v5.12.0) keeps the
// arguments of earlier statements until later ones overwrite them. Without this statement an idle
// connection would keep them in memory for hours.
var overwriteArguments = func() string {
	places := make([]string, maxArguments)
	for i := range places {
		places[i] = fmt.Sprintf("$%d::text", i+1)
	}
	return "SELECT " + strings.Join(places, ", ")
}()

// send sends a pipeline and reads its results.
func (b *batch) send(ctx context.Context, conn *pgx.Conn, statements *pgx.Batch) error {
	size := 0
	for _, statement := range statements.QueuedQueries {
		b.s.traceSQL(statement.SQL, statement.Arguments)
		size += textBytes(statement.Arguments)
	}
	if size > largeMutation {
		statements.Queue(overwriteArguments, make([]any, maxArguments)...)
	}
	return conn.SendBatch(ctx, statements).Close()
}

// textBytes returns the length of the texts among a statement's arguments.
func textBytes(args []any) (n int) {
	for _, arg := range args {
		switch texts := arg.(type) {
		case string:
			n += len(texts)
		case []string:
			for _, text := range texts {
				n += len(text)
			}
		case []*string:
			for _, text := range texts {
				if text != nil {
					n += len(*text)
				}
			}
		}
	}
	return n
}

// readPostgres locks the counters and reads the rows that the mutations concern. Each statement
// sees what was committed when it began. While an owner's counters are locked no other transaction
// changes that owner's notes, so what is read stays current.
func (b *batch) readPostgres(ctx context.Context, conn *pgx.Conn) error {
	statements := &pgx.Batch{}
	statements.Queue("begin isolation level read committed")
	lock := `SELECT user_id, change_seq, note_count, note_bytes, quota_notes, quota_bytes, history_bytes, quota_history
		FROM user_counters WHERE user_id = ANY ($1::text[]) ORDER BY user_id FOR UPDATE`
	if !b.waits {
		lock += ` SKIP LOCKED`
	}
	statements.Queue(lock, b.owners()).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var row countersRow
			err := rows.Scan(&row.UserID, &row.ChangeSeq, &row.NoteCount, &row.NoteBytes, &row.QuotaNotes,
				&row.QuotaBytes,
				&row.HistoryBytes, &row.QuotaHistory)
			if err != nil {
				return err
			}
			row.applyDefaults(b.s)
			b.counters[row.UserID] = &row
		}
		return rows.Err()
	})
	// OFFSET 0 keeps the planner from scanning a whole table. Its statistics may date from when the
	// table was small.
	if owners, ids := b.wantedNotes(); len(ids) > 0 {
		statements.Queue(`SELECT note.* FROM (`+unnest("user_id text", "id text")+`) AS wanted CROSS JOIN LATERAL (
				SELECT `+b.s.smallColumns()+` FROM notes WHERE id = wanted.id AND user_id = wanted.user_id OFFSET 0
			) AS note`, owners, ids).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var row noteRow
				if err := rows.Scan(row.fields(&row.Tags)...); err != nil {
					return err
				}
				b.addNote(row)
			}
			return rows.Err()
		})
	}
	if owners, keys := b.wantedKeys(); len(keys) > 0 {
		statements.Queue(`SELECT used.* FROM (`+unnest("user_id text", "key text")+`) AS wanted
			CROSS JOIN LATERAL (
				SELECT user_id, key, body_hash, note_id, created_at FROM idempotency_keys
				WHERE user_id = wanted.user_id AND key = wanted.key OFFSET 0
			) AS used`, owners, keys).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var used usedKey
				if err := rows.Scan(&used.owner, &used.key, &used.hash, &used.note, &used.createdAt); err != nil {
					return err
				}
				b.keys[used.keyRef] = used
			}
			return rows.Err()
		})
	}
	if owners, ids := b.givenIDs(); len(ids) > 0 {
		statements.Queue(`SELECT taken.*, false FROM unnest($1::text[]) AS given (id) CROSS JOIN LATERAL (
				SELECT user_id, id FROM notes WHERE id = given.id OFFSET 0
			) AS taken
			UNION ALL SELECT gone.*, true FROM unnest($2::text[]) AS owner (id) CROSS JOIN LATERAL (
				SELECT user_id, note_id FROM tombstones WHERE user_id = owner.id AND note_id = ANY ($1::text[]) OFFSET 0
			) AS gone`, ids, owners).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var used usedID
				if err := rows.Scan(&used.Owner, &used.ID, &used.Deleted); err != nil {
					return err
				}
				b.addUsedID(used)
			}
			return rows.Err()
		})
	}
	if n := b.creates(); n > 0 {
		keys := statements.Queue(`SELECT nextval('notes_key_seq') FROM generate_series(1, $1::int)`, n)
		keys.Query(func(rows pgx.Rows) (err error) {
			b.newKeys, err = pgx.CollectRows(rows, pgx.RowTo[int64])
			return err
		})
	}
	return b.send(ctx, conn, statements)
}

// writePostgres returns the statements that store w, and the COMMIT.
//
// The LIMITs limit nothing. They make the planner expect few rows, so that it looks each up by its
// key.
func (b *batch) writePostgres(w writes) *pgx.Batch {
	statements := &pgx.Batch{}
	tagsChanged := w.insertNotes(statements)
	tagsChanged = append(tagsChanged, w.updateNotes(statements)...)
	insertTags(statements, tagsChanged)
	if len(w.versions) > 0 {
		statements.Queue(insertVersionsPostgres, arrays(keptColumns, w.versions)...)
	}
	if len(w.deleted) > 0 {
		for _, c := range w.counters {
			if keys := w.losesHistory(c); len(keys) > 0 {
				statements.Queue(loseHistoryPostgres, keys, c.UserID)
			}
		}
		statements.Queue(`DELETE FROM notes USING (`+unnest("key bigint")+` LIMIT $2) AS gone
			WHERE notes.key = gone.key`, column(w.deleted, (*noteState).key), len(w.deleted))
	}
	if len(w.tombstones) > 0 {
		statements.Queue(`INSERT INTO tombstones (user_id, change_seq, note_id, deleted_at) `+
			unnest("user_id text", "change_seq bigint", "note_id text", "deleted_at bigint"),
			column(w.tombstones, func(t tombstoneRow) string { return t.userID }),
			column(w.tombstones, func(t tombstoneRow) int64 { return t.changeSeq }),
			column(w.tombstones, func(t tombstoneRow) string { return t.noteID }),
			column(w.tombstones, func(t tombstoneRow) int64 { return t.deletedAt }))
	}
	if len(w.keys) > 0 {
		statements.Queue(`INSERT INTO idempotency_keys (user_id, key, body_hash, note_id, created_at) `+
			unnest("user_id text", "key text", "body_hash bytea", "note_id text", "created_at bigint")+`
			ON CONFLICT (user_id, key) DO UPDATE
			SET body_hash = excluded.body_hash, note_id = excluded.note_id, created_at = excluded.created_at`,
			column(w.keys, func(k usedKey) string { return k.owner }),
			column(w.keys, func(k usedKey) string { return k.key }),
			column(w.keys, func(k usedKey) []byte { return k.hash }),
			column(w.keys, func(k usedKey) string { return k.note }),
			column(w.keys, func(k usedKey) int64 { return k.createdAt }))
	}
	for _, t := range w.trims {
		statements.Queue(t.statement("$1", "$2"), t.owner, maxKept)
	}
	statements.Queue(`UPDATE user_counters AS c
		SET change_seq = counted.change_seq, note_count = counted.note_count, note_bytes = counted.note_bytes,
			history_bytes = c.history_bytes + counted.history_added
		FROM (`+unnest("user_id text", "change_seq bigint", "note_count bigint", "note_bytes bigint",
		"history_added bigint")+` LIMIT $6) AS counted
		WHERE c.user_id = counted.user_id`,
		column(w.counters, func(c *countersRow) string { return c.UserID }),
		column(w.counters, func(c *countersRow) int64 { return c.ChangeSeq }),
		column(w.counters, func(c *countersRow) int64 { return c.NoteCount }),
		column(w.counters, func(c *countersRow) int64 { return c.NoteBytes }),
		column(w.counters, func(c *countersRow) int64 { return c.historyAdded }), len(w.counters))
	for _, c := range w.counters {
		if target, ok := c.trimsHistory(); ok {
			statements.Queue(trimHistory("$1", "$2"), c.UserID, target)
			statements.Queue(countHistory("$1"), c.UserID)
		}
	}
	if sql, args, ok := b.s.announcement(w.changes); ok {
		statements.Queue(sql, args...)
	}
	statements.Queue("commit")
	return statements
}

// insertNotes adds the statements that store new notes. It returns the notes whose tags are still
// to be stored.
func (w writes) insertNotes(statements *pgx.Batch) []*noteState {
	if len(w.made) == 0 {
		return nil
	}
	rows := rowsOf(w.made)
	statements.Queue(insertNotesPostgres, arrays(storedColumns, rows)...)
	statements.Queue(`INSERT INTO note_search (note_key, content_folded) `+unnest("key bigint", "content_folded text"),
		column(rows, func(r *noteRow) int64 { return r.Key }),
		column(rows, func(r *noteRow) string { return r.ContentFolded }))
	return w.made
}

// updateNotes adds the statements that store changed notes. Of the texts it stores only those that
// have changed. If the tags of a note have changed it deletes the stored ones, and returns the note
// so that its present tags are stored.
func (w writes) updateNotes(statements *pgx.Batch) (tagsChanged []*noteState) {
	if len(w.updated) == 0 {
		return nil
	}
	rows := rowsOf(w.updated)
	args := []any{column(rows, func(r *noteRow) int64 { return r.Key })}
	for _, c := range changedColumns {
		args = append(args, c.values(rows))
	}
	for _, text := range noteTexts {
		args = append(args, column(w.updated, text.changed))
	}
	statements.Queue(updateNotesPostgres, append(args, len(rows))...)
	if contentChanged := rowsOf(filter(w.updated, (*noteState).contentChanged)); len(contentChanged) > 0 {
		statements.Queue(`UPDATE note_search SET content_folded = becomes.content_folded
			FROM (`+unnest("key bigint", "content_folded text")+` LIMIT $3) AS becomes
			WHERE note_key = becomes.key`,
			column(contentChanged, func(r *noteRow) int64 { return r.Key }),
			column(contentChanged, func(r *noteRow) string { return r.ContentFolded }), len(contentChanged))
	}
	tagsChanged = filter(w.updated, (*noteState).tagsChanged)
	if len(tagsChanged) > 0 {
		statements.Queue(`DELETE FROM note_tags
			USING (`+unnest("key bigint")+` LIMIT $2) AS retagged
			WHERE note_key = retagged.key`, column(tagsChanged, (*noteState).key), len(tagsChanged))
	}
	return tagsChanged
}

// insertTags adds the statement that stores the tags of notes that have no stored tags.
func insertTags(statements *pgx.Batch, states []*noteState) {
	var keys []int64
	var positions []int32
	var tags []string
	for _, state := range states {
		for i, tag := range state.row.Tags {
			keys, positions, tags = append(keys, state.row.Key), append(positions, int32(i)), append(tags, tag)
		}
	}
	if len(tags) > 0 {
		statements.Queue(`INSERT INTO note_tags (note_key, position, tag) `+
			unnest("note_key bigint", "position integer", "tag text"), keys, positions, tags)
	}
}

// unnest returns a SELECT whose arguments are the arrays of the columns, each a name and a type. The
// function is in the list of the SELECT, because PostgreSQL would store the rows of a function in
// FROM, and do so for each of several arrays.
func unnest(columns ...string) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		name, kind, _ := strings.Cut(c, " ")
		list[i] = fmt.Sprintf("unnest($%d::%s[]) AS %s", i+1, kind, name)
	}
	return "SELECT " + strings.Join(list, ", ")
}

// column returns one value of each row, for unnest.
func column[R, T any](rows []R, value func(R) T) []T {
	values := make([]T, len(rows))
	for i, row := range rows {
		values[i] = value(row)
	}
	return values
}
