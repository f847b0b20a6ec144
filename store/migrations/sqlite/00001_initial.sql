-- +goose Up
-- Times are Unix milliseconds, booleans 0 and 1. Long columns stand last: reading the ones before them
-- then does not walk the pages they overflow to.
CREATE TABLE schema_info (
	id         INTEGER PRIMARY KEY CHECK (id = 1),
	min_binary INTEGER NOT NULL -- the oldest binary this schema serves
) STRICT;
INSERT INTO schema_info (id, min_binary) VALUES (1, 1);

CREATE TABLE users (
	id            TEXT NOT NULL PRIMARY KEY,
	email         TEXT NOT NULL,
	email_folded  TEXT NOT NULL UNIQUE,
	name          TEXT NOT NULL,
	password_hash TEXT NOT NULL,
	failed_logins INTEGER NOT NULL DEFAULT 0,
	locked_until  INTEGER,
	last_login_at INTEGER,
	created_at    INTEGER NOT NULL,
	updated_at    INTEGER NOT NULL
) STRICT;

-- Narrow: rewritten by every change of a person's notes.
CREATE TABLE user_counters (
	user_id     TEXT NOT NULL PRIMARY KEY REFERENCES users ON DELETE CASCADE,
	change_seq  INTEGER NOT NULL DEFAULT 0,
	note_count  INTEGER NOT NULL DEFAULT 0,
	note_bytes  INTEGER NOT NULL DEFAULT 0,
	quota_notes INTEGER,
	quota_bytes INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE notes (
	key          INTEGER PRIMARY KEY AUTOINCREMENT, -- never that of a note that was deleted
	id           TEXT NOT NULL UNIQUE,
	user_id      TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
	is_pinned    INTEGER NOT NULL CHECK (is_pinned IN (0, 1)),
	is_favorite  INTEGER NOT NULL CHECK (is_favorite IN (0, 1)),
	is_archived  INTEGER NOT NULL CHECK (is_archived IN (0, 1)),
	is_markdown  INTEGER NOT NULL CHECK (is_markdown IN (0, 1)),
	is_trashed   INTEGER NOT NULL CHECK (is_trashed IN (0, 1)),
	trashed_at   INTEGER,
	created_at   INTEGER NOT NULL,
	updated_at   INTEGER NOT NULL,
	revision     INTEGER NOT NULL,
	change_seq   INTEGER NOT NULL,
	bytes        INTEGER NOT NULL, -- octets of title, content and tags
	color        TEXT,
	title        TEXT NOT NULL,
	title_folded TEXT NOT NULL,
	content      TEXT NOT NULL,
	CHECK (is_trashed = (trashed_at IS NOT NULL))
) STRICT;
-- The two hold all that a list of keys asks for, so that it does not read the rows, which are long.
CREATE INDEX notes_list ON notes
	(user_id, is_archived, is_favorite DESC, is_pinned DESC, updated_at DESC, id DESC, bytes, is_trashed)
	WHERE NOT is_trashed;
CREATE INDEX notes_trash ON notes (user_id, updated_at DESC, id DESC, bytes, is_trashed) WHERE is_trashed;
CREATE INDEX notes_changes ON notes (user_id, change_seq);
CREATE INDEX notes_trashed_at ON notes (trashed_at) WHERE is_trashed;

-- Apart from notes, so that flips and lists do not carry it.
CREATE TABLE note_search (
	note_key       INTEGER PRIMARY KEY REFERENCES notes ON DELETE CASCADE,
	content_folded TEXT NOT NULL
) STRICT;

CREATE TABLE note_tags (
	note_key INTEGER NOT NULL REFERENCES notes ON DELETE CASCADE,
	position INTEGER NOT NULL,
	tag      TEXT NOT NULL,
	PRIMARY KEY (note_key, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE tombstones (
	user_id    TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
	change_seq INTEGER NOT NULL,
	note_id    TEXT NOT NULL,
	deleted_at INTEGER NOT NULL,
	PRIMARY KEY (user_id, change_seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX tombstones_deleted_at ON tombstones (deleted_at);

CREATE TABLE idempotency_keys (
	user_id    TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
	key        TEXT NOT NULL,
	body_hash  BLOB NOT NULL,
	note_id    TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	PRIMARY KEY (user_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);

CREATE TABLE sessions (
	token_hash TEXT NOT NULL PRIMARY KEY,
	user_id    TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
	data       BLOB NOT NULL,
	user_agent TEXT NOT NULL,
	address    TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_user_id ON sessions (user_id);
CREATE INDEX sessions_expires_at ON sessions (expires_at);

CREATE TABLE sign_in_failures (
	key         TEXT NOT NULL PRIMARY KEY,
	count       INTEGER NOT NULL,
	window_ends INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_failures_window_ends ON sign_in_failures (window_ends);
