package server

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"notesd/internal/redis"
	"notesd/internal/testkit"
	"notesd/pool"
	"notesd/server/auth"
	"notesd/server/events"
	"notesd/store"
	"notesd/store/storetest"
)

// changesJSON is a page of changes.
type changesJSON struct {
	Success bool
	Data    []struct {
		ID        string
		ChangeSeq int64
		Revision  int64
		Deleted   bool
		Note      map[string]any
	}
	Next int64
	More bool
}

func (r reply) changes() (page changesJSON) {
	r.t.Helper()
	r.want(http.StatusOK).decode(&page)
	return page
}

// brief says in a line what a page has.
func (page changesJSON) brief() string {
	var words []string
	for _, c := range page.Data {
		switch {
		case c.Deleted:
			words = append(words, fmt.Sprintf("-%d", c.ChangeSeq))
		default:
			words = append(words, fmt.Sprintf("%d:%v", c.ChangeSeq, c.Note["title"]))
		}
	}
	return fmt.Sprintf("%s next %d more %v", strings.Join(words, " "), page.Next, page.More)
}

// Changes are what a client needs to keep a copy, page by page.
func TestChanges(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c := s.someone()
		want := func(query, want string) {
			t.Helper()
			if got := c.get("/api/changes" + query).changes(); got.brief() != want || !got.Success || got.Data == nil {
				t.Errorf("changes%s = %s, want %s", query, got.brief(), want)
			}
		}
		want("", " next 0 more false")
		want("?since=0", " next 0 more false")
		a, b := c.create(map[string]any{"title": "a", "content": "text"}), c.create(map[string]any{"title": "b", "content": ""})
		c.create(map[string]any{"title": "c", "content": ""})
		c.patch("/api/notes/"+a.ID, map[string]any{"isPinned": true}).want(http.StatusOK) // 4
		c.patch("/api/notes/"+b.ID+"/trash", nil).want(http.StatusOK)                     // 5
		want("", " next 5 more false")
		want("?since=0", "3:c 4:a 5:b next 5 more false")
		want("?since=3", "4:a 5:b next 5 more false")
		want("?since=0&limit=2", "3:c 4:a next 4 more true")
		c.delete("/api/notes/" + b.ID + "/permanent").want(http.StatusOK) // 6
		want("?since=4&limit=500", "-6 next 6 more false")
		want("?since=0", "3:c 4:a next 6 more false")
		want("?since=6", " next 6 more false")

		page := c.get("/api/changes?since=3&limit=1").changes()
		if got := page.Data[0]; got.Revision != 2 || got.ID != a.ID || got.Note["content"] != "text" || got.Note["revision"] != 2.0 {
			t.Errorf("a change is %+v", got)
		}
		page = c.get("/api/changes?since=3&limit=1&fields=meta").changes()
		if _, has := page.Data[0].Note["content"]; has || page.Data[0].Note["title"] != "a" {
			t.Errorf("a change without content has the note %v", page.Data[0].Note)
		}
		stranger := s.someone()
		if got := stranger.get("/api/changes?since=0").changes().brief(); got != " next 0 more false" {
			t.Errorf("another user sees %s", got)
		}
	})
}

// What no change can be since is refused, with the reason.
func TestChangesRefused(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	c.create(map[string]any{"title": "a", "content": ""})
	const badSince, badLimit = "Invalid since: a whole number from 0 on", "Invalid limit: a whole number from 1 to 500"
	const gone = "Changes since then are not known: start over with since=0"
	for query, want := range map[string]struct {
		status int
		text   string
	}{
		"since=2":                        {http.StatusGone, gone},
		"since=9223372036854775807":      {http.StatusGone, gone},
		"since=99999999999999999999":     {http.StatusGone, gone},
		"since=-1":                       {http.StatusBadRequest, badSince},
		"since=":                         {http.StatusBadRequest, badSince},
		"since=1.5":                      {http.StatusBadRequest, badSince},
		"since=1e3":                      {http.StatusBadRequest, badSince},
		"since=%2B1":                     {http.StatusBadRequest, badSince},
		"since=0x1":                      {http.StatusBadRequest, badSince},
		"since=1_0":                      {http.StatusBadRequest, badSince},
		"since=null":                     {http.StatusBadRequest, badSince},
		"since=%D9%A1":                   {http.StatusBadRequest, badSince}, // an Arabic one
		"since=1&limit=0":                {http.StatusBadRequest, badLimit},
		"since=1&limit=501":              {http.StatusBadRequest, badLimit},
		"limit=x":                        {http.StatusBadRequest, badLimit},
		"since=1&fields=content":         {http.StatusBadRequest, "Invalid fields: meta, or none"},
		"since=1&fields=":                {http.StatusBadRequest, "Invalid fields: meta, or none"},
		"since=4503599627370497&limit=1": {http.StatusGone, gone},
	} {
		c.get("/api/changes?"+query).fails(want.status, want.text)
	}
	s.visitor().get("/api/changes?since=0").fails(http.StatusUnauthorized, "Authentication required")
	c.request(http.MethodPost, "/api/changes", nil).want(http.StatusNotFound)
}

// sse is an open stream of events.
type sse struct {
	t      testing.TB
	header http.Header
	lines  chan string // closed when the stream ends
	close  func()
}

// stream opens a stream of events.
func (c *client) stream(query string, headers ...string) *sse {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/api/events"+query, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if c.authorization != "" {
		r.Header.Set("Authorization", c.authorization)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := c.http.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		c.t.Fatalf("%s = %d", r.URL, answer.StatusCode)
	}
	s := &sse{c.t, answer.Header, make(chan string, 1000), cancel}
	c.t.Cleanup(cancel)
	go func() {
		defer close(s.lines)
		defer answer.Body.Close()
		for in := bufio.NewScanner(answer.Body); in.Scan(); {
			s.lines <- in.Text()
		}
	}()
	return s
}

// next is the next event, with its lines joined by blanks; "": the stream has ended.
func (s *sse) next() string {
	s.t.Helper()
	return strings.ReplaceAll(strings.TrimSuffix(s.raw(), "\n"), "\n", " ")
}

// raw is the next event as it is sent, without the empty line after it.
func (s *sse) raw() string {
	s.t.Helper()
	var event []string
	for {
		select {
		case line, open := <-s.lines:
			switch {
			case !open && event == nil:
				return ""
			case !open:
				s.t.Fatalf("the stream ends within an event: %q", event)
			case line != "":
				event = append(event, line)
				continue
			}
			return strings.Join(event, "\n") + "\n"
		case <-time.After(10 * time.Second):
			s.t.Fatal("no event within 10 s")
		}
	}
}

func (s *sse) want(events ...string) {
	s.t.Helper()
	for _, want := range events {
		if got := s.next(); got != want {
			s.t.Errorf("event %q, want %q", got, want)
		}
	}
}

// ends fails the test unless the stream ends within a second.
func (s *sse) ends(why string) {
	s.t.Helper()
	began := time.Now()
	if got := s.next(); got != "" {
		s.t.Errorf("%s: event %q, want the end", why, got)
	}
	if took := time.Since(began); took > time.Second {
		s.t.Errorf("%s: the stream ended after %v", why, took)
	}
}

// Events tell a user's listeners of each change, and nobody else's.
func TestEvents(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s *site) {
		c, stranger := s.someone(), s.someone()
		one, two, other := c.stream("", "Accept-Encoding", "gzip"), c.stream("?since=0"), stranger.stream("")
		for _, all := range []*sse{one, two, other} {
			all.want(`event: hello id: 0 data: {"changeSeq":0}`)
		}
		for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "private, no-cache, no-transform",
			"Content-Encoding": "", "X-Accel-Buffering": "no", "Content-Length": ""} {
			if got := strings.Join(one.header.Values(name), " and "); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		note := c.create(map[string]any{"title": "a", "content": ""})
		c.patch("/api/notes/"+note.ID, map[string]any{"title": "b"}).want(http.StatusOK)
		c.patch("/api/notes/"+note.ID+"/trash", nil).want(http.StatusOK)
		c.delete("/api/notes/" + note.ID + "/permanent").want(http.StatusOK)
		for _, all := range []*sse{one, two} {
			for i := 1; i <= 3; i++ {
				all.want(fmt.Sprintf(`event: change id: %d data: {"changeSeq":%d,"id":"%s","revision":%d}`, i, i, note.ID, i))
			}
			all.want(fmt.Sprintf(`event: change id: 4 data: {"changeSeq":4,"id":"%s","deleted":true}`, note.ID))
		}
		stranger.create(map[string]any{"title": "x", "content": ""})
		if got := other.next(); !strings.HasPrefix(got, "event: change id: 1 ") {
			t.Errorf("another user's first event is %q", got)
		}
		testkit.Eventually(t, "no permit is held", func() bool { return s.pool.Stats().Idle == s.pool.Stats().Workers })
		if got := s.server.deps.Hub.Stats(); got.Listeners != 3 || got.Users != 2 || got.Sent != 9 {
			t.Errorf("Stats() = %+v, want 3 listeners of 2 users, 9 events", got)
		}
		one.close()
		testkit.Eventually(t, "the closed stream is gone", func() bool { return s.server.deps.Hub.Stats().Listeners == 2 })
	})
}

// Who says what it has heard of last is told at once if there is more.
func TestEventsResume(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	for range 3 {
		c.create(map[string]any{"title": "a", "content": ""})
	}
	const upToDate = `event: hello id: 3 data: {"changeSeq":3}`
	for _, test := range []struct {
		query string
		last  string // Last-Event-ID
		want  string
	}{
		{"", "", upToDate},
		{"?since=3", "", upToDate},
		{"?since=1", "3", upToDate},
		{"", "3", upToDate},
		{"?since=0", "", ""},
		{"?since=2", "", ""},
		{"?since=3", "2", ""},
		{"?since=4", "", ""},                    // it is of a database that is gone
		{"?since=99999999999999999999", "", ""}, // likewise
		{"", "what?", ""},
		{"", "-1", ""},
	} {
		stream := c.stream(test.query, "Last-Event-ID", test.last)
		if test.want != "" {
			stream.want(test.want)
		} else {
			stream.want(`event: hello data: {"changeSeq":3}`, `event: change id: 3 data: {"changeSeq":3}`)
		}
		stream.close()
	}
	for _, since := range []string{"-1", "", "x", "1.0"} {
		c.get("/api/events?since="+since).fails(http.StatusBadRequest, "Invalid since: a whole number from 0 on")
	}
	s.visitor().get("/api/events").fails(http.StatusUnauthorized, "Authentication required")
	r := c.request(http.MethodHead, "/api/events", nil).want(http.StatusOK)
	if r.header.Get("Content-Type") != "text/event-stream" || r.text != "" {
		t.Errorf("HEAD has %v", r.header)
	}
	testkit.Eventually(t, "no listener", func() bool { return s.server.deps.Hub.Stats().Listeners == 0 })
}

// A user has 32 streams, and all users as many as the memory is for.
func TestEventsBound(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	var open []*sse
	for range events.MaxPerUser {
		open = append(open, c.stream(""))
	}
	r := c.get("/api/events").fails(http.StatusTooManyRequests, "Too many event streams at once, please close some.")
	var f failure
	if r.decode(&f); f.Reason != "user_share" || r.header.Get("Retry-After") == "" {
		t.Errorf("the 33rd stream: %s", r.text)
	}
	other := s.someone()
	other.stream("").want(`event: hello id: 0 data: {"changeSeq":0}`)
	open[0].close()
	testkit.Eventually(t, "room", func() bool { return s.server.deps.Hub.Stats().Listeners == events.MaxPerUser })
	s.server.deps.Hub.SetMax(events.MaxPerUser)
	r = c.get("/api/events").fails(http.StatusServiceUnavailable, "Server is short of memory, please try again")
	if r.decode(&f); f.Reason != "memory" {
		t.Errorf("a stream above the bound: %s", r.text)
	}
}

// Streams end with their session: by its sign-out, and when all of the user's are revoked.
func TestEventsEnd(t *testing.T) {
	t.Parallel()
	eachVaultSite(t, func(t *testing.T, s *site) {
		c := s.member("ada@example.com")
		var me struct{ Data struct{ User userJSON } }
		c.get("/api/auth/me").want(http.StatusOK).decode(&me)
		same := s.as(me.Data.User.ID)
		one, two, third := c.stream(""), c.stream(""), same.stream("")
		for _, all := range []*sse{one, two, third} {
			all.want(`event: hello id: 0 data: {"changeSeq":0}`)
		}
		c.post("/api/auth/logout", nil).want(http.StatusOK)
		one.ends("sign-out")
		two.ends("sign-out")
		c.get("/api/events").fails(http.StatusUnauthorized, "Authentication required")
		if err := s.server.accounts.Sessions.Revoke(t.Context(), me.Data.User.ID, ""); err != nil {
			t.Fatal(err)
		}
		third.ends("revocation")
	})
}

// During shutdown each stream is told when to come back, and then ends.
func TestEventsDrain(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	streams := []*sse{c.stream(""), c.stream("")}
	for _, stream := range streams {
		stream.want(`event: hello id: 0 data: {"changeSeq":0}`)
	}
	began := time.Now()
	s.stop()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the server left after %v", took)
	}
	for _, stream := range streams {
		var retry int
		got := stream.next()
		if _, err := fmt.Sscanf(got, `event: bye retry: %d data: {"reason":"draining"}`, &retry); err != nil || retry < 1000 || retry > 5000 {
			t.Errorf("the last event is %q", got)
		}
		stream.ends("shutdown")
	}
}

// A client that reads nothing harms nobody, and hears of the newest number if
// it reads after all.
func TestEventsNeverRead(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(64 << 10) // with a smaller one, what waits in the kernel takes a minute to read
	fmt.Fprintf(conn, "GET /api/events HTTP/1.1\r\nHost: x\r\nCookie: sessionId=%s\r\n\r\n", c.token())
	testkit.Eventually(t, "a listener", func() bool { return s.server.deps.Hub.Stats().Listeners == 1 })
	user := c.create(map[string]any{"title": "a", "content": ""}).UserID
	// So many events come at once only from a machine.
	const many = 200_000
	for n := int64(2); n <= many; n++ {
		s.server.deps.Hub.Committed([]store.Change{{Owner: user, Note: strings.Repeat("i", 200), Seq: n, Revision: 1}})
	}
	if got := s.server.deps.Hub.Stats(); got.Dropped == 0 || got.Listeners != 1 {
		t.Errorf("Stats() = %+v, want dropped events", got)
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute)) // with the race detector, on a busy machine
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("the newest number never comes: %v", err)
		}
		if strings.TrimSpace(line) == fmt.Sprintf(`data: {"changeSeq":%d}`, many) {
			return
		}
	}
}

// Two replicas: what one commits the other's listeners hear of, and what ends
// there ends here.
func TestEventsReplicas(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	a, b := onDatabase(t, url), onDatabase(t, url)
	testkit.Eventually(t, "trust", func() bool { return a.store.HearsOthers() && b.store.HearsOthers() })
	c := a.someone()
	there := *c
	there.url = b.url
	stream := there.stream("")
	stream.want(`event: hello id: 0 data: {"changeSeq":0}`)
	note := c.create(map[string]any{"title": "a", "content": ""})
	stream.want(fmt.Sprintf(`event: change id: 1 data: {"changeSeq":1,"id":"%s","revision":1}`, note.ID))
	c.patch("/api/notes/"+note.ID+"/trash", nil).want(http.StatusOK)
	stream.want(fmt.Sprintf(`event: change id: 2 data: {"changeSeq":2,"id":"%s","revision":2}`, note.ID))

	// What a process commits that tells nobody is made up for as soon as messages may have been missed.
	a.execute(t, "UPDATE user_counters SET change_seq = change_seq + 1")
	b.server.deps.Hub.Missed()
	stream.want(`event: change id: 3 data: {"changeSeq":3}`)
	c.post("/api/auth/logout", nil).want(http.StatusOK)
	stream.ends("sign-out on the other replica")

	// What notesd user does, as a process of its own.
	for what, end := range map[string]func(ctx context.Context, db *store.Store, rdb *redis.Client, id string) error{
		"deletion of the account": auth.DeleteAccount,
		"a new password": func(ctx context.Context, db *store.Store, rdb *redis.Client, id string) error {
			return auth.ResetPassword(ctx, db, rdb, id, "a password of the operator")
		},
	} {
		someone := a.someone()
		there := *someone
		there.url = b.url
		stream := there.stream("")
		stream.want(`event: hello id: 0 data: {"changeSeq":0}`)
		var me struct{ Data struct{ User userJSON } }
		someone.get("/api/auth/me").want(http.StatusOK).decode(&me)
		command := storetest.Open(t, url)
		if err := end(t.Context(), command, nil, me.Data.User.ID); err != nil {
			t.Fatal(err)
		}
		stream.ends(what)
	}
}

// A replica that hears nothing from the others looks for itself: its listeners
// are told of the newest number, and their sessions end, a little later.
func TestEventsWithoutChannel(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	a := onDatabase(t, url)
	hub := events.NewHub(testkit.Log(t))
	deaf, err := store.Open(context.Background(), store.Config{URL: url, ChannelURL: "postgres://x@127.0.0.1:1/x",
		Changes: hub, Log: testkit.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := deaf.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := deaf.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := newSite(t, deaf, func(_ *Config, deps *Deps) { deps.Hub = hub })
	if deaf.HearsOthers() {
		t.Error("a store without a channel says that it hears the others")
	}
	c := a.someone()
	there := *c
	there.url = b.url
	stream := there.stream("")
	stream.want(`event: hello id: 0 data: {"changeSeq":0}`)
	note := there.create(map[string]any{"title": "a", "content": ""}) // its own it tells at once
	stream.want(fmt.Sprintf(`event: change id: 1 data: {"changeSeq":1,"id":"%s","revision":1}`, note.ID))
	began := time.Now()
	c.create(map[string]any{"title": "b", "content": ""})
	stream.want(`event: change id: 2 data: {"changeSeq":2}`)
	t.Logf("told after %v", time.Since(began))
	c.post("/api/auth/logout", nil).want(http.StatusOK)
	began = time.Now()
	if got := stream.next(); got != "" {
		t.Errorf("event %q, want the end", got)
	}
	t.Logf("ended after %v", time.Since(began))
}

// TestEventsBytes: an idle stream costs little beside what net/http has for any
// request: 10 KB of buffers and some 20 KB of stacks.
func TestEventsBytes(t *testing.T) {
	const streams, most = 400, 45 << 10
	s := onSQLite(t, func(_ *Config, deps *Deps) {
		deps.Pool = pool.New(pool.Config{Shards: 2, WorkersPerShard: 4, QueueLength: 64, QueueTimeout: time.Minute, Log: deps.Log})
	})
	var tokens []string
	for range streams / events.MaxPerUser {
		tokens = append(tokens, s.someone().token())
	}
	measure := func() uint64 {
		for range 5 { // each may halve a stack
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before, goroutines := measure(), runtime.NumGoroutine()
	var conns []net.Conn
	for _, token := range tokens {
		for range events.MaxPerUser {
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET /api/events HTTP/1.1\r\nHost: x\r\nCookie: sessionId=%s\r\nAccept-Encoding: gzip, br\r\n\r\n", token)
			conns = append(conns, conn)
		}
		testkit.Eventually(t, "streams", func() bool { return s.server.deps.Hub.Stats().Listeners == int64(len(conns)) })
	}
	time.Sleep(100 * time.Millisecond)
	each, added := int64(measure()-before)/int64(len(conns)), float64(runtime.NumGoroutine()-goroutines)/float64(len(conns))
	t.Logf("%d bytes and %.1f goroutines each", each, added)
	if each > most {
		t.Errorf("a stream takes %d bytes, want at most %d", each, most)
	}
	if added > 2.1 { // net/http's own two
		t.Errorf("a stream takes %.1f goroutines", added)
	}
}
