package server

import (
	"hash/maphash"
	"sync"

	"notesd/internal/netutil"
	"notesd/pool"
)

// mostPersons bounds each of the two generations of persons.
const mostPersons = 1 << 14

// persons remembers whose session cookies are, so that the pool can be fair to
// people before their sessions are read, which is done in a turn. It is never
// asked who may do what: a cookie that was signed out only stands in its
// owner's queue.
//
// Once full, the young generation becomes the old one, and what was not asked
// for since is forgotten.
type persons struct {
	seed maphash.Seed

	mu         sync.Mutex // guards the maps; held for a look-up
	young, old map[uint64]string
}

func newPersons() *persons {
	return &persons{seed: maphash.MakeSeed(), young: map[uint64]string{}}
}

// of returns whose token it is, or "" when that is not known.
func (p *persons) of(token string) string {
	key := maphash.String(p.seed, token)
	p.mu.Lock()
	defer p.mu.Unlock()
	user, found := p.young[key]
	if !found {
		if user, found = p.old[key]; found {
			p.put(key, user)
		}
	}
	return user
}

// learn remembers that token is user's.
func (p *persons) learn(token, user string) {
	key := maphash.String(p.seed, token)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(key, user)
}

func (p *persons) put(key uint64, user string) {
	if _, known := p.young[key]; !known && len(p.young) >= mostPersons {
		p.young, p.old = make(map[uint64]string), p.young
	}
	p.young[key] = user
}

// request is what the pool is told about x.
func (s *Server) request(x *exchange, rt *route) pool.Request {
	r := pool.Request{Class: rt.class, Route: rt.pattern, Person: s.person(x)}
	if rt.searches && x.Request().URL.RawQuery != "" && parseQuery(x.Request().URL.RawQuery).Get("search") != "" {
		r.Class = pool.Search
	}
	return r
}

// personOf is the person that a user is to the pool.
func personOf(user string) string { return "user:" + user }

// person is who the pool is fair to: the user, when the cookie is known, else
// the address.
func (s *Server) person(x *exchange) string {
	token, sole := tokenOf(x.Request())
	if sole {
		x.token = token
	}
	if x.token != "" {
		if user := s.persons.of(x.token); user != "" {
			return personOf(user)
		}
	}
	return addressOf(x)
}

// addressOf is the address of x's client, as the pool knows it.
func addressOf(x *exchange) string { return "ip:" + netutil.Network(x.addr) }
