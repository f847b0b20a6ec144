package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"notesd/bench/lab"
	"notesd/internal/testserver"
	"notesd/notes"
	"notesd/store"
)

// What a request costs among NOTES beside a hundredth of them, and an idle
// connection beside others: `make prove NAME=growth`. It publishes the figures, and
// fails only if there is something that was not measured.
func TestGrowth(t *testing.T) {
	long(t, "it measures")
	number := func(name, usual string, least int) int {
		n, err := strconv.Atoi(cmp.Or(os.Getenv(name), usual))
		if err != nil || n < least {
			t.Fatalf("%s=%s, want a number from %d on", name, os.Getenv(name), least)
		}
		return n
	}
	notes, idle, rounds := number("NOTES", "2000", 1000), number("IDLE", "200", 1), number("ROUNDS", "1", 1)
	measured, err := time.ParseDuration(cmp.Or(os.Getenv("MEASURED"), "300ms"))
	if err != nil || measured < 100*time.Millisecond {
		t.Fatalf("MEASURED=%s, want a duration like 3s", os.Getenv("MEASURED"))
	}
	// As compose.prod.yaml has it.
	postgres := testserver.NewPostgres(t, "shared_buffers=128MB", "effective_cache_size=320MB", "random_page_cost=1.1")
	report := newProof(t, "growth", fmt.Sprintf("NOTES=%d", notes), fmt.Sprintf("IDLE=%d", idle), fmt.Sprintf("ROUNDS=%d", rounds),
		fmt.Sprintf("MEASURED=%v", measured))
	err = lab.Growth{Notesd: unraced(t), Notes: notes, Idle: idle, Rounds: rounds, Duration: measured,
		Postgres: [2]string{postgres.Database(t, "small"), postgres.Database(t, "large")},
		Settings: []string{"REDIS_URL=" + testserver.NewRedis(t).URL(), secret}, Check: checkSeeded, Progress: t.Output()}.Run(t.Context(), report)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, report)

	page := report.Markdown("")
	for _, work := range []string{"get", "get any", "first page", "page 21", "page 501", "search", "search by hoarders", "create"} {
		row := regexp.MustCompile(fmt.Sprintf(`(?m)^\| %s \| (SQLite|PostgreSQL), \S+ notes \| \d\S* ms \| \d\S* ms \|`, work))
		if n := len(row.FindAllString(page, -1)); n != 4 {
			t.Errorf("%d rows with figures of %s, want 4", n, work)
		}
	}
	for _, want := range []string{"### Backups", "| after a first page each | ", "≤ 1.2 × that among", "| failed requests | 0 | 0 of "} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in the report", want)
		}
	}
}

// checkSeeded holds a database that was filled with notes to what the store
// promises of one that it has filled itself.
func checkSeeded(ctx context.Context, database string) (err error) {
	s, err := store.Open(ctx, store.Config{URL: database})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.WaitReady(ctx); err != nil {
		return err
	}
	for _, who := range []int{0, 5, 9} {
		user, err := s.UserByEmail(ctx, fmt.Sprintf("person-%d@example.com", who))
		if err != nil {
			return err
		}
		if err := checkOwner(ctx, s, user.ID); err != nil {
			return fmt.Errorf("person %d: %w", who, err)
		}
	}
	return nil
}

// checkOwner compares one person's counters, lists, notes and searches.
func checkOwner(ctx context.Context, s *store.Store, owner string) error {
	counters, err := s.Counters(ctx, owner)
	if err != nil {
		return err
	}
	found, bytes := int64(0), int64(0)
	var some []store.Ref
	for _, q := range []notes.Query{{}, {Archived: true}, {Trashed: true}} {
		refs, err := s.NoteRefs(ctx, owner, q)
		if err != nil {
			return err
		}
		for _, ref := range refs {
			found, bytes = found+1, bytes+ref.Bytes
		}
		if some == nil {
			some = refs[:min(len(refs), 10)]
		}
	}
	if found == 0 || found != counters.Notes || bytes != counters.Bytes || counters.ChangeSeq < found {
		return fmt.Errorf("%d notes of %d bytes, and the counters are %+v", found, bytes, counters)
	}
	listed, err := s.NotesByRef(ctx, owner, some)
	if err != nil || len(listed) != len(some) {
		return fmt.Errorf("%d of %d notes: %w", len(listed), len(some), err)
	}
	for i, note := range listed {
		size := len(note.Title) + len(note.Content) + len(strings.Join(note.Tags, ""))
		hits, err := s.NoteRefs(ctx, owner, notes.Query{Search: strings.ToUpper(note.Content), Limit: 1})
		if err != nil || len(hits) != 1 || hits[0].Key != note.Key || int64(size) != some[i].Bytes {
			return fmt.Errorf("%+v of %d bytes; a search for its content finds %+v, %w", note, some[i].Bytes, hits, err)
		}
	}
	made, err := s.CreateNote(ctx, owner, notes.NewNote{Title: "one more"})
	if err != nil || made.ChangeSeq != counters.ChangeSeq+1 {
		return fmt.Errorf("create: %+v, %w", made, err)
	}
	return s.DeleteNote(ctx, owner, made.ID)
}
