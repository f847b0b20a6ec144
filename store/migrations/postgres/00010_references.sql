-- +goose NO TRANSACTION
-- +goose Up
-- Each row of a note was checked against its note, and each note against its user: a quarter of what PostgreSQL did for
-- a create. Now triggers delete what the references deleted. No row can be added beside the deletion: a write of notes
-- locks the user's counters before it looks for the note, and so does the deletion of a user.
-- Each statement is a transaction that begins with the lock that writes of the binary before this migration take first.
-- It may run again.

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION delete_rows_of_notes() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
	DELETE FROM note_search WHERE note_key = ANY (ARRAY(SELECT key FROM removed));
	DELETE FROM note_tags WHERE note_key = ANY (ARRAY(SELECT key FROM removed));
	DELETE FROM note_versions WHERE note_key = ANY (ARRAY(SELECT key FROM removed));
	RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION lock_counters_of_user() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM FROM user_counters WHERE user_id = old.id FOR UPDATE;
	RETURN old;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION delete_notes_of_users() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
	DELETE FROM notes WHERE user_id = ANY (ARRAY(SELECT id FROM removed));
	RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
DO $$ BEGIN
	LOCK TABLE notes, note_search, note_tags, note_versions IN ACCESS EXCLUSIVE MODE;
	DROP TRIGGER IF EXISTS notes_deleted ON notes;
	CREATE TRIGGER notes_deleted AFTER DELETE ON notes REFERENCING OLD TABLE AS removed
		FOR EACH STATEMENT EXECUTE FUNCTION delete_rows_of_notes();
	ALTER TABLE note_search DROP CONSTRAINT IF EXISTS note_search_note_key_fkey;
	ALTER TABLE note_tags DROP CONSTRAINT IF EXISTS note_tags_note_key_fkey;
	ALTER TABLE note_versions DROP CONSTRAINT IF EXISTS note_versions_note_key_fkey;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
DO $$ BEGIN
	LOCK TABLE notes, users IN ACCESS EXCLUSIVE MODE;
	DROP TRIGGER IF EXISTS users_delete ON users;
	CREATE TRIGGER users_delete BEFORE DELETE ON users
		FOR EACH ROW EXECUTE FUNCTION lock_counters_of_user();
	DROP TRIGGER IF EXISTS users_deleted ON users;
	CREATE TRIGGER users_deleted AFTER DELETE ON users REFERENCING OLD TABLE AS removed
		FOR EACH STATEMENT EXECUTE FUNCTION delete_notes_of_users();
	ALTER TABLE notes DROP CONSTRAINT IF EXISTS notes_user_id_fkey;
END $$;
-- +goose StatementEnd
