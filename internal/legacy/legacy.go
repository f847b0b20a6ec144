// Package legacy reads the accounts and notes of the old backend from its PostgreSQL database. It
// changes nothing. All that it reads is one snapshot, however long the reading takes.
package legacy

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// An Account is a row of "User", without the view settings, which are kept by the front ends.
type Account struct {
	ID, Email, Name, PasswordHash string
	FailedLogins                  int
	LockedUntil, LastLoginAt      time.Time // zero: none
	CreatedAt, UpdatedAt          time.Time
	Notes                         int64  // the number of its notes
	Null                          string // a required column that is NULL; "": none is
}

// A Note is a row of "Note".
type Note struct {
	ID, Title, Content                            string
	Tags                                          []*string // nil: NULL
	Color                                         *string
	Pinned, Favorite, Archived, Markdown, Trashed bool
	TrashedAt                                     time.Time // zero: none
	CreatedAt, UpdatedAt                          time.Time
	Null                                          string // a required column that is NULL; "": none is
}

// An Orphan is a note whose account does not exist. A database without the foreign key can have
// some.
type Orphan struct{ ID, UserID string }

// A Database is a snapshot of the old database. It is for one goroutine, and for one query at a
// time.
type Database struct {
	conn *pgx.Conn
	tx   pgx.Tx
}

// Open connects to the old database and begins the snapshot. The error names all tables and columns
// that are missing or have the wrong type.
func Open(ctx context.Context, server *pgx.ConnConfig) (*Database, error) {
	conn, err := pgx.ConnectConfig(ctx, plain(server))
	if err != nil {
		return nil, err
	}
	d := &Database{conn: conn}
	if err := d.begin(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Close ends the connection.
func (d *Database) Close() error {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return d.conn.Close(ctx)
}

// plain returns server without the URL parameters that only the old backend's database library
// understands. The server would refuse them.
func plain(server *pgx.ConnConfig) *pgx.ConnConfig {
	server = server.Copy()
	if schema := server.RuntimeParams["schema"]; schema != "" {
		server.RuntimeParams["search_path"] = pgx.Identifier{schema}.Sanitize()
	}
	for _, name := range []string{
		"schema", "connection_limit", "pool_timeout", "socket_timeout", "pgbouncer", "sslaccept", "sslidentity",
		"statement_cache_size",
	} {
		delete(server.RuntimeParams, name)
	}
	// On a pooler's connection, names of prepared statements may be in use already.
	server.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec
	return server
}

// begin starts the transaction in which everything is read. It turns off the timeouts of statements
// and idle transactions, because the transaction also waits for the writes of the import. A policy
// that hides rows causes an error instead of fewer rows.
func (d *Database) begin(ctx context.Context) error {
	tx, err := d.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	d.tx = tx
	_, err = tx.Exec(ctx, `SELECT set_config(name, value, true)
		FROM (VALUES ('statement_timeout', '0'), ('idle_in_transaction_session_timeout', '0'),
			('transaction_timeout', '0'), ('row_security', 'off')
		) AS wanted (name, value) WHERE current_setting(name, true) IS NOT NULL`)
	if err != nil {
		return err
	}
	return d.check(ctx)
}

const (
	text    = "text"
	moment  = "timestamp without time zone"
	boolean = "boolean"
	number  = "integer"
)

// needed lists the columns that are read, and their types.
var needed = []struct{ table, column, kind string }{
	{"User", "id", text}, {"User", "email", text}, {"User", "password", text}, {"User", "name", text},
	{"User", "failedLoginAttempts", number}, {"User", "accountLockedUntil", moment}, {"User", "lastLoginAt", moment},
	{"User", "createdAt", moment}, {"User", "updatedAt", moment},
	{"Note", "id", text}, {"Note", "title", text}, {"Note", "content", text}, {"Note", "tags", "text[]"},
	{"Note", "color", text}, {"Note", "isPinned", boolean}, {"Note", "isFavorite", boolean},
	{"Note", "isArchived", boolean}, {"Note", "isMarkdown", boolean}, {"Note", "isTrashed", boolean},
	{"Note", "trashedAt", moment}, {"Note", "userId", text}, {"Note", "createdAt", moment},
	{"Note", "updatedAt", moment},
}

// check compares the tables with needed.
func (d *Database) check(ctx context.Context) error {
	var wrong []string
	found := map[string]map[string]string{}
	for _, need := range needed {
		columns, known := found[need.table]
		if !known {
			var err error
			if columns, err = d.columns(ctx, need.table); err != nil {
				return err
			}
			found[need.table] = columns
			if len(columns) == 0 {
				wrong = append(wrong, fmt.Sprintf("there is no table %q", need.table))
			}
		}
		switch kind, there := columns[need.column]; {
		case len(columns) == 0:
		case !there:
			wrong = append(wrong, fmt.Sprintf("table %q has no column %q", need.table, need.column))
		case kind != need.kind:
			wrong = append(wrong,
				fmt.Sprintf("column %q of table %q is %s, not %s", need.column, need.table, kind, need.kind))
		}
	}
	if wrong != nil {
		return fmt.Errorf("not the database of the old backend's last release: %s", strings.Join(wrong, ", "))
	}
	return nil
}

// columns returns the types of a table's columns by name. It returns none if there is no such
// table. All types of text count as text.
func (d *Database) columns(ctx context.Context, table string) (map[string]string, error) {
	rows, err := d.tx.Query(ctx, `SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
		WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`, pgx.Identifier{table}.Sanitize())
	if err != nil {
		return nil, err
	}
	columns := map[string]string{}
	var name, kind string
	_, err = pgx.ForEachRow(rows, []any{&name, &kind}, func() error {
		columns[name] = strings.Replace(kind, "character varying", text, 1)
		return nil
	})
	return columns, err
}

// Accounts returns all accounts, the oldest first.
func (d *Database) Accounts(ctx context.Context) ([]Account, error) {
	rows, err := d.tx.Query(ctx, `SELECT "id", "email", "name", "password", "failedLoginAttempts",
			"accountLockedUntil", "lastLoginAt", "createdAt", "updatedAt",
			(SELECT count(*) FROM "Note" WHERE "userId" = "User"."id")
		FROM "User" ORDER BY "createdAt", "id"`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (a Account, err error) {
		var r required
		var locked, signedIn, created, updated pgtype.Timestamp
		err = row.Scan(need(&r, "id", &a.ID), need(&r, "email", &a.Email), need(&r, "name", &a.Name),
			need(&r, "password", &a.PasswordHash), need(&r, "failedLoginAttempts", &a.FailedLogins),
			&locked, &signedIn, need(&r, "createdAt", &created), need(&r, "updatedAt", &updated), &a.Notes)
		a.Null = r.done()
		a.LockedUntil, a.LastLoginAt, a.CreatedAt, a.UpdatedAt = at(locked), at(signedIn), at(created), at(updated)
		return a, err
	})
}

// Notes returns an account's notes, the oldest first. A note is read only when the iteration
// reaches it. An error is the last pair.
func (d *Database) Notes(ctx context.Context, account string) iter.Seq2[Note, error] {
	return each(ctx, d.tx, scanNote, `SELECT "id", "title", "content", "tags", "color",
			"isPinned", "isFavorite", "isArchived", "isMarkdown", "isTrashed", "trashedAt", "createdAt", "updatedAt"
		FROM "Note" WHERE "userId" = $1 ORDER BY "createdAt", "id"`, account)
}

func scanNote(row pgx.CollectableRow) (n Note, err error) {
	var r required
	var trashed, created, updated pgtype.Timestamp
	var tags pgtype.FlatArray[*string]
	err = row.Scan(need(&r, "id", &n.ID), need(&r, "title", &n.Title), need(&r, "content", &n.Content), &tags, &n.Color,
		need(&r, "isPinned", &n.Pinned), need(&r, "isFavorite", &n.Favorite), need(&r, "isArchived", &n.Archived),
		need(&r, "isMarkdown", &n.Markdown), need(&r, "isTrashed", &n.Trashed), &trashed,
		need(&r, "createdAt", &created), need(&r, "updatedAt", &updated))
	n.Null = r.done()
	n.Tags, n.TrashedAt, n.CreatedAt, n.UpdatedAt = tags, at(trashed), at(created), at(updated)
	return n, err
}

// required collects the columns of a row that must not be NULL. Some are NULL all the same in a
// database whose tables were altered, or that was restored without its constraints.
type required struct {
	null string // the first column that is NULL; "": none is
	take []func()
}

// need returns the place where Scan puts a column. The value is stored in to by take.
func need[T any](r *required, column string, to *T) **T {
	found := new(*T)
	r.take = append(r.take, func() {
		if *found != nil {
			*to = **found
		} else if r.null == "" {
			r.null = column
		}
	})
	return found
}

// done stores what Scan has read, and returns the column that is NULL.
func (r *required) done() (null string) {
	for _, take := range r.take {
		take()
	}
	return r.null
}

// Orphans returns the notes that belong to no account. An error is the last pair.
func (d *Database) Orphans(ctx context.Context) iter.Seq2[Orphan, error] {
	return each(ctx, d.tx, pgx.RowToStructByPos[Orphan], `SELECT coalesce("id", ''), coalesce("userId", '') FROM "Note"
		WHERE NOT EXISTS (SELECT FROM "User" WHERE "User"."id" = "userId") ORDER BY "id"`)
}

// each runs a query and returns its rows one by one. A caller that stops before the last row ends
// the connection, because the remaining rows might take long to read.
func each[T any](
	ctx context.Context, tx pgx.Tx, scan pgx.RowToFunc[T], query string, args ...any,
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		rows, _ := tx.Query(ctx, query, args...) // rows returns the same error
		defer func() { cancel(); rows.Close() }()
		for rows.Next() {
			row, err := scan(rows)
			if !yield(row, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			var none T
			yield(none, err)
		}
	}
}

// at converts a time of the database, which is in UTC. NULL becomes the zero time. The infinities
// become the ends of PostgreSQL's calendar, which no note's date reaches.
func at(t pgtype.Timestamp) time.Time {
	switch {
	case !t.Valid:
		return time.Time{}
	case t.InfinityModifier == pgtype.Infinity:
		return time.Date(294277, 1, 1, 0, 0, 0, 0, time.UTC)
	case t.InfinityModifier == pgtype.NegativeInfinity:
		return time.Date(-4713, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return t.Time.Truncate(time.Millisecond)
}
