-- +goose Up
-- What an owner of notes expects of an account: its own settings, app tokens, one-time codes, a log, and an end. The
-- binary before this migration asks for no code, and lets in a disabled account: do not go back to it once either is
-- used.
-- Sessions come before users: each look-up of a session locks them in this order, and the two could deadlock.
ALTER TABLE sessions ADD COLUMN last_seen_at bigint; -- to the hour; NULL: when it began
ALTER TABLE users ADD COLUMN disabled_at bigint; -- NULL: the account may sign in
ALTER TABLE users ADD COLUMN deleted_at bigint;  -- when its deletion began; NULL: it is not being deleted
ALTER TABLE users ADD COLUMN preferences text; -- a JSON object of at most 16 KiB, which apps keep there; NULL: none
CREATE INDEX users_deleted_at ON users (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE app_tokens (
	id           text COLLATE "C" NOT NULL PRIMARY KEY,
	token_hash   bytea NOT NULL UNIQUE, -- SHA-256
	user_id      text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
	name         text NOT NULL,
	scope        text COLLATE "C" NOT NULL CHECK (scope IN ('read', 'write')),
	created_at   bigint NOT NULL,
	expires_at   bigint, -- NULL: never
	last_used_at bigint  -- to the hour; NULL: not yet
);
CREATE INDEX app_tokens_user_id ON app_tokens (user_id);

CREATE TABLE totp (
	user_id      text COLLATE "C" NOT NULL PRIMARY KEY REFERENCES users ON DELETE CASCADE,
	secret       bytea NOT NULL, -- encrypted under SESSION_SECRET
	key_id       text COLLATE "C" NOT NULL, -- says which of the secrets encrypts it
	confirmed_at bigint,          -- NULL: no code is asked for yet
	last_step    bigint NOT NULL DEFAULT 0, -- no code of this step or an earlier one passes again
	created_at   bigint NOT NULL
);

CREATE TABLE recovery_codes (
	user_id   text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
	code_hash bytea NOT NULL,
	PRIMARY KEY (user_id, code_hash)
);

CREATE TABLE account_log (
	key     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
	at      bigint NOT NULL,
	event   text COLLATE "C" NOT NULL,
	address text NOT NULL,
	device  text NOT NULL -- the program, in words
);
CREATE INDEX account_log_user_id ON account_log (user_id, key);
