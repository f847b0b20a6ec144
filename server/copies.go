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
	// mostAccepts is the longest Accept-Encoding, in bytes, that a copy is kept for: it is kept with it.
	mostAccepts = 128

	copiesAge = time.Minute // how long a change that nobody announced, as one made by hand, can stay unseen

	noteHead, noteTail = `{"success":true,"data":`, "}\n"
	listHead           = `{"success":true,"data":[`
)

// Copies are what this process keeps in memory of sessions, notes and lists, the
// last two as they are sent. Without trust in what it hears of others it keeps
// nothing. It is the store's Witness: package cache says what is promised.
type Copies struct {
	cache *cache.Cache
	limit int64
}

// NewCopies keeps up to limit bytes; 0: nothing. A lock is for a core or two.
func NewCopies(limit int64, cores int) *Copies {
	shards := 1
	for shards < cores && shards < 16 {
		shards *= 2
	}
	return &Copies{cache: cache.New(cache.Config{Bytes: limit, MaxAge: copiesAge, Shards: shards}), limit: limit}
}

// SetStage gives way as memory runs short, and takes what is due afterwards.
func (k *Copies) SetStage(stage pool.Stage) {
	switch stage {
	case pool.StageCalm:
		k.cache.SetLimit(k.limit)
	case pool.StageTight:
		k.cache.SetLimit(k.limit / 2)
	default:
		k.cache.SetLimit(0)
	}
}

// An answerCopy is an answer as it is sent. It is not changed.
type answerCopy struct {
	tag, link string // link: to the page after a list's
	body      []byte
	packed    atomic.Pointer[packedCopy] // the last that was asked for
}

// packedCopy is a copy for clients that accept certain codings.
type packedCopy struct {
	accepts     string // their Accept-Encoding
	coding, tag string
	body        []byte
}

// size is at most what a copy takes, or will when it is asked for packed, too: text that can't be packed stays as long.
func (c *answerCopy) size() int { return 2*(len(c.body)+len(c.tag)) + len(c.link) + mostAccepts }

func newNoteCopy(n notes.Note) (*answerCopy, error) {
	var body bytes.Buffer // the encoder writes once: into as much as it needs
	if err := encodeJSON(&body, envelope{Success: true, Data: noteOutput(n)}); err != nil {
		return nil, err
	}
	return &answerCopy{tag: etag(n), body: body.Bytes()}, nil
}

// inList is a note as a list has it.
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
func sessionKeyOf(token string) cache.Key { return cache.Key{Kind: cache.Session, ID: token} }

// get is the copy under key, if it is here.
func (k *Copies) get(key cache.Key) (*answerCopy, bool) {
	v, ok := k.cache.Get(key)
	if !ok {
		return nil, false
	}
	return v.(*answerCopy), true
}

// readNote has owner's note read unless it is here by now or another reads it already.
func (k *Copies) readNote(ctx context.Context, owner, id string, read func() (notes.Note, error)) (*answerCopy, error) {
	scope := k.cache.NoteScope(owner, id)
	v, err := k.cache.Share(ctx, noteKey(owner, id), scope, func(view cache.View) (any, error) {
		n, err := read()
		k.cache.Saw(scope, k.cache.ListScope(owner)) // that there is none, too
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

// errUnshared says that a list is too long to be shared or kept.
var errUnshared = errors.New("long list")

// readList has the answer to owner's query made by read, unless it is here by now or another makes it.
// It is kept if read says so.
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

// A reading of notes is for those of a list that are not here.
type reading struct {
	owner string
	views map[string]cache.View
}

// take returns the copies of the notes that refs point to, nil for those that
// are not here, and these.
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

// keep keeps what has been read of a reading.
func (k *Copies) keep(r reading, id string, c *answerCopy) {
	k.keepNote(r.owner, id, c, r.views[id])
}

// saw is called when something of owner's note is about to be shown that is no copy.
func (k *Copies) saw(owner, id string) {
	k.cache.Saw(k.cache.NoteScope(owner, id), k.cache.ListScope(owner))
}

// A sessionCopy is whose session it is, and until when.
type sessionCopy struct {
	user    string
	expires time.Time
}

// session is who has signed in with the token, if that is here.
func (k *Copies) session(token string, now time.Time) (user string, ok bool) {
	v, ok := k.cache.Get(sessionKeyOf(token))
	if !ok {
		return "", false
	}
	c := v.(*sessionCopy)
	return c.user, now.Before(c.expires)
}

func (k *Copies) keepSession(token, key string, c *sessionCopy, view cache.View) {
	k.cache.PutSession(sessionKeyOf(token), c, len(c.user), key, c.user, view)
}

// Writing implements store.Witness: what the changes leave behind is kept.
func (k *Copies) Writing(changes []store.Change) (done func(now []notes.Note)) {
	writes := make([]cache.Write, len(changes))
	for i, c := range changes {
		writes[i] = k.cache.Writing(k.cache.NoteScope(c.Owner, c.Note), k.cache.ListScope(c.Owner))
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

// Changed implements store.Witness.
func (k *Copies) Changed(changes []store.Change) {
	for _, c := range changes {
		k.cache.Drop(k.cache.NoteScope(c.Owner, c.Note))
		k.cache.Drop(k.cache.ListScope(c.Owner))
	}
}

// Revoked implements store.Witness.
func (k *Copies) Revoked(key, user string) { k.cache.Ending(key, user)() }

// Trust implements store.Witness.
func (k *Copies) Trust(until time.Time) { k.cache.Trust(until) }

// Forget implements store.Witness.
func (k *Copies) Forget() { k.cache.Forget() }

// after returns n's answer. As a rule it was made when n was written.
func (k *Copies) after(n notes.Note) (*answerCopy, error) {
	if v, ok := k.cache.Look(noteKey(n.UserID, n.ID)); ok && v.(*answerCopy).tag == etag(n) {
		return v.(*answerCopy), nil
	}
	return newNoteCopy(n)
}

// endingSessions are sessions of which Copies hear when they end.
type endingSessions struct {
	sessionBackend
	copies *Copies
}

func (e endingSessions) DeleteSession(ctx context.Context, key string) error {
	defer e.copies.cache.Ending(key, "")()
	return e.sessionBackend.DeleteSession(ctx, key)
}

func (e endingSessions) DeleteSessions(ctx context.Context, userID, exceptKey string) error {
	defer e.copies.cache.Ending("", userID)()
	return e.sessionBackend.DeleteSessions(ctx, userID, exceptKey)
}
