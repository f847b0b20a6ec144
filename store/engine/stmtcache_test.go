package engine

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"path/filepath"
	"testing"

	"modernc.org/sqlite"
)

// openKept opens one SQLite connection with wrap around its connector.
func openKept(t testing.TB, wrap func(driver.Connector) driver.Connector) *sql.DB {
	t.Helper()
	connector, err := sqlite.NewConnector("file:" + filepath.Join(t.TempDir(), "kept.db"))
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(wrap(connector))
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	_, err = db.Exec(`CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER UNIQUE);
		INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)`)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func kept(c driver.Connector) driver.Connector { return stmtCache{c} }

// idle is how many statements db's connection keeps.
func idle(t *testing.T, db *sql.DB) (n int) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Raw(func(c any) error { n = len(c.(*cachingConn).idle); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func sum(t *testing.T, db *sql.DB) (n int) {
	t.Helper()
	if err := db.QueryRow("SELECT sum(n) FROM t WHERE id < ?", 10).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A kept statement forgets what it was bound to, what it was doing, and a schema
// that is no more.
func TestStatementKept(t *testing.T) {
	db := openKept(t, kept)
	began := idle(t, db)
	for range 3 {
		if got := sum(t, db); got != 6 {
			t.Fatalf("sum = %d, want 6", got)
		}
	}
	if got := idle(t, db); got != began+1 {
		t.Errorf("one query three times: %d more statements kept, want 1", got-began)
	}
	const pick = "SELECT n FROM t WHERE id > ? ORDER BY id"
	for id := range 3 { // each is closed after its first row
		var n int
		if err := db.QueryRow(pick, id).Scan(&n); err != nil || n != id+1 {
			t.Errorf("row after %d = %d, %v", id, n, err)
		}
	}
	if _, err := db.Exec("ALTER TABLE t ADD COLUMN more INTEGER; UPDATE t SET n = n * 10"); err != nil {
		t.Fatal(err)
	}
	if got := sum(t, db); got != 60 {
		t.Errorf("sum after the table has changed = %d, want 60", got)
	}
	if _, err := db.Exec("DROP TABLE t"); err != nil {
		t.Errorf("DROP TABLE beside kept statements = %v", err)
	}
}

// While one reads the rows of a statement another may begin it.
func TestStatementTwice(t *testing.T) {
	db := openKept(t, kept)
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	const query = "SELECT n FROM t WHERE n <= ? ORDER BY n"
	var got []int
	rows, err := tx.Query(query, 3)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var n int
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
		inner, err := tx.Query(query, n)
		if err != nil {
			t.Fatal(err)
		}
		for inner.Next() {
			got = append(got, n)
		}
		if err := inner.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil || fmt.Sprint(got) != "[1 2 2 3 3 3]" {
		t.Errorf("a statement within itself = %v, %v, want [1 2 2 3 3 3]", got, err)
	}
}

// Failing statements are not kept and do no harm.
func TestStatementFails(t *testing.T) {
	db := openKept(t, kept)
	began := idle(t, db)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 {
		if _, err := db.Exec("INSERT INTO t VALUES (?, ?)", 9, 1); err == nil {
			t.Error("a second 1 can be inserted")
		}
		if _, err := db.Exec("SELECT nothing FROM nowhere"); err == nil {
			t.Error("nowhere can be read")
		}
		if err := db.QueryRow("INSERT INTO t VALUES (?, ?) RETURNING id", 9, 1).Err(); err == nil {
			t.Error("a second 1 can be inserted by a query")
		}
		if _, err := db.QueryContext(ended, "SELECT n FROM t"); err == nil {
			t.Error("a context that has ended can read")
		}
	}
	if got := idle(t, db); got != began {
		t.Errorf("%d failing statements are kept", got-began)
	}
	if got := sum(t, db); got != 6 {
		t.Errorf("sum = %d, want 6", got)
	}
}

func TestStatementsBounded(t *testing.T) {
	db := openKept(t, kept)
	for i := range 3 * maxStmts {
		var n int
		if err := db.QueryRow(fmt.Sprintf("SELECT %d", i)).Scan(&n); err != nil || n != i {
			t.Fatalf("SELECT %d = %d, %v", i, n, err)
		}
	}
	if got := idle(t, db); got != maxStmts {
		t.Errorf("%d statements kept, want %d", got, maxStmts)
	}
}

func BenchmarkStatement(b *testing.B) {
	for _, c := range []struct {
		name string
		wrap func(driver.Connector) driver.Connector
	}{{"plain", func(c driver.Connector) driver.Connector { return c }}, {"kept", kept}} {
		b.Run(c.name, func(b *testing.B) {
			db := openKept(b, c.wrap)
			for b.Loop() {
				var n int
				err := db.QueryRow("SELECT n FROM t WHERE id = ? AND n IN (SELECT n FROM t WHERE n > ?)", 2, 1).Scan(&n)
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
