package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"notesd/internal/testkit"
	"notesd/internal/testserver"
	"notesd/pool"
	"notesd/server/admin"
	"notesd/server/api"
	"notesd/server/apidoc/apidoctest"
	"notesd/server/auth"
	"notesd/server/events"
	"notesd/server/router"
	"notesd/store"
	"notesd/store/storetest"
)

// The API's types.
type (
	noteJSON = api.Note
	userJSON = api.User
	stamp    = router.Time
)

// failure is the body of an error.
type failure struct {
	Success    bool              `json:"success"`
	Error      string            `json:"error"`
	Reason     string            `json:"reason"`
	WaitedMs   *int64            `json:"waitedMs"`
	RetryAfter int               `json:"retryAfter"`
	Fields     map[string]string `json:"fields"`
	Data       any               `json:"data"`
	RequestID  string            `json:"requestId"`
}

// The limits that clients meet.
const (
	smallBody        = 16 << 10 // bytes
	bodyPatience     = 10 * time.Second
	minRate          = 16 << 10 // bytes a second
	sendGrace        = 30 * time.Second
	sendSlack        = time.Second
	slowRequest      = time.Second
	statusClientGone = 499

	maxSearch, maxSearchTags, maxCursor = 1000, 100, 16 << 10
	partBytes                           = 1 << 20
	maxMethod                           = 16

	bodyCopies, readCopies = 10, 8
)

// contract is the routes of a server as it ships.
func contract(t *testing.T) []router.Route {
	t.Helper()
	return slices.Concat(makeSite(t, storetest.Open(t, storetest.SQLite(t))).server.doors()...)
}

// site is a whole server on a free port, on a real store.
type site struct {
	t        testing.TB
	url      string
	server   *Server
	pool     *pool.Pool
	store    *store.Store
	database string // its URL
	log      *testkit.LogBuffer
	stop     func() // SIGTERM; returns when the server has left
}

// options changes what a site is made with.
type options func(*Config, *Deps)

// newSite serves db until the test ends. Without a Redis in the options, sessions and limits are in db.
func newSite(t testing.TB, db *store.Store, edits ...options) *site {
	t.Helper()
	s := makeSite(t, db, edits...)
	s.serve()
	s.awaitReady()
	return s
}

// makeSite makes a site that does not serve yet, for tests that change its server first.
func makeSite(t testing.TB, db *store.Store, edits ...options) *site {
	t.Helper()
	log := &testkit.LogBuffer{}
	cfg := Config{Version: "test", RequestTimeout: 2 * time.Minute, ShutdownTimeout: 5 * time.Second, BodyLimit: 10 << 20,
		CORSOrigins: []string{"http://localhost:3000"}, RateLimitMax: 100_000, RateLimitWindow: time.Minute,
		RegistrationOpen: true, SessionSecrets: []string{"a secret of at least thirty-two characters"}, AdminToken: adminToken,
		MetricsCollection: true, Web: true, Machine: admin.Machine{Cores: 2}}
	deps := Deps{Store: db, Log: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, edit := range edits {
		edit(&cfg, &deps)
	}
	if deps.Pool == nil {
		deps.Pool = newPool(deps.Log)
	}
	s, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	return &site{t: t, server: s, pool: deps.Pool, store: db, log: log}
}

// newPool is a site's pool, unless its options say otherwise.
func newPool(log *slog.Logger) *pool.Pool {
	return pool.New(pool.Config{Shards: 2, WorkersPerShard: 4, QueueLength: 64, QueueTimeout: time.Minute,
		Passthrough: http.ErrAbortHandler, Log: log})
}

// serve serves until the test ends, or calls stop.
func (s *site) serve() {
	s.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.server.Serve(ctx, ln.(*net.TCPListener)) }()
	s.url = "http://" + ln.Addr().String()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("Serve() = %v, want nil", err)
		}
	})
	s.t.Cleanup(s.stop)
}

func (s *site) awaitReady() {
	s.t.Helper()
	probe := s.visitor()
	testkit.Eventually(s.t, "readiness", func() bool { return probe.get("/readyz").status == http.StatusOK })
}

// trustedCopies are those of a process that is alone.
func trustedCopies() *api.ResponseCache {
	k := api.NewResponseCache(1<<20, 1)
	k.LeaseUntil(time.Now().Add(time.Hour))
	return k
}

// The names of the session cookie.
const sessionCookie, hostCookie = "sessionId", "__Host-sessionId"

// newToken returns a well-formed token of no session.
func newToken() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// recordedAlerts are alerts whose events go to a channel.
func recordedAlerts() (*admin.Alerts, chan admin.Event) {
	alerts, events := admin.NewAlerts("", "", slog.New(slog.DiscardHandler)), make(chan admin.Event, 100)
	alerts.OnEvent = func(e admin.Event) { events <- e }
	return alerts, events
}

// nextEvent waits for an event.
func nextEvent(t testing.TB, events chan admin.Event) admin.Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event within 10 s")
		return admin.Event{}
	}
}

// uncopied makes the server answer nothing from memory.
func uncopied(_ *Config, deps *Deps) { deps.Cache = nil }

// eachSite runs test on a site for each engine.
func eachSite(t *testing.T, test func(t *testing.T, s *site), edits ...options) {
	t.Helper()
	storetest.Engines(t, func(t *testing.T, url string) { test(t, onDatabase(t, url, edits...)) })
}

// eachVaultSite runs test on a site for each place that sessions and limits are kept in.
func eachVaultSite(t *testing.T, test func(t *testing.T, s *site), edits ...options) {
	t.Helper()
	eachSite(t, test, edits...)
	t.Run("Redis", func(t *testing.T) { test(t, onSQLite(t, append(edits, onRedis(t, testserver.Redis(t)))...)) })
}

// onSQLite is a site for tests that don't depend on the engine.
func onSQLite(t testing.TB, edits ...options) *site {
	t.Helper()
	return onDatabase(t, storetest.SQLite(t), edits...)
}

func onDatabase(t testing.TB, url string, edits ...options) *site {
	t.Helper()
	copies := trustedCopies()
	hub := events.NewHub(testkit.Log(t))
	keeps := func(_ *Config, deps *Deps) { deps.Cache, deps.Hub = copies, hub }
	s := newSite(t, storetest.OpenWith(t, url, copies, hub), append([]options{keeps}, edits...)...)
	s.database = url
	return s
}

// execute changes the database behind the server's back.
func (s *site) execute(t *testing.T, statement string, args ...any) {
	t.Helper()
	driver, url := "sqlite", s.database+"?_pragma=busy_timeout(5000)" // the server may write at this moment
	if strings.HasPrefix(s.database, "postgres") {
		driver, url = "pgx", s.database
	}
	db, err := sql.Open(driver, url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
	s.server.deps.Cache.InvalidateAll()
}

// client is one browser: a cookie jar of its own.
type client struct {
	t             testing.TB
	url           string
	http          *http.Client
	authorization string // the Authorization header that it sends; empty: none
}

// visitor is a client that is not signed in.
func (s *site) visitor() *client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &client{t: s.t, url: s.url, http: &http.Client{Jar: jar, Transport: transport}}
}

// adminToken is a site's, unless its options say otherwise.
const adminToken = "a token for the administrators of a test"

// administrator is a visitor with the administrators' token.
func (s *site) administrator() *client { return s.visitor().asAdmin() }

// asAdmin is the same client with the administrators' token.
func (c *client) asAdmin() *client { return c.authorized("Bearer " + adminToken) }

// authorized is the same client with an Authorization header.
func (c *client) authorized(header string) *client {
	same := *c
	same.authorization = header
	return &same
}

// member is a client that has just signed up.
func (s *site) member(email string) *client {
	s.t.Helper()
	c := s.visitor()
	c.post("/api/auth/register", map[string]any{"email": email, "password": "correct horse"}).want(http.StatusCreated)
	return c
}

// someone is a client that is signed in to a new account. Unlike a member it
// has no password: hashing one costs more than most tests.
func (s *site) someone() *client {
	s.t.Helper()
	u, err := s.store.CreateUser(s.t.Context(), rand.Text()+"@example.com", "someone", "no hash fits")
	if err != nil {
		s.t.Fatal(err)
	}
	return s.as(u.ID)
}

// as is a client that is signed in as userID.
func (s *site) as(userID string) *client {
	s.t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, s.url, nil)
	if err := s.server.accounts.Sessions.SignIn(s.t.Context(), w, r, auth.NewSession{UserID: userID}); err != nil {
		s.t.Fatal(err)
	}
	c := s.visitor()
	c.http.Jar.SetCookies(r.URL, w.Result().Cookies())
	return c
}

// token is the client's session cookie.
func (c *client) token() string {
	c.t.Helper()
	at, err := url.Parse(c.url)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, cookie := range c.http.Jar.Cookies(at) {
		if cookie.Name == "sessionId" {
			return cookie.Value
		}
	}
	c.t.Fatal("no session cookie")
	return ""
}

// in is the same client, whose failures are t's.
func (c *client) in(t testing.TB) *client {
	same := *c
	same.t = t
	return &same
}

// reply is what came back.
type reply struct {
	t       testing.TB
	call    string
	status  int
	header  http.Header
	text    string
	cookies []*http.Cookie
}

// request sends body: nil, text as it is, or anything else as JSON.
func (c *client) request(method, path string, body any, headers ...string) reply {
	c.t.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	case []byte:
		in = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			c.t.Fatal(err)
		}
		in = bytes.NewReader(text)
	}
	r, err := http.NewRequest(method, c.url+path, in)
	if err != nil {
		c.t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.authorization != "" {
		r.Header.Set("Authorization", c.authorization)
	}
	for i := 0; i < len(headers); i += 2 {
		switch headers[i] {
		case "Host":
			r.Host = headers[i+1]
		case "Content-Type":
			r.Header.Del("Content-Type")
		}
		r.Header.Add(headers[i], headers[i+1])
	}
	return c.do(r)
}

// do sends r and reads the whole answer.
func (c *client) do(r *http.Request) reply {
	c.t.Helper()
	call := r.Method + " " + r.URL.RequestURI()
	answer, err := c.http.Do(r)
	if err != nil {
		c.t.Fatalf("%s: %v", call, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		c.t.Fatalf("%s: %v", call, err)
	}
	if err := apidoctest.CheckAnswer(r, c.http.Jar, answer, text); err != nil {
		c.t.Errorf("%s is not as /api/openapi.json says: %v", call, err)
	}
	return reply{c.t, call, answer.StatusCode, answer.Header, string(text), answer.Cookies()}
}

func (c *client) get(path string, headers ...string) reply {
	c.t.Helper()
	return c.request(http.MethodGet, path, nil, headers...)
}

func (c *client) post(path string, body any, headers ...string) reply {
	c.t.Helper()
	return c.request(http.MethodPost, path, body, headers...)
}

func (c *client) patch(path string, body any, headers ...string) reply {
	c.t.Helper()
	return c.request(http.MethodPatch, path, body, headers...)
}

func (c *client) delete(path string, headers ...string) reply {
	c.t.Helper()
	return c.request(http.MethodDelete, path, nil, headers...)
}

// create makes a note and returns it.
func (c *client) create(note map[string]any) noteJSON {
	c.t.Helper()
	return c.post("/api/notes", note).want(http.StatusCreated).note()
}

// want fails the test unless the status is as said.
func (r reply) want(status int) reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("%s = %d %s, want %d", r.call, r.status, r.text, status)
	}
	return r
}

// fails fails the test unless the answer is a failure with this status and text.
func (r reply) fails(status int, text string) reply {
	r.t.Helper()
	var f failure
	r.want(status).decode(&f)
	if f.Success || f.Error != text {
		r.t.Fatalf("%s = %s, want error %q", r.call, r.text, text)
	}
	return r
}

// number is a header's whole number.
func (r reply) number(header string) (int, error) { return strconv.Atoi(r.header.Get(header)) }

func (r reply) decode(v any) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(r.text), v); err != nil {
		r.t.Fatalf("%s: %v in %s", r.call, err, r.text)
	}
}

// keys are the names of the answer's members.
func (r reply) keys() string {
	r.t.Helper()
	var members map[string]any
	r.decode(&members)
	return strings.Join(slices.Sorted(maps.Keys(members)), ",")
}

func (r reply) note() noteJSON {
	r.t.Helper()
	var in struct{ Data noteJSON }
	r.decode(&in)
	return in.Data
}

func (r reply) notes() []noteJSON {
	r.t.Helper()
	var in struct{ Data []noteJSON }
	r.decode(&in)
	return in.Data
}

// line is the log line of r's request. It is written when the answer has been sent.
func (s *site) line(r reply) map[string]any {
	r.t.Helper()
	var found map[string]any
	testkit.Eventually(r.t, "a log line of "+r.call, func() bool {
		for _, line := range s.log.With("request") {
			if line["request_id"] == r.header.Get("X-Request-Id") {
				found = line
			}
		}
		return found != nil
	})
	return found
}

// wire is a connection on which a test says byte for byte what it sends.
type wire struct {
	t testing.TB
	net.Conn
	in *bufio.Reader
}

func (s *site) dial(t testing.TB) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return &wire{t, conn, bufio.NewReader(conn)}
}

// wire is dial from a loopback address of the test's choice.
func (s *site) wire(t *testing.T, from string) *wire {
	t.Helper()
	conn := s.connect(t, from)
	return &wire{t, conn, bufio.NewReader(conn)}
}

func (w *wire) send(format string, args ...any) {
	w.t.Helper()
	if _, err := fmt.Fprintf(w, format, args...); err != nil {
		w.t.Fatal(err)
	}
}

// header sends a request's header. Its body is up to the test.
func (w *wire) header(method, path string, c *client, lines ...string) {
	w.t.Helper()
	if c != nil {
		lines = append(lines, "Cookie: sessionId="+c.token())
	}
	lines = append([]string{method + " " + path + " HTTP/1.1", "Host: localhost"}, lines...)
	w.send("%s\r\n\r\n", strings.Join(lines, "\r\n"))
}

// reply reads an answer.
func (w *wire) reply() reply {
	w.t.Helper()
	answer, err := http.ReadResponse(w.in, nil)
	if err != nil {
		w.t.Fatalf("read the answer: %v", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		w.t.Fatalf("read the answer: %v", err)
	}
	if answer.Close { // which takes the header with it
		answer.Header.Set("Connection", "close")
	}
	return reply{w.t, "request by wire", answer.StatusCode, answer.Header, string(text), answer.Cookies()}
}

// closed waits until the server has closed the connection, with nothing more said.
func (w *wire) closed() {
	w.t.Helper()
	if rest, err := io.ReadAll(w.in); len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		w.t.Errorf("the connection goes on with %q, %v, want it closed", rest, err)
	}
}
