package store

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

	// introduction is how long our beats must have come back before we trust
	// what we have. Whoever is to announce knows us after one trusted: he has
	// heard our first beat before one of his own, or has none to go by. The rest is
	// for what he decided before that to reach the server.
	introduction = 2 * trusted
)

// A roster is who listens at this moment, as far as can be known. What it is
// told of comes in the order in which the server has it, which is the same for
// all processes.
type roster struct {
	mu       sync.Mutex           // guards what follows
	peers    map[string]time.Time // until when each of the others is remembered
	since    time.Time            // since when our beats have come back without a gap
	known    time.Time            // until when all others remember us, whoever they are
	sure     bool                 // the introduction is over: until known, no peer is missing here
	awaiting map[string]*awaited  // revocations, by their ID
}

// awaited is a revocation that peers have yet to acknowledge.
type awaited struct {
	missing map[string]time.Time
	done    chan struct{} // closed when none is missing
}

func newRoster() *roster {
	return &roster{peers: make(map[string]time.Time), awaiting: make(map[string]*awaited)}
}

// heardOwn notes that a beat of ours, sent at sent, has come back. It reports
// whether it is the first after a gap, so that others may have forgotten us and
// left changes unannounced, and whether the introduction has lasted long enough.
//
// There is no gap if it came back within trusted of when the one before was
// sent. For who remembers us no more has last heard from us more than remembered ago,
// and goes by a beat of his own that is younger than trusted and older than this
// one of ours, which he would have heard otherwise.
func (r *roster) heardOwn(sent, now time.Time) (first, long bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if first = !now.Before(r.known); first {
		r.since, r.sure = now, false
	}
	r.known = sent.Add(trusted)
	return first, now.Sub(r.since) >= introduction
}

// introduced ends the introduction.
func (r *roster) introduced() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sure = true
}

// deaf begins a gap: we hear nothing any more.
func (r *roster) deaf() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known, r.sure = time.Time{}, false
}

// heard notes that a peer is there.
func (r *roster) heard(peer string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.peers[peer] = now.Add(remembered)
}

// left notes that a peer is there no more, and acknowledges nothing any more.
func (r *roster) left(peer string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.peers, peer)
	for _, a := range r.awaiting {
		a.acknowledge(peer)
	}
}

// present are those whom we remember. It is called with mu held.
func (r *roster) present(now time.Time) map[string]time.Time {
	maps.DeleteFunc(r.peers, func(_ string, until time.Time) bool { return !now.Before(until) })
	return r.peers
}

// trusts reports whether what has been heard is all there is.
func (r *roster) trusts(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sure && now.Before(r.known)
}

// alone reports whether certainly nobody else has copies that he trusts, nor
// will have any of what was there before now.
func (r *roster) alone(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sure && now.Before(r.known) && len(r.present(now)) == 0
}

// count returns how many peers there are.
func (r *roster) count(now time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.present(now))
}

// await returns a channel that is closed once all peers have acknowledged the
// revocation; never, if some may be there whom we don't know. forget is to be
// called in the end.
func (r *roster) await(id string, now time.Time) (done <-chan struct{}, forget func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.sure || !now.Before(r.known) {
		return nil, func() {}
	}
	a := &awaited{maps.Clone(r.present(now)), make(chan struct{})}
	r.awaiting[id] = a
	if len(a.missing) == 0 {
		close(a.done)
	}
	return a.done, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.awaiting, id)
	}
}

// acknowledged notes that a peer knows of a revocation.
func (r *roster) acknowledged(id, peer string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.awaiting[id]; a != nil {
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
