-- +goose Up
-- See the migration of PostgreSQL. A reference costs SQLite little.
SELECT 1;
