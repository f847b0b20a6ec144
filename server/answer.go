package server

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"notesd/server/listener"
)

const (
	sendGrace = 30 * time.Second // every send may take this long,
	leastRate = 16 << 10         // and a second more per so many bytes; slower clients are cut off

	// sendSlack is how much longer a send may take. Within it, the write deadline of the previous
	// send is used again.
	sendSlack = time.Second
)

// answer is the response writer. It buffers what a handler writes. So the worker is released before
// the first byte is sent, and an error midway can still become a proper status. A handler that does
// not want to buffer everything calls flush between the parts, without the worker (see
// Server.outside). From then on the response is chunked, and an error can only cut the connection.
type answer struct {
	w      http.ResponseWriter
	ctrl   http.ResponseController
	status int // 0 until a handler sets it
	body   []byte
	// lent is the whole body, in place of body. Other requests send it as well, and it must not be
	// changed.
	lent   []byte
	sent   int64
	begun  bool  // the header has been written
	failed error // the error of the last write

	conn   *listener.Conn
	id     string // the request's id
	head   bool   // the request's method is HEAD
	varies bool   // the connection adds the Vary header, because no middleware does
	early  bool   // the response must reach the client before the exchange ends
	// leaving: the server is shutting down, so a client must not keep a connection that is about to
	// close.
	leaving *atomic.Bool
}

func newAnswer(w http.ResponseWriter, r *http.Request, id string, leaving *atomic.Bool) answer {
	return answer{w: w, ctrl: *http.NewResponseController(w), conn: listener.ConnOf(r), id: id, head: r.Method == http.MethodHead, leaving: leaving}
}

func (a *answer) Header() http.Header         { return a.w.Header() }
func (a *answer) Unwrap() http.ResponseWriter { return a.w }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.body = append(a.body, p...)
	return len(p), nil
}

// lend makes body the response. body must not be changed afterwards.
func (a *answer) lend(status int, body []byte) {
	a.status, a.lent = status, body
}

// length returns the length of the body so far.
func (a *answer) length() int { return len(a.body) + len(a.lent) }

// reset drops what was buffered, and the headers that describe it.
func (a *answer) reset() {
	a.status, a.body, a.lent = 0, a.body[:0], nil
	for _, name := range []string{"Content-Type", "Content-Length", "Content-Encoding", "Etag", "Location", "Link"} {
		a.Header().Del(name)
	}
}

// flush sends what is buffered, as one part of a longer response.
func (a *answer) flush() error {
	if a.write() == nil {
		a.failed = a.ctrl.Flush()
	}
	return a.failed
}

// ownLength is the longest body, in bytes, for which net/http sets Content-Length itself. It does
// so for less than a header costs.
const ownLength = 2 << 10

// send sends the rest of the response. A response that was never flushed is sent whole, with its
// length.
func (a *answer) send() error {
	if !a.begun && bodyAllowed(a.status) && (a.head || a.early || a.length() == 0 || a.length() > ownLength) {
		a.Header().Set("Content-Length", strconv.Itoa(a.length()))
	}
	return a.write()
}

// write writes the buffer to the connection. The client must take it at the minimum rate.
func (a *answer) write() error {
	body := a.body
	if a.lent != nil {
		body = a.lent
	}
	a.limit(len(body))
	if !a.begun {
		a.begun = true
		a.conn.BeginResponse(a.id, a.varies, a.Header())
		if a.leaving.Load() {
			a.Header().Set("Connection", "close")
		}
		a.w.WriteHeader(a.status)
	}
	n, err := a.w.Write(body)
	a.sent += int64(n)
	a.body, a.lent = a.body[:0], nil
	a.failed = err
	return err
}

// limit bounds the time that sending bytes may take. Setting a deadline costs a twentieth of a
// small response, so a deadline that is near enough is kept.
func (a *answer) limit(bytes int) {
	least := time.Now().Add(sendGrace + time.Duration(bytes/leastRate)*time.Second)
	if slack := a.conn.WriteDeadline.Sub(least); slack >= 0 && slack <= sendSlack {
		return
	}
	a.conn.WriteDeadline = least.Add(sendSlack)
	// A recorder supports no deadline and gets none.
	_ = a.ctrl.SetWriteDeadline(a.conn.WriteDeadline)
}

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// encodeJSON writes v as JSON, and a newline. The output is never HTML, so `<` stays `<`.
func encodeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
