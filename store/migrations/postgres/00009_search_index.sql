-- +goose Up
-- Which of a user's notes may hold words: see the package trigram. It is made of the notes, in the background, and no
-- write of a note touches it. The binary before this migration has its own in search_lists, which only it can read.
-- That is deleted first, because the new table's reference locks out all that changes users, such as sign-ins.
DELETE FROM search_lists;
CREATE TABLE search_index (
	user_id text COLLATE "C" NOT NULL REFERENCES users ON DELETE CASCADE,
	part    integer NOT NULL, -- 0: the segment's notes
	segment bigint NOT NULL,  -- the last change that is in it
	lists   bytea NOT NULL,
	PRIMARY KEY (user_id, part, segment)
);
ALTER TABLE search_index ALTER lists SET STORAGE EXTERNAL; -- they are short as they are
