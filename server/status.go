package server

import (
	"bytes"
	"embed"
	"net/http"
)

// The status page: how the process is, for administrators, in a browser. The
// page itself is the same for everybody and says nothing. What it shows it asks
// for at /api/runtime and /api/metrics, with the administrators' token: the
// person types that in, and the tab keeps it until it is closed. It never is in
// a URL or a cookie, so no other page can make use of it.
//
//go:embed status
var statusFiles embed.FS

// These are the mark in the page that says whether a token has to be asked for.
var tokenNeeded, tokenNotNeeded = []byte(`data-token="needed"`), []byte(`data-token="not-needed"`)

// statusPage answers GET /status. To somebody who is an administrator without a
// token, because none is set, it says so.
func statusPage(s *Server, x *exchange) error {
	page, err := statusFiles.ReadFile("status/index.html")
	if err != nil {
		return err
	}
	if s.isAdmin(x.Request()) {
		page = bytes.Replace(page, tokenNeeded, tokenNotNeeded, 1)
	}
	x.out.Header().Set("Content-Type", "text/html; charset=utf-8")
	x.out.lend(http.StatusOK, page)
	return nil
}

// statusFile answers with a file of the page's.
func statusFile(name, kind string) handler {
	return func(_ *Server, x *exchange) error {
		file, err := statusFiles.ReadFile("status/" + name)
		if err != nil {
			return err
		}
		x.out.Header().Set("Content-Type", kind)
		x.out.lend(http.StatusOK, file)
		return nil
	}
}
