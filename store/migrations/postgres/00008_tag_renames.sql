-- +goose Up
-- What takes back the renaming of tags, for a day: the tags that each note had before.
CREATE TABLE tag_renames (
	id         text COLLATE "C" NOT NULL PRIMARY KEY,
	user_id    text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
	old_tags   text NOT NULL, -- a JSON array
	new_tag    text COLLATE "C" NOT NULL,
	created_at bigint NOT NULL,
	changed    bigint,                    -- the notes that were changed; NULL: it has not come to its end
	restored   bigint NOT NULL DEFAULT 0, -- the notes that were changed back
	undone_at  bigint                     -- NULL: not all of them yet
);
CREATE INDEX tag_renames_user_id ON tag_renames (user_id, created_at);
CREATE INDEX tag_renames_created_at ON tag_renames (created_at);

CREATE TABLE renamed_notes (
	rename_id  text COLLATE "C" NOT NULL REFERENCES tag_renames ON DELETE CASCADE,
	note_id    text COLLATE "C" NOT NULL,
	tags       text NOT NULL, -- a JSON array
	created_at bigint NOT NULL, -- that of the rename
	PRIMARY KEY (rename_id, note_id)
);
CREATE INDEX renamed_notes_created_at ON renamed_notes (created_at);
