package server

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"notesd/server/listener"
)

// uncounted makes the server count nobody's requests.
func uncounted(cfg *Config, _ *Deps) { cfg.RateLimitMax = 0 }

// What the express lane answers is what all other requests get, to the letter: those that bring a slash too many
// take the long way.
func TestExpress(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, uncounted)
	c := s.someone()
	id := c.create(map[string]any{"title": "title", "content": strings.Repeat("content ", 1000)}).ID
	for _, path := range []string{"/api/health", "/healthz", "/api/notes", "/api/notes/" + id} {
		for name, header := range map[string][]string{
			"plain":         {"Accept-Encoding", "identity"},
			"gzip":          {"Accept-Encoding", "gzip"},
			"zstd":          {"Accept-Encoding", "gzip, deflate, br, zstd"},
			"of no version": {"Accept-Encoding", "identity", "If-None-Match", `"none"`},
			"of any":        {"Accept-Encoding", "identity", "If-None-Match", `*`},
		} {
			c.get(path, header...) // to have it copied
			short, long := c.get(path, header...), c.get(path+"/", header...)
			for _, r := range []reply{short, long} {
				r.header.Del("X-Request-Id")
				r.header.Del("Date")
			}
			if diff := cmp.Diff(long.header, short.header); diff != "" || long.status != short.status {
				t.Errorf("%s %s: %d, by the long way %d; headers (- long, + express):\n%s", path, name, short.status, long.status, diff)
			}
			if !strings.Contains(path, "health") && short.text != long.text {
				t.Errorf("%s %s: %q, by the long way %q", path, name, short.text, long.text)
			}
		}
	}
	kinds := s.server.deps.Cache.Shared().Stats().Kinds
	if kinds["note"].Hits == 0 || kinds["list"].Hits == 0 || kinds["session"].Hits == 0 {
		t.Errorf("found in memory: %+v, want some of each", kinds)
	}
}

// nowhere is a connection that takes everything.
type nowhere struct {
	header http.Header
	status int
}

func (w *nowhere) Header() http.Header               { return w.header }
func (w *nowhere) Write(p []byte) (int, error)       { return len(p), nil }
func (w *nowhere) WriteHeader(status int)            { w.status = status }
func (w *nowhere) SetWriteDeadline(time.Time) error  { return nil }
func (w *nowhere) SetReadDeadline(_ time.Time) error { return nil }

// noConn is a connection that nobody uses.
type noConn struct{ net.Conn }

// What the server itself adds to the cost of answers from memory, log line included.
func BenchmarkExpress(b *testing.B) {
	s := onSQLite(b, uncounted, func(_ *Config, deps *Deps) {
		deps.Log = slog.New(slog.NewJSONHandler(io.Discard, nil))
	})
	c := s.someone()
	id := ""
	for range 50 {
		id = c.create(map[string]any{"title": "title", "content": strings.Repeat("content ", 50)}).ID
	}
	for name, path := range map[string]string{"health": "/api/health", "get": "/api/notes/" + id, "list": "/api/notes?limit=50"} {
		c.get(path)
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Cookie", sessionCookie+"="+c.token())
		r.Host = "localhost" // example.com is refused in development
		r = r.WithContext(listener.WithConn(r.Context(), &listener.Conn{Conn: noConn{}}))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := nowhere{header: make(http.Header)}
				if s.server.http.Handler.ServeHTTP(&w, r); w.status != http.StatusOK {
					b.Fatalf("%s = %d, want 200", path, w.status)
				}
			}
		})
	}
}

// What a create costs, the long way of a list, and a note that is not in memory.
func BenchmarkRequests(b *testing.B) {
	s := onSQLite(b, uncounted, uncopied, func(_ *Config, deps *Deps) {
		deps.Log = slog.New(slog.NewJSONHandler(io.Discard, nil))
	})
	c := s.someone()
	id := ""
	for range 50 {
		id = c.create(map[string]any{"title": "title", "content": strings.Repeat("content ", 50)}).ID
	}
	body := `{"title":"title","content":"` + strings.Repeat("content ", 50) + `"}`
	for _, request := range []struct {
		name, method, path, body string
		status                   int
	}{
		{"create", "POST", "/api/notes", body, http.StatusCreated},
		{"get", "GET", "/api/notes/" + id, "", http.StatusOK},
		{"list", "GET", "/api/notes?limit=50", "", http.StatusOK},
	} {
		b.Run(request.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(request.method, request.path, strings.NewReader(request.body))
				r.Header.Set("Cookie", sessionCookie+"="+c.token())
				r.Host = "localhost"
				r = r.WithContext(listener.WithConn(r.Context(), &listener.Conn{Conn: noConn{}}))
				w := nowhere{header: make(http.Header)}
				if s.server.http.Handler.ServeHTTP(&w, r); w.status != request.status {
					b.Fatalf("%s %s = %d, want %d", request.method, request.path, w.status, request.status)
				}
			}
		})
	}
}
