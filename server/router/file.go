package router

import (
	"mime"
	"net/http"
	"strconv"
)

// A File is a file of the program, the same for all clients, that is kept compressed. So a request
// for it costs little.
type File struct {
	ContentType string
	// Policy is the file's own Content-Security-Policy, and CacheControl its own Cache-Control;
	// empty: the default one.
	Policy, CacheControl string
	// Plain, Gzip and Zstd return the content, as it is and compressed. Nobody changes it. Gzip and
	// Zstd may be nil.
	Plain, Gzip, Zstd func() []byte
	// ETag returns the strong validator of the plain content.
	ETag func() string
}

// Send sends the file, in the best coding that the client takes, or a 304 if the client has it.
func (f File) Send(c *Context) error {
	asked := c.Request().Header
	if f.Policy != "" { // a 304, too, updates the headers of the page in the cache (RFC 9111, 3.2)
		c.SetHeader("Content-Security-Policy", f.Policy)
	}
	if f.CacheControl != "" {
		c.SetHeader("Cache-Control", f.CacheControl)
	}
	tag := f.ETag()
	if seen, ok := MatchingTag(asked["If-None-Match"], tag); ok {
		c.SetHeader("Etag", seen)
		c.Writer().WriteHeader(http.StatusNotModified)
		return nil
	}
	coding, body := f.choose(asked)
	if coding != "" {
		tag = tag[:len(tag)-1] + "-" + coding + `"`
		c.SetHeader("Content-Encoding", coding)
	}
	c.SetHeader("Etag", tag)
	c.Bytes(http.StatusOK, f.ContentType, body())
	return nil
}

// choose returns the coding for a client that sent the header h, or "", and the content in it.
func (f File) choose(h http.Header) (coding string, body func() []byte) {
	switch {
	case f.Zstd != nil && acceptsCoding(h, "zstd"):
		return "zstd", f.Zstd
	case f.Gzip != nil && (acceptsCoding(h, "gzip") || acceptsCoding(h, "x-gzip")):
		return "gzip", f.Gzip
	}
	return "", f.Plain
}

// acceptsCoding reports whether Accept-Encoding names the coding and does not refuse it.
func acceptsCoding(h http.Header, wanted string) bool {
	for member := range Members(h["Accept-Encoding"]) {
		coding, parameters, err := mime.ParseMediaType(member)
		if err != nil || coding != wanted {
			continue
		}
		q, given := parameters["q"]
		weight, err := strconv.ParseFloat(q, 64)
		return !given || err == nil && weight > 0
	}
	return false
}
