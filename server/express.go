package server

import (
	"context"
	"net/http"
	"strings"

	"notesd/internal/cache"
	"notesd/pool"
)

// express returns the fast path, a handler in front of compression and echo. It answers the most
// frequent requests, which need neither of them: health probes, and responses that are in the
// cache. All other requests, and all that are unusual in any way, go to next.
func (s *Server) express(next http.Handler) http.Handler {
	routes := map[string]*route{}
	for _, rt := range s.routes {
		if rt.method == http.MethodGet {
			routes[rt.pattern] = rt
		}
	}
	alive, aliveToo, list, note := routes["/api/health"], routes["/healthz"], routes["/api/notes"], routes["/api/notes/:id"]
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isPlain(r) && s.hosts.answers(r.Host) && !s.isForeignRead(r.Header) {
			id, isNote := strings.CutPrefix(r.URL.Path, "/api/notes/")
			switch {
			case isNote && s.sendCopy(w, r, note, id),
				r.URL.Path == list.pattern && s.sendCopy(w, r, list, ""):
				return
			case r.URL.Path == alive.pattern:
				s.sendHealth(w, r, alive)
				return
			case r.URL.Path == aliveToo.pattern:
				s.sendHealth(w, r, aliveToo)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// isPlain reports whether r is a GET that has neither a body nor an escaped path, and that comes
// from a page of this server or from no page.
func isPlain(r *http.Request) bool {
	return r.Method == http.MethodGet && r.ContentLength == 0 && r.URL.RawPath == "" && r.Header["Origin"] == nil
}

// inExpress begins an exchange on the fast path.
func (s *Server) inExpress(w http.ResponseWriter, r *http.Request, rt *route) *exchange {
	x := s.begin(w, r)
	x.route = rt
	x.out.varies = true
	return x
}

func (s *Server) sendHealth(w http.ResponseWriter, r *http.Request, rt *route) {
	x := s.inExpress(w, r, rt)
	defer s.end(x)
	s.conclude(x, health(s, x))
}

// sendCopy answers r from the cache, and reports whether it did.
func (s *Server) sendCopy(w http.ResponseWriter, r *http.Request, rt *route, id string) bool {
	c, user := s.recall(r, rt, id)
	if c == nil {
		return false
	}
	x := s.inExpress(w, r, rt)
	defer s.end(x)
	s.conclude(x, s.answerCopy(x, c, user))
	return true
}

// recall looks up the cached response to r, and returns it with the user it belongs to.
func (s *Server) recall(r *http.Request, rt *route, id string) (c *answerCopy, user string) {
	user = s.accounts.Sessions.Cached(r)
	if user == "" {
		return nil, ""
	}
	c, _ = s.copies.get(rt.copied(user, id, r.URL.RawQuery))
	return c, user
}

func copiedNote(user, id, _ string) cache.Key    { return noteKey(user, id) }
func copiedList(user, _, query string) cache.Key { return listKey(user, query) }

// answerCopy sends the cached response c with a permit of the pool, as all other responses are
// sent. The work is short. But the request of a user who sends too many is rejected, and so is a
// request for which there is no room.
func (s *Server) answerCopy(x *exchange, c *answerCopy, user string) error {
	x.user, x.client, x.ctx = user, x.r.Context(), x.r.Context()
	x.asked = pool.Request{Class: x.route.class, Route: x.route.pattern, Flow: personOf(user)}
	err := s.pool.Do(x.ctx, x.asked, func(_ context.Context, turn *pool.Permit) error {
		x.shard, x.waited = turn.Shard(), turn.Waited()
		defer s.recordTook(x)
		if err := s.limit(x); err != nil {
			return err
		}
		x.found(c)
		s.pack(x, c)
		return nil
	})
	return s.paced(x, err)
}

// pack encodes the response c in the coding that the client prefers among those it accepts.
// compress does not touch the response afterwards.
func (s *Server) pack(x *exchange, c *answerCopy) {
	accepts := x.r.Header.Get("Accept-Encoding")
	if accepts == "" || len(accepts) > mostAccepts || x.out.lent == nil || len(c.body) < compressFrom || x.r.Method != http.MethodGet {
		return
	}
	p := c.packed.Load()
	if p == nil || p.accepts != accepts {
		p = packedFor(strings.Clone(accepts), c, s.compress)
		c.packed.Store(p)
	}
	if p.coding != "" {
		h := x.out.Header()
		h["Content-Encoding"], h["Etag"] = []string{p.coding}, []string{p.tag}
		x.out.lend(http.StatusOK, p.body)
	}
}

// packedFor encodes c's body by compress, which implements the choice of a coding.
func packedFor(accepts string, c *answerCopy, compress func(http.Handler) http.HandlerFunc) *packedCopy {
	var into packing
	compress(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"], w.Header()["Etag"] = jsonType, []string{c.tag}
		_, _ = w.Write(c.body)
	}))(&into, &http.Request{Method: http.MethodGet, Header: http.Header{"Accept-Encoding": {accepts}}})
	coding := into.Header().Get("Content-Encoding")
	if coding == "" { // no common coding: the body is sent as it is
		return &packedCopy{accepts: accepts}
	}
	return &packedCopy{accepts: accepts, coding: coding, tag: into.Header().Get("Etag"), body: into.body}
}

// packing is the http.ResponseWriter that collects packedFor's output.
type packing struct {
	header http.Header
	body   []byte
}

func (p *packing) Header() http.Header {
	if p.header == nil {
		p.header = http.Header{}
	}
	return p.header
}

func (p *packing) WriteHeader(int) {}

func (p *packing) Write(b []byte) (int, error) {
	p.body = append(p.body, b...)
	return len(b), nil
}
