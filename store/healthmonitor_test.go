package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/notes"
	"notesd/store"
	"notesd/store/storetest"
)

const (
	// told is how long a caller may be left without its ErrUnavailable.
	told = time.Second
	// back is how long it may take after the server is back.
	back = 2 * time.Second
	// slack is what each may take longer on a machine that has little else to do.
	slack = 500 * time.Millisecond
)

// behindProxy opens a store with a network between it and its PostgreSQL.
func behindProxy(t *testing.T) (*store.Store, *testserver.Proxy) {
	t.Helper()
	url, _, _ := strings.Cut(storetest.Postgres(t), "&connect_timeout=") // as it is in production
	proxy := testserver.NewProxy(t, url)
	s, err := store.Open(t.Context(), store.Config{URL: proxy.URL(), MaxConns: 8, Log: testkit.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	ready(t, s)
	return s, proxy
}

func ready(t *testing.T, s *store.Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
}

// Whatever becomes of the way to the server, callers are told within a second,
// more of them than there are connections, and it is all over within two of its
// end. What was acknowledged is there, and there once.
func TestPostgresFaults(t *testing.T) {
	for _, fault := range testserver.Faults {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			s, proxy := behindProxy(t)
			owner := mustUser(t, s, "ada@example.org").ID
			l := writing(t, s, owner, 8)
			time.Sleep(300 * time.Millisecond)
			began := time.Now()
			proxy.Set(fault)
			time.Sleep(2 * time.Second)
			proxy.Set(testserver.Pass)
			ended := time.Now()
			time.Sleep(back + slack + time.Second)
			l.end()

			var longest, last time.Duration
			for _, w := range l.writes {
				if w.err == nil {
					continue
				}
				longest = max(longest, w.ended.Sub(w.began))
				last = max(last, w.ended.Sub(ended))
				if !errors.Is(w.err, store.ErrUnavailable) || w.ended.Before(began) {
					t.Fatalf("write = %v %v after the fault, want ErrUnavailable", w.err, w.ended.Sub(began))
				}
			}
			t.Logf("%d writes; a failed one took %v at most, the last failed %v after the fault's end", len(l.writes), longest, last)
			if testkit.TooLong(longest, told, slack) || testkit.TooLong(last, back, slack) || longest == 0 {
				t.Errorf("a failed write took %v, the last failed %v after the end; want %v and %v at most", longest, last, told, back)
			}
			l.check(t, s, owner)
		})
	}
}

// writes are notes that several callers create one after the other.
type writes struct {
	stop    atomic.Bool
	callers sync.WaitGroup

	mu     sync.Mutex // guards what follows
	writes []written
}

type written struct {
	title        string
	began, ended time.Time
	err          error
}

func writing(t *testing.T, s *store.Store, owner string, callers int) *writes {
	l := &writes{}
	for caller := range callers {
		l.callers.Go(func() {
			for i := 0; !l.stop.Load(); i++ {
				w := written{title: fmt.Sprintf("%d of %d", i, caller), began: time.Now()}
				_, w.err = s.CreateNote(context.Background(), owner, notes.NewNote{Title: w.title})
				w.ended = time.Now()
				l.mu.Lock()
				l.writes = append(l.writes, w)
				l.mu.Unlock()
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

func (l *writes) end() {
	l.stop.Store(true)
	l.callers.Wait()
}

// check compares the notes that there are with those acknowledged.
func (l *writes) check(t *testing.T, s *store.Store, owner string) {
	t.Helper()
	there := titleCounts(t, s, owner)
	for _, w := range l.writes {
		if n := there[w.title]; n > 1 || n == 0 && w.err == nil {
			t.Errorf("note %q is there %d times, created with %v", w.title, n, w.err)
		}
	}
}

// titleCounts counts owner's notes by their titles.
func titleCounts(t *testing.T, s *store.Store, owner string) map[string]int {
	t.Helper()
	there := map[string]int{}
	for _, title := range titles(t, s, owner, notes.Query{}) {
		there[title]++
	}
	return there
}

// A statement that takes long, or that waits for a lock, is not mistaken for a
// server that is gone.
func TestPostgresSlow(t *testing.T) {
	t.Parallel()
	s, _ := behindProxy(t)
	numbered(t, s, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Reader(t.Context()).Exec("SELECT pg_sleep(3)").Error; err != nil {
			t.Errorf("a query that takes 3 s = %v, want nil", err)
		}
	})
	locked := make(chan struct{})
	wg.Go(func() {
		err := s.Write(t.Context(), func(tx *gorm.DB) error {
			if err := increase(tx, 0); err != nil {
				return err
			}
			close(locked)
			return tx.Exec("SELECT pg_sleep(3)").Error
		})
		if err != nil {
			t.Errorf("a write of 3 s = %v, want nil", err)
		}
	})
	<-locked
	if err := s.Write(t.Context(), func(tx *gorm.DB) error { return increase(tx, 0) }); err != nil {
		t.Errorf("a write that waits 3 s for a lock = %v, want nil", err)
	}
	wg.Wait()
	wantNumber(t, s, 0, 2)
}

// A connection whose far end has vanished is given up, while all others live;
// and what it had locked is free again soon.
func TestPostgresVanished(t *testing.T) {
	t.Parallel()
	s, proxy := behindProxy(t)
	numbered(t, s, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var others sync.WaitGroup
	others.Go(func() {
		for ctx.Err() == nil {
			if err := s.Ready(t.Context()); err != nil {
				t.Errorf("Ready, on another connection = %v", err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	proxy.LoseAnswer("UPDATE 1\x00")
	began := time.Now()
	err := s.Write(t.Context(), func(tx *gorm.DB) error { return increase(tx, 0) })
	if took := time.Since(began); !errors.Is(err, store.ErrUnavailable) || testkit.TooLong(took, told, slack) {
		t.Errorf("Write on a connection that vanished = %v after %v, want ErrUnavailable within %v", err, took, told)
	}
	began = time.Now()
	patient, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	err = s.Write(patient, func(tx *gorm.DB) error { return increase(tx, 0) })
	if took := time.Since(began); err != nil || testkit.TooLong(took, back, slack) {
		t.Errorf("the next Write = %v after %v, want nil within %v", err, took, back)
	}
	cancel()
	others.Wait()
	wantNumber(t, s, 0, 1)
}

// When only the health monitor's own connection has vanished, nobody is refused.
func TestPostgresSentryVanished(t *testing.T) {
	t.Parallel()
	s, proxy := behindProxy(t)
	proxy.LoseAnswer("pg_backend_pid") // the first thing that it asks is to prepare its question
	ctx, cancel := context.WithCancel(t.Context())
	var others sync.WaitGroup
	others.Go(func() {
		for ctx.Err() == nil {
			if err := s.Ready(t.Context()); err != nil {
				t.Errorf("Ready = %v, want nil", err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	if err := s.Reader(t.Context()).Exec("SELECT pg_sleep(2)").Error; err != nil {
		t.Errorf("a query that takes 2 s = %v, want nil", err)
	}
	cancel()
	others.Wait()
	if proxy.Losses() != 1 {
		t.Error("the health monitor asked nothing: nothing was proved")
	}
}

// Nobody is given a connection that died while it lay idle: a restart of the
// server between two requests fails neither.
func TestPostgresIdleDead(t *testing.T) {
	t.Parallel()
	s, proxy := behindProxy(t)
	all := func() {
		t.Helper()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := s.Reader(t.Context()).Exec("SELECT pg_sleep(0.1)").Error; err != nil {
					t.Errorf("a query = %v, want nil", err)
				}
			})
		}
		wg.Wait()
		if got := s.Stats()["database"].Idle; got != 8 {
			t.Fatalf("%d connections are idle, want 8", got)
		}
	}
	all()
	all() // pgx asks after a connection before its second use
	proxy.Cut()
	time.Sleep(50 * time.Millisecond) // until the news is here
	all()
	all()
	err := s.Reader(t.Context()).Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid()`).Error
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	all()
}

// A commit whose answer is lost is not acknowledged, and not done again.
func TestPostgresLostAnswer(t *testing.T) {
	lose := map[string]func(p *testserver.Proxy, mark string){
		"cut":        func(p *testserver.Proxy, mark string) { p.CutAnswer(mark, 0) },
		"cut midway": func(p *testserver.Proxy, mark string) { p.CutAnswer(mark, 3) },
		"half-open":  func(p *testserver.Proxy, mark string) { p.LoseAnswer(mark) },
	}
	for name, losing := range lose {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, proxy := behindProxy(t)
			ctx := t.Context()
			lose := func(proxy *testserver.Proxy, mark string) {
				for s.Ready(ctx) != nil {
					time.Sleep(10 * time.Millisecond)
				}
				time.Sleep(200 * time.Millisecond) // new connections have been greeted: the next such answer is the one meant
				losing(proxy, mark)
			}
			owner := mustUser(t, s, "ada@example.org").ID
			note, err := s.CreateNote(ctx, owner, notes.NewNote{Title: "first"})
			if err != nil {
				t.Fatal(err)
			}
			unsure := func(what string, err error) {
				t.Helper()
				if !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("%s whose answer is lost = %v, want ErrUnavailable", what, err)
				}
			}
			const made, committed = "SELECT 1\x00", "COMMIT\x00" // a create is one statement

			lose(proxy, made)
			_, err = s.CreateNote(ctx, owner, notes.NewNote{Title: "no key"})
			unsure("CreateNote", err)

			keyed := notes.NewNote{Title: "key", IdempotencyKey: "key", BodyHash: []byte("hash")}
			lose(proxy, made)
			_, err = s.CreateNote(ctx, owner, keyed)
			unsure("CreateNote with a key", err)
			first, err := s.CreateNote(ctx, owner, keyed)
			if err != nil {
				t.Fatalf("CreateNote again under its key = %v, want the note", err)
			}
			if second, err := s.CreateNote(ctx, owner, keyed); err != nil || second.ID != first.ID {
				t.Errorf("CreateNote a third time = note %s, %v, want %s", second.ID, err, first.ID)
			}

			lose(proxy, committed)
			_, err = s.ToggleNote(ctx, owner, note.ID, notes.FlagPinned)
			unsure("ToggleNote", err)
			if n, err := s.Note(ctx, owner, note.ID); err != nil || !n.Pinned || n.Revision != 2 {
				t.Errorf("after one flip pinned %v, revision %d, %v; want true, 2", n.Pinned, n.Revision, err)
			}

			lose(proxy, committed)
			unsure("DeleteNote", s.DeleteNote(ctx, owner, note.ID))
			if _, err := s.Note(ctx, owner, note.ID); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("the deleted note = %v, want ErrNotFound", err)
			}

			if there := titleCounts(t, s, owner); len(there) != 2 || there["no key"] != 1 || there["key"] != 1 {
				t.Errorf("there is %v, want each of two notes once", there)
			}
			if n := proxy.Losses(); n != 4 {
				t.Errorf("%d answers were lost, want 4", n)
			}
			counters, err := s.Counters(ctx, owner)
			if err != nil || counters.Notes != 2 || counters.ChangeSeq != 5 {
				t.Errorf("counters %+v, %v, want 2 notes after 5 changes", counters, err)
			}
		})
	}
}

// A transaction that is cut before its commit, when it has read what it is about,
// leaves nothing.
func TestPostgresCutBeforeCommit(t *testing.T) {
	t.Parallel()
	s, proxy := behindProxy(t)
	owner := mustUser(t, s, "ada@example.org").ID
	note, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: "first"})
	if err != nil {
		t.Fatal(err)
	}
	proxy.CutAnswer("SELECT 1\x00", 0)
	if _, err := s.ToggleNote(t.Context(), owner, note.ID, notes.FlagPinned); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("ToggleNote that was cut = %v, want ErrUnavailable", err)
	}
	if n, err := s.Note(t.Context(), owner, note.ID); err != nil || n.Pinned || n.Revision != 1 {
		t.Errorf("the note is pinned %v, revision %d, %v; want false, 1", n.Pinned, n.Revision, err)
	}
}

// A network that does not work at the start is waited for.
func TestPostgresFaultAtStart(t *testing.T) {
	for _, fault := range testserver.Faults {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			url, _, _ := strings.Cut(storetest.Postgres(t), "&connect_timeout=")
			proxy := testserver.NewProxy(t, url)
			proxy.Set(fault)
			s := openPostgres(t, proxy.URL())
			time.Sleep(1200 * time.Millisecond) // the first attempt fails
			began := time.Now()
			if err := s.Ready(t.Context()); !errors.Is(err, store.ErrUnavailable) || testkit.TooLong(time.Since(began), told, slack) {
				t.Errorf("Ready = %v after %v, want ErrUnavailable", err, time.Since(began))
			}
			proxy.Set(testserver.Pass)
			began = time.Now()
			ready(t, s)
			if took := time.Since(began); testkit.TooLong(took, back, slack) {
				t.Errorf("ready %v after the end of the fault, want %v at most", took, back)
			}
		})
	}
}

// Who waits no longer takes the connection along, and a pool recovers from many.
func TestPostgresCancelled(t *testing.T) {
	t.Parallel()
	s, _ := behindProxy(t)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			err := s.Reader(ctx).Exec("SELECT pg_sleep(10)").Error
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a query given up after 50 ms = %v, want its deadline", err)
			}
		})
	}
	wg.Wait()
	began := time.Now()
	for range 8 {
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("Ready = %v", err)
		}
	}
	if took := time.Since(began); testkit.TooLong(took, told, slack) {
		t.Errorf("8 queries took %v afterwards", took)
	}
}

// A statement too large for the network to swallow is given up as any other when
// its far end has vanished.
func TestPostgresStuckWrite(t *testing.T) {
	t.Parallel()
	s, proxy := behindProxy(t)
	owner := mustUser(t, s, "ada@example.org").ID
	proxy.Set(testserver.HalfOpen)
	began := time.Now()
	_, err := s.CreateNote(t.Context(), owner, notes.NewNote{Title: "large", Content: strings.Repeat("x", 32<<20)})
	if took := time.Since(began); !errors.Is(err, store.ErrUnavailable) || testkit.TooLong(took, told, 4*slack) {
		t.Errorf("CreateNote = %v after %v, want ErrUnavailable within %v", err, took, told)
	}
}
