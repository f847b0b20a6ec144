package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"gorm.io/gorm"

	"notesd/store/engine"
)

// commitSQLite commits a batch as one transaction of the one writer. The caller holds the write
// lock. The statements stay prepared.
func (b *batch) commitSQLite(db *gorm.DB) error {
	ctx := db.Statement.Context
	sqlTx, err := engine.Pool(db).BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	over := false
	defer func() {
		if !over {
			_ = sqlTx.Rollback() // the earlier error says more
		}
	}()
	tx := sqliteTx{ctx, sqlTx, b.s}
	b.begin()
	if err := b.readSQLite(tx); err != nil {
		return err
	}
	b.readContent = func(key int64) (content string, err error) {
		_, err = tx.queryRow(`SELECT content FROM notes WHERE key = ?`, []any{key}, &content)
		return content, err
	}
	if err := b.decide(); err != nil {
		return err
	}
	w := b.writes()
	if w.empty() {
		return nil
	}
	if err := w.writeSQLite(tx); err != nil {
		return err
	}
	return b.s.commitInvalidating(w.changes, w.notes, func() error {
		over = true
		return sqlTx.Commit()
	})
}

// sqliteTx is a transaction with the two operations that a batch needs.
type sqliteTx struct {
	ctx context.Context
	tx  *sql.Tx
	s   *Store
}

// queryRow reads the single row of a query, and reports whether there is one.
func (tx sqliteTx) queryRow(query string, args []any, fields ...any) (found bool, err error) {
	tx.s.traceSQL(query, args)
	err = tx.tx.QueryRowContext(tx.ctx, query, args...).Scan(fields...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

func (tx sqliteTx) exec(query string, args ...any) error {
	tx.s.traceSQL(query, args)
	_, err := tx.tx.ExecContext(tx.ctx, query, args...)
	return err
}

// readSQLite reads the rows that the mutations concern, one by one. A round trip costs nothing
// here.
func (b *batch) readSQLite(tx sqliteTx) error {
	for _, owner := range b.owners() {
		row := countersRow{UserID: owner}
		found, err := tx.queryRow(`SELECT change_seq, note_count, note_bytes, quota_notes, quota_bytes,
				history_bytes, quota_history
			FROM user_counters WHERE user_id = ?`, []any{owner},
			&row.ChangeSeq, &row.NoteCount, &row.NoteBytes, &row.QuotaNotes, &row.QuotaBytes,
			&row.HistoryBytes, &row.QuotaHistory)
		if err != nil {
			return err
		}
		if found {
			row.applyDefaults(b.s)
			b.counters[owner] = &row
		}
	}
	owners, ids := b.wantedNotes()
	for i := range ids {
		var row noteRow
		var tags []byte
		found, err := tx.queryRow(`SELECT `+b.s.smallColumns()+` FROM notes WHERE id = ? AND user_id = ?`,
			[]any{ids[i], owners[i]}, row.fields(&tags)...)
		if err == nil && found {
			err = json.Unmarshal(tags, &row.Tags)
			b.addNote(row)
		}
		if err != nil {
			return err
		}
	}
	owners, keys := b.wantedKeys()
	for i := range keys {
		used := usedKey{keyRef: keyRef{owners[i], keys[i]}}
		found, err := tx.queryRow(
			`SELECT body_hash, note_id, created_at FROM idempotency_keys WHERE user_id = ? AND key = ?`,
			[]any{used.owner, used.key}, &used.hash, &used.note, &used.createdAt)
		if err != nil {
			return err
		}
		if found {
			b.keys[used.keyRef] = used
		}
	}
	if err := b.readUsedIDsSQLite(tx); err != nil {
		return err
	}
	return b.reserveKeysSQLite(tx)
}

// readUsedIDsSQLite reads the tombstones of each owner once, however many notes it creates.
func (b *batch) readUsedIDsSQLite(tx sqliteTx) error {
	owners, ids := b.givenIDs()
	if len(ids) == 0 {
		return nil
	}
	var list []byte
	_, err := tx.queryRow(`
		SELECT json_group_array(json_object('Owner', owner, 'ID', id, 'Deleted', json(deleted))) FROM (
			SELECT user_id AS owner, id, 'false' AS deleted FROM notes WHERE id IN (SELECT value FROM json_each(?))
			UNION ALL SELECT user_id, note_id, 'true' FROM tombstones
			WHERE user_id IN (SELECT value FROM json_each(?)) AND note_id IN (SELECT value FROM json_each(?)))`,
		[]any{toJSON(ids), toJSON(owners), toJSON(ids)}, &list)
	if err != nil {
		return err
	}
	var used []usedID
	if err := json.Unmarshal(list, &used); err != nil {
		return err
	}
	for _, u := range used {
		b.addUsedID(u)
	}
	return nil
}

// reserveKeysSQLite reserves the keys that AUTOINCREMENT would give.
func (b *batch) reserveKeysSQLite(tx sqliteTx) error {
	n := b.creates()
	if n == 0 {
		return nil
	}
	var last int64
	if _, err := tx.queryRow(`SELECT seq FROM sqlite_sequence WHERE name = 'notes'`, nil, &last); err != nil {
		return err
	}
	for i := range n {
		b.newKeys = append(b.newKeys, last+1+int64(i))
	}
	return nil
}

// writeSQLite stores w.
func (w writes) writeSQLite(tx sqliteTx) error {
	for _, state := range w.made {
		if err := insertNote(tx, state.row); err != nil {
			return err
		}
	}
	for _, state := range w.updated {
		if err := updateNote(tx, state); err != nil {
			return err
		}
	}
	for _, version := range w.versions {
		if err := tx.exec(insertVersionSQLite, values(keptColumns, version)...); err != nil {
			return err
		}
	}
	for _, c := range w.counters {
		for _, key := range w.losesHistory(c) {
			if err := tx.exec(loseHistory, key, c.UserID); err != nil {
				return err
			}
		}
	}
	for _, state := range w.deleted {
		if err := tx.exec(`DELETE FROM notes WHERE key = ?`, state.old.Key); err != nil {
			return err
		}
	}
	for _, t := range w.tombstones {
		err := tx.exec(`INSERT INTO tombstones (user_id, change_seq, note_id, deleted_at) VALUES (?, ?, ?, ?)`,
			t.userID, t.changeSeq, t.noteID, t.deletedAt)
		if err != nil {
			return err
		}
	}
	for _, used := range w.keys {
		err := tx.exec(`INSERT OR REPLACE INTO idempotency_keys (user_id, key, body_hash, note_id, created_at)
			VALUES (?, ?, ?, ?, ?)`, used.owner, used.key, used.hash, used.note, used.createdAt)
		if err != nil {
			return err
		}
	}
	for _, t := range w.trims {
		if err := tx.exec(t.statement("?", "?"), t.owner, t.owner, maxKept); err != nil {
			return err
		}
	}
	for _, c := range w.counters {
		err := tx.exec(`UPDATE user_counters SET change_seq = ?, note_count = ?, note_bytes = ?,
			history_bytes = history_bytes + ? WHERE user_id = ?`,
			c.ChangeSeq, c.NoteCount, c.NoteBytes, c.historyAdded, c.UserID)
		if err != nil {
			return err
		}
		if target, ok := c.trimsHistory(); ok {
			if err := tx.exec(trimHistory("?", "?"), c.UserID, target); err != nil {
				return err
			}
			if err := tx.exec(countHistory("?"), c.UserID, c.UserID); err != nil {
				return err
			}
		}
	}
	return nil
}

func insertNote(tx sqliteTx, row *noteRow) error {
	if err := tx.exec(insertNoteSQLite, values(storedColumns, row)...); err != nil {
		return err
	}
	err := tx.exec(`INSERT INTO note_search (note_key, content_folded) VALUES (?, ?)`, row.Key, row.ContentFolded)
	if err != nil {
		return err
	}
	return insertTagsSQLite(tx, row)
}

func insertTagsSQLite(tx sqliteTx, row *noteRow) error {
	for i, tag := range row.Tags {
		err := tx.exec(`INSERT INTO note_tags (note_key, position, tag) VALUES (?, ?, ?)`, row.Key, i, tag)
		if err != nil {
			return err
		}
	}
	return nil
}

func updateNote(tx sqliteTx, state *noteState) error {
	row := state.row
	args := make([]any, 0, len(changedColumns)+len(noteTexts)+1)
	for _, c := range changedColumns {
		args = append(args, c.value(row))
	}
	for _, text := range noteTexts {
		args = append(args, text.changed(state))
	}
	err := tx.exec(updateNoteSQLite, append(args, row.Key)...)
	if err != nil {
		return err
	}
	if state.contentChanged() {
		err := tx.exec(`UPDATE note_search SET content_folded = ? WHERE note_key = ?`, row.ContentFolded, row.Key)
		if err != nil {
			return err
		}
	}
	if !state.tagsChanged() {
		return nil
	}
	if err := tx.exec(`DELETE FROM note_tags WHERE note_key = ?`, row.Key); err != nil {
		return err
	}
	return insertTagsSQLite(tx, row)
}
