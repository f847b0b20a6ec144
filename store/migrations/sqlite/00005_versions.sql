-- +goose Up
-- What a note was at each revision before its present one. The change that replaces a version stores it, with its
-- text. Thinning removes versions, and makes deltas of texts. The binary before this migration stores none.
CREATE TABLE note_versions (
	note_key      INTEGER NOT NULL REFERENCES notes ON DELETE CASCADE,
	revision      INTEGER NOT NULL,
	at            INTEGER NOT NULL, -- when the revision was made
	bytes         INTEGER NOT NULL, -- octets of title, content and tags
	due           INTEGER NOT NULL, -- hour, since 1970, from which thinning looks at the version again
	keep          INTEGER NOT NULL, -- 0: as others; 1: its burst has been folded; 2: kept as long as any history
	flags         INTEGER NOT NULL, -- 1: pinned, 2: favorite, 4: archived, 8: Markdown
	author        TEXT NOT NULL,
	title         TEXT NOT NULL,
	tags          TEXT NOT NULL,    -- a JSON array
	color         TEXT,
	trashed_at    INTEGER,
	base_revision INTEGER,          -- the version that delta was made against; NULL: content is there instead
	delta         BLOB,
	content       TEXT,
	PRIMARY KEY (note_key, revision)
) STRICT; -- with rowids, so that a row of up to a page has no page of its own
CREATE INDEX note_versions_due ON note_versions (due);

-- What made the note's revision author_revision. The binary before this migration changes notes and not these, so for
-- another revision the author is not known.
ALTER TABLE notes ADD COLUMN author TEXT NOT NULL DEFAULT '';
ALTER TABLE notes ADD COLUMN author_revision INTEGER NOT NULL DEFAULT 0;

ALTER TABLE user_counters ADD COLUMN history_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE user_counters ADD COLUMN quota_history INTEGER;
