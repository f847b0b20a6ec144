-- +goose Up
-- Which of a person's notes may hold three letters in a row: see the package trigram. Made from the notes, and kept by nobody
-- who writes them.
CREATE TABLE search_lists (
	user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
	part    integer NOT NULL, -- 0: the keys of the segment's notes
	segment bigint NOT NULL,  -- the last change that is in it
	lists   bytea NOT NULL,
	PRIMARY KEY (user_id, part, segment)
);
ALTER TABLE search_lists ALTER lists SET STORAGE EXTERNAL; -- they are short as they are
