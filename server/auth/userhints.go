package auth

import (
	"hash/maphash"
	"sync"
)

// maxUserHints is the maximum size of each of the two generations of userHints.
const maxUserHints = 1 << 14

// userHints remembers the users of session and app tokens. It is consulted before a session is read,
// which needs a permit, so that the pool can be fair to users already at admission. It is only a
// hint, and never decides on access: a request with the cookie of a signed-out session merely
// waits in the queue of its former user.
//
// When the young generation is full, it becomes the old one. Entries of the old generation that
// were not looked up since are dropped.
type userHints struct {
	seed maphash.Seed

	mu         sync.Mutex // guards the maps; it is held for one look-up
	young, old map[uint64]string
}

func newUserHints() *userHints {
	return &userHints{seed: maphash.MakeSeed(), young: map[uint64]string{}}
}

// lookup returns the user of the token, or "" if the user is not known.
func (h *userHints) lookup(token string) string {
	key := maphash.String(h.seed, token)
	h.mu.Lock()
	defer h.mu.Unlock()
	user, found := h.young[key]
	if !found {
		if user, found = h.old[key]; found {
			h.put(key, user)
		}
	}
	return user
}

// add remembers that token belongs to user.
func (h *userHints) add(token, user string) {
	key := maphash.String(h.seed, token)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.put(key, user)
}

// remove forgets the token.
func (h *userHints) remove(token string) {
	key := maphash.String(h.seed, token)
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.young, key)
	delete(h.old, key)
}

func (h *userHints) put(key uint64, user string) {
	if _, known := h.young[key]; !known && len(h.young) >= maxUserHints {
		h.young, h.old = make(map[uint64]string), h.young
	}
	h.young[key] = user
}
