package dump

import (
	"context"
	"database/sql"
	"fmt"
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
	if _, err := tx.ExecContext(ctx, "ANALYZE "+strings.Join(tables, ", ")+", note_search"); err != nil {
		return fmt.Errorf("analyze: %w", err)
	}
	forget, args := pgnotify.InvalidateAll() // copies of processes that ran before
	if _, err := tx.ExecContext(ctx, forget, args...); err != nil {
		return err
	}
	return tx.Commit()
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
