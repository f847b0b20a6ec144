package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"notesd/bench"
)

// appNotes are the notes of the account that the app's load is measured with.
const appNotes = 1000

// What the web app asks of the server: to start, while somebody types for a minute, and while it is idle for IDLE.
// Then APPS idle apps, each with its stream, are held by one server.
func TestWebAppLoad(t *testing.T) {
	if os.Getenv("APPS") == "" {
		t.Skip("APPS is not set: see make prove NAME=webload")
	}
	idle, err := time.ParseDuration(os.Getenv("WATCHED"))
	if err != nil {
		t.Fatal(err)
	}
	apps := numberOf(t, "APPS", 1)
	proof := newProof(t, "load of the web app", fmt.Sprintf("WATCHED=%v APPS=%d", idle, apps))
	p := newUnraced(t, "LOG_LEVEL=error", "QUEUE_TIMEOUT=30s", // the accounts take long
		"RATE_LIMIT_MAX_REQUESTS=0", "GOMEMLIMIT=512MiB", "ADMIN_TOKEN="+adminToken)
	p.start()
	p.awaitReady()
	c := p.member("ada@example.com")
	for i := range appNotes {
		c.create(fmt.Sprintf("Note %d", i), strings.Repeat(fmt.Sprintf("A line of note %d. ", i), 10))
	}
	m := newMeter(t, p.url)
	table := bench.Table{Title: "One app", Head: []string{"while", "requests", "bytes to the server", "bytes from it"}}
	phase := func(name string, times int, do func()) metered {
		m.reset()
		do()
		got := m.read()
		table.Rows = append(table.Rows, []string{name, fmt.Sprint(got.requests * times), fmt.Sprint(got.in * times),
			fmt.Sprint(got.out * times)})
		t.Logf("%s: %d requests: %v", name, got.requests, got.paths)
		return got
	}
	in := openTab(t)
	b := &page{driver: in, base: m.url}
	settle := func() { time.Sleep(5 * time.Second) } // what the app does when it has time
	phase("it starts for the first time, and its user signs in", 1, func() {
		b.open("/")
		b.sign()
		b.awaitWorker()
		settle()
	})
	phase("it starts again", 1, func() {
		b.reload()
		b.shows(".row")
		settle()
	})
	b.press("c")
	b.shows(".title")
	b.press("Diary\r")
	b.shows(".rich-editor")
	b.saved()
	settle()
	minute := phase("somebody types for a minute, "+fmt.Sprint(int(time.Minute/keyTime))+" keys", 1, func() {
		each := time.NewTicker(keyTime)
		defer each.Stop()
		for i := range int(time.Minute / keyTime) {
			<-each.C
			b.press(string("word word "[i%10]))
		}
		b.saved()
	})
	hour := int(time.Hour / idle)
	quiet := phase(fmt.Sprintf("it is idle for an hour: %d times what it asked in %v", hour, idle), hour,
		func() { time.Sleep(idle) })
	proof.Tables = append(proof.Tables, table)
	proof.Promise("requests in a minute of typing", "≤ 30", fmt.Sprint(minute.requests), minute.requests <= 30)
	proof.Promise("requests in an hour idle", "≤ 60", fmt.Sprint(quiet.requests*hour), quiet.requests*hour <= 60)
	held := m.open()
	proof.Notes = append(proof.Notes, fmt.Sprintf("Chromium, an account of %d notes. Bytes are those of HTTP/1.1 "+
		"with its headers and the stream of events, without TLS. Having been idle, the app held %d connections, "+
		"its stream among them.", appNotes, held))

	resident := idleApps(t, p, apps)
	proof.Promise(fmt.Sprintf("memory of one server with %d idle apps", apps), "≤ 512 MB",
		fmt.Sprintf("%d MB", resident>>20), resident <= 512<<20)
	proof.Notes = append(proof.Notes, fmt.Sprintf("The idle apps are %d streams, %d a user, on SQLite with a bound "+
		"of 512 MiB; each has heard of a change when the memory is read.", apps, streamsPerUser))
	publish(t, proof)
	if err := proof.Judge(true); err != nil {
		t.Error(err)
	}
}

// idleApps opens the streams of so many apps, has each hear of a change, and returns the memory of the server.
func idleApps(t *testing.T, p *process, apps int) (resident int64) {
	t.Helper()
	users, err := bench.AddUsers(t.Context(), p.visitor().url, (apps+streamsPerUser-1)/streamsPerUser, 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	heard := make([]*hearing, len(users))
	for i := range heard {
		heard[i] = &hearing{at: map[int64][]time.Time{}}
	}
	for i := range apps {
		conn, in := openStream(t, p, users[i/streamsPerUser].Cookie, i)
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		readers.Go(func() { heard[i/streamsPerUser].read(in) })
	}
	writer := bench.NewClient(p.visitor().url)
	for _, u := range users {
		_, err := writer.Call(ctx, http.MethodPatch, "/api/notes/"+u.Notes[0], u.Cookie, `{"title":"changed"}`, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	resident = settled(t, []*process{p})[0]
	told := 0
	for _, h := range heard {
		h.mu.Lock()
		for _, at := range h.at {
			told += len(at)
		}
		h.mu.Unlock()
	}
	if told != apps {
		t.Errorf("%d of %d idle apps heard of a change", told, apps)
	}
	return resident
}

// A meter is a proxy that counts what passes.
type meter struct {
	url string

	mu    sync.Mutex // guards what follows
	count metered
	conns int // open ones of clients
}

// metered are the requests, and the bytes from and to clients.
type metered struct {
	requests, in, out int
	paths             map[string]int
}

func newMeter(t *testing.T, to string) *meter {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{}
	m.reset()
	forward := httputil.NewSingleHostReverseProxy(target)
	forward.FlushInterval = -1
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.count.requests++
		m.count.paths[r.Method+" "+r.URL.Path]++
		m.mu.Unlock()
		forward.ServeHTTP(w, r)
	}))
	server.Listener = meteredListener{server.Listener, m}
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	m.url = server.URL
	return m
}

func (m *meter) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count = metered{paths: map[string]int{}}
}

func (m *meter) read() metered {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count
}

// open is the number of connections that clients have open.
func (m *meter) open() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.conns
}

type meteredListener struct {
	net.Listener
	m *meter
}

func (l meteredListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.m.add(0, 0, 1)
	return &meteredConn{Conn: conn, m: l.m}, nil
}

func (m *meter) add(in, out, conns int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count.in += in
	m.count.out += out
	m.conns += conns
}

type meteredConn struct {
	net.Conn
	m      *meter
	closed sync.Once
}

func (c *meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.m.add(n, 0, 0)
	return n, err
}

func (c *meteredConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.m.add(0, n, 0)
	return n, err
}

func (c *meteredConn) Close() error {
	c.closed.Do(func() { c.m.add(0, 0, -1) })
	return c.Conn.Close()
}
