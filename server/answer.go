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
	leastRate = 16 << 10         // and a second more for each so many bytes: slower clients are cut

	// sendSlack is how much longer a send may take: the deadline of the one before serves again within it.
	sendSlack = time.Second
)

// answer buffers what a handler writes, so that the worker is free before the
// first byte leaves and a failure midway can still become a proper status. A
// handler with more than it wants to buffer calls flush between the parts,
// outside its turn; from then on the answer is chunked and a failure can only
// cut the connection.
type answer struct {
	w      http.ResponseWriter
	ctrl   http.ResponseController
	status int // 0 until a handler says
	body   []byte
	lent   []byte // all of the body in the place of body: others send it, too, and nobody changes it
	sent   int64
	begun  bool  // something has left
	failed error // of the write that was the last

	conn    *listener.Conn
	id      string       // of the request
	head    bool         // its method is HEAD
	varies  bool         // the connection is to say so: no middleware does
	early   bool         // it is to be with the client before the exchange ends
	leaving *atomic.Bool // the server is: let no client hold a connection that is about to go
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

// lend makes body, which nobody may change any more, the answer.
func (a *answer) lend(status int, body []byte) {
	a.status, a.lent = status, body
}

// length is that of the body so far.
func (a *answer) length() int { return len(a.body) + len(a.lent) }

// reset forgets what was buffered. Headers that describe it go too.
func (a *answer) reset() {
	a.status, a.body, a.lent = 0, a.body[:0], nil
	for _, name := range []string{"Content-Type", "Content-Length", "Content-Encoding", "Etag", "Location", "Link"} {
		a.Header().Del(name)
	}
}

// flush sends what is buffered as a part of a longer answer.
func (a *answer) flush() error {
	if a.write() == nil {
		a.failed = a.ctrl.Flush()
	}
	return a.failed
}

// ownLength is the body, in bytes, up to which net/http gives the length by itself, for less than a header costs.
const ownLength = 2 << 10

// send sends the rest. An answer that was never flushed leaves whole, with its length.
func (a *answer) send() error {
	if !a.begun && bodyAllowed(a.status) && (a.head || a.early || a.length() == 0 || a.length() > ownLength) {
		a.Header().Set("Content-Length", strconv.Itoa(a.length()))
	}
	return a.write()
}

// write hands the buffer to the connection, which must take it at the least rate.
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

// limit bounds the time that sending bytes may take. To set a deadline costs a
// twentieth of a small answer, so one that is near enough serves.
func (a *answer) limit(bytes int) {
	least := time.Now().Add(sendGrace + time.Duration(bytes/leastRate)*time.Second)
	if slack := a.conn.WriteDeadline.Sub(least); slack >= 0 && slack <= sendSlack {
		return
	}
	a.conn.WriteDeadline = least.Add(sendSlack)
	_ = a.ctrl.SetWriteDeadline(a.conn.WriteDeadline) // not supported by a recorder: no deadline then
}

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// encodeJSON writes v and a newline. The answer is JSON, never HTML: `<` stays `<`.
func encodeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
