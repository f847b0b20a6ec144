-- +goose Up
-- The highest change number whose tombstone has been removed. Who knows a person's notes up to an earlier change has to
-- start over, because notes may have been deleted since without a trace. A trigger keeps it, so that the binary before
-- this migration, which also removes tombstones, need not know it.
ALTER TABLE user_counters ADD COLUMN forgotten_seq bigint NOT NULL DEFAULT 0;

-- +goose StatementBegin
CREATE FUNCTION record_forgotten() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE user_counters AS counters SET forgotten_seq = latest.change_seq
	FROM (SELECT user_id, max(change_seq) AS change_seq FROM removed GROUP BY user_id) AS latest
	WHERE counters.user_id = latest.user_id AND counters.forgotten_seq < latest.change_seq;
	RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER tombstones_forgotten AFTER DELETE ON tombstones REFERENCING OLD TABLE AS removed
	FOR EACH STATEMENT EXECUTE FUNCTION record_forgotten();
