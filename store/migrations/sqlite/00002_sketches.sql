-- +goose Up
-- What a search in many notes may pass over. Made from the notes, and kept by nobody who writes them. Replaced by 00003.
CREATE TABLE note_sketches (
	user_id  TEXT NOT NULL,
	note_key INTEGER NOT NULL REFERENCES notes ON DELETE CASCADE,
	sketch   BLOB NOT NULL,
	PRIMARY KEY (user_id, note_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX note_sketches_note ON note_sketches (note_key);

-- The change up to which all of a person's notes have a sketch.
CREATE TABLE sketch_marks (
	user_id    TEXT NOT NULL PRIMARY KEY REFERENCES users ON DELETE CASCADE,
	change_seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
