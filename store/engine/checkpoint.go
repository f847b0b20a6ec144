package engine

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
	restartPages    = 4 * checkpointPages // are enough: the writer waits until all are copied, and begins the log anew
	backstopPages   = 4 * restartPages    // have the writer copy them itself, if nobody else has
)

// LogBytes are left of the file of SQLite's log when it begins anew.
const LogBytes = 2 * restartPages * 4096

// A checkpoint is how far the file is behind the log, in pages.
type checkpoint struct{ log, copied int64 }

func (c checkpoint) behind() int64 { return c.log - c.copied }

// runCheckpoint copies what may be copied (PASSIVE), or only looks (NOOP). It
// can't be interrupted: that would take the connection with it.
func (d *DB) runCheckpoint(mode string) (c checkpoint, err error) {
	var busy bool // somebody else was copying
	err = Pool(d.reads).QueryRow("PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &c.log, &c.copied)
	return c, err
}

// checkpoints keeps SQLite's log short until ctx ends.
func (d *DB) checkpoints(ctx context.Context) {
	failed := false
	for {
		select {
		case <-d.written:
		case <-ctx.Done():
			return
		}
		left, err := d.shortenLog(ctx)
		if err != nil && ctx.Err() == nil && !failed {
			d.log.Warn("the write-ahead log is not copied into the database file, trying again", "error", err)
		}
		failed = err != nil
		wait := 10 * time.Millisecond          // for more to copy together
		if failed || left >= checkpointPages { // a reader is still at what is to be overwritten
			wait = 250 * time.Millisecond
		}
		if Pause(ctx, wait) != nil {
			return
		}
	}
}

// shortenLog copies into the file what there is enough of, and says how much is left.
func (d *DB) shortenLog(ctx context.Context) (left int64, err error) {
	c, err := d.runCheckpoint("NOOP")
	if err != nil || c.behind() < checkpointPages {
		return 0, err
	}
	c, err = d.runCheckpoint("PASSIVE")
	if err != nil || c.behind() > 0 && (c.log < restartPages || c.behind() >= checkpointPages) {
		return c.behind(), err
	}
	err = d.withWriteLock(ctx, func(db *gorm.DB) error {
		if c, err = d.runCheckpoint("PASSIVE"); err != nil || c.behind() > 0 {
			return err
		}
		return beginGeneration(db) // which begins the log anew
	})
	return c.behind(), err
}
