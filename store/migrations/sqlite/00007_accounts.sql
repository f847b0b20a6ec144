-- +goose Up
-- What an owner of notes expects of an account: its own settings, app tokens, one-time codes, a log, and an end. The
-- binary before this migration asks for no code, and lets in a disabled account: do not go back to it once either is
-- used.
ALTER TABLE users ADD COLUMN disabled_at INTEGER; -- NULL: the account may sign in
ALTER TABLE users ADD COLUMN deleted_at INTEGER;  -- when its deletion began; NULL: it is not being deleted
ALTER TABLE users ADD COLUMN preferences TEXT; -- a JSON object of at most 16 KiB, which apps keep there; NULL: none
CREATE INDEX users_deleted_at ON users (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE app_tokens (
	id           TEXT NOT NULL PRIMARY KEY,
	token_hash   BLOB NOT NULL UNIQUE, -- SHA-256
	user_id      TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
	name         TEXT NOT NULL,
	scope        TEXT NOT NULL CHECK (scope IN ('read', 'write')),
	created_at   INTEGER NOT NULL,
	expires_at   INTEGER, -- NULL: never
	last_used_at INTEGER  -- to the hour; NULL: not yet
) STRICT;
CREATE INDEX app_tokens_user_id ON app_tokens (user_id);

CREATE TABLE totp (
	user_id      TEXT NOT NULL PRIMARY KEY REFERENCES users ON DELETE CASCADE,
	secret       BLOB NOT NULL, -- encrypted under SESSION_SECRET
	key_id       TEXT NOT NULL, -- says which of the secrets encrypts it
	confirmed_at INTEGER,          -- NULL: no code is asked for yet
	last_step    INTEGER NOT NULL DEFAULT 0, -- no code of this step or an earlier one passes again
	created_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE recovery_codes (
	user_id   TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
	code_hash BLOB NOT NULL,
	PRIMARY KEY (user_id, code_hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE account_log (
	key     INTEGER PRIMARY KEY AUTOINCREMENT,
	user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
	at      INTEGER NOT NULL,
	event   TEXT NOT NULL,
	address TEXT NOT NULL,
	device  TEXT NOT NULL -- the program, in words
) STRICT;
CREATE INDEX account_log_user_id ON account_log (user_id, key);

ALTER TABLE sessions ADD COLUMN last_seen_at INTEGER; -- to the hour; NULL: when it began
