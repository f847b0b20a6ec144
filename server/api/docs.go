package api

import (
	"mime"
	"net/http"
	"strconv"

	"notesd/server/apidoc"
	"notesd/server/router"
)

// docsRoutes returns the routes of the API's description. Its files are compressed already, so that
// a request costs no more than one for the status page.
func docsRoutes() (routes []router.Route) {
	for _, f := range apidoc.Files() {
		routes = append(routes, router.Route{Method: http.MethodGet, Path: f.Path, Class: router.Free, Handle: docsFile(f), Quiet: true})
	}
	return routes
}

func docsFile(f apidoc.File) func(*router.Context) error {
	return func(c *router.Context) error {
		tag, body, asked := f.ETag(), f.Plain, c.Request().Header
		if f.Policy != "" { // a 304, too, updates the headers of the page in the cache (RFC 9111, 3.2)
			c.SetHeader("Content-Security-Policy", f.Policy)
		}
		if seen, ok := router.MatchingTag(asked["If-None-Match"], tag); ok {
			c.SetHeader("Etag", seen)
			c.Writer().WriteHeader(http.StatusNotModified)
			return nil
		}
		if acceptsGzip(asked) {
			tag, body = tag[:len(tag)-1]+`-gzip"`, f.Gzip
			c.SetHeader("Content-Encoding", "gzip")
		}
		c.SetHeader("Etag", tag)
		c.Bytes(http.StatusOK, f.ContentType, body())
		return nil
	}
}

// acceptsGzip reports whether Accept-Encoding names gzip and does not refuse it.
func acceptsGzip(h http.Header) bool {
	for member := range router.Members(h["Accept-Encoding"]) {
		coding, parameters, err := mime.ParseMediaType(member)
		if err != nil || coding != "gzip" && coding != "x-gzip" {
			continue
		}
		q, given := parameters["q"]
		weight, err := strconv.ParseFloat(q, 64)
		return !given || err == nil && weight > 0
	}
	return false
}
