package router

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"notesd/pool"
	"notesd/server/listener"
)

// Answer implements listener.Shedder. It responds to the requests that the fast path would respond
// to, in the same way. A request that would have to wait for a permit takes the normal way, on which
// it is noticed if its client leaves. During a shutdown all requests do, because net/http must know
// which connections it may close.
func (rt *Router) Answer(r *http.Request, conn *listener.Conn) bool {
	rt.answering.Add(1)
	defer rt.answering.Add(-1)
	if rt.leaving.Load() || rt.cfg.NoAdmission || !rt.isOrdinary(r) {
		return false
	}
	for i := range rt.fast {
		if param, ok := rt.fast[i].match(r.URL.Path); ok && rt.answer(conn, r, rt.fast[i].Route, param) {
			return true
		}
	}
	return false
}

// WaitAnswers waits until no call of Answer runs that began before CloseConnections, or until ctx
// ends.
func (rt *Router) WaitAnswers(ctx context.Context) error {
	for rt.answering.Load() > 0 {
		select {
		case <-time.After(endPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// answer is serveFast over conn.
func (rt *Router) answer(conn *listener.Conn, r *http.Request, route *Route, param string) bool {
	now := time.Now()
	e, who := rt.lookup(r, route, param, now)
	if e == nil {
		return false
	}
	c := rt.beginOn(conn, &directResponse{conn: conn}, r, now)
	c.route, c.out.varies = route, true
	defer c.end()
	if !route.pooled() {
		c.WriteEntry(e)
		c.conclude(nil)
		return true
	}
	c.who, c.client, c.ctx = who, context.Background(), context.Background()
	c.asked = pool.Request{Class: poolClasses[route.Class], Route: route.Path, Flow: flowOf(who.UserID)}
	done, err := rt.pool.TryDo(c.asked, func(permit *pool.Permit) error { return c.writeAdmitted(e, permit) })
	if done {
		c.conclude(err)
	}
	return done
}

// A directResponse is an http.ResponseWriter that writes a whole response to its connection. The
// response takes one Write.
type directResponse struct {
	conn   *listener.Conn
	header http.Header
	status int
}

func (d *directResponse) Header() http.Header {
	if d.header == nil {
		d.header = http.Header{}
	}
	return d.header
}

func (d *directResponse) WriteHeader(status int) { d.status = status }

// SetWriteDeadline implements what http.ResponseController looks for.
func (d *directResponse) SetWriteDeadline(t time.Time) error { return d.conn.SetWriteDeadline(t) }

func (d *directResponse) Write(body []byte) (int, error) {
	line := make([]byte, 0, 64)
	line = append(strconv.AppendInt(append(line, "HTTP/1.1 "...), int64(d.status), 10), ' ')
	line = append(append(line, http.StatusText(d.status)...), "\r\n"...)
	headers := make([]byte, 0, 256)
	for name, values := range d.header {
		for _, value := range values {
			if name != "Content-Length" {
				headers = append(append(append(append(headers, name...), ": "...), value...), "\r\n"...)
			}
		}
	}
	headers = time.Now().UTC().AppendFormat(append(headers, "Date: "...), http.TimeFormat)
	if bodyAllowed(d.status) {
		headers = strconv.AppendInt(append(headers, "\r\nContent-Length: "...), int64(len(body)), 10)
	}
	if err := d.conn.WriteResponse(line, append(headers, "\r\n\r\n"...), body); err != nil {
		return 0, err
	}
	return len(body), nil
}
