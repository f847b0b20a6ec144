package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"notesd/server/apidoc/apidoctest"
)

const password = "correct horse"

// A client is a browser: it keeps cookies, and connections until the test ends.
type client struct {
	t    testing.TB
	url  string
	http *http.Client
	// unchecked: answers are not compared with the API's document. It is for a test that measures.
	unchecked bool
}

// visitor is a client that is not signed in.
func (p *process) visitor() *client {
	p.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	transport := &http.Transport{}
	p.t.Cleanup(transport.CloseIdleConnections)
	return &client{t: p.t, url: p.url, http: &http.Client{Jar: jar, Transport: transport, Timeout: patience}}
}

// administrator is a visitor with adminToken.
func (p *process) administrator() *client {
	p.t.Helper()
	return p.visitor().as("Authorization", "Bearer "+adminToken)
}

// member is a client that has just signed up.
func (p *process) member(email string) *client {
	p.t.Helper()
	c := p.visitor()
	c.post("/api/auth/register", credentials(email, password)).want(http.StatusCreated)
	return c
}

// on is the same browser at another replica: cookies know hosts, not ports.
func (c *client) on(p *process) *client { return &client{t: c.t, url: p.url, http: c.http} }

func credentials(email, password string) any {
	return map[string]string{"email": email, "password": password}
}

// signIn returns the answer to a sign-in.
func (c *client) signIn(email, password string) reply {
	c.t.Helper()
	return c.post("/api/auth/login", credentials(email, password))
}

// try sends a request; body is JSON already, or is made so, or nil for none.
// An empty header is not sent.
func (c *client) try(method, path string, body any, headers ...string) (reply, error) {
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		in = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return reply{}, err
		}
		in = bytes.NewReader(text)
	}
	r, err := http.NewRequest(method, c.url+path, in)
	if err != nil {
		return reply{}, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return reply{}, err
	}
	got, err := readReply(c.t, method+" "+path, answer)
	if err == nil && !c.unchecked {
		answer.Header.Del("Alt-Svc") // Caddy's, which offers HTTP/3
		if differs := apidoctest.CheckAnswer(r, c.http.Jar, answer, got.text); differs != nil {
			c.t.Errorf("%s is not as /api/openapi.json says: %v", got.call, differs)
		}
	}
	return got, err
}

// call is try for a request that has to be answered.
func (c *client) call(method, path string, body any, headers ...string) reply {
	c.t.Helper()
	r, err := c.try(method, path, body, headers...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

func (c *client) get(path string) reply {
	c.t.Helper()
	return c.call(http.MethodGet, path, nil)
}

func (c *client) post(path string, body any) reply {
	c.t.Helper()
	return c.call(http.MethodPost, path, body)
}

// create makes a note and returns its id.
func (c *client) create(title, content string) string {
	c.t.Helper()
	return c.post("/api/notes", note{Title: title, Content: content}).want(http.StatusCreated).note().ID
}

// titles are those of all notes, by the list.
func (c *client) titles() map[string]bool {
	c.t.Helper()
	titles := map[string]bool{}
	for title := range c.titleCounts() {
		titles[title] = true
	}
	return titles
}

// titleCounts says how many notes of each title there are, by the list.
func (c *client) titleCounts() map[string]int {
	c.t.Helper()
	counts := map[string]int{}
	for _, n := range c.get("/api/notes").want(http.StatusOK).notes() {
		counts[n.Title]++
	}
	return counts
}

// cookie is the Cookie header that the client sends.
func (c *client) cookie() string {
	u, err := url.Parse(c.url)
	if err != nil {
		c.t.Fatal(err)
	}
	var pairs []string
	for _, k := range c.http.Jar.Cookies(u) {
		pairs = append(pairs, k.Name+"="+k.Value)
	}
	return strings.Join(pairs, "; ")
}

// note is what the tests send and read of one.
type note struct {
	ID       string   `json:"id,omitempty"`
	Title    string   `json:"title"`
	Content  string   `json:"content"`
	Tags     []string `json:"tags,omitempty"`
	Revision int64    `json:"revision,omitempty"`
}

// reply is what came back.
type reply struct {
	t      testing.TB
	call   string
	status int
	header http.Header
	closes bool // the server said that it closes the connection
	text   []byte
}

func readReply(t testing.TB, call string, answer *http.Response) (reply, error) {
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return reply{t, call, answer.StatusCode, answer.Header, answer.Close, text}, err
}

// want fails the test unless the status is as said.
func (r reply) want(status int) reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("%s = %d %.500s, want %d", r.call, r.status, r.text, status)
	}
	return r
}

func (r reply) decode(v any) {
	r.t.Helper()
	if err := json.Unmarshal(r.text, v); err != nil {
		r.t.Errorf("%s: %v in %.500s", r.call, err, r.text) // not Fatal: some read in goroutines of their own
	}
}

func (r reply) note() note {
	r.t.Helper()
	var in struct{ Data note }
	r.decode(&in)
	return in.Data
}

func (r reply) notes() []note {
	r.t.Helper()
	var in struct{ Data []note }
	r.decode(&in)
	return in.Data
}

// failure is the envelope of a refusal.
type failure struct {
	Success                  bool
	Error, Reason, RequestID string
	RetryAfter               int
}

func (r reply) failure() failure {
	r.t.Helper()
	var f failure
	r.decode(&f)
	return f
}

// unavailable says what is wrong with a 503 that has to name a reason; empty: nothing.
func (r reply) unavailable(reason string) string {
	var f failure
	if err := json.Unmarshal(r.text, &f); err != nil {
		return fmt.Sprintf("%s = %d %.200s: %v", r.call, r.status, r.text, err)
	}
	if r.status != http.StatusServiceUnavailable || f.Reason != reason || r.header.Get("Retry-After") == "" {
		return fmt.Sprintf("%s = %d %.200s, Retry-After %q, want 503 %s with Retry-After", r.call, r.status, r.text,
			r.header.Get("Retry-After"), reason)
	}
	return ""
}

// A wire is one connection to a process, as a proxy keeps it: it is opened
// when needed, and no request is ever sent twice (net/http's client would, and
// so hide what this must show).
type wire struct {
	t      testing.TB
	addr   string
	cookie string
	conn   net.Conn
	in     *bufio.Reader
}

// wire is a connection of the client's own, not opened yet.
func (c *client) wire() *wire {
	return &wire{t: c.t, addr: strings.TrimPrefix(c.url, "http://"), cookie: c.cookie()}
}

// do sends one request; an empty body is none.
func (w *wire) do(method, path, body string, headers ...string) (reply, error) {
	if err := w.dial(); err != nil {
		return reply{}, err
	}
	r, err := w.exchange(method, path, body, headers)
	if err != nil || r.closes {
		w.close()
	}
	return r, err
}

// dial opens the connection unless it is open.
func (w *wire) dial() error {
	if w.conn != nil {
		return nil
	}
	conn, err := net.DialTimeout("tcp", w.addr, patience)
	if err != nil {
		return err
	}
	w.use(conn)
	return nil
}

// use has the wire send on conn.
func (w *wire) use(conn net.Conn) { w.conn, w.in = conn, bufio.NewReader(conn) }

func (w *wire) exchange(method, path, body string, headers []string) (reply, error) {
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r, err := http.NewRequest(method, "http://"+w.addr+path, in)
	if err != nil {
		return reply{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	if w.cookie != "" {
		r.Header.Set("Cookie", w.cookie)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	if err := w.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return reply{}, err
	}
	if err := r.Write(w.conn); err != nil {
		return reply{}, err
	}
	answer, err := http.ReadResponse(w.in, r)
	if err != nil {
		return reply{}, err
	}
	return readReply(w.t, method+" "+path, answer)
}

func (w *wire) close() {
	if w.conn != nil {
		_ = w.conn.Close() // nothing is lost with it
		w.conn = nil
	}
}
