package engine

import (
	"context"
	"database/sql/driver"
)

// maxStmts bounds what a SQLite connection keeps prepared: about all that
// the store has, at some 10 KB each.
const maxStmts = 64

// stmtCache opens SQLite connections that keep their statements prepared,
// as pgx does for PostgreSQL. Preparing takes longer than reading a note does.
type stmtCache struct{ driver.Connector }

func (k stmtCache) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := k.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &cachingConn{sqliteConn: conn.(sqliteConn), idle: make(map[string]driver.Stmt)}, nil
}

// sqliteConn is what database/sql wants of a connection and modernc's has.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// cachingConn is used by one goroutine at a time, as every driver.Conn.
type cachingConn struct {
	sqliteConn
	idle map[string]driver.Stmt // by their text; one in use is not among them
}

// get returns a statement that nobody else uses until it is given back.
func (c *cachingConn) get(ctx context.Context, query string) (driver.Stmt, error) {
	if stmt, ok := c.idle[query]; ok {
		delete(c.idle, query)
		return stmt, nil
	}
	return c.PrepareContext(ctx, query)
}

// put takes a statement back, and another leave if there are too many. One
// that failed is not kept, nor is a second with the same text.
func (c *cachingConn) put(query string, stmt driver.Stmt, failed error) error {
	if _, twin := c.idle[query]; failed != nil || twin {
		return stmt.Close()
	}
	if len(c.idle) >= maxStmts {
		for other, leaving := range c.idle {
			delete(c.idle, other)
			if err := leaving.Close(); err != nil {
				return err
			}
			break
		}
	}
	c.idle[query] = stmt
	return nil
}

func (c *cachingConn) ExecContext(
	ctx context.Context, query string, args []driver.NamedValue,
) (result driver.Result, err error) {
	stmt, err := c.get(ctx, query)
	if err != nil {
		return nil, err
	}
	result, err = stmt.(driver.StmtExecContext).ExecContext(ctx, args)
	if given := c.put(query, stmt, err); err == nil {
		err = given
	}
	return result, err
}

func (c *cachingConn) QueryContext(
	ctx context.Context, query string, args []driver.NamedValue,
) (driver.Rows, error) {
	stmt, err := c.get(ctx, query)
	if err != nil {
		return nil, err
	}
	rows, err := stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
	if err != nil {
		_ = c.put(query, stmt, err) // err says more
		return nil, err
	}
	return cachingRows{rows, func(err error) error { return c.put(query, stmt, err) }}, nil
}

func (c *cachingConn) Close() error {
	for _, stmt := range c.idle {
		_ = stmt.Close() // the connection's own Close says what is wrong
	}
	return c.sqliteConn.Close()
}

// cachingRows give their statement back when they are closed.
type cachingRows struct {
	driver.Rows
	put func(failed error) error
}

func (r cachingRows) Close() error {
	err := r.Rows.Close()
	if given := r.put(err); err == nil {
		err = given
	}
	return err
}
