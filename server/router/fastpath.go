package router

import (
	"context"
	"net/http"
	"strings"
	"time"

	"notesd/pool"
)

// Fast finds the response to a request in the memory of the process. It returns nil if the response
// is not there: then the request takes the normal way. Fast must be as quick as a look-up in a map.
type Fast func(l Lookup) *Entry

// A Lookup is a request on the fast path.
type Lookup struct {
	Request *http.Request
	UserID  string    // the user, or "" if the route is free
	Param   string    // the parameter in the path, if the route has one
	Began   time.Time // when the request header had been read
}

// fastRoute is a route with a Fast function.
type fastRoute struct {
	*Route
	path   string // the path, without the parameter
	prefix bool   // the parameter follows path
}

// parameter returns the name of the parameter at the end of the route's path, or "".
func (route *Route) parameter() string {
	_, name, _ := strings.Cut(route.Path, ":")
	return name
}

func (rt *Router) fastRoutes() (fast []fastRoute) {
	for _, route := range rt.routes {
		if route.Fast != nil {
			path, _, prefix := strings.Cut(route.Path, ":")
			fast = append(fast, fastRoute{route, path, prefix})
		}
	}
	return fast
}

// match reports whether the route has the path, and returns the parameter in it.
func (f *fastRoute) match(path string) (param string, ok bool) {
	if f.prefix {
		return strings.CutPrefix(path, f.path)
	}
	return "", path == f.path
}

// fastPath returns a handler in front of compression and echo. It answers the most frequent
// requests, which need neither of them: those whose response a Fast function finds. All other
// requests, and all that are unusual in any way, go to next.
func (rt *Router) fastPath(next http.Handler) http.Handler {
	routes := rt.fast
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rt.isOrdinary(r) {
			for i := range routes {
				if param, ok := routes[i].match(r.URL.Path); ok && rt.serveFast(w, r, routes[i].Route, param) {
					return
				}
			}
		}
		next.ServeHTTP(w, r)
	})
}

// isOrdinary reports whether nothing in front of a handler rejects r or treats it in another way.
func (rt *Router) isOrdinary(r *http.Request) bool {
	return isPlain(r) && rt.hosts.answers(r.Host) && !rt.isForeignRead(r.Header)
}

// isPlain reports whether r is a GET that has neither a body nor an escaped path, and that comes
// from a page of this server or from no page.
func isPlain(r *http.Request) bool {
	return r.Method == http.MethodGet && r.ContentLength == 0 && r.URL.RawPath == "" && r.Header["Origin"] == nil
}

// serveFast answers r from memory, and reports whether it did. It waits for a permit.
func (rt *Router) serveFast(w http.ResponseWriter, r *http.Request, route *Route, param string) bool {
	now := time.Now()
	e, who := rt.lookup(r, route, param, now)
	if e == nil {
		return false
	}
	c := rt.begin(w, r, now)
	c.route = route
	c.out.varies = true
	defer c.end()
	if !route.pooled() {
		c.WriteEntry(e)
		c.conclude(nil)
		return true
	}
	c.conclude(rt.admitEntry(c, e, who))
	return true
}

// lookup returns the response to r from memory, and who sends r.
func (rt *Router) lookup(r *http.Request, route *Route, param string, now time.Time) (e *Entry, who Identity) {
	if route.pooled() {
		if who = rt.cfg.Auth.Cached(r); who.UserID == "" || who.check(r.Header, route) != nil {
			return nil, Identity{}
		}
	}
	return route.Fast(Lookup{Request: r, UserID: who.UserID, Param: param, Began: now}), who
}

// admitEntry sends the response e with a permit of the pool, as all other responses are sent. The
// work is short. But the request of a user who sends too many is rejected, and so is a request for
// which there is no room.
func (rt *Router) admitEntry(c *Context, e *Entry, who Identity) error {
	c.who, c.client, c.ctx = who, c.r.Context(), c.r.Context()
	c.asked = pool.Request{Class: poolClasses[c.route.Class], Route: c.route.Path, Flow: flowOf(who.UserID)}
	err := rt.pool.Do(c.ctx, c.asked, func(_ context.Context, permit *pool.Permit) error {
		return c.writeAdmitted(e, permit)
	})
	return c.paced(err)
}

// writeAdmitted responds with e, unless the user has sent too many requests.
func (c *Context) writeAdmitted(e *Entry, permit *pool.Permit) error {
	c.shard, c.waited = permit.Shard(), permit.Waited()
	defer c.observeHandled()
	if err := c.limit(); err != nil {
		return err
	}
	c.WriteEntry(e)
	c.encode(e)
	return nil
}
