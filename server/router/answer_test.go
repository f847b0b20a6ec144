package router

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"notesd/pool"
	"notesd/server/listener"
)

// answered serves entries from memory, in front of net/http or behind it.
type answered struct {
	rt     *Router
	in     *bufio.Reader
	conn   net.Conn
	state  atomic.Int64
	direct atomic.Bool // the last request was answered in front of net/http
}

// entries are the responses in memory, by their parameters.
var entries = map[string]*Entry{
	"small": {ETag: `"s.1"`, Body: []byte(`{"data":"small"}` + "\n")},
	"large": {ETag: `"l.1"`, Link: `</large>; rel="next"`, Body: []byte(`"` + strings.Repeat("large ", 20_000) + `"` + "\n")},
}

// serveEntries serves entries until the test ends, over a connection on which net/http has seen a
// request.
func serveEntries(t *testing.T, inFront bool) *answered {
	t.Helper()
	a := &answered{}
	note := func(c *Context) error { return c.Message("not in memory") }
	fast := func(l Lookup) *Entry {
		a.direct.Store(l.Request.Context().Value(http.ServerContextKey) == nil)
		return entries[l.Param]
	}
	free := func(l Lookup) *Entry { l.Param = "small"; return fast(l) }
	cfg, _ := newTestConfig()
	cfg.RateLimitMax, cfg.RateLimitWindow = 3, time.Hour
	var err error
	a.rt, err = New(cfg, []Route{
		{Method: "GET", Path: "/free", Class: Free, Handle: note, Fast: free, Auth: Anyone},
		{Method: "GET", Path: "/notes/:id", Class: Read, Auth: SignedIn, Handle: note, Fast: fast},
	})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := listener.New(tcp.(*net.TCPListener), false)
	tracker := listener.NewTracker(func(netip.Addr) bool { return false }, &listener.Counts{}, 100, time.Minute)
	h := &http.Server{Handler: a.rt, ConnContext: listener.WithConn, IdleTimeout: time.Minute}
	h.ConnState = func(c net.Conn, state http.ConnState) {
		tracker.Track(c, state)
		a.state.Store(int64(state))
	}
	if inFront {
		ln.ShedWith(a.rt, h, tracker)
	}
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(ln) }()
	if a.conn, err = net.Dial("tcp", tcp.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = a.conn.Close(), h.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	a.in = bufio.NewReader(a.conn)
	if a.ask(t, "GET /free HTTP/1.1", ""); a.direct.Load() {
		t.Error("the first request of a connection was hidden from net/http")
	}
	return a
}

// ask sends a request and returns its response, without what differs by chance.
func (a *answered) ask(t *testing.T, line, headers string) string {
	t.Helper()
	a.direct.Store(false)
	if _, err := fmt.Fprintf(a.conn, "%s\r\nHost: x\r\n%s\r\n", line, headers); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(line, " ")
	response, err := http.ReadResponse(a.in, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for a.state.Load() == int64(http.StateActive) { // until then net/http may read a part of the next one
		time.Sleep(time.Millisecond)
	}
	for _, name := range []string{"Date", "X-Request-Id"} {
		if len(response.Header.Values(name)) != 1 {
			t.Errorf("%s: %s %v, want one", line, name, response.Header.Values(name))
		}
		response.Header.Del(name)
	}
	var text strings.Builder
	text.WriteString(response.Status)
	for _, name := range slices.Sorted(maps.Keys(response.Header)) {
		text.WriteString(fmt.Sprintf("\n%s: %q", name, response.Header[name]))
	}
	if id := strings.Index(string(body), `"requestId"`); id >= 0 {
		body = body[:id]
	}
	return text.String() + fmt.Sprintf("\nlength %d\n%s", response.ContentLength, body)
}

// A response in front of net/http is the one behind it, and requests that are unusual in any way are
// left to net/http.
func TestAnswer(t *testing.T) {
	front, behind := serveEntries(t, true), serveEntries(t, false)
	for _, test := range []struct {
		line, headers string
		direct        bool
		contains      string
	}{
		{"GET /free HTTP/1.1", "", true, "200 OK"},
		{"GET /notes/small HTTP/1.1", "X-User: ada\r\n", true, `Ratelimit-Remaining: ["2"]`},
		{"GET /notes/large?x=y HTTP/1.1", "X-User: ada\r\n", true, "length 120003"},
		{"GET /notes/small HTTP/1.1", "X-User: ada\r\nIf-None-Match: \"s.1\"\r\n", true, "304 Not Modified"},
		{"GET /notes/small HTTP/1.1", "X-User: ada\r\n", true, "429 Too Many Requests"},
		{"GET /notes/large HTTP/1.1", "X-User: bob\r\nAccept-Encoding: gzip\r\n", true, `Content-Encoding: ["gzip"]`},
		{"HEAD /notes/small HTTP/1.1", "X-User: bob\r\n", false, "200 OK"},
		{"GET /notes/small HTTP/1.1", "", true, "401 Unauthorized"}, // Fast is not asked
		{"GET /notes/none HTTP/1.1", "X-User: cyd\r\n", false, "not in memory"},
		{"GET /notes/small HTTP/1.1", "X-User: cyd\r\nOrigin: http://x\r\n", false, "200 OK"},
		{"GET /notes/small HTTP/1.1", "X-User: dan\r\nConnection: close\r\n", false, "200 OK"},
	} {
		got, want := front.ask(t, test.line, test.headers), behind.ask(t, test.line, test.headers)
		if got != want || !strings.Contains(got, test.contains) {
			t.Errorf("%s %q: response\n%.600s\nwant\n%.600s\nwith %q", test.line, test.headers, got, want, test.contains)
		}
		if asked := strings.HasPrefix(got, "401"); !asked && front.direct.Load() != test.direct || behind.direct.Load() {
			t.Errorf("%s %q: answered in front of net/http: %v", test.line, test.headers, front.direct.Load())
		}
	}
}

// A request that has to wait for a permit, or comes during a shutdown, is left to net/http. The
// shutdown waits for what is being answered.
func TestAnswerLeavesToNetHTTP(t *testing.T) {
	a := serveEntries(t, true)
	request := func() *http.Request {
		r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://x/notes/small", http.NoBody)
		r.Header.Set("X-User", "ada")
		r.RemoteAddr = "127.0.0.1:1"
		return r
	}
	ours, theirs := net.Pipe()
	conn := &listener.Conn{Conn: ours}
	permit, err := a.rt.pool.Acquire(t.Context(), pool.Request{Class: pool.Read})
	if err != nil {
		t.Fatal(err)
	}
	if a.rt.Answer(request(), conn) {
		t.Error("a request was answered without a permit")
	}
	permit.Release()

	answered := make(chan bool)
	go func() { answered <- a.rt.Answer(request(), conn) }()
	for a.rt.counts.Running.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	a.rt.CloseConnections(true)
	if a.rt.Answer(request(), conn) {
		t.Error("a request was answered in front of net/http during a shutdown")
	}
	soon, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if err := a.rt.WaitAnswers(soon); err == nil {
		t.Error("WaitAnswers() does not wait for a response that is being sent")
	}
	if response, err := http.ReadResponse(bufio.NewReader(theirs), nil); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("response %v, %v", response, err)
	}
	if !<-answered || a.rt.WaitAnswers(t.Context()) != nil || a.rt.counts.Running.Load() != 0 {
		t.Error("the response has not ended")
	}
}
