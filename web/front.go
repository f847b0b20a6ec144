package web

import (
	"mime"
	"net/http"
	"strconv"

	"notesd/server/router"
)

// prefersHTML reports whether Accept names text/html, as browsers do, and prefers it to JSON.
func prefersHTML(h http.Header) bool {
	html, json := 0.0, 0.0
	for member := range router.Members(h["Accept"]) {
		kind, parameters, err := mime.ParseMediaType(member)
		if err != nil {
			continue
		}
		q := 1.0
		if text, given := parameters["q"]; given {
			q, _ = strconv.ParseFloat(text, 64) // an invalid value counts as 0: not wanted
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
