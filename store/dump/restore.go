package dump

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"notesd/notes"
	"notesd/store/engine"
	"notesd/store/schema"
)

// ErrOccupied: the database to restore into contains accounts already.
var ErrOccupied = errors.New("database is not empty")

// Restored reports what a restore has done.
type Restored struct {
	Backup
	Engine string   // the engine that it was restored into
	Schema int64    // the schema that the database has now
	Faults []string // contradictions in the data, from before it was saved
}

// Restore reads the lines of a Dump into the database at name, of either engine. next returns one
// line at a time, and then io.EOF. The database must be empty (ErrOccupied); on SQLite it may also
// not exist yet. Ids, keys and dates are restored as they were. An error of next is returned as it
// is.
//
// Changes that were made between the backup and the restore, at the time now, are lost, but clients
// may know their numbers. So Restore raises each note's revision and each user's change number, so
// that none is given out a second time (see raiseAfter), and makes clients that read changes start
// over. If now is the zero time, nothing can be lost, and all is restored as it was.
//
// A restore is done as a whole or not at all, in whichever way the process ends. On PostgreSQL it
// is one transaction. On SQLite it is a file that gets its final name at the end. The database is
// not served meanwhile: on SQLite Restore holds the lock on the data directory, and on PostgreSQL
// it locks the tables, so others wait.
//
// The schema is first that of the backup, and is then migrated to the newest. So older backups are
// migrated as older databases are. engine.ErrSchema: the backup is newer than this binary.
func Restore(ctx context.Context, name string, next func() ([]byte, error), now time.Time) (Restored, error) {
	r := restore{reader: lineReader{next: next}}
	head, err := r.reader.head()
	if err != nil {
		return Restored{}, err
	}
	r.tables = tablesOf(head.Schema)
	if !now.IsZero() {
		r.lost = raiseAfter(head.Taken, now)
	}
	if engine.IsPostgres(name) {
		err = r.intoPostgres(ctx, name, head.Schema)
	} else {
		err = r.intoSQLite(ctx, name, head.Schema)
	}
	if err != nil {
		return Restored{}, engine.Translate(err)
	}
	r.done.Backup = describe(head, r.reader.foot)
	return r.done, nil
}

// A raise is what is added to the revisions of notes and to the change numbers of users.
type raise struct{ revisions, changes int64 }

// raiseAfter returns the raise for a restore at now of a backup that was taken at taken. It is more
// than the changes that can have been made in that time, and it grows with time. So a second
// restore of the backup also skips what was given out after the first.
//
// A revision grows by 1 per millisecond. A change number has to stay below 2^26 for a read from the
// start (see point in the store), which is 776 days in seconds. So it grows by 1 per second for a
// year, and then by 1 per minute, which is enough for 60 years.
func raiseAfter(taken, now time.Time) raise {
	const (
		margin = 1_000_000
		year   = 365 * 24 * time.Hour
	)
	// A backup without a time, or with a wrong one, was taken after this.
	epoch := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	if taken.Before(epoch) {
		taken = epoch
	}
	age := max(0, now.Sub(taken))
	changes := min(age, year)/time.Second + max(0, age-year)/time.Minute
	return raise{revisions: margin + age.Milliseconds(), changes: margin + int64(changes)}
}

// A restore is the state of a Restore in progress.
type restore struct {
	lost    raise // for the changes that are lost
	reader  lineReader
	tables  []dumpTable // those of the backup's schema
	lastKey int64       // largest key of the restored notes
	late    bool        // the backup's schema has no forgotten_seq, which upgrade then has to set
	done    Restored
}

// An emptyDatabase is the database that is restored into, in a transaction.
type emptyDatabase interface {
	engine.Querier
	// insert adds rows to a table.
	insert(ctx context.Context, table string, columns []string, rows [][]any) error
	// keepKeys makes later notes get keys above last.
	keepKeys(ctx context.Context, last int64) error
}

// into restores everything except the schema.
func (r *restore) into(ctx context.Context, db emptyDatabase) error {
	if err := refuseOccupied(ctx, db); err != nil {
		return err
	}
	r.reader.take = func(t dumpTable, rows [][]any) error {
		if err := r.insert(ctx, db, t, rows); err != nil {
			return fmt.Errorf("restore %s: %w", t.name, err)
		}
		return nil
	}
	if err := r.reader.read(); err != nil {
		return err
	}
	if err := db.keepKeys(ctx, max(r.lastKey, r.reader.foot.LastKey)); err != nil {
		return fmt.Errorf("restore the last key: %w", err)
	}
	var err error
	r.done.Faults, err = r.findFaults(ctx, db)
	return err
}

// refuseOccupied returns ErrOccupied if the database has accounts or notes.
func refuseOccupied(ctx context.Context, db engine.Querier) error {
	var users, notes int64
	const query = `SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM notes)`
	err := db.QueryRowContext(ctx, query).Scan(&users, &notes)
	if err == nil && users+notes > 0 {
		err = fmt.Errorf("%w: accounts %d, notes %d", ErrOccupied, users, notes)
	}
	return err
}

// insert adds rows, and the folded columns that it computes from them.
func (r *restore) insert(ctx context.Context, db emptyDatabase, t dumpTable, rows [][]any) error {
	columns := schema.Names(t.columns)
	r.raiseNumbers(t.name, columns, rows)
	for i, c := range t.columns {
		if t.folded[c.Name] == "" {
			continue
		}
		columns = append(columns, t.folded[c.Name])
		for j, row := range rows {
			rows[j] = append(row, folded(row[i]))
		}
	}
	if err := db.insert(ctx, t.name, columns, rows); err != nil || t.name != "notes" {
		return err
	}
	key, content := slices.Index(columns, "key"), slices.Index(columns, "content")
	if key < 0 || content < 0 {
		return fmt.Errorf("%w: its notes have no keys or no content", ErrNotBackup)
	}
	search := make([][]any, len(rows))
	for i, row := range rows {
		search[i] = []any{row[key], folded(row[content])}
		if last, ok := row[key].(*int64); ok && last != nil {
			r.lastKey = max(r.lastKey, *last)
		}
	}
	return db.insert(ctx, "note_search", []string{"note_key", "content_folded"}, search)
}

// raiseNumbers raises the revisions of notes, and the change numbers of users. A note keeps the
// author of its revision. All deletions are forgotten, so that clients which read changes start
// over.
func (r *restore) raiseNumbers(table string, columns []string, rows [][]any) {
	number := func(row []any, column string) *int64 {
		if i := slices.Index(columns, column); i >= 0 {
			n, _ := row[i].(*int64)
			return n
		}
		return nil
	}
	if r.lost == (raise{}) {
		return
	}
	for _, row := range rows {
		switch table {
		case "notes":
			revision, authors := number(row, "revision"), number(row, "author_revision")
			if revision == nil {
				continue
			}
			if authors != nil && *authors == *revision {
				*authors += r.lost.revisions
			}
			*revision += r.lost.revisions
		case "user_counters":
			last, forgotten := number(row, "change_seq"), number(row, "forgotten_seq")
			if last == nil {
				continue
			}
			*last += r.lost.changes
			if forgotten == nil {
				r.late = true
				continue
			}
			*forgotten = *last
		}
	}
}

// folded applies Fold to a column's value.
func folded(text any) *string {
	if s, ok := text.(*string); ok && s != nil {
		return new(notes.Fold(*s))
	}
	return nil
}

// A fault is a query that counts contradictions in the data.
type fault struct{ what, query string }

// faults are those that every schema can have.
var faults = []fault{
	{"accounts without counters", `SELECT count(*) FROM users WHERE id NOT IN (SELECT user_id FROM user_counters)`},
	{"people whose counters are not the sums of their notes", `SELECT count(*) FROM user_counters AS c
		LEFT JOIN (SELECT user_id, count(*) AS n, sum(bytes) AS size FROM notes GROUP BY user_id) AS s
			ON s.user_id = c.user_id
		WHERE c.note_count <> coalesce(s.n, 0) OR c.note_bytes <> coalesce(s.size, 0)`},
	{"change numbers used twice", `SELECT count(*) FROM (
			SELECT 1 AS one FROM (SELECT user_id, change_seq FROM notes
				UNION ALL SELECT user_id, change_seq FROM tombstones) AS changes
			GROUP BY user_id, change_seq HAVING count(*) > 1) AS twice`},
	{"change numbers above the last", `SELECT count(*) FROM notes AS n JOIN user_counters AS c ON c.user_id = n.user_id
		WHERE n.change_seq > c.change_seq OR n.change_seq < 1`},
	{"revisions below 1", `SELECT count(*) FROM notes WHERE revision < 1`},
}

// historyFaults are those of histories, which older schemas don't have.
var historyFaults = []fault{
	{"versions whose text is not there", `SELECT count(*) FROM note_versions AS v LEFT JOIN note_versions AS b
		ON b.note_key = v.note_key AND b.revision = v.base_revision AND b.revision > v.revision
		WHERE v.content IS NULL AND (v.delta IS NULL OR b.revision IS NULL)`},
	{"versions that are newer than their notes", `SELECT count(*) FROM note_versions AS v
		JOIN notes AS n ON n.key = v.note_key WHERE v.revision >= n.revision`},
}

// findFaults returns an error if a table has not as many rows as the backup says. Otherwise it
// returns the contradictions in the data.
func (r *restore) findFaults(ctx context.Context, db engine.Querier) (found []string, err error) {
	want := r.reader.foot.Rows
	count := func(query string) (n int64, err error) {
		err = db.QueryRowContext(ctx, query).Scan(&n)
		return n, err
	}
	for _, t := range r.tables {
		n, err := count("SELECT count(*) FROM " + t.name)
		if err == nil && n != want[t.name] {
			err = fmt.Errorf("restored %d rows of %s, want %d", n, t.name, want[t.name])
		}
		if err != nil {
			return nil, err
		}
	}
	all := faults
	if slices.ContainsFunc(r.tables, func(t dumpTable) bool { return t.name == "note_versions" }) {
		all = slices.Concat(all, historyFaults)
	}
	for _, f := range all {
		n, err := count(f.query)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			found = append(found, fmt.Sprintf("%s: %d", f.what, n))
		}
	}
	return found, nil
}

// upgrade migrates the restored database to the newest schema. Then it forgets the deletions, if
// raiseNumbers had no column to do so.
func (r *restore) upgrade(ctx context.Context, m engine.Migrator, db *sql.DB) error {
	if err := m.Up(ctx); err != nil {
		return err
	}
	if r.late {
		if _, err := db.ExecContext(ctx, `UPDATE user_counters SET forgotten_seq = change_seq`); err != nil {
			return fmt.Errorf("forget the deletions: %w", err)
		}
	}
	found, err := engine.ReadSchema(ctx, db)
	r.done.Schema = found.Version
	return err
}

// quiet is a logger that discards the migrations' messages.
var quiet = slog.New(slog.DiscardHandler)

// placeholders returns the SQLite placeholders for a row of n values.
func placeholders(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }
