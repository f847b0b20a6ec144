package engine

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// writableAfter is the time without a refused write after which the database counts as writable
// again. For a while a full disk takes small writes and refuses large ones. That must count as one
// incident, not many.
const writableAfter = 10 * time.Second

// writability records that the database answers but can't take writes.
type writability struct {
	last atomic.Pointer[refusal] // nil: no write was refused yet
}

// A refusal is a write for which the database had no space.
type refusal struct {
	why       error
	at        time.Time
	recovered atomic.Bool // a write has succeeded since
}

// record records the result of a write.
func (w *writability) record(err error) {
	if isStorageFull(err) {
		w.last.Store(&refusal{why: Translate(err), at: time.Now()})
	} else if r := w.last.Load(); r != nil && err == nil {
		r.recovered.Store(true)
	}
}

func (w *writability) err() error {
	r := w.last.Load()
	if r == nil || r.recovered.Load() && time.Since(r.at) >= writableAfter {
		return nil
	}
	return r.why
}

// isStorageFull reports whether err says that the disk is full, fails or is read-only.
func isStorageFull(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		const diskFull, readOnly, ioError = "53100", "25006", "58030"
		return e.Code == diskFull || e.Code == readOnly || e.Code == ioError
	}
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return false
	}
	code := e.Code() & 0xff
	return code == sqlite3.SQLITE_FULL || code == sqlite3.SQLITE_READONLY || code == sqlite3.SQLITE_IOERR
}
