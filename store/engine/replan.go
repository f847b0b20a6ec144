package engine

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// openPool is stdlib.OpenDB with connections that survive a schema change.
func openPool(server *pgx.ConnConfig, options ...stdlib.OptionOpenDB) *sql.DB {
	return sql.OpenDB(replanner{stdlib.GetConnector(*server, options...)})
}

// A replanner makes connections that retry a query when PostgreSQL refuses its prepared statement
// because the type of a column has changed. pgx discards the statement then. Without the retry each
// connection would fail one request.
type replanner struct{ driver.Connector }

func (r replanner) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := r.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return replanningConn{conn.(*stdlib.Conn)}, nil
}

type replanningConn struct{ *stdlib.Conn }

// PgxConn returns pgx's connection under driverConn. driverConn is what Raw of a connection of a
// PostgreSQL Pool passes on.
func PgxConn(driverConn any) *pgx.Conn { return driverConn.(replanningConn).Conn.Conn() }

// RollBack rolls back the transaction that conn is in, if it is in one.
func RollBack(conn *pgx.Conn) {
	if conn.IsClosed() || conn.PgConn().TxStatus() == txIdle {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := conn.Exec(ctx, "rollback"); err != nil {
		_ = conn.Close(ctx) // the server rolls back when the connection is closed
	}
}

// QueryContext retries only outside of a transaction. A transaction that has failed is run again as
// a whole (see IsRetryable).
func (c replanningConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.Conn.QueryContext(ctx, query, args)
	if planChanged(err) && c.Conn.Conn().PgConn().TxStatus() == txIdle {
		return c.Conn.QueryContext(ctx, query, args)
	}
	return rows, err
}

// txIdle is pgx's status for a connection that is in no transaction.
const txIdle = 'I'

// planChanged reports whether PostgreSQL refused a prepared statement because its result has
// another type now. The statement has changed nothing then.
func planChanged(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	const featureNotSupported = "0A000"
	return ok && e.Code == featureNotSupported && e.Routine == "RevalidateCachedQuery"
}
