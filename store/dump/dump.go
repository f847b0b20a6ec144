// Package dump saves the users and notes of a database, and restores them into a database of either
// engine. Dump produces lines of text, and Restore reads them. An archive is the file that holds
// the lines, compressed and with checksums.
package dump

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"notesd/store/engine"
	"notesd/store/schema"
)

// Dump passes all that the database at name has of users and notes to put, line by line, and
// describes it. The data is a snapshot of one instant. put must not keep its argument. Restore
// reads the lines into a database of either engine. Two databases have the same contents if their
// lines are the same, except for the first line, which says when and from which engine they were
// taken.
//
// Dump only reads, in one transaction on a connection of its own, and needs no store. Others may
// read and write meanwhile, in this process or another, also on a SQLite file, and never wait for
// it. Until it ends PostgreSQL keeps old rows, and SQLite keeps its log of changes. Dump holds one
// row in memory at a time.
func Dump(ctx context.Context, name string, put func(line []byte) error) (Backup, error) {
	db, from, err := openToRead(name)
	if err != nil {
		return Backup{}, err
	}
	defer db.Close() // only reads were done
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: isolation(from), ReadOnly: true})
	if err != nil {
		return Backup{}, engine.Translate(err)
	}
	defer tx.Rollback() // there is nothing to roll back
	d := dumper{ctx, tx, from, newLineWriter(put)}
	b, err := d.write()
	return b, engine.Translate(err)
}

// isolation returns the level at which a transaction sees a single snapshot. SQLite has no other.
func isolation(from string) sql.IsolationLevel {
	if from == engine.SQLite {
		return sql.LevelDefault
	}
	return sql.LevelRepeatableRead
}

// openToRead opens an existing database for reading.
func openToRead(name string) (db *sql.DB, from string, err error) {
	if engine.IsPostgres(name) {
		server, err := engine.ParsePostgresURL(name)
		if err != nil {
			return nil, "", err
		}
		return stdlib.OpenDB(*server, stdlib.OptionAfterConnect(setTimeouts)), engine.PostgreSQL, nil
	}
	path, err := engine.SQLitePath(name)
	if err != nil {
		return nil, "", err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("there is no database %s", path)
	}
	// The serving process holds the lock on the data directory.
	db, err = engine.OpenReadOnly(path)
	return db, engine.SQLite, err
}

// setTimeouts sets the timeouts of the server's end of a connection, whose one transaction may take
// long. If this process vanishes without notice, the transaction must not remain for long.
func setTimeouts(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SELECT set_config(name, value, false)
		FROM (VALUES ('statement_timeout', '0'), ('idle_in_transaction_session_timeout', '60s'),
			('lock_timeout', '10s'),
			('tcp_user_timeout', '0'), ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'),
			('tcp_keepalives_count', '4'), ('enable_sort', 'off')
		) AS wanted (name, value) WHERE current_setting(name, true) IS NOT NULL`)
	return err
}

// A dumper is a Dump in progress.
type dumper struct {
	ctx    context.Context
	tx     *sql.Tx
	engine string // the engine that it is taken from
	lines  *lineWriter
}

func (d dumper) write() (Backup, error) {
	head, err := d.head()
	if err != nil {
		return Backup{}, err
	}
	if err := d.lines.write(head); err != nil {
		return Backup{}, err
	}
	foot := backupFoot{Rows: map[string]int64{}}
	for _, t := range dumpTables {
		if foot.Rows[t.name], err = d.table(t); err != nil {
			return Backup{}, fmt.Errorf("read %s: %w", t.name, err)
		}
	}
	if foot.LastKey, err = d.lastKey(); err != nil {
		return Backup{}, fmt.Errorf("read the last key: %w", err)
	}
	return describe(head, foot), d.lines.write(foot)
}

// head reads the schema. With this query the transaction's snapshot begins.
func (d dumper) head() (backupHead, error) {
	found, err := engine.ReadSchema(d.ctx, d.tx)
	if err != nil {
		return backupHead{}, err
	}
	if err := found.Fits(); err != nil {
		return backupHead{}, err
	}
	return backupHead{Schema: found.Version, Engine: d.engine, Taken: time.Now().UTC().Truncate(time.Millisecond)}, nil
}

// table writes a section with all its rows.
func (d dumper) table(t dumpTable) (n int64, err error) {
	found, err := d.columns(t.name)
	if err != nil {
		return 0, err
	}
	columns, unknown := t.selectColumns(found)
	if unknown != "" { // the schema is newer
		return 0, fmt.Errorf("%w: this binary knows nothing of its column %s: use a newer notesd",
			engine.ErrSchema, unknown)
	}
	if err := d.lines.write(backupSection{t.name, schema.Names(columns)}); err != nil {
		return 0, err
	}
	query := "SELECT " + strings.Join(schema.Names(columns), ", ") + " FROM " + t.name + " ORDER BY " + t.key
	rows, err := d.tx.QueryContext(d.ctx, query)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	row := scanTargets(columns)
	for rows.Next() {
		if err := rows.Scan(row...); err != nil {
			return n, err
		}
		if err := d.lines.row(t.name, row); err != nil {
			return n, err
		}
		n++
	}
	return n, rows.Err()
}

// columns returns the names of a table's columns.
func (d dumper) columns(table string) ([]string, error) {
	rows, err := d.tx.QueryContext(d.ctx, "SELECT * FROM "+table+" LIMIT 0")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return rows.Columns()
}

// lastKey returns the largest key that a note has had. PostgreSQL returns the present value, not
// that of the snapshot, so it may be too large but never too small.
func (d dumper) lastKey() (last int64, err error) {
	query := `SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'notes'`
	if d.engine == engine.PostgreSQL {
		query = `SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM notes_key_seq`
	}
	err = d.tx.QueryRowContext(d.ctx, query).Scan(&last)
	return last, err
}
