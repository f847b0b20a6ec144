package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"notesd/internal/cache"
)

// The notes of a person, or the sessions of one, are a few numbers: each the revision of one, or 0 if
// there is none.
type state [2]int

// A change is what a write does to some of a person's notes, at once.
type change map[int]int

// An action is what a client asks for. Its changes are known once it is done.
type action struct {
	person  string
	one     int // which note, for kind "get"
	kind    string
	changes change
}

// model is what all clients together may see: each action happens at one moment between its beginning and
// its end.
var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		of := map[string][]porcupine.Operation{}
		for _, op := range history {
			person := op.Input.(action).person
			of[person] = append(of[person], op)
		}
		for _, part := range of {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return state{} },
	Step: func(was, in, out any) (bool, any) {
		now, a := was.(state), in.(action)
		switch a.kind {
		case "get":
			return out.(int) == now[a.one], now
		case "list":
			return out.(state) == now, now
		}
		for one, revision := range a.changes {
			now[one] = revision
		}
		return true, now
	},
}

// A database keeps what is true. Each method happens at one moment.
type database struct {
	mu       sync.Mutex
	revision int
	of       map[string]state
}

func (db *database) read(person string) state {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.of[person]
}

// begin lets a session begin, if it has not.
func (db *database) begin(person string, session int) change {
	db.mu.Lock()
	defer db.mu.Unlock()
	now := db.of[person]
	now[session] = 1
	db.of[person] = now
	return change{session: 1}
}

// commit gives each of the notes a new revision, or removes them.
func (db *database) commit(person string, remove bool, notes ...int) change {
	db.mu.Lock()
	defer db.mu.Unlock()
	now, changes := db.of[person], change{}
	for _, note := range notes {
		changes[note] = 0
		if !remove {
			db.revision++
			changes[note] = db.revision
		}
		now[note] = changes[note]
	}
	db.of[person] = now
	return changes
}

// A mistake is something that who uses a cache could do wrong.
type mistake string

const (
	none            mistake = "none"
	noSettle        mistake = "a list is shown without Settle"
	noSaw           mistake = "a note is shown without Saw"
	noSawInStream   mistake = "a note of a long list is shown without Saw"
	lateView        mistake = "View after the read"
	lateWriting     mistake = "Writing after the commit"
	lateDone        mistake = "Done after the answer"
	unknownIsFailed mistake = "Done while the outcome is unknown"
	lateEnding      mistake = "Ending after the end"
)

// A world is a cache before a database, and the history of what its clients see.
type world struct {
	cache   *cache.Cache
	db      database
	nap     func(*rand.Rand)
	mistake mistake

	clock   atomic.Int64
	mu      sync.Mutex // guards history
	history []porcupine.Operation
	all     sync.WaitGroup
}

func newWorld(stripes int, m mistake, nap func(*rand.Rand)) *world {
	c := cache.NewNarrow(cache.Config{Bytes: 1 << 20, MaxAge: time.Hour, Shards: 2}, stripes)
	c.TrustForever()
	return &world{cache: c, db: database{of: map[string]state{}}, nap: nap, mistake: m}
}

func (w *world) began() int64 { return w.clock.Add(1) }

func (w *world) happened(client int, began int64, a action, out any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history = append(w.history, porcupine.Operation{
		ClientId: client, Input: a, Call: began, Output: out, Return: w.clock.Add(1),
	})
}

// play lets some clients do what they do at random.
func (w *world) play(seed uint64, clients, actions int, does func(c *client)) {
	for n := range clients {
		c := &client{world: w, Rand: rand.New(rand.NewPCG(seed, uint64(n))), n: n}
		w.all.Go(func() {
			for range actions {
				does(c)
				c.wait()
			}
		})
	}
	w.all.Wait()
}

// linearizable reports whether the history is, and prints it if not.
func (w *world) linearizable() (ok bool, history string) {
	if porcupine.CheckOperations(model, w.history) {
		return true, ""
	}
	slices.SortFunc(w.history, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var s strings.Builder
	for _, op := range w.history {
		a := op.Input.(action)
		fmt.Fprintf(&s, "%4d to %4d client %d: %s %s %d %v: %v\n",
			op.Call, op.Return, op.ClientId, a.kind, a.person, a.one, a.changes, op.Output)
	}
	return false, s.String()
}

// A client asks the cache as the server does.
type client struct {
	*world
	*rand.Rand
	n int
}

func (c *client) wait() { c.nap(c.Rand) }

// person is one of two people, and more often the one, so that much happens to her at once.
func (c *client) person() string { return []string{"ada", "ada", "ada", "bob"}[c.IntN(4)] }

// notes does something to somebody's notes, whose lists are read at one moment.
func (c *client) notes() { c.notesAnd((*client).list) }

// parts is notes, with lists that are composed, some of them too long to be kept.
func (c *client) parts() {
	if c.IntN(6) == 0 {
		c.streamed(c.person())
	} else {
		c.notesAnd((*client).composed)
	}
}

func (c *client) notesAnd(list func(c *client, person, order string)) {
	person, note := c.person(), c.IntN(len(state{}))
	switch c.IntN(12) {
	case 0, 1, 2:
		c.get(person, note)
	case 3, 4, 5, 6:
		list(c, person, []string{"newest", "oldest"}[c.IntN(2)])
	case 7, 8:
		c.write(person, false, note)
	case 9:
		c.write(person, true, note)
	case 10:
		c.write(person, false, 0, 1)
	case 11:
		c.lose(person, note)
	}
}

func noteKey(person string, note int) cache.Key {
	return cache.Key{Kind: cache.Note, Owner: person, ID: fmt.Sprint(note)}
}

var errNotFound = errors.New("not found")

func (c *client) get(person string, note int) {
	began, key := c.began(), noteKey(person, note)
	value, ok := c.cache.Get(key)
	if !ok {
		var err error
		value, err = c.cache.Share(context.Background(), key, c.cache.NoteScope(key.Owner, key.ID), func(v cache.Snapshot) (any, error) {
			return c.readNote(person, note, v)
		})
		if errors.Is(err, errNotFound) {
			value = 0
		}
	}
	c.happened(c.n, began, action{person: person, kind: "get", one: note}, value)
}

// readNote reads a note, and also that there is none, as the server does.
func (c *client) readNote(person string, note int, v cache.Snapshot) (any, error) {
	key := noteKey(person, note)
	c.wait()
	revision := c.db.read(person)[note]
	c.wait()
	if c.mistake == lateView {
		v = c.cache.Snapshot(c.cache.NoteScope(key.Owner, key.ID))
	}
	c.keepNote(person, note, revision, v, c.mistake)
	if revision == 0 {
		return nil, errNotFound
	}
	return revision, nil
}

// keepNote is called before what was read is shown.
func (c *client) keepNote(person string, note, revision int, v cache.Snapshot, m mistake) {
	key := noteKey(person, note)
	if !c.cache.Holds(v) {
		if m != noSaw {
			c.cache.Observe(c.cache.NoteScope(key.Owner, key.ID), c.cache.ListScope(person))
		}
	} else if revision != 0 {
		c.cache.PutNote(key, revision, 100, v)
	}
}

// list reads all notes at one moment.
func (c *client) list(person, order string) {
	began := c.began()
	value := c.readList(person, order, func() state { return c.db.read(person) })
	c.happened(c.n, began, action{person: person, kind: "list"}, value)
}

// composed makes a list of notes that are here and of what is read, and so of what there was at several
// moments: each note is one question.
func (c *client) composed(person, order string) {
	began := c.began()
	c.sawAll(person, began, c.readList(person, order, func() state { return c.compose(person, c.mistake) }))
}

// streamed composes a list that is too long to be kept, whose notes are read after Validate.
func (c *client) streamed(person string) {
	began, scope := c.began(), c.cache.ListScope(person)
	v := c.cache.Snapshot(scope)
	c.wait()
	c.cache.Validate(v)
	m := c.mistake
	if m == noSawInStream {
		m = noSaw
	}
	c.sawAll(person, began, c.compose(person, m))
}

func (c *client) compose(person string, m mistake) (notes state) {
	views := map[int]cache.Snapshot{}
	for note := range notes {
		key := noteKey(person, note)
		if value, ok := c.cache.Get(key); ok {
			notes[note] = value.(int)
		} else {
			views[note] = c.cache.Snapshot(c.cache.NoteScope(key.Owner, key.ID))
		}
		c.wait()
	}
	now := c.db.read(person)
	c.wait()
	for note, v := range views {
		notes[note] = now[note]
		c.keepNote(person, note, now[note], v, m)
	}
	return notes
}

func (c *client) sawAll(person string, began int64, notes state) {
	for note, revision := range notes {
		c.happened(c.n, began, action{person: person, kind: "get", one: note}, revision)
	}
}

func (c *client) readList(person, order string, read func() state) state {
	key := cache.Key{Kind: cache.List, Owner: person, ID: order}
	value, ok := c.cache.Get(key)
	if !ok {
		value, _ = c.cache.Share(context.Background(), key, c.cache.ListScope(person), func(v cache.Snapshot) (any, error) {
			c.wait()
			notes := read()
			c.wait()
			if c.mistake != noSettle {
				v = c.cache.Validate(v)
			}
			c.wait()
			c.cache.PutList(key, notes, 100, v)
			return notes, nil
		})
	}
	return value.(state)
}

func (c *client) writing(person string, notes ...int) (writes []cache.Write) {
	for _, note := range notes {
		key := noteKey(person, note)
		writes = append(writes, c.cache.BeginWrite(c.cache.NoteScope(key.Owner, key.ID), c.cache.ListScope(person)))
	}
	return writes
}

func (c *client) done(person string, writes []cache.Write, notes []int, now change) {
	for i, note := range notes {
		if now[note] == 0 {
			writes[i].Done(noteKey(person, note), nil, 0)
		} else {
			writes[i].Done(noteKey(person, note), now[note], 100)
		}
		c.wait()
	}
}

// write changes or removes notes in one transaction.
func (c *client) write(person string, remove bool, notes ...int) {
	began, a := c.began(), action{person: person, kind: "write"}
	if c.mistake == lateWriting {
		a.changes = c.db.commit(person, remove, notes...)
		c.wait()
		c.done(person, c.writing(person, notes...), notes, a.changes)
	} else {
		writes := c.writing(person, notes...)
		c.wait()
		a.changes = c.db.commit(person, remove, notes...)
		c.wait()
		if c.mistake == lateDone {
			defer func() { c.wait(); c.done(person, writes, notes, a.changes) }()
		} else {
			c.done(person, writes, notes, a.changes)
		}
	}
	c.happened(c.n, began, a, nil)
}

// lose writes a note and does not learn whether that succeeded. It is found out later, and said; until
// then it may happen at any moment.
func (c *client) lose(person string, note int) {
	began := c.began()
	writes := c.writing(person, note)
	later := &client{world: c.world, Rand: rand.New(rand.NewPCG(c.Uint64(), 0)), n: c.n}
	if c.mistake == unknownIsFailed {
		later.done(person, writes, []int{note}, nil)
	}
	c.all.Go(func() {
		later.wait()
		a := action{person: person, kind: "lost write"}
		if later.IntN(2) == 0 {
			a.changes = c.db.commit(person, false, note)
		}
		later.wait()
		if c.mistake != unknownIsFailed {
			later.done(person, writes, []int{note}, nil)
		}
		c.happened(c.n, began, a, nil)
	})
}

// sessions does something to somebody's sessions.
func (c *client) sessions() {
	person, one := c.person(), c.IntN(len(state{}))
	switch c.IntN(8) {
	case 0:
		began := c.began()
		c.happened(c.n, began, action{person: person, kind: "begin", changes: c.db.begin(person, one)}, nil)
	case 1:
		c.end(person, sessionKey(person, one).ID, one)
	case 2:
		c.end(person, "", 0, 1)
	default:
		c.find(person, one)
	}
}

func sessionKey(person string, one int) cache.Key {
	return cache.Key{Kind: cache.Session, ID: fmt.Sprint(person, one)}
}

// end ends one session, or with an empty key all of a person's.
func (c *client) end(person, key string, which ...int) {
	began, a := c.began(), action{person: person, kind: "end"}
	if c.mistake == lateEnding {
		a.changes = c.db.commit(person, true, which...)
		c.wait()
		defer func() { c.wait(); c.cache.BeginEnd(key, person)() }()
	} else {
		done := c.cache.BeginEnd(key, person)
		c.wait()
		a.changes = c.db.commit(person, true, which...)
		c.wait()
		done()
	}
	c.happened(c.n, began, a, nil)
}

func (c *client) find(person string, one int) {
	began, key := c.began(), sessionKey(person, one)
	value, ok := c.cache.Get(key)
	if !ok {
		var err error
		value, err = c.cache.Share(context.Background(), key, c.cache.AnySession(), func(v cache.Snapshot) (any, error) {
			c.wait()
			found := c.db.read(person)[one]
			c.wait()
			if c.mistake == lateView {
				v = c.cache.Snapshot(c.cache.AnySession())
			}
			if found == 0 {
				return nil, errNotFound
			}
			c.cache.PutSession(key, found, 100, key.ID, person, v)
			return found, nil
		})
		if errors.Is(err, errNotFound) {
			value = 0
		}
	}
	c.happened(c.n, began, action{person: person, kind: "get", one: one}, value)
}

// The kinds of histories: of notes and of sessions.
var does = map[string]func(*client){
	"notes": (*client).notes, "notes and composed lists": (*client).parts, "sessions": (*client).sessions,
}

// inBubble plays a history in which only the naps decide what comes before what: most are short, a few so
// long that everything else happens meanwhile.
func inBubble(t *testing.T, seed uint64, stripes int, m mistake, kind string) (w *world) {
	synctest.Test(t, func(*testing.T) {
		w = newWorld(stripes, m, func(r *rand.Rand) { time.Sleep(time.Duration(r.IntN(1 << r.IntN(16)))) })
		w.play(seed, 4, 8, does[kind])
	})
	return w
}

// For all that its clients can see, a cache before a database is the database, however many scopes share
// a stripe.
func TestLinearizable(t *testing.T) {
	for kind := range does {
		for _, stripes := range []int{1, 2, 3, 8, 1 << 12} {
			t.Run(fmt.Sprintf("%s in %d stripes", kind, stripes), func(t *testing.T) {
				for seed := range uint64(histories) {
					if ok, history := inBubble(t, seed, stripes, none, kind).linearizable(); !ok {
						t.Fatalf("seed %d: this is nothing that a database could have answered:\n%s", seed, history)
					}
				}
			})
		}
	}
}

const histories = 200 // of each kind

// The same on all cores at once, where everything may happen between any two instructions.
func TestLinearizableInParallel(t *testing.T) {
	nap := func(r *rand.Rand) {
		for range r.IntN(4) {
			runtime.Gosched()
		}
	}
	for kind := range does {
		for _, stripes := range []int{1, 3, 1 << 12} {
			t.Run(fmt.Sprintf("%s in %d stripes", kind, stripes), func(t *testing.T) {
				for seed := range uint64(histories) {
					w := newWorld(stripes, none, nap)
					w.play(seed, 4, 8, does[kind])
					if ok, history := w.linearizable(); !ok {
						t.Fatalf("this is nothing that a database could have answered:\n%s", history)
					}
				}
			})
		}
	}
}

// Whoever uses a cache wrongly is found out, so the two tests above can fail.
func TestMistakesAreFound(t *testing.T) {
	for _, c := range []struct {
		mistake mistake
		kind    string
	}{
		{noSettle, "notes"},
		{noSaw, "notes"},
		{noSawInStream, "notes and composed lists"},
		{lateView, "notes"},
		{lateWriting, "notes"},
		{lateDone, "notes"},
		{unknownIsFailed, "notes"},
		{lateView, "sessions"},
		{lateEnding, "sessions"},
	} {
		t.Run(fmt.Sprint(c.kind, ": ", c.mistake), func(t *testing.T) {
			for seed := range uint64(10 * histories) {
				if ok, _ := inBubble(t, seed, 1<<12, c.mistake, c.kind).linearizable(); !ok {
					t.Logf("found in history %d", seed)
					return
				}
			}
			t.Errorf("%d histories and none shows it", 10*histories)
		})
	}
}
