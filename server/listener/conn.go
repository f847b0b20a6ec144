package listener

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	requestIDHeader = "X-Request-Id"
	policyHeader    = "Content-Security-Policy"
	cacheHeader     = "Cache-Control"
)

// defaultHeaders are the headers of every response, besides the request's id.
var defaultHeaders = []struct{ name, value string }{
	{policyHeader, ContentSecurityPolicy},
	{"X-Content-Type-Options", "nosniff"},
	{"X-Frame-Options", "SAMEORIGIN"},
	{"Referrer-Policy", "no-referrer"},
	{"Cross-Origin-Opener-Policy", "same-origin"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
	// A client may store a response, and must revalidate it by its ETag. It is the last, and left out
	// if a response has its own: proxies read only the first.
	{cacheHeader, "private, no-cache"},
}

// ContentSecurityPolicy lets our pages load what this server serves, and nothing else.
const ContentSecurityPolicy = "default-src 'self'; script-src 'self'; object-src 'none'; base-uri 'none'; " +
	"form-action 'self'; frame-ancestors 'self'"

// varyHeaders are the request headers that a response depends on because of compression and CORS.
var varyHeaders = []string{"Accept-Encoding", "Origin"}

// defaultLines are the default headers as they are sent. The policy is the first of them and
// Cache-Control the last, so that both can be left out. varyLines are the same lines and the Vary
// headers.
var (
	defaultLines = func() (lines []byte) {
		for _, h := range defaultHeaders {
			lines = append(lines, h.name+": "+h.value+"\r\n"...)
		}
		return lines
	}()
	afterPolicy = bytes.IndexByte(defaultLines, '\n') + 1
	beforeCache = bytes.Index(defaultLines, []byte(cacheHeader))
	varyLines   = func() []byte {
		lines := slices.Clone(defaultLines)
		for _, name := range varyHeaders {
			lines = append(lines, "Vary: "+name+"\r\n"...)
		}
		return lines
	}()
)

// A Conn is a client's connection. It writes the default headers into each response, after the
// response's first line. In net/http a header costs more than half a microsecond: it is kept in a
// map, copied, sorted and written. For these seven headers that was a fifth of a health probe
// (BenchmarkDefaultHeaders).
type Conn struct {
	net.Conn // nil for a request that did not arrive over a Conn
	// WriteDeadline is the deadline that was set last. Conn stores it for its user.
	WriteDeadline time.Time

	deadline readDeadline

	// responseID is the id of the request whose response begins with the next write; empty: no
	// response begins.
	responseID string
	lines      []byte // the default headers for this response
	ownLines   []byte // the headers of this response alone
	// asked: the connection has had a request, so it is not pending any more (see Tracker).
	asked   bool
	reads   int   // reads since the connection was new or idle
	arrived int64 // see BodyArrived

	shedder *shedding // nil: net/http handles every request
	known   bool      // net/http has seen a request
	unseen  bool      // net/http has not seen the last request, which has its response
	cut     bool      // a response was not written whole, so nothing may follow it
	remote  string    // see remoteAddress
}

type connKey struct{}

// WithConn is the ConnContext hook of an http.Server.
func WithConn(ctx context.Context, c net.Conn) context.Context {
	ours, ok := c.(*Conn)
	if !ok {
		ours = &Conn{}
	}
	return context.WithValue(ctx, connKey{}, ours)
}

// ConnOf returns the Conn of a request.
func ConnOf(r *http.Request) *Conn {
	c, ok := r.Context().Value(connKey{}).(*Conn)
	if !ok {
		c = &Conn{}
	}
	return c
}

// BeginResponse must be called just before the header of a response is written. net/http writes the
// whole response before it reads the next request. BeginResponse sets in h those headers that Write
// will not add. vary is for responses that depend on the request and get no Vary header otherwise. A
// Content-Security-Policy or Cache-Control in h takes the place of the default one; such a response
// must not be vary. own are more headers, as lines that end with "\r\n", of names that h does not have.
func (c *Conn) BeginResponse(id string, vary bool, h http.Header, own []byte) {
	if c.Conn != nil {
		c.responseID, c.lines, c.ownLines = id, varyLines, own
		if !vary {
			c.lines = linesFor(h)
		}
		return
	}
	if vary {
		h["Vary"] = varyHeaders
	}
	h.Set(requestIDHeader, id)
	for line := range strings.Lines(string(own)) {
		name, value, _ := strings.Cut(line, ": ")
		h.Set(name, strings.TrimSuffix(value, "\r\n"))
	}
	for _, header := range defaultHeaders {
		if own := header.name == policyHeader || header.name == cacheHeader; !own || h[header.name] == nil {
			h.Set(header.name, header.value)
		}
	}
}

// linesFor returns the default lines without those for which h has other values.
func linesFor(h http.Header) []byte {
	from, to := 0, len(defaultLines)
	if h[policyHeader] != nil {
		from = afterPolicy
	}
	if h[cacheHeader] != nil {
		to = beforeCache
	}
	return defaultLines[from:to]
}

// BodyArrived returns how many bytes followed the request's header in the read that brought the
// header. It is 0 unless this is the first request since the connection was new or idle.
func (c *Conn) BodyArrived() int64 { return c.arrived }

var headerEnd = []byte("\r\n\r\n")

// Read counts the bytes after the header of the first request since the connection was new or idle.
// The bytes begin with that request, so the first empty line is the end of its header, or comes
// after it. net/http reads from one goroutine at a time. It reads in the background only when the
// request has no more body.
//
// Read has some requests answered in front of net/http (see Shedder), and reads on.
func (c *Conn) Read(p []byte) (int, error) {
	for {
		n, err := c.readWithin(p)
		c.reads, c.arrived = c.reads+1, 0
		if c.reads != 1 {
			return n, err
		}
		if c.shedder != nil {
			if err == nil && len(p) == netHTTPBuffer && c.respond(p[:n]) {
				if c.cut {
					return 0, io.EOF // net/http closes the connection without a word
				}
				continue
			}
			c.passOn()
			c.known = true
		}
		if end := bytes.Index(p[:n], headerEnd); end >= 0 {
			c.arrived = int64(n - end - len(headerEnd))
		}
		return n, err
	}
}

// CloseWrite is called by net/http before it closes a connection on which the client still sends.
func (c *Conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	return half.CloseWrite()
}

// firstWrites are buffers for the first write of a response. They fit net/http's 4 KiB and our
// headers.
var firstWrites = sync.Pool{New: func() any { return new([4096 + 1024]byte) }}

// Write writes p. If p begins a response, Write adds the default headers to it.
func (c *Conn) Write(p []byte) (int, error) {
	line := bytes.IndexByte(p, '\n') + 1
	if c.responseID == "" || line == 0 {
		return c.Conn.Write(p)
	}
	buffer := firstWrites.Get().(*[4096 + 1024]byte)
	defer firstWrites.Put(buffer)
	whole := c.appendHeaders(buffer[:0], p[:line])
	added := len(whole) - line
	n, err := c.Conn.Write(append(whole, p[line:]...))
	c.cut = err != nil
	return max(min(n, line), n-added), err
}

// appendHeaders appends the first line of a response, and the headers that begin the response.
func (c *Conn) appendHeaders(dst, line []byte) []byte {
	dst = append(append(append(dst, line...), c.lines...), c.ownLines...)
	dst = append(append(append(dst, requestIDHeader+": "...), c.responseID...), "\r\n"...)
	c.responseID, c.ownLines = "", nil
	return dst
}

// WriteResponse writes a response after BeginResponse: its first line, the headers, more headers that
// end with an empty line, and the body.
func (c *Conn) WriteResponse(line, headers, body []byte) error {
	buffer := firstWrites.Get().(*[4096 + 1024]byte)
	defer firstWrites.Put(buffer)
	whole := append(c.appendHeaders(buffer[:0], line), headers...)
	var err error
	if len(body) <= cap(whole)-len(whole) {
		_, err = c.Conn.Write(append(whole, body...))
	} else {
		parts := net.Buffers{whole, body}
		_, err = parts.WriteTo(c.Conn) // in one system call, without a copy of the body
	}
	c.cut = err != nil
	return err
}
