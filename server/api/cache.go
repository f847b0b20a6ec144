package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"notesd/internal/cache"
	"notesd/internal/heavy"
	"notesd/notes"
	"notesd/server/router"
	"notesd/store"
)

const (
	// maxAge is the longest time that an unannounced change, such as one made by hand, stays
	// unseen.
	maxAge = time.Minute

	noteHead, noteTail = `{"success":true,"data":`, "}\n"
	listHead           = `{"success":true,"data":[`
)

// ResponseCache is this process's cache of notes and lists, and of the sessions that package auth
// puts into it. Notes and lists are cached as the responses that are sent. It keeps nothing while
// the process cannot trust that it hears of other processes' changes in time. It implements
// store.Invalidator. Package cache documents what the cache promises.
type ResponseCache struct {
	cache *cache.Cache
}

// NewResponseCache returns a cache of up to limit bytes; 0: it keeps nothing. One lock serves a
// core or two.
func NewResponseCache(limit int64, cores int) *ResponseCache {
	shards := 1
	for shards < cores && shards < 16 {
		shards *= 2
	}
	return &ResponseCache{cache: cache.New(cache.Config{Bytes: limit, MaxAge: maxAge, Shards: shards})}
}

// SetLimit changes the limit of the cache, in bytes. The cache shrinks as memory runs short.
func (k *ResponseCache) SetLimit(bytes int64) { k.cache.SetLimit(bytes) }

// Shared returns the cache below, which has sessions as well.
func (k *ResponseCache) Shared() *cache.Cache { return k.cache }

// newNoteEntry returns the response with n.
func newNoteEntry(n notes.Note) (*router.Entry, error) {
	var body bytes.Buffer // the encoder writes once, so the buffer grows to what is needed
	var err error
	heavy.If(len(n.Content) > router.LargeBody, func() {
		err = router.EncodeJSON(&body, router.Envelope{Success: true, Data: noteOutput(n)})
	})
	if err != nil {
		return nil, err
	}
	return &router.Entry{ETag: etag(n), Body: body.Bytes()}, nil
}

// noteInList returns the note of an entry as a list contains it.
func noteInList(e *router.Entry) []byte {
	return e.Body[len(noteHead) : len(e.Body)-len(noteTail)]
}

// newListEntry returns the response with a list. link leads to the next page.
func newListEntry(body []byte, link string) *router.Entry {
	sum := sha256.Sum256(body)
	return &router.Entry{ETag: `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`, Link: link, Body: body}
}

func noteKey(owner, id string) cache.Key { return cache.Key{Kind: cache.Note, Owner: owner, ID: id} }
func listKey(owner, query string) cache.Key {
	return cache.Key{Kind: cache.List, Owner: owner, ID: query}
}

// get returns the entry under key, or nil if it is not in the cache.
func (k *ResponseCache) get(key cache.Key) *router.Entry {
	v, ok := k.cache.Get(key)
	if !ok {
		return nil
	}
	return v.(*router.Entry)
}

// readNote returns the entry of owner's note. It calls read, unless the entry is in the cache by
// now or another request is reading the note already.
func (k *ResponseCache) readNote(ctx context.Context, owner, id string,
	read func() (notes.Note, error)) (*router.Entry, error) {
	scope := k.cache.NoteScope(owner, id)
	v, err := k.cache.Share(ctx, noteKey(owner, id), scope, func(view cache.Snapshot) (any, error) {
		n, err := read()
		// The result that there is no such note counts, too.
		k.cache.Observe(scope, k.cache.ListScope(owner))
		if err != nil {
			return nil, err
		}
		e, err := newNoteEntry(n)
		if err == nil {
			k.keepNote(owner, id, e, view)
		}
		return e, err
	})
	if err != nil {
		return nil, err
	}
	return v.(*router.Entry), nil
}

func (k *ResponseCache) keepNote(owner, id string, e *router.Entry, view cache.Snapshot) {
	if len(e.Body) <= router.LargeBody {
		k.cache.PutNote(noteKey(owner, id), e, e.Size(), view)
	}
}

// readList returns the response to owner's query, or the page of a list that is too long for one.
// It calls read, unless the response is in the cache by now or another request reads the list
// already. A search is not cached, because the same one is hardly ever repeated.
func (k *ResponseCache) readList(ctx context.Context, owner, query string,
	read func() (listPage, error)) (e *router.Entry, long listPage, err error) {
	scope := k.cache.ListScope(owner)
	v, err := k.cache.Share(ctx, listKey(owner, query), scope, func(view cache.Snapshot) (any, error) {
		p, err := read()
		view = k.cache.Validate(view)
		switch {
		case err != nil:
			return nil, err
		case p.whole == nil:
			return p, nil
		case !p.search:
			k.cache.PutList(listKey(owner, query), p.whole, p.whole.Size(), view)
		}
		return p.whole, nil
	})
	e, _ = v.(*router.Entry)
	long, _ = v.(listPage)
	return e, long, err
}

// A batchRead reads the notes of a list that are not in the cache. It has the view of the cache
// that preceded the read of each note.
type batchRead struct {
	owner string
	views map[string]cache.Snapshot
}

// take returns the cache entries of the notes that refs point to, with nil for a note that is not
// in the cache. It also returns the refs of the missing notes, and the batchRead for them.
func (k *ResponseCache) take(owner string, refs []store.Ref) (
	entries []*router.Entry, missing []store.Ref, r batchRead) {
	entries = make([]*router.Entry, len(refs))
	r = batchRead{owner: owner}
	for i, ref := range refs {
		if entries[i] = k.get(noteKey(owner, ref.ID)); entries[i] != nil {
			continue
		}
		if r.views == nil {
			r.views = make(map[string]cache.Snapshot, len(refs)-i)
		}
		r.views[ref.ID] = k.cache.Snapshot(k.cache.NoteScope(owner, ref.ID))
		missing = append(missing, ref)
	}
	return entries, missing, r
}

// keep caches an entry that has been read in a batchRead.
func (k *ResponseCache) keep(r batchRead, id string, e *router.Entry) {
	k.keepNote(r.owner, id, e, r.views[id])
}

// observed must be called before the server shows any state of owner's note that does not come from
// the cache.
func (k *ResponseCache) observed(owner, id string) {
	k.cache.Observe(k.cache.NoteScope(owner, id), k.cache.ListScope(owner))
}

// BeginWrite implements store.Invalidator. The cache keeps the notes as the changes leave them.
func (k *ResponseCache) BeginWrite(changes []store.Change) (done func(now []notes.Note)) {
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

func (k *ResponseCache) written(w *cache.Write, change store.Change, now []notes.Note) {
	for i := range now {
		n := &now[i]
		if n.ID != change.Note || n.UserID != change.Owner || len(n.Content) > router.LargeBody {
			continue
		}
		if e, err := newNoteEntry(*n); err == nil {
			w.Done(noteKey(change.Owner, change.Note), e, e.Size())
			return
		}
	}
	w.Done(cache.Key{}, nil, 0)
}

// Invalidate implements store.Invalidator.
func (k *ResponseCache) Invalidate(changes []store.Change) {
	for _, c := range changes {
		k.cache.Drop(k.cache.NoteScope(c.Owner, c.Note))
		k.cache.Drop(k.cache.ListScope(c.Owner))
	}
}

// SessionRevoked implements store.Invalidator.
func (k *ResponseCache) SessionRevoked(key, user string) { k.cache.BeginEnd(key, user)() }

// LeaseUntil implements store.Invalidator.
func (k *ResponseCache) LeaseUntil(until time.Time) { k.cache.LeaseUntil(until) }

// InvalidateAll implements store.Invalidator.
func (k *ResponseCache) InvalidateAll() { k.cache.InvalidateAll() }

// current returns the response for n, which was just written. As a rule the entry was made when n
// was written.
func (k *ResponseCache) current(n notes.Note) (*router.Entry, error) {
	if v, ok := k.cache.Look(noteKey(n.UserID, n.ID)); ok && v.(*router.Entry).ETag == etag(n) {
		return v.(*router.Entry), nil
	}
	return newNoteEntry(n)
}
