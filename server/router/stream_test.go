package router

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"notesd/internal/testkit"
)

// events is a route that sends a part for each value of parts, and bye at a drain. ended gets the
// cause of each stream's end.
func events(parts <-chan string, ended chan<- error) Route {
	return Route{Method: http.MethodGet, Path: "/events", Class: Read, Auth: SignedIn, Handle: func(c *Context) error {
		return c.Stream("text/event-stream", func(s *Stream) (err error) {
			defer func() { ended <- errors.Join(err, context.Cause(s.Context())) }()
			for {
				select {
				case part := <-parts:
					err = s.Send([]byte(part + "\n"))
				case <-s.Context().Done():
					return s.Send([]byte("bye\n"))
				}
				if err != nil {
					return err
				}
			}
		})
	}}
}

// open opens a stream, which asks for compression.
func open(t *testing.T, ctx context.Context, method, url string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-User", "ada")
	r.Header.Set("Accept-Encoding", "gzip, zstd")
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	return answer
}

// Parts of a stream arrive as they are sent, plain, while the only worker serves others. A drain
// ends the stream, which says bye.
func TestStream(t *testing.T) {
	parts, ended := make(chan string), make(chan error, 1)
	rt, s, log := serve(t, events(parts, ended))
	go func() { parts <- strings.Repeat("x", 5000) }()
	answer := open(t, t.Context(), "GET", s.URL)
	in := bufio.NewReader(answer.Body)
	if line, err := in.ReadString('\n'); err != nil || len(line) != 5001 {
		t.Fatalf("got %.20q, %v", line, err)
	}
	for _, name := range []string{"Content-Encoding", "No-Gzip-Compression", "Content-Length"} {
		if value := answer.Header.Get(name); value != "" {
			t.Errorf("%s: %s", name, value)
		}
	}
	if busy := rt.pool.Stats().Busy; busy != 0 {
		t.Errorf("%d workers are busy, want none", busy)
	}
	parts <- "second"
	if line, err := in.ReadString('\n'); line != "second\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	rt.EndStreams()
	if rest, err := io.ReadAll(in); string(rest) != "bye\n" || err != nil {
		t.Errorf("at the drain %q, %v", rest, err)
	}
	if err := <-ended; !errors.Is(err, ErrDraining) {
		t.Errorf("ended by %v, want %v", err, ErrDraining)
	}
	testkit.Eventually(t, "the log line", func() bool { return len(log.With("request")) == 1 })
	if line := log.With("request")[0]; line["status"] != 200.0 || line["user"] != "ada" || line["stream_ms"] == nil || line["level"] != "INFO" {
		t.Errorf("logged %v", line)
	}
	// A stream that comes later is told at once.
	if rest, err := io.ReadAll(open(t, t.Context(), "GET", s.URL).Body); string(rest) != "bye\n" || err != nil {
		t.Errorf("after the drain %q, %v", rest, err)
	}
}

// The end of a stream's client ends its context. HEAD begins no stream.
func TestStreamClientLeaves(t *testing.T) {
	parts, ended := make(chan string), make(chan error, 1)
	rt, s, _ := serve(t, events(parts, ended))
	if answer := open(t, t.Context(), "HEAD", s.URL); answer.StatusCode != http.StatusOK {
		t.Errorf("HEAD = %d, want 200", answer.StatusCode)
	}
	ctx, leave := context.WithCancel(t.Context())
	go func() { parts <- "first" }()
	open(t, ctx, "GET", s.URL)
	leave()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended by %v, want %v", err, context.Canceled)
	}
	testkit.Eventually(t, "rest", func() bool { return rt.Counts().Running.Load() == 0 })
}

// What fails before a stream's first part is answered like any error. Later the connection is cut.
func TestStreamFails(t *testing.T) {
	var late atomic.Bool
	_, s, _ := serve(t, Route{Method: http.MethodGet, Path: "/events", Class: Read, Handle: func(c *Context) error {
		return c.Stream("text/event-stream", func(s *Stream) error {
			if late.Load() {
				if err := s.Send([]byte("part")); err != nil {
					return err
				}
			}
			panic("secret")
		})
	}})
	answer := open(t, t.Context(), "GET", s.URL)
	body, err := io.ReadAll(answer.Body)
	if answer.StatusCode != http.StatusInternalServerError || err != nil || !strings.Contains(string(body), "Internal server error") {
		t.Errorf("%d %s, %v, want a 500", answer.StatusCode, body, err)
	}
	late.Store(true)
	if body, err := io.ReadAll(open(t, t.Context(), "GET", s.URL).Body); err == nil || string(body) != "part" {
		t.Errorf("read %q, %v, want a part and an error", body, err)
	}
}

// A stream whose request has a body begins when that has come. A body that does not come is given up,
// and keeps neither a stream nor the request.
func TestStreamBody(t *testing.T) {
	t.Parallel() // it waits for as long as a body may pause
	parts, ended := make(chan string, 1), make(chan error, 1)
	rt, s, _ := serve(t, events(parts, ended))
	stuck := map[string]*bufio.Reader{}
	for _, method := range []string{"GET", "HEAD"} {
		conn, in := request(t, s.URL, method, "Content-Length: 5", "")
		_ = conn.SetReadDeadline(time.Now().Add(3 * bodyPause))
		stuck[method] = in
	}
	for method, in := range stuck {
		answer, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil || answer.StatusCode != http.StatusRequestTimeout {
			t.Fatalf("%s with a body that does not come = %+v, %v, want a 408", method, answer, err)
		}
	}
	testkit.Eventually(t, "rest", func() bool { return rt.Counts().Running.Load() == 0 })
	if err := <-ended; !errors.Is(err, errNoStream) {
		t.Errorf("the function of the stream that could not begin ended by %v, want %v", err, errNoStream)
	}
	parts <- "part"
	_, in := request(t, s.URL, "GET", "Content-Length: 5", "hello")
	answer, err := http.ReadResponse(in, nil)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("with a body = %+v, %v", answer, err)
	}
	if line, err := bufio.NewReader(answer.Body).ReadString('\n'); line != "part\n" {
		t.Errorf("got %q, %v", line, err)
	}
	rt.EndStreams()
	<-ended
}

// request sends a request for the stream, with a body that may be too short, on a connection of its
// own.
func request(t *testing.T, url, method, header, body string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	fmt.Fprintf(conn, "%s /events HTTP/1.1\r\nHost: x\r\nX-User: ada\r\n%s\r\n\r\n%s", method, header, body)
	return conn, bufio.NewReader(conn)
}
