package store

import (
	"cmp"
	"context"
	"fmt"

	"gorm.io/gorm"

	"notesd/store/engine"
	"notesd/store/pgnotify"
)

// newNotifier makes what tells other processes of changes, and hears of theirs. With
// no witness of its own a store has no copies, so it doesn't listen.
func (s *Store) newNotifier(cfg Config) (*pgnotify.Notifier, error) {
	server, err := engine.ParsePostgresURL(cmp.Or(cfg.ChannelURL, cfg.URL))
	if err != nil && cfg.ChannelURL != "" {
		err = fmt.Errorf("channel: %w", err)
	}
	if err != nil {
		return nil, err
	}
	server.DialFunc = engine.DialPatiently // it waits most of the time, and beats: no health monitor is needed
	listener := pgnotify.Listener(s.witness)
	if !s.listens() {
		listener = nil
	}
	return pgnotify.New(pgnotify.Config{Server: server, Listener: listener, Log: s.log, Notify: s.notify}), nil
}

// listens reports whether what other processes say is of interest.
func (s *Store) listens() bool {
	_, none := s.witness.(nobody)
	return !none
}

// listen hears other processes once the database is ready.
func (s *Store) listen(ctx context.Context) {
	if s.db.WaitReady(ctx) == nil {
		s.notifier.Run(ctx)
	}
}

// notify sends payloads in a transaction of its own.
func (s *Store) notify(ctx context.Context, payloads []string) error {
	return s.db.WriteOne(ctx, func(db *gorm.DB) error { return db.Exec(pgnotify.Notify, payloads).Error })
}

// ChannelStats are figures of what other processes on the database are told, and tell.
type ChannelStats = pgnotify.Stats

// Channel returns the figures; on SQLite, which has no other processes, all are zero.
func (s *Store) Channel() ChannelStats {
	if s.notifier == nil {
		return ChannelStats{}
	}
	return s.notifier.Stats()
}

// announcement is the notifier's, if there is one.
func (s *Store) announcement(changes []Change) (sql string, args []any, ok bool) {
	if s.notifier == nil {
		return "", nil, false
	}
	return s.notifier.Announcement(changes)
}

// AnnounceRevoked tells the other processes that a session has ended, the one
// with the key, or without a key all of the user's. It has ended already: they
// are to let go of their copies. It returns nil once all that listen have said
// that they know, or else after a second: a process that has not heard of it by then
// trusts no copy any more. When no other listens, and on SQLite, it returns at once.
//
// ErrUnavailable: for a second it couldn't be said. See pgnotify.
func (s *Store) AnnounceRevoked(ctx context.Context, key, user string) error {
	if s.notifier == nil {
		return nil
	}
	return s.notifier.AnnounceRevoked(ctx, key, user)
}
