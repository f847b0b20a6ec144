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

// Connections of one network (see netutil.Networks) that have not sent a complete request header.
// Trusted proxies have no such bounds.
const (
	MaxPending = 256             // above it, those are closed that are older than
	freshGrace = 3 * time.Second // (a client may have to send its first packet twice) and have nothing waiting to be read
	mostBurst  = 4096            // of any age: the next is closed at once. A site of IPv6 has no more together
)

const (
	connBytes = 24 << 10    // what an idle connection takes, the kernel's part too; 17 KiB were measured without that
	connShare = 4           // one byte of memory in so many is for connections
	grace     = time.Second // in which a new connection is not closed for another
	mostLooks = 16          // at connections, for one that can be closed
)

// Counts are of connections, since the start.
type Counts struct {
	RejectedPending atomic.Uint64 // one network had too many without a request
	RejectedFull    atomic.Uint64 // all together were too many, and none of them idle
	Evicted         atomic.Uint64 // closed to make room for others
	SlowHeaders     atomic.Uint64 // whose first header did not come in time
}

// A Tracker knows the connections whose first request has not been read: a
// client that opens them and sends nothing is held to MaxPending, and when the
// server leaves they are closed rather than waited for. One whose request waits
// in the socket, because the server is busy, is not closed. One that has been used
// is bounded by time alone: by the header timeout once a header has begun, as the
// first, and by the idle timeout before.
//
// Where memory has a limit, so have all connections together: most. From seven
// eighths of it on, each new one has the one closed that has been idle longest,
// and at most, if none is idle, the oldest without a request. So a probe gets
// in whatever others leave open, unless all of them are at work: then it is the
// new one that is closed.
type Tracker struct {
	exempt func(netip.Addr) bool
	seen   *Counts
	most   int // 0: no bound

	headerTimeout time.Duration // of the http.Server

	mu     sync.Mutex // guards what follows; nothing is closed under it, for that waits for readers
	fresh  map[net.Conn]*freshConn
	lines  map[netip.Prefix]*freshLine // of fresh, by network
	sites  map[netip.Prefix]int        // how many of fresh are of a site of IPv6
	open   map[net.Conn]*openConn
	idle   list.List // of the net.Conns that are, the longest first
	asking list.List // of those that have not asked yet, likewise
}

// openConn is a connection's place in idle or asking, while it is in one.
type openConn struct {
	line  *list.List
	place *list.Element
	since time.Time // when it was opened
}

// MaxConns is how many connections fit into their share of memory bytes; 0, for no limit, is no bound.
func MaxConns(memory int64) int {
	if memory <= 0 {
		return 0
	}
	return max(MaxPending, int(memory/connShare/connBytes))
}

type freshConn struct {
	network, site netip.Prefix

	since  time.Time     // when it was opened
	judged time.Time     // when it was last found not to be slow, at first when it was opened
	place  *list.Element // in its network's line
}

// freshLine is one network's fresh connections, of type net.Conn, the one that was judged first in front.
type freshLine struct {
	list.List
	watched bool // trim is due
}

func NewTracker(exempt func(netip.Addr) bool, seen *Counts, most int, headerTimeout time.Duration) *Tracker {
	return &Tracker{exempt: exempt, seen: seen, most: most, headerTimeout: headerTimeout, fresh: map[net.Conn]*freshConn{}, lines: map[netip.Prefix]*freshLine{}, sites: map[netip.Prefix]int{},
		open: map[net.Conn]*openConn{}}
}

// Track is the http.Server's ConnState hook. A connection leaves StateNew when
// its header has been read.
func (c *Tracker) Track(client net.Conn, state http.ConnState) {
	if c.most > 0 && !c.place(client, state) {
		c.seen.RejectedFull.Add(1)
		_ = client.Close()
		return
	}
	if state != http.StateNew {
		ours, ok := client.(*Conn)
		if ok && state == http.StateIdle {
			ours.reads, ours.arrived = 0, 0
		}
		if !ok || !ours.asked { // once: this is every request's way
			c.forget(client)
			if ok {
				ours.asked = true
			}
		}
		return
	}
	peer, err := netip.ParseAddrPort(client.RemoteAddr().String())
	if err == nil && !c.admit(client, peer.Addr().Unmap()) {
		c.seen.RejectedPending.Add(1)
		_ = client.Close()
	}
}

// place puts a connection where one of its state belongs, and reports whether
// there is room for it.
func (c *Tracker) place(conn net.Conn, state http.ConnState) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	it := c.open[conn]
	if it == nil {
		if state != http.StateNew {
			return true // closed for another, and not told yet
		}
		room, closed := c.makeRoom()
		if closed != nil {
			defer closed.Close() // after the lock is given back
		}
		if !room {
			return false
		}
		it = &openConn{since: time.Now()}
		c.open[conn] = it
	}
	if it.line != nil {
		it.line.Remove(it.place)
		it.line = nil
	}
	switch state {
	case http.StateNew:
		it.line = &c.asking
	case http.StateIdle:
		it.line = &c.idle
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
	if it.line != nil {
		it.place = it.line.PushBack(conn)
	}
	return true
}

// makeRoom finds a connection to close for a new one where that is due, and reports
// whether there is room. The caller holds mu.
func (c *Tracker) makeRoom() (room bool, closed net.Conn) {
	if len(c.open) < c.most-c.most/8 {
		return true, nil
	}
	if closed = c.takeFirst(&c.idle, 0); closed == nil && len(c.open) >= c.most {
		closed = c.takeFirst(&c.asking, grace)
	}
	return closed != nil || len(c.open) < c.most, closed
}

// takeFirst takes the first connection in line that was opened longer than age
// ago and has nothing waiting to be read, for the caller to close.
func (c *Tracker) takeFirst(line *list.List, age time.Duration) net.Conn {
	first := line.Front()
	for range mostLooks {
		if first == nil {
			break
		}
		conn := first.Value.(net.Conn)
		if time.Since(c.open[conn].since) < age {
			break
		}
		if !hasSent(conn) {
			line.Remove(first)
			delete(c.open, conn)
			c.seen.Evicted.Add(1)
			return conn
		}
		first = first.Next()
	}
	return nil
}

// admit takes a new connection of addr, unless there are too many, and closes those that are slow.
func (c *Tracker) admit(conn net.Conn, addr netip.Addr) bool {
	c.mu.Lock()
	network, site := netutil.Prefixes(addr)
	line := c.lines[network]
	if line == nil {
		line = &freshLine{}
	}
	var slow []net.Conn
	exempt := c.exempt(addr)
	if !exempt {
		slow = c.takeSlow(line, MaxPending-1)
	}
	admitted := exempt || line.Len() < c.mostBurst() && c.sites[site] < c.mostBurst()
	if admitted {
		now := time.Now()
		c.lines[network] = line // takeSlow may have emptied it
		if site.IsValid() {
			c.sites[site]++
		}
		c.fresh[conn] = &freshConn{network: network, site: site, since: now, judged: now, place: line.PushBack(conn)}
	}
	if !exempt && line.Len() > MaxPending && !line.watched {
		line.watched = true
		time.AfterFunc(freshGrace, func() { c.trim(network) })
	}
	c.mu.Unlock()
	closeAll(slow)
	return admitted
}

// mostBurst leaves some of all connections to other networks.
func (c *Tracker) mostBurst() int {
	if c.most == 0 {
		return mostBurst
	}
	return min(mostBurst, max(MaxPending, c.most/4*3))
}

// trim closes the slow connections of a network that has too many, until it has no longer.
func (c *Tracker) trim(network netip.Prefix) {
	c.mu.Lock()
	var slow []net.Conn
	if line := c.lines[network]; line != nil {
		slow = c.takeSlow(line, MaxPending)
		if line.watched = line.Len() > MaxPending; line.watched {
			time.AfterFunc(freshGrace, func() { c.trim(network) })
		}
	}
	c.mu.Unlock()
	closeAll(slow)
}

// takeSlow takes the slow connections at the front of line, until it is no longer
// than most, for the caller to close. The caller holds mu.
func (c *Tracker) takeSlow(line *freshLine, most int) (slow []net.Conn) {
	now := time.Now()
	for line.Len() > most {
		conn := line.Front().Value.(net.Conn)
		it := c.fresh[conn]
		if now.Sub(it.judged) < freshGrace {
			break
		}
		if hasSent(conn) {
			it.judged = now
			line.MoveToBack(it.place)
			continue
		}
		slow = append(slow, conn)
		c.seen.RejectedPending.Add(1)
		c.remove(conn, it)
	}
	return slow
}

func closeAll(conns []net.Conn) {
	for _, conn := range conns {
		_ = conn.Close()
	}
}

// hasSent reports whether something that conn's client has sent waits to be read.
func hasSent(client net.Conn) bool {
	if ours, ok := client.(*Conn); ok {
		client = ours.Conn
	}
	return netutil.HasUnread(client)
}

func (c *Tracker) forget(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	it := c.fresh[conn]
	if it == nil {
		return
	}
	c.remove(conn, it)
	if time.Since(it.since) >= c.headerTimeout { // net/http gives up then, and says no more of it
		c.seen.SlowHeaders.Add(1)
	}
}

// remove takes a connection out of fresh. The caller holds mu.
func (c *Tracker) remove(conn net.Conn, it *freshConn) {
	delete(c.fresh, conn)
	line := c.lines[it.network]
	line.Remove(it.place)
	if line.Len() == 0 {
		delete(c.lines, it.network)
	}
	if c.sites[it.site]--; c.sites[it.site] <= 0 {
		delete(c.sites, it.site)
	}
}

// ClosePending closes the connections that have asked for nothing by the end of
// patience, or of ctx. One whose request waits to be read still gets its answer.
func (c *Tracker) ClosePending(ctx context.Context, patience time.Duration) {
	for deadline := time.Now().Add(patience); c.Pending() > 0 && time.Now().Before(deadline) && ctx.Err() == nil; {
		time.Sleep(5 * time.Millisecond)
	}
	c.mu.Lock()
	var silent []net.Conn
	for conn := range c.fresh {
		if !hasSent(conn) {
			silent = append(silent, conn)
		}
	}
	c.mu.Unlock()
	closeAll(silent)
}

// Pending is how many connections have asked for nothing yet.
func (c *Tracker) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.fresh)
}
