-- +goose Up
-- The highest change number whose tombstone has been removed. Who knows a person's notes up to an earlier change has to
-- start over, because notes may have been deleted since without a trace. A trigger keeps it, so that the binary before
-- this migration, which also removes tombstones, need not know it.
ALTER TABLE user_counters ADD COLUMN forgotten_seq INTEGER NOT NULL DEFAULT 0;

-- +goose StatementBegin
CREATE TRIGGER tombstones_forgotten AFTER DELETE ON tombstones BEGIN
	UPDATE user_counters SET forgotten_seq = old.change_seq
	WHERE user_id = old.user_id AND forgotten_seq < old.change_seq;
END;
-- +goose StatementEnd
