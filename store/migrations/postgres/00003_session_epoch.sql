-- +goose Up
-- When all of an account's sessions were last ended, in Unix milliseconds, and in each session the value that its
-- account had when it began. A session whose value differs has ended, wherever it is kept. The binary before this
-- migration leaves sessions.epoch NULL: such a session has ended if it is older than its account's value.
ALTER TABLE users ADD COLUMN session_epoch bigint NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN epoch bigint;
