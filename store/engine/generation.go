package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	"gorm.io/gorm"
)

// SQLite takes any -wal file beside a database file for that file's own. Over an
// older copy of the file it makes a mixture of both, silently. So each time that
// the log has been copied whole into the file, and begins anew, its generation is
// counted up, in the user_version of the file's header, in the log. The file itself
// has then the generation of its log, or the one before: one that has any other is
// not the file that the log was written for.
//
// VACUUM, which arranges the pages anew, counts the schema's version up. So a copy
// made that way is found by that being higher than the log's.

// generations is what the first generation of a file is a multiple of. So the log
// may be told that has the very first one, for a file that has none yet.
const generations = 1 << 16

// errOtherLog is the error of a -wal that was written for another file.
var errOtherLog = errors.New("the -wal file beside it was written for another copy of it")

// fileHeader is what the first page of a SQLite file says of it.
type fileHeader struct{ generation, schema uint32 }

// CheckLog returns errOtherLog if the -wal that a process has left at path, by not
// closing it, is not the file's. It changes neither.
func CheckLog(ctx context.Context, path string) error {
	log, err := os.Stat(path + "-wal")
	if errors.Is(err, os.ErrNotExist) || err == nil && log.Size() == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	other := fmt.Errorf("%s: %w. To go on with this file as it is, move %[1]s-wal and %[1]s-shm away. "+
		"To go on with what was written last, put the file back that was there", path, errOtherLog)
	file, err := readHeader(path)
	if errors.Is(err, io.EOF) { // SQLite makes the file before its log
		return other
	}
	if err != nil {
		return err
	}
	merged, err := readMergedHeader(ctx, path)
	if err != nil {
		return err
	}
	if !merged.follows(file) {
		return other
	}
	return nil
}

// follows reports whether merged, which is file's header or the log's, may be that
// of a log that was written for the file.
func (merged fileHeader) follows(file fileHeader) bool {
	first := file.generation == 0 && merged.generation%generations == 0
	return (first || merged.generation-file.generation <= 1) && file.schema <= merged.schema
}

// readHeader reads the file alone. The error for one that is missing or empty is
// io.EOF. This process must not have the file open: closing it again would take
// SQLite's locks.
func readHeader(path string) (h fileHeader, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return h, io.EOF
	}
	if err != nil {
		return h, err
	}
	defer f.Close()
	var page [100]byte // https://www.sqlite.org/fileformat.html#the_database_header
	if _, err := io.ReadFull(f, page[:]); err != nil {
		return h, fmt.Errorf("%s: %w", path, err)
	}
	return fileHeader{generation: bigEndian(page[60:]), schema: bigEndian(page[40:])}, nil
}

func bigEndian(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// readMergedHeader reads the file as its log makes it.
func readMergedHeader(ctx context.Context, path string) (h fileHeader, err error) {
	db, err := OpenReadOnly(path)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var generation int32
	err = errors.Join(db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&generation),
		db.QueryRowContext(ctx, "PRAGMA schema_version").Scan(&h.schema))
	h.generation = uint32(generation)
	return h, err
}

// beginGeneration counts the generation up, once the log has been copied whole.
func beginGeneration(db *gorm.DB) error {
	generation, err := readGeneration(db)
	if err != nil {
		return err
	}
	return setGeneration(db, generation+1)
}

func readGeneration(db *gorm.DB) (generation int32, err error) {
	err = db.Raw("PRAGMA user_version").Scan(&generation).Error
	return generation, err
}

func setGeneration(db *gorm.DB, generation int32) error {
	return db.Exec(fmt.Sprintf("PRAGMA user_version = %d", generation)).Error
}

// beginLog copies what a process has left in the log, and begins it anew. A full
// disk is no reason not to start: there is still reading.
func (d *DB) beginLog(ctx context.Context) error {
	err := d.withWriteLock(ctx, func(db *gorm.DB) error {
		whole, err := copyLog(db)
		if err != nil || !whole {
			return err
		}
		if generation, err := readGeneration(db); err != nil || generation > 0 {
			return errors.Join(err, beginGeneration(db))
		}
		if err := setGeneration(db, (1+rand.Int32N(1<<14))*generations); err != nil { // no other file's
			return err
		}
		if whole, err = copyLog(db); err != nil || !whole {
			return err
		}
		return beginGeneration(db)
	})
	if hasNoPlace(err) {
		d.writable.note(err)
		return nil
	}
	return err
}

// copyLog copies the log into the file, and reports whether it is empty then.
func copyLog(db *gorm.DB) (whole bool, err error) {
	var busy bool
	var c checkpoint
	err = Pool(db).QueryRow("PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &c.log, &c.copied)
	return !busy, err
}
