package server

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/notes"
)

func bodyLimit(n int64) options { return func(cfg *Config, _ *Deps) { cfg.BodyLimit = n } }

// noteOf is a note's JSON of exactly n bytes.
func noteOf(n int) string {
	const frame = `{"title":"a","content":""}`
	return frame[:len(frame)-2] + strings.Repeat("x", n-len(frame)) + `"}`
}

// The last body that fits and the first that does not, with and without a length said before.
func TestBodyLimit(t *testing.T) {
	t.Parallel()
	const limit = 1000
	s := onSQLite(t, bodyLimit(limit))
	c := s.someone()
	path := "/api/notes/" + c.create(map[string]any{"title": "a", "content": ""}).ID
	tests := []struct {
		name, method, path string
		bytes, status      int
	}{
		{"fits", "POST", "/api/notes", limit, 201},
		{"one more", "POST", "/api/notes", limit + 1, 413},
		{"patch fits", "PATCH", path, limit, 200},
		{"patch of one more", "PATCH", path, limit + 1, 413},
		{"patch of no note", "PATCH", "/api/notes/none", limit + 1, 413},
		{"sign-up", "POST", "/api/auth/register", limit + 1, 413},
		{"sign-in", "POST", "/api/auth/login", limit + 1, 413},
		{"vitals", "POST", "/api/metrics/vitals", limit + 1, 413},
		{"ten times", "POST", "/api/notes", 10 * limit, 413},
		{"4 MB", "POST", "/api/notes", 4 << 20, 413},
	}
	for _, tt := range tests {
		for _, chunked := range []bool{false, true} {
			name := tt.name
			if chunked {
				name += ", chunked"
			}
			t.Run(name, func(t *testing.T) {
				var body io.Reader = strings.NewReader(noteOf(tt.bytes))
				if chunked {
					body = struct{ io.Reader }{body} // hides the length
				}
				r, err := http.NewRequest(tt.method, s.url+tt.path, body)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/json")
				if got := c.in(t).do(r).want(tt.status); tt.status == http.StatusRequestEntityTooLarge {
					got.fails(tt.status, "Request body too large")
				}
			})
		}
	}
}

// Credentials and web vitals have a bound of their own, whatever BODY_PARSER_LIMIT is.
func TestSmallBodies(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	for path, body := range map[string]string{
		"/api/auth/register":  `{"email":"a@example.com","password":"` + strings.Repeat(`\u0061`, notes.MaxPassword) + `"}`,
		"/api/auth/login":     `{"email":"a@example.com","password":"` + strings.Repeat(`\u0061`, notes.MaxPassword) + `"}`,
		"/api/metrics/vitals": `{"name":"CLS","value":0.1,"rating":"good"}`,
	} {
		for _, chunked := range []bool{false, true} {
			for _, bytes := range []int{len(body), smallBody, smallBody + 1} {
				var in io.Reader = strings.NewReader(body + strings.Repeat(" ", bytes-len(body)))
				if chunked {
					in = struct{ io.Reader }{in} // hides the length
				}
				r, err := http.NewRequest("POST", s.url+path, in)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/json")
				if got := s.visitor().in(t).do(r); (got.status == http.StatusRequestEntityTooLarge) != (bytes > smallBody) {
					t.Errorf("%s with %d bytes, chunked %v: %d, want 413 above %d", path, bytes, chunked, got.status, smallBody)
				}
			}
		}
	}
	w := s.dial(t)
	w.header("POST", "/api/auth/login", nil, "Content-Length: "+strconv.Itoa(smallBody+1), "Content-Type: application/json")
	w.reply().fails(http.StatusRequestEntityTooLarge, "Request body too large")
}

// A length that is too large is refused before a byte of the body has come, by whomever it is sent.
func TestTooLargeAtOnce(t *testing.T) {
	t.Parallel()
	s := onSQLite(t, bodyLimit(1000))
	c := s.someone()
	tests := []struct {
		name    string
		client  *client
		path    string
		headers []string
	}{
		{"signed in", c, "/api/notes", []string{"Content-Length: 1001"}},
		{"signed out", nil, "/api/notes", []string{"Content-Length: 1001"}},
		{"sign-in", nil, "/api/auth/login", []string{"Content-Length: 1001"}},
		{"a terabyte", c, "/api/notes", []string{"Content-Length: 1000000000000"}},
		{"asks before sending", c, "/api/notes", []string{"Content-Length: 1001", "Expect: 100-continue"}},
		{"gzip accepted", c, "/api/notes", []string{"Content-Length: 1001", "Accept-Encoding: gzip"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := s.dial(t)
			began := time.Now()
			w.header("POST", tt.path, tt.client, append(tt.headers, "Content-Type: application/json")...)
			r := w.reply().fails(http.StatusRequestEntityTooLarge, "Request body too large")
			if took := time.Since(began); testkit.TooLong(took, 0, time.Second) {
				t.Errorf("refused after %v, want at once", took)
			}
			wantHeader(t, r, "Connection", "close")
			w.closed()
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("closed after %v, want some 2 s", took)
			}
		})
	}
}

// Who asks before sending is told to go on, and then served.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	w, body := s.dial(t), noteOf(100)
	w.header("POST", "/api/notes", s.someone(), "Content-Length: 100", "Content-Type: application/json", "Expect: 100-continue")
	if line, err := w.in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("got %q, %v, want 100 Continue", line, err)
	}
	_, _ = w.in.ReadString('\n')
	w.send("%s", body)
	w.reply().want(http.StatusCreated)
}

// A client that sends everything before it reads gets to read why it was
// refused, whatever the reason, and not a reset connection.
func TestRefusalCanBeRead(t *testing.T) {
	t.Parallel()
	const large = 4 << 20
	s := onSQLite(t, bodyLimit(6<<20), func(cfg *Config, _ *Deps) { cfg.RateLimitMax, cfg.RateLimitWindow = 10, time.Hour })
	limited := s.someone()
	for range 10 {
		limited.get("/api/notes")
	}
	tests := []struct {
		name, method, path string
		client             *client
		bytes              int
		lines              []string
		status             int
	}{
		{"too large", "POST", "/api/notes", s.someone(), 12 << 20, nil, 413},
		{"signed out", "POST", "/api/notes", nil, large, nil, 401},
		{"no route", "POST", "/api/none", nil, large, nil, 404},
		{"no route, too large", "POST", "/api/none", nil, 12 << 20, nil, 404},
		{"foreign origin", "POST", "/api/notes", s.someone(), large, []string{"Origin: https://evil.example"}, 403},
		{"over the limit", "POST", "/api/notes", limited, large, nil, 429},
		{"no administrator", "POST", "/api/metrics/reset", nil, large, nil, 401},
		{"a body that nobody reads", "POST", "/api/auth/logout", nil, large, nil, 200},
		{"a short body that nobody reads", "POST", "/api/auth/logout", nil, 100, nil, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := s.dial(t)
			w.header(tt.method, tt.path, tt.client, append(tt.lines, "Content-Type: application/json",
				"Content-Length: "+strconv.Itoa(tt.bytes))...)
			time.Sleep(100 * time.Millisecond) // the answer is ready before the body comes
			for rest := noteOf(tt.bytes); rest != ""; {
				n := min(len(rest), 256<<10)
				w.send("%s", rest[:n])
				rest = rest[n:]
				time.Sleep(10 * time.Millisecond)
			}
			w.reply().want(tt.status)
		})
	}
}

// A body that was promised and never comes keeps no connection for long, even
// where nobody asked for it: the answer comes without.
func TestBodyThatNeverComes(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	path := "/api/notes/" + c.create(map[string]any{"title": "a", "content": ""}).ID + "/pin"
	tests := []struct {
		name, method, path string
		client             *client
		lines              []string
		status             int
	}{
		{"flip", "PATCH", path, c, []string{"Content-Length: 10"}, 200},
		{"flip, large", "PATCH", path, c, []string{"Content-Length: 1000000"}, 200},
		{"flip, chunked", "PATCH", path, c, []string{"Transfer-Encoding: chunked"}, 200},
		{"signed out", "POST", "/api/notes", nil, []string{"Content-Length: 10"}, 401},
		{"no route", "POST", "/api/none", nil, []string{"Content-Length: 10"}, 404},
		{"health", "GET", "/api/health", nil, []string{"Content-Length: 10"}, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := s.dial(t)
			began := time.Now()
			w.header(tt.method, tt.path, tt.client, tt.lines...)
			_ = w.SetReadDeadline(time.Now().Add(8 * time.Second))
			w.reply().want(tt.status)
			w.closed()
			if took := time.Since(began); took > 6*time.Second {
				t.Errorf("closed after %v, want some 2 s", took)
			}
		})
	}
}

// A body that is not what its header promised is malformed. Where the client
// seems to have gone midway the connection is closed: no answer looks like success.
func TestBrokenBody(t *testing.T) {
	t.Parallel()
	s := onSQLite(t)
	c := s.someone()
	tests := []struct {
		name, line, body string
		gone             bool
	}{
		{"shorter than said", "Content-Length: 100", `{"title":"a","content":"b"}`, true},
		{"no last chunk", "Transfer-Encoding: chunked", "1a\r\n" + `{"title":"a","content":""}` + "\r\n", true},
		{"bad chunk length", "Transfer-Encoding: chunked", "zz\r\n{}\r\n0\r\n\r\n", false},
		{"chunk longer than said", "Transfer-Encoding: chunked", "2\r\n{}{}{}\r\n0\r\n\r\n", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := s.dial(t)
			w.header("POST", "/api/notes", c, tt.line, "Content-Type: application/json")
			w.send("%s", tt.body)
			if err := w.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if tt.gone {
				w.closed()
			} else {
				w.reply().fails(http.StatusBadRequest, "Malformed JSON")
			}
		})
	}
	if notes := c.get("/api/notes").notes(); len(notes) > 0 {
		t.Errorf("broken bodies made %d notes", len(notes))
	}
}
