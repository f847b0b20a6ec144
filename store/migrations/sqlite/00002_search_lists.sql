-- +goose Up
-- Which of a person's notes may hold three letters in a row: see the package trigram. Made from the notes, and kept by nobody
-- who writes them.
CREATE TABLE search_lists (
	user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
	part    INTEGER NOT NULL, -- 0: the keys of the segment's notes
	segment INTEGER NOT NULL, -- the last change that is in it
	lists   BLOB NOT NULL,
	PRIMARY KEY (user_id, part, segment)
) STRICT;
