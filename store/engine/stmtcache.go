package engine

import (
	"context"
	"database/sql/driver"
)

// maxStmts bounds the prepared statements that a SQLite connection keeps. It is about the number of
// statements that the store has, and one takes some 10 KB.
const maxStmts = 64

// stmtCache opens SQLite connections that keep their statements prepared, as pgx does for
// PostgreSQL. Preparing a statement takes longer than reading a note.
type stmtCache struct{ driver.Connector }

func (k stmtCache) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := k.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &cachingConn{sqliteConn: conn.(sqliteConn), idle: make(map[string]driver.Stmt)}, nil
}

// sqliteConn is the part of modernc's connection that database/sql needs.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// cachingConn is a connection with a cache of prepared statements. Like every driver.Conn it is
// used by one goroutine at a time.
type cachingConn struct {
	sqliteConn
	idle map[string]driver.Stmt // by text; a statement in use is not in it
}

// get returns a prepared statement, which is the caller's alone until put.
func (c *cachingConn) get(ctx context.Context, query string) (driver.Stmt, error) {
	if stmt, ok := c.idle[query]; ok {
		delete(c.idle, query)
		return stmt, nil
	}
	return c.PrepareContext(ctx, query)
}

// put returns a statement to the cache, and evicts another if there are too many. It closes a
// statement that failed, or whose text the cache has already.
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
		_ = c.put(query, stmt, err) // err says what failed
		return nil, err
	}
	return cachingRows{rows, func(err error) error { return c.put(query, stmt, err) }}, nil
}

func (c *cachingConn) Close() error {
	for _, stmt := range c.idle {
		_ = stmt.Close() // the connection's own Close reports the error
	}
	return c.sqliteConn.Close()
}

// cachingRows put their statement back into the cache when they are closed.
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
