package router

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"notesd/pool"
	"notesd/server/listener"
)

// A request that is rejected in front of net/http gets the response of one that the pool rejects:
// the same headers, but for their order, and the same members.
func TestShedResponse(t *testing.T) {
	cfg, _ := newTestConfig()
	cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	hold := make(chan bool)
	route := Route{Method: "GET", Path: "/hold", Class: Read, Auth: Anyone, Handle: func(c *Context) error {
		<-hold
		return c.Message("done")
	}}
	cfg.Pool = pool.New(pool.Config{Shards: 1, WorkersPerShard: 1, QueueLength: 0,
		QueueTimeout: 100 * time.Millisecond, Passthrough: http.ErrAbortHandler, Log: cfg.Log})
	rt, err := New(cfg, []Route{route})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Server{Handler: rt, ConnContext: listener.WithConn}
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(listener.New(tcp.(*net.TCPListener), false)) }()
	ask := func() (http.Header, map[string]any) {
		r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://"+tcp.Addr().String()+"/hold", nil)
		r.Header.Set("X-Forwarded-Proto", "https")
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Error(err)
			return nil, nil
		}
		return response.Header, members(t, response)
	}
	first := make(chan bool)
	go func() { ask(); close(first) }()
	for rt.Counts().Running.Load() == 0 || rt.pool.Stats().Busy == 0 {
		time.Sleep(time.Millisecond)
	}
	wantHeader, want := ask()
	close(hold)
	<-first
	_ = h.Close()
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}

	ours, theirs := net.Pipe()
	defer theirs.Close()
	s := shedRequest{rt: rt, route: rt.routes[0], began: time.Now(), overTLS: true, asked: pool.Request{Class: pool.Read}}
	rejected := make(chan bool, 1)
	go func() { rejected <- s.reject(&listener.Conn{Conn: ours}) }()
	response, err := http.ReadResponse(bufio.NewReader(theirs), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := members(t, response)
	if !<-rejected || response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", response.StatusCode)
	}
	for _, name := range []string{"Date", "X-Request-Id", "Retry-After", "Content-Length"} { // they differ by chance
		if response.Header.Get(name) == "" || wantHeader.Get(name) == "" {
			t.Errorf("%s %q, and %q of the pool's", name, response.Header.Get(name), wantHeader.Get(name))
		}
		response.Header.Del(name)
		wantHeader.Del(name)
	}
	if !maps.EqualFunc(response.Header, wantHeader, slices.Equal) {
		t.Errorf("headers %v, want %v", response.Header, wantHeader)
	}
	if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) || got["reason"] != "overload" {
		t.Errorf("body %v, want one like %v", got, want)
	}

	// If too many come, a request waits, and its rejection is held after that.
	crowd := func() {
		for rt.pacer.delay() < rt.pacer.max {
		}
	}
	crowd()
	conn := &listener.Conn{Conn: ours}
	go func() { _, _ = io.Copy(io.Discard, theirs) }()
	if began := time.Now(); !s.reject(conn) || time.Since(began) < rt.pacer.max*5/4 {
		t.Errorf("not rejected, or after %v", time.Since(began))
	}
	// When the server leaves, no rejection is held, and none is sent.
	rt.pacer.max = time.Minute
	crowd()
	time.AfterFunc(20*time.Millisecond, func() { rt.CloseConnections(true) })
	if began := time.Now(); s.reject(conn) || time.Since(began) > 10*time.Second {
		t.Errorf("rejected while the server leaves, or held for %v", time.Since(began))
	}
}

func members(t *testing.T, r *http.Response) (body map[string]any) {
	t.Helper()
	text, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(text, &body) != nil || !bytes.HasSuffix(text, []byte("\n")) {
		t.Errorf("%q, %v", text, err)
	}
	return body
}

// Only the requests that nothing but the pool would reject are rejected before they are parsed.
func TestSheddable(t *testing.T) {
	cfg, _ := newTestConfig()
	cfg.CORSOrigins = []string{"https://notes.example.com"}
	handle := func(*Context) error { return nil }
	rt, err := New(cfg, []Route{
		{Method: "GET", Path: "/probe", Class: Free, Auth: Anyone, Handle: handle},
		{Method: "GET", Path: "/notes", Class: Read, Auth: SignedIn, Handle: handle},
		{Method: "POST", Path: "/notes", Class: Write, Auth: SignedIn, Handle: handle, SmallBody: true},
		{Method: "GET", Path: "/notes/:id", Class: Read, Auth: SignedIn, Handle: handle},
		{Method: "GET", Path: "/notes/:id/versions/:at", Class: Read, Auth: SignedIn, Handle: handle},
		{Method: "GET", Path: "/runtime", Class: Read, Auth: Admin, Handle: handle},
		{Method: "GET", Path: "/dav", Class: Read, Auth: Anyone, Handle: handle,
			WriteError: func(*Context, int, string) {}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		method, path, route string
		header              http.Header
	}{
		{"GET", "/notes", "/notes", nil},
		{"POST", "/notes", "/notes", nil},
		{"GET", "/notes/1", "/notes/:id", nil},
		{"GET", "/notes/1/versions/2", "/notes/:id/versions/:at", nil},
		{"GET", "/notes/1/versions", "", nil},
		{"GET", "/notes/1/", "/notes/:id", nil},
		{"GET", "/notes//versions/2", "", nil},
		{"GET", "/notes/", "", nil},
		{"GET", "/Notes", "", nil},
		{"PUT", "/notes", "", nil},
		{"GET", "/probe", "", nil},
		{"GET", "/runtime", "", nil},
		{"GET", "/dav", "", nil},
		{"POST", "/notes", "", http.Header{"Origin": {"https://notes.example.com"}}},
		{"POST", "/notes", "", http.Header{"Sec-Fetch-Site": {"cross-site"}}},
		{"GET", "/notes", "", http.Header{"Sec-Fetch-Site": {"cross-site"}}},
		{"GET", "/notes", "", http.Header{"Host": {"rebound.example.org"}}},
		{"GET", "/notes", "/notes", http.Header{"Host": {"notes.example.com"}, "Sec-Fetch-Site": {"same-origin"}}},
	} {
		r, _ := http.NewRequestWithContext(context.Background(), tt.method, "http://127.0.0.1"+tt.path, nil)
		if tt.header != nil {
			r.Header = tt.header
			r.Host = tt.header.Get("Host")
		}
		got := ""
		if route := rt.shedRoutes.find(r.Method, r.URL.Path); route != nil && rt.isSheddable(r, route) {
			got = route.Path
		}
		if got != tt.route {
			t.Errorf("%s %s %v: route %q, want %q", tt.method, tt.path, tt.header, got, tt.route)
		}
	}
	if r, _ := http.NewRequestWithContext(context.Background(), "GET", "http://127.0.0.1/notes", nil); rt.Shedding() || rt.Shed(r) != nil {
		t.Error("a request is rejected on a calm CPU")
	}
}
