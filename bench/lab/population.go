package lab

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// A population has users and their notes, distributed as in a database that is some years old. Few
// users have most of the notes. The notes of all users are interleaved, in the order in which they
// were written. Few words make up most of the text. The population is the same on every engine.
type population struct {
	people, notes int
	now           time.Time
	lexicon       *corpus
	ids           []string // the ids of users: first the heavy users, then those with many notes
	owners        []int32  // the owner of each note, in the order in which the notes were written
}

const (
	heavyUsers = 5       // users that have a twentieth of all notes each
	heavyPart  = 20      // the twentieth is 50 000 of a million
	noteBytes  = 1 << 10 // bytes of a note's content
	seedYears  = 3
)

func newPopulation(people, notes int, now time.Time, l *corpus) *population {
	p, random := newPeople(people, notes, now, l)
	for who := range heavyUsers {
		p.give(who, notes/heavyPart)
	}
	// The n-th of the other users has about n^-0.8 times the notes of the first.
	share := func(n int) float64 { return math.Pow(float64(n+10), -0.8) }
	whole, left, given := 0.0, notes-len(p.owners), 0.0
	for n := range people - heavyUsers {
		whole += share(n)
	}
	for n := range people - heavyUsers {
		before := int(given / whole * float64(left))
		given += share(n)
		p.give(heavyUsers+n, int(given/whole*float64(left))-before)
	}
	for len(p.owners) < notes { // adds the notes that rounding left out
		p.give(people-1, 1)
	}
	p.shuffle(random)
	return p
}

// newPeople returns a population whose notes are not distributed yet.
func newPeople(people, notes int, now time.Time, l *corpus) (*population, *rand.Rand) {
	p := &population{people: people, notes: notes, now: now, lexicon: l}
	random := rand.New(rand.NewPCG(7, uint64(notes)))
	for range people {
		p.ids = append(p.ids, idOf(random, p.now.AddDate(-seedYears, 0, 0)))
	}
	return p, random
}

func (p *population) shuffle(random *rand.Rand) {
	random.Shuffle(p.notes, func(i, j int) { p.owners[i], p.owners[j] = p.owners[j], p.owners[i] })
}

func (p *population) give(who, notes int) {
	for range notes {
		p.owners = append(p.owners, int32(who))
	}
}

func emailOf(who int) string { return fmt.Sprintf("person-%d@example.com", who) }

// idOf returns an identifier as the store makes it, a UUID of version 7.
func idOf(random *rand.Rand, when time.Time) string {
	first := uint64(when.UnixMilli())<<16 | 7<<12 | uint64(random.IntN(1<<12))
	text := fmt.Sprintf("%016x%016x", first, random.Uint64()>>2|1<<63)
	return uuid.MustParse(text).String()
}

// A seedNote is one note of a population.
type seedNote struct {
	key              int64
	id               string
	who              int32
	title, content   string
	tags             []string
	created, updated int64
	revision         int64
	change           int64
	pinned, favorite bool
	archived         bool
	trashedAt        *int64
}

func (n *seedNote) size() int64 {
	return int64(len(n.title) + len(n.content) + len(strings.Join(n.tags, "")))
}

// all yields the notes, the oldest first. It yields the same notes on every call.
func (p *population) all() iter.Seq[seedNote] {
	return func(yield func(seedNote) bool) {
		w := p.lexicon.writer(uint64(p.notes))
		changes := make([]int64, p.people)
		begin := p.now.AddDate(-seedYears, 0, 0)
		step := p.now.Sub(begin) / time.Duration(p.notes+1)
		for i, who := range p.owners {
			n := p.note(w, i, begin.Add(step*time.Duration(i+1)))
			changes[who] += n.revision // each revision was a change
			n.who, n.change = who, changes[who]
			if !yield(n) {
				return
			}
		}
	}
}

// note returns the i-th note, which was made at created. One note of three was changed later, some
// have flags, and one of fifty is in the trash.
func (p *population) note(w *writer, i int, created time.Time) seedNote {
	chance := func(oneOf int) bool { return w.random.IntN(oneOf) == 0 }
	n := seedNote{key: int64(i + 1), id: idOf(w.random, created), title: w.text(20), content: w.text(noteBytes),
		created: created.UnixMilli(), updated: created.UnixMilli(), revision: 1,
		pinned: chance(50), favorite: chance(20), archived: chance(10)}
	for range w.random.IntN(4) {
		n.tags = append(n.tags, w.words[w.random.IntN(50)])
	}
	if chance(3) {
		n.updated += w.random.Int64N(p.now.UnixMilli() - n.updated)
		n.revision = 2
	}
	if chance(50) {
		n.updated = p.now.UnixMilli() - w.random.Int64N((20 * 24 * time.Hour).Milliseconds())
		n.trashedAt, n.revision = &n.updated, 2
	}
	return n
}

// A seedTable is a table of the database, with the rows that a population has in it.
type seedTable struct {
	name    string
	columns []string
	rows    iter.Seq[[]any]
}

// tables returns the tables of the population. A table comes after those that it refers to. All
// text is ASCII, so that its folded form is its lower case.
func (p *population) tables(passwordHash string) []seedTable {
	began := p.now.AddDate(-seedYears, 0, 0).UnixMilli()
	return []seedTable{
		{"users", strings.Fields("id email email_folded name password_hash created_at updated_at"),
			p.users(passwordHash, began)},
		{"user_counters", strings.Fields("user_id change_seq note_count note_bytes"), p.counters()},
		{"notes",
			strings.Fields("key id user_id is_pinned is_favorite is_archived is_markdown is_trashed " +
				"trashed_at created_at " +
				"updated_at revision change_seq bytes title title_folded content"), p.rows(func(n seedNote,
				row func(...any) bool) bool {
				return row(n.key, n.id, p.ids[n.who], n.pinned, n.favorite, n.archived, false, n.trashedAt != nil,
					n.trashedAt, n.created,
					n.updated, n.revision, n.change, n.size(), n.title, strings.ToLower(n.title), n.content)
			})},
		{"note_search", strings.Fields("note_key content_folded"), p.rows(func(n seedNote, row func(...any) bool) bool {
			return row(n.key, strings.ToLower(n.content))
		})},
		{"note_tags", strings.Fields("note_key position tag"), p.rows(func(n seedNote, row func(...any) bool) bool {
			for i, tag := range n.tags {
				if !row(n.key, i, tag) {
					return false
				}
			}
			return true
		})},
	}
}

// rows yields the rows that write makes of each note.
func (p *population) rows(write func(n seedNote, row func(...any) bool) bool) iter.Seq[[]any] {
	return func(yield func([]any) bool) {
		for n := range p.all() {
			if !write(n, func(values ...any) bool { return yield(values) }) {
				return
			}
		}
	}
}

func (p *population) users(passwordHash string, began int64) iter.Seq[[]any] {
	return func(yield func([]any) bool) {
		for who, id := range p.ids {
			if !yield([]any{id, emailOf(who), emailOf(who), "", passwordHash, began, began}) {
				return
			}
		}
	}
}

func (p *population) counters() iter.Seq[[]any] {
	return func(yield func([]any) bool) {
		type count struct{ change, notes, bytes int64 }
		counts := make([]count, p.people)
		for n := range p.all() {
			c := &counts[n.who]
			c.change, c.notes, c.bytes = n.change, c.notes+1, c.bytes+n.size()
		}
		for who, c := range counts {
			if !yield([]any{p.ids[who], c.change, c.notes, c.bytes}) {
				return
			}
		}
	}
}

// Seed fills a database with two users that have so many notes of a kilobyte each. The notes of the
// two are interleaved. PostgreSQL is given by its URL and SQLite by its path. The database must
// have one user and nothing else. The two users take the place of that user, and have its password.
// Seed returns the id of the first user, and words to search for:
// common, rare and absent ones.
func Seed(ctx context.Context, database string, notes int) (owner string, words map[string][]string, err error) {
	l := newCorpus()
	p, random := newPeople(2, 2*notes, time.Now(), l)
	p.give(0, notes)
	p.give(1, notes)
	p.shuffle(random)
	fill := p.seedSQLite
	if strings.HasPrefix(database, "postgres") {
		fill = p.seedPostgres
	}
	n := l.needles()
	return p.ids[0], map[string][]string{"common": n.common, "rare": n.rare, "absent": n.absent}, fill(ctx, database)
}

// seedPostgres fills a database that has the schema and one user, which is removed.
func (p *population) seedPostgres(ctx context.Context, url string) error {
	db, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer db.Close(context.WithoutCancel(ctx))
	var hash string
	if err := db.QueryRow(ctx, "DELETE FROM users RETURNING password_hash").Scan(&hash); err != nil {
		return err
	}
	for _, t := range p.tables(hash) {
		next, stop := iter.Pull(t.rows)
		_, err := db.CopyFrom(ctx, pgx.Identifier{t.name}, t.columns, pgx.CopyFromFunc(func() ([]any, error) {
			row, _ := next()
			return row, nil
		}))
		stop()
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	for _, statement := range []string{
		"SELECT setval(pg_get_serial_sequence('notes', 'key'), (SELECT max(key) FROM notes))",
		"VACUUM ANALYZE", // autovacuum would have done so over the years
		"CHECKPOINT",
	} {
		if _, err := db.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// seedSQLite does the same with a file that no other process has open.
func (p *population) seedSQLite(ctx context.Context, file string) (err error) {
	db, err := sql.Open("sqlite",
		"file:"+file+"?_pragma=foreign_keys(1)&_pragma=cache_size(-500000)&_pragma=synchronous(OFF)")
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := db.Close(); err == nil {
			err = closeErr
		}
	}()
	db.SetMaxOpenConns(1) // this connection has the cache
	var hash string
	if err := db.QueryRowContext(ctx, "DELETE FROM users RETURNING password_hash").Scan(&hash); err != nil {
		return err
	}
	for _, t := range p.tables(hash) {
		if err := insertAll(ctx, db, t); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	_, err = db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	return err
}

// insertAll inserts the rows of a table. One transaction inserts many rows.
func insertAll(ctx context.Context, db *sql.DB, t seedTable) error {
	const together = 20_000
	next, stop := iter.Pull(t.rows)
	defer stop()
	insert := "INSERT INTO " + t.name + " (" + strings.Join(t.columns, ", ") + ") VALUES (?" +
		strings.Repeat(", ?", len(t.columns)-1) + ")"
	for more := true; more; {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if more, err = insertSome(ctx, tx, insert, next, together); err != nil {
			_ = tx.Rollback() // err says more
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// insertSome inserts up to most rows. It reports whether there may be more.
func insertSome(ctx context.Context, tx *sql.Tx, insert string, next func() ([]any, bool), most int) (more bool,
	err error) {
	statement, err := tx.PrepareContext(ctx, insert)
	if err != nil {
		return false, err
	}
	defer statement.Close()
	for range most {
		row, ok := next()
		if !ok {
			return false, nil
		}
		if _, err := statement.ExecContext(ctx, row...); err != nil {
			return false, err
		}
	}
	return true, nil
}
