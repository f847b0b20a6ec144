package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"notesd/store"
)

func newTestHub(t testing.TB, most int) *Hub {
	h := NewHub(slog.New(slog.NewTextHandler(t.Output(), nil)))
	h.SetMax(most)
	return h
}

// complete is the source's of a hub that hears everything.
func complete() bool { return true }

func listen(t testing.TB, h *Hub, user, session string) *Listener {
	t.Helper()
	l, err := h.Listen(user, session)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A listener takes what was committed for its user, in the order in which the
// hub heard of it.
func TestCommitted(t *testing.T) {
	h := newTestHub(t, 0)
	ada, grace := listen(t, h, "ada", "1"), listen(t, h, "grace", "2")
	h.Committed([]store.Change{
		{Owner: "ada", Note: "a", Seq: 1, Revision: 1}, {Owner: "grace", Note: "g", Seq: 7, Revision: 2},
		{Owner: "ada", Note: "b", Seq: 3}, {Owner: "nobody", Note: "c", Seq: 4},
	})
	h.Committed([]store.Change{{Owner: "ada", Note: "c", Seq: 2, Revision: 1}}) // it comes late
	<-ada.Ready()
	want := []Event{{Seq: 1, ID: "a", Revision: 1}, {Seq: 3, ID: "b"}, {Seq: 2, ID: "c", Revision: 1, Late: true}}
	if got := ada.Take(nil); !slices.Equal(got, want) {
		t.Errorf("ada takes %v, want %v", got, want)
	}
	if got, want := grace.Take(nil), []Event{{Seq: 7, ID: "g", Revision: 2}}; !slices.Equal(got, want) {
		t.Errorf("grace takes %v, want %v", got, want)
	}
	if got := ada.Take(nil); len(got) > 0 {
		t.Errorf("ada takes %v again", got)
	}
}

// A listener that is too slow gets the newest number in place of its events.
func TestBehind(t *testing.T) {
	h := newTestHub(t, 0)
	l := listen(t, h, "ada", "1")
	for n := range queueLength {
		h.Committed([]store.Change{{Owner: "ada", Note: fmt.Sprint(n), Seq: int64(n + 1)}})
	}
	if got := l.Take(nil); len(got) != queueLength {
		t.Errorf("%d events are %d", queueLength, len(got))
	}
	for n := range queueLength + 5 {
		h.Committed([]store.Change{{Owner: "ada", Note: fmt.Sprint(n), Seq: int64(100 + n)}})
	}
	if got, want := l.Take(nil), []Event{{Seq: 100 + queueLength + 4}}; !slices.Equal(got, want) {
		t.Errorf("a slow listener takes %v, want %v", got, want)
	}
	if got := h.Stats().Dropped; got != queueLength+5 {
		t.Errorf("%d events were dropped, want %d", got, queueLength+5)
	}
	h.Committed([]store.Change{{Owner: "ada", Note: "a", Seq: 200}})
	if got, want := l.Take(nil), []Event{{Seq: 200, ID: "a"}}; !slices.Equal(got, want) {
		t.Errorf("afterwards it takes %v, want %v", got, want)
	}
}

// TestBounds: a user has 32 listeners, and the hub as many as it is told.
func TestBounds(t *testing.T) {
	h := newTestHub(t, MaxPerUser+1)
	var all []*Listener
	for range MaxPerUser {
		all = append(all, listen(t, h, "ada", "1"))
	}
	if _, err := h.Listen("ada", "2"); !errors.Is(err, ErrUserFull) {
		t.Errorf("a user's 33rd listener: %v, want ErrUserFull", err)
	}
	all = append(all, listen(t, h, "grace", "3"))
	if _, err := h.Listen("bob", "4"); !errors.Is(err, ErrFull) {
		t.Errorf("a listener too many: %v, want ErrFull", err)
	}
	all[0].Close()
	all[0].Close()
	all = append(all[1:], listen(t, h, "ada", "1"))
	if got := h.Stats(); got.Listeners != MaxPerUser+1 || got.Users != 2 {
		t.Errorf("Stats() = %+v", got)
	}
	for _, l := range all {
		l.Close()
	}
	if got := h.Stats(); got.Listeners != 0 || got.Users != 0 || len(h.sessions) != 0 {
		t.Errorf("at the end Stats() = %+v, with %d sessions", got, len(h.sessions))
	}
}

func hasEnded(l *Listener) bool {
	select {
	case <-l.Done():
		return true
	default:
		return false
	}
}

// TestEnd: listeners end with their session, and all of a user's with the account.
func TestEnd(t *testing.T) {
	h := newTestHub(t, 0)
	one, same, other, grace := listen(t, h, "ada", "1"), listen(t, h, "ada", "1"), listen(t, h, "ada", "2"), listen(t, h, "grace", "3")
	check := func(when string, want ...bool) {
		t.Helper()
		for i, l := range []*Listener{one, same, other, grace} {
			if got := hasEnded(l); got != want[i] {
				t.Errorf("%s: listener %d has ended: %v, want %v", when, i, got, want[i])
			}
		}
	}
	check("at first", false, false, false, false)
	h.SessionRevoked("1", "")
	check("session 1", true, true, false, false)
	h.SessionRevoked("", "ada")
	check("ada", true, true, true, false)
	h.SessionRevoked("unknown", "")
	h.SessionRevoked("", "unknown")
	check("others", true, true, true, false)
}

// TestMissedEnd: a session whose end was missed ends its listeners at once when it is known that
// something was missed, and within a minute otherwise.
func TestMissedEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, 0)
		var ended atomic.Value
		ended.Store("")
		from := Source{Complete: complete, Alive: func(_ context.Context, session string) (bool, error) {
			return session != ended.Load(), nil
		}}
		from.Newest = func(context.Context, []string) (map[string]int64, error) {
			return map[string]int64{"ada": 1}, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { h.Run(ctx, from) })
		defer running.Wait()
		defer cancel()

		one, two, three := listen(t, h, "ada", "1"), listen(t, h, "ada", "2"), listen(t, h, "ada", "3")
		ended.Store("1")
		h.Missed()
		synctest.Wait()
		if !hasEnded(one) || hasEnded(two) || hasEnded(three) {
			t.Error("after Missed the listener of the session that has ended goes on, or another ends")
		}
		ended.Store("2")
		time.Sleep(checkEvery)
		synctest.Wait()
		if !hasEnded(two) || hasEnded(three) {
			t.Error("after a minute the listener of the session that has ended goes on, or another ends")
		}
	})
}

// TestMissed: what was missed, or came without its number, is looked up, until
// the store answers.
func TestMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, 0)
		newest := map[string]int64{"ada": 5, "grace": 6}
		var asked [][]string
		var broken atomic.Bool
		from := Source{Complete: complete, Alive: func(context.Context, string) (bool, error) { return true, nil }}
		from.Newest = func(_ context.Context, users []string) (map[string]int64, error) {
			if broken.Load() {
				return nil, errors.New("broken")
			}
			asked = append(asked, slices.Sorted(slices.Values(users)))
			return newest, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { h.Run(ctx, from) })
		defer running.Wait()
		defer cancel()

		ada, grace, gone := listen(t, h, "ada", "1"), listen(t, h, "grace", "2"), listen(t, h, "gone", "3")
		ada.Begin(5)
		h.Committed([]store.Change{{Owner: "grace", Note: "a"}, {Owner: "bob", Note: "b"}})
		synctest.Wait()
		if got, want := grace.Take(nil), []Event{{Seq: 6}}; !slices.Equal(got, want) {
			t.Errorf("after a change without its number: %v, want %v", got, want)
		}

		broken.Store(true)
		h.Missed()
		time.Sleep(3*lookEvery + lookEvery/2)
		synctest.Wait()
		newest["grace"]++
		broken.Store(false)
		time.Sleep(lookEvery)
		synctest.Wait()
		if got := ada.Take(nil); len(got) > 0 {
			t.Errorf("a listener that has missed nothing takes %v", got)
		}
		if got, want := grace.Take(nil), []Event{{Seq: 7}}; !slices.Equal(got, want) {
			t.Errorf("a listener that has missed a change takes %v, want %v", got, want)
		}
		if !hasEnded(gone) {
			t.Error("the listener of an account that is gone has not ended")
		}
		if want := "[[grace] [ada gone grace]]"; fmt.Sprint(asked) != want {
			t.Errorf("the store was asked for %v, want %s", asked, want)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(asked) != 2 {
			t.Errorf("a hub with nothing to look for has asked %d times", len(asked))
		}
	})
}

// TestIncomplete: while nothing arrives from other processes, the hub looks for
// changes and at the sessions every second.
func TestIncomplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHub(t, 0)
		var complete, dead atomic.Bool
		var newest, looks atomic.Int64
		from := Source{Complete: complete.Load}
		from.Newest = func(_ context.Context, users []string) (map[string]int64, error) {
			looks.Add(1)
			return map[string]int64{users[0]: newest.Load()}, nil
		}
		from.Alive = func(context.Context, string) (bool, error) { return !dead.Load(), nil }
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { h.Run(ctx, from) })
		defer running.Wait()
		defer cancel()

		time.Sleep(time.Minute)
		if n := looks.Load(); n != 0 {
			t.Errorf("a hub without listeners has looked %d times", n)
		}
		l := listen(t, h, "ada", "1")
		newest.Store(3)
		time.Sleep(lookEvery)
		synctest.Wait()
		if got, want := l.Take(nil), []Event{{Seq: 3}}; !slices.Equal(got, want) {
			t.Errorf("a second after a change: %v, want %v", got, want)
		}
		dead.Store(true)
		time.Sleep(lookEvery)
		synctest.Wait()
		if !hasEnded(l) {
			t.Error("a second after the session's end the listener has not ended")
		}
		complete.Store(true)
		before := looks.Load()
		time.Sleep(time.Minute)
		if n := looks.Load(); n != before {
			t.Errorf("a hub that hears everything has looked %d times", n-before)
		}
	})
}

// TestHubModel: whatever happens in whatever order, a listener that takes its
// events knows the newest number in the end, and has every event's note unless
// it was told to look.
func TestHubModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := newTestHub(t, 0)
		type client struct {
			l      *Listener
			seq    int64 // how far it is
			notes  map[string]bool
			missed map[string]bool // that it has to be told of
		}
		var clients []*client
		newest := map[string]int64{"ada": 0, "grace": 0}
		names := slices.Sorted(maps.Keys(newest))
		take := func(c *client) {
			for _, e := range c.l.Take(nil) {
				if !e.Late && e.Seq <= c.seq || e.Late && e.Seq > c.seq {
					rt.Fatalf("%+v comes after %d", e, c.seq)
				}
				c.seq = max(c.seq, e.Seq)
				if delete(c.missed, e.ID); e.ID == "" {
					clear(c.missed)
				}
			}
		}
		pick := func() *client {
			if len(clients) == 0 {
				rt.Skip("nobody listens")
			}
			return rapid.SampledFrom(clients).Draw(rt, "client")
		}
		rt.Repeat(map[string]func(*rapid.T){
			"listen": func(rt *rapid.T) {
				user := rapid.SampledFrom(names).Draw(rt, "user")
				l, err := h.Listen(user, user)
				if err != nil {
					rt.Skip("it has enough")
				}
				l.Begin(newest[user])
				clients = append(clients, &client{l, newest[user], map[string]bool{}, map[string]bool{}})
			},
			"close": func(rt *rapid.T) {
				c := pick()
				c.l.Close()
				clients = slices.DeleteFunc(clients, func(other *client) bool { return other == c })
			},
			"commit": func(rt *rapid.T) {
				user := rapid.SampledFrom(names).Draw(rt, "user")
				var changes []store.Change
				for range rapid.IntRange(1, queueLength/2).Draw(rt, "changes") {
					newest[user]++
					changes = append(changes, store.Change{Owner: user, Note: fmt.Sprint(user, newest[user]), Seq: newest[user]})
				}
				for _, c := range clients {
					for _, change := range changes {
						if c.l.user == user {
							c.missed[change.Note] = true
						}
					}
				}
				h.Committed(rapid.Permutation(changes).Draw(rt, "order"))
			},
			"take": func(rt *rapid.T) { take(pick()) },
			"": func(rt *rapid.T) {
				if got := h.Stats().Listeners; got != int64(len(clients)) {
					rt.Fatalf("%d listeners, want %d", got, len(clients))
				}
			},
		})
		for _, c := range clients {
			take(c)
			if c.seq != newest[c.l.user] || len(c.missed) > 0 {
				rt.Fatalf("a client is at %d, want %d, and was not told of %v", c.seq, newest[c.l.user], c.missed)
			}
		}
	})
}

// TestHubRace is for the race detector.
func TestHubRace(t *testing.T) {
	h := newTestHub(t, 0)
	from := Source{Complete: complete}
	from.Newest = func(_ context.Context, users []string) (map[string]int64, error) {
		return map[string]int64{users[0]: 1 << 40}, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { h.Run(ctx, from) })
	const listeners, rounds = 8, 300
	var listening sync.WaitGroup
	for i := range listeners {
		listening.Go(func() {
			for n := range rounds {
				l, err := h.Listen("ada", fmt.Sprint(i))
				if err != nil {
					t.Error(err)
					return
				}
				if n%3 == 0 {
					h.SessionRevoked(fmt.Sprint(i), "")
				}
				select {
				case <-l.Ready():
					l.Take(nil)
				case <-l.Done():
				}
				l.Close()
			}
		})
	}
	all.Go(func() {
		for seq := int64(1); ctx.Err() == nil; seq++ {
			h.Committed([]store.Change{{Owner: "ada", Note: "a", Seq: seq % 7 * seq}})
			runtime.Gosched()
		}
	})
	listening.Wait()
	cancel()
	all.Wait()
}

// TestListenerBytes: an idle listener takes little memory.
func TestListenerBytes(t *testing.T) {
	const listeners, most = 10_000, 2 << 10
	h := newTestHub(t, 0)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()
	all := make([]*Listener, listeners)
	for i := range all {
		all[i] = listen(t, h, fmt.Sprint("user ", i), strings.Repeat("s", 43)+fmt.Sprint(i))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (after.HeapInuse + after.StackInuse - before.HeapInuse - before.StackInuse) / listeners
	t.Logf("%d bytes each", each)
	if each > most {
		t.Errorf("a listener takes %d bytes, want at most %d", each, most)
	}
	if n := runtime.NumGoroutine() - goroutines; n != 0 {
		t.Errorf("%d goroutines were added", n)
	}
	runtime.KeepAlive(all)
}

// BenchmarkCommitted is what a commit pays for those who do not listen, and for
// the 32 of a user who does.
func BenchmarkCommitted(b *testing.B) {
	for _, listeners := range []int{0, 1, MaxPerUser} {
		b.Run(fmt.Sprint(listeners), func(b *testing.B) {
			h := newTestHub(b, 0)
			listen(b, h, "grace", "0")
			for range listeners {
				listen(b, h, "ada", "1")
			}
			changes := []store.Change{{Owner: "ada", Note: "a", Seq: 1}}
			b.ReportAllocs()
			for b.Loop() {
				changes[0].Seq++
				h.Committed(changes)
			}
		})
	}
}
