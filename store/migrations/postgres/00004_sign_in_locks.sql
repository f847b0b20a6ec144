-- +goose Up
-- Wrong passwords in a row that are no account's: those of one device that an account has signed in from, and those
-- for an e-mail address that has no account.
CREATE TABLE sign_in_locks (
	key          text COLLATE "C" PRIMARY KEY,
	user_id      text COLLATE "C" REFERENCES users ON DELETE CASCADE, -- the device's; NULL: an address without account
	failures     bigint NOT NULL,
	locked_until bigint,
	updated_at   bigint NOT NULL
);
CREATE INDEX sign_in_locks_user_id ON sign_in_locks (user_id);
CREATE INDEX sign_in_locks_updated_at ON sign_in_locks (updated_at);
