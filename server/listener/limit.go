package listener

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"notesd/internal/netutil"
)

// These are bounds on the pending connections of one network (see netutil.Networks). A connection
// is pending until it has sent a complete request header. Trusted proxies have no such bounds.
const (
	MaxPending   = 256             // above it, silent ones older than pendingGrace are closed
	pendingGrace = 3 * time.Second // a client may have to send its first packet twice
	// maxBurst is the bound on connections of any age. Above it, new ones are closed at once. All
	// networks of an IPv6 site together have the same bound.
	maxBurst = 4096
)

const (
	// connBytes is the memory of an idle connection with the kernel's part. 17 KiB were measured
	// without that.
	connBytes    = 24 << 10
	connShare    = 4           // connections may take 1/connShare of the memory
	newConnGrace = time.Second // a new connection is not evicted before that
	maxLooks     = 16          // connections that are examined to find one to evict
)

// Counts counts connections since the start.
type Counts struct {
	// RejectedPending counts connections closed because too many of their network were pending.
	RejectedPending atomic.Uint64
	// RejectedFull counts connections closed because there were too many in all, and none could be
	// evicted.
	RejectedFull atomic.Uint64
	Evicted      atomic.Uint64 // connections closed to make room for others
	SlowHeaders  atomic.Uint64 // connections whose first header did not arrive in time
}

// A Tracker limits the number of connections.
//
// A connection is pending until its first request has been read. A network that opens connections
// and sends nothing is limited to MaxPending pending connections. On shutdown, pending connections
// are closed and not waited for. A connection whose request waits in the socket, because the server
// is busy, is not closed. Connections that have been used are limited by time alone: by the
// server's idle timeout, and by its header timeout once a header has begun.
//
// If memory is limited, the number of all connections is limited, too. From seven eighths of
// maxConns on, each new connection evicts the connection that has been idle longest. At maxConns,
// if no connection is idle, it evicts the oldest connection without a request. So a health probe
// gets in, however many connections clients leave open. The exception is that all connections have
// running requests: then the new connection is closed.
type Tracker struct {
	exempt        func(netip.Addr) bool // reports trusted proxies
	counts        *Counts
	maxConns      int           // 0: no bound
	headerTimeout time.Duration // the header timeout of the http.Server

	// mu guards the fields below. Connections are closed without it, because Close waits for
	// readers.
	mu        sync.Mutex
	pending   map[net.Conn]*pendingConn
	byNetwork map[netip.Prefix]*pendingQueue
	bySite    map[netip.Prefix]int // the number of pending connections
	open      map[net.Conn]*openConn
	idle      list.List // of net.Conn, the longest idle first
	unused    list.List // of net.Conn, those without a request, the oldest first
}

// An openConn is an entry of Tracker.open, and its place in idle or unused.
type openConn struct {
	list    *list.List // nil: the connection is in neither list
	element *list.Element
	opened  time.Time
}

// A pendingConn is an entry of Tracker.pending.
type pendingConn struct {
	network, site netip.Prefix

	opened time.Time
	// checked is when the connection was opened, or was last found to have sent something.
	checked time.Time
	element *list.Element // the element in its network's queue
}

// A pendingQueue is a list of the pending connections of one network. Its elements are of type
// net.Conn, in the order of checked.
type pendingQueue struct {
	list.List
	trimming bool // a call of trim is scheduled
}

// MaxConns returns how many connections fit into their share of memory, which is in bytes. A memory
// of 0 means no limit, and the result is then 0: no bound.
func MaxConns(memory int64) int {
	if memory <= 0 {
		return 0
	}
	return max(MaxPending, int(memory/connShare/connBytes))
}

// NewTracker returns a Tracker for at most maxConns connections, or for any number if maxConns is
// 0. Addresses that are exempt have no bound on pending connections.
func NewTracker(exempt func(netip.Addr) bool, counts *Counts, maxConns int, headerTimeout time.Duration) *Tracker {
	return &Tracker{exempt: exempt, counts: counts, maxConns: maxConns, headerTimeout: headerTimeout,
		pending: map[net.Conn]*pendingConn{}, byNetwork: map[netip.Prefix]*pendingQueue{},
		bySite: map[netip.Prefix]int{}, open: map[net.Conn]*openConn{}}
}

// Track is the ConnState hook of an http.Server. A connection leaves StateNew when its first header
// has been read.
func (t *Tracker) Track(client net.Conn, state http.ConnState) {
	if t.maxConns > 0 && !t.place(client, state) {
		t.counts.RejectedFull.Add(1)
		_ = client.Close()
		return
	}
	if state != http.StateNew {
		ours, ok := client.(*Conn)
		if ok && state == http.StateIdle {
			ours.reads, ours.arrived = 0, 0
		}
		// This runs once for a connection, because every request calls Track.
		if !ok || !ours.asked {
			t.endPending(client)
			if ok {
				ours.asked = true
			}
		}
		return
	}
	peer, err := netip.ParseAddrPort(client.RemoteAddr().String())
	if err == nil && !t.admit(client, peer.Addr().Unmap()) {
		t.counts.RejectedPending.Add(1)
		_ = client.Close()
	}
}

// place moves a connection to the list for its state. It reports false if there is no room for it.
func (t *Tracker) place(conn net.Conn, state http.ConnState) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	it := t.open[conn]
	if it == nil {
		if state != http.StateNew {
			return true // it was evicted, and net/http reports it later
		}
		room, evicted := t.makeRoom()
		if evicted != nil {
			defer evicted.Close() // after mu is unlocked
		}
		if !room {
			return false
		}
		it = &openConn{opened: time.Now()}
		t.open[conn] = it
	}
	if it.list != nil {
		it.list.Remove(it.element)
		it.list = nil
	}
	switch state {
	case http.StateNew:
		it.list = &t.unused
	case http.StateIdle:
		it.list = &t.idle
	case http.StateClosed, http.StateHijacked:
		delete(t.open, conn)
	}
	if it.list != nil {
		it.element = it.list.PushBack(conn)
	}
	return true
}

// makeRoom reports whether there is room for a new connection. If it must evict a connection for
// that, it returns the connection, and the caller closes it. The caller holds mu.
func (t *Tracker) makeRoom() (room bool, evicted net.Conn) {
	if len(t.open) < t.maxConns-t.maxConns/8 {
		return true, nil
	}
	if evicted = t.evict(&t.idle, 0); evicted == nil && len(t.open) >= t.maxConns {
		evicted = t.evict(&t.unused, newConnGrace)
	}
	return evicted != nil || len(t.open) < t.maxConns, evicted
}

// evict removes the first connection in conns that has no unread data. It stops at a connection
// that was opened less than age ago. The caller holds mu, and closes the connection.
func (t *Tracker) evict(conns *list.List, age time.Duration) net.Conn {
	first := conns.Front()
	for range maxLooks {
		if first == nil {
			break
		}
		conn := first.Value.(net.Conn)
		if time.Since(t.open[conn].opened) < age {
			break
		}
		if !hasUnread(conn) {
			conns.Remove(first)
			delete(t.open, conn)
			t.counts.Evicted.Add(1)
			return conn
		}
		first = first.Next()
	}
	return nil
}

// admit adds a new connection of addr to the pending ones, unless its network or site has too many.
// It also closes the slow connections of the network.
func (t *Tracker) admit(conn net.Conn, addr netip.Addr) bool {
	t.mu.Lock()
	network, site := netutil.Prefixes(addr)
	queue := t.byNetwork[network]
	if queue == nil {
		queue = &pendingQueue{}
	}
	var slow []net.Conn
	exempt := t.exempt(addr)
	if !exempt {
		slow = t.takeSlow(queue, MaxPending-1)
	}
	admitted := exempt || queue.Len() < t.maxBurst() && t.bySite[site] < t.maxBurst()
	if admitted {
		now := time.Now()
		t.byNetwork[network] = queue // takeSlow may have emptied it
		if site.IsValid() {
			t.bySite[site]++
		}
		t.pending[conn] = &pendingConn{network: network, site: site, opened: now, checked: now,
			element: queue.PushBack(conn)}
	}
	if !exempt && queue.Len() > MaxPending && !queue.trimming {
		queue.trimming = true
		time.AfterFunc(pendingGrace, func() { t.trim(network) })
	}
	t.mu.Unlock()
	closeAll(slow)
	return admitted
}

// maxBurst returns the bound on a network's pending connections of any age. It leaves a part of all
// connections to other networks.
func (t *Tracker) maxBurst() int {
	if t.maxConns == 0 {
		return maxBurst
	}
	return min(maxBurst, max(MaxPending, t.maxConns/4*3))
}

// trim closes the slow connections of a network that has too many. It runs again and again as long
// as the network has.
func (t *Tracker) trim(network netip.Prefix) {
	t.mu.Lock()
	var slow []net.Conn
	if queue := t.byNetwork[network]; queue != nil {
		slow = t.takeSlow(queue, MaxPending)
		if queue.trimming = queue.Len() > MaxPending; queue.trimming {
			time.AfterFunc(pendingGrace, func() { t.trim(network) })
		}
	}
	t.mu.Unlock()
	closeAll(slow)
}

// takeSlow removes the slow connections at the front of queue, until at most n connections are
// left. The caller holds mu, and closes the removed connections.
func (t *Tracker) takeSlow(queue *pendingQueue, n int) (slow []net.Conn) {
	now := time.Now()
	for queue.Len() > n {
		conn := queue.Front().Value.(net.Conn)
		it := t.pending[conn]
		if now.Sub(it.checked) < pendingGrace {
			break
		}
		if hasUnread(conn) {
			it.checked = now
			queue.MoveToBack(it.element)
			continue
		}
		slow = append(slow, conn)
		t.counts.RejectedPending.Add(1)
		t.removePending(conn, it)
	}
	return slow
}

func closeAll(conns []net.Conn) {
	for _, conn := range conns {
		_ = conn.Close()
	}
}

// hasUnread reports whether the client has sent data that has not been read.
func hasUnread(client net.Conn) bool {
	if ours, ok := client.(*Conn); ok {
		client = ours.Conn
	}
	return netutil.HasUnread(client)
}

// endPending must be called when a connection is not pending any more.
func (t *Tracker) endPending(conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	it := t.pending[conn]
	if it == nil {
		return
	}
	t.removePending(conn, it)
	// net/http has given up on the header, and does not report it.
	if time.Since(it.opened) >= t.headerTimeout {
		t.counts.SlowHeaders.Add(1)
	}
}

// removePending removes a connection from pending. The caller holds mu.
func (t *Tracker) removePending(conn net.Conn, it *pendingConn) {
	delete(t.pending, conn)
	queue := t.byNetwork[it.network]
	queue.Remove(it.element)
	if queue.Len() == 0 {
		delete(t.byNetwork, it.network)
	}
	if t.bySite[it.site]--; t.bySite[it.site] <= 0 {
		delete(t.bySite, it.site)
	}
}

// ClosePending waits until no connection is pending, for at most patience or until ctx ends. Then
// it closes the connections that still are pending. A connection with an unread request stays open
// and still gets its response.
func (t *Tracker) ClosePending(ctx context.Context, patience time.Duration) {
	for deadline := time.Now().Add(patience); t.Pending() > 0 && time.Now().Before(deadline) && ctx.Err() == nil; {
		time.Sleep(5 * time.Millisecond)
	}
	t.mu.Lock()
	var silent []net.Conn
	for conn := range t.pending {
		if !hasUnread(conn) {
			silent = append(silent, conn)
		}
	}
	t.mu.Unlock()
	closeAll(silent)
}

// Pending returns how many connections are pending.
func (t *Tracker) Pending() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.pending)
}
