// Package events passes on changes of notes to the streams that listen for them. A Hub knows the
// listeners of this process. It promises:
//   - An event is a hint to look. A listener that is too slow for its events gets one event in
//     their place, with the number of the newest change.
//   - What may have been missed is made up for: the Hub then reads the numbers of the newest
//     changes from the store.
//   - Publishing never waits for a listener, nor for the store.
//   - A Hub has one goroutine, a Listener none.
package events

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"notesd/store"
)

const (
	// MaxPerUser is how many listeners one user has at most.
	MaxPerUser = 32

	// queueLength is how many events a listener may be behind.
	queueLength = 16

	// lookEvery is the interval of looks at the store while changes of other processes do not
	// arrive, and the pause after a failed look.
	lookEvery = time.Second

	// checkEvery is how often all sessions are checked, as often as copies of them are read anew.
	checkEvery = time.Minute

	// lookAt is the number of users in one query.
	lookAt = 500
)

// These are the reasons not to listen.
var (
	ErrUserFull = errors.New("the user has the most listeners allowed")
	ErrFull     = errors.New("there are as many listeners as the memory is for")
)

// An Event says that one note has changed.
type Event struct {
	Seq      int64  // the number of the user's change
	ID       string // of the note; "": look for the changes up to Seq
	Revision int64  // of the note; 0: it was deleted
	// Late: an event with a higher number came before. So Seq is not how far the listener is.
	Late bool
}

// A Source is what a Hub looks at for what it may have missed.
type Source struct {
	// Newest returns the numbers of the newest changes of users. It leaves out users that do not
	// exist.
	Newest func(ctx context.Context, users []string) (map[string]int64, error)
	// Complete reports whether the changes and revocations of other processes arrive now.
	Complete func() bool
	// Alive reports whether a session has not ended.
	Alive func(ctx context.Context, session string) (bool, error)
}

// A Hub has the listeners of a process. It implements store.Changes.
type Hub struct {
	log *slog.Logger
	max atomic.Int64 // listeners; 0: any number

	count atomic.Int64 // of listeners
	sent  atomic.Uint64
	lost  atomic.Uint64

	mu       sync.Mutex // guards what follows, and all listeners
	users    map[string]map[*Listener]struct{}
	sessions map[string]map[*Listener]struct{}
	pending  map[string]struct{} // users to look for in the store
	unsure   bool                // revocations may have been missed
	wake     chan struct{}       // has an element when Run has something to do
}

// NewHub makes a Hub without listeners.
func NewHub(log *slog.Logger) *Hub {
	return &Hub{log: log, users: map[string]map[*Listener]struct{}{}, sessions: map[string]map[*Listener]struct{}{},
		pending: map[string]struct{}{}, wake: make(chan struct{}, 1)}
}

// SetMax bounds the number of listeners from now on; 0: there may be any number.
func (h *Hub) SetMax(listeners int) { h.max.Store(int64(listeners)) }

// Stats are the statistics of a Hub.
type Stats struct {
	Listeners int64  // now
	Max       int64  // how many there may be; 0: any number
	Users     int64  // that listen now
	Sent      uint64 // events that listeners have taken
	Dropped   uint64 // events that were replaced by a newer one's number
}

// Stats returns the statistics.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	users := len(h.users)
	h.mu.Unlock()
	return Stats{Listeners: h.count.Load(), Max: h.max.Load(), Users: int64(users),
		Sent: h.sent.Load(), Dropped: h.lost.Load()}
}

// A Listener hears of the changes of one user. One goroutine uses it.
type Listener struct {
	h             *Hub
	user, session string

	ready chan struct{} // has an element when there are events
	done  chan struct{} // closed when the listener has ended

	// The Hub's mutex guards what follows.
	events [queueLength]Event
	n      int   // the number of events
	newest int64 // the highest number so far
	behind bool  // events were dropped: only newest counts
	ended  bool
}

// Listen adds a listener for a user's changes from now on. It ends with the session. Close must be
// called in the end. ErrUserFull, ErrFull.
func (h *Hub) Listen(user, session string) (*Listener, error) {
	l := &Listener{h: h, user: user, session: session, ready: make(chan struct{}, 1), done: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case len(h.users[user]) >= MaxPerUser:
		return nil, ErrUserFull
	case h.max.Load() > 0 && h.count.Load() >= h.max.Load():
		return nil, ErrFull
	}
	add(h.users, user, l)
	add(h.sessions, session, l)
	h.count.Add(1)
	return l, nil
}

func add(to map[string]map[*Listener]struct{}, key string, l *Listener) {
	if to[key] == nil {
		to[key] = make(map[*Listener]struct{}, 1)
	}
	to[key][l] = struct{}{}
}

func remove(from map[string]map[*Listener]struct{}, key string, l *Listener) {
	if delete(from[key], l); len(from[key]) == 0 {
		delete(from, key)
	}
}

// Close removes the listener.
func (l *Listener) Close() {
	h := l.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, open := h.users[l.user][l]; open {
		remove(h.users, l.user, l)
		remove(h.sessions, l.session, l)
		h.count.Add(-1)
	}
}

// Begin says that the listener's user knows of the changes up to seq. Only what is newer moves the
// listener on.
func (l *Listener) Begin(seq int64) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	l.newest = max(l.newest, seq)
}

// Ready returns the channel that has an element when Take returns events.
func (l *Listener) Ready() <-chan struct{} { return l.ready }

// Done returns the channel that is closed when the listener has ended with its session.
func (l *Listener) Done() <-chan struct{} { return l.done }

// Take appends the events since the last call to events.
func (l *Listener) Take(events []Event) []Event {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	n := l.n
	if l.behind {
		events, n = append(events, Event{Seq: l.newest}), 1
	} else {
		events = append(events, l.events[:n]...)
	}
	clear(l.events[:l.n]) // their strings
	l.n, l.behind = 0, false
	l.h.sent.Add(uint64(n))
	return events
}

// push queues an event. The caller holds the Hub's mutex.
func (l *Listener) push(e Event) {
	e.Late = e.Seq <= l.newest
	l.newest = max(l.newest, e.Seq)
	switch {
	case e.ID == "" && e.Late: // it says nothing new
		return
	case l.behind:
		l.h.lost.Add(1)
	case l.n == len(l.events):
		l.behind = true
		l.h.lost.Add(uint64(l.n) + 1)
	default:
		l.events[l.n] = e
		l.n++
	}
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// end ends the listener. The caller holds the Hub's mutex.
func (l *Listener) end() {
	if !l.ended {
		l.ended = true
		close(l.done)
	}
}

// Committed says that changes were committed, here or in another process. It is quick without
// listeners.
func (h *Hub) Committed(changes []store.Change) {
	if h.count.Load() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range changes {
		listeners := h.users[c.Owner]
		if len(listeners) > 0 && c.Seq == 0 {
			h.look(c.Owner)
			continue
		}
		for l := range listeners {
			l.push(Event{Seq: c.Seq, ID: c.Note, Revision: c.Revision})
		}
	}
}

// Missed says that changes and revocations of other processes may have been missed.
func (h *Hub) Missed() {
	if h.count.Load() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unsure = true
	for user := range h.users {
		h.look(user)
	}
}

// look has Run look for the user's newest change. The caller holds mu.
func (h *Hub) look(user string) {
	h.pending[user] = struct{}{}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// SessionRevoked ends the listeners of a session, or, if session is empty, all of the user's.
func (h *Hub) SessionRevoked(session, user string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	listeners := h.sessions[session]
	if session == "" {
		listeners = h.users[user]
	}
	for l := range listeners {
		l.end()
	}
}

// Run looks at the source for what may have been missed, until ctx ends.
func (h *Hub) Run(ctx context.Context, from Source) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	sessions := time.NewTicker(checkEvery)
	defer sessions.Stop()
	failed := false // the failure is logged
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		case <-ticker.C:
			if h.count.Load() == 0 || from.Complete() {
				continue
			}
			h.Missed()
		case <-sessions.C:
			h.checkSessions(ctx, from)
			continue
		}
		h.mu.Lock()
		unsure := h.unsure
		h.unsure = false
		h.mu.Unlock()
		if unsure {
			h.checkSessions(ctx, from)
		}
		err := h.lookUp(ctx, from)
		if err != nil && ctx.Err() == nil {
			if !failed {
				h.log.Warn("event streams: the newest changes cannot be read, trying again", "error", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(lookEvery):
			}
		}
		failed = err != nil
	}
}

// lookUp tells the listeners of the users to look for of their newest changes. After an error the
// users are still to be looked for. Users who do not exist any more have no sessions.
func (h *Hub) lookUp(ctx context.Context, from Source) error {
	h.mu.Lock()
	users := slices.Collect(maps.Keys(h.pending))
	clear(h.pending)
	h.mu.Unlock()
	for len(users) > 0 {
		some := users[:min(len(users), lookAt)]
		newest, err := from.Newest(ctx, some)
		h.mu.Lock()
		if err != nil {
			for _, user := range users {
				h.look(user)
			}
			h.mu.Unlock()
			return err
		}
		for _, user := range some {
			seq, found := newest[user]
			for l := range h.users[user] {
				if found {
					l.push(Event{Seq: seq})
				} else {
					l.end()
				}
			}
		}
		h.mu.Unlock()
		users = users[len(some):]
	}
	return nil
}

// checkSessions ends the listeners whose sessions have ended unheard. It asks for one session after
// another, so that it never takes more than one connection.
func (h *Hub) checkSessions(ctx context.Context, from Source) {
	h.mu.Lock()
	sessions := slices.Collect(maps.Keys(h.sessions))
	h.mu.Unlock()
	for _, session := range sessions {
		alive, err := from.Alive(ctx, session)
		if err != nil { // it cannot be known now
			return
		}
		if !alive {
			h.SessionRevoked(session, "")
		}
	}
}
