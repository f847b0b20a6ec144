package router

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"notesd/pool"
	"notesd/server/listener"
)

// Shedding implements listener.Shedder. With debug lines in the log, each rejection has its line
// there, and so takes the normal way.
func (rt *Router) Shedding() bool {
	return rt.pool.MaybeSaturated() && !rt.cfg.NoAdmission && !rt.leaving.Load() &&
		!rt.log.Enabled(context.Background(), slog.LevelDebug)
}

// Shed implements listener.Shedder. It rejects the requests that the pool would reject because the
// CPU is saturated. All that are unusual in any way take the normal way, on which the pool rejects
// them. During a shutdown all requests do, because the rejection would come too late for net/http.
func (rt *Router) Shed(r *http.Request) (reject func(*listener.Conn) bool) {
	route := rt.shedRoutes.find(r.Method, r.URL.Path)
	if route == nil || !rt.isSheddable(r, route) {
		return nil
	}
	class := route.admissionClass(r)
	if !rt.pool.Saturated(class) {
		return nil
	}
	addr, _ := rt.clientAddress(r)
	s := shedRequest{rt: rt, route: route, began: time.Now(), overTLS: rt.overTLS(r)}
	s.asked = pool.Request{Class: class, Route: route.Path, Flow: rt.flow(r, addr)}
	return s.reject
}

// isSheddable reports whether nothing but the pool would reject r, and whether its rejection has
// only the headers that every rejection has.
func (rt *Router) isSheddable(r *http.Request, route *Route) bool {
	return r.Header["Origin"] == nil && r.ContentLength <= rt.bodyLimit(route) && rt.hosts.answers(r.Host) &&
		!rt.isForeignRead(r.Header) && (hasBearer(r.Header) || rt.protection.Check(rt.asRequested(r)) == nil)
}

// A shedRequest is a request that Shed rejects, until its rejection has been sent.
type shedRequest struct {
	rt      *Router
	route   *Route
	began   time.Time
	asked   pool.Request
	overTLS bool
}

// reject sends the rejection when the pacer allows it. If the server leaves before, the request
// takes the normal way. The connection adds the default headers.
func (s *shedRequest) reject(conn *listener.Conn) bool {
	rt := s.rt
	rt.pool.AddDelayed(1)
	leaving := s.wait()
	rt.pool.AddDelayed(-1)
	if leaving {
		return false
	}
	waited := time.Since(s.began)
	f := rejected(rt.pool.RejectSaturated(s.asked, waited))
	f.RequestID = requestID()
	conn.BeginResponse(f.RequestID, true, nil, nil)
	response := f.appendResponse(nil, s.overTLS)
	limitWrites(conn, conn, len(response))
	_, err := conn.Write(response)
	switch {
	case isTimeout(err):
		rt.counts.SlowReaders.Add(1)
	case err != nil:
		rt.counts.Gone.Add(1)
	}
	rt.cfg.Observer.Sent(0, s.route.index, f.status, waited)
	rt.counts.Answered.Add(1)
	return true
}

// wait waits until the rejection may be sent or the server leaves, and reports whether it leaves.
//
// If clients come faster than rejections may be sent, even the rejections would take the CPU from the
// requests that are served. Then the request first waits, as one in the queue does; in an overload the
// newest go first. It waits for half the time only, as many clients give up after two seconds.
func (s *shedRequest) wait() (leaving bool) {
	rt, leaves := s.rt, s.rt.staying()
	d := rt.pacer.delay()
	if d >= rt.pacer.max && sleep(min(rt.pacer.max/2, rt.cfg.RequestTimeout/4), nil, leaves) {
		return true
	}
	return sleep(d, nil, leaves)
}

// appendResponse appends the response to dst as net/http would write it.
func (f *errorResponse) appendResponse(dst []byte, overTLS bool) []byte {
	var body bytes.Buffer
	_ = EncodeJSON(&body, f) // into a buffer, which cannot fail
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(f.status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(f.status)...)
	dst = append(dst, "\r\nContent-Type: "...)
	dst = append(dst, jsonType[0]...)
	if f.RetryAfter > 0 {
		dst = append(dst, "\r\nRetry-After: "...)
		dst = strconv.AppendInt(dst, int64(f.RetryAfter), 10)
	}
	if overTLS {
		dst = append(dst, "\r\nStrict-Transport-Security: "+strictTransport...)
	}
	dst = append(dst, "\r\nDate: "...)
	dst = time.Now().UTC().AppendFormat(dst, http.TimeFormat)
	dst = append(dst, "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(body.Len()), 10)
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, body.Bytes()...)
}

// shedRoutes finds the routes whose requests Shed may reject.
type shedRoutes struct {
	plain  map[string]map[string]*Route // by method and path
	params map[string][]*Route          // by method: those with parameters in the path
}

// newShedRoutes takes those of routes that need a permit. An administrator's request may lack the
// token, and some doors write errors in a format of their own.
func newShedRoutes(routes []*Route) shedRoutes {
	s := shedRoutes{map[string]map[string]*Route{}, map[string][]*Route{}}
	for _, route := range routes {
		switch {
		case !route.pooled() || route.Auth == Admin || route.WriteError != nil || strings.Contains(route.Path, "*"):
		case strings.Contains(route.Path, ":"):
			s.params[route.Method] = append(s.params[route.Method], route)
		default:
			if s.plain[route.Method] == nil {
				s.plain[route.Method] = map[string]*Route{}
			}
			s.plain[route.Method][route.Path] = route
		}
	}
	return s
}

// find returns the route for the path, or nil if there is none, or if it is not certain.
func (s *shedRoutes) find(method, path string) (found *Route) {
	if route := s.plain[method][path]; route != nil {
		return route
	}
	for _, route := range s.params[method] {
		if !matchPath(route.Path, path) {
			continue
		}
		if found != nil {
			return nil
		}
		found = route
	}
	return found
}

// matchPath reports whether path matches pattern, with a parameter for each part that begins with a
// colon.
func matchPath(pattern, path string) bool {
	for pattern != "" {
		var want, part string
		want, pattern, _ = strings.Cut(pattern[1:], "/")
		if path == "" {
			return false
		}
		part, path, _ = strings.Cut(path[1:], "/")
		if want != part && (want == "" || want[0] != ':' || part == "") {
			return false
		}
		if pattern != "" {
			pattern = "/" + pattern
		}
		if path != "" {
			path = "/" + path
		}
	}
	return path == ""
}
