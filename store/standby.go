package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

// An origin is whose log a server writes or follows. Timelines branch off when a
// standby becomes a primary, and are never taken up again.
type origin struct {
	System   int64
	Timeline string // as names of log files have it
}

// A position is a place in a primary's log, and where its table of counters is.
type position struct {
	System   int64
	Timeline string
	LSN      int64
	Place    string
}

func (p position) origin() origin { return origin{p.System, p.Timeline} }

// A version is what a person's notes were at one moment. Place tells databases
// apart: it is that of a file, whose name holds the numbers of the database and
// of the table, which are the same on a standby.
type version struct {
	Timeline   string // on a primary
	Recovering bool   // it is a standby
	Place      string
	ChangeSeq  int64 // -1: there is no such person
}

const (
	// positionQuery asks a primary who it is and up to where its log is on disk, and so on its way to standbys.
	positionQuery = `SELECT (SELECT system_identifier FROM pg_control_system()) AS system,
		left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline, (pg_current_wal_flush_lsn() - '0/0')::bigint AS lsn,
		COALESCE(pg_relation_filepath(to_regclass('user_counters')), '') AS place`

	standbyVersion = `pg_relation_filepath('user_counters') AS place,
		COALESCE((SELECT change_seq FROM user_counters WHERE user_id = ?), -1) AS change_seq`
	primaryVersion = `left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline, ` + standbyVersion
)

func (s *Store) primaryPosition(ctx context.Context) (now position, err error) {
	err = s.reader(ctx).Raw(positionQuery).Scan(&now).Error
	return now, translate(err)
}

// primaryVersion asks the primary. It is what a list costs it that is read elsewhere.
func (s *Store) primaryVersion(ctx context.Context, owner string) (v version, err error) {
	err = s.reader(ctx).Raw(`SELECT `+primaryVersion, owner).Scan(&v).Error
	return v, translate(err)
}

// A standby is the connections to servers that follow one origin: each was asked when it was made.
type standby struct {
	follows origin
	db      *gorm.DB
	conns   int
}

// newStandby connects to nothing yet.
func newStandby(server *pgx.ConnConfig, g *greeter, follows origin, conns int) (*standby, error) {
	verify := func(ctx context.Context, conn *pgx.Conn) error {
		if err := g.greet(ctx, conn); err != nil {
			return err
		}
		// What the replay has locked may stay so for as long as it is paused.
		if _, err := conn.Exec(ctx, "SET lock_timeout = '100ms'"); err != nil {
			return err
		}
		return follows.verify(ctx, conn)
	}
	db := openPool(server, stdlib.OptionBeforeConnect(g.choose), stdlib.OptionAfterConnect(verify), stdlib.OptionResetSession(stillOpen))
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	db.SetConnMaxLifetime(connLifetime)
	reads, err := gorm.Open(postgres.New(postgres.Config{Conn: db}), gormConfig())
	if err != nil {
		_ = db.Close() // err says more
		return nil, err
	}
	return &standby{follows, reads, conns}, nil
}

// verify has the server at the other end say that it follows o. Its timeline is
// that of the last restart point or of what it has received since; it may have
// gone further, which it then says later.
func (o origin) verify(ctx context.Context, conn *pgx.Conn) error {
	var recovering bool
	var system int64
	var timeline string
	err := conn.QueryRow(ctx, `SELECT pg_is_in_recovery(), system_identifier,
			upper(lpad(to_hex(greatest(timeline_id, min_recovery_end_timeline, (SELECT received_tli FROM pg_stat_wal_receiver))), 8, '0'))
		FROM pg_control_system(), pg_control_checkpoint(), pg_control_recovery()`).Scan(&recovering, &system, &timeline)
	switch {
	case err != nil:
		return err
	case system != o.System:
		return unfit("the server there follows another than that of DATABASE_URL")
	case !recovering:
		return unfit("the server there is a primary, not a standby of one")
	case timeline != o.Timeline:
		return unfit(fmt.Sprintf("the server there is on timeline %s, that of DATABASE_URL on %s", timeline, o.Timeline))
	}
	return nil
}

// oneSnapshot has all statements of a transaction see the same.
var oneSnapshot = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}

// read has fn read a snapshot in which owner's notes are of the version wanted,
// or returns errBehind, errAhead or why it is unfit.
func (b *standby) read(ctx context.Context, owner string, wanted version, fn func(db *gorm.DB) error) error {
	return transaction(ctx, b.db.WithContext(ctx), func(tx *gorm.DB) error {
		var v version
		err := tx.Raw(`SELECT pg_is_in_recovery() AS recovering, `+standbyVersion, owner).Scan(&v).Error
		switch {
		case err != nil:
			return err
		case b.follows.Timeline != wanted.Timeline:
			return unfit("the server there follows another timeline than the primary's")
		case !v.Recovering:
			return unfit("the server there has become a primary")
		case v.Place != wanted.Place:
			return errOtherDatabase
		case v.ChangeSeq < wanted.ChangeSeq:
			return errBehind
		case v.ChangeSeq > wanted.ChangeSeq:
			return errAhead
		}
		return fn(tx)
	}, oneSnapshot)
}

// look reads as lists are read, of nobody, with fn, and returns up to where the
// log is replayed of a primary that was at now before.
func (b *standby) look(ctx context.Context, now position, fn func(db *gorm.DB) error) (replayed int64, err error) {
	nobody := version{Timeline: now.Timeline, Place: now.Place, ChangeSeq: -1}
	err = b.read(ctx, "", nobody, func(db *gorm.DB) error {
		if err := fn(db); err != nil {
			return err
		}
		return db.Raw(`SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint`).Scan(&replayed).Error
	})
	return replayed, err
}

func (b *standby) dropIdle() {
	db := pool(b.db)
	db.SetMaxIdleConns(0)
	db.SetMaxIdleConns(b.conns)
}

func (b *standby) close() error { return pool(b.db).Close() }

// A lag is how far a standby is behind its primary.
type lag struct {
	bytes   int64
	samples []sample // places that it has not reached, the oldest first
}

// A sample is up to where a primary's log went at a time.
type sample struct {
	at  time.Time
	lsn int64
}

const mostSamples = 600

// note takes a sample, and that up to replayed all has been reached.
func (l *lag) note(at time.Time, lsn, replayed int64) {
	l.bytes = max(0, lsn-replayed)
	for len(l.samples) > 0 && l.samples[0].lsn <= replayed {
		l.samples = l.samples[1:]
	}
	if l.bytes > 0 && len(l.samples) < mostSamples {
		l.samples = append(l.samples, sample{at, lsn})
	}
}

// since is how long ago the standby had, at least, what the primary had.
func (l *lag) since(now time.Time) time.Duration {
	if len(l.samples) == 0 {
		return 0
	}
	return now.Sub(l.samples[0].at)
}
