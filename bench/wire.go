package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

const (
	Patience   = 10 * time.Second // how long a client waits for a response
	readBuffer = 16 << 10         // bytes, for each connection
	failureMax = 4 << 10          // bytes of a failure's body that are examined
)

// A wire is one keep-alive connection, as browsers and proxies use it. It is opened when needed,
// has one request at a time, and sends no request twice. It costs less than half of what net/http's
// client costs (BenchmarkClients), which matters because the generator runs on the cores that it
// measures. A wire belongs to one goroutine.
type wire struct {
	addr string
	from *net.TCPAddr    // local address of the connection; nil: any
	cut  context.Context // the connection is closed when this context ends; nil: never
	conn net.Conn
	stay func() bool // stops watching cut
	in   *bufio.Reader
	kept []byte // the kept bytes of a failure's body
}

// An answer is the part of a response that a load examines.
type answer struct {
	status     int
	retryAfter time.Duration // below 0: the header is missing or invalid
	reason     string        // why a 429 or 503 refused the request; empty: it does not say
}

// good reports whether the request was served.
func (a answer) good() bool { return a.status >= 200 && a.status < 400 }

// refused reports whether the server refused the request.
func (a answer) refused() bool {
	return a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable
}

// explained reports whether a refusal has a reason and a Retry-After.
func (a answer) explained() bool { return a.reason != "" && a.retryAfter >= 0 }

// ClientAddress returns the i-th client's own address, if the target is on this machine. Like users
// at home, and unlike one attacker, each client has an address of its own. For a target elsewhere,
// all clients have the address of this machine.
func ClientAddress(target netip.Addr, i int) *net.TCPAddr {
	if !target.Is4() || !target.IsLoopback() {
		return nil
	}
	const each = 250 // addresses in a network, without its first and its last
	n := i / each
	return &net.TCPAddr{IP: net.IPv4(127, byte(1+n/256%250), byte(n%256), byte(1+i%each))}
}

// exchange sends a request and reads the whole response. After an error the connection is closed,
// and the next exchange opens another.
func (w *wire) exchange(request []byte) (answer, error) {
	if w.conn == nil {
		if err := w.open(); err != nil {
			return answer{}, err
		}
	}
	a, keep, err := w.roundTrip(request)
	if err != nil || !keep {
		w.close()
	}
	return a, err
}

func (w *wire) open() error {
	dialer := net.Dialer{Timeout: Patience}
	if w.from != nil {
		dialer.LocalAddr = w.from
	}
	conn, err := dialer.Dial("tcp", w.addr)
	if err != nil {
		return err
	}
	w.conn, w.stay = conn, func() bool { return true }
	if w.cut != nil {
		w.stay = context.AfterFunc(w.cut, func() { _ = conn.Close() })
	}
	if w.in == nil {
		w.in = bufio.NewReaderSize(conn, readBuffer)
	}
	w.in.Reset(conn)
	return nil
}

func (w *wire) close() {
	if w.conn != nil {
		w.stay()
		_ = w.conn.Close() // an error loses nothing
		w.conn = nil
	}
}

// A Conn is a connection that stays open between requests.
type Conn struct{ wire wire }

// Dial opens a connection to addr. The local address is from, unless that is nil.
func Dial(addr netip.AddrPort, from *net.TCPAddr) (*Conn, error) {
	c := &Conn{wire{addr: addr.String(), from: from}}
	return c, c.wire.open()
}

// Do sends a request. A response that is not good is an error.
func (c *Conn) Do(r Request) error {
	a, err := c.wire.exchange(r.raw)
	if err == nil && !a.good() {
		err = fmt.Errorf("status %d", a.status)
	}
	return err
}

// Close closes the connection.
func (c *Conn) Close() { c.wire.close() }

func (w *wire) roundTrip(request []byte) (a answer, keep bool, err error) {
	if err := w.conn.SetDeadline(time.Now().Add(Patience)); err != nil {
		return answer{}, false, err
	}
	if _, err := w.conn.Write(request); err != nil {
		return answer{}, false, err
	}
	for {
		h, err := readHead(w.in)
		if err != nil {
			return answer{}, false, err
		}
		if h.status >= 100 && h.status < 200 { // it is an interim response
			continue
		}
		a = answer{status: h.status, retryAfter: h.retryAfter}
		keep, err = w.readBody(h, &a)
		return a, keep && !h.close, err
	}
}

// readBody reads the body to its end. Of a failure's body it keeps the beginning, which has the
// reason.
func (w *wire) readBody(h head, a *answer) (keep bool, err error) {
	switch {
	case h.status == http.StatusNoContent || h.status == http.StatusNotModified:
		return true, nil
	case h.chunked:
		return true, w.readChunks(a)
	case h.length < 0: // the body ends when the server closes the connection
		_, err := io.Copy(io.Discard, w.in)
		return false, err
	case a.good():
		return true, discard(w.in, h.length)
	}
	kept, err := w.keep(w.in, min(h.length, failureMax))
	if err != nil {
		return false, err
	}
	a.reason = reasonIn(kept)
	return true, discard(w.in, h.length-int64(len(kept)))
}

// readChunks reads a chunked body and the empty trailer after it.
func (w *wire) readChunks(a *answer) error {
	chunks := httputil.NewChunkedReader(w.in)
	if !a.good() {
		kept, err := w.keep(chunks, failureMax)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		a.reason = reasonIn(kept)
	}
	if _, err := io.Copy(io.Discard, chunks); err != nil {
		return err
	}
	line, err := w.in.ReadSlice('\n')
	if err == nil && len(bytes.TrimSpace(line)) > 0 {
		return fmt.Errorf("a trailer: %q", line)
	}
	return err
}

// keep reads n bytes into the wire's own buffer. On an error it returns fewer.
func (w *wire) keep(in io.Reader, n int64) ([]byte, error) {
	if w.kept == nil {
		w.kept = make([]byte, failureMax)
	}
	got, err := io.ReadFull(in, w.kept[:n])
	return w.kept[:got], err
}

// scratch has buffers for long bodies.
var scratch = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// discard reads n bytes. It reads a long body in few system calls.
func discard(in *bufio.Reader, n int64) error {
	if n <= int64(in.Size()) {
		_, err := in.Discard(int(n))
		return err
	}
	buffer := scratch.Get().(*[64 << 10]byte)
	defer scratch.Put(buffer)
	for n > 0 {
		got, err := in.Read(buffer[:min(n, int64(len(buffer)))])
		if err != nil {
			return err
		}
		n -= int64(got)
	}
	return nil
}

// reasonIn returns the member "reason" of a failure envelope.
func reasonIn(body []byte) string {
	_, rest, ok := bytes.Cut(body, []byte(`"reason":"`))
	if !ok {
		return ""
	}
	reason, _, ok := bytes.Cut(rest, []byte{'"'})
	if !ok {
		return ""
	}
	return string(reason)
}

// A head is the part of a response's header that a load needs.
type head struct {
	status     int
	length     int64 // below 0: the header does not say
	chunked    bool
	close      bool
	retryAfter time.Duration // below 0: missing or invalid
}

var errNotHTTP = errors.New("not an answer in HTTP/1.1")

// readHead reads the status line and the header of a response.
func readHead(in *bufio.Reader) (head, error) {
	line, err := readLine(in)
	if err != nil {
		return head{}, err
	}
	h := head{length: -1, retryAfter: -1}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return head{}, errNotHTTP
	}
	if h.status, err = strconv.Atoi(string(line[9:12])); err != nil || h.status < 100 {
		return head{}, errNotHTTP
	}
	for {
		line, err := readLine(in)
		if err != nil {
			return head{}, err
		}
		if len(line) == 0 {
			return h, nil
		}
		if err := h.field(line); err != nil {
			return head{}, err
		}
	}
}

// readLine returns the next line without its end. The line is valid until the next read.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

// field parses one line of the header. Names match in any case. The length of the name is compared
// first, which is enough for most lines.
func (h *head) field(line []byte) error {
	name, value, ok := bytes.Cut(line, []byte{':'})
	if !ok {
		return errNotHTTP
	}
	value = bytes.TrimSpace(value)
	switch {
	case is(name, "Content-Length"):
		n, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil || n < 0 {
			return errNotHTTP
		}
		h.length = n
	case is(name, "Transfer-Encoding"):
		h.chunked = is(value, "chunked")
	case is(name, "Connection"):
		h.close = is(value, "close")
	case is(name, "Retry-After"):
		if n, err := strconv.Atoi(string(value)); err == nil && n >= 0 {
			h.retryAfter = time.Duration(n) * time.Second
		}
	}
	return nil
}

func is(name []byte, want string) bool {
	return len(name) == len(want) && bytes.EqualFold(name, []byte(want))
}
