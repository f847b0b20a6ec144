-- +goose Up
-- What a note was at each revision before its present one. The change that replaces a version stores it, with its
-- text. Thinning removes versions, and makes deltas of texts. The binary before this migration stores none.
CREATE TABLE note_versions (
	note_key      bigint NOT NULL REFERENCES notes ON DELETE CASCADE,
	revision      bigint NOT NULL,
	at            bigint NOT NULL,   -- when the revision was made
	bytes         integer NOT NULL,  -- octets of title, content and tags
	due           integer NOT NULL,  -- hour, since 1970, from which thinning looks at the version again
	keep          smallint NOT NULL, -- 0: as others; 1: its burst has been folded; 2: kept as long as any history
	flags         smallint NOT NULL, -- 1: pinned, 2: favorite, 4: archived, 8: Markdown
	author        text COLLATE "C" NOT NULL,
	title         text NOT NULL,
	tags          text NOT NULL,     -- a JSON array
	color         text,
	trashed_at    bigint,
	base_revision bigint,            -- the version that delta was made against; NULL: content is there instead
	delta         bytea,
	content       text,
	PRIMARY KEY (note_key, revision)
);
ALTER TABLE note_versions ALTER delta SET STORAGE EXTERNAL; -- it is short as it is
CREATE INDEX note_versions_due ON note_versions (due);

-- What made the note's revision author_revision. The binary before this migration changes notes and not these, so for
-- another revision the author is not known.
ALTER TABLE notes ADD COLUMN author text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE notes ADD COLUMN author_revision bigint NOT NULL DEFAULT 0;

ALTER TABLE user_counters ADD COLUMN history_bytes bigint NOT NULL DEFAULT 0;
ALTER TABLE user_counters ADD COLUMN quota_history bigint;
