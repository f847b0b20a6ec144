package engine

import (
	"context"
	"time"

	"gorm.io/gorm"
)

// These are numbers of pages of SQLite's write-ahead log. SQLite's own checkpoint copies them into
// the file within the commit that fills the log, so one write in a hundred would wait for it.
// Therefore the goroutine of checkpoints copies them, at the same time as the writes. See
// https://www.sqlite.org/wal.html#avoiding_excessively_large_wal_files.
const (
	// checkpointPages is how many pages are copied together, while the writer goes on.
	checkpointPages = 1000
	// restartPages is the length from which the writer waits until all pages are copied, and then
	// begins the log anew.
	restartPages = 4 * checkpointPages
	// backstopPages is the length from which the writer copies the pages itself, if the background
	// has not done it.
	backstopPages = 4 * restartPages
)

// LogBytes is the size, in bytes, to which SQLite's log file is cut when it begins anew.
const LogBytes = 2 * restartPages * 4096

// A checkpoint says how many pages the log has, and how many of them are copied into the file.
type checkpoint struct{ log, copied int64 }

func (c checkpoint) behind() int64 { return c.log - c.copied }

// runCheckpoint copies the pages that may be copied now (PASSIVE), or only counts them (NOOP). It
// can't be interrupted, because an interrupt would break the connection.
func (d *DB) runCheckpoint(mode string) (c checkpoint, err error) {
	var busy bool // another checkpoint was running
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
		wait := 10 * time.Millisecond          // so that more pages are copied together
		if failed || left >= checkpointPages { // a reader needs pages that would be overwritten
			wait = 250 * time.Millisecond
		}
		if Pause(ctx, wait) != nil {
			return
		}
	}
}

// shortenLog copies pages into the file if there are enough of them, and returns how many are left.
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
		return beginGeneration(db) // this write begins the log anew
	})
	return c.behind(), err
}
