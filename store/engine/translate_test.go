package engine

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
)

func TestTranslate(t *testing.T) {
	code := func(sqlstate string) error { return &pgconn.PgError{Code: sqlstate} }
	unknown := errors.New("unknown")
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"no row", gorm.ErrRecordNotFound, ErrNotFound},
		{"no row, said by database/sql", sql.ErrNoRows, ErrNotFound},
		{"duplicate", fmt.Errorf("insert: %w", gorm.ErrDuplicatedKey), ErrDuplicate},
		{"duplicate, said by PostgreSQL", code("23505"), ErrDuplicate},
		{"foreign key", gorm.ErrForeignKeyViolated, ErrForeignKey},
		{"foreign key, said by PostgreSQL", code("23503"), ErrForeignKey},
		{"shut down by the administrator", code("57P01"), ErrUnavailable},
		{"shut down by a crash", code("57P02"), ErrUnavailable},
		{"starting", code("57P03"), ErrUnavailable},
		{"too many connections", code("53300"), ErrUnavailable},
		{"disk full", code("53100"), ErrUnavailable},
		{"input and output", code("58030"), ErrUnavailable},
		{"standby", code("25006"), ErrUnavailable},
		{"connection lost", code("08006"), ErrUnavailable},
		{"deadlock, more than once", code("40P01"), ErrUnavailable},
		{"serialization failure, more than once", code("40001"), ErrUnavailable},
		{"wrong password", code("28P01"), ErrUnavailable},
		{"refused", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, ErrUnavailable},
		{"reset", fmt.Errorf("read: %w", syscall.ECONNRESET), ErrUnavailable},
		{"end of file", fmt.Errorf("read: %w", io.ErrUnexpectedEOF), ErrUnavailable},
		{"bad connection", driver.ErrBadConn, ErrUnavailable},
		{"closed", closedError(t), ErrUnavailable},
		{"cancelled", fmt.Errorf("query: %w", context.Canceled), context.Canceled},
		{"late", fmt.Errorf("query: %w", context.DeadlineExceeded), context.DeadlineExceeded},
		{"ours already", fmt.Errorf("user: %w", ErrNotFound), ErrNotFound},
		{"our mistake", code("42601"), code("42601")},
		{"without a class", code(""), code("")},
		{"unknown", unknown, unknown},
	} {
		got := Translate(c.err)
		if pg, ok := errors.AsType[*pgconn.PgError](c.want); ok {
			if e, ok := errors.AsType[*pgconn.PgError](got); !ok || e.Code != pg.Code || errors.Is(got, ErrUnavailable) {
				t.Errorf("%s: Translate(%v) = %v, want it as it is", c.name, c.err, got)
			}
			continue
		}
		if !errors.Is(got, c.want) {
			t.Errorf("%s: Translate(%v) = %v, want %v", c.name, c.err, got, c.want)
		}
		if errors.Is(c.want, ErrUnavailable) && !errors.Is(got, c.err) {
			t.Errorf("%s: Translate(%v) = %v, which has lost the cause", c.name, c.err, got)
		}
	}
	if err := Translate(nil); err != nil {
		t.Errorf("Translate(nil) = %v", err)
	}
}

// closedError is what database/sql says of a database that is closed.
func closedError(t *testing.T) error {
	t.Helper()
	db, err := sql.Open("sqlite", "file:unused")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return fmt.Errorf("query: %w", db.Ping())
}
