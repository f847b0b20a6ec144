package pgnotify

import (
	"maps"
	"sync"
	"time"
)

const (
	// leasePeriod is for how long after the sending of a heartbeat that has come back a process
	// trusts its copies: what it had heard until then counts as complete.
	leasePeriod = time.Second

	// memberTTL is for how long a peer counts as present after it was last heard. It covers the
	// time in which the peer may trust its copies, and the time until a peer that has forgotten us
	// can be sure that we have lost our own trust. See ownHeartbeat.
	memberTTL = 2 * leasePeriod

	// joinPeriod is how long our heartbeats must have come back before we trust our copies. Any
	// process that decides whether to announce knows us after one leasePeriod: by then it has heard
	// our first heartbeat before one of its own, or its own heartbeats do not come back and it has
	// no trust to decide by. The second one is for decisions from before that, which still have to
	// reach the server.
	joinPeriod = 2 * leasePeriod
)

// members are the processes that listen now, as far as a process can know. A process receives its
// messages in the order in which the server has them, which is the same for all processes.
type members struct {
	mu          sync.Mutex             // guards what follows
	peers       map[string]time.Time   // until when each peer is remembered
	merging     map[string]bool        // the peers that merge notes
	since       time.Time              // since when our heartbeats have come back without a gap
	known       time.Time              // until when all peers remember us, also those that we don't know
	complete    bool                   // the introduction is over: until known, peers is complete
	pendingAcks map[string]*pendingAck // revocations by ID
}

// pendingAck is a revocation that some peers have not acknowledged yet.
type pendingAck struct {
	missing map[string]time.Time
	done    chan struct{} // closed when none is missing
}

func newMembers() *members {
	return &members{peers: make(map[string]time.Time), merging: make(map[string]bool),
		pendingAcks: make(map[string]*pendingAck)}
}

// ownHeartbeat records that a heartbeat of ours, sent at sent, has come back. It reports two
// things. first: it is the first after a gap, so peers may have forgotten us and left changes
// unannounced. long: the introduction has lasted long enough.
//
// There is no gap if the heartbeat came back within leasePeriod of the sending of the one before.
// The reason is this: a peer that has expired us last heard our heartbeat more than memberTTL ago.
// That peer relies on a heartbeat of its own that is younger than leasePeriod. Its heartbeat is
// also older than this one of ours, because otherwise the peer would have heard ours.
func (m *members) ownHeartbeat(sent, now time.Time) (first, long bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if first = !now.Before(m.known); first {
		m.since, m.complete = now, false
	}
	m.known = sent.Add(leasePeriod)
	return first, now.Sub(m.since) >= joinPeriod
}

// setComplete ends the introduction.
func (m *members) setComplete() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.complete = true
}

// disconnected begins a gap: no messages arrive any more.
func (m *members) disconnected() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known, m.complete = time.Time{}, false
}

// heartbeat records that a peer is present, and whether it merges notes.
func (m *members) heartbeat(peer string, merges bool, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.peers[peer] = now.Add(memberTTL)
	if merges {
		m.merging[peer] = true
	}
}

// left records that a peer has left. It acknowledges nothing any more.
func (m *members) left(peer string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.peers, peer)
	delete(m.merging, peer)
	for _, a := range m.pendingAcks {
		a.acknowledge(peer)
	}
}

// present returns the peers that we remember. The caller holds mu.
func (m *members) present(now time.Time) map[string]time.Time {
	maps.DeleteFunc(m.peers, func(_ string, until time.Time) bool { return !now.Before(until) })
	maps.DeleteFunc(m.merging, func(peer string, _ bool) bool { _, present := m.peers[peer]; return !present })
	return m.peers
}

// leaseValid reports whether what was heard is complete.
func (m *members) leaseValid(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.complete && now.Before(m.known)
}

// soleMember reports whether it is certain that no other process has copies that it trusts, nor
// will have copies of what was stored before now.
func (m *members) soleMember(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.complete && now.Before(m.known) && len(m.present(now)) == 0
}

// allMerge reports whether it is certain that all peers merge notes.
func (m *members) allMerge(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.complete && now.Before(m.known) && len(m.present(now)) == len(m.merging)
}

// count returns the number of peers.
func (m *members) count(now time.Time) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.present(now))
}

// awaitAcks returns a channel that is closed once all peers have acknowledged the revocation. It is
// never closed if there may be peers that we don't know. The caller must call forget in the end.
func (m *members) awaitAcks(id string, now time.Time) (done <-chan struct{}, forget func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.complete || !now.Before(m.known) {
		return nil, func() {}
	}
	a := &pendingAck{maps.Clone(m.present(now)), make(chan struct{})}
	m.pendingAcks[id] = a
	if len(a.missing) == 0 {
		close(a.done)
	}
	return a.done, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.pendingAcks, id)
	}
}

// acknowledged records that a peer has acknowledged a revocation.
func (m *members) acknowledged(id, peer string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.pendingAcks[id]; a != nil {
		a.acknowledge(peer)
	}
}

func (a *pendingAck) acknowledge(peer string) {
	if _, missing := a.missing[peer]; !missing {
		return
	}
	delete(a.missing, peer)
	if len(a.missing) == 0 {
		close(a.done)
	}
}
