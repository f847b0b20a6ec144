package store_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

// An event is one call of a recorder.
type event struct {
	what    string
	changes []store.Change
	until   time.Time
	at      time.Time
}

// A recorder is an Invalidator that remembers what it was told.
type recorder struct {
	mu     sync.Mutex
	events []event
}

func (r *recorder) add(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.at = time.Now()
	r.events = append(r.events, e)
}

func (r *recorder) BeginWrite([]store.Change) func([]notes.Note) { return func([]notes.Note) {} }
func (r *recorder) Invalidate(changes []store.Change) {
	r.add(event{what: "changed", changes: changes})
}
func (r *recorder) SessionRevoked(key, user string) {
	r.add(event{what: "revoked " + key + "/" + user})
}
func (r *recorder) LeaseUntil(until time.Time) { r.add(event{what: "trust", until: until}) }
func (r *recorder) InvalidateAll()             { r.add(event{what: "forget"}) }

// since are the events from n on.
func (r *recorder) since(n int) []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events[n:])
}

// trusts waits until the recorder is to trust what it has beyond a time.
func (r *recorder) trusts(t *testing.T, beyond time.Time) {
	t.Helper()
	testkit.Eventually(t, "trust", func() bool {
		return slices.ContainsFunc(r.since(0), func(e event) bool { return e.what == "trust" && e.until.After(beyond) })
	})
}

// replica opens one of several stores on a database.
func replica(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = testkit.Log(t)
	}
	s, err := store.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	ready(t, s)
	return s
}

// listening opens a replica with a recorder, and waits until it is trusted.
func listening(t *testing.T, cfg store.Config) (*store.Store, *recorder) {
	t.Helper()
	r := &recorder{}
	cfg.Invalidator = r
	s := replica(t, cfg)
	r.trusts(t, time.Now())
	return s, r
}

// direct is a database's URL with the time to connect that production has.
func direct(t *testing.T) string {
	url, _, _ := strings.Cut(storetest.Postgres(t), "&connect_timeout=")
	return url
}

// Every write of a note is heard by the others, before they trust what they
// have beyond it, and by nobody who wrote it.
func TestChannelTells(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	a, ofA := listening(t, store.Config{URL: url})
	_, ofB := listening(t, store.Config{URL: url})
	mute := storetest.Open(t, url) // as a command is, that listens to nobody
	ctx := t.Context()
	owner := mustUser(t, a, "ada@example.org").ID
	var id string
	for _, write := range []struct {
		name     string
		revision int64 // after it; 0: the note is gone
		do       func() error
	}{
		{"create", 1, func() error {
			n, err := a.CreateNote(ctx, owner, notes.NewNote{Title: "x"})
			id = n.ID
			return err
		}},
		{"patch", 2, func() error {
			_, err := a.PatchNote(ctx, owner, id, notes.Patch{Title: new("y")})
			return err
		}},
		{"flip", 3, func() error {
			_, err := a.ToggleNote(ctx, owner, id, notes.FlagPinned)
			return err
		}},
		{"trash by a command", 4, func() error {
			_, err := mute.TrashNote(ctx, owner, id)
			return err
		}},
		{"delete", 0, func() error { return a.DeleteTrashedNote(ctx, owner, id) }},
		{"create under a key", 1, func() error {
			n, err := a.CreateNote(ctx, owner, notes.NewNote{Title: "t", IdempotencyKey: "k", BodyHash: []byte("h")})
			id = n.ID
			return err
		}},
		{"trash", 2, func() error {
			_, err := a.TrashNote(ctx, owner, id)
			return err
		}},
		{"sweep", 0, func() error {
			time.Sleep(10 * time.Millisecond)
			_, err := a.Sweep(ctx, store.SweepConfig{})
			return err
		}},
	} {
		n := len(ofB.since(0))
		if err := write.do(); err != nil {
			t.Fatalf("%s: %v", write.name, err)
		}
		ended := time.Now()
		ofB.trusts(t, ended.Add(time.Second))
		var heard []store.Change
		for _, e := range ofB.since(n) {
			if e.what == "trust" && e.until.After(ended.Add(time.Second)) {
				break
			}
			heard = append(heard, e.changes...)
		}
		want := []store.Change{{Owner: owner, Note: id, Seq: changeSeq(t, a, owner), Revision: write.revision}}
		if diff := cmp.Diff(want, heard); diff != "" {
			t.Errorf("%s is heard before trust is: -want +got\n%s", write.name, diff)
		}
	}
	own := slices.DeleteFunc(ofA.since(0), func(e event) bool { return e.what != "changed" })
	if len(own) != 1 { // the command's
		t.Errorf("the one who writes hears %v", own)
	}
	if got := a.Channel(); !got.Listening || !got.Trusted || got.Peers != 1 || got.Announced != 7 || got.Heard != 1 || got.Lost != 0 {
		t.Errorf("Channel() = %+v", got)
	}
	n := len(ofB.since(0))
	if _, err := a.PatchNote(ctx, owner, "none", notes.Patch{Pinned: new(true)}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("PatchNote of no note = %v", err)
	}
	ofB.trusts(t, time.Now().Add(time.Second))
	for _, e := range ofB.since(n) {
		if e.what == "changed" {
			t.Errorf("what was not done is heard: %v", e.changes)
		}
	}
}

// Who starts forgets, then trusts, and is known to the others by then. Who is
// alone knows it, at the latest two seconds after the last other has vanished.
func TestChannelAlone(t *testing.T) {
	t.Parallel()
	url := direct(t)
	a, ofA := listening(t, store.Config{URL: url})
	if first := ofA.since(0)[0].what; first != "forget" {
		t.Errorf("the first is told to %s before it forgets", first)
	}
	if !a.Alone() || a.Channel().Peers != 0 {
		t.Errorf("one is not alone: %+v", a.Channel())
	}
	began := time.Now()
	ofB := &recorder{}
	proxy := testserver.NewProxy(t, url)
	b := replica(t, store.Config{URL: url, ChannelURL: proxy.URL(), Invalidator: ofB})
	testkit.Eventually(t, "peer", func() bool { return a.Channel().Peers == 1 })
	if a.Alone() {
		t.Fatal("alone with a peer")
	}
	ofB.trusts(t, began)
	events := ofB.since(0)
	if events[0].what != "forget" || events[1].what != "trust" || events[1].at.Sub(began) < 2*time.Second {
		t.Errorf("the second replica is told to %s, then to %s after %v", events[0].what, events[1].what, events[1].at.Sub(began))
	}
	if b.Alone() {
		t.Error("the second replica believes it is alone")
	}
	proxy.Set(testserver.HalfOpen)
	vanished := time.Now()
	testkit.Eventually(t, "loneliness", a.Alone)
	if took := time.Since(vanished); took < 1500*time.Millisecond || took > 10*time.Second {
		t.Errorf("alone %v after the other has vanished, want 2 s after its last beat", took)
	}
	proxy.Set(testserver.Pass)
	testkit.Eventually(t, "peer's return", func() bool { return !a.Alone() })
	ofB.trusts(t, time.Now())
	left := time.Now()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "loneliness", a.Alone)
	if took := time.Since(left); took > 5*time.Second {
		t.Errorf("alone %v after the other has said goodbye", took)
	}
	if last := ofB.since(0); last[len(last)-1].what != "forget" {
		t.Errorf("the last that one who leaves is told is to %s", last[len(last)-1].what)
	}
}

// Whatever becomes of the connection, trust isn't extended without it, and
// comes back only after everything was forgotten.
func TestChannelFaults(t *testing.T) {
	faults := map[string]func(p *testserver.Proxy){
		"cut":          func(p *testserver.Proxy) { p.Cut() },
		"lost answer":  func(p *testserver.Proxy) { p.LoseAnswer(`"kind":"beat"`) },
		"cut answer":   func(p *testserver.Proxy) { p.CutAnswer(`"kind":"beat"`, 20) },
		"lost command": func(p *testserver.Proxy) { p.LoseAnswer("SELECT 1\x00") },
	}
	for _, f := range testserver.Faults {
		faults[f.String()] = func(p *testserver.Proxy) { p.Set(f) }
	}
	for name, begin := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := direct(t)
			proxy := testserver.NewProxy(t, url)
			a, r := listening(t, store.Config{URL: url, ChannelURL: proxy.URL()})
			n := len(r.since(0))
			begin(proxy)
			began := time.Now()
			testkit.Eventually(t, "fault", func() bool { return a.Channel().Lost > 0 })
			time.Sleep(time.Second)
			proxy.Set(testserver.Pass)
			r.trusts(t, time.Now().Add(time.Second/2))
			forgot := false
			for _, e := range r.since(n) {
				// A beat may pass before an answer is lost.
				late := e.until.Sub(began) > time.Second+500*time.Millisecond
				if e.what == "trust" && late && !forgot {
					t.Errorf("trust until %v after the fault's begin, and nothing forgotten", e.until.Sub(began))
				}
				forgot = forgot || e.what == "forget"
			}
			t.Logf("trust is back %v after the fault's begin", time.Since(began))
		})
	}
}

// AnnounceRevoked returns as soon as the others know, or a second later.
func TestAnnounceRevoked(t *testing.T) {
	t.Parallel()
	url := direct(t)
	ctx := t.Context()
	toA, toB := testserver.NewProxy(t, url), testserver.NewProxy(t, url)
	a, _ := listening(t, store.Config{URL: toA.URL(), ChannelURL: url})
	takes := func(s *store.Store, key, user string, least, most time.Duration) error {
		t.Helper()
		began := time.Now()
		err := s.AnnounceRevoked(ctx, key, user)
		if took := time.Since(began); took < least || took > most {
			t.Errorf("AnnounceRevoked(%q, %q) = %v after %v, want from %v to %v", key, user, err, took, least, most)
		}
		return err
	}
	const second, quick, busy = time.Second, 900 * time.Millisecond, 2 * time.Second
	if err := takes(a, "k", "", 0, 10*time.Millisecond); err != nil || a.Channel().Announced != 0 {
		t.Errorf("alone: %v, %+v", err, a.Channel())
	}
	b, ofB := listening(t, store.Config{URL: url, ChannelURL: toB.URL()})
	testkit.Eventually(t, "peers", func() bool { return a.Channel().Peers == 1 && b.Channel().Peers == 1 })
	heard := func(what string) bool {
		return slices.ContainsFunc(ofB.since(0), func(e event) bool { return e.what == what })
	}
	if err := takes(a, "key", "", 0, quick); err != nil || !heard("revoked key/") {
		t.Errorf("one session: %v, heard %v", err, heard("revoked key/"))
	}
	if err := takes(a, "", "ada", 0, quick); err != nil || !heard("revoked /ada") {
		t.Errorf("all sessions: %v, heard %v", err, heard("revoked /ada"))
	}
	mute := storetest.Open(t, url)
	if err := takes(mute, "by a command", "", second, busy); err != nil || !heard("revoked by a command/") {
		t.Errorf("by a command: %v, heard %v", err, heard("revoked by a command/"))
	}

	toA.Set(testserver.Refuse)
	n := len(ofB.since(0))
	if err := takes(a, "unsaid", "", quick, busy); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("what can't be said: %v, want ErrUnavailable", err)
	}
	toA.Set(testserver.Pass)
	testkit.Eventually(t, "forgetting", func() bool {
		return slices.ContainsFunc(ofB.since(n), func(e event) bool { return e.what == "forget" })
	})
	testkit.Eventually(t, "return of the database", func() bool { return a.Ready(ctx) == nil })

	toB.Set(testserver.Stall)
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := a.AnnounceRevoked(short, "impatient", ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("AnnounceRevoked until the context ends = %v", err)
	}
	if err := takes(a, "stalled", "", second, busy); err != nil || heard("revoked stalled/") {
		t.Errorf("one who doesn't hear: %v", err)
	}
	if b.Channel().Trusted {
		t.Error("one who doesn't hear still trusts what it has")
	}
	toB.Set(testserver.Pass)

	sqlite := storetest.Open(t, storetest.SQLite(t))
	if err := takes(sqlite, "k", "", 0, 10*time.Millisecond); err != nil || sqlite.Channel() != (store.ChannelStats{}) {
		t.Errorf("SQLite: %v, %+v", err, sqlite.Channel())
	}
}

// Nobody trusts what he has before all transactions have ended that may have
// been thought unheard.
func TestChannelFence(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "BEGIN; SELECT txid_current()"); err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	s := replica(t, store.Config{URL: url, Invalidator: r})
	testkit.Eventually(t, "listening", func() bool { return s.Channel().Listening })
	time.Sleep(3 * time.Second)
	if events := r.since(0); len(events) > 0 || s.Alone() {
		t.Errorf("while an old transaction goes on: told %v, alone %v", events, s.Alone())
	}
	if _, err := conn.Exec(ctx, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	r.trusts(t, time.Now())
	if first := r.since(0)[0].what; first != "forget" {
		t.Errorf("the first is told to %s before it forgets", first)
	}
}

// What nobody understands makes everybody forget, and one line in the log.
func TestChannelMalformed(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	var lines bytes.Buffer
	a, r := listening(t, store.Config{URL: url, Log: slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	for i, text := range []string{"", "nonsense", `{"kind":"later","from":"somebody"}`, strings.Repeat("x", 7999)} {
		n := len(r.since(0))
		if err := a.DB().Exec("SELECT pg_notify('notesd', $1)", text).Error; err != nil {
			t.Fatal(err)
		}
		r.trusts(t, time.Now().Add(time.Second))
		if !slices.ContainsFunc(r.since(n), func(e event) bool { return e.what == "forget" }) {
			t.Errorf("%.20q makes nobody forget", text)
		}
		if got := a.Channel(); got.Lost != uint64(i+1) || !got.Trusted {
			t.Errorf("Channel() = %+v after %d such messages", got, i+1)
		}
	}
	if err := a.Close(); err != nil { // who writes the log has ended
		t.Fatal(err)
	}
	if n := strings.Count(lines.String(), "\n"); n != 1 {
		t.Errorf("%d lines in the log:\n%s", n, lines.String())
	}
}

// A channel that leads elsewhere is never trusted.
func TestChannelElsewhere(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	a := replica(t, store.Config{URL: storetest.Postgres(t), ChannelURL: storetest.Postgres(t), Invalidator: r, Log: slog.New(slog.DiscardHandler)})
	testkit.Eventually(t, "doubt", func() bool { return a.Channel().Lost > 0 })
	if events := r.since(0); len(events) > 0 || a.Alone() {
		t.Errorf("told %v, alone %v", events, a.Alone())
	}
	if _, err := store.Open(t.Context(), store.Config{URL: storetest.Postgres(t), ChannelURL: "postgres://me:se/cret@host/x"}); err == nil || strings.Contains(err.Error(), "cret") {
		t.Errorf("Open with a wrong channel = %v", err)
	}
}

// copies is an Invalidator that keeps revisions of one note, as a cache does.
type copies struct {
	mu       sync.Mutex
	until    time.Time
	epoch    int
	revision int64 // 0: none is kept
}

func (c *copies) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	c.revision = 0
}

func (c *copies) BeginWrite([]store.Change) func([]notes.Note) { return func([]notes.Note) {} }
func (c *copies) Invalidate([]store.Change)                    { c.drop() }
func (c *copies) SessionRevoked(string, string)                {}
func (c *copies) InvalidateAll()                               { c.drop() }
func (c *copies) LeaseUntil(until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = until
}

// read returns the revision that is kept, or reads one to keep it.
func (c *copies) read(ctx context.Context, s *store.Store, owner, id string) (revision int64, kept bool) {
	c.mu.Lock()
	trusted, epoch, revision := time.Now().Before(c.until), c.epoch, c.revision
	c.mu.Unlock()
	if trusted && revision > 0 {
		return revision, true
	}
	n, err := s.Note(ctx, owner, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && c.epoch == epoch {
		c.revision = n.Revision
	}
	return n.Revision, false
}

// No copy that is trusted is older than a second, whatever becomes of the
// connections, and whoever comes and goes.
func TestChannelCoherence(t *testing.T) {
	type life struct {
		faulty    bool // is the network of its channel
		age, rest time.Duration
	}
	const always = time.Hour
	for name, test := range map[string]struct {
		faultyWriter bool
		readers      []life
		alone        bool // is the writer, now and then
	}{
		"together":         {readers: []life{{age: always}, {age: always, faulty: true}, {age: 4 * time.Second}}},
		"come and go":      {readers: []life{{age: 4 * time.Second, rest: 3 * time.Second}}, alone: true},
		"a writer cut off": {readers: []life{{age: 4 * time.Second, rest: time.Second}, {age: always}}, faultyWriter: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := direct(t)
			proxy := testserver.NewProxy(t, url)
			channel := map[bool]string{true: proxy.URL()} // "": not through the proxy
			c := newCoherence(t, url, channel[test.faultyWriter])
			c.running.Go(c.write)
			c.running.Go(func() { c.disturb(proxy) })
			for _, l := range test.readers {
				c.running.Go(func() {
					for !c.stop.Load() {
						c.read(store.Config{URL: url, ChannelURL: channel[l.faulty]}, l.age)
						time.Sleep(l.rest)
					}
				})
			}
			alone := func() int64 { return c.writes.Load() - int64(c.writer.Channel().Announced) }
			seen := func() bool { return c.kept.Load() > 0 && (!test.alone || alone() > 0) }
			time.Sleep(15 * time.Second)
			for began := time.Now(); !seen() && time.Since(began) < time.Minute; { // a busy machine takes longer
				time.Sleep(100 * time.Millisecond)
			}
			c.stop.Store(true)
			c.running.Wait()
			t.Logf("%d reads of copies, %d writes, %d of them alone", c.kept.Load(), c.writes.Load(), alone())
			if !seen() {
				t.Error("there was nothing to see")
			}
		})
	}
}

// A coherence is a note that one store writes and others keep copies of.
type coherence struct {
	*testing.T
	writer       *store.Store
	owner, note  string
	stop         atomic.Bool
	running      sync.WaitGroup
	kept, writes atomic.Int64

	mu           sync.Mutex
	acknowledged []time.Time // by revision
}

func newCoherence(t *testing.T, url, channelURL string) *coherence {
	c := &coherence{T: t, acknowledged: make([]time.Time, 2)}
	c.writer = replica(t, store.Config{URL: url, ChannelURL: channelURL, Invalidator: &copies{}})
	c.owner = mustUser(t, c.writer, "ada@example.org").ID
	note, err := c.writer.CreateNote(t.Context(), c.owner, notes.NewNote{Title: "t"})
	if err != nil {
		t.Fatal(err)
	}
	c.note = note.ID
	c.writes.Add(1)
	return c
}

func (c *coherence) write() {
	for !c.stop.Load() {
		n, err := c.writer.ToggleNote(context.Background(), c.owner, c.note, notes.FlagPinned)
		if err != nil {
			c.Errorf("ToggleNote = %v", err)
			return
		}
		c.writes.Add(1)
		c.mu.Lock()
		c.acknowledged = append(c.acknowledged, time.Now())
		if int64(len(c.acknowledged)) != n.Revision+1 {
			c.Errorf("revision %d after %d", n.Revision, len(c.acknowledged)-2)
		}
		c.mu.Unlock()
		rest := time.Duration(rand.IntN(60)) * time.Millisecond
		if rand.IntN(20) == 0 {
			rest = time.Duration(rand.IntN(5)) * time.Second // long enough for what was missed to show
		}
		time.Sleep(rest)
	}
}

func (c *coherence) disturb(proxy *testserver.Proxy) {
	for !c.stop.Load() {
		time.Sleep(time.Duration(rand.IntN(6)) * time.Second)
		f := rand.IntN(len(testserver.Faults) + 1)
		if f == len(testserver.Faults) {
			proxy.Cut()
			continue
		}
		proxy.Set(testserver.Faults[f])
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
		proxy.Set(testserver.Pass)
	}
}

// read reads copies for a time.
func (c *coherence) read(cfg store.Config, age time.Duration) {
	copies := &copies{}
	cfg.Invalidator, cfg.Log = copies, slog.New(slog.DiscardHandler)
	s, err := store.Open(context.Background(), cfg)
	if err != nil {
		c.Error(err)
		return
	}
	for born := time.Now(); time.Since(born) < age && !c.stop.Load(); time.Sleep(2 * time.Millisecond) {
		began := time.Now()
		revision, kept := copies.read(context.Background(), s, c.owner, c.note)
		if kept {
			c.check(revision, began)
		}
	}
	if err := s.Close(); err != nil {
		c.Errorf("Close = %v", err)
	}
}

// check complains of a revision that was kept for too long.
func (c *coherence) check(revision int64, read time.Time) {
	c.kept.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	next := revision + 1
	if next >= int64(len(c.acknowledged)) {
		return
	}
	if late := read.Sub(c.acknowledged[next]); late > time.Second {
		c.Errorf("revision %d is read %v after the next was acknowledged", revision, late)
	}
}
