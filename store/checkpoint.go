package store

import (
	"context"
	"time"

	"gorm.io/gorm"
)

// Pages of SQLite's write-ahead log. Within the commit that fills the log, where
// SQLite would copy them into the file, they are what one write in a hundred
// waits for; so they are copied beside the writes.
// See https://www.sqlite.org/wal.html#avoiding_excessively_large_wal_files.
const (
	checkpointPages = 1000                // are copied together, beside the writer
	restartPages    = 4 * checkpointPages // are enough: the writer waits until the last are copied, and begins the log anew
	backstopPages   = 4 * restartPages    // have the writer copy them itself, if nobody else has

	logBytes = 2 * restartPages * 4096 // are left of the log's file when it begins anew
)

// A checkpoint is how far the file is behind the log, in pages.
type checkpoint struct{ log, copied int64 }

func (c checkpoint) behind() int64 { return c.log - c.copied }

// runCheckpoint copies what may be copied (PASSIVE), or only looks (NOOP). It
// can't be interrupted: that would take the connection with it.
func (s *Store) runCheckpoint(mode string) (c checkpoint, err error) {
	var busy bool // somebody else was copying
	err = pool(s.reads).QueryRow("PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &c.log, &c.copied)
	return c, err
}

// checkpoints keeps SQLite's log short until ctx ends.
func (s *Store) checkpoints(ctx context.Context) {
	failed := false
	for {
		select {
		case <-s.written:
		case <-ctx.Done():
			return
		}
		left, err := s.shortenLog(ctx)
		if err != nil && ctx.Err() == nil && !failed {
			s.log.Warn("the write-ahead log is not copied into the database file, trying again", "error", err)
		}
		failed = err != nil
		wait := 10 * time.Millisecond          // for more to copy together
		if failed || left >= checkpointPages { // a reader is still at what is to be overwritten
			wait = 250 * time.Millisecond
		}
		if pause(ctx, wait) != nil {
			return
		}
	}
}

// shortenLog copies into the file what there is enough of, and says how much is left.
func (s *Store) shortenLog(ctx context.Context) (left int64, err error) {
	c, err := s.runCheckpoint("NOOP")
	if err != nil || c.behind() < checkpointPages {
		return 0, err
	}
	c, err = s.runCheckpoint("PASSIVE")
	if err != nil || c.behind() > 0 && (c.log < restartPages || c.behind() >= checkpointPages) {
		return c.behind(), err
	}
	err = s.inTurn(ctx, func(db *gorm.DB) error {
		if c, err = s.runCheckpoint("PASSIVE"); err != nil || c.behind() > 0 {
			return err
		}
		return beginGeneration(db) // which begins the log anew
	})
	return c.behind(), err
}
