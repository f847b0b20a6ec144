package server

import (
	"mime"
	"net/http"
	"strconv"
)

// frontPage answers GET / as long as there is no web app: with a page for a
// browser. To all others there is no such route.
func frontPage(s *Server, x *exchange) error {
	x.out.Header().Add("Vary", "Accept")
	if !prefersHTML(x.Request().Header) {
		x.route = nil
		return errUnknownRoute
	}
	return statusFile("front.html", "text/html; charset=utf-8")(s, x)
}

// prefersHTML reports whether Accept names text/html, as browsers do, and prefers it to JSON.
func prefersHTML(h http.Header) bool {
	html, json := 0.0, 0.0
	for member := range members(h["Accept"]) {
		kind, parameters, err := mime.ParseMediaType(member)
		if err != nil {
			continue
		}
		q := 1.0
		if text, given := parameters["q"]; given {
			q, _ = strconv.ParseFloat(text, 64) // what can't be read is 0: not wanted
		}
		switch kind {
		case "text/html":
			html = max(html, q)
		case "application/json":
			json = max(json, q)
		}
	}
	return html > json
}
