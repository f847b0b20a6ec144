package store

import (
	"context"
	"time"

	"notesd/store/engine"
)

// A Health says whether the database can be used.
type Health = engine.Health

// Health returns the last known state of the database. It sends no query, because Monitor does.
// Once the server is known to be gone, Health returns that at once.
func (s *Store) Health() Health { return s.db.Health() }

// HealthChanged returns a channel that has an element when the database has gone or come back. It
// is for one reader.
func (s *Store) HealthChanged() <-chan struct{} { return s.db.HealthChanged() }

// Monitor asks the database once a second whether it can be used, until ctx ends.
func (s *Store) Monitor(ctx context.Context) { s.db.Monitor(ctx) }

// Ready returns nil when the database answers and its schema fits, and otherwise why not.
func (s *Store) Ready(ctx context.Context) error { return s.db.Ready(ctx) }

// WaitReady returns nil once the store can be used. It returns ErrSchema, ErrRefused or ErrEncoding
// if the store never will be usable. If ctx ends first, the error is ctx's with the reason.
func (s *Store) WaitReady(ctx context.Context) error { return s.db.WaitReady(ctx) }

// WaitStarted waits until the usable store has looked for notes that its start has to index. From then
// on it sends no query of its own until something changes. The error is that of ctx.
func (s *Store) WaitStarted(ctx context.Context) error {
	select {
	case <-s.started:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Writable returns an error if the database has lately refused a write for want of space, although
// it may answer: its disk is full, fails or is read-only. Otherwise it returns nil. Writable sends
// no query: it goes by the results of writes.
func (s *Store) Writable() error { return s.db.Writable() }

// FilesInPlace returns nil while the open files of a SQLite database are those at their paths, and
// otherwise why writes are refused. On PostgreSQL it returns nil.
func (s *Store) FilesInPlace() error { return s.db.FilesInPlace() }

const (
	filesEvery = time.Second     // interval between checks of the files
	filesTrust = 5 * time.Second // for how long a successful check allows copies to be trusted
)

// watchFiles checks the files of SQLite until ctx ends. While they are in place no other process
// can write to them, so the Invalidator may use its copies.
func (s *Store) watchFiles(ctx context.Context) {
	defer s.lookAtFiles.Stop()
	for {
		began := time.Now()
		if s.db.LookAtFiles() == nil {
			s.invalidator.LeaseUntil(began.Add(filesTrust))
		} else {
			s.invalidator.LeaseUntil(began) // ends the lease
			s.invalidator.InvalidateAll()
		}
		select {
		case <-s.lookAtFiles.C:
		case <-ctx.Done():
			return
		}
	}
}
