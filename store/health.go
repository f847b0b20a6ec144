package store

import (
	"context"
	"time"

	"notesd/store/engine"
)

// A Health says whether the database can be used.
type Health = engine.Health

// Health returns what is known of the database. It asks nothing: Monitor does, and once it is
// known that the server is gone, that is the answer at once.
func (s *Store) Health() Health { return s.db.Health() }

// HealthChanged has an element when the database has gone or come back, for one reader.
func (s *Store) HealthChanged() <-chan struct{} { return s.db.HealthChanged() }

// Monitor asks the database once a second whether it can be used, until ctx ends.
func (s *Store) Monitor(ctx context.Context) { s.db.Monitor(ctx) }

// Ready returns nil when the database answers and its schema fits, else why not.
func (s *Store) Ready(ctx context.Context) error { return s.db.Ready(ctx) }

// WaitReady returns nil once the store can be used, ErrSchema, ErrRefused or
// ErrEncoding if it never will be, and when ctx ends first ctx's error with the reason.
func (s *Store) WaitReady(ctx context.Context) error { return s.db.WaitReady(ctx) }

// Writable returns why the database, though it may answer, has lately had no
// place for a write (its disk is full, fails or is read-only), or nil. It asks
// nothing: writes tell.
func (s *Store) Writable() error { return s.db.Writable() }

// FilesInPlace returns nil while the files of a SQLite database that are open are
// those at their paths, or why writes are refused. On PostgreSQL it is nil.
func (s *Store) FilesInPlace() error { return s.db.FilesInPlace() }

const (
	filesEvery = time.Second     // between looks at the files
	filesTrust = 5 * time.Second // that a look which found them in place is good for
)

// watchFiles looks at the files of SQLite until ctx ends. While they are in place no
// other process can write to them, and the Witness may trust its copies.
func (s *Store) watchFiles(ctx context.Context) {
	defer s.lookAtFiles.Stop()
	for {
		began := time.Now()
		if s.db.LookAtFiles() == nil {
			s.witness.Trust(began.Add(filesTrust))
		} else {
			s.witness.Trust(began) // no longer
			s.witness.Forget()
		}
		select {
		case <-s.lookAtFiles.C:
		case <-ctx.Done():
			return
		}
	}
}
