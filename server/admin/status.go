package admin

import (
	"embed"
	"net/http"

	"notesd/server/router"
)

// The status page shows administrators the state of the process. The page itself is the same for
// every client and contains no data. It requests the data from /api/runtime and /api/metrics with
// the administrator token. The administrator types the token in, or opens the link
// /status#token=TOKEN that the server prints. Browsers send no part of a URL after the #, and the
// page removes it from the address bar at once. The browser tab keeps the token until it is closed.
//
//go:embed status
var statusFiles embed.FS

// statusFile returns a handler that sends one of the page's files.
func statusFile(name, contentType string) func(*router.Context) error {
	return func(c *router.Context) error {
		file, err := statusFiles.ReadFile("status/" + name)
		if err != nil {
			return err
		}
		c.Bytes(http.StatusOK, contentType, file)
		return nil
	}
}
