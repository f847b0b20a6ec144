package router

import (
	"net/http"
	"strings"
	"sync/atomic"
)

// maxAccepts is the longest Accept-Encoding, in bytes, for which an encoded body is cached. The
// header is stored with the body.
const maxAccepts = 128

// An Entry is a response that is kept in memory as it is sent. It must not be changed.
type Entry struct {
	// ETag is the entity tag, with its quotes; empty: the response has none.
	ETag string
	Link string // the Link header, or ""
	Body []byte // JSON

	encoded atomic.Pointer[encodedEntry] // the encoded body that was requested last
}

// encodedEntry is the encoded body of an entry, for clients that accept certain codings.
type encodedEntry struct {
	accepts      string // the Accept-Encoding of these clients
	coding, etag string
	body         []byte
}

// Size is an upper bound for the memory of the entry, in bytes. It includes the encoded body, which
// is made on request. A text that cannot be compressed stays as long in its encoded form.
func (e *Entry) Size() int { return 2*(len(e.Body)+len(e.ETag)) + len(e.Link) + maxAccepts }

// WriteEntry responds with e, or with a 304 if the client has it already.
func (c *Context) WriteEntry(e *Entry) {
	h := c.out.Header()
	if e.ETag != "" {
		if asked := c.r.Header["If-None-Match"]; asked != nil {
			if seen, ok := MatchingTag(asked, e.ETag); ok {
				h.Set("Etag", seen)
				c.out.WriteHeader(http.StatusNotModified)
				return
			}
		}
		c.setETag(e.ETag)
	}
	if e.Link != "" {
		h["Link"] = []string{e.Link}
	}
	c.SharedJSON(http.StatusOK, e.Body)
}

// setETag sets the entity tag. Only the compression reads it, which is not in front of the fast path.
func (c *Context) setETag(tag string) {
	if c.out.varies {
		c.out.etag = tag
	} else {
		c.out.Header()["Etag"] = []string{tag}
	}
}

// encode encodes the response e in the coding that the client prefers among those it accepts. The
// compression around echo does not touch the response afterwards.
func (c *Context) encode(e *Entry) {
	accepts := c.r.Header.Get("Accept-Encoding")
	if accepts == "" || len(accepts) > maxAccepts || len(e.Body) < compressFrom ||
		c.out.shared == nil || c.r.Method != http.MethodGet {
		return
	}
	p := e.encoded.Load()
	if p == nil || p.accepts != accepts {
		p = encodedFor(strings.Clone(accepts), e, c.rt.compress)
		e.encoded.Store(p)
	}
	if p.coding != "" {
		c.out.Header()["Content-Encoding"] = []string{p.coding}
		c.setETag(p.etag)
		c.out.setBody(http.StatusOK, p.body)
	}
}

// encodedFor encodes e's body by compress, which implements the choice of a coding.
func encodedFor(accepts string, e *Entry, compress func(http.Handler) http.HandlerFunc) *encodedEntry {
	var into bodyRecorder
	compress(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"], w.Header()["Etag"] = jsonType, []string{e.ETag}
		_, _ = w.Write(e.Body)
	}))(&into, &http.Request{Method: http.MethodGet, Header: http.Header{"Accept-Encoding": {accepts}}})
	coding := into.Header().Get("Content-Encoding")
	if coding == "" { // no common coding: the body is sent as it is
		return &encodedEntry{accepts: accepts}
	}
	return &encodedEntry{accepts: accepts, coding: coding, etag: into.Header().Get("Etag"), body: into.body}
}

// bodyRecorder is the http.ResponseWriter that collects encodedFor's output.
type bodyRecorder struct {
	header http.Header
	body   []byte
}

func (b *bodyRecorder) Header() http.Header {
	if b.header == nil {
		b.header = http.Header{}
	}
	return b.header
}

func (b *bodyRecorder) WriteHeader(int) {}

func (b *bodyRecorder) Write(p []byte) (int, error) {
	b.body = append(b.body, p...)
	return len(p), nil
}
