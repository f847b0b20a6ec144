package listener

import (
	"bytes"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Shedder responds to requests before net/http parses them: it rejects them, or answers them from
// memory. What net/http, compression and echo do for a rejected request takes several times as long
// as its rejection, and their stacks stay for as long as the rejection is delayed. What net/http does
// for a response from memory takes twice as long as all the rest.
type Shedder interface {
	// Answer responds to r over c from memory, and reports whether it did. It does not wait. It does
	// not keep r.
	Answer(r *http.Request, c *Conn) bool
	// Shedding reports whether Shed may reject requests now. It is called for every request, so it
	// must cost nearly nothing.
	Shedding() bool
	// Shed returns a function that rejects r, or nil if net/http is to handle r. It does not keep r.
	// The function may wait. It sends the response over c, or returns false if net/http is to handle
	// r after all.
	Shed(r *http.Request) (reject func(c *Conn) bool)
}

// shedding is what a Conn needs in order to reject requests.
type shedding struct {
	Shedder
	tracker *Tracker
	// headerTimeout and idleTimeout are those of the http.Server.
	headerTimeout, idleTimeout time.Duration
}

// netHTTPBuffer is the length of the buffer into which net/http reads requests. If a read is as
// long, the buffer is empty: the read begins with a new request, and not amid one that net/http has
// a part of.
const netHTTPBuffer = 4 << 10

// respond responds to the request in p, if p is exactly one simple request and the Shedder rejects it
// or can answer it. It reports whether it did.
//
// The first request of a connection is only rejected. net/http would else take the connection for
// one that has asked nothing yet, for which its Shutdown waits.
func (c *Conn) respond(p []byte) bool {
	answer := c.known && bytes.HasPrefix(p, []byte(http.MethodGet))
	if !answer && !c.shedder.Shedding() {
		return false
	}
	r := simpleRequests.Get().(*simpleRequest)
	defer r.drop()
	if !r.parse(p) {
		return false
	}
	r.RemoteAddr = c.remoteAddress()
	var reject func(*Conn) bool
	if c.shedder.Shedding() {
		reject = c.shedder.Shed(&r.Request)
	}
	if reject == nil && !answer {
		return false
	}
	c.shedder.tracker.Track(c, http.StateActive)
	if reject == nil && !c.shedder.Answer(&r.Request, c) || reject != nil && !reject(c) {
		return false
	}
	c.shedder.tracker.Track(c, http.StateIdle)
	c.unseen = true
	_ = c.SetReadDeadline(time.Now().Add(c.shedder.idleTimeout))
	return true
}

// passOn sets the read deadline of a request that net/http handles after others that it has not
// seen. net/http sets one itself, except for the first request that it sees.
func (c *Conn) passOn() {
	if c.unseen {
		c.unseen = false
		_ = c.SetReadDeadline(time.Now().Add(c.shedder.headerTimeout))
	}
}

// remoteAddress returns the client's address and port, as http.Request has them.
func (c *Conn) remoteAddress() string {
	if c.remote == "" {
		c.remote = c.RemoteAddr().String()
	}
	return c.remote
}

// maxSimpleHeaders is how many headers a simple request may have.
const maxSimpleHeaders = 32

// A simpleRequest is a request whose length is beyond doubt, and which asks nothing of the
// connection. Browsers, proxies and programs send little else. Its fields are those that net/http
// would set, but for the body, which is none, and the context.
type simpleRequest struct {
	http.Request
	url    url.URL
	values [maxSimpleHeaders]string
}

var simpleRequests = sync.Pool{New: func() any {
	r := &simpleRequest{}
	r.URL, r.Header, r.Body = &r.url, http.Header{}, http.NoBody
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	return r
}}

// drop gives r back.
func (r *simpleRequest) drop() {
	clear(r.Header)
	clear(r.values[:])
	r.Method, r.RequestURI, r.Host, r.RemoteAddr, r.url, r.ContentLength = "", "", "", "", url.URL{}, 0
	simpleRequests.Put(r)
}

var simpleMethods = []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodPut, http.MethodDelete}

// parse parses p, which must be exactly one simple request. It reports false if p is anything else,
// such as a part of a request, or if another parser might see anything else in it.
func (r *simpleRequest) parse(p []byte) bool {
	end := bytes.Index(p, headerEnd)
	if end < 0 {
		return false
	}
	line, rest, _ := strings.Cut(string(p[:end+2]), "\r\n")
	if !r.parseLine(line) || !r.parseHeader(rest) {
		return false
	}
	return int64(len(p)-end-len(headerEnd)) == r.ContentLength
}

// parseLine parses the first line. The path must be in plain letters.
func (r *simpleRequest) parseLine(line string) bool {
	method, target, _ := strings.Cut(line, " ")
	target, version, _ := strings.Cut(target, " ")
	if version != "HTTP/1.1" || !strings.HasPrefix(target, "/") {
		return false
	}
	for _, known := range simpleMethods {
		if method == known {
			r.Method = method
		}
	}
	r.RequestURI = target
	r.url.Path, r.url.RawQuery, _ = strings.Cut(target, "?")
	return r.Method != "" && visible(target) && !strings.ContainsAny(r.url.Path, "%#;\\") &&
		!strings.Contains(target, "#")
}

// parseHeader parses the lines of the header, each of which ends with \r\n.
func (r *simpleRequest) parseHeader(lines string) bool {
	n := 0
	for lines != "" {
		line, rest, _ := strings.Cut(lines, "\r\n")
		lines = rest
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !ok || !isName(name) || !isValue(value) || n == maxSimpleHeaders {
			return false
		}
		if !r.addHeader(textproto.CanonicalMIMEHeaderKey(name), value, n) {
			return false
		}
		n++
	}
	return r.Host != ""
}

// addHeader adds the n-th header. It reports false if a simple request has no such header.
func (r *simpleRequest) addHeader(name, value string, n int) bool {
	first := r.Header[name] == nil
	switch name {
	case "Host": // net/http keeps it apart
		first, r.Host = r.Host == "", value
		return first && isHost(value)
	case "Content-Length":
		length, err := strconv.ParseUint(value, 10, 12)
		r.ContentLength = int64(length)
		if !first || err != nil {
			return false
		}
	case "Connection":
		if !strings.EqualFold(value, "keep-alive") {
			return false
		}
	case "Transfer-Encoding", "Trailer", "Te", "Upgrade", "Expect", "Http2-Settings", "Proxy-Connection":
		return false
	}
	r.values[n] = value
	if first {
		r.Header[name] = r.values[n : n+1 : n+1]
	} else {
		r.Header[name] = append(r.Header[name], value)
	}
	return true
}

// visible reports whether text has visible ASCII characters alone.
func visible(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] >= 0x7f {
			return false
		}
	}
	return true
}

// isName reports whether name is made of the characters that names of headers have in practice.
func isName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return name != ""
}

// isHost reports whether host is made of the characters that names and addresses have in practice.
func isHost(host string) bool {
	for i := range len(host) {
		if c := host[i : i+1]; !isName(c) && !strings.Contains(".:[]_", c) {
			return false
		}
	}
	return host != ""
}

// isValue reports whether value has no control characters but tabs.
func isValue(value string) bool {
	for i := range len(value) {
		if value[i] < ' ' && value[i] != '\t' || value[i] == 0x7f {
			return false
		}
	}
	return true
}
