package pgnotify

import (
	"maps"
	"sync"
	"time"
)

const (
	// trusted is how long after a beat was sent, and has come back, what was
	// heard until then counts as all there is.
	trusted = time.Second

	// remembered is how long a peer counts as there since it was last heard:
	// while it may trust what it has, and until one who doesn't know it can be
	// sure to have lost its own trust. See heardOwn.
	remembered = 2 * trusted

	// joinPeriod is how long our beats must have come back before we trust
	// what we have. A process that is to announce knows us after one trusted: it has
	// heard our first beat before one of its own, or has none to go by. The rest is
	// for what it decided before that to reach the server.
	joinPeriod = 2 * trusted
)

// members are the processes that listen at this moment, as far as can be known. What
// a process is told of comes in the order in which the server has it, which is the same
// for all processes.
type members struct {
	mu       sync.Mutex           // guards what follows
	peers    map[string]time.Time // until when each of the others is remembered
	since    time.Time            // since when our beats have come back without a gap
	known    time.Time            // until when all others remember us, also those that we don't know
	sure     bool                 // the introduction is over: until known, no peer is missing here
	awaiting map[string]*awaited  // revocations, by their ID
}

// awaited is a revocation that peers have yet to acknowledge.
type awaited struct {
	missing map[string]time.Time
	done    chan struct{} // closed when none is missing
}

func newMembers() *members {
	return &members{peers: make(map[string]time.Time), awaiting: make(map[string]*awaited)}
}

// heardOwn notes that a beat of ours, sent at sent, has come back. It reports
// whether it is the first after a gap, so that others may have forgotten us and
// left changes unannounced, and whether the introduction has lasted long enough.
//
// There is no gap if it came back within trusted of when the one before was
// sent. For a process that remembers us no more has last heard from us more than
// remembered ago, and goes by a beat of its own that is younger than trusted and older
// than this one of ours, which it would have heard otherwise.
func (m *members) heardOwn(sent, now time.Time) (first, long bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if first = !now.Before(m.known); first {
		m.since, m.sure = now, false
	}
	m.known = sent.Add(trusted)
	return first, now.Sub(m.since) >= joinPeriod
}

// introduced ends the introduction.
func (m *members) introduced() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sure = true
}

// disconnected begins a gap: we hear nothing any more.
func (m *members) disconnected() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known, m.sure = time.Time{}, false
}

// heard notes that a peer is there.
func (m *members) heard(peer string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.peers[peer] = now.Add(remembered)
}

// left notes that a peer is there no more, and acknowledges nothing any more.
func (m *members) left(peer string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.peers, peer)
	for _, a := range m.awaiting {
		a.acknowledge(peer)
	}
}

// present are the peers that we remember. It is called with mu held.
func (m *members) present(now time.Time) map[string]time.Time {
	maps.DeleteFunc(m.peers, func(_ string, until time.Time) bool { return !now.Before(until) })
	return m.peers
}

// trusts reports whether what has been heard is all there is.
func (m *members) trusts(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sure && now.Before(m.known)
}

// alone reports whether certainly no other process has copies that it trusts, nor
// will have any of what was there before now.
func (m *members) alone(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sure && now.Before(m.known) && len(m.present(now)) == 0
}

// count returns how many peers there are.
func (m *members) count(now time.Time) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.present(now))
}

// await returns a channel that is closed once all peers have acknowledged the
// revocation; never, if some may be there that we don't know. forget is to be
// called in the end.
func (m *members) await(id string, now time.Time) (done <-chan struct{}, forget func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.sure || !now.Before(m.known) {
		return nil, func() {}
	}
	a := &awaited{maps.Clone(m.present(now)), make(chan struct{})}
	m.awaiting[id] = a
	if len(a.missing) == 0 {
		close(a.done)
	}
	return a.done, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.awaiting, id)
	}
}

// acknowledged notes that a peer knows of a revocation.
func (m *members) acknowledged(id, peer string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.awaiting[id]; a != nil {
		a.acknowledge(peer)
	}
}

func (a *awaited) acknowledge(peer string) {
	if _, missing := a.missing[peer]; !missing {
		return
	}
	delete(a.missing, peer)
	if len(a.missing) == 0 {
		close(a.done)
	}
}
