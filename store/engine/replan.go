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

// openPool is stdlib.OpenDB, with connections that survive a change of the tables.
func openPool(server *pgx.ConnConfig, options ...stdlib.OptionOpenDB) *sql.DB {
	return sql.OpenDB(replanner{stdlib.GetConnector(*server, options...)})
}

// A replanner makes connections that ask again when PostgreSQL refuses a prepared
// statement since the type of a column has changed. pgx drops the statement then,
// so that each connection would fail one request.
type replanner struct{ driver.Connector }

func (r replanner) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := r.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return replanningConn{conn.(*stdlib.Conn)}, nil
}

type replanningConn struct{ *stdlib.Conn }

// PgxConn is pgx's connection under driverConn, which one of a Pool of PostgreSQL's
// shows in Raw.
func PgxConn(driverConn any) *pgx.Conn { return driverConn.(replanningConn).Conn.Conn() }

// RollBack takes back the transaction that conn is in, if it is in one.
func RollBack(conn *pgx.Conn) {
	if conn.IsClosed() || conn.PgConn().TxStatus() == txIdle {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := conn.Exec(ctx, "rollback"); err != nil {
		_ = conn.Close(ctx) // which the server takes for a rollback
	}
}

// QueryContext asks twice only outside of a transaction: one that has failed is
// run again as a whole (see IsRetryable).
func (c replanningConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.Conn.QueryContext(ctx, query, args)
	if planChanged(err) && c.Conn.Conn().PgConn().TxStatus() == txIdle {
		return c.Conn.QueryContext(ctx, query, args)
	}
	return rows, err
}

// txIdle is pgx's status of a connection that is in no transaction.
const txIdle = 'I'

// planChanged reports whether PostgreSQL refused a prepared statement since what it
// returns has another type by now. It has done nothing.
func planChanged(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	const featureNotSupported = "0A000"
	return ok && e.Code == featureNotSupported && e.Routine == "RevalidateCachedQuery"
}
