package listener

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// shedAll rejects what it is asked about, while on is set.
type shedAll struct{ on atomic.Bool }

func (s *shedAll) Shedding() bool { return s.on.Load() }

func (s *shedAll) Answer(r *http.Request, c *Conn) bool {
	if r.URL.Path != "/answered/cut" {
		return false
	}
	_ = c.SetWriteDeadline(time.Unix(1, 0))
	defer func() { _ = c.SetWriteDeadline(time.Time{}) }()
	c.BeginResponse("id", true, nil, nil)
	_ = c.WriteResponse([]byte("HTTP/1.1 200 OK\r\n"), []byte("Content-Length: 2\r\n\r\n"), []byte("ok"))
	return true
}

func (s *shedAll) Shed(r *http.Request) func(*Conn) bool {
	if r.URL.Path == "/served" || strings.HasPrefix(r.URL.Path, "/answered/") {
		return nil
	}
	path := r.URL.Path
	return func(c *Conn) bool {
		switch path {
		case "/late":
			return false
		case "/cut":
			_ = c.SetWriteDeadline(time.Unix(1, 0))
			defer func() { _ = c.SetWriteDeadline(time.Time{}) }()
		}
		c.BeginResponse("id of "+path, true, nil, nil)
		_, _ = c.Write([]byte("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nshed"))
		return true
	}
}

// A request that is rejected early leaves its connection as net/http expects it: whatever follows is
// handled by whom it should be, and by nobody amid another request.
func TestShed(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, ln := &shedAll{}, New(tcp.(*net.TCPListener), false)
	s.on.Store(true)
	tracker := NewTracker(func(netip.Addr) bool { return false }, &Counts{}, 100, time.Minute)
	served := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		ConnOf(r).BeginResponse("id of "+r.URL.Path, true, w.Header(), nil)
		_, _ = w.Write(append([]byte("served"), body...))
	})
	h := &http.Server{Handler: served, ConnContext: WithConn, ConnState: tracker.Track, IdleTimeout: time.Minute,
		ReadHeaderTimeout: time.Second}
	ln.ShedWith(s, h, tracker)
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(ln) }()
	defer func() {
		_ = h.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	const shed, ours = "503 shed", "200 served"
	post := func(path, length, body string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + "\r\n\r\n" + body
	}
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n" }
	for _, tt := range []struct {
		name  string
		parts []string // with a pause after each
		want  []string
	}{
		{"one after the other", []string{get("/a"), post("/b", "2", "{}"), get("/served"), get("/c")},
			[]string{shed, shed, ours, shed}},
		{"after all", []string{get("/late"), get("/a")}, []string{ours, shed}},
		{"two at once", []string{get("/a") + get("/b"), get("/c")}, []string{ours, ours, shed}},
		{"the next begun", []string{get("/a") + "GE", "T /b HTTP/1.1\r\nHost: x\r\n\r\n", get("/c")}, []string{ours, ours, shed}},
		{"one more byte", []string{get("/served") + "P", post("/b", "2", "{}")[1:], get("/c")}, []string{ours, ours + "{}", shed}},
		{"in parts", []string{"GET /a HT", "TP/1.1\r\nHost: x\r\n\r\n", get("/c")}, []string{ours, shed}},
		{"a body in parts", []string{get("/c"), post("/a", "20", "GET / "), "HTTP/1.1\r\n\r\n..", get("/c")},
			[]string{shed, ours + "GET / HTTP/1.1\r\n\r\n..", shed}},
		{"a long body", []string{post("/a", "5000", strings.Repeat("x", 5000)), get("/c")},
			[]string{ours + strings.Repeat("x", 5000), shed}},
	} {
		c, err := net.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(c)
		go func() {
			for _, part := range tt.parts {
				_, _ = c.Write([]byte(part))
				time.Sleep(30 * time.Millisecond)
			}
		}()
		for i, want := range tt.want {
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
			r, body := readAnswer(t, in, "GET")
			if got := r.Status[:3] + " " + body; got != want {
				t.Errorf("%s: answer %d is %.50q, want %.50q", tt.name, i, got, want)
			}
		}
		_ = c.Close()
	}

	// Nothing follows a response that was not written whole.
	for _, path := range []string{"/cut", "/answered/cut"} {
		c, err := net.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(c)
		_, _ = c.Write([]byte(get("/served")))
		readAnswer(t, in, "GET")
		_, _ = c.Write([]byte(get(path)))
		time.Sleep(30 * time.Millisecond)
		_, _ = c.Write([]byte(get("/a")))
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if rest, err := io.ReadAll(in); len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %q follows, %v", path, rest, err)
		}
		_ = c.Close()
	}

	// A header that does not end has the header's time, and not that of an idle connection.
	c, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in, began := bufio.NewReader(c), time.Now()
	_, _ = c.Write([]byte(get("/a")))
	readAnswer(t, in, "GET")
	if tracker.Pending() != 0 {
		t.Error("a connection that has had a request is pending")
	}
	_, _ = c.Write([]byte("GET /a"))
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, in); err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("closed after %v with %v, want a second", time.Since(began), err)
	}
}

// What parse takes for a simple request, net/http takes for the same one, and for exactly one.
func FuzzSimpleRequest(f *testing.F) {
	for _, text := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /api/notes?x=1 HTTP/1.1\r\nhost: x:1\r\nCookie: a=b; c=d\r\nContent-Length: 2\r\n\r\n{}",
		"GET / HTTP/1.1\r\nHost: x\r\nAccept: a\r\naccept:  b \r\nConnection: Keep-Alive\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 2\r\n\r\n{}",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}",
		"GET /a%2Fb HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nA: b\n\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
		"GET //x/y HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.0\r\nHost: x\r\n\r\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		r := simpleRequests.Get().(*simpleRequest)
		defer r.drop()
		if !r.parse(p) {
			return
		}
		rest := bufio.NewReader(bytes.NewReader(p))
		want, err := http.ReadRequest(rest)
		if err != nil {
			t.Fatalf("parse(%q) = true, and net/http: %v", p, err)
		}
		_, err = io.Copy(io.Discard, want.Body)
		if left, _ := io.ReadAll(rest); err != nil || len(left) > 0 {
			t.Errorf("net/http leaves %q of %q, and %v", left, p, err)
		}
		if r.Method != want.Method || r.Host != want.Host || r.RequestURI != want.RequestURI ||
			r.ContentLength != want.ContentLength || r.URL.Path != want.URL.Path || want.URL.RawPath != "" ||
			r.URL.RawQuery != want.URL.RawQuery || want.URL.Host != "" ||
			!maps.EqualFunc(r.Header, want.Header, slices.Equal) {
			t.Errorf("parse(%q): %+v, want %+v", p, r.Request, want)
		}
	})
}

func BenchmarkSimpleRequest(b *testing.B) {
	p := []byte("POST /api/notes HTTP/1.1\r\nHost: localhost:3001\r\nContent-Type: application/json\r\n" +
		"Cookie: sessionId=0123456789abcdef0123456789abcdef0123456789abcdef\r\nContent-Length: 2\r\n\r\n{}")
	b.ReportAllocs()
	for b.Loop() {
		r := simpleRequests.Get().(*simpleRequest)
		if !r.parse(p) {
			b.Fatal("parse() = false")
		}
		r.drop()
	}
}
