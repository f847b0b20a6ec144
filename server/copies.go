package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"sync/atomic"
	"time"

	"notesd/internal/cache"
	"notesd/notes"
	"notesd/pool"
	"notesd/store"
)

const (
	// mostAccepts is the longest Accept-Encoding, in bytes, for which an encoded body is cached.
	// The header is stored with the body.
	mostAccepts = 128

	// copiesAge is the longest time that an unannounced change, such as one made by hand, stays
	// unseen.
	copiesAge = time.Minute

	noteHead, noteTail = `{"success":true,"data":`, "}\n"
	listHead           = `{"success":true,"data":[`
)

// Copies is this process's cache of notes and lists, and of the sessions that package auth puts
// into it. Notes and lists are cached as the
// responses that are sent. Copies keeps nothing while the process cannot trust that it hears of
// other processes' changes in time. It implements store.Invalidator. Package cache documents what the
// cache promises.
type Copies struct {
	cache *cache.Cache
	limit int64
}

// NewCopies returns a cache of up to limit bytes; 0: it keeps nothing. One lock serves a core or
// two.
func NewCopies(limit int64, cores int) *Copies {
	shards := 1
	for shards < cores && shards < 16 {
		shards *= 2
	}
	return &Copies{cache: cache.New(cache.Config{Bytes: limit, MaxAge: copiesAge, Shards: shards}), limit: limit}
}

// SetStage shrinks the cache as memory runs short, and gives it back its limit afterwards.
func (k *Copies) SetStage(stage pool.Pressure) {
	switch stage {
	case pool.PressureNone:
		k.cache.SetLimit(k.limit)
	case pool.PressureLow:
		k.cache.SetLimit(k.limit / 2)
	default:
		k.cache.SetLimit(0)
	}
}

// An answerCopy is a cache entry: a response as it is sent. It must not be changed.
type answerCopy struct {
	tag, link string // link leads to the page after a list's page
	body      []byte
	packed    atomic.Pointer[packedCopy] // the encoded body that was requested last
}

// packedCopy is the encoded body of an entry, for clients that accept certain codings.
type packedCopy struct {
	accepts     string // the Accept-Encoding of these clients
	coding, tag string
	body        []byte
}

// size is an upper bound for the memory of the entry. It includes the encoded body, which is made
// on request. A text that cannot be compressed stays as long in its encoded form.
func (c *answerCopy) size() int { return 2*(len(c.body)+len(c.tag)) + len(c.link) + mostAccepts }

func newNoteCopy(n notes.Note) (*answerCopy, error) {
	var body bytes.Buffer // the encoder writes once, so the buffer grows to what is needed
	if err := encodeJSON(&body, envelope{Success: true, Data: noteOutput(n)}); err != nil {
		return nil, err
	}
	return &answerCopy{tag: etag(n), body: body.Bytes()}, nil
}

// inList returns the note as a list contains it.
func (c *answerCopy) inList() []byte {
	return c.body[len(noteHead) : len(c.body)-len(noteTail)]
}

func newListCopy(body []byte, link string) *answerCopy {
	sum := sha256.Sum256(body)
	return &answerCopy{tag: `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`, link: link, body: body}
}

func noteKey(owner, id string) cache.Key { return cache.Key{Kind: cache.Note, Owner: owner, ID: id} }
func listKey(owner, query string) cache.Key {
	return cache.Key{Kind: cache.List, Owner: owner, ID: query}
}

// get returns the entry under key, if it is in the cache.
func (k *Copies) get(key cache.Key) (*answerCopy, bool) {
	v, ok := k.cache.Get(key)
	if !ok {
		return nil, false
	}
	return v.(*answerCopy), true
}

// readNote returns the entry of owner's note. It calls read, unless the entry is in the cache by
// now or another request is reading the note already.
func (k *Copies) readNote(ctx context.Context, owner, id string, read func() (notes.Note, error)) (*answerCopy, error) {
	scope := k.cache.NoteScope(owner, id)
	v, err := k.cache.Share(ctx, noteKey(owner, id), scope, func(view cache.View) (any, error) {
		n, err := read()
		// The result that there is no such note counts, too.
		k.cache.Observe(scope, k.cache.ListScope(owner))
		if err != nil {
			return nil, err
		}
		c, err := newNoteCopy(n)
		if err == nil {
			k.keepNote(owner, id, c, view)
		}
		return c, err
	})
	if err != nil {
		return nil, err
	}
	return v.(*answerCopy), nil
}

func (k *Copies) keepNote(owner, id string, c *answerCopy, view cache.View) {
	if len(c.body) <= largeBody {
		k.cache.PutNote(noteKey(owner, id), c, c.size(), view)
	}
}

// errUnshared says that a list is too long to be shared between requests or kept.
var errUnshared = errors.New("long list")

// readList returns the response to owner's query. It calls read, unless the response is in the
// cache by now or another request is making it. It caches the response if read returns keep.
func (k *Copies) readList(ctx context.Context, owner, query string,
	read func() (c *answerCopy, keep bool, err error)) (*answerCopy, error) {
	scope := k.cache.ListScope(owner)
	v, err := k.cache.Share(ctx, listKey(owner, query), scope, func(view cache.View) (any, error) {
		c, keep, err := read()
		view = k.cache.Settle(view)
		if err != nil {
			return nil, err
		}
		if keep {
			k.cache.PutList(listKey(owner, query), c, c.size(), view)
		}
		return c, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*answerCopy), nil
}

// A reading is a batch read of the notes of a list that are not in the cache. It has the view of
// the cache that preceded the read of each note.
type reading struct {
	owner string
	views map[string]cache.View
}

// take returns the cache entries of the notes that refs point to, with nil for a note that is not
// in the cache. It also returns the refs of the missing notes, and the reading for them.
func (k *Copies) take(owner string, refs []store.Ref) (copies []*answerCopy, missing []store.Ref, r reading) {
	copies = make([]*answerCopy, len(refs))
	r = reading{owner: owner}
	for i, ref := range refs {
		var ok bool
		if copies[i], ok = k.get(noteKey(owner, ref.ID)); ok {
			continue
		}
		if r.views == nil {
			r.views = make(map[string]cache.View, len(refs)-i)
		}
		r.views[ref.ID] = k.cache.View(k.cache.NoteScope(owner, ref.ID))
		missing = append(missing, ref)
	}
	return copies, missing, r
}

// keep caches an entry that has been read in a reading.
func (k *Copies) keep(r reading, id string, c *answerCopy) {
	k.keepNote(r.owner, id, c, r.views[id])
}

// saw must be called before the server shows any state of owner's note that does not come from the
// cache.
func (k *Copies) saw(owner, id string) {
	k.cache.Observe(k.cache.NoteScope(owner, id), k.cache.ListScope(owner))
}

// BeginWrite implements store.Invalidator. The cache keeps the notes as the changes leave them.
func (k *Copies) BeginWrite(changes []store.Change) (done func(now []notes.Note)) {
	writes := make([]cache.Write, len(changes))
	for i, c := range changes {
		writes[i] = k.cache.BeginWrite(k.cache.NoteScope(c.Owner, c.Note), k.cache.ListScope(c.Owner))
	}
	return func(now []notes.Note) {
		for i, c := range changes {
			k.written(&writes[i], c, now)
		}
	}
}

func (k *Copies) written(w *cache.Write, change store.Change, now []notes.Note) {
	for i := range now {
		n := &now[i]
		if n.ID != change.Note || n.UserID != change.Owner || len(n.Content) > largeBody {
			continue
		}
		if c, err := newNoteCopy(*n); err == nil {
			w.Done(noteKey(change.Owner, change.Note), c, c.size())
			return
		}
	}
	w.Done(cache.Key{}, nil, 0)
}

// Invalidate implements store.Invalidator.
func (k *Copies) Invalidate(changes []store.Change) {
	for _, c := range changes {
		k.cache.Drop(k.cache.NoteScope(c.Owner, c.Note))
		k.cache.Drop(k.cache.ListScope(c.Owner))
	}
}

// SessionRevoked implements store.Invalidator.
func (k *Copies) SessionRevoked(key, user string) { k.cache.Ending(key, user)() }

// LeaseUntil implements store.Invalidator.
func (k *Copies) LeaseUntil(until time.Time) { k.cache.LeaseUntil(until) }

// InvalidateAll implements store.Invalidator.
func (k *Copies) InvalidateAll() { k.cache.InvalidateAll() }

// after returns the response for n, which was just written. As a rule the entry was made when n was
// written.
func (k *Copies) after(n notes.Note) (*answerCopy, error) {
	if v, ok := k.cache.Look(noteKey(n.UserID, n.ID)); ok && v.(*answerCopy).tag == etag(n) {
		return v.(*answerCopy), nil
	}
	return newNoteCopy(n)
}
