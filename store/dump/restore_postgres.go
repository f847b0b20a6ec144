package dump

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"notesd/store/engine"
	"notesd/store/pgnotify"
)

// intoPostgres restores in one transaction on a connection of its own.
func (r *restore) intoPostgres(ctx context.Context, name string, schema int64) error {
	server, err := engine.ParsePostgresURL(name)
	if err != nil {
		return err
	}
	m := engine.PostgresMigrator(server, quiet)
	if err := m.UpTo(ctx, schema); err != nil {
		return err
	}
	db := stdlib.OpenDB(*server, stdlib.OptionAfterConnect(setTimeouts))
	defer db.Close() // the transaction has ended
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := r.fillPostgres(ctx, conn); err != nil {
		return err
	}
	r.done.Engine = engine.PostgreSQL
	return r.upgrade(ctx, m, db)
}

// fillPostgres fills the tables while they are locked against all other connections.
func (r *restore) fillPostgres(ctx context.Context, conn *sql.Conn) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after the commit
	var tables []string
	for _, t := range r.tables {
		tables = append(tables, t.name)
	}
	if _, err := tx.ExecContext(ctx, "LOCK TABLE "+strings.Join(tables, ", ")+" IN ACCESS EXCLUSIVE MODE"); err != nil {
		return fmt.Errorf("lock the tables: %w", err)
	}
	if err := r.into(ctx, emptyPostgres{tx, conn}); err != nil {
		return err
	}
	if err := r.refuseOrphans(ctx, tx); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "ANALYZE "+strings.Join(tables, ", ")+", note_search"); err != nil {
		return fmt.Errorf("analyze: %w", err)
	}
	forget, args := pgnotify.InvalidateAll() // copies of processes that ran before
	if _, err := tx.ExecContext(ctx, forget, args...); err != nil {
		return err
	}
	return tx.Commit()
}

// refuseOrphans returns an error if a row's note, or a note's user, is missing. These tables have
// triggers in place of foreign keys.
func (r *restore) refuseOrphans(ctx context.Context, db engine.Querier) error {
	for _, ref := range []struct{ table, column, parent, key string }{
		{"notes", "user_id", "users", "id"},
		{"note_tags", "note_key", "notes", "key"},
		{"note_versions", "note_key", "notes", "key"},
	} {
		if !slices.ContainsFunc(r.tables, func(t dumpTable) bool { return t.name == ref.table }) {
			continue // the backup's schema has none
		}
		var n int64
		err := db.QueryRowContext(ctx, fmt.Sprintf(`SELECT count(*) FROM %s AS child
			WHERE NOT EXISTS (SELECT 1 FROM %s AS parent WHERE parent.%s = child.%s)`,
			ref.table, ref.parent, ref.key, ref.column)).Scan(&n)
		if err == nil && n > 0 {
			err = fmt.Errorf("restore %s: %d rows belong to none of the %s", ref.table, n, ref.parent)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// emptyPostgres is the transaction, with its connection for COPY.
type emptyPostgres struct {
	*sql.Tx
	conn *sql.Conn
}

func (db emptyPostgres) insert(ctx context.Context, table string, columns []string, rows [][]any) error {
	return db.conn.Raw(func(driverConn any) error {
		_, err := driverConn.(*stdlib.Conn).Conn().CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromRows(rows))
		return err
	})
}

// keepKeys sets the sequence of the identity column. A rollback does not undo that.
func (db emptyPostgres) keepKeys(ctx context.Context, last int64) error {
	if last == 0 {
		return nil
	}
	_, err := db.ExecContext(ctx, `SELECT setval('notes_key_seq', $1)`, last)
	return err
}
