-- +goose Up
-- What a search in many notes may pass over. Made from the notes, and kept by nobody who writes them. Replaced by 00003.
CREATE TABLE note_sketches (
	user_id  text COLLATE "C" NOT NULL,
	note_key bigint NOT NULL REFERENCES notes ON DELETE CASCADE,
	sketch   bytea NOT NULL,
	PRIMARY KEY (user_id, note_key) INCLUDE (sketch) -- which a search reads alone
);
ALTER TABLE note_sketches ALTER sketch SET STORAGE EXTERNAL; -- there is nothing to compress
CREATE INDEX note_sketches_note ON note_sketches (note_key);

-- The change up to which all of a person's notes have a sketch.
CREATE TABLE sketch_marks (
	user_id    text COLLATE "C" PRIMARY KEY REFERENCES users ON DELETE CASCADE,
	change_seq bigint NOT NULL
);
