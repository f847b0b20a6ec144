package testserver

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

// A Fault is what a Proxy does to the traffic that passes through it.
type Fault uint8

const (
	Pass     Fault = iota
	Refuse         // the port is closed and every connection is reset
	Stall          // connections are accepted, and bytes are held until the fault ends
	HalfOpen       // open connections, and those made during the fault, never pass a byte again
	Slow           // bytes are delayed by slowness in each direction
)

// slowness is longer than any client should wait.
const slowness = 2 * time.Second

// Faults lists every Fault but Pass.
var Faults = []Fault{Refuse, Stall, HalfOpen, Slow}

func (f Fault) String() string {
	return [...]string{Pass: "pass", Refuse: "refuse", Stall: "stall", HalfOpen: "half-open", Slow: "slow"}[f]
}

// A Proxy forwards connections between clients and a server, and behaves like a bad network. Its
// fault may change while connections are open.
type Proxy struct {
	t        testing.TB
	url      url.URL
	upstream string // the server's address
	running  sync.WaitGroup

	mu       sync.Mutex // guards what follows
	listener net.Listener
	pairs    map[*pair]struct{}
	fault    Fault
	changed  chan struct{} // closed when fault changes
	accepted int
	mark     []byte                                        // text in the response to lose; nil: none
	loss     func(c *pair, answer []byte) (passing []byte) // called with mu held
	losses   int
}

// A pair is one connection through the proxy.
type pair struct {
	client, server net.Conn // server is nil until it is dialled
	dead           bool     // the connection passes no more bytes
}

// NewProxy starts a proxy in front of the server at rawURL. It ends with the test.
func NewProxy(t testing.TB, rawURL string) *Proxy {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{t: t, url: *u, upstream: u.Host, pairs: map[*pair]struct{}{}, changed: make(chan struct{})}
	p.listen("127.0.0.1:0")
	p.url.Host = p.listener.Addr().String()
	t.Cleanup(func() {
		p.Set(Refuse)
		p.running.Wait()
	})
	return p
}

// URL returns the server's URL through the proxy.
func (p *Proxy) URL() string { return p.url.String() }

// Accepted returns the number of connections made so far.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Losses returns how often a response was lost by CutAnswer or LoseAnswer.
func (p *Proxy) Losses() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.losses
}

// Set starts a fault. Set(Pass) ends it.
func (p *Proxy) Set(fault Fault) {
	p.t.Helper()
	p.mu.Lock()
	was := p.fault
	p.fault = fault
	close(p.changed)
	p.changed = make(chan struct{})
	for c := range p.pairs {
		c.dead = c.dead || fault == HalfOpen
	}
	p.mu.Unlock()
	switch {
	case fault == Refuse:
		_ = p.listener.Close() // the listener may be closed already
		p.Cut()
	case was == Refuse:
		p.listen(p.url.Host)
	}
}

// Cut resets all connections. New ones are accepted.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		c.reset()
	}
}

// CutAnswer waits for a response that contains mark, passes the first bytes of it up to after, and
// then resets the connection.
func (p *Proxy) CutAnswer(mark string, after int) {
	p.spoil(mark, func(c *pair, answer []byte) []byte {
		// An error changes nothing, because the connection is reset next.
		_, _ = c.client.Write(answer[:min(after, len(answer))])
		c.reset()
		return nil
	})
}

// LoseAnswer waits for a response that contains mark, and makes its connection half-open: the
// response and all that follows are lost, and neither end is told.
func (p *Proxy) LoseAnswer(mark string) {
	p.spoil(mark, func(c *pair, _ []byte) []byte {
		c.dead = true
		return nil
	})
}

func (p *Proxy) spoil(mark string, loss func(*pair, []byte) []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mark, p.loss = []byte(mark), loss
}

func (p *Proxy) listen(address string) {
	p.t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.listener = listener
	p.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.serve(conn) })
		}
	})
}

// serve forwards one connection until either end has closed it.
func (p *Proxy) serve(conn net.Conn) {
	c := p.begin(conn)
	defer p.end(c)
	if !p.wait(c) {
		return
	}
	server, err := net.Dial("tcp", p.upstream)
	if err != nil {
		return
	}
	if !p.connected(c, server) {
		return
	}
	p.running.Go(func() { p.pump(c, conn, server, true) })
	p.pump(c, server, conn, false)
}

func (p *Proxy) begin(conn net.Conn) *pair {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &pair{client: conn, dead: p.fault == HalfOpen}
	p.pairs[c] = struct{}{}
	p.accepted++
	if p.fault == Refuse {
		c.reset()
	}
	return c
}

func (p *Proxy) connected(c *pair, server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.server = server
	if p.fault == Refuse {
		c.reset()
	}
	return p.fault != Refuse
}

func (p *Proxy) end(c *pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !c.dead { // a dead connection does not tell its other end
		delete(p.pairs, c)
		c.close()
	}
}

// pump copies bytes from one end to the other until there are no more.
func (p *Proxy) pump(c *pair, to, from net.Conn, answers bool) {
	defer p.end(c)
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if !p.wait(c) {
			continue
		}
		if _, err := to.Write(p.left(c, buffer[:n], answers)); err != nil {
			return
		}
	}
}

// wait delays the bytes of c according to the fault, and reports whether they may pass.
func (p *Proxy) wait(c *pair) bool {
	for {
		p.mu.Lock()
		dead, fault, changed := c.dead, p.fault, p.changed
		p.mu.Unlock()
		switch {
		case dead:
			return false
		case fault == Slow:
			time.Sleep(slowness)
			return true
		case fault != Stall:
			return true
		}
		<-changed
	}
}

// left returns the bytes of passing that may still pass after CutAnswer or LoseAnswer.
func (p *Proxy) left(c *pair, passing []byte, answers bool) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !answers || p.mark == nil || !bytes.Contains(passing, p.mark) {
		return passing
	}
	p.mark = nil
	p.losses++
	return p.loss(c, passing)
}

// reset ends the connection with a TCP reset at both ends.
func (c *pair) reset() {
	for _, conn := range []net.Conn{c.client, c.server} {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // it may be closed already
		}
	}
	c.close()
}

func (c *pair) close() {
	_ = c.client.Close() // either may be closed already
	if c.server != nil {
		_ = c.server.Close()
	}
}
