package engine

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// These are the errors to which Translate maps those of both engines. The texts are for logs.
var (
	ErrNotFound   = errors.New("not found")
	ErrDuplicate  = errors.New("exists already")
	ErrForeignKey = errors.New("owner is gone") // a row refers to one that is not there

	// ErrUnavailable: the database cannot serve now but may later. It is starting, stopping, gone,
	// full or read-only. The error wraps the cause.
	ErrUnavailable = errors.New("database unavailable")

	// ErrSchema: this binary and the schema do not fit. Waiting won't help.
	ErrSchema error = unusable("schema does not fit this binary")

	// ErrRefused: the database answers but refuses access. The password is wrong, there is no such
	// database, or a right is missing. Waiting won't help.
	ErrRefused error = unusable("database refuses access")

	// ErrEncoding: the database's encoding can't represent some characters. Waiting won't help.
	ErrEncoding error = unusable("database has another encoding than UTF8")
)

// unusable is an ErrUnavailable that waiting does not end.
type unusable string

func (e unusable) Error() string { return string(e) }

// Is reports that e is an ErrUnavailable.
func (e unusable) Is(target error) bool { return target == ErrUnavailable }

// refusals are the SQLSTATEs of ErrRefused.
var refusals = []string{
	"28000", // invalid_authorization_specification: no such role, no line in pg_hba.conf
	"28P01", // invalid_password
	"3D000", // invalid_catalog_name: no such database
	"3F000", // invalid_schema_name: no schema to make tables in
	"42501", // insufficient_privilege
}

// refused returns err as ErrRefused if its SQLSTATE is one of refusals, and otherwise nil.
func refused(err error) error {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && slices.Contains(refusals, e.Code) {
		return fmt.Errorf("%w: %w", ErrRefused, e)
	}
	return nil
}

// Translate maps an error of gorm or of a driver to the errors above. It returns an error that it
// does not know unchanged.
func Translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, gorm.ErrRecordNotFound), errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case errors.Is(err, gorm.ErrDuplicatedKey):
		return ErrDuplicate
	case errors.Is(err, gorm.ErrForeignKeyViolated):
		return ErrForeignKey
	case errors.Is(err, ErrUnavailable):
		return Unavailable(err)
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return translatePostgres(e)
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return translateSQLite(e)
	}
	return translateConn(err)
}

// translatePostgres maps the SQLSTATE. Its first two characters are the class.
func translatePostgres(e *pgconn.PgError) error {
	switch e.Code {
	case "23505": // unique_violation
		return ErrDuplicate
	case "23503": // foreign_key_violation
		return ErrForeignKey
	case "25006", // read_only_sql_transaction: a standby, or default_transaction_read_only
		"25P03",          // idle_in_transaction_session_timeout: ours was idle for too long
		"3D000",          // invalid_catalog_name: no such database
		"40001", "40P01": // serialization_failure, deadlock_detected: the retries have failed too
		return Unavailable(e)
	}
	switch e.Code[:min(2, len(e.Code))] {
	case "08", // connection exception
		"28", // invalid authorization
		"53", // insufficient resources: too many connections, disk full, out of memory
		"57", // operator intervention: shutting down, starting, cancelled
		"58": // system error: input and output
		return Unavailable(e)
	}
	return e
}

// translateSQLite maps the result code. Its lowest byte says what happened, and the other bytes say
// where.
func translateSQLite(e *sqlite.Error) error {
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return ErrDuplicate
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return ErrForeignKey
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_INTERRUPT: // only an ended context interrupts
		return fmt.Errorf("%w: %w", context.Canceled, e)
	case sqlite3.SQLITE_FULL:
		return Unavailable(fmt.Errorf("disk full: %w", e))
	case sqlite3.SQLITE_READONLY:
		return Unavailable(fmt.Errorf("data directory is read-only: %w", e))
	case sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("not a SQLite database: %w", e)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		return Unavailable(e)
	}
	return e
}

// translateConn recognizes a connection that was lost or could not be made.
func translateConn(err error) error {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok && !errors.Is(err, context.Canceled) {
		return Unavailable(err) // a deadline error in it is the dialler's own
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return Unavailable(err)
	}
	lost := []error{
		driver.ErrBadConn, sql.ErrConnDone, pgconn.ErrConnClosed, net.ErrClosed,
		io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE,
	}
	for _, target := range lost {
		if errors.Is(err, target) {
			return Unavailable(err)
		}
	}
	// database/sql does not export this error.
	if strings.HasSuffix(err.Error(), "sql: database is closed") {
		return Unavailable(err)
	}
	return err
}

// Unavailable wraps cause as an ErrUnavailable. If pgx could not connect, the text of the cause is
// shortened to one line.
func Unavailable(cause error) error {
	if e, ok := errors.AsType[*pgconn.ConnectError](cause); ok {
		return connectFailure{e}
	}
	if errors.Is(cause, ErrUnavailable) {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, cause)
}

// A connectFailure is an ErrUnavailable whose cause is that pgx could not connect. pgx's own text
// has a line for each attempt, with and without TLS and for each address. Each line names the user
// and the database.
type connectFailure struct{ cause *pgconn.ConnectError }

func (e connectFailure) Error() string {
	known := reasons(e.cause, nil)
	if len(known) == 0 {
		known = []string{errGivenUp.Error()}
	}
	return ErrUnavailable.Error() + ": " + strings.Join(known, "; ")
}

func (e connectFailure) Unwrap() []error { return []error{ErrUnavailable, e.cause} }

// reasons appends the texts of the innermost errors of err to known, each text once. It leaves out
// errGivenUp, the error of an attempt that the health monitor ended: the monitor learned the reason
// from another attempt.
func reasons(err error, known []string) []string {
	if err == errGivenUp {
		return known
	}
	var within []error
	switch e := err.(type) {
	case *net.OpError, *pgconn.PgError: // their own text is short, and has the address
	case interface{ Unwrap() []error }:
		within = e.Unwrap()
	case interface{ Unwrap() error }:
		if cause := e.Unwrap(); cause != nil { // a net.DNSError has none, as a rule
			within = []error{cause}
		}
	}
	for _, cause := range within {
		known = reasons(cause, known)
	}
	text := err.Error()
	if within != nil || err == ErrUnavailable || slices.Contains(known, text) {
		return known
	}
	return append(known, text)
}

// IsRetryable reports whether a transaction may be run again. That is so if PostgreSQL aborted it
// in favour of another, or because the tables have changed.
func IsRetryable(err error) bool {
	if planChanged(err) {
		return true
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "40001" || e.Code == "40P01")
}

// noSuchTable reports whether a query failed because a table does not exist.
func noSuchTable(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "42P01" // undefined_table
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && strings.Contains(e.Error(), "no such table")
}
