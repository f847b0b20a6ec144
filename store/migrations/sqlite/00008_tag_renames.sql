-- +goose Up
-- What takes back the renaming of tags, for a day: the tags that each note had before.
CREATE TABLE tag_renames (
	id         TEXT NOT NULL PRIMARY KEY,
	user_id    TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
	old_tags   TEXT NOT NULL, -- a JSON array
	new_tag    TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	changed    INTEGER,                    -- the notes that were changed; NULL: it has not come to its end
	restored   INTEGER NOT NULL DEFAULT 0, -- the notes that were changed back
	undone_at  INTEGER                     -- NULL: not all of them yet
) STRICT, WITHOUT ROWID;
CREATE INDEX tag_renames_user_id ON tag_renames (user_id, created_at);
CREATE INDEX tag_renames_created_at ON tag_renames (created_at);

CREATE TABLE renamed_notes (
	rename_id  TEXT NOT NULL REFERENCES tag_renames ON DELETE CASCADE,
	note_id    TEXT NOT NULL,
	tags       TEXT NOT NULL, -- a JSON array
	created_at INTEGER NOT NULL, -- that of the rename
	PRIMARY KEY (rename_id, note_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX renamed_notes_created_at ON renamed_notes (created_at);
