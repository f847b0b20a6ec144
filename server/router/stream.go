package router

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"
)

// ErrDraining is the cause of the end of a Stream's context when the server shuts down.
var ErrDraining = errors.New("the server is shutting down")

// A Stream is a response that may last for hours, such as server-sent events. It holds no permit of
// the pool, is not compressed, and REQUEST_TIMEOUT does not bound it. It ends when its function
// returns.
type Stream struct {
	c   *Context
	ctx context.Context
}

// Stream makes the response a Stream. The handler returns the result at once, which gives back its
// permit. Then write is called, and sends the response. When the stream's context has ended, write
// may send a last part, and must return. The handler sets the headers of the response before.
//
// Nothing limits how many streams a user has, or how long they last: that is up to the handler.
//
// Stream reads the request's body and drops it. Otherwise net/http would wait for it before it sends
// the response, and would not notice that the client has left.
func (c *Context) Stream(contentType string, write func(s *Stream) error) error {
	if _, err := c.ReadBody(); err != nil {
		return err
	}
	c.arrived = nil // the router drops the rest
	c.SetHeader("Content-Type", contentType)
	c.out.Header()["No-Gzip-Compression"] = []string{"1"} // for the compression, which removes it
	c.stream = write
	return nil
}

// Context returns the context of the stream. It ends when the client has left, or when the server
// shuts down (ErrDraining).
func (s *Stream) Context() context.Context { return s.ctx }

// Send sends part at once. It returns an error if the client has left, or takes the part too slowly.
// It may be called after the end of the context. part may be used again afterwards.
func (s *Stream) Send(part []byte) error {
	w := &s.c.out
	_, _ = w.Write(part)
	if err := w.flush(); err != nil {
		return err
	}
	w.body = nil // a stream that is idle needs no buffer
	return nil
}

// EndStreams ends the contexts of all streams, and of those that begin later.
func (rt *Router) EndStreams() { rt.endStreams(ErrDraining) }

// serveStream calls the stream's function and records the request.
func (c *Context) serveStream() {
	c.streamed = time.Now()
	ctx, cancel := context.WithCancelCause(c.r.Context())
	defer cancel(nil)
	defer context.AfterFunc(c.rt.streams, func() { cancel(context.Cause(c.rt.streams)) })()
	var err error
	if !c.out.head {
		err = c.callStream(&Stream{c, ctx})
	}
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
	c.record()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
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
