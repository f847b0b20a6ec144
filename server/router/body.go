package router

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"time"

	"notesd/internal/heavy"
	"notesd/pool"
	"notesd/server/listener"
)

const (
	// smallBody is the longest body of credentials or a web vital. A password of 1 KiB takes 6 KiB
	// if every byte is escaped.
	smallBody = 16 << 10
	// LargeBody, in bytes: above it, memory is reserved as a body arrives, and before a note or part
	// of a list is read.
	LargeBody = 64 << 10
	// LargeBodyMemory is the memory that is reserved for a body just above LargeBody, in bytes.
	LargeBodyMemory = LargeBody * bodyOverhead

	// bodyOverhead and readOverhead are how many times its size is reserved for a large body or note.
	// That covers all that is allocated until the response is made, garbage included: by Go (see
	// TestCopies) and by SQLite (one to four times the size).
	bodyOverhead   = 10
	readOverhead   = 8
	arriveOverhead = 2 // while a body arrives: only the buffers take memory

	// bodyPause: a body is given up if none of it arrives for this time. The read deadline moves
	// by pauseStep at least, because setting it costs as much as a read.
	bodyPause, pauseStep = 10 * time.Second, time.Second
	// chunkedRead is how many bytes of a chunked body must arrive within bodyPause.
	chunkedRead = 4 << 10

	// discardBytes is how much of an unread body is discarded, so that the client gets to read the
	// response.
	discardBytes = 16 << 20
	discardTime  = 2 * time.Second
)

// readArrived reads the request's body before admission, if the whole body has arrived with the
// header. Most bodies have. Such a request does not need to yield its permit in order to read the
// body. If it is rejected, it leaves nothing unread.
func (c *Context) readArrived() error {
	r := c.r
	if r.ContentLength <= 0 || listener.ConnOf(r).BodyArrived() < r.ContentLength || r.Header.Get("Expect") != "" {
		return nil
	}
	body := make([]byte, r.ContentLength) // at most the size of the connection's buffer
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	c.arrived, c.received = body, true
	return nil
}

// ReadBody reads the request's body, and decodes it by its Content-Encoding. The body must not be
// changed. A handler calls it at most once.
func (c *Context) ReadBody() ([]byte, error) {
	coding, err := bodyCoding(c.r.Header)
	if err != nil {
		return nil, err
	}
	body, err := c.readBody()
	if err == nil && coding != "" {
		body, err = c.decode(coding, body)
	}
	if err != nil {
		return nil, err
	}
	c.body = body
	return body, nil
}

// readBody reads the request's body without the permit (see Yield). So a client that sends the body
// slowly, or never, holds no permit. The body must arrive at the minimum rate. A length that would
// not fit into memory is rejected at once. Memory is reserved only for bytes that have arrived, and
// not for the announced length.
func (c *Context) readBody() ([]byte, error) {
	r := c.r
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if c.arrived != nil {
		c.Hold(len(c.arrived))
		return c.arrived, nil
	}
	if r.ContentLength > LargeBody {
		if err := c.rt.pool.Fits(&c.memory, c.reserver(), r.ContentLength*bodyOverhead); err != nil {
			return nil, err
		}
	}
	var body []byte
	err := c.Yield(func() (err error) {
		body, err = c.receive()
		return err
	})
	return body, err
}

// Reserve reserves memory, until the response is made, for notes of length bytes that are about to
// be read, and for the response with them. It reserves nothing for a small length.
func (c *Context) Reserve(length int64) error { return c.reserve(length, readOverhead) }

// ReserveWait reserves bytes of memory until the response is made, for work such as hashing. If
// other requests hold that memory, it waits for a second at most.
func (c *Context) ReserveWait(ctx context.Context, bytes int64) error {
	return c.rt.pool.ReserveWithin(ctx, &c.memory, c.reserver(), bytes, c.rt.pacer.max)
}

// reserve reserves overhead times the length, unless the length is small.
func (c *Context) reserve(length, overhead int64) error {
	if length <= LargeBody {
		return nil
	}
	return c.rt.pool.Reserve(&c.memory, c.reserver(), length*overhead)
}

// ReserveJSON is Reserve for texts that are about to be encoded as JSON. A control character is one
// byte of a note and six bytes of its JSON.
func (c *Context) ReserveJSON(texts ...string) error {
	var length int64
	for _, text := range texts {
		length += int64(len(text))
	}
	if length*maxEscape <= LargeBody {
		return nil
	}
	heavy.If(length > LargeBody, func() {
		for _, text := range texts {
			length += int64(escapes(text))
		}
	})
	return c.Reserve(length)
}

// maxEscape is how many times longer a text can become as JSON.
const maxEscape = 6

// escapes returns by how many bytes the JSON of text is longer than text.
func escapes(text string) (more int) {
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t':
			more++
		case c < ' ':
			more += 5 // \u0001
		case c == 0xE2 && (strings.HasPrefix(text[i:], "\u2028") || strings.HasPrefix(text[i:], "\u2029")):
			more += 3 // \u2028
		}
	}
	return more
}

// reserver returns the request on whose behalf memory is reserved.
func (c *Context) reserver() pool.Request {
	r := c.asked
	r.Address = c.addressFlow()
	return r
}

// keepResponse counts only the memory of the response from now on, while the response waits for its
// client. All that it was made from is garbage.
func (c *Context) keepResponse() {
	c.bytesIn, c.body = len(c.body), nil
	// A cached response is sent by many requests. Its memory was counted for the request that made
	// it.
	kept := min(int64(c.out.length()), max(c.held, c.memory.Bytes()))
	c.Hold(int(kept - c.held))
	c.rt.pool.Shrink(&c.memory, kept)
}

// bodyLimit returns the longest body of a request to route, in bytes.
func (rt *Router) bodyLimit(route *Route) int64 {
	if route.SmallBody {
		return min(smallBody, rt.cfg.BodyLimit)
	}
	return rt.cfg.BodyLimit
}

// receive reads the body, and at most as many bytes as the route allows. Memory is allocated and
// reserved as the body arrives, and never by what Content-Length promises.
func (c *Context) receive() ([]byte, error) {
	r := c.r
	limit := c.rt.bodyLimit(c.route)
	defer func() { _ = c.out.ctrl.SetReadDeadline(time.Time{}) }()

	in := &timedBody{Reader: io.LimitReader(r.Body, limit+1), ctrl: &c.out.ctrl, began: time.Now(), most: math.MaxInt}
	if r.ContentLength < 0 {
		in.most = chunkedRead
	}
	body, err := readAll(in, r.ContentLength, func(size int64) error {
		c.Hold(int(size - c.held))
		if size <= LargeBody {
			return nil
		}
		return c.rt.pool.ReserveArriving(&c.memory, c.reserver(), size*arriveOverhead)
	})
	c.Hold(len(body) - int(c.held))
	switch {
	case int64(len(body)) > limit:
		return nil, errBodyTooLarge
	case err == nil:
		c.received = true
		if len(body) > LargeBody { // all of it has been sent, so it is worth a wait for memory
			err = c.rt.pool.ReserveWithin(c.client, &c.memory, c.reserver(), int64(len(body))*bodyOverhead,
				c.rt.pacer.max)
		}
		return body, err
	case isRejection(err):
		return nil, err
	case isTimeout(err):
		c.late = true
		return nil, errSlowBody
	case r.Context().Err() != nil:
		return nil, r.Context().Err()
	default: // the length is wrong, or a chunk is malformed
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
}

// timedBody reads a body that must arrive at the minimum rate, after a grace period, and must not
// pause for long. It reads little at a time. Inside a chunk net/http reads on until it has all the
// bytes that it was asked for, and that must not look like a pause.
type timedBody struct {
	io.Reader
	ctrl    *http.ResponseController
	most    int // bytes to read at a time, at most
	began   time.Time
	renewed time.Time // when the read deadline was set last
	arrived int64
}

func (b *timedBody) Read(p []byte) (int, error) {
	if now := time.Now(); now.Sub(b.renewed) >= pauseStep {
		b.renewed = now
		deadline := now.Add(bodyPause)
		if last := b.began.Add(sendGrace + time.Duration(b.arrived/minRate)*time.Second); last.Before(deadline) {
			deadline = last
		}
		_ = b.ctrl.SetReadDeadline(deadline)
	}
	n, err := b.Reader.Read(p[:min(len(p), b.most)])
	b.arrived += int64(n)
	return n, err
}

// readAll is io.ReadAll for a body of the promised length; -1: the length is unknown. It returns
// the body in a buffer of that length. It never allocates a buffer of more than four times the
// bytes that have arrived. It calls grow with the size of each new buffer but the first, small one.
func readAll(r io.Reader, promised int64, grow func(size int64) error) ([]byte, error) {
	const first = 8 << 10
	size := int64(first)
	if promised >= 0 {
		size = min(promised, first)
	}
	body := make([]byte, 0, size+1) // one byte more, so that the next read meets the end
	for {
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case err == io.EOF:
			return body, nil
		case err != nil:
			return body, err
		case len(body) < cap(body):
			continue
		}
		size = 2 * int64(len(body))
		if int64(len(body)) < promised && promised <= 2*size {
			size = promised
		}
		if err := grow(size); err != nil {
			return body, err
		}
		body = append(make([]byte, 0, size+1), body...)
	}
}

func isRejection(err error) bool {
	_, ok := errors.AsType[*pool.RejectedError](err)
	return ok
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}

// discard reads and drops, for a while, the body bytes that were not read before the response.
// Otherwise a client that is still sending would get a connection reset before it reads the
// response. A client that waits for "100 Continue" has sent no body and is not asked for it.
// deliver has set the read deadline.
func (c *Context) discard() {
	if c.r.Header.Get("Expect") != "" {
		return
	}
	_ = c.out.ctrl.Flush()
	_, _ = io.CopyN(io.Discard, c.r.Body, discardBytes)
}
