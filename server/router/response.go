package router

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"notesd/internal/ratelimit"
	"notesd/server/listener"
)

const (
	sendGrace = 30 * time.Second // every send may take this long,
	minRate   = 16 << 10         // and a second more per so many bytes; slower clients are cut off

	// sendSlack is how much longer a send may take. Within it, the write deadline of the previous
	// send is used again.
	sendSlack = time.Second
)

// responseWriter buffers what a handler writes. So the permit is released before the first byte is
// sent, and an error midway can still become a proper status. A handler that does not want to buffer
// everything sends it in parts, without the permit (see Context.SendPart). From then on the response
// is chunked, and an error can only cut the connection.
type responseWriter struct {
	w      http.ResponseWriter
	ctrl   http.ResponseController
	status int // 0 until a handler sets it; a response without one is a 200
	body   []byte
	// shared is the whole body, in place of body. Other requests send it as well, and it must not
	// be changed.
	shared      []byte
	sent        int64
	wroteHeader bool  // the header has been written
	failed      error // the error of the last write

	// limit and etag are sent in headers that the connection writes, which costs less than a place in
	// the header map. A limit of 0 and an empty etag are not sent.
	limit ratelimit.Decision
	etag  string

	conn       *listener.Conn
	id         string // the request's id
	head       bool   // the request's method is HEAD
	varies     bool   // the connection adds the Vary header, because no middleware does
	flushFirst bool   // the response must reach the client before the request ends
	// leaving: the server is shutting down, so a client must not keep a connection that is about to
	// close.
	leaving *atomic.Bool
}

func newResponseWriter(conn *listener.Conn, w http.ResponseWriter, r *http.Request, id string,
	leaving *atomic.Bool) responseWriter {
	return responseWriter{w: w, ctrl: *http.NewResponseController(w), conn: conn, id: id,
		head: r.Method == http.MethodHead, leaving: leaving}
}

func (w *responseWriter) Header() http.Header         { return w.w.Header() }
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.w }

func (w *responseWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *responseWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.body = append(w.body, p...)
	return len(p), nil
}

// setBody makes body the response. body must not be changed afterwards.
func (w *responseWriter) setBody(status int, body []byte) {
	w.status, w.shared = status, body
}

// length returns the length of the body so far.
func (w *responseWriter) length() int { return len(w.body) + len(w.shared) }

// reset drops what was buffered, and the headers that describe it.
func (w *responseWriter) reset() {
	w.status, w.body, w.shared, w.etag = 0, w.body[:0], nil, ""
	for _, name := range []string{"Content-Type", "Content-Length", "Content-Encoding", "Etag", "Location", "Link"} {
		w.Header().Del(name)
	}
}

// flush sends what is buffered, as one part of a longer response.
func (w *responseWriter) flush() error {
	if w.write() == nil {
		w.failed = w.ctrl.Flush()
	}
	return w.failed
}

// ownLength is the longest body, in bytes, for which net/http sets Content-Length itself. It does
// so for less than a header costs.
const ownLength = 2 << 10

// send sends the rest of the response. A response that was never flushed is sent whole, with its
// length.
func (w *responseWriter) send() error {
	w.WriteHeader(http.StatusOK) // unless the handler has set another status
	if !w.wroteHeader && bodyAllowed(w.status) &&
		(w.head || w.flushFirst || w.length() == 0 || w.length() > ownLength) {
		w.Header().Set("Content-Length", strconv.Itoa(w.length()))
	}
	return w.write()
}

// write writes the buffer to the connection. The client must take it at the minimum rate.
func (w *responseWriter) write() error {
	body := w.body
	if w.shared != nil {
		body = w.shared
	}
	limitWrites(w.conn, &w.ctrl, len(body))
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
		w.wroteHeader = true
		w.conn.BeginResponse(w.id, w.varies, w.Header(), w.ownLines())
		if w.leaving.Load() {
			w.Header().Set("Connection", "close")
		}
		w.w.WriteHeader(w.status)
	}
	n, err := w.w.Write(body)
	w.sent += int64(n)
	w.body, w.shared = w.body[:0], nil
	w.failed = err
	return err
}

// limitWrites bounds the time that sending bytes over conn may take. Setting a deadline costs a
// twentieth of a small response, so a deadline that is near enough is kept.
func limitWrites(conn *listener.Conn, w interface{ SetWriteDeadline(time.Time) error }, bytes int) {
	least := time.Now().Add(sendGrace + time.Duration(bytes/minRate)*time.Second)
	if slack := conn.WriteDeadline.Sub(least); slack >= 0 && slack <= sendSlack {
		return
	}
	conn.WriteDeadline = least.Add(sendSlack)
	// A recorder supports no deadline and gets none.
	_ = w.SetWriteDeadline(conn.WriteDeadline)
}

// ownLines returns the headers of the response that are not in the header map, as lines.
func (w *responseWriter) ownLines() []byte {
	var lines []byte
	if w.limit.Limit > 0 || w.etag != "" {
		lines = make([]byte, 0, maxOwnLines)
	}
	if w.etag != "" {
		lines = append(append(append(lines, "Etag: "...), w.etag...), "\r\n"...)
	}
	if w.limit.Limit > 0 {
		lines = appendLimit(lines, w.limit)
	}
	return lines
}

// maxOwnLines is a length that the lines of ownLines seldom exceed.
const maxOwnLines = 160

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// Buffer returns the part of the response's body that is buffered and not sent. A handler may append
// to it, and pass the result to SetBuffer.
func (c *Context) Buffer() []byte { return c.out.body }

// SetBuffer replaces the part of the response's body that is not sent. The status is 200 unless the
// handler sets another with Writer().WriteHeader.
func (c *Context) SetBuffer(body []byte) { c.out.body = body }

// SendPart sends what is buffered, as a part of a longer response, while other requests use the
// permit. Then it waits for a permit again. During the send only the part counts as memory of the
// request. For the memory of the next part it waits for other requests, because the client cannot
// retry in the middle of a response. An error of the handler can only cut the connection from then
// on.
func (c *Context) SendPart() error {
	reserved := c.memory.Bytes()
	err := c.Yield(func() error {
		c.rt.pool.Shrink(&c.memory, int64(cap(c.out.body)))
		if err := c.out.flush(); err != nil {
			return err
		}
		return c.rt.pool.ReserveWithin(c.client, &c.memory, c.reserver(), reserved, c.rt.pacer.max)
	})
	c.Hold(-int(c.held))
	return err
}
