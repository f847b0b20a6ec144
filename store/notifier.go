package store

import (
	"cmp"
	"context"
	"fmt"

	"gorm.io/gorm"

	"notesd/store/engine"
	"notesd/store/pgnotify"
)

// newNotifier makes the Notifier, which announces changes to other processes and receives theirs. A
// store without an Invalidator and Changes needs no messages, so its Notifier does not listen.
func (s *Store) newNotifier(cfg Config) (*pgnotify.Notifier, error) {
	server, err := engine.ParsePostgresURL(cmp.Or(cfg.ChannelURL, cfg.URL))
	if err != nil && cfg.ChannelURL != "" {
		err = fmt.Errorf("channel: %w", err)
	}
	if err != nil {
		return nil, err
	}
	// The connection is idle most of the time and sends heartbeats, so it needs no health monitor.
	server.DialFunc = engine.DialPatiently
	listener := pgnotify.Listener(s.invalidator)
	if !s.listens() {
		listener = nil
	}
	return pgnotify.New(pgnotify.Config{Server: server, Listener: listener, Log: s.log, Notify: s.notify}), nil
}

// listens reports whether the store needs the messages of other processes.
func (s *Store) listens() bool {
	_, none := s.invalidator.(noInvalidator)
	return !none
}

// listen runs the notifier once the database is ready.
func (s *Store) listen(ctx context.Context) {
	if s.db.WaitReady(ctx) == nil {
		s.notifier.Run(ctx)
	}
}

// notify sends payloads in a transaction of its own.
func (s *Store) notify(ctx context.Context, payloads []string) error {
	return s.db.WriteOne(ctx, func(db *gorm.DB) error { return db.Exec(pgnotify.Notify, payloads).Error })
}

// ChannelStats are the statistics of the messages between the processes on the database.
type ChannelStats = pgnotify.Stats

// Channel returns the statistics. On SQLite, where no other process serves the database, all are
// zero.
func (s *Store) Channel() ChannelStats {
	if s.notifier == nil {
		return ChannelStats{}
	}
	return s.notifier.Stats()
}

// HearsOthers reports whether what other processes commit and announce is known here within a
// second. On SQLite no other process serves the database.
func (s *Store) HearsOthers() bool { return s.notifier == nil || s.notifier.Stats().Trusted }

// AllMerge reports whether all processes that serve the database merge notes, as far as is certain.
// On SQLite that is this process.
func (s *Store) AllMerge() bool { return s.notifier == nil || s.notifier.AllMerge() }

// announcement is the notifier's Announcement, if there is a notifier.
func (s *Store) announcement(changes []Change) (sql string, args []any, ok bool) {
	if s.notifier == nil {
		return "", nil, false
	}
	return s.notifier.Announcement(changes)
}

// createAnnouncement returns the arguments of createStatement that announce the note, or nil if
// there is nothing to announce.
func (s *Store) createAnnouncement(c Change) (before, after *string) {
	if s.notifier == nil {
		return nil, nil
	}
	if b, a, ok := s.notifier.CreateAnnouncement(c); ok {
		return &b, &a
	}
	return nil, nil
}

// AnnounceRevoked tells the other processes that a session has ended: the one with the key, or, if
// the key is empty, all of the user's. The session has ended already, and the other processes have
// to drop their copies. AnnounceRevoked returns nil once all listening processes have acknowledged
// it, or after a second: a process that has not heard of it by then trusts no copy any more. If no
// other process listens, and on SQLite, it returns at once.
//
// ErrUnavailable: for a second the message could not be sent. See pgnotify.
func (s *Store) AnnounceRevoked(ctx context.Context, key, user string) error {
	if s.notifier == nil {
		return nil
	}
	return s.notifier.AnnounceRevoked(ctx, key, user)
}

// DropSessions makes this process drop its copies of the user's sessions, which have all ended, and
// ends the streams of events that began with them. AnnounceRevoked tells the other processes.
func (s *Store) DropSessions(user string) { s.invalidator.SessionRevoked("", user) }
