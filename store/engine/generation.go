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

// SQLite takes any -wal file beside a database file for that file's own. Applied to an older copy
// of the file, the -wal makes a mixture of both, and SQLite reports no error. To detect this, the
// log has a generation. The generation is increased each time that the whole log has been copied
// into the file and the log begins anew. It is the user_version in the file's header, and the
// increase is written to the new log. So the file itself has the generation of its log, or the one
// before. A file with any other generation is not the file that the log was written for.
//
// VACUUM, which rearranges the pages, increases the schema version in the header. So a file that
// VACUUM has made is detected because its schema version is higher than the log's.

// generations is a divisor of a file's first generation. So a log with the very first generation
// can be recognized when the file itself has no generation yet.
const generations = 1 << 16

// errOtherLog is the error for a -wal file that was written for another database file.
var errOtherLog = errors.New("the -wal file beside it was written for another copy of it")

// fileHeader is the part of a SQLite file's header that CheckLog compares.
type fileHeader struct{ generation, schema uint32 }

// CheckLog returns errOtherLog if the -wal file at path does not belong to the database file. Such
// a -wal is left by a process that did not close the database. CheckLog changes neither file.
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
	// SQLite makes the file before its log, so the log belongs to another file.
	if errors.Is(err, io.EOF) {
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

// follows reports whether merged can be the header of a log that was written for the file with the
// header file. If the log has no header of its own, merged equals file.
func (merged fileHeader) follows(file fileHeader) bool {
	first := file.generation == 0 && merged.generation%generations == 0
	return (first || merged.generation-file.generation <= 1) && file.schema <= merged.schema
}

// readHeader reads the header from the file alone, without its log. If the file is missing or empty
// the error is io.EOF. This process must not have the file open, because closing it a second time
// would release SQLite's locks.
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

// readMergedHeader reads the header as it is with the log applied to the file.
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

// beginGeneration increases the generation, once the whole log has been copied.
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

// beginLog copies the log that an earlier process has left into the file, and begins the log anew.
// A full disk does not prevent the start, because reads still work.
func (d *DB) beginLog(ctx context.Context) error {
	err := d.withWriteLock(ctx, func(db *gorm.DB) error {
		whole, err := copyLog(db)
		if err != nil || !whole {
			return err
		}
		if generation, err := readGeneration(db); err != nil || generation > 0 {
			return errors.Join(err, beginGeneration(db))
		}
		// The number is random, so that it differs from those of other files.
		if err := setGeneration(db, (1+rand.Int32N(1<<14))*generations); err != nil {
			return err
		}
		if whole, err = copyLog(db); err != nil || !whole {
			return err
		}
		return beginGeneration(db)
	})
	if isStorageFull(err) {
		d.writable.record(err)
		return nil
	}
	return err
}

// copyLog copies the log into the file, and reports whether the log is empty after that.
func copyLog(db *gorm.DB) (whole bool, err error) {
	var busy bool
	var c checkpoint
	err = Pool(db).QueryRow("PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &c.log, &c.copied)
	return !busy, err
}
