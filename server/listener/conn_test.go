package listener

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
)

// ownHeader is a header that a response has besides the default headers.
const ownHeader = "Own"

// onLoopback serves h until the test ends, on a Listener or on a plain one, and returns a connection
// to it.
func onLoopback(t testing.TB, h http.Handler, ours bool) (net.Conn, *bufio.Reader) {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var ln net.Listener = tcp
	if ours {
		ln = New(tcp.(*net.TCPListener), false)
	}
	s := &http.Server{Handler: h, ConnContext: WithConn}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ln) }()
	c, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		_ = s.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return c, bufio.NewReader(c)
}

// Each response on a connection has the default headers and its request's id once, whatever it is:
// short, of many writes, after a 100 Continue, to an older client. They are no part of any body.
func TestDefaultHeaders(t *testing.T) {
	for _, ours := range []bool{true, false} {
		handler := func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/continue":
				_, _ = r.Body.Read(make([]byte, 1))
			case "/early":
				w.WriteHeader(http.StatusEarlyHints)
			}
			ConnOf(r).BeginResponse("id of "+r.URL.Path, false, w.Header(), []byte(ownHeader+": "+r.URL.Path+"\r\n"))
			switch r.URL.Path {
			case "/none":
				w.WriteHeader(http.StatusNoContent)
			case "/parts":
				for range 3 {
					_, _ = w.Write([]byte("HTTP/1.1 200 OK\r\n"))
					_ = http.NewResponseController(w).Flush()
				}
			case "/long":
				_, _ = w.Write([]byte(strings.Repeat("HTTP/1.1 200 OK\r\n", 10_000)))
			default:
				_, _ = w.Write([]byte("HTTP/1.1 200 OK\r\n"))
			}
		}
		c, in := onLoopback(t, http.HandlerFunc(handler), ours)
		for _, tt := range []struct {
			request string
			status  int
			lines   int
		}{
			{"GET /short HTTP/1.1\r\nHost: x\r\n\r\n", 200, 1},
			{"GET /none HTTP/1.1\r\nHost: x\r\n\r\n", 204, 0},
			{"GET /parts HTTP/1.1\r\nHost: x\r\n\r\n", 200, 3},
			{"GET /long HTTP/1.1\r\nHost: x\r\n\r\n", 200, 10_000},
			{"GET /early HTTP/1.1\r\nHost: x\r\n\r\n", 200, 1},
			{"POST /continue HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", 200, 1},
			{"HEAD /short HTTP/1.1\r\nHost: x\r\n\r\n", 200, 0},
			{"GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /second HTTP/1.1\r\nHost: x\r\n\r\n", 200, 1},
			{"", 200, 1}, // the second of these
			{"GET /old HTTP/1.0\r\nHost: x\r\n\r\n", 200, 1},
		} {
			if _, err := c.Write([]byte(tt.request)); err != nil {
				t.Fatal(err)
			}
			method, _, _ := strings.Cut(tt.request, " ")
			r, body := readAnswer(t, in, method)
			if r.StatusCode != tt.status || strings.Count(body, "HTTP/1.1 200 OK\r\n") != tt.lines || len(body) != 17*tt.lines {
				t.Errorf("ours %v, %q: %d with %d bytes, want %d with %d lines",
					ours, tt.request, r.StatusCode, len(body), tt.status, tt.lines)
			}
			for _, h := range defaultHeaders {
				if got := r.Header.Values(h.name); len(got) != 1 || got[0] != h.value {
					t.Errorf("ours %v, %q: %s %q, want it once", ours, tt.request, h.name, got)
				}
			}
			for _, name := range []string{requestIDHeader, ownHeader} {
				got := r.Header.Values(name)
				if len(got) != 1 || tt.request != "" && !strings.Contains(tt.request, strings.TrimPrefix(got[0], "id of ")) {
					t.Errorf("ours %v, %q: %s %q, want the request's own", ours, tt.request, name, got)
				}
			}
		}
	}
}

// readAnswer reads a response, and the informational ones before it.
func readAnswer(t *testing.T, in *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	for {
		r, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		var body strings.Builder
		if _, err := bufio.NewReader(r.Body).WriteTo(&body); err != nil {
			t.Fatal(err)
		}
		if r.StatusCode >= 200 {
			return r, body.String()
		}
		for _, h := range append(defaultHeaders, struct{ name, value string }{name: requestIDHeader}) {
			if r.Header.Get(h.name) != "" {
				t.Errorf("%d has a %s", r.StatusCode, h.name)
			}
		}
	}
}

// A write that fails midway returns how many of the given bytes were written.
func TestWriteCutShort(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\n\r\nbody"
	added := len(defaultLines) + len(requestIDHeader+": id\r\n")
	for _, tt := range []struct{ left, want int }{
		{0, 0}, {17, 17}, {17 + added - 1, 17}, {17 + added + 2, 19}, {len(answer) + added, len(answer)},
	} {
		c := &Conn{Conn: shortConn{left: tt.left}}
		c.BeginResponse("id", false, nil, nil)
		if n, err := c.Write([]byte(answer)); n != tt.want || (err == nil) != (tt.left >= len(answer)+added) {
			t.Errorf("of which %d bytes left: Write() = %d, %v, want %d", tt.left, n, err, tt.want)
		}
	}
}

// shortConn takes left bytes, and no more.
type shortConn struct {
	net.Conn
	left int
}

func (c shortConn) Write(p []byte) (int, error) {
	if len(p) > c.left {
		return c.left, errors.New("no more")
	}
	return len(p), nil
}

// The default headers, written by the connection and by net/http.
func BenchmarkDefaultHeaders(b *testing.B) {
	for _, ours := range []bool{true, false} {
		name := map[bool]string{true: "by the connection", false: "by net/http"}[ours]
		b.Run(name, func(b *testing.B) {
			c, in := onLoopback(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ConnOf(r).BeginResponse("0123456789abcdef", false, w.Header(), nil)
				_, _ = w.Write([]byte("ok"))
			}), ours)
			request := []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			for b.Loop() {
				if _, err := c.Write(request); err != nil {
					b.Fatal(err)
				}
				for line := ""; line != "\r\n"; {
					var err error
					if line, err = in.ReadString('\n'); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := in.Discard(2); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A response on another connection gets the default headers, too.
func TestOtherConn(t *testing.T) {
	r := (&http.Request{}).WithContext(context.Background())
	h := http.Header{}
	ConnOf(r).BeginResponse("id", false, h, []byte(ownHeader+": a: b\r\n"))
	if len(h) != len(defaultHeaders)+2 || h.Get(requestIDHeader) != "id" || h.Get(ownHeader) != "a: b" {
		t.Errorf("headers %v, want the default headers, the id and the response's own", h)
	}
}
