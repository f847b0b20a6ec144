-- +goose Up
-- Wrong passwords in a row that are no account's: those of one device that an account has signed in from, and those
-- for an e-mail address that has no account.
CREATE TABLE sign_in_locks (
	key          TEXT NOT NULL PRIMARY KEY,
	user_id      TEXT REFERENCES users ON DELETE CASCADE, -- the device's; NULL: an address without account
	failures     INTEGER NOT NULL,
	locked_until INTEGER,
	updated_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_locks_user_id ON sign_in_locks (user_id);
CREATE INDEX sign_in_locks_updated_at ON sign_in_locks (updated_at);
