package api

import (
	"net/http"

	"notesd/server/apidoc"
	"notesd/server/router"
)

// docsRoutes returns the routes of the API's description. Its files are compressed already, so that
// a request costs no more than one for the status page.
func docsRoutes() (routes []router.Route) {
	for _, f := range apidoc.Files() {
		file := router.File{ContentType: f.ContentType, Policy: f.Policy, Plain: f.Plain, Gzip: f.Gzip, ETag: f.ETag}
		routes = append(routes, router.Route{Method: http.MethodGet, Path: f.Path, Class: router.Free,
			Handle: file.Send, Quiet: true})
	}
	return routes
}
