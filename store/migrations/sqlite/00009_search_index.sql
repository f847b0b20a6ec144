-- +goose Up
-- Which of a user's notes may hold words: see the package trigram. It is made of the notes, in the background, and no
-- write of a note touches it. The binary before this migration has its own in search_lists, which only it can read.
CREATE TABLE search_index (
	user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
	part    INTEGER NOT NULL, -- 0: the segment's notes
	segment INTEGER NOT NULL, -- the last change that is in it
	lists   BLOB NOT NULL,
	PRIMARY KEY (user_id, part, segment)
) STRICT;
DELETE FROM search_lists;
