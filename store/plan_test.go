package store_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"gorm.io/gorm"

	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// TestPlans: what is asked most is a walk of an index, however many notes there
// are. The plans are in the log; those of a million notes come with
//
//	NOTESD_PLAN_NOTES=1000000 go test ./store -run TestPlans -v
func TestPlans(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		count := 20_000
		if s.Engine() == "SQLite" {
			count = 4000 // it plans without statistics, in the same way for any number of notes
		}
		if asked := os.Getenv("NOTESD_PLAN_NOTES"); asked != "" {
			var err error
			if count, err = strconv.Atoi(asked); err != nil {
				t.Fatal(err)
			}
		}
		fill(t, s, count)
		tape := store.Record(s)
		for _, test := range planTests(t, s) {
			t.Run(test.name, func(t *testing.T) {
				tape.Rewind()
				began := time.Now()
				if err := test.call(t.Context()); err != nil {
					t.Fatal(err)
				}
				t.Logf("among %d notes the call took %v", count, time.Since(began))
				for _, query := range tape.Rewind() {
					for _, plan := range explain(t, s, query) {
						t.Logf("%s\n\n%s", query.SQL, plan)
						if ofNotes.MatchString(query.SQL) {
							test.check(t, s.Engine(), plan)
						}
					}
				}
			})
		}
	})
}

// ofNotes tells the statements of a table that grows.
var ofNotes = regexp.MustCompile(`\bnotes\b`)

// planTest is a call, what its notes are found by, and the condition that the
// walk begins at, if it does not begin at the first.
type planTest struct {
	name  string
	index string
	start string
	call  func(context.Context) error
}

func planTests(t *testing.T, s *store.Store) []planTest {
	const owner = "person 7"
	var refs []store.Ref
	list := func(q notes.Query) func(context.Context) error {
		return func(ctx context.Context) (err error) {
			if refs, err = s.NoteRefs(ctx, owner, q); err == nil && len(refs) == 0 {
				return fmt.Errorf("NoteRefs(%+v) is empty", q)
			}
			return err
		}
	}
	// deep is q from four fifths of the list on.
	deep := func(q notes.Query) notes.Query {
		all := q
		all.Limit = math.MaxInt32
		if err := list(all)(t.Context()); err != nil {
			t.Fatal(err)
		}
		q.After = &refs[len(refs)*4/5].Position
		return q
	}
	page := notes.Query{Limit: 51}
	archive := notes.Query{Archived: true, Limit: 51}
	trash := notes.Query{Trashed: true, Limit: 51}
	deepPage, deepTrash := deep(page), deep(trash)
	if err := list(page)(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, id := refs, refs[0].Position.ID
	if err := list(trash)(t.Context()); err != nil {
		t.Fatal(err)
	}
	trashed := refs[0].Position.ID
	byPlace, byDate := "(is_favorite,is_pinned,updated_at,id)<", "(updated_at,id)<"
	counters, err := s.Counters(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	middle := counters.ChangeSeq / 3
	get := func(ctx context.Context) error { _, err := s.Note(ctx, owner, id); return err }
	read := func(ctx context.Context) error { _, err := s.NotesByRef(ctx, owner, first); return err }
	flip := func(ctx context.Context) error { _, err := s.ToggleNote(ctx, owner, id, notes.FlagPinned); return err }
	remove := func(ctx context.Context) error { return s.DeleteTrashedNote(ctx, owner, trashed) }
	changes := func(ctx context.Context) error {
		page, err := s.Changes(ctx, owner, middle, 100, true)
		if err == nil && len(page.Changes) < 100 {
			return fmt.Errorf("Changes since %d are %d", middle, len(page.Changes))
		}
		return err
	}
	allChanges := func(ctx context.Context) error { _, err := s.Changes(ctx, owner, 0, 100, false); return err }
	return []planTest{
		{"get", "id", "", get},
		{"list, first page", "notes_list", "", list(page)},
		{"list, deep page", "notes_list", byPlace, list(deepPage)},
		{"list, all", "notes_list", "", list(notes.Query{})},
		{"archive, first page", "notes_list", "", list(archive)},
		{"trash, first page", "notes_trash", "", list(trash)},
		{"trash, deep page", "notes_trash", byDate, list(deepTrash)},
		{"trash, all", "notes_trash", "", list(notes.Query{Trashed: true})},
		{"search", "notes_list", "", list(notes.Query{Search: "title 10", Limit: 51})},
		{"tags", "notes_list", "", list(notes.Query{Tags: []string{"tag 6", "tag 26"}, Limit: 51})},
		{"notes of a page", "key", "", read},
		{"flip", "id or key", "", flip},
		{"changes, a page far in", "changes or key", "", changes},
		{"changes, all notes", "changes or key", "", allChanges},
		{"delete from the trash", "id or key", "", remove},
	}
}

// check fails the test unless plan reads the index that the test expects, without a scan of a table and without a sort.
func (test planTest) check(t *testing.T, engine, plan string) {
	t.Helper()
	names := map[string]string{"id": "notes_id_key", "key": "notes_pkey", "id or key": "(notes_id_key|notes_pkey)",
		"changes or key": "(notes_changes|notes_pkey)"}
	wanted, refused := `Index (Only )?Scan using `, `Seq Scan on (notes|note_tags|note_search|tombstones)|Sort|Bitmap|Hash`
	if engine == "SQLite" {
		names = map[string]string{"id": "INDEX sqlite_autoindex_notes_1", "key": "INTEGER PRIMARY KEY",
			"id or key": "(INDEX sqlite_autoindex_notes_1|INTEGER PRIMARY KEY)", "changes or key": "(INDEX notes_changes|INTEGER PRIMARY KEY)"}
		wanted, refused = `SEARCH notes USING (COVERING )?(INDEX )?`, `SCAN (notes|tombstones)|TEMP B-TREE FOR ORDER`
	}
	wanted += cmp.Or(names[test.index], test.index) + `\b`
	if !regexp.MustCompile(wanted).MatchString(plan) {
		t.Errorf("the plan has no %s", wanted)
	}
	if found := regexp.MustCompile(refused).FindString(plan); found != "" {
		t.Errorf("the plan has a %s", found)
	}
	if test.start == "" {
		return
	}
	if !strings.Contains(strings.ReplaceAll(plan, " ", ""), test.start) || strings.Contains(plan, "Filter:") {
		t.Errorf("the walk does not begin at %s", test.start)
	}
}

// explain returns how s's engine goes about query: on PostgreSQL both for these
// arguments and for any, since it may choose to plan a statement only once.
func explain(t *testing.T, s *store.Store, query store.Query) (plans []string) {
	t.Helper()
	if s.Engine() == "SQLite" {
		return []string{explainSQLite(t, s.WriterDB(), query)}
	}
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		plans = append(plans, explainPostgres(t, s.WriterDB(), query, mode))
	}
	return plans
}

func explainSQLite(t *testing.T, db *gorm.DB, query store.Query) string {
	t.Helper()
	var steps []struct{ Detail string }
	if err := db.Raw("EXPLAIN QUERY PLAN "+query.SQL, query.Args...).Scan(&steps).Error; err != nil {
		t.Fatal(err)
	}
	var plan strings.Builder
	for _, step := range steps {
		fmt.Fprintln(&plan, step.Detail)
	}
	return plan.String()
}

func explainPostgres(t *testing.T, db *gorm.DB, query store.Query, mode string) string {
	t.Helper()
	var arguments []string
	for _, arg := range query.Args {
		arguments = append(arguments, literal(t, arg))
	}
	var steps []string
	err := db.Transaction(func(tx *gorm.DB) error {
		for _, statement := range []string{"SET LOCAL plan_cache_mode = " + mode, "PREPARE plan AS " + query.SQL} {
			if err := tx.Exec(statement).Error; err != nil {
				return err
			}
		}
		if err := tx.Raw("EXPLAIN EXECUTE plan (" + strings.Join(arguments, ", ") + ")").Scan(&steps).Error; err != nil {
			return err
		}
		return tx.Exec("DEALLOCATE plan").Error
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(steps, "\n") + "\n(" + mode + ")"
}

// literal is arg as SQL writes it.
func literal(t *testing.T, arg any) string {
	t.Helper()
	if reflect.ValueOf(arg).Kind() == reflect.Slice {
		text, err := pgtype.NewMap().Encode(arrayType(t, arg), pgtype.TextFormatCode, arg, nil)
		if err != nil {
			t.Fatal(err)
		}
		arg = string(text)
	}
	return "'" + strings.ReplaceAll(fmt.Sprint(arg), "'", "''") + "'"
}

// arrayType is the type of the array that arg, a slice, becomes.
func arrayType(t *testing.T, arg any) uint32 {
	t.Helper()
	found, ok := pgtype.NewMap().TypeForValue(arg)
	if !ok {
		t.Fatalf("no type for %T", arg)
	}
	return found.OID
}

// fill stores count notes of twenty people, without going through the store's
// methods, which would take an hour for a million. One in 17 is a favourite,
// one in 11 pinned, one in 13 archived, one in 19 in the trash; each has a tag,
// their dates are not in the order of their keys.
func fill(t testing.TB, s *store.Store, count int) {
	t.Helper()
	const shuffled = "(i * 7919 % 1000003)" // a prime times i modulo a prime: each number once up to a million
	vacuum := "VACUUM"
	numbers, text := "WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < ?)",
		"printf('%.*c', 400 + i % 200, 'x')"
	if s.Engine() == "PostgreSQL" {
		vacuum = "VACUUM ANALYZE" // as autovacuum does some time after
		numbers, text = "WITH numbers(i) AS (SELECT generate_series(1, ?::bigint))", "repeat('x', (400 + i % 200)::int)"
	}
	for _, statement := range []string{
		`INSERT INTO users (id, email, email_folded, name, password_hash, created_at, updated_at)
			SELECT 'person ' || i, 'e' || i, 'e' || i, '', '', 1, 1 FROM numbers WHERE i <= 20`,
		`INSERT INTO user_counters (user_id, change_seq) SELECT 'person ' || i, ` + fmt.Sprint(2*count) + ` FROM numbers WHERE i <= 20`,
		`INSERT INTO tombstones (user_id, change_seq, note_id, deleted_at)
			SELECT 'person ' || (i % 20 + 1), ` + fmt.Sprint(count) + ` + i, 'gone ' || i, i FROM numbers`,
		`INSERT INTO notes (key, id, user_id, title, title_folded, content, is_favorite, is_pinned, is_archived, is_markdown,
				is_trashed, trashed_at, created_at, updated_at, revision, change_seq, bytes)
			SELECT i, 'note ' || ` + shuffled + `, 'person ' || (i % 20 + 1), 'Title ' || i, 'title ' || i, ` + text + `,
				i % 17 = 0, i % 11 = 0, i % 13 = 0, false,
				i % 19 = 0, CASE WHEN i % 19 = 0 THEN 1 END, i, ` + shuffled + `, 1, i, 500 FROM numbers`,
		`INSERT INTO note_search (note_key, content_folded) SELECT i, ` + text + ` FROM numbers`,
		`INSERT INTO note_tags (note_key, position, tag) SELECT i, 0, 'tag ' || (i % 50) FROM numbers`,
	} {
		if err := s.WriterDB().Exec(numbers+statement, count).Error; err != nil {
			t.Fatal(err)
		}
	}
	visible := s.Engine() != "PostgreSQL"
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := s.WriterDB().Exec(vacuum).Error
		if err == nil && !visible { // VACUUM may leave out pages that were written a moment before
			err = s.DB().Raw("SELECT relallvisible = relpages FROM pg_class WHERE relname = 'notes'").Scan(&visible).Error
		}
		if err != nil || !visible && time.Now().After(deadline) {
			t.Fatalf("%s = %v, pages visible: %t", vacuum, err, visible)
		}
		if visible {
			break
		}
	}
}
