package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"notesd/store"
	"notesd/store/storetest"
)

// A pair is a primary with a standby, and a database of one test on both.
type pair struct {
	primary, standby *storetest.Server
	url, replica     string // of the database on either
	direct           string // replica, as it is in production
}

// patiently follows a URL: a busy machine may take longer to let one in.
const patiently = "&connect_timeout=30"

// Making a pair takes seconds, so all tests share one. Each has a database of its own.
func TestReadReplica(t *testing.T) {
	t.Parallel()
	primary := storetest.NewPostgres(t)
	servers := pair{primary: primary, standby: primary.Standby(t)}
	for i, test := range []struct {
		name string
		run  func(t *testing.T, p pair)
	}{
		{"lists", replicaLists},
		{"paused", replicaPaused},
		{"ahead", replicaAhead},
		{"linearizable", replicaLinearizable},
		{"faults", replicaFaults},
		{"unfit", replicaUnfit},
		{"twin", replicaTwin},
		{"examined", replicaExamined},
		{"conflict", replicaConflict},
		{"locked", replicaLocked},
		{"snapshot", replicaSnapshot},
		{"context", replicaContext},
		{"promoted", replicaPromoted}, // the last: there is no standby afterwards
	} {
		p := servers
		t.Run(test.name, func(t *testing.T) { test.run(t, p.fresh(t, fmt.Sprint("notes", i))) })
	}
}

// fresh is the pair with a database that has the schema, and is a plain role's:
// it takes no superuser to find out what a standby is.
func (p pair) fresh(t testing.TB, name string) pair {
	t.Helper()
	database := p.primary.Database(t, name)
	p.primary.Execute(t, "DO $$ BEGIN CREATE ROLE plain LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
	p.primary.Execute(t, "ALTER DATABASE "+name+" OWNER TO plain")
	p.url, p.direct = asPlain(t, database), asPlain(t, p.standby.At(t, database))
	p.url, p.replica = p.url+patiently, p.direct+patiently
	s := storetest.Open(t, p.url)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return p
}

// open opens the database with a read replica at url, which is waited for if it will do.
func (p pair) open(t testing.TB, url string, wait bool) (*store.Store, *logged) {
	t.Helper()
	log := new(logged)
	s, err := store.Open(context.Background(), store.Config{URL: p.url, ReadURL: url, MaxConns: 8, Log: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if wait {
		awaitReplica(t, s, "")
	}
	return s, log
}

// awaitReplica waits until s reads the replica, or says why not with words.
func awaitReplica(t testing.TB, s *store.Store, words string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		stats, _ := s.Replica()
		if words == "" && stats.Why == "" || words != "" && strings.Contains(stats.Why, words) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the replica is not read because of %q, want %q", stats.Why, words)
		}
	}
}

// logged keeps the messages of a log.
type logged struct {
	mu    sync.Mutex // guards lines
	lines []string
}

func (l *logged) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }
func (l *logged) WithAttrs([]slog.Attr) slog.Handler               { return l }
func (l *logged) WithGroup(string) slog.Handler                    { return l }
func (l *logged) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, r.Message)
	return nil
}

// of returns the lines that begin so.
func (l *logged) of(prefix string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.lines), func(line string) bool { return !strings.HasPrefix(line, prefix) })
}

func replicaStats(t testing.TB, s *store.Store) store.ReplicaStats {
	t.Helper()
	stats, ok := s.Replica()
	if !ok {
		t.Fatal("there is no replica")
	}
	return stats
}

// awaitList waits until a list of owner's is read on the replica.
func awaitList(t testing.TB, s *store.Store, owner string) {
	t.Helper()
	before := replicaStats(t, s).Reads
	for deadline := time.Now().Add(30 * time.Second); replicaStats(t, s).Reads == before; time.Sleep(5 * time.Millisecond) {
		if _, err := s.NoteRefs(t.Context(), owner, store.ListQuery{}); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("no list is read on the replica: %+v", replicaStats(t, s))
		}
	}
}

// counted holds what do does to the figures, again if the machine was so busy
// that the replica seemed to be away.
func counted(t testing.TB, s *store.Store, want func(before, after store.ReplicaStats) error, do func()) {
	t.Helper()
	for try := 0; ; try++ {
		awaitReplica(t, s, "")
		before := replicaStats(t, s)
		do()
		after := replicaStats(t, s)
		err := want(before, after)
		if err == nil {
			return
		}
		if try == 5 || before.Fallbacks[store.Down] == after.Fallbacks[store.Down] {
			t.Fatal(err)
		}
	}
}

// Lists, searches and what they consist of are read on the replica, with the
// answers of the primary; everything else is not.
func replicaLists(t *testing.T, p pair) {
	s, _ := p.open(t, p.replica, true)
	plain := storetest.Open(t, p.url)
	owner := mustUser(t, s, "ada@example.org")
	for i := range 60 {
		note := mustNote(t, s, owner, fmt.Sprint("note ", i))
		if i%5 == 0 {
			if _, err := s.TrashNote(t.Context(), owner.ID, note.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	awaitList(t, s, owner.ID)
	for name, q := range map[string]store.ListQuery{
		"all": {}, "page": {Limit: 7}, "trash": {Trashed: true}, "search": {Search: "NOTE 3"}, "in vain": {Search: "nothing like it"},
		"by title": {Sort: store.ByTitle, Ascending: true, Limit: 3}, "tags": {Tags: []string{"none"}},
	} {
		t.Run(name, func(t *testing.T) {
			want := titles(t, plain, owner.ID, q)
			reads := uint64(2)
			if len(want) <= 4 { // what the list consists of is read on the primary
				reads = 1
			}
			counted(t, s, func(before, after store.ReplicaStats) error {
				if n := after.Reads - before.Reads; n != reads {
					return fmt.Errorf("%d reads on the replica, want %d", n, reads)
				}
				return nil
			}, func() {
				if got := titles(t, s, owner.ID, q); !slices.Equal(got, want) {
					t.Errorf("the replica's list is %q, want %q", got, want)
				}
			})
		})
	}
	before := replicaStats(t, s).Reads
	if _, err := s.Counters(t.Context(), owner.ID); err != nil {
		t.Fatal(err)
	}
	if n := replicaStats(t, s).Reads - before; n != 0 {
		t.Errorf("counters were read on the replica")
	}
	if n := s.Stats()["replica"].OpenConnections; n == 0 {
		t.Errorf("no connections to the replica in Stats")
	}
	if _, ok := plain.Replica(); ok {
		t.Errorf("a store without a replica has one")
	}
}

// While the standby stands still, who has written reads what they wrote, at
// once and on the primary; the others still read the replica. Lag is what it is.
func replicaPaused(t *testing.T, p pair) {
	s, _ := p.open(t, p.replica, true)
	writer := storetest.Open(t, p.url)
	ada, bob := mustUser(t, s, "ada@example.org"), mustUser(t, s, "bob@example.org")
	mustNote(t, writer, ada, "old")
	mustNote(t, writer, bob, "his")
	awaitList(t, s, ada.ID)
	awaitList(t, s, bob.ID)
	p.standby.PauseReplay(t)
	for i := range 20 {
		mustNote(t, writer, ada, fmt.Sprint("new ", i))
		reads := uint64(2)
		if i < 3 { // four notes of the list are read on the primary anyway
			reads = 1
		}
		counted(t, s, func(before, after store.ReplicaStats) error {
			if after.Reads != before.Reads || after.Fallbacks[store.Behind] != before.Fallbacks[store.Behind]+reads {
				return fmt.Errorf("of ada's list %+v, then %+v: want %d more behind", before, after, reads)
			}
			return nil
		}, func() {
			if n := len(titles(t, s, ada.ID, store.ListQuery{})); n != i+2 {
				t.Fatalf("the list has %d notes, want %d", n, i+2)
			}
		})
		counted(t, s, func(before, after store.ReplicaStats) error {
			if after.Reads != before.Reads+1 {
				return fmt.Errorf("of bob's list %+v, then %+v: want one more read", before, after)
			}
			return nil
		}, func() {
			if got := titles(t, s, bob.ID, store.ListQuery{}); !slices.Equal(got, []string{"his"}) {
				t.Fatalf("bob's list is %q", got)
			}
		})
	}
	eventually(t, "behind", func() bool { l := replicaStats(t, s); return l.Lag > time.Second && l.LagBytes > 0 })
	p.standby.ResumeReplay(t)
	eventually(t, "caught up", func() bool { l := replicaStats(t, s); return l.Lag == 0 && l.LagBytes == 0 })
	awaitList(t, s, ada.ID)
}

// A commit that the primary does not show yet, as it waits for another standby,
// may be seen on ours. It is not shown before the primary shows it.
func replicaAhead(t *testing.T, p pair) {
	s, _ := p.open(t, p.replica, true)
	owner := mustUser(t, s, "ada@example.org")
	mustNote(t, s, owner, "old")
	awaitList(t, s, owner.ID)
	p.primary.Execute(t, "ALTER SYSTEM SET synchronous_standby_names = somebody_else")
	p.primary.Execute(t, "SELECT pg_reload_conf()")
	eventually(t, "waits for another standby", func() bool {
		var names string
		mustQuery(t, p.url, "SHOW synchronous_standby_names", &names)
		return names != ""
	})
	var created sync.WaitGroup
	created.Go(func() { mustNote(t, s, owner, "new") })
	release := sync.OnceFunc(func() {
		p.primary.Execute(t, "ALTER SYSTEM RESET synchronous_standby_names")
		p.primary.Execute(t, "SELECT pg_reload_conf()")
		created.Wait()
	})
	defer release()
	eventually(t, "saw the commit on the standby", func() bool {
		var n int
		mustQuery(t, p.replica, "SELECT count(*) FROM notes", &n)
		return n == 2
	})
	counted(t, s, func(before, after store.ReplicaStats) error {
		if after.Fallbacks[store.Ahead] != before.Fallbacks[store.Ahead]+1 {
			return fmt.Errorf("%+v, then %+v: want one more ahead", before, after)
		}
		return nil
	}, func() {
		if got := titles(t, s, owner.ID, store.ListQuery{}); !slices.Equal(got, []string{"old"}) {
			t.Errorf("the list is %q before the commit is done, want the old note", got)
		}
	})
	release()
	if got := titles(t, s, owner.ID, store.ListQuery{}); len(got) != 2 {
		t.Errorf("the list is %q after the commit, want both", got)
	}
}

// Two processes write, two read on a standby that is paused at random and once
// ended: every list has all that was acknowledged before it was asked for, and
// all that any list before it has shown.
func replicaLinearizable(t *testing.T, p pair) {
	const people, last = 3, 4 * time.Second
	var stores []*store.Store
	for range 2 {
		s, _ := p.open(t, p.replica, true)
		stores = append(stores, s)
	}
	var owners []string
	least := make([]atomic.Int64, people) // the number of each's last change that anybody knows of
	for i := range people {
		owners = append(owners, mustUser(t, stores[0], fmt.Sprint(i, "@example.org")).ID)
	}
	raise := func(person int, to int64) {
		for known := least[person].Load(); known < to && !least[person].CompareAndSwap(known, to); known = least[person].Load() {
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), last)
	defer cancel()
	var all sync.WaitGroup
	for person, owner := range owners {
		all.Go(func() { // one note a change: so many are in the list
			for n := int64(1); ctx.Err() == nil; n++ {
				s := stores[rand.IntN(len(stores))]
				if _, err := s.CreateNote(t.Context(), owner, store.NewNote{Title: fmt.Sprint(n)}); err != nil {
					t.Errorf("CreateNote = %v", err)
					return
				}
				raise(person, n)
				time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
			}
		})
		for _, s := range slices.Concat(stores, stores) {
			all.Go(func() {
				for ctx.Err() == nil {
					want := least[person].Load()
					refs, err := s.NoteRefs(t.Context(), owner, store.ListQuery{})
					if n := int64(len(refs)); err != nil || n < want {
						t.Errorf("list of person %d = %d notes, %v; want at least %d", person, n, err, want)
						return
					}
					raise(person, int64(len(refs)))
					notes, err := s.NotesByRef(t.Context(), owner, refs)
					if err != nil || len(notes) != len(refs) {
						t.Errorf("NotesByRef = %d notes, %v; want %d", len(notes), err, len(refs))
						return
					}
				}
			})
		}
	}
	for round := 0; ctx.Err() == nil; round++ {
		p.standby.PauseReplay(t)
		_ = pauseFor(ctx, time.Duration(rand.IntN(100))*time.Millisecond)
		p.standby.ResumeReplay(t)
		_ = pauseFor(ctx, time.Duration(rand.IntN(300))*time.Millisecond)
	}
	all.Wait()
	for i, s := range stores {
		stats := replicaStats(t, s)
		t.Logf("store %d: %d reads on the replica, fallbacks %v", i, stats.Reads, stats.Fallbacks)
		if stats.Reads == 0 || stats.Fallbacks[store.Behind] == 0 {
			t.Errorf("store %d: %+v, want reads on the replica, and some that it was behind for", i, stats)
		}
	}
}

func pauseFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return ctx.Err()
}

// Whatever happens to the standby under load, no list fails, it is said once
// and once more when it is over, and it is read again.
func replicaFaults(t *testing.T, p pair) {
	faults := map[string]func() (begin, end func(), url string){
		"crash": func() (begin, end func(), url string) {
			return func() { p.standby.Crash(t) }, func() { p.standby.Start(t) }, p.direct
		},
	}
	for _, fault := range storetest.Faults {
		faults[fault.String()] = func() (begin, end func(), url string) {
			proxy := storetest.NewProxy(t, p.direct)
			return func() { proxy.Set(fault) }, func() { proxy.Set(storetest.Pass) }, proxy.URL()
		}
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			if name != "crash" { // which is everybody's
				t.Parallel()
			}
			begin, end, url := fault()
			s, log := p.open(t, url, true)
			owner := mustUser(t, s, name+"@example.org")
			mustNote(t, s, owner, "a note")
			awaitList(t, s, owner.ID)
			ctx, cancel := context.WithCancel(t.Context())
			var callers sync.WaitGroup
			var longest atomic.Int64
			for range 4 {
				callers.Go(func() {
					for ctx.Err() == nil {
						began := time.Now()
						if refs, err := s.NoteRefs(t.Context(), owner.ID, store.ListQuery{}); err != nil || len(refs) != 1 {
							t.Errorf("NoteRefs = %d notes, %v", len(refs), err)
						}
						longest.Store(max(longest.Load(), int64(time.Since(began))))
						time.Sleep(time.Millisecond)
					}
				})
			}
			time.Sleep(200 * time.Millisecond)
			begin()
			eventually(t, "said so", func() bool { return len(log.of("read replica")) > 0 })
			time.Sleep(time.Second)
			before := replicaStats(t, s)
			eventually(t, "read the primary instead", func() bool {
				return replicaStats(t, s).Fallbacks[store.Down] > before.Fallbacks[store.Down]+20
			})
			if after := replicaStats(t, s); after.Reads != before.Reads {
				t.Errorf("during the fault reads went from %+v to %+v, want fallbacks alone", before, after)
			}
			end()
			awaitReplica(t, s, "")
			awaitList(t, s, owner.ID)
			cancel()
			callers.Wait()
			t.Logf("a list took %v at most", time.Duration(longest.Load()))
			if d := time.Duration(longest.Load()); d > 3*told { // the replica, and then the primary
				t.Errorf("a list took %v, want %v at most", d, 3*told)
			}
			eventually(t, "said that it is over", func() bool { return len(log.of("read replica"))%2 == 0 })
			for i, line := range log.of("read replica") {
				if want := []string{"not used", "again"}[i%2]; !strings.Contains(line, want) || i > 5 {
					t.Errorf("line %d of the log is %q, want %q", i, line, want)
				}
			}
		})
	}
}

// asPlain is a URL for the role plain.
func asPlain(t testing.TB, rawURL string) string {
	u := mustParse(t, rawURL)
	u.User = url.User("plain")
	return u.String()
}

// beside is the URL of another database on the same server.
func beside(t testing.TB, rawURL, database string) string {
	u := mustParse(t, rawURL)
	u.Path = "/" + database
	return u.String()
}

func mustParse(t testing.TB, rawURL string) *url.URL {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// What is no standby of the database is never read.
func replicaUnfit(t *testing.T, p pair) {
	other := storetest.NewPostgres(t)
	stranger := pair{primary: other, standby: other.Standby(t)}.fresh(t, "notes")
	for _, c := range []struct{ name, url, why string }{
		{"the primary", p.url, "a primary"},
		{"another primary", stranger.url, "follows another"},
		{"a standby of another", stranger.replica, "follows another"},
		{"an empty database", p.standby.URL(), "user_counters"},
		{"no database", beside(t, p.replica, "nothing"), "does not exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, log := p.open(t, c.url, false)
			owner := mustUser(t, s, strings.ReplaceAll(c.name, " ", ".")+"@example.org")
			mustNote(t, s, owner, "a note")
			awaitReplica(t, s, c.why)
			for range 10 {
				if got := titles(t, s, owner.ID, store.ListQuery{}); !slices.Equal(got, []string{"a note"}) {
					t.Fatalf("the list is %q", got)
				}
			}
			if stats := replicaStats(t, s); stats.Reads != 0 {
				t.Errorf("it was read: %+v", stats)
			}
			time.Sleep(1200 * time.Millisecond)
			if lines := log.of("read replica"); len(lines) != 1 {
				t.Errorf("the log says %q, want one line", lines)
			}
			if err := s.Ready(t.Context()); err != nil {
				t.Errorf("Ready = %v, want nil whatever the replica is", err)
			}
		})
	}
}

// A copy of the database beside it on the standby, with the same people and the same numbers, is another one.
func replicaTwin(t *testing.T, p pair) {
	first := storetest.Open(t, p.url)
	owner := mustUser(t, first, "ada@example.org")
	mustNote(t, first, owner, "before")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	mustExec(t, p.primary.URL(), "CREATE DATABASE twin TEMPLATE "+strings.TrimPrefix(mustParse(t, p.url).Path, "/"))
	s, _ := p.open(t, beside(t, p.replica, "twin"), false)
	awaitReplica(t, s, "another than that of DATABASE_URL")
	if stats := replicaStats(t, s); stats.Reads != 0 {
		t.Errorf("it was read: %+v", stats)
	}
}

// An examination finds whether a replica can be read, and how far it is behind.
func replicaExamined(t *testing.T, p pair) {
	examine := func(url string) *store.ReplicaExamination {
		t.Helper()
		x, err := store.Examine(t.Context(), store.Config{URL: p.url, ReadURL: url})
		if err != nil || url != "" && x.Replica == nil {
			t.Fatalf("Examine() = %+v, %v", x, err)
		}
		return x.Replica
	}
	if x := examine(""); x != nil {
		t.Errorf("without a replica: %+v", x)
	}
	if x := examine(p.replica); x.Err != nil || x.Lag <= 0 || x.Lag >= 5*time.Second {
		t.Errorf("of a replica that is well: %+v", x)
	}
	for url, words := range map[string]string{p.url: "a primary", p.standby.URL(): "another than that", "postgres://u:geheim@127.0.0.1:1/n": "refused"} {
		if x := examine(url); x.Err == nil || !strings.Contains(x.Err.Error(), words) || strings.Contains(x.Err.Error(), "geheim") {
			t.Errorf("of %s: %+v, want %q", words, x, words)
		}
	}
	p.standby.PauseReplay(t)
	defer p.standby.ResumeReplay(t)
	mustExec(t, p.url, "CREATE TABLE later ()")
	if x := examine(p.replica); x.Err != nil || x.Lag != 5*time.Second {
		t.Errorf("of one that stands still: %+v, want 5s", x)
	}
}

// A standby that becomes a primary, though its connections live on, is not read
// any more; nor is, after that one has taken over, a standby that was left behind,
// but one that has followed it is: at once if the role may see what it has
// received, else after its next restart point.
func replicaPromoted(t *testing.T, p pair) {
	orphan, follower := p.primary.Standby(t), p.standby.Standby(t)
	s, _ := p.open(t, p.replica, true)
	owner := mustUser(t, s, "ada@example.org")
	mustNote(t, s, owner, "before")
	awaitList(t, s, owner.ID)
	p.standby.Promote(t)
	before := replicaStats(t, s).Reads
	if got := titles(t, s, owner.ID, store.ListQuery{}); len(got) != 1 || replicaStats(t, s).Reads != before {
		t.Errorf("the list is %q, %d of its reads on the former standby; want all and none", got, replicaStats(t, s).Reads-before)
	}
	awaitReplica(t, s, "primary")

	after := pair{primary: p.standby, standby: orphan, url: p.replica, replica: asPlain(t, orphan.At(t, p.url))}
	s2, _ := after.open(t, after.replica, false)
	mustNote(t, s, owner, "lost")     // number 2 there
	mustNote(t, s2, owner, "instead") // and here
	awaitReplica(t, s2, "timeline")
	if got := titles(t, s2, owner.ID, store.ListQuery{}); !slices.Equal(got, []string{"instead", "before"}) {
		t.Errorf("the list is %q, want what the new primary has", got)
	}

	after.replica = asPlain(t, follower.At(t, p.url)) + patiently
	s3, _ := after.open(t, after.replica, false)
	awaitReplica(t, s3, "timeline") // that it is on the new one already, a plain role can't see
	p.standby.Execute(t, "GRANT pg_read_all_stats TO plain")
	awaitReplica(t, s3, "")
	awaitList(t, s3, owner.ID)
	if got := titles(t, s3, owner.ID, store.ListQuery{}); !slices.Equal(got, []string{"instead", "before"}) {
		t.Errorf("the list is %q, want what the new primary has", got)
	}

	p.standby.Execute(t, "REVOKE pg_read_all_stats FROM plain")
	s4, _ := after.open(t, after.replica, false)
	awaitReplica(t, s4, "timeline")
	p.standby.Execute(t, "CHECKPOINT")
	eventually(t, "used after its restart point", func() bool {
		follower.Execute(t, "CHECKPOINT")
		return replicaStats(t, s4).Why == ""
	})
}

// A query that stands in the way of the replay is cancelled, and done on the primary.
func replicaConflict(t *testing.T, p pair) {
	p.standby.Execute(t, "ALTER SYSTEM SET max_standby_streaming_delay = '20ms'")
	p.standby.Execute(t, "SELECT pg_reload_conf()")
	s, log := p.open(t, p.replica, true)
	owner := mustUser(t, s, "ada@example.org")
	mustNote(t, s, owner, "a note")
	awaitList(t, s, owner.ID)
	times := 0
	err := s.ReadNotes(t.Context(), owner.ID, func(db *gorm.DB) error {
		if times++; times > 1 {
			return nil
		}
		if err := db.Exec("SELECT FROM notes").Error; err != nil { // the table is locked until the transaction ends
			return err
		}
		mustExec(t, p.url, "ALTER TABLE notes ADD COLUMN conflict int") // which the standby can't replay meanwhile
		return db.Exec("SELECT pg_sleep(10)").Error
	})
	if err != nil || times != 2 {
		t.Errorf("a read that was cancelled = %v after %d times, want nil after 2", err, times)
	}
	if stats := replicaStats(t, s); stats.Fallbacks[store.Conflict] != 1 || stats.Why != "" {
		t.Errorf("%+v, want one conflict and the replica in use", stats)
	}
	if lines := log.of("read replica"); len(lines) != 0 {
		t.Errorf("the log says %q, want nothing", lines)
	}
	awaitList(t, s, owner.ID)
}

// All that one read asks the standby is of one moment.
func replicaSnapshot(t *testing.T, p pair) {
	s, _ := p.open(t, p.replica, true)
	owner := mustUser(t, s, "ada@example.org")
	mustNote(t, s, owner, "a note")
	awaitList(t, s, owner.ID)
	const count = "SELECT count(*) FROM notes"
	counted(t, s, func(before, after store.ReplicaStats) error {
		if after.Reads != before.Reads+1 {
			return fmt.Errorf("%+v, then %+v: want one read on the standby", before, after)
		}
		return nil
	}, func() {
		var first, later, there int
		err := s.ReadNotes(t.Context(), owner.ID, func(db *gorm.DB) error {
			if err := db.Raw(count).Scan(&first).Error; err != nil {
				return err
			}
			mustNote(t, s, owner, "another")
			eventually(t, "saw the note on the standby", func() bool {
				mustQuery(t, p.replica, count, &there)
				return there > first
			})
			return db.Raw(count).Scan(&later).Error
		})
		if err != nil || first != later {
			t.Errorf("one read saw %d notes, and then %d, %v", first, later, err)
		}
	})
}

// Nobody waits for a table that the replay has locked: that may last.
func replicaLocked(t *testing.T, p pair) {
	s, _ := p.open(t, p.replica, true)
	owner := mustUser(t, s, "ada@example.org")
	mustNote(t, s, owner, "a note")
	awaitList(t, s, owner.ID)
	ddl := connect(t, p.primary.At(t, p.url)) // a superuser may switch the log
	defer ddl.Close(context.Background())
	if _, err := ddl.Exec(t.Context(), "BEGIN; LOCK TABLE note_tags IN ACCESS EXCLUSIVE MODE; SELECT txid_current(), pg_switch_wal()"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "locked on the standby", func() bool {
		var n int
		mustQuery(t, p.replica, "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'", &n)
		return n > 0
	})
	p.standby.PauseReplay(t)
	defer p.standby.ResumeReplay(t)
	if _, err := ddl.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	before, began := replicaStats(t, s).Fallbacks, time.Now()
	if refs, err := s.NoteRefs(ctx, owner.ID, store.ListQuery{Tags: []string{"none"}}); err != nil || len(refs) != 0 {
		t.Errorf("NoteRefs = %d notes, %v", len(refs), err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if after := replicaStats(t, s).Fallbacks; after == before {
		t.Errorf("a locked table was read on the standby: %v, then %v", before, after)
	}
}

// A request that is over is not begun again on the primary.
func replicaContext(t *testing.T, p pair) {
	s, _ := p.open(t, p.replica, true)
	owner := mustUser(t, s, "ada@example.org")
	awaitList(t, s, owner.ID)
	ctx, cancel := context.WithCancel(t.Context())
	times := 0
	err := s.ReadNotes(ctx, owner.ID, func(db *gorm.DB) error {
		times++
		cancel()
		return db.Exec("SELECT 1").Error
	})
	if !errors.Is(err, context.Canceled) || times != 1 {
		t.Errorf("ReadNotes = %v after %d times, want context.Canceled after 1", err, times)
	}
}
