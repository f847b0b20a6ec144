package listener

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

const requestIDHeader = "X-Request-Id"

// standing are the headers that every answer has, besides the id of its request.
var standing = []struct{ name, value string }{
	{"Content-Security-Policy", ContentSecurityPolicy},
	{"X-Content-Type-Options", "nosniff"},
	{"X-Frame-Options", "SAMEORIGIN"},
	{"Referrer-Policy", "no-referrer"},
	{"Cross-Origin-Opener-Policy", "same-origin"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
	{"Cache-Control", "private, no-cache"}, // keep, but ask: the ETag answers
}

// ContentSecurityPolicy lets a page of ours use what this server serves and nothing else.
const ContentSecurityPolicy = "default-src 'self'; script-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; " +
	"frame-ancestors 'self'"

// varies are the request's headers that an answer depends on, in the words of compression and CORS.
var varies = []string{"Accept-Encoding", "Origin"}

// standingLines are those headers as they are sent, and variedLines have Vary, too.
var (
	standingLines = func() (lines []byte) {
		for _, h := range standing {
			lines = append(lines, h.name+": "+h.value+"\r\n"...)
		}
		return lines
	}()
	variedLines = func() []byte {
		lines := slices.Clone(standingLines)
		for _, name := range varies {
			lines = append(lines, "Vary: "+name+"\r\n"...)
		}
		return lines
	}()
)

// A Conn is one client's connection. It puts the standing headers into the
// answers, behind the first line of each: to net/http every header costs more than half a
// microsecond (to keep it in a map, copy that, sort it and write it), which for these seven was a fifth of a health
// probe (BenchmarkStanding).
type Conn struct {
	net.Conn                // nil: of a request that did not come over one of ours
	begins        string    // the id of the request whose answer the next write begins; empty: of none
	lines         []byte    // that this answer gets
	WriteDeadline time.Time // when it was set last, by the user of the connection
	asked         bool      // for something, so that connections has forgotten it
	reads         int       // since it was new or idle
	arrived       int64     // bytes of a request's body that its first read has brought along
}

type connKey struct{}

// WithConn is the http.Server's ConnContext hook.
func WithConn(ctx context.Context, c net.Conn) context.Context {
	ours, ok := c.(*Conn)
	if !ok {
		ours = &Conn{}
	}
	return context.WithValue(ctx, connKey{}, ours)
}

// ConnOf is the connection that r came over.
func ConnOf(r *http.Request) *Conn {
	c, ok := r.Context().Value(connKey{}).(*Conn)
	if !ok {
		c = &Conn{}
	}
	return c
}

// BeginResponse is called when the header of an answer is about to be written, and
// nothing before it: net/http sends each answer before it reads the next request. It puts into h what
// Write will not. Vary is only for answers that depend on the request.
func (c *Conn) BeginResponse(id string, varied bool, h http.Header) {
	if c.Conn != nil {
		c.begins, c.lines = id, standingLines
		if varied {
			c.lines = variedLines
		}
		return
	}
	if varied {
		h["Vary"] = varies
	}
	h.Set(requestIDHeader, id)
	for _, header := range standing {
		h.Set(header.name, header.value)
	}
}

var headerEnd = []byte("\r\n\r\n")

// Read reads what the client has sent, and counts what comes behind the header of the first request since the connection
// was idle. What it begins with is of that request, so the first empty line is the header's end, or comes after it.
// net/http reads from one goroutine at a time, and in the background only when a request has no more body.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.reads, c.arrived = c.reads+1, 0
	if c.reads == 1 {
		if end := bytes.Index(p[:n], headerEnd); end >= 0 {
			c.arrived = int64(n - end - len(headerEnd))
		}
	}
	return n, err
}

// BodyArrived is how many bytes of the body came with the header of a request, as far as was counted.
func (c *Conn) BodyArrived() int64 { return c.arrived }

// CloseWrite is what net/http asks for before it closes on a client that still sends.
func (c *Conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	return half.CloseWrite()
}

// begun is room for the first write of an answer: net/http's buffer of 4 KiB and the standing lines.
var begun = sync.Pool{New: func() any { return new([4096 + 1024]byte) }}

// Write adds the standing headers to a write that begins an answer.
func (c *Conn) Write(p []byte) (int, error) {
	line := bytes.IndexByte(p, '\n') + 1
	if c.begins == "" || line == 0 {
		return c.Conn.Write(p)
	}
	room := begun.Get().(*[4096 + 1024]byte)
	defer begun.Put(room)
	whole := append(append(room[:0], p[:line]...), c.lines...)
	whole = append(append(append(whole, requestIDHeader+": "...), c.begins...), "\r\n"...)
	added := len(whole) - line
	c.begins = ""
	n, err := c.Conn.Write(append(whole, p[line:]...))
	return max(min(n, line), n-added), err
}
