package e2e

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"testing"

	"notesd/bench/lab"
	"notesd/internal/testserver"
	"notesd/store"
)

// Searches by words among NOTES, a twentieth of them the searching user's, beside the engines' own
// full-text search: `make prove NAME=search`. It publishes the figures, and fails only if there is
// something that was not measured.
func TestSearches(t *testing.T) {
	long(t, "it measures")
	notes := numberOf(t, "NOTES", 30_000)
	rounds, measured := roundsAndMeasured(t)
	// As compose.prod.yaml has it.
	postgres := testserver.NewPostgres(t, "shared_buffers=128MB", "effective_cache_size=320MB", "random_page_cost=1.1")
	report := newProof(t, "search", fmt.Sprintf("NOTES=%d", notes), fmt.Sprintf("ROUNDS=%d", rounds),
		fmt.Sprintf("MEASURED=%v", measured))
	err := lab.Searches{Notesd: unraced(t), Notes: notes, Rounds: rounds, Duration: measured,
		Postgres: postgres.Database(t, "notes"), Settings: []string{"REDIS_URL=" + testserver.NewRedis(t).URL(), secret},
		Index: indexAll, Progress: t.Output()}.Run(t.Context(), report)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, report)

	page := report.Markdown("")
	for _, row := range []string{
		`q= of two words \| (SQLite|PostgreSQL), \S+ notes \| \d\S* ms \| \d\S* ms \| \d\S* ms`,
		`q= of two words \| (FTS5|tsvector) \| \d\S* ms \| \d\S* ms \| \d\S* ms`,
		`suggest \| (SQLite|PostgreSQL), \S+ notes \| \d\S* ms \| \d\S* ms \| \d\S* ms`,
		`rare, by words \| \d\S* ms`,
		`absent \| \d\S* ms`,
		`the same beside \S+ \| ≤ 0.5 × \| \d\S* ×.*`,
	} {
		if n := len(regexp.MustCompile(`(?m)^\| `+row+` \|`).FindAllString(page, -1)); n != 2 {
			t.Errorf("%d rows with figures like %s, want 2", n, row)
		}
	}
}

// indexAll indexes a database as notesd restore does.
func indexAll(ctx context.Context, database string) (err error) {
	s, err := store.Open(ctx, store.Config{URL: database})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.WaitReady(ctx); err != nil {
		return err
	}
	return s.IndexAll(ctx)
}
