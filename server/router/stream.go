package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// ErrDraining is the cause of the end of a Stream's context when the server shuts down.
var ErrDraining = errors.New("the server is shutting down")

// A Stream is a response that may last for hours, such as server-sent events. It holds no permit of
// the pool, is not compressed, and REQUEST_TIMEOUT does not bound it. It ends when its function
// returns, and so does its connection.
type Stream struct {
	c   *Context
	ctx context.Context
}

// Stream makes the response a Stream. The handler returns the result at once, which gives back its
// permit. Then write is called once, from another goroutine, and sends the response. A HEAD request
// gets no more than the header, without a call of write. When the stream's context has ended, write
// may send a last part, and must return. If the stream can't begin, its context has ended before,
// and nothing can be sent. So write can give back what the handler took for it. The handler sets the
// headers of the response before.
//
// Nothing limits how many streams a user has, or how long they last: that is up to the handler.
//
// Stream reads the request's body and drops it, so that what follows the header is not taken for
// another request.
func (c *Context) Stream(contentType string, write func(s *Stream) error) error {
	c.stream = write
	if _, err := c.ReadBody(); err != nil {
		return err
	}
	c.arrived = nil // the router drops the rest
	c.SetHeader("Content-Type", contentType)
	return nil
}

// Context returns the context of the stream. It ends when the client has left, or when the server
// shuts down (ErrDraining).
func (s *Stream) Context() context.Context { return s.ctx }

// Send sends part at once. It returns an error if the client has left, or takes the part too slowly.
// It may be called after the end of the context. part may be used again afterwards.
func (s *Stream) Send(part []byte) error {
	w := &s.c.out
	if w.failed != nil {
		return w.failed
	}
	_, _ = w.Write(part)
	if err := w.flush(); err != nil {
		return err
	}
	w.body = nil // an idle stream needs no buffer
	return nil
}

// EndStreams ends the contexts of all streams, and of those that begin later.
func (rt *Router) EndStreams() { rt.endStreams(ErrDraining) }

// WaitStreams waits until all streams have ended. When ctx ends, it cuts the others, and returns the
// error of ctx.
func (rt *Router) WaitStreams(ctx context.Context) error {
	for rt.running.Load() > 0 {
		select {
		case <-time.After(endPoll):
		case <-ctx.Done():
			rt.cutStreams()
			return ctx.Err()
		}
	}
	return nil
}

// endPoll is how often WaitStreams looks.
const endPoll = 5 * time.Millisecond

var errNoStream = errors.New("the stream has not begun")

// dropStream calls the stream's function for a stream that can't begin.
func (c *Context) dropStream() {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errNoStream)
	c.out.failed = errNoStream
	_ = c.callStream(&Stream{c, ctx})
	c.out.failed = nil
}

// beginStream takes the connection from net/http, and serves the stream in a goroutine of its own.
// net/http's goroutine has a stack for everything that a request may need, and two buffers. Without
// them an idle stream takes half of the memory (docs/results/streams.md).
func (c *Context) beginStream() {
	c.streamed = time.Now()
	if c.out.head {
		c.out.WriteHeader(http.StatusOK)
		c.whole = c.out.flush() == nil
		c.record()
		return
	}
	header := c.out.Header().Clone() // the compression changes it when this returns
	conn, _, err := c.out.ctrl.Hijack()
	if err != nil {
		c.dropStream()
		c.stream = nil
		c.conclude(fmt.Errorf("stream: %w", err))
		return
	}
	raw := &rawResponse{conn: conn, header: header, chunked: c.r.ProtoAtLeast(1, 1)}
	// net/http and echo use what is dropped here for other requests, or it is large.
	c.out.w, c.out.ctrl = raw, *http.NewResponseController(raw)
	c.out.conn.WriteDeadline = time.Time{} // the hijacking has removed it
	c.echo = echoContext{}
	c.r = &http.Request{Method: c.r.Method, URL: c.r.URL, Header: http.Header{}, Body: http.NoBody}
	c.admission = admission{shard: c.shard, waited: c.waited, memory: c.memory, held: c.held}
	c.input = input{received: true}
	c.taken = true
	c.rt.running.Add(1)
	go c.serveStream(raw)
}

// serveStream calls the stream's function and records the request.
func (c *Context) serveStream(raw *rawResponse) {
	defer func() { // net/http, which would recover, has given the request away
		if v := recover(); v != nil {
			_ = c.rt.pool.Caught(c.pattern(), v, slog.String("request_id", c.id))
		}
	}()
	defer c.rt.running.Add(-1)
	defer c.finish()
	defer context.AfterFunc(c.rt.cut, func() { _ = raw.conn.Close() })()
	ctx, cancel := context.WithCancelCause(c.rt.streams)
	defer cancel(nil)
	left := make(chan struct{})
	go func() {
		defer close(left)
		raw.waitForEnd()
		cancel(context.Canceled)
	}()
	defer func() {
		_ = raw.conn.Close()
		<-left
	}()
	err := c.callStream(&Stream{c, ctx})
	if err == nil && !c.out.wroteHeader {
		c.out.WriteHeader(http.StatusOK)
		err = c.out.flush()
	}
	c.whole = c.out.failed == nil
	if err != nil && c.out.failed == nil {
		c.writeError(err)
		if !c.out.wroteHeader {
			err = c.out.send() // nothing was sent, so the response can still be an error
		}
	}
	if err == nil {
		raw.end()
	}
	c.record()
}

// callStream calls the stream's function, and handles its panics as the pool handles those of
// handlers.
func (c *Context) callStream(s *Stream) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = c.rt.pool.Caught(c.pattern(), v, slog.String("request_id", c.id))
		}
	}()
	return c.stream(s)
}

// A rawResponse writes a response to a connection that net/http has given away. The connection ends
// with the response.
type rawResponse struct {
	conn    net.Conn
	header  http.Header // nil: it has been written
	status  int
	chunked bool // the client knows chunks; otherwise the end of the connection ends the response
}

func (w *rawResponse) Header() http.Header {
	if w.header == nil {
		return http.Header{}
	}
	return w.header
}

func (w *rawResponse) WriteHeader(status int) { w.status = status }

// Write sends p as a chunk, behind the header if that was not sent.
func (w *rawResponse) Write(p []byte) (int, error) {
	var out bytes.Buffer
	if w.header != nil {
		w.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
		w.header.Set("Connection", "close")
		w.header.Del("Content-Length")
		if w.chunked {
			w.header.Set("Transfer-Encoding", "chunked")
		}
		fmt.Fprintf(&out, "HTTP/1.1 %d %s\r\n", w.status, http.StatusText(w.status))
		_ = w.header.Write(&out) // into a buffer, which cannot fail
		out.WriteString("\r\n")
		w.header = nil
	}
	switch {
	case len(p) == 0:
	case w.chunked:
		fmt.Fprintf(&out, "%x\r\n%s\r\n", len(p), p)
	default:
		out.Write(p)
	}
	if _, err := w.conn.Write(out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// end tells the client that the response is whole.
func (w *rawResponse) end() {
	if w.chunked {
		_, _ = w.conn.Write([]byte("0\r\n\r\n"))
	}
}

// waitForEnd returns when the client has left. A client that sends something is taken for one that
// has left: the response is the last on its connection.
func (w *rawResponse) waitForEnd() {
	var one [1]byte
	_, _ = w.conn.Read(one[:])
}

// FlushError does nothing: Write sends at once.
func (w *rawResponse) FlushError() error { return nil }

// SetWriteDeadline sets the deadline of the connection.
func (w *rawResponse) SetWriteDeadline(t time.Time) error { return w.conn.SetWriteDeadline(t) }
