package admin

import (
	"mime"
	"net/http"
	"strconv"

	"notesd/server/router"
)

// frontPage handles GET / as long as there is no web app. A browser gets a page. For all other
// clients the route does not exist.
func frontPage(c *router.Context) error {
	c.Header().Add("Vary", "Accept")
	if !prefersHTML(c.Request().Header) {
		return c.NoRoute()
	}
	return statusFile("front.html", "text/html; charset=utf-8")(c)
}

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
