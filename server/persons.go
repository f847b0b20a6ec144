package server

import (
	"hash/maphash"
	"sync"

	"notesd/internal/netutil"
	"notesd/pool"
)

// mostPersons is the maximum size of each of the two generations of persons.
const mostPersons = 1 << 14

// persons is a cache of the users of session cookies. It is called before a session is read, which
// needs a permit, so that the pool can be fair to users already at admission. It is only a hint,
// and never decides on access: a request with the cookie of a signed-out session merely waits in
// the queue of its former user.
//
// When the young generation is full, it becomes the old one. Entries of the old generation that
// were not looked up since are dropped.
type persons struct {
	seed maphash.Seed

	mu         sync.Mutex // guards the maps; it is held for one look-up
	young, old map[uint64]string
}

func newPersons() *persons {
	return &persons{seed: maphash.MakeSeed(), young: map[uint64]string{}}
}

// of returns the user of the token, or "" if the user is not known.
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

// learn remembers that token belongs to user.
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

// request returns the pool.Request for x.
func (s *Server) request(x *exchange, rt *route) pool.Request {
	r := pool.Request{Class: rt.class, Route: rt.pattern, Flow: s.person(x)}
	if rt.searches && x.Request().URL.RawQuery != "" && parseQuery(x.Request().URL.RawQuery).Get("search") != "" {
		r.Class = pool.Search
	}
	return r
}

// personOf returns the pool's flow for a user.
func personOf(user string) string { return "user:" + user }

// person returns the flow that the pool schedules fairly: the user, if the cookie is known, or else
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

// addressOf returns the pool's flow for the address of x's client.
func addressOf(x *exchange) string { return "ip:" + netutil.Network(x.addr) }
