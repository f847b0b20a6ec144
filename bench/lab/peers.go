package lab

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A peer is a database's own full-text search over the notes of the first user.
type peer struct {
	name  string
	find  func(ctx context.Context, words string) (int, error)
	close func() error
}

// newPeer makes the peer's index in a database that has been filled.
func newPeer(ctx context.Context, d *grownDatabase) (*peer, error) {
	if d.engine == "PostgreSQL" {
		return newTSVectorPeer(ctx, d)
	}
	return newFTS5Peer(ctx, d)
}

func newFTS5Peer(ctx context.Context, d *grownDatabase) (*peer, error) {
	db, err := sql.Open("sqlite", "file:"+d.database+"?_pragma=cache_size(-64000)&_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // this connection has the cache
	for _, statement := range []string{
		`CREATE VIRTUAL TABLE peer USING fts5(title, content, tags,
			tokenize = "unicode61 remove_diacritics 0 categories 'L* N* Co M*'")`,
		`INSERT INTO peer (rowid, title, content, tags)
			SELECT key, title_folded, content_folded,
				coalesce((SELECT group_concat(tag, ' ') FROM note_tags WHERE note_tags.note_key = key), '')
			FROM notes JOIN note_search ON note_search.note_key = key
			WHERE user_id = '` + d.ids[0] + `' AND NOT is_trashed AND NOT is_archived`,
		"INSERT INTO peer (peer) VALUES ('optimize')",
		"PRAGMA wal_checkpoint(TRUNCATE)",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	find, err := db.PrepareContext(ctx, `SELECT notes.id, notes.title, notes.content, found.title, found.excerpt
		FROM (SELECT rowid AS key, rank, highlight(peer, 0, '<', '>') AS title,
				snippet(peer, 1, '<', '>', '…', 32) AS excerpt
			FROM peer WHERE peer MATCH ? AND rank MATCH 'bm25(10.0, 1.0, 5.0)' ORDER BY rank LIMIT 50) AS found
		JOIN notes USING (key) ORDER BY found.rank`)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &peer{"FTS5", func(ctx context.Context, words string) (n int, err error) {
		rows, err := find.QueryContext(ctx, words)
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		return readFound(rows)
	}, func() error { return errors.Join(find.Close(), db.Close()) }}, nil
}

// readFound reads all notes that a peer has found, and returns their number.
func readFound(rows interface {
	Next() bool
	Scan(into ...any) error
	Err() error
}) (n int, err error) {
	for ; rows.Next(); n++ {
		var id, title, content, marked, excerpt string
		if err := rows.Scan(&id, &title, &content, &marked, &excerpt); err != nil {
			return 0, err
		}
	}
	return n, rows.Err()
}

func newTSVectorPeer(ctx context.Context, d *grownDatabase) (*peer, error) {
	db, err := pgx.Connect(ctx, d.database)
	if err != nil {
		return nil, err
	}
	closeAll := func() error { return db.Close(context.WithoutCancel(ctx)) }
	for _, statement := range []string{
		`CREATE TABLE peer AS SELECT key, title_folded AS title, content_folded AS content,
				setweight(to_tsvector('simple', title_folded), 'A') || to_tsvector('simple', content_folded) ||
				setweight(to_tsvector('simple', coalesce((SELECT string_agg(tag, ' ') FROM note_tags
					WHERE note_tags.note_key = key), '')), 'B') AS words
			FROM notes JOIN note_search ON note_search.note_key = key
			WHERE user_id = '` + d.ids[0] + `' AND NOT is_trashed AND NOT is_archived`,
		"ALTER TABLE peer ADD PRIMARY KEY (key)",
		"CREATE INDEX ON peer USING gin (words)",
		"VACUUM ANALYZE peer",
	} {
		if _, err := db.Exec(ctx, statement); err != nil {
			return nil, errors.Join(err, closeAll())
		}
	}
	const find = `SELECT notes.id, notes.title, notes.content, ts_headline('simple', found.title, query),
			ts_headline('simple', found.content, query)
		FROM (SELECT key, title, content, query, ts_rank(words, query) AS rank
			FROM peer, to_tsquery('simple', $1) AS query WHERE words @@ query ORDER BY rank DESC LIMIT 50) AS found
		JOIN notes USING (key) ORDER BY found.rank DESC`
	return &peer{"tsvector", func(ctx context.Context, words string) (n int, err error) {
		rows, err := db.Query(ctx, find, strings.ReplaceAll(words, " ", " & "))
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		return readFound(rows)
	}, closeAll}, nil
}
