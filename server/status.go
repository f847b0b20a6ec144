package server

import (
	"embed"
	"net/http"
)

// The status page shows administrators how the process is. The page itself is
// the same for everybody and tells nothing. What it shows it asks for at
// /api/runtime and /api/metrics, with the administrators' token. The person
// types the token in, or opens the link /status#token=TOKEN that the server
// prints. Browsers send no part of a URL after the #, and the page takes it out
// of the address bar at once. The tab keeps the token until it is closed.
//
//go:embed status
var statusFiles embed.FS

// statusFile answers with one of the page's files.
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
